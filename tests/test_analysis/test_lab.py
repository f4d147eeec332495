"""The lab: outcomes that never cross a hole, verdicts as written, cards, pooled cards, schemes side by side, mirrored worlds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis import lab
from analysis.lab import cards, schemes, targets
from analysis.lab.cards import GroupCoefficient, Verdict, verdict_of
from analysis.statistics import benjamini_hochberg, rank_ic
from analysis.statistics.prediction import Coefficient
from data.errors import ContractBroken
from data.frames import Candles
from data.market import HOUR_MS, Interval
from data.simulator import worlds

BARS = 1200


def market(seed, bars=BARS):
    return worlds.candles_of(worlds.random_walk(seed, bars), seed=seed)


def knowing(candles, strength, horizon, seed):
    """A score that saw part of the coming return: noise plus `strength` of its sd."""
    log = np.log(candles.close)
    ahead = np.zeros(len(candles))
    ahead[:-horizon] = log[horizon:] - log[:-horizon]
    return 0.5 + 0.1 * (strength * ahead / ahead.std() + np.random.default_rng(seed).standard_normal(len(candles)))


# -- panel and targets ----------------------------------------------------------------------------------------------


def holed(seed):
    return worlds.with_gap(market(seed, 700), 400, 3)


def slow_outcome(name, c, t, h):
    """One outcome from the definition, NaN unless bars t..t+h are neighbours."""
    if t + h >= len(c) or c.open_time[t + h] - c.open_time[t] != h * HOUR_MS:
        return math.nan
    close = c.close[t : t + h + 1]
    r = np.diff(np.log(close))
    if name == "forward return":
        return r.sum()
    if name == "realised volatility":
        return math.sqrt(np.mean(r**2))
    if name == "drawdown":
        return max(max(0.0, 1 - c.low[t + j] / close[:j].max()) for j in range(1, h + 1))
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["forward return", "realised volatility", "drawdown"])
@pytest.mark.parametrize("horizon", [1, 12])
def test_outcomes_equal_the_loop_and_never_cross_a_hole(name, horizon, seed):
    c = holed(seed)
    found = targets.target(name).outcome(lab.Panel.of(c, {}), horizon)
    assert np.allclose(found, [slow_outcome(name, c, t, horizon) for t in range(len(c))], rtol=1e-9, atol=1e-12, equal_nan=True)
    assert np.isnan(found[-horizon:]).all() and np.isnan(found[400 - horizon : 400]).all() and np.isfinite(found[400])


@pytest.mark.parametrize("kind", lab.TARGETS, ids=lambda t: t.name)
def test_outcomes_shorter_than_their_horizon_are_unknown(kind):
    panel = lab.Panel.of(market(1, 40), {})
    for horizon in (40, 100):
        assert np.isnan(kind.outcome(panel, horizon)).all()
    empty = lab.Panel.of(Candles.empty(Interval.H1), {})
    assert len(kind.outcome(empty, 5)) == 0
    assert kind.outcome.__doc__


def test_large_moves_are_measured_with_the_volatility_known_at_the_time(seed):
    from data.indicators.volatility import ewma_volatility

    c = holed(seed)
    sigma = ewma_volatility(c, warmup=31)
    found = targets.large_move(lab.Panel.of(c, {}), 24)
    move = np.abs([slow_outcome("forward return", c, t, 24) for t in range(len(c))])
    known = np.isfinite(found)
    assert known.sum() > 500
    assert np.array_equal(found[known] == 1, (move > 3 * sigma * math.sqrt(24))[known])
    assert np.isnan(found[:30]).all() and np.isnan(found[400:430]).all()


def test_trend_label_compares_the_coming_ratio_with_the_median_of_known_ones(seed):
    c, h = holed(seed), 50
    found = targets.trend_label(lab.Panel.of(c, {}), h)

    def ratio(first):
        if first < 0 or first + h >= len(c) or c.open_time[first + h] - c.open_time[first] != h * HOUR_MS:
            return math.nan
        path = c.close[first : first + h + 1]
        return abs(path[-1] - path[0]) / np.abs(np.diff(path)).sum()

    for t in (60, 200, 348, 349, 402, 560, 640):
        behind = np.array([ratio(s - h) for s in range(max(0, t - 499), t + 1)])
        behind = behind[np.isfinite(behind)]
        expected = math.nan if len(behind) < 100 or math.isnan(ratio(t)) else float(ratio(t) > np.median(behind))
        assert found[t] == pytest.approx(expected, nan_ok=True), t


def test_a_confirmed_halt_does_not_make_a_return_unknown():
    c = holed(3)
    first, last, _ = c.gaps()[0]
    halted = Candles.from_columns(c.interval, c.columns(), halts=((first, last),))
    assert np.isnan(targets.forward_return(lab.Panel.of(c, {}), 2)[399])
    assert np.isfinite(targets.forward_return(lab.Panel.of(halted, {}), 2)[399])


def test_a_panel_without_segments_finds_the_holes_and_keeps_short_bars():
    c = holed(3)
    closed = c.close_time.copy()
    closed[50] -= 20 * 60_000  # cut short by an outage, still in its place
    bare = lab.Panel(c.interval, closed, c.close, c.high, c.low, {})
    assert np.array_equal(np.isnan(targets.forward_return(bare, 5)), np.isnan(targets.forward_return(lab.Panel.of(c, {}), 5)))


def test_a_panel_refuses_what_does_not_fit():
    c = market(1, 30)
    with pytest.raises(ContractBroken, match=r"A has shape \(29,\), close_time has 30 rows"):
        lab.Panel.of(c, {"A": np.zeros(29)})
    with pytest.raises(ContractBroken, match="close_time must grow"):
        lab.Panel(c.interval, c.close_time[::-1], c.close, c.high, c.low, {})
    with pytest.raises(ValueError, match=r"expected a kind of target .*got 'profit'"):
        targets.target("profit")


def test_every_row_of_the_table_names_a_target_and_horizons_in_bars():
    assert {s.target for s in lab.SPECS} == {t.name for t in lab.TARGETS} and len(lab.SPECS) == 19
    one = {s.name: s for s in lab.SPECS}
    assert one["A"].bars(Interval.H1) == (1, 4, 12, 24, 72)
    assert one["F"].bars(Interval.D1) == (7, 14, 30) and one["F"].bars(Interval.H4) == (42, 84, 180)
    assert one["D"].bars(Interval.M1) == (1, 5) and one["D"].bars(Interval.H1) == ()
    assert [s.target for s in lab.specs_for({"G"})] == ["realised volatility", "drawdown"]


# -- verdicts -------------------------------------------------------------------------------------------------------


def found_of(ic=0.04, half=0.03, p=0.01, n=1200, horizon=12):
    return Coefficient(ic, ic - half, ic + half, p, n, n / horizon)


def periods(*signs):
    return tuple(GroupCoefficient(str(i), 0.05 * s, 300) for i, s in enumerate(signs))


@pytest.mark.parametrize(("found", "q", "sign", "parts", "expected"), [
    (found_of(), 0.05, 1, periods(1, 1, 1, -1), Verdict.SUPPORTED),
    (found_of(), 0.05, 1, periods(1, 1, -1, -1), Verdict.WEAK),
    (found_of(), 0.05, 1, periods(1, 1, 1), Verdict.WEAK),  # three periods are not four
    (found_of(half=0.05), 0.05, 1, periods(1, 1, 1, 1), Verdict.WEAK),
    (found_of(), 0.10, 1, periods(1, 1, 1, 1), Verdict.WEAK),
    (found_of(p=0.05), 0.12, 1, periods(1, 1, 1, 1), Verdict.NO_EVIDENCE),
    (found_of(-0.04), 0.05, -1, periods(-1, -1, -1, 1), Verdict.SUPPORTED),
    (found_of(-0.04), 0.05, 1, periods(-1, -1, -1, -1), Verdict.CONTRADICTED),
    (found_of(-0.04), 0.20, 1, periods(-1, -1, -1, -1), Verdict.NO_EVIDENCE),
    (found_of(n=359), 0.001, 1, periods(1, 1, 1, 1), Verdict.INSUFFICIENT),
    (found_of(n=360), 0.001, 1, periods(1, 1, 1, 1), Verdict.SUPPORTED),
    (found_of(math.nan), 0.001, 1, (), Verdict.INSUFFICIENT),
])
def test_verdicts_follow_the_rule(found, q, sign, parts, expected):
    verdict = verdict_of(found, q, sign, parts)
    assert verdict is expected
    words = cards.words_of(found, q, verdict, sign, 12, "forward return", parts)
    start = {"no evidence": "Not distinguishable from zero", "insufficient": "Insufficient data"}
    assert words.startswith(start.get(expected.value, expected.value.capitalize()))


def test_a_large_ic_of_a_return_asks_for_a_leakage_check():
    assert "check for leakage" in cards.warnings_of(found_of(0.16), True)[0]
    assert not cards.warnings_of(found_of(0.15), True) and not cards.warnings_of(found_of(0.5), False)


# -- the report -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    panels = {}
    for i in range(6):
        c = market(40 + i)
        scores = {"good": knowing(c, 0.5, 4, i), "noise": worlds.autoregression(900 + i, BARS, 0.9), "flat": np.full(BARS, 0.5)}
        scores["good"][:100] = np.nan
        panels[f"S{i}"] = lab.Panel.of(c, scores, np.where(np.arange(BARS) < 500, "RANGE", np.where(np.arange(BARS) < 520, "", "TREND")))
    specs = [lab.ScoreSpec("good", "forward return", horizons=(1, 4, 24, 72)),
             lab.ScoreSpec("noise", "forward return", neutral=0.0, horizons=(1, 4, 24, 72)),
             lab.ScoreSpec("flat", "forward return", horizons=(4,)), lab.ScoreSpec("absent", "drawdown", horizons=(24,)),
             lab.ScoreSpec("good", "large move", horizons=(4,), probability=True)]
    return panels, lab.judge(panels, specs, draws=50, frozen_at_ms=int(panels["S0"].close_time[650]))


def test_the_planted_score_is_supported_and_suspicious_and_noise_is_not(report):
    _, found = report
    card = found.card("good", "S0", 4, "forward return")
    assert card.verdict is Verdict.SUPPORTED and card.ic > 0.3 and "check for leakage" in card.warnings[0]
    assert card.hit.low > 0.5 and card.quintiles.low > 0 and card.quintiles.monotonicity == pytest.approx(1)
    noise = [c for c in found.cards if c.score == "noise" and c.verdict is Verdict.SUPPORTED]
    assert len(noise) <= 2


def test_a_card_is_its_statistics_on_the_same_rows(report):
    panels, found = report
    panel, card = panels["S2"], found.card("good", "S2", 4, "forward return")
    score, ahead = panel.scores["good"], targets.forward_return(panel, 4)
    rows = np.isfinite(score) & np.isfinite(ahead)
    assert card.found == rank_ic(score, ahead, 4) and card.found.n == rows.sum()
    assert card.ic == pytest.approx(spearmanr(score[rows], ahead[rows])[0], abs=1e-12)
    fifth = np.quantile(score[rows], [0.2, 0.8])
    spread = ahead[rows & (score > fifth[1])].mean() - ahead[rows & (score < fifth[0])].mean()
    assert card.quintiles.spread == pytest.approx(spread, rel=1e-9)
    assert card.turnover == pytest.approx(np.nanmean(np.abs(np.diff(score))))
    assert card.break_even_cost == pytest.approx(spread / np.nanmean(np.abs(score[4:] - score[:-4])))
    hits = np.sign(score[rows] - 0.5) == np.sign(ahead[rows])
    assert card.hit.share == pytest.approx(hits.mean())


def test_groups_add_up_to_the_rows(report):
    _, found = report
    card = found.card("good", "S0", 4, "forward return")
    n = card.found.n
    assert {g.name: g.n for g in card.by_regime} == {"RANGE": 400, "TREND": n - 420}
    assert [g.name for g in card.by_quarter] == ["2020 Q1"] and card.by_quarter[0].n == n
    assert len(card.by_period) == 4 and sum(g.n for g in card.by_period) == n and all(g.ic > 0.2 for g in card.by_period)


def test_q_values_cover_the_whole_report_but_for_short_cells(report):
    _, found = report
    assert found.family == len(found.cards) == 6 * 11
    entered = [c for c in found.cards if c.verdict is not Verdict.INSUFFICIENT]
    assert found.tested == len(entered) == 6 * 7  # 72 bars: 15 outcomes; flat and absent: none
    q = benjamini_hochberg(np.array([c.found.p_value for c in entered]))
    assert [c.q_value for c in entered] == pytest.approx(q.tolist())
    assert all(c.q_any_dependence >= c.q_value for c in entered)
    assert math.isnan(found.card("good", "S0", 72).q_value) and "separate outcomes" in found.card("good", "S0", 72).words


def test_absence_is_said_in_words(report):
    _, found = report
    assert found.card("absent", "S1", 24).words == "Insufficient data: S1 has no score 'absent'."
    assert "does not vary" in found.card("flat", "S1", 4).words
    assert next(p for p in found.pooled if p.score == "absent").words == "Insufficient data on every symbol and horizon."


def test_in_sample_bars_are_marked(report):
    _, found = report
    card = found.card("good", "S0", 4, "forward return")
    assert card.in_sample_share == pytest.approx(550 / card.found.n) and "before the weights were frozen" in card.words


def test_the_pooled_card_is_the_mean_over_symbols(report):
    _, found = report
    pooled = found.pooled[0]
    assert pooled.best_horizon_bars == 4 and pooled.half_life_bars > 4
    four = pooled.decay[1]
    ics = [found.card("good", f"S{i}", 4, "forward return").ic for i in range(6)]
    assert four.mean_ic == pytest.approx(np.mean(ics)) and four.same_sign_share == 1 and four.symbols == four.supported == 6
    assert four.across.mean_ic > 0.2 and four.across.icir > 4
    assert pooled.decay[3].symbols == 0 and math.isnan(pooled.decay[3].mean_ic) and pooled.decay[3].across is None


def test_an_event_card_knows_its_base_rate(report):
    _, found = report
    event = found.card("good", "S0", 4, "large move").event
    assert 0 <= event.base_rate < 0.1 and event.brier is not None and len(event.reliability) == 10
    assert event.auc.low <= event.auc.value <= event.auc.high


def test_documents_are_plain_json(report):
    _, found = report
    text = json.dumps(found.document(), allow_nan=False)
    assert json.loads(text)["verdicts"]["supported"] == found.count(Verdict.SUPPORTED)
    rows = found.summary()
    assert len(rows) == found.family and rows[0]["verdict"] in set(Verdict) and json.dumps(rows, allow_nan=False)


def test_order_of_scores_and_company_change_no_statistic(report):
    panels, found = report
    alone = lab.judge({"S3": panels["S3"]}, [lab.ScoreSpec("good", "forward return", horizons=(4,))])
    assert alone.cards[0].found == found.card("good", "S3", 4).found and alone.tested == 1
    assert alone.cards[0].q_value == alone.cards[0].found.p_value


def test_no_panel_and_no_bars_are_reports_too():
    assert lab.judge({}, lab.SPECS).family == 0
    empty = lab.Panel.of(Candles.empty(Interval.H1), {"A": np.empty(0)})
    found = lab.judge({"NEW": empty}, lab.specs_for({"A"}))
    assert found.count(Verdict.INSUFFICIENT) == 5 and found.tested == 0 and "no bar has both" in found.cards[0].words


def test_a_volatility_forecast_gets_its_qlike():
    from data.indicators.volatility import ewma_volatility

    c = worlds.candles_of(np.cumsum(worlds.garch_t(1, 1500).series), seed=1)

    panel = lab.Panel.of(c, {"sigma": ewma_volatility(c)})
    card = lab.judge({"X": panel}, [lab.ScoreSpec("sigma", "realised volatility", horizons=(24,), volatility=True)], draws=100).cards[0]
    assert card.ic > 0.2 and card.hit is None and math.isnan(card.break_even_cost) and not card.warnings
    assert 0 < card.qlike.low < card.qlike.value < card.qlike.high < 1


SPOILS = {
    "constant": lambda v, rng: np.full(len(v), 0.5),
    "tied": lambda v, rng: np.round(v, 1),
    "holed": lambda v, rng: np.where(rng.random(len(v)) < 0.7, np.nan, v),
    "unknown": lambda v, rng: np.full(len(v), np.nan),
    "infinite": lambda v, rng: np.where(np.arange(len(v)) == 0, np.inf, v),
    "as it is": lambda v, rng: v,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bars", [0, 1, 2, 25, 130, 400])
def test_no_input_raises_or_warns_and_every_report_is_plain(bars, seed):
    rng = np.random.default_rng(seed + bars)
    panels = {}
    for i, spoil in enumerate(SPOILS.values()):
        c = market(seed + i, bars) if bars else Candles.empty(Interval.H1)
        c = worlds.with_gap(c, 60, 3) if bars > 100 and i % 2 else c
        scores = {k: spoil(rng.random(len(c)), rng) for k in "ABGJ"}
        panels[f"S{i}"] = lab.Panel.of(c, scores, rng.choice(["", "UP", "DOWN"], len(c)) if i % 2 else None)
    specs = [*lab.specs_for({"A", "B", "C", "G", "J"}), lab.ScoreSpec("G", "realised volatility", horizons=(4,), volatility=True)]
    found = lab.judge(panels, specs, draws=5)
    assert found.family == 6 * 15 and json.dumps(found.document(), allow_nan=False) and len(found.summary()) == found.family
    assert all(c.words for c in found.cards)
    for panel in panels.values():
        members = [lab.Member(k, panel.scores[k], 2 * panel.scores[k] - 1, 0.3) for k in "ABG"]
        compared = lab.compare_schemes(panel, lab.ScoreSpec("A", "forward return"), members, 4, draws=5)
        band = lab.weight_band(panel, lab.ScoreSpec("A", "forward return"), {"A": 0.5, "B": 0.5},
                               lambda w, p=panel: w["A"] * p.scores["A"] + w["B"] * p.scores["B"], 4, draws=5)
        assert json.dumps([band.document(), *(r.document() for r in compared)], allow_nan=False)


# -- schemes --------------------------------------------------------------------------------------------------------


def composite(seed, bars=1500, horizon=4):
    """Two members that know a little, one that is noise; the default trusts the noise most."""
    c = market(seed, bars)
    typed = [2 * knowing(c, s, horizon, seed + i) - 1 for i, s in enumerate((0.3, 0.3, 0.0))]
    members = [schemes.Member(name, (t + 1) / 2, t, w) for name, t, w in zip("ACD", typed, (0.5, 0.4, 0.1), strict=True)]
    default = 0.5 + 0.5 * (0.1 * typed[0] + 0.1 * typed[1] + 0.8 * typed[2])
    return lab.Panel.of(c, {"trend_strength": default}), members, typed


SPEC = lab.ScoreSpec("trend_strength", "forward return")


def test_schemes_stand_side_by_side(seed):
    panel, members, typed = composite(seed)
    found = {r.scheme: r for r in lab.compare_schemes(panel, SPEC, members, 4, draws=300)}
    assert tuple(found) == lab.SCHEMES
    ahead = targets.forward_return(panel, 4)
    assert found["corrected"].found == rank_ic(panel.scores["trend_strength"], ahead, 4)
    assert found["equal"].found.ic == pytest.approx(rank_ic(sum(typed), ahead, 4).ic, abs=1e-12)
    assert found["as_proposed"].found.ic == pytest.approx(found["equal"].found.ic, abs=1e-12)
    assert found["weighted_as_proposed"].found.ic == pytest.approx(rank_ic(5 * typed[0] + 4 * typed[1] + typed[2], ahead, 4).ic, abs=1e-12)
    better = found["weighted_as_proposed"]
    assert better.d_low > 0 and better.d_ic == pytest.approx(better.found.ic - found["corrected"].found.ic, abs=1e-12)
    assert better.replaces == (better.folds_won >= 4)
    assert found["stack"].found is None and found["stack"].reason.startswith("needs 1000 outcomes that do not overlap")
    assert json.dumps([r.document() for r in found.values()], allow_nan=False)


def test_untyped_mean_differs_where_a_member_points_the_other_way():
    n = 300
    rising = np.linspace(0, 1, n)
    members = [schemes.Member("F", rising, 1 - 2 * rising, 0.5), schemes.Member("G", rising, 2 * rising - 1, 0.5)]
    made = schemes.combine(members, np.arange(n, dtype=np.int64) * HOUR_MS)
    assert np.allclose(made["as_proposed"], rising) and np.allclose(made["equal"], 0)


def test_a_mean_needs_65_percent_of_its_weight():
    columns = np.array([[1.0, 3.0, np.nan], [1.0, np.nan, np.nan], [1.0, 2.0, 3.0]])
    found = lab.weighted_mean(columns, np.array([0.4, 0.3, 0.3]))
    assert found[0] == pytest.approx((0.4 + 0.9) / 0.7) and math.isnan(found[1]) and found[2] == pytest.approx(1.9)


def test_first_component_is_scikit_learns_refit_at_midnight_and_knows_no_future(seed):
    from sklearn.decomposition import PCA

    _, _, typed = composite(seed, 900)
    columns, closed = np.column_stack(typed), market(seed, 900).close_time
    found = schemes.first_component(columns, closed)
    t = 24 * 30 + 7
    window = columns[24 * 30 - 500 : 24 * 30]
    axis = PCA(1).fit((window - window.mean(0)) / window.std(0)).components_[0]
    expected = (columns[t] - window.mean(0)) / window.std(0) @ (axis * np.sign(axis[0]))
    assert found[t] == pytest.approx(expected, rel=1e-9)
    poisoned = columns.copy()
    poisoned[t + 1 :] = 1e9
    assert np.array_equal(schemes.first_component(poisoned, closed)[: t + 1], found[: t + 1], equal_nan=True)
    assert np.isnan(found[:400]).all() and np.isfinite(found[520:]).all()


def test_the_stack_is_out_of_fold_and_finds_what_is_planted(seed):
    rng = np.random.default_rng(seed)
    columns = rng.standard_normal((2500, 2))
    outcome = 0.5 * columns[:, 0] + rng.standard_normal(2500)
    made, reason = schemes.stacked(columns, outcome, 2)
    assert reason == "" and np.isnan(made[:400]).all() and rank_ic(made, outcome, 2).ic > 0.3
    changed = outcome.copy()
    changed[2090:] *= -1  # the last fold's own outcomes, and the purged rows before it, cannot reach its predictions
    last = np.array_split(np.arange(2500), 6)[-1]
    changed[: last[0] - 2] = outcome[: last[0] - 2]
    assert np.array_equal(schemes.stacked(columns, changed, 2)[0][last], made[last])


def test_the_weight_band_tells_a_robust_score_from_a_delicate_one(seed):
    panel, _, typed = composite(seed)
    columns = np.column_stack(typed)

    def build(weights):
        return lab.weighted_mean(columns, np.array(list(weights.values())))

    robust = lab.weight_band(panel, SPEC, {"A": 0.45, "C": 0.45, "D": 0.1}, build, 4, draws=60)
    assert robust.flips == 0 and robust.verdict is Verdict.SUPPORTED and robust.words.startswith("not weight-sensitive")
    assert robust.smallest <= robust.low <= robust.ic <= robust.high <= robust.largest
    delicate = lab.weight_band(panel, SPEC, {"A": 1.0, "C": -1.0}, lambda w: typed[0] * w["A"] + typed[1] * w["C"], 4, draws=60)
    assert delicate.high - delicate.low > robust.high - robust.low
    assert delicate.words.startswith("weight-sensitive") == (delicate.flips > 0.10)


# -- null worlds ----------------------------------------------------------------------------------------------------


def flowing(seed):
    c = market(seed, 300)
    columns = c.columns()
    columns["taker_buy_volume"] = columns["volume"] * np.random.default_rng(seed).random(300)
    columns["taker_buy_quote_volume"] = columns["taker_buy_volume"] * c.close
    return Candles.from_columns(c.interval, columns)


def test_a_mirrored_world_keeps_sizes_and_redraws_signs():
    history = {"A": flowing(1), "B": worlds.with_gap(flowing(2), 100, 5)}
    made = lab.mirrored(history, 7)
    for symbol, before in history.items():
        after = made[symbol]
        r, m = np.diff(np.log(before.close)), np.diff(np.log(after.close))
        assert np.allclose(np.abs(m), np.abs(r), atol=1e-12) and np.array_equal(after.open_time, before.open_time)
        assert np.allclose(np.log(after.high / after.low), np.log(before.high / before.low), atol=1e-12)
        assert np.array_equal(after.volume, before.volume) and after.close[0] == before.close[0]
        turned = np.r_[False, m * r < 0]
        assert 0.35 < turned.mean() < 0.65
        assert np.allclose(after.taker_buy_volume[turned], (before.volume - before.taker_buy_volume)[turned])
        assert np.array_equal(after.taker_buy_volume[~turned], before.taker_buy_volume[~turned])
        assert (after.high >= np.maximum(after.open, after.close)).all() and (after.low <= np.minimum(after.open, after.close)).all()
        t = int(np.flatnonzero(turned)[5])
        assert np.log(after.high[t] / after.close[t - 1]) == pytest.approx(-np.log(before.low[t] / before.close[t - 1]), abs=1e-12)
    sign = {s: dict(zip(c.open_time[1:].tolist(), (np.diff(np.log(c.close)) * np.diff(np.log(history[s].close)) > 0).tolist(), strict=True))
            for s, c in made.items()}
    assert all(sign["A"][t] == sign["B"][t] for t in sign["B"])  # one eps for all symbols


def test_mirrored_worlds_are_seeded_and_tiny_histories_stay():
    history = {"A": flowing(1)}
    assert np.array_equal(lab.mirrored(history, 3)["A"].close, lab.mirrored(history, 3)["A"].close)
    assert not np.array_equal(lab.mirrored(history, 3)["A"].close, lab.mirrored(history, 4)["A"].close)
    one = flowing(1).take(slice(0, 1))
    assert lab.mirrored({"A": one, "B": Candles.empty(Interval.H1)}, 3)["A"] is one and lab.mirrored({}, 1) == {}


def test_null_size_counts_worlds_and_ranks_the_real_result(report):
    _, real = report
    noise = lab.judge({"S": lab.Panel.of(market(5), {"n": worlds.autoregression(5, BARS, 0.9)})}, [lab.ScoreSpec("n", "forward return")])
    silent = replace(noise, cards=tuple(replace(c, verdict=Verdict.NO_EVIDENCE) for c in noise.cards))
    size = lab.null_size([silent] * 9 + [real], real=real)
    assert size.worlds == 10 and size.worlds_with_any == 1 and size.share == 0.1
    assert (size.low, size.high) == pytest.approx((0.0025, 0.445), abs=5e-4)  # Clopper-Pearson of 1 in 10
    assert size.percentile == pytest.approx(0.95) and "10% of the time (1 of 10 worlds" in size.words and "percentile 95" in size.words
    assert lab.null_size([]).words == "No null world was run."


def test_the_pipeline_finds_no_edge_in_mirrored_worlds_and_finds_the_planted_one():
    """Momentum on trending prices: an edge there, none once the signs are redrawn."""
    rng = np.random.default_rng(11)
    r = np.zeros(2000)
    for t in range(1, 2000):
        r[t] = 0.25 * r[t - 1] + rng.standard_normal()
    history = {"T": worlds.candles_of(np.cumsum(r), seed=11)}

    def score_world(candles):
        panels = {s: lab.Panel.of(c, {"momentum": c.log_return}) for s, c in candles.items()}
        return lab.judge(panels, [lab.ScoreSpec("momentum", "forward return", neutral=0.0, horizons=(1, 4))])

    real = score_world(history)
    size = lab.null_size(lab.run_worlds(score_world, history, worlds=40), real=real)
    assert real.card("momentum", "T", 1).verdict is Verdict.SUPPORTED
    assert size.worlds_with_any <= 8 and size.percentile == 1.0
