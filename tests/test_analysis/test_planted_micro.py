"""Planted truth for modules D and H: the rows of methods.md 8.2 that their estimators answer for."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.methods.impact import impact_of
from analysis.methods.microprice import fit_adjustment
from data.simulator.micro_worlds import CHAIN_BUCKETS, CHAIN_TRUTH, kyle_flow, microprice_chain, queue_book
from data.streams.flow_samples import FlowSampler
from tests.planted import Row, check_mean, check_single

EVENTS_PER_INTERVAL, INTERVALS = 60, 1000


def kyle(seed):
    flow = kyle_flow(seed)
    found = impact_of(flow.volume, flow.change)
    return {"ratio": float(found.slope) / flow.impact, "R2": float(found.r2), "t": float(found.t)}


def order_flow(seed):
    """Intervals of 60 events, cut here by the formula that the sampler uses event by event (test_flow_samples.py compares the two)."""
    book = queue_book(seed, INTERVALS * EVENTS_PER_INTERVAL + 1)
    bid, bid_q, ask, ask_q = book
    flow = ((bid[1:] >= bid[:-1]) * bid_q[1:] - (bid[1:] <= bid[:-1]) * bid_q[:-1]
            - (ask[1:] <= ask[:-1]) * ask_q[1:] + (ask[1:] >= ask[:-1]) * ask_q[:-1])
    mid = np.diff((bid + ask) / 2)
    shape = (INTERVALS, EVENTS_PER_INTERVAL)
    found = impact_of(flow.reshape(shape).sum(axis=1), mid.reshape(shape).sum(axis=1))
    return {"slope x 2 depth": float(found.slope) * 2.0 * float(np.mean((bid_q + ask_q) / 2)), "R2": float(found.r2)}


def micro_price(seed):
    chain = microprice_chain(seed)
    return {f"bucket {i}": g for i, g in enumerate(fit_adjustment(chain.state, chain.move, CHAIN_BUCKETS, 1).tolist())}


def around(width):
    return {f"bucket {i}": (g - width, g + width) for i, g in enumerate(CHAIN_TRUTH.tolist())}


ROWS = (
    Row("Kyle lambda", "ratio 1, R2 .20", kyle, {"ratio": (.80, 1.20), "R2": (.13, .28), "t": (2.0, 60.0)}, {"ratio": (.95, 1.05)}),
    Row("order-flow impact", "slope x 2 x mean best depth = 1", order_flow, {"slope x 2 depth": (.80, 1.30), "R2": (.72, 1.0)},
        {"slope x 2 depth": (.88, 1.01)}),
    Row("micro price", "G* of the chain", micro_price, around(.015), around(.003)),
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_seed_lies_in_its_band(row):
    check_single(row)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_mean_over_seeds_lies_in_its_band(row):
    check_mean(row)


def test_the_sampler_measures_the_planted_impact_by_the_second():
    """The queue book through the sampler, fifty events a second: its seconds give the slope that the book was built with."""
    book = queue_book(2, 30_000)
    sampler, t0 = FlowSampler(trades=False), 1_800_000_000_000
    for i, (bid, bid_q, ask, ask_q) in enumerate(np.column_stack(book).tolist()):
        sampler.quote(t0 + 20 * i, t0 + 20 * i, bid, bid_q, ask, ask_q)
    seconds, minutes = sampler.take()
    found = impact_of(seconds["ofi"][2:], np.diff(seconds["mid"])[1:])
    assert 0.75 <= float(found.slope) * 2.0 * float(np.mean(seconds["depth"])) <= 1.30 and found.r2 > 0.7
    assert len(minutes) == 8 and minutes["ofi"][3] == pytest.approx(
        seconds["ofi"][(seconds.event_time >= minutes.event_time[3]) & (seconds.event_time < minutes.event_time[4])].sum())


def test_wrong_estimators_miss_their_bands():
    """The bands can fail: unsigned volume, a mid shifted by one interval, an unmirrored tenth of the chain."""
    flow = kyle_flow(1)
    assert not 0.8 <= float(impact_of(np.abs(flow.volume), flow.change).slope) / flow.impact <= 1.2
    book = queue_book(1, 60_001)
    late = impact_of(np.diff(book.bid_quantity - book.ask_quantity).reshape(1000, 60).sum(axis=1)[:-1],
                     np.diff(book.bid).reshape(1000, 60).sum(axis=1)[1:])
    assert late.r2 < 0.2
    chain = microprice_chain(1)
    assert np.abs(fit_adjustment(chain.state[::2], chain.move[::2], CHAIN_BUCKETS, 1) - CHAIN_TRUTH).max() > 0.015
