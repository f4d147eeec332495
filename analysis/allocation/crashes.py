"""What real crashes would do to today's weights, and shocks that somebody chooses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.clock import parse_time
from data.market import DAY_MS


@dataclass(frozen=True)
class Crash:
    """A fall that happened: from the close before `first` to the deepest close up to `last`, days of UTC."""

    name: str
    first: str
    last: str

    @property
    def days(self) -> np.ndarray:
        """Open times of its days, in UTC milliseconds."""
        return np.arange(parse_time(self.first), parse_time(self.last) + 1, DAY_MS)


CRASHES = (
    Crash("Covid, 12 March 2020", "2020-03-12", "2020-03-13"),
    Crash("China's mining ban, 19 May 2021", "2021-05-19", "2021-05-23"),
    Crash("Terra, May 2022", "2022-05-07", "2022-05-12"),
    Crash("Celsius, June 2022", "2022-06-11", "2022-06-18"),
    Crash("FTX, November 2022", "2022-11-06", "2022-11-09"),
    Crash("Yen carry trades, 5 August 2024", "2024-08-02", "2024-08-05"),
)


def replay(crash: Crash, open_time: np.ndarray, returns: np.ndarray, names: Sequence[str], weights: np.ndarray, betas: np.ndarray,
           market: np.ndarray, *, known_ms: int) -> dict[str, Any]:
    """The loss of today's weights in a crash, at its deepest close, nothing traded meanwhile.

    An asset without prices of those days moves with the market times its beta of falling days (unknown: 1) and is named in `estimated`.

    Parameters
    ----------
    open_time : ndarray of shape (days,)
        Of the rows of `returns` (days, assets) and `market` (days,), simple daily returns.
    known_ms : int
        A crash that had not ended by then is not known.

    Returns
    -------
    dict
        `loss` (a negative fraction; None with `why` where the market itself has no prices), `by_asset`, `estimated`.
    """
    head: dict[str, Any] = {"name": crash.name, "from": crash.first, "to": crash.last, "loss": None, "by_asset": {}, "estimated": []}
    if int(crash.days[-1]) + DAY_MS > known_ms:
        return head | {"why": "after the moment of this portfolio"}
    at = np.searchsorted(open_time, crash.days)
    stored = (at < len(open_time)) & (open_time[np.minimum(at, len(open_time) - 1)] == crash.days) if len(open_time) else np.zeros(1, bool)
    if not stored.all() or not np.isfinite(market[at]).all():
        return head | {"why": "no prices of these days are stored"}
    moves = returns[at]
    own = np.isfinite(moves).all(axis=0)
    slopes = np.where(np.isfinite(betas), betas, 1.0)
    moves = np.where(own, moves, np.maximum(market[at][:, None] * slopes, -0.999))
    worth = np.cumprod(1.0 + moves, axis=0) - 1.0
    deepest = int(np.argmin(worth @ weights))
    parts = worth[deepest] * weights
    return head | {"loss": float(parts.sum()), "why": "", "by_asset": dict(zip(names, parts.tolist(), strict=True)),
                   "estimated": [n for n, known, w in zip(names, own, weights, strict=True) if not known and w != 0]}


def shocked(names: Sequence[str], weights: np.ndarray, betas: np.ndarray, *, market: float = 0.0,
            own: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The loss when the market moves by `market` and each asset by its beta of that (falling days; unknown: 1) or by its `own` move."""
    slopes = np.where(np.isfinite(betas), betas, 1.0)
    moves = np.array([(own or {}).get(n, max(-1.0, market * b)) for n, b in zip(names, slopes, strict=True)])
    parts = moves * weights
    return {"loss": math.fsum(parts.tolist()), "by_asset": dict(zip(names, parts.tolist(), strict=True))}


def worst_spans(open_time: np.ndarray, returns: np.ndarray, weights: np.ndarray, *, days: Sequence[int] = (1, 7, 30)) -> list[dict[str,
                                                                                                                                   Any]]:
    """The worst span of each length in the stored days in which all assets have prices, for today's weights."""
    known = np.isfinite(returns).all(axis=1)
    grown = np.where(known[:, None], np.log1p(np.where(known[:, None], returns, 0.0)), np.nan)
    found = []
    for n in days:
        if int(known.sum()) < n + 1:
            continue
        total = np.concatenate([np.zeros((1, returns.shape[1])), np.cumsum(np.nan_to_num(grown), axis=0)])
        count = np.concatenate(([0], np.cumsum(known)))
        whole = count[n:] - count[:-n] == n
        if not whole.any():
            continue
        loss = np.where(whole, np.expm1(total[n:] - total[:-n]) @ weights, np.inf)
        i = int(np.argmin(loss))
        found.append({"days": n, "loss": float(loss[i]), "first_ms": int(open_time[i]), "last_ms": int(open_time[i + n - 1])})
    return found
