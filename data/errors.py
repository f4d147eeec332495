"""The error tree. A class says what the caller should do; a message says what was expected, what arrived, what to do.

    SextantError                  exit code 1
    ├── InputError                2  the request is wrong: tell the user, change nothing
    │   ├── UnknownSymbol, UnknownInterval, BadTime
    │   ├── ImportRefused            a whole file was refused (its good rows are never lost: nothing was read)
    │   ├── SettingsError            a setting was refused; the old settings hold
    │   └── MixedScores              scores of different type or horizon were about to be averaged
    ├── DataError                 1  skip this symbol or series and say why
    │   ├── NoData, CandleGapError
    │   ├── ContractBroken           rows violate the column contract
    │   └── UndeclaredNeed           a module asked for data it did not declare (a programming error)
    ├── SourceError               1  try again later, or ask the next source
    │   ├── RateLimited              nothing is sent to that host before `retry_at_ms`
    │   ├── Blocked                  the host refuses this place (451, 403): final for half an hour
    │   ├── SourceDown               5xx, time-out, cut line, refused connection: tried again, then given up
    │   ├── BadPayload               an answer came that is not what was asked for
    │   └── NotOffered               this source does not have it (yet): ask another one
    ├── OutsideFence              1  a request that is not on the frozen list was stopped before a byte left (a programming error)
    ├── DamagedState              3  stored state cannot be trusted; name the file, quarantine it, rebuild
    └── LockHeld                  4  somebody else is at work
"""

from __future__ import annotations


class SextantError(Exception):
    """Root of everything Sextant raises on purpose. `str(error)` is one line, fit for a user."""

    exit_code = 1


class InputError(SextantError):
    exit_code = 2


class UnknownSymbol(InputError):
    pass


class UnknownInterval(InputError):
    pass


class BadTime(InputError):
    pass


class ImportRefused(InputError):
    pass


class SettingsError(InputError):
    pass


class MixedScores(InputError):
    pass


class DataError(SextantError):
    pass


class NoData(DataError):
    pass


class CandleGapError(DataError):
    pass


class ContractBroken(DataError):
    pass


class UndeclaredNeed(DataError):
    pass


class SourceError(SextantError):
    """A source outside did not give what was asked for; `host` says which."""

    def __init__(self, message: str, *, host: str = "") -> None:
        super().__init__(message)
        self.host = host


class RateLimited(SourceError):
    def __init__(self, message: str, *, host: str = "", retry_at_ms: int = 0) -> None:
        super().__init__(message, host=host)
        self.retry_at_ms = retry_at_ms


class Blocked(SourceError):
    pass


class SourceDown(SourceError):
    pass


class BadPayload(SourceError):
    pass


class NotOffered(SourceError):
    pass


class OutsideFence(SextantError):
    pass


class DamagedState(SextantError):
    exit_code = 3


class LockHeld(SextantError):
    exit_code = 4
