"""What happened, written down once: a rotating log file with secrets masked, and short codes for unexpected errors."""

from __future__ import annotations

import hashlib
import re
import threading
import traceback
from pathlib import Path
from typing import Any

from loguru import logger

_SECRET = re.compile(
    r"(?i)((?:api[_-]?key|apikey|secret|token|password|passwd|signature|authorization|x-mbx-apikey)[\"']?\s*[=:]\s*[\"']?)"
    r"(?:bearer\s+)?[^\s\"'&,;]+|(bot\d{6,}:)[\w-]{20,}|(sk-)[\w-]{8,}"
)

MOST_WARNED = 1_000
_warned: dict[str, None] = {}
_warning = threading.Lock()


def mask(text: str) -> str:
    """The text with whatever follows a key, token or password name replaced by ***.

    >>> mask("GET /x?signature=abc123&symbol=BTC token: t0p")
    'GET /x?signature=***&symbol=BTC token: ***'
    """
    return _SECRET.sub(lambda m: (m.group(1) or m.group(2) or m.group(3) or "") + "***", text)


def open_logbook(folder: Path) -> None:
    """Send the log to `folder`/sextant.log: 2 MB a file, five kept. A folder that cannot be written costs only the log."""
    logger.remove()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        logger.add(folder / "sextant.log", rotation="2 MB", retention=5, enqueue=False, backtrace=False, diagnose=False,
                   format=_line, level="INFO")
    except OSError:
        logger.add(lambda _: None)


def _line(record: Any) -> str:
    record["extra"]["safe"] = mask(record["message"])
    return "{time:YYYY-MM-DDTHH:mm:ss.SSS!UTC}Z {level} {extra[safe]}\n"


def unexpected(error: BaseException) -> str:
    """Log an error nobody planned for and return its short code; the same place in the code gives the same code."""
    trace = traceback.format_exception(error)
    where = "".join(line for line in trace if line.lstrip().startswith("File"))
    code = "E-" + hashlib.sha256(f"{type(error).__name__}{where}".encode()).hexdigest()[:4].upper()
    logger.error(f"{code} " + "".join(trace).replace("\n", "\n    "))
    return code


def warn_once(subject: str, words: str) -> None:
    """Log a warning, once a process for each subject; of more than `MOST_WARNED` subjects the oldest are forgotten."""
    with _warning:
        if subject in _warned:
            return
        _warned[subject] = None
        if len(_warned) > MOST_WARNED:
            del _warned[next(iter(_warned))]
    logger.warning(words)
