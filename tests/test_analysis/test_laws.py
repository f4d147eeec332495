"""Laws that every score module keeps, run over the registry: a module that is registered cannot escape them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.composites import COMPOSITES
from analysis.fits import FitCache
from analysis.module import Causality
from analysis.modules import MODULES
from analysis.report import Status
from analysis.scorecard import needs_of, score_view
from data.clock import FixedClock, parse_time
from data.frames import Candles
from data.market import Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import build_view

NOW = parse_time("2026-11-20T08:30:00Z")
FITS = FitCache()


@pytest.fixture(scope="module")
def exchange():
    return SimulatedExchange(7, FixedClock(NOW))


@pytest.fixture(scope="module")
def view(exchange):
    return build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, needs_of(MODULES), fits=FITS, peers=SYMBOLS,
                      observations=SimulatedObservations(7, exchange, FixedClock(NOW)))


def shortened(view, bars):
    """Every input cut to its newest `bars` rows."""
    def tail(candles):
        return candles.tail(bars) if bars else Candles.empty(candles.interval)

    return replace(view, series={n: tail(c) for n, c in view.series.items()},
                   observed={n: o.take(slice(max(0, len(o) - bars), len(o))) for n, o in view.observed.items()},
                   group={n: {s: tail(c) for s, c in held.items()} for n, held in view.group.items()}, fits=FitCache(), longer=None)


ENOUGH = {("C", 150), ("D", 150), ("I", 150)}  # its metrics need 90 settlements and 100 samples, not more (methods.md 1.1)
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda m: m.letter)


def test_the_registry_is_checked_at_all():
    assert [m.letter for m in MODULES] == sorted(m.letter for m in MODULES) and len(MODULES) >= 4


@each_module
def test_score_lies_in_its_range_and_parts_add_up_to_raw(module, view):
    report = module.score(view)
    assert report.score is not None and module.low <= report.score <= 1.0
    assert abs(math.fsum(p.contribution for p in report.parts if p.contribution is not None) - report.raw) <= 1e-9
    assert 0.65 <= report.coverage <= 1.0 and report.as_of_ms == view.as_of_ms


@each_module
def test_weights_sum_to_one_and_names_are_unique(module):
    assert math.isclose(sum(m.weight for m in module.metrics), 1.0, abs_tol=1e-9)
    assert len({m.key for m in module.metrics}) == len(module.metrics)
    assert all(m.formula and m.title and m.causality in Causality for m in module.metrics)


@each_module
def test_every_metric_is_reported_in_the_tables_order(module, view):
    assert [p.name for p in module.score(view).parts] == [m.key for m in module.metrics]


@each_module
def test_same_input_same_document(module, view):
    first = json.dumps(module.score(view).document(), allow_nan=False)
    assert first == json.dumps(module.score(replace(view, fits=FitCache())).document(), allow_nan=False)


@each_module
def test_the_input_is_not_changed(module, view):
    before = {need: c.close.tobytes() + c.volume.tobytes() for need, c in view.series.items()}
    module.score(view)
    module.timeline(view, 5)
    assert before == {need: c.close.tobytes() + c.volume.tobytes() for need, c in view.series.items()}


@each_module
def test_the_newest_row_of_a_timeline_is_the_score(module, view):
    report, line = module.score(view), module.timeline(view, 40)
    assert line.score[-1] == report.score and line.raw[-1] == report.raw
    assert len(line.score) == len(line.close_time) == 40
    total = sum(np.nan_to_num(c) for c in line.contributions.values())
    assert np.allclose(total[np.isfinite(line.raw)], line.raw[np.isfinite(line.raw)], atol=1e-9)


@each_module
@pytest.mark.parametrize("bars", [0, 1, 2, 30, 150])
def test_short_history_is_a_full_report_with_its_reason(module, view, bars):
    short = shortened(view, bars)
    report = module.score(short)
    if (module.letter, bars) in ENOUGH:
        assert report.score is not None and 0.65 <= report.coverage < 1.0 and report.missing
        return
    assert report.score is None and report.status == "insufficient" and report.reason
    assert len(report.parts) == len(module.metrics) and report.value.value is None
    assert all(p.contribution is None for p in report.parts)
    json.dumps(report.document(), allow_nan=False)


@each_module
def test_dropping_one_input_is_named_and_never_half(module, view):
    for need in module.needs:
        lacking = replace(view.without(need, "taken away by a test"), fits=FITS)
        report = module.score(lacking)
        assert report.missing, f"{module.letter} without {need.describe()} names nothing"
        assert report.score != 0.5 or report.coverage > 0.65


@each_module
def test_frozen_prices_without_volume_are_degenerate_not_bearish(module, view):
    def frozen(c):
        flat = np.full(len(c), 7.0)
        return Candles.from_columns(c.interval, {"open_time": c.open_time, "open": flat, "high": flat, "low": flat, "close": flat,
                                                 "volume": np.zeros(len(c)), "close_time": c.close_time}, provenance=c.provenance)

    def still(o):
        return replace(o, columns={name: np.full(len(o), 7.0) for name in o.columns})

    report = module.score(replace(view, series={n: frozen(c) for n, c in view.series.items()}, fits=FitCache(),
                                  observed={n: still(o) for n, o in view.observed.items()},
                                  group={n: {s: frozen(c) for s, c in held.items()} for n, held in view.group.items()}, longer=None))
    assert report.score is None, f"{module.letter} scores a dead market {report.score}"
    assert any(p.status == Status.DEGENERATE.word for p in report.parts)


@each_module
def test_old_data_fades_and_then_counts_no_more(module, view):
    later = replace(view, at_ms=view.at_ms + 30 * 86_400_000, fits=FITS)
    report = module.score(later)
    assert report.score is None and "old" in report.reason
    assert any(p.status == Status.STALE.word and "30 d old" in p.note for p in report.parts)


@each_module
def test_the_docstring_explains(module):
    text = module.explanation()
    assert len(text) > 200 and module.question.endswith("?")


def test_a_scorecard_holds_all_modules_and_is_json(view):
    document = score_view(view, MODULES).document()
    assert set(document["modules"]) == {m.letter for m in MODULES} and set(document["composites"]) == {c.name for c in COMPOSITES}
    for module in (*document["modules"].values(), *document["composites"].values()):
        assert {"name", "type", "score", "status", "reason", "coverage", "age_s", "raw", "link", "value", "parts"} <= set(module)
        for part in module["parts"]:
            assert {"name", "value", "unit", "weight", "contribution", "status"} <= set(part)
            assert part["value"] is not None or part["note"] or part["status"] != "ok"
    json.dumps(document, allow_nan=False)
