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


class DamagedState(SextantError):
    exit_code = 3


class LockHeld(SextantError):
    exit_code = 4
