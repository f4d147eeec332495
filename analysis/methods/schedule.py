"""When a fitted method is fitted: daily, at 00:00 UTC, on a fixed window before (decisions.md 17)."""

from __future__ import annotations

import contextlib
import itertools
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.view import daily_anchor

FIT_RETURNS = 1500
FIT_MINIMUM = 500


@dataclass(frozen=True)
class FitDay:
    """The bars that one fit answers for, and the bars it learns from. Slices count rows of the candles.

    rows : bars of one UTC day and one gap-free segment, the newest ones asked for.
    window : at most `FIT_RETURNS` bars before that day's 00:00 UTC, all with a return, in the same segment.
    missing : how many bars the window lacks to `FIT_MINIMUM`; 0 when it can be fitted.
    """

    rows: slice
    window: slice
    missing: int

    @property
    def path(self) -> slice:
        """From the first bar of the fit window to the last bar answered for: where the filter runs."""
        return slice(self.window.start, self.rows.stop)


def percent_returns(candles: Candles) -> np.ndarray:
    """Log returns in percent, what fits learn from; NaN at the first bar of each segment."""
    return 100.0 * candles.log_return if len(candles) else np.empty(0)


def fit_days(candles: Candles, bars: int, *, returns: int = FIT_RETURNS, minimum: int = FIT_MINIMUM) -> Iterator[FitDay]:
    """One `FitDay` for every UTC day (and segment) among the newest `bars` bars, oldest first.

    A bar's fit is the one of the last 00:00 UTC at or before its close, and sees only bars that had closed by then; so the
    value at a bar does not depend on how many bars are asked for. A window that would begin before the candles do is as long as
    they are: ask for older rows only with candles that reach `returns` bars further back.
    """
    n = len(candles)
    if n == 0 or bars <= 0:
        return
    first = max(0, n - bars)
    anchor = daily_anchor(candles.close_time)
    begins = candles.segment_start
    changes = np.flatnonzero((np.diff(anchor[first:]) != 0) | (np.diff(begins[first:]) != 0)) + 1
    edges = [first, *(first + changes).tolist(), n]
    for start, stop in itertools.pairwise(edges):
        end = int(np.searchsorted(candles.close_time, anchor[start], side="left"))
        earliest = int(begins[start]) + 1  # the first bar of a segment has no return
        end = max(end, earliest)
        window = slice(max(earliest, end - returns), end)
        yield FitDay(slice(start, stop), window, max(0, minimum - (window.stop - window.start)))


_FITTING = threading.Lock()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence the fitting libraries' warnings: what they say is in the convergence flags, which are judged.

    The filter list of `warnings` belongs to the whole process, so only one thread may change it at a time; fits hold the GIL
    most of the time anyway and lose nothing by queueing.
    """
    with _FITTING, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
