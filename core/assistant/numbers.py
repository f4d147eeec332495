"""Where numbers stand in an answer, digits and words, and what they say: value, unit, precision, or that they are a date."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from core.assistant.number_words import ENGLISH, in_turkish, meaning, value_of

_AMOUNT = r"(?:\d{1,3}(?:[ \u00a0\u202f'’]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*|[.,]\d+)"
_MONTH = (r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|"
          r"dec(?:ember)?|ocak|şubat|mart|nisan|mayıs|haziran|temmuz|ağustos|eylül|ekim|kasım|aralık)")
_FOUND = re.compile(rf"""
    (?P<reference>\{{\{{[^{{}}\n]{{0,40}}\}}\}})
  | (?P<stamp>(?<![\w.,])\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}}(?:\.\d+)?)?)?(?:\s?Z\b)?(?![\d]))
  | (?P<day>(?<![\w.,])\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}(?!\d))
  | (?P<month>(?<![\w.,])\d{{1,2}}(?:st|nd|rd|th|\.)?\s+{_MONTH}(?!\w)\.?(?:,?\s+\d{{4}}(?!\d))?
      | (?<!\w){_MONTH}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,\s*\d{{4}})?(?![\d.,:%]*\d)(?!\s*[%$])
      | (?<!\w){_MONTH}\s+\d{{4}}(?!\d))
  | (?P<clock>(?<![\w.,:])\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?![\d:]))
  | (?P<name>(?<![\w])[^\W\d][\w/.-]{{0,60}}?\d[\w/]*(?:[.-]\w+)*)
  | (?P<digits>(?:(?<![\w\d)])[-+−±~≈]\s?)?(?:[$€₺£]\s?)?{_AMOUNT})
  | (?P<words>(?<!\w)[^\W\d_]+(?!\w))
