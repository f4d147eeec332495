"""One more closed bar costs its own rows and changes nothing: kept rows against computing from scratch, over the registries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis import kept_rows
from analysis.composites.combine import LEADS
from analysis.fits import FitCache
from analysis.kept_rows import HEAD_ROWS, KeptRows, Prefixes
from analysis.module import Causality
from analysis.modules import MODULES
from analysis.modules.trend_moment import TrendMomentum
from analysis.scorecard import needs_of, score_view
from data.clock import parse_time
from data.market import HOUR_MS, Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import build_view

SEED = 7
START = parse_time("2026-11-15T08:00:30Z")  # a Sunday: midnight, Monday's forests and a new day's fits lie within the next bars
BARS = 32
SAME = 1e-6  # recursive metrics, in a unit of one sd or one score (decisions.md 18)
LEAST = 1e-9  # everything else


class Clock:
    def __init__(self, at_ms):
        self.at_ms = at_ms

    def now_ms(self):
        return self.at_ms


class World:
    """One symbol of the simulated market and its group, a view at each hour."""

    def __init__(self):
        self.clock, self.fits, self.kept = Clock(START), FitCache(), KeptRows()
        self.exchange = SimulatedExchange(SEED, self.clock)
        self.beside = SimulatedObservations(SEED, self.exchange, self.clock)

    def view(self, modules=MODULES, *, kept=True, symbol="BTCUSDT"):
        needs = needs_of(modules) if modules is MODULES else needs_of(modules, ())
        return build_view(self.exchange, symbol, Market.SPOT, Interval.H1, needs, fits=self.fits, observations=self.beside,
                          kept=self.kept if kept else None, peers=SYMBOLS[:4])


def without_rows(view):
    return replace(view, kept=None, longer=None if view.longer is None else replace(view.longer, kept=None))


def apart(a, b):
    """Largest difference of two numbers or None, over the size of the larger; infinite where one alone is known."""
    if a is None or b is None:
        return 0.0 if a is b else np.inf
    return abs(a - b) / max(1.0, abs(a), abs(b))


def differences(ticked, afresh, tolerances):
    """What differs by more than its tolerance between two reports of one module or composite, in words."""
    found = []
    for name in ("score", "raw", "coverage", "agreement", "confidence", "percentile"):
        if apart(getattr(ticked, name), getattr(afresh, name)) > tolerances.get("", LEAST):
            found.append((ticked.slug, name, getattr(ticked, name), getattr(afresh, name)))
    if (ticked.label, ticked.status, ticked.reason, ticked.missing) != (afresh.label, afresh.status, afresh.reason, afresh.missing):
        found.append((ticked.slug, "words", ticked.label, afresh.label))
    assert [p.name for p in ticked.parts] == [p.name for p in afresh.parts]
    for mine, true in zip(ticked.parts, afresh.parts, strict=True):
        allowed = tolerances.get(mine.name, LEAST)
        if mine.status != true.status or any(apart(getattr(mine, n), getattr(true, n)) > allowed for n in ("value", "k", "contribution")):
            found.append((ticked.slug, mine.name, mine, true))
    return found


def test_thirty_bars_on_kept_rows_equal_thirty_from_scratch_for_every_module_and_composite(monkeypatch):
    world, lines = World(), []
    monkeypatch.setattr(kept_rows, "joined", lambda *given, joined=kept_rows.joined: lines.append(joined(*given)) or lines[-1])
    score_view(world.view(symbol="SOLUSDT"), MODULES)
    for _ in range(BARS):
        world.clock.at_ms += HOUR_MS
        view = world.view(symbol="SOLUSDT")
        ticked, afresh = score_view(view, MODULES), score_view(without_rows(view), MODULES)
        for mine, true in zip((*ticked.reports, *ticked.composites), (*afresh.reports, *afresh.composites), strict=True):
            tolerances = {"": SAME}
            if mine.letter:
                module = next(m for m in MODULES if m.letter == mine.letter)
                tolerances |= {m.key: SAME for m in module.metrics if m.causality is Causality.RECURSIVE}
            else:
                tolerances |= {part.name: SAME for part in mine.parts}
            assert not differences(mine, true, tolerances), world.clock.at_ms
    # The long timelines of A, C and J and the windows of B and J went on, but for C's once the recorder of forced orders deleted its
    # oldest day.
    assert 5 * BARS - 2 <= len(lines) < 5 * BARS and None not in lines
    assert world.clock.at_ms > parse_time("2026-11-16T12:00:00Z")


def ticked(view, factor):
    """The view after its newest candle moved: the only thing that changed."""
    done = {}

    def moved(candles):
        if id(candles) not in done:
            close = candles.close.copy()
            close[-1] *= factor
            done[id(candles)] = replace(candles, close=close, high=np.maximum(candles.high, close), low=np.minimum(candles.low, close))
        return done[id(candles)]

    def own(need, symbol=None):
        return ((symbol or need.symbol) in (None, view.symbol) and need.market in (None, view.market)
                and need.interval in (None, view.interval))

    return replace(view, series={n: moved(c) if own(n) else c for n, c in view.series.items()},
                   group={n: {s: moved(c) if own(n, s) else c for s, c in held.items()} for n, held in view.group.items()},
                   longer=None if view.longer is None else ticked(view.longer, factor))


def test_ticks_equal_cards_from_scratch_and_leave_alone_what_reads_no_moving_candle():
    world = World()
    view = world.view(symbol="ETHUSDT")
    score_view(view, MODULES)
    reused = []
    for factor in (1.0, 1.001, 0.97, 1.2):
        moved = ticked(view, factor)
        before = {name: held[1] for name, held in world.kept._parts.items()}
        mine, true = score_view(moved, MODULES), score_view(without_rows(moved), MODULES)
        for one, other in zip((*mine.reports, *mine.composites), (*true.reports, *true.composites), strict=True):
            assert not differences(one, other, {"": SAME, **{p.name: SAME for p in one.parts}}), factor
        reused.append({name[:2] for name, held in world.kept._parts.items() if before.get(name) is held[1] and "ETHUSDT" in name})
    assert reused[-1] >= {("C", "funding"), ("C", "ratios"), ("C", "premium"), ("C", "options"), ("C", "quality"), ("D", "minutes"),
                          ("F", "days"), ("G", "days"), ("G", "zone")}


@pytest.mark.parametrize("module", [m for m in MODULES if m.letter in {*LEADS, "A", "J"}], ids=lambda m: m.letter)
def test_every_kept_row_equals_the_row_from_scratch(module):
    world, bars = World(), 60
    for hour in range(30):
        view = world.view((module,))
        kept = world.kept.rows(module, view, bars, lambda rows, view=view: module.timeline(without_rows(view), rows))
        world.clock.at_ms += HOUR_MS * (1 + hour % 3)
    true = module.timeline(without_rows(view), bars)
    assert np.array_equal(kept.close_time, true.close_time)
    for name in ("raw", "score", "coverage"):
        np.testing.assert_allclose(getattr(kept, name), getattr(true, name), rtol=0, atol=SAME, err_msg=name)
    for key, values in true.extra.items():
        np.testing.assert_allclose(np.asarray(kept.extra[key], float), np.asarray(values, float), rtol=SAME, atol=SAME, err_msg=key)
    for key, t in true.tracks.items():
        np.testing.assert_allclose(kept.tracks[key].k, t.k, rtol=0, atol=SAME, err_msg=key)
        assert np.array_equal(kept.tracks[key].status, t.status), key


def counted(module, world, bars=40):
    """How many rows each call computes."""
    asked = []

    def compute(view):
        def rows(count):
            asked.append(count)
            return module.timeline(view, count)
        return rows

    def ask(view):
        return world.kept.rows(module, view, bars, compute(without_rows(view)))

    return asked, ask


def test_a_new_bar_costs_two_rows_and_a_changed_past_all_of_them():
    world, module = World(), TrendMomentum()
    asked, ask = counted(module, world)
    ask(world.view((module,)))
    world.clock.at_ms += HOUR_MS
    view = world.view((module,))
    ask(view)
    assert asked == [40, 2]
    ask(view)
    assert asked[2:] == [2], "the same moment again: its newest row, and as many as at a bar"
    world.clock.at_ms += 3 * HOUR_MS
    ask(world.view((module,)))
    assert asked[3:] == [4]
    world.clock.at_ms += HOUR_MS
    view = world.view((module,))
    need = module.needs[0]
    close = view.series[need].close.copy()
    close[-300] *= 1.0001
    changed = replace(view, series={**view.series, need: replace(view.series[need], close=close)})
    ask(changed)
    assert asked[4:] == [40], "a corrected candle"
    ask(view)
    assert asked[5:] == [40], "and corrected back"
    halted = replace(view, series={n: replace(candles, halts=((1, 2),)) for n, candles in view.series.items()})
    ask(halted)
    assert asked[6:] == [40], "a hole that was a halt"


def test_rows_are_not_carried_over_a_hole_or_a_long_absence_or_backwards():
    world, module = World(), TrendMomentum()
    asked, ask = counted(module, world)
    first = world.view((module,))
    ask(first)
    world.clock.at_ms += 12 * HOUR_MS
    later = world.view((module,))
    ask(later)
    ask(first)
    assert asked == [40, 40, 40]
    world.clock.at_ms += HOUR_MS
    view = world.view((module,))
    holed = replace(view, series={need: _without_row(candles, -2) for need, candles in view.series.items()})
    ask(later)
    ask(holed)
    assert asked[3] == 40 and asked[-1] == 40


def _without_row(candles, row):
    keep = np.arange(len(candles)) != len(candles) + row
    columns = {name: getattr(candles, name)[keep] for name in (
        "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
        "taker_buy_quote_volume")}
    return replace(candles, **columns)


def test_the_memory_is_bounded_and_an_account_or_no_memory_computes_all():
    world, module = World(), TrendMomentum()
    world.kept = KeptRows(limit_bytes=60_000)
    for symbol in SYMBOLS[:4]:
        view = world.view((module,), symbol=symbol)
        module.timeline(view)
        assert world.kept.bytes > 0
    assert len(world.kept._held) == 1, "one timeline alone is larger than the limit"


def test_prefixes_notice_any_change_and_any_change_of_order():
    stream = np.random.default_rng(SEED)
    times = np.arange(1000, dtype=np.int64) * 60_000
    columns = [stream.standard_normal(1000), np.where(stream.random(1000) < 0.1, np.nan, 1.0)]
    edge = int(times[900]) + 1
    head = Prefixes(times, columns).head(edge)
    assert len(head.times) == HEAD_ROWS and Prefixes(times, columns).continues(head, edge)
    assert Prefixes(times[10:], [c[10:] for c in columns]).continues(head, edge)
    assert not Prefixes(times[HEAD_ROWS:], [c[HEAD_ROWS:] for c in columns]).continues(head, edge)
    for row in (0, 450, 900):
        altered = [c.copy() for c in columns]
        altered[0][row] = np.nextafter(altered[0][row], 9.0)
        assert not Prefixes(times, altered).continues(head, edge)
    altered[0][900], altered[0][950] = columns[0][900], 7.0
    assert Prefixes(times, altered).continues(head, edge), "what came after the edge is new"
    swapped = [c.copy() for c in columns]
    swapped[0][[3, 4]] = swapped[0][[4, 3]]
    assert not Prefixes(times, swapped).continues(head, edge)
    assert Prefixes(times[5:], [c[5:] for c in columns], since=int(times[4]) + 1).continues(head, edge)
    assert not Prefixes(times[5:], [c[5:] for c in columns], since=int(times[4])).continues(head, edge), "a row was deleted"
    nothing = Prefixes(times[:0], [c[:0] for c in columns])
    assert nothing.continues(nothing.head(edge), edge) and not nothing.continues(head, edge)
    assert not Prefixes(times, columns).continues(nothing.head(edge), edge)
