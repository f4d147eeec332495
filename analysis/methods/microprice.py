"""The micro price: where the mid is going, given how the best sizes lean and how wide the spread is (Stoikov 2018).

Stoikov, S. (2018), "The micro-price: a high-frequency estimator of future prices", Quantitative Finance 18(12). The quote is a Markov
chain of states (imbalance bucket, spread). With Q the transitions that leave the mid, R K the mean mid move at the end of each state and
T the transitions that carry a move into the next state, `G1 = (I - Q)^-1 R K`, `B = (I - Q)^-1 T`, and the micro price is
`mid + sum_{i<6} B^i G1`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BUCKETS, SPREADS = 10, 3
TERMS = 6
LEAST_VISITS = 200  # of a state; below it is merged with its neighbour
FIT_SAMPLES, FIT_MINIMUM = 86_400, 69_120  # a day of seconds, and 80 % of it
METHOD = "microprice/1"


def weighted_mid(bid: np.ndarray, ask: np.ndarray, bid_quantity: np.ndarray, ask_quantity: np.ndarray) -> np.ndarray:
    """`I Pa + (1 - I) Pb` with I = Qb / (Qb + Qa): the micro price's stand-in until there is a day to fit. NaN where a size is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = bid_quantity / (bid_quantity + ask_quantity)
        return share * ask + (1.0 - share) * bid


def states_of(share: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """State numbers, spread by bucket: `share` = Qb/(Qb+Qa) in 0..1, `ticks` the spread in ticks; -1 where either is unknown."""
    known = np.isfinite(share) & np.isfinite(ticks) & (ticks > 0)
    bucket = np.clip(np.floor(np.where(known, share, 0.0) * BUCKETS), 0, BUCKETS - 1).astype(np.int64)
    width = np.clip(np.rint(np.where(known, ticks, 1.0)), 1, SPREADS).astype(np.int64) - 1
    return np.where(known, width * BUCKETS + bucket, -1)


def mirrors(buckets: int = BUCKETS, spreads: int = SPREADS) -> np.ndarray:
    """For each state the one with bids and asks exchanged."""
    number = np.arange(buckets * spreads)
    return number // buckets * buckets + (buckets - 1 - number % buckets)


def fit_adjustment(state: np.ndarray, move: np.ndarray, buckets: int, spreads: int, *, least_visits: int = LEAST_VISITS) -> np.ndarray:
    """G* of every state, in the units of `move`.

    Parameters
    ----------
    state : ndarray of int, shape (n + 1,)
        State after each sample; -1 unknown.
    move : ndarray, shape (n,)
        Change of the mid from sample t to t + 1.

    Each transition is counted with its mirror image (bids and asks exchanged, move reversed): the price has no side it prefers within a
    day, and the error falls tenfold. States with fewer than `least_visits` are merged towards the middle bucket, and a spread with too
    few towards the narrower one. NaN everywhere where some state is never left by a move.
    """
    n, mirror = buckets * spreads, mirrors(buckets, spreads)
    use = (state[:-1] >= 0) & (state[1:] >= 0) & np.isfinite(move)
    here, there, change = state[:-1][use], state[1:][use], np.asarray(move, float)[use]
    here, there, change = np.r_[here, mirror[here]], np.r_[there, mirror[there]], np.r_[change, -change]
    group = _groups(np.bincount(here, minlength=n).reshape(spreads, buckets), least_visits)
    here, there, size = group[here], group[there], int(group.max()) + 1
    visits = np.bincount(here, minlength=size).astype(float)
    if not len(here) or (visits == 0).any():
        return np.full(n, np.nan)
    moved = change != 0.0
    pair = here * size + there
    stay = np.bincount(pair[~moved], minlength=size * size).reshape(size, size) / visits[:, None]
    carry = np.bincount(pair[moved], minlength=size * size).reshape(size, size) / visits[:, None]
    mean = np.bincount(here, change, size) / visits
    try:
        solved = np.linalg.solve(np.eye(size) - stay, np.column_stack((mean, carry)))
    except np.linalg.LinAlgError:
        return np.full(n, np.nan)
    term = total = solved[:, 0]
    for _ in range(TERMS - 1):
        term = solved[:, 1:] @ term
        total = total + term
    return total[group] if np.isfinite(total).all() else np.full(n, np.nan)


def _groups(visits: np.ndarray, least: int) -> np.ndarray:
    """Group number of each state: its own, or that of the neighbour it was merged with. Symmetric where the visits are."""
    spreads, buckets = visits.shape
    counts, row = visits.astype(float), list(range(spreads))  # row[s]: the spread whose buckets s uses
    for s in range(spreads - 1, 0, -1):
        if counts[s].sum() < 2 * least:
            counts[s - 1] += counts[s]
            row[s] = s - 1
    if spreads > 1 and row[1] == 1 and counts[0].sum() < 2 * least:  # hardly ever one tick wide
        counts[1] += counts[0]
        row[0] = 1
    for s in range(1, spreads):
        row[s] = row[row[s]]
    label = np.empty((spreads, buckets), np.int64)
    for s in set(row):
        label[s] = s * buckets + _merged(counts[s], least)
    return np.unique(label[row].ravel(), return_inverse=True)[1].reshape(-1)


def _merged(visits: np.ndarray, least: int) -> np.ndarray:
    """For each bucket the one it is counted with: too rare ones from both ends go inwards, at last the two halves together."""
    buckets = len(visits)
    to, held = np.arange(buckets), visits.copy()
    for b in range((buckets - 1) // 2):
        for outer, inner in ((b, b + 1), (buckets - 1 - b, buckets - 2 - b)):
            if held[outer] < least:
                held[inner] += held[outer]
                to[to == to[outer]] = inner
    left, right = (buckets - 1) // 2, buckets // 2
    if left != right and min(held[left], held[right]) < least:
        to[to == right] = left
    return to


def fit_day(data: np.ndarray) -> dict[str, Any]:
    """The fit of a day of seconds, for `view.fits`. `data`: columns share, spread and mid, shape (n, 3), one row a second.

    A tick is the least spread of the day. {"g": list in ticks by state, "tick": float, "reason": words or nothing}.
    """
    share, spread, mid = data.T
    known = spread[np.isfinite(spread) & (spread > 0)]
    if not len(known):
        return {"g": [], "tick": 0.0, "reason": "no quote"}
    tick = float(known.min())
    adjustment = fit_adjustment(states_of(share, spread / tick), np.round(np.diff(mid) / tick, 6), BUCKETS, SPREADS)
    if not np.isfinite(adjustment).all():
        return {"g": [], "tick": tick, "reason": "the mid did not move out of every state"}
    return {"g": adjustment.tolist(), "tick": tick, "reason": ""}
