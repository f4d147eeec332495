"""What goes to a model, and what comes from one: cleaned of invisible characters, of known secrets, and cut to a length."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

from core.logbook import mask

_KEYS = re.compile(r"\bsk-[\w-]{8,}|\bbot\d{6,}:[\w-]{20,}|\bxox[abp]-[\w-]{10,}")
FEWEST_SECRET = 4  # a shorter one would be found in ordinary words
HIDDEN = "***"


class Guard:
    """Knows the secrets of this installation and removes them, also where they are encoded."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= FEWEST_SECRET for form in _forms(secret)}
        ordered = sorted(forms, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, ordered)), re.IGNORECASE) if ordered else None
        self.longest = len(ordered[0]) if ordered else 0  # form of a secret, in characters: so much of a stream is held back

    def clean(self, text: str, most: int = 4_000) -> str:
        """Visible text without secrets, at most so many characters."""
        shown = self.hide(mask(visible(text)))
        return shown if len(shown) <= most else shown[: most - 1].rstrip() + "…"

    def hide(self, text: str, *, goes_on: bool = False) -> str:
        """The text without secrets: those of this installation, and what looks like a key. Where the text `goes_on`, a key at its end
        is left until all of it is there: hidden in part, the rest would stand open behind it."""
        text = _KEYS.sub(lambda m: m[0] if goes_on and m.end() == len(text) else HIDDEN, text)
        return self._secrets.sub(HIDDEN, text) if self._secrets else text


def visible(text: str) -> str:
    """Text without control, zero-width, direction and private-use characters; line ends stay.

    >>> visible("a\\u200bb\\u202ec\\x07d")
    'abcd'
    """
    kept = (c for c in text if c == "\n" or c == "\t" or (unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs", "Cn")
            and not 0xFE00 <= ord(c) <= 0xFE0F and not 0xE0000 <= ord(c) <= 0xE0FFF and ord(c) not in (0x115F, 0x1160, 0x3164, 0xFFA0,
                                                                                                       0x034F)))
    return "".join(kept)


def _forms(secret: str) -> set[str]:
    """A secret and the ways it is usually encoded."""
    raw = secret.encode()
    coded = {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("="), raw.hex(),
             quote(secret, safe=""), secret[::-1]}
    return {form for form in coded | {secret} if len(form) >= FEWEST_SECRET}


_ESCAPED = re.compile(r"([*_#|])")
_SCHEME = re.compile(r"\b([a-z][a-z0-9+.-]{1,15}):(?=//|[^\s\d])", re.IGNORECASE)
_LINKING = ("http", "https", "ftp", "file", "data", "javascript", "vbscript", "mailto", "tel", "ws", "wss", "blob")


def safe_markdown(text: str) -> str:
    """A model's text as Markdown that can hold bold, lists and tables, and no link, image, HTML, formula, code or directive.

    >>> safe_markdown("**a** ![x](http://e.com/?q=1) <b>")
    '**a** !\\\\[x\\\\](http\\\\[:\\\\]//e.com/?q=1) &lt;b&gt;'
    """
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"(?m)^(\s*)#{1,6}\s+", r"\1#### ", text)
    text = re.sub(r"([\[\]`$~])", r"\\\1", text)
    text = _SCHEME.sub(lambda m: f"{m[1]}\\[:\\]" if m[1].lower() in _LINKING else m[0], text)
    text = re.sub(r"(?i)\bwww\.", r"www\\[.\\]", text)
    return re.sub(r"(?<=[\w.+-])@(?=\w)", " (at) ", text)


def literal(text: str) -> str:
    """Text as Markdown that means nothing but itself."""
    return _ESCAPED.sub(r"\\\1", safe_markdown(text.replace("\n", " ")))
