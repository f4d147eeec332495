"""What the next twenty candles may look like: direct models at 1, 5, 10 and 20 bars, each with its conformal interval.

Four separate answers joined by straight lines; the path between them is drawn, not forecast, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.errors import InputError
from data.frames import Candles
from models.dataset import Extra, newest_rows
from models.train import TrainOptions, TrainResult, train
from models.trained import TrainedModel, plain

HORIZONS = (1, 5, 10, 20)
LABEL = "fwd_ret_vs"
WORDS = "four separate forecasts, joined by straight lines"


@dataclass(frozen=True)
class PathPoint:
    """Expected close after `bars` bars and its interval, in quote currency; None where it is not known."""

    bars: int
    close_time: int
    price: float | None
    low: float | None
    high: float | None
    expected_return: float | None
    abstained: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class PathForecast:
    """From the newest close on. `coverage` is what the interval promises."""

    symbol: str
    close_time: int
    price: float
    points: tuple[PathPoint, ...]
    coverage: float
    words: str = WORDS

    def document(self) -> dict[str, Any]:
        points = [{n: getattr(p, n) for n in p.__dataclass_fields__} for p in self.points]
        return dict(plain({n: getattr(self, n) for n in ("symbol", "close_time", "price", "coverage", "words")} | {"points": points}))


def train_path(candles: Mapping[str, Candles], model: str = "lgbm_regressor", options: TrainOptions | None = None, *,
               extra: Extra | None = None, horizons: tuple[int, ...] = HORIZONS,
               progress: Callable[[int, int, str], None] = lambda done, total, words: None,
               cancelled: Callable[[], bool] = lambda: False) -> dict[int, TrainResult]:
    """One training per horizon on the volatility-scaled return; `progress` counts over all of them."""
    out = {}
    for i, bars in enumerate(horizons):
        def told(done: int, total: int, words: str, i: int = i, bars: int = bars) -> None:
            progress(i * total + done, len(horizons) * total, f"{bars} bars ahead, {words}")

        out[bars] = train(candles, LABEL, model, replace(options or TrainOptions(), horizon=bars), extra=extra, progress=told,
                          cancelled=cancelled)
    return out


def forecast_path(models: Mapping[int, TrainedModel], symbol: str, candles: Candles, *, extra: Extra | None = None) -> PathForecast:
    """The path from the newest bar: scaled forecasts times the volatility known there.

    Raises
    ------
    InputError
        No model, no candles, or a model of another label.
    """
    if not models or not len(candles):
        raise InputError("expected at least one model and one candle for a path")
    price, points, coverage = float(candles.close[-1]), [], 0.0
    for bars, model in sorted(models.items()):
        if model.config["label"] != LABEL or model.config["horizon"] != bars:
            raise InputError(f"expected a {LABEL} model of {bars} bars, got {model.config['label']} of {model.config['horizon']}")
        rows = newest_rows({symbol: candles}, bars, features=model.features, extra=extra)
        answer, sigma = model.predict(rows)[0], float(rows.sigma[-1])

        def at(scaled: float | None, sigma: float = sigma) -> float | None:
            return price * (1.0 + scaled * sigma) if scaled is not None and np.isfinite(sigma) else None

        points.append(PathPoint(bars, answer.close_time + bars * candles.interval.ms, at(answer.mean), at(answer.low), at(answer.high),
                                answer.mean * sigma if answer.mean is not None and np.isfinite(sigma) else None, answer.abstained,
                                answer.reasons))
        coverage = 1.0 - model.interval.alpha if model.interval else 0.0
    return PathForecast(symbol, int(candles.close_time[-1]), price, tuple(points), coverage)