""", re.VERBOSE | re.IGNORECASE)

_UNITS = (  # the first that fits after the number wins
    ("share", r"%|percent(?:age)?\b(?!\s*points?)|per\s+cent\b|pct\b|yüzde\b(?!\s*\d)"),
    ("points", r"percentage\s+points?\b|pp\b|yüzdelik\s+puan\w*|puan\w*"),
    ("bps", r"bps?\b|basis\s+points?\b|baz\s+puan\w*"),
    ("money", r"usdt?\b|dollars?\b|dolar\w*|\$"), ("euros", r"€|eur\b|euros?\b|avro\w*"), ("lira", r"₺|tl\b|lira\w*"),
    ("pounds", r"£|gbp\b|pounds?\b|sterlin\w*"),
    ("hours", r"h\b|hrs?\b|hours?\b|saat\w*"), ("days", r"d\b|days?\b|gün\w*|günlük\b"), ("minutes", r"min\b|minutes?\b|dakika\w*|dk\b"),
    ("weeks", r"weeks?\b|hafta\w*"), ("months", r"months?\b|ay\b|aylık\b|aydır\b"), ("years", r"years?\b|yıl\w*|sene\w*"),
    ("seconds", r"s\b|sec\b|seconds?\b|saniye\w*"), ("bars", r"bars?\b|candles?\b|mum\w*|bar\w*"),
    ("times", r"x\b|×|times\b|fold\b|kat\b|katı\w*|katına\b"), ("atr", r"ATRs?\b"),
    ("base", r"btc\b|eth\b|bnb\b|sol\b|xrp\b|coins?\b"))
_AFTER = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS), re.IGNORECASE)
_SCALE = re.compile(r"(?:(?P<k>k\b|thousand\b|bin\b)|(?P<m>mn?\b|million\b|milyon\b)|(?P<b>bn?\b|billion\b|milyar\b)"
                    r"|(?P<t>trillion\b|trilyon\b))", re.IGNORECASE)
_GAP = r"[ \t\u00a0\u202f]?-?"
_TIGHT = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
MARKS = {"$": "money", "€": "euros", "₺": "lira", "£": "pounds"}
LOOK_AHEAD = 40  # characters after a number that may say what it is


@dataclass(frozen=True)
class Number:
    """One number of a text from `start` to `end`.

    `kind` is reference, date, name (an identifier with digits), digits or words; `value` None where it cannot be read. `unit` is a
    name of `_UNITS` or empty; `step` half of the last shown place: what rounding may hide; `digits` how many significant ones are shown.
    """

    start: int
    end: int
    kind: str
    text: str
    value: float | None = None
    unit: str = ""
    step: float = 0.0
    digits: int = 0
    signed: bool = False


def ascii_digits(text: str) -> str:
    """Digits of every script, superscripts and fractions as plain ones: what looks like a number is read as one.

    >>> ascii_digits("６７ ½ x²")
    '67 0.5 x2'
    """
    if text.isascii():
        return text
    out = []
    for c in text:
        amount = unicodedata.numeric(c, None) if not c.isascii() else None
        out.append(c if amount is None else f"{amount:g}")
    return "".join(out)


def parse(text: str, locale: str) -> tuple[float, float, int] | None:
    """Value, half of its last place and significant digits of a group of digits as a locale writes it; None where it cannot be read.

    Grouping that a locale does not know ("61.5" in Turkish) is read as the other one writes it.

    >>> parse("1,234.5", "en"), parse("1.234,5", "tr"), parse("61.5", "tr"), parse("1.234", "tr")
    ((1234.5, 0.05, 5), (1234.5, 0.05, 5), (61.5, 0.05, 3), (1234.0, 0.5, 4))
    """
    plain = re.sub(r"[ \u00a0\u202f'’]", "", text)
    for group, point in ((",", "."), (".", ",")) if locale != "tr" else ((".", ","), (",", ".")):
        if re.fullmatch(rf"(?:\d+|\d{{1,3}}(?:{re.escape(group)}\d{{3}})+)?(?:{re.escape(point)}\d+)?", plain):
            number = plain.replace(group, "").replace(point, ".")
            places = len(number.partition(".")[2])
            shown = number.replace(".", "").lstrip("0")
            return float(number), 0.5 * 10.0**-places, max(1, len(shown))
    return None


def numbers(text: str, locale: str = "en", start: int = 0) -> Iterator[Number]:
    """Every number of a text from `start` on, in order. What stands before `start` is context."""
    at = start
    while (match := _FOUND.search(text, at)) is not None:
        kind = str(match.lastgroup)
        found = _words(text, match, locale) if kind == "words" else _one(text, match, kind, locale)
        if found is None:
            at = match.end()
            continue
        yield found
        at = max(found.end, match.start() + 1)


def _one(text: str, match: re.Match[str], kind: str, locale: str) -> Number | None:
    start, end, said = match.start(), match.end(), match[0]
    if kind == "reference":
        return Number(start, end, "reference", said, None)
    if kind in ("stamp", "day", "month", "clock"):
        if _is_date(said, kind) and not (kind == "month" and re.compile(_GAP + f"(?:{_AFTER.pattern})", re.IGNORECASE).match(text, end)):
            return Number(start, end, "date", said)
        return Number(start, end, "digits", said)  # looks like a date and is none
    if kind == "name":
        return Number(start, end, "name", said)
    body = re.sub(r"^[-+−±~≈$€₺£\s]+", "", said)
    read = parse(body, locale)
    if read is None:
        return Number(start, end, "digits", said)
    value, step, shown = read
    sign = -1.0 if re.match(r"[-−]", said) else 1.0
    mark = re.search(r"[$€₺£]", said)
    unit = MARKS[mark[0]] if mark else ""
    return _with_unit(text, start, end, "digits", value, step, shown, sign, unit, signed=said[0] in "-−+")


def _with_unit(text: str, start: int, end: int, kind: str, value: float, step: float, shown: int, sign: float, unit: str, *,
               signed: bool) -> Number:
    """The scale and the unit that stand after a number, or the percent sign before it."""
    scale = re.compile(_GAP).match(text, end)
    after = scale.end() if scale else end
    if (big := _SCALE.match(text, after)) is not None and (big[0].lower() not in ("m", "b") or after == end):
        factor = _TIGHT[str(big.lastgroup)]
        value, step, end = value * factor, step * factor, big.end()
        gap = re.compile(_GAP).match(text, end)
        after = gap.end() if gap else end
    found = _AFTER.match(text, after)
    if found is not None:
        unit, end = unit or str(found.lastgroup), found.end()
    elif re.search(r"(?:%|(?<!\w)yüzde)\s?[-+−]?$", text[:start], re.IGNORECASE):
        unit = "share"
    tail = re.compile(r"['’]?[^\W\d_]+").match(text, end) if kind == "digits" and end < len(text) and found is None else None
    if tail is not None and tail.start() == end and tail[0][0] not in "'’" and not unit:
        unit = "other:" + tail[0].lower()  # 67abc: a unit nobody knows
    known = value if math.isfinite(value) else None  # four hundred digits are no figure
    return Number(start, end, kind, text[start:end], None if known is None else sign * known, unit, step, shown, signed)


def _is_date(said: str, kind: str) -> bool:
    parts = [int(p) for p in re.findall(r"\d+", said)]
    if kind == "clock":
        return parts[0] < 24 and all(p < 60 for p in parts[1:])
    if kind == "stamp":
        return 1970 <= parts[0] < 2100 and 1 <= parts[1] <= 12 and 1 <= parts[2] <= 31 and (len(parts) < 4 or parts[3] < 24)
    if kind == "day":
        return 1 <= parts[0] <= 31 and 1 <= parts[1] <= 31 and 1970 <= parts[2] < 2100
    return all(1 <= p <= 31 or 1970 <= p < 2100 for p in parts)


def _words(text: str, match: re.Match[str], locale: str) -> Number | None:
    """A row of number words that starts here; None where the word is none, or is an article."""
    first = meaning(match[0])
    if first is None or first[0] in ("point", "and", "half") or not _may_start(match[0], locale):
        return None
    if re.compile(r"-(?:sided|way|tailed)\b").match(text, match.end()) or (
            match[0].lower() == "on" and re.compile(r"-[^\W\d_]").match(text, match.end())):
        return None  # "two-sided"; "on-chain", in a Turkish sentence too
    words, end = [match[0]], match.end()
    joint = re.compile(r"(?:[ \u00a0]|-| - )([^\W\d_]+)(?!\w)")
    while (after := joint.match(text, end)) is not None:
        found = meaning(after[1])
        if found is None or (found[0] == "and" and not _goes_on(text, after.end(), words)) or not _may_follow(after[1], locale, words):
            break
        words.append(after[1])
        end = after.end()
    if len(words) == 1 and match[0].lower() in ("one", "bir", "third", "half", "quarter", "point") and not _counted(text, match.start(),
                                                                                                                    end):
        return None
    value = value_of(words)
    if value is None:
        return Number(match.start(), end, "words", text[match.start() : end])
    shown = len(f"{value:g}".replace(".", "").lstrip("0"))
    places = len(f"{value:g}".partition(".")[2]) if value < 1e6 else 0
    minus = re.search(r"(?:minus|negative|eksi)\s$", text[: match.start()], re.IGNORECASE) is not None
    return _with_unit(text, match.start(), end, "words", value, 0.5 * 10.0**-places, max(1, shown), -1.0 if minus else 1.0, "",
                      signed=minus)


def _may_start(word: str, locale: str) -> bool:
    """English number words are read everywhere; Turkish ones that are English words too ("on", "bin") only in Turkish."""
    return locale == "tr" or not (in_turkish(word) and word.isascii() and word.lower() in ("on", "bin", "bes", "alti", "uc"))


def _may_follow(word: str, locale: str, words: list[str]) -> bool:
    return _may_start(word, locale) or (in_turkish(words[-1]) and word.lower() == "bin")


def _goes_on(text: str, at: int, words: list[str]) -> bool:
    """Whether "and" joins two number words ("two hundred and five"), not two things ("three and the rest")."""
    after = re.compile(r"\s([^\W\d_]+)").match(text, at)
    if after is None or meaning(words[-1]) is None or meaning(words[-1])[0] != "scale":  # type: ignore[index]
        return False
    found = meaning(after[1])
    return found is not None and found[0] == "value" and after[1].lower() in ENGLISH


def _counted(text: str, start: int, end: int) -> bool:
    """Whether "one", "bir", "half" or "a third" is an amount: with a unit after it, or per cent before it."""
    gap = re.compile(r"[ \u00a0]").match(text, end)
    unit = _AFTER.match(text, gap.end()) if gap else None
    of = None
    if text[start:end].lower() in ("half", "third", "quarter"):
        before, word = text[max(0, start - 12) : start], text[start:end].lower()
        about = re.search(r"\b(?:about|almost|nearly|over|roughly|than)\s(?:a\s)?$", before, re.IGNORECASE)
        ordinal = re.search(r"\b(?:first|second|third|last|other)\s$", before, re.IGNORECASE)  # the second half of the day
        of = None if ordinal else re.compile(r"\s(?:of|as|the)\s" if word != "third" else r"\sof\s").match(text, end) or about
    return bool((unit is not None and unit.lastgroup in ("share", "bps", "money", *MARKS.values(), "times", "points")) or of
                or re.search(r"(?:%|(?<!\w)yüzde)\s?$", text[:start], re.IGNORECASE))
