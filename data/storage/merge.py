"""What happens when a candle is offered for a key that may already be stored: added, duplicate, enriched or conflict.

Numbers are compared exactly. Both sides are doubles parsed, correctly rounded, from decimal text; two texts of the same decimal
("1.10" and "1.1") give the same double, and two different decimals of up to 15 digits give different doubles. So exact equality
of doubles is equality as Decimal, without paying for Decimal, and no tolerance can hide a revised price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.frames import COLUMNS, OPTIONAL_COLUMNS, PRICE_COLUMNS
from data.market import Interval
from data.storage.parts import take

_MUST_EQUAL = (*PRICE_COLUMNS, "volume")


@dataclass(frozen=True)
class Merged:
    """`columns` are the rows to store, sorted; `conflicts` are row numbers of the offered rows that were set aside."""

    columns: dict[str, np.ndarray]
    added: int
    duplicates: int
    enriched: int
    conflicts: np.ndarray


def merge(stored: dict[str, np.ndarray], offered: dict[str, np.ndarray], interval: Interval) -> Merged:
    """Stored rows plus what is new in the offered ones, which may come in any order and repeat themselves.

    A stored value never changes (C4). A row equal in prices and volume is a duplicate; where one side lacks an optional column
    the other's value is kept, so the fuller row stays whichever came first. A close_time counts as known where it is short or
    where any optional column is present; elsewhere it was only assumed.
    """
    times = offered["open_time"]
    order = np.argsort(times, kind="stable")
    known, have = stored["open_time"], len(stored["open_time"])
    place = np.searchsorted(known, times[order])
    fresh = (place == have) | (known[np.minimum(place, have - 1)] != times[order]) if have else np.ones(len(order), bool)
    fresh[1:] &= (times[order][1:] != times[order][:-1])  # of a key that repeats, the first row of the file speaks
    new, again = order[fresh], order[~fresh]
    columns = _insert(stored, take(offered, new))
    if not len(again):
        return Merged(columns, len(new), 0, 0, again)

    enriched = 0
    at = np.searchsorted(columns["open_time"], times[again])
    while True:
        equal, fuller = _compare(take(columns, at), take(offered, again), interval)
        wanted = np.flatnonzero(equal & fuller)
        if not len(wanted):
            break
        # One enrichment per key and round; each fills at least one empty column, so there are at most five rounds.
        _, first = np.unique(at[wanted], return_index=True)
        rows = wanted[first]
        columns = _enrich(columns, at[rows], take(offered, again[rows]), interval)
        enriched += len(rows)
    return Merged(columns, len(new), int(equal.sum()), enriched, np.sort(again[~equal]))


def _insert(stored: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not len(new["open_time"]):
        return stored
    joined = {name: np.concatenate((stored[name], new[name])) for name in COLUMNS}
    if len(stored["open_time"]) and new["open_time"][0] < stored["open_time"][-1]:
        joined = take(joined, np.argsort(joined["open_time"], kind="stable"))
    return joined


def _close_known(rows: dict[str, np.ndarray], interval: Interval) -> np.ndarray:
    known = rows["close_time"] < rows["open_time"] + interval.ms - 1
    for name in OPTIONAL_COLUMNS:
        known = known | ~np.isnan(rows[name])
    return known


def _compare(have: dict[str, np.ndarray], offer: dict[str, np.ndarray], interval: Interval) -> tuple[np.ndarray, np.ndarray]:
    """Which offered rows do not contradict the stored ones, and which know more than they do."""
    equal = np.ones(len(have["open_time"]), bool)
    fuller = np.zeros(len(equal), bool)
    for name in _MUST_EQUAL:
        equal &= have[name] == offer[name]
    for name in OPTIONAL_COLUMNS:
        lacking, offering = np.isnan(have[name]), ~np.isnan(offer[name])
        equal &= lacking | ~offering | (have[name] == offer[name])
        fuller |= lacking & offering
    knows, told = _close_known(have, interval), _close_known(offer, interval)
    equal &= ~knows | ~told | (have["close_time"] == offer["close_time"])
    return equal, fuller | (told & ~knows)


def _enrich(columns: dict[str, np.ndarray], at: np.ndarray, offer: dict[str, np.ndarray],
            interval: Interval) -> dict[str, np.ndarray]:
    have = take(columns, at)
    closes = np.where(_close_known(have, interval), have["close_time"], offer["close_time"])
    out = dict(columns)
    for name, values in [("close_time", closes)] + [
            (name, np.where(np.isnan(have[name]), offer[name], have[name])) for name in OPTIONAL_COLUMNS]:
        out[name] = columns[name].copy()
        out[name][at] = values
    return out
