"""Planted microstructure for tests of estimators: quotes and trades as arrays, with known parameters (methods.md 8.1).

Each world is a pure function of its arguments; the same seed gives the same bits on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data.simulator.worlds import generator

CHAIN_BUCKETS = 5
EXIT_UP = np.array([.02, .035, .05, .075, .10])  # by imbalance bucket; downwards mirrored
STEP_WEIGHTS = (.25, .5, .25)
AFTER_UP = {1: .6, 2: .4}  # re-entry bucket after a move up, counted from 0; mirrored after a move down
CHAIN_TRUTH = np.array([-.3355, -.1980, .0, .1980, .3355])  # G* in ticks
QUEUE, REFILL_SPREAD, EVENTS_PER_QUEUE = 100.0, 0.2, 12.0


class Chain(NamedTuple):
    """`state`: imbalance bucket, shape (n + 1,). `move`: change of the mid in ticks from sample t to t + 1, shape (n,)."""

    state: np.ndarray
    move: np.ndarray


class Flow(NamedTuple):
    """Signed volume and the mid change it came with, shape (n,), and the planted lambda."""

    volume: np.ndarray
    change: np.ndarray
    impact: float


class Quotes(NamedTuple):
    """Best quotes after each event, prices in ticks, shape (n,)."""

    bid: np.ndarray
    bid_quantity: np.ndarray
    ask: np.ndarray
    ask_quantity: np.ndarray


def microprice_chain(seed: int, n: int = 200_000) -> Chain:
    """Imbalance walks over five buckets (down .25, stay .5, up .25, reflected at the ends) until the mid moves a tick."""
    draws = generator(seed).random((n, 2))
    state, move = np.empty(n + 1, np.int64), np.zeros(n)
    exit_up, exit_down = EXIT_UP.tolist(), EXIT_UP[::-1].tolist()
    first, second = AFTER_UP
    now, last = CHAIN_BUCKETS // 2, CHAIN_BUCKETS - 1
    state[0] = now
    for t, (leaves, where) in enumerate(draws.tolist()):
        if leaves < exit_up[now]:
            move[t], now = 1.0, first if where < AFTER_UP[first] else second
        elif leaves < exit_up[now] + exit_down[now]:
            move[t], now = -1.0, last - (first if where < AFTER_UP[first] else second)
        elif where < STEP_WEIGHTS[0]:
            now = max(0, now - 1)
        elif where >= STEP_WEIGHTS[0] + STEP_WEIGHTS[1]:
            now = min(last, now + 1)
        state[t + 1] = now
    return Chain(state, move)


def kyle_flow(seed: int, n: int = 1000, *, impact: float = 0.01, r2: float = 0.20) -> Flow:
    """`change = impact * volume + noise`, volume 10 t4, the noise normal and as large as `r2` says."""
    stream = generator(seed)
    volume = 10.0 * stream.standard_t(4, n)
    noise = impact * 10.0 * np.sqrt(2.0) * np.sqrt((1 - r2) / r2)  # variance of t4 is 2
    return Flow(volume, impact * volume + noise * stream.standard_normal(n), impact)


def queue_book(seed: int, events: int = 60_000) -> Quotes:
    """A one-tick book whose best queues are refilled at 100 +-20 % on every move.

    An event is exponential, a twelfth of a queue in the mean, on the side of buyers or sellers, whose odds tilt slowly; half of them add to
    the own best queue, half take from the opposite one. A queue that is emptied moves the price by a tick, and both begin afresh.
    """
    stream = generator(seed)
    tilt, noise = np.empty(events), stream.standard_normal(events)
    lean = 0.0
    for t in range(events):
        lean = 0.999 * lean + 0.01 * noise[t]
        tilt[t] = lean
    buyers = stream.random(events) < np.clip(0.5 + tilt, 0.2, 0.8)
    adds = stream.random(events) < 0.5
    size = stream.exponential(QUEUE / EVENTS_PER_QUEUE, events)
    refill = QUEUE * (1.0 + REFILL_SPREAD * (2.0 * stream.random((events, 2)) - 1.0))
    out = np.empty((4, events))
    bid, bid_q, ask_q = 1000, QUEUE, QUEUE
    for t, (buy, add, amount) in enumerate(zip(buyers.tolist(), adds.tolist(), size.tolist(), strict=True)):
        if add:
            bid_q, ask_q = (bid_q + amount, ask_q) if buy else (bid_q, ask_q + amount)
        elif buy:
            ask_q -= amount
        else:
            bid_q -= amount
        if ask_q <= 0.0 or bid_q <= 0.0:
            bid += 1 if ask_q <= 0.0 else -1
            bid_q, ask_q = refill[t].tolist()
        out[:, t] = bid, bid_q, bid + 1, ask_q
    return Quotes(*out)
