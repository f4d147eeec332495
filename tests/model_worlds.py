"""Small worlds for the learning core: a planted score, its placebo, and one shared training that many tests look at."""

from __future__ import annotations

import functools

import numpy as np

from data.frames import Candles
from data.simulator import worlds
from models.dataset import Dataset, make_dataset
from models.train import TrainOptions, TrainResult, train

SYMBOL, HORIZON = "MUSDT", 12
FAST = {"n_estimators": 40, "min_child_samples": 50}
FEW = ("returns_1m", "ret_15", "rsi_14", "ema_cross", "atr", "zscore_50", "rv_ratio", "body")


def scored(seed: int, bars: int, strength: float) -> tuple[Candles, np.ndarray]:
    """Candles whose next return is `t5 + strength * s` with an AR(1) .9 score s of unit variance (methods.md 8.1); 0 is the placebo."""
    score = worlds.autoregression(seed, bars, 0.9) * np.sqrt(1 - 0.81)
    returns = worlds.generator(seed + 500_000).standard_t(5, bars)
    returns[1:] += strength * score[:-1]
    return worlds.candles_of(np.cumsum(returns), seed=seed), score


def dataset(seed: int = 1, bars: int = 2500, *, strength: float = 0.15, label: str = "dir3_dyn", **options) -> Dataset:
    candles, score = scored(seed, bars, strength)
    return make_dataset({SYMBOL: candles}, label, features=(*FEW, "score"), extra={SYMBOL: {"score": score}}, **options)


@functools.cache
def trained(label: str = "dir3_dyn", strength: float = 0.15, seed: int = 1, bars: int = 4000) -> TrainResult:
    """One quick training, shared by the tests that only look."""
    candles, score = scored(seed, bars, strength)
    options = TrainOptions(horizon=HORIZON, cost=0.0, folds=3, features=(*FEW, "score"), parameters=FAST)
    return train({SYMBOL: candles}, label, options=options, extra={SYMBOL: {"score": score}})
