"""Worlds without a directional edge: how often does the lab find one there? (product.md X2, methods.md 4)"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.lab.cards import LabReport, Verdict, plain
from analysis.statistics.multiplicity import clopper_pearson
from data.frames import Candles

WORLDS = 200


def mirrored(history: Mapping[str, Candles], seed: int) -> dict[str, Candles]:
    """The same history with the sign of every return redrawn: `r*_t = eps_t r_t`, one fair eps per moment for all symbols.

    A bar whose sign turns is mirrored in logs around the close before it: high and low swap roles, buying becomes selling (the taker's
    buy share of the volume mirrors too). Sizes of moves, volumes, volatility and correlation between symbols stay; direction does
    not follow from anything before. The first bar of a symbol has no close before it and stays. Holes and halts stay.

    Parameters
    ----------
    history : mapping of symbol to Candles
        One interval; bars are matched by open_time.
    """
    held = [c.open_time for c in history.values() if len(c)]
    grid = np.unique(np.concatenate(held)) if held else np.empty(0, np.int64)
    sign = np.where(np.random.default_rng(seed).random(len(grid)) < 0.5, -1.0, 1.0)
    return {symbol: _mirror(c, sign[np.searchsorted(grid, c.open_time)]) for symbol, c in history.items()}


def _mirror(candles: Candles, sign: np.ndarray) -> Candles:
    if len(candles) < 2:
        return candles
    sign = sign.copy()
    sign[0] = 1.0
    log = {name: np.log(getattr(candles, name)) for name in ("open", "high", "low", "close")}
    before = np.concatenate((log["close"][:1], log["close"][:-1]))
    step = sign[1:] * np.diff(log["close"])
    close = np.concatenate((log["close"][:1], log["close"][0] + np.cumsum(step)))
    ahead = np.concatenate((close[:1], close[:-1]))
    turned = {name: np.exp(ahead + sign * (log[name] - before)) for name in ("open", "high", "low")}
    columns = candles.columns()
    columns["close"], columns["open"] = np.exp(close), turned["open"]
    body_top, body_bottom = np.maximum(columns["open"], columns["close"]), np.minimum(columns["open"], columns["close"])
    # rounding must not leave a close a hair outside its bar
    columns["high"] = np.maximum(np.where(sign > 0, turned["high"], turned["low"]), body_top)
    columns["low"] = np.minimum(np.where(sign > 0, turned["low"], turned["high"]), body_bottom)
    for bought, total in (("taker_buy_volume", "volume"), ("taker_buy_quote_volume", "quote_volume")):
        columns[bought] = np.where(sign > 0, columns[bought], np.maximum(columns[total] - columns[bought], 0.0))
    for name in ("open", "high", "low", "close"):
        columns[name][0] = getattr(candles, name)[0]
    return Candles.from_columns(candles.interval, columns, provenance="SIMULATED", halts=candles.halts)


def strongest(report: LabReport) -> float:
    """The largest pooled mean IC in its expected direction: what a user who looks for the best would find."""
    found = [card.sign * d.mean_ic for card in report.pooled for d in card.decay if math.isfinite(d.mean_ic)]
    return max(found, default=math.nan)


@dataclass(frozen=True)
class NullSize:
    """What the lab finds where nothing is. Worlds are independent, cells of one world are not: the interval counts worlds.

    `worlds_with_any` of `worlds` held at least one false "supported" (`low`, `high`: Clopper-Pearson 95 % of that share), and
    `cells_share` is the mean share of tested cells called so. `worlds_contradicted` held a false "contradicted": a score built from
    past prices leans below zero in short samples, where it and its outcome share one mean. `percentile`: share of null worlds whose
    strongest result lies below the real one (ties half), NaN without a real one.
    """

    worlds: int
    worlds_with_any: int
    share: float
    low: float
    high: float
    cells_share: float
    worlds_contradicted: int
    percentile: float
    words: str

    def document(self) -> dict[str, Any]:
        return plain(asdict(self))


def run_worlds(score_world: Callable[[Mapping[str, Candles]], LabReport], history: Mapping[str, Candles], *, worlds: int = WORLDS,
               first_seed: int = 1) -> list[LabReport]:
    """The whole pipeline on sign-randomised histories: `score_world` makes scores from candles and judges them."""
    return [score_world(mirrored(history, seed)) for seed in range(first_seed, first_seed + worlds)]


def null_size(results: Sequence[LabReport], *, real: LabReport | None = None,
              statistic: Callable[[LabReport], float] = strongest) -> NullSize:
    """False "supported" over null worlds, however they were made, and where the real result stands among them."""
    supported = [r.count(Verdict.SUPPORTED) for r in results]
    worlds, hits = len(results), sum(n > 0 for n in supported)
    low, high = clopper_pearson(hits, worlds)
    share = hits / worlds if worlds else math.nan
    cells = _mean(n / r.tested for n, r in zip(supported, results, strict=True) if r.tested)
    against = sum(r.count(Verdict.CONTRADICTED) > 0 for r in results)
    percentile = math.nan
    if real is not None:
        drawn = np.array([statistic(r) for r in results], float)
        drawn, mine = drawn[np.isfinite(drawn)], statistic(real)
        if len(drawn) and math.isfinite(mine):
            percentile = float((drawn < mine).mean() + 0.5 * (drawn == mine).mean())
    words = "No null world was run."
    if worlds:
        words = f"On noise it finds an edge {share:.0%} of the time ({hits} of {worlds} worlds, 95 % interval {low:.0%} to {high:.0%})"
        words += f"; your result stands at percentile {100 * percentile:.0f}." if math.isfinite(percentile) else "."
    return NullSize(worlds, hits, share, low, high, cells, against, percentile, words)


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return math.fsum(held) / len(held) if held else math.nan
