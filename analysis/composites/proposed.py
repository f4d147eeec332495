"""The composites as they were first proposed: untyped means of what the modules show, mapped to 0..1. For comparison in the score lab only.

Nothing here feeds a signal: a regime probability has no side, risk does not average out, and an average of anomaly scores dilutes them
(docs/methods.md says what the typed recipes do instead).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.composites.combine import Inputs

# Which modules each composite was to average. optimal_allocation is a set of weights: a mean of it cannot be computed.
PROPOSED: Mapping[str, tuple[str, ...]] = {
    "trend_strength": ("A", "B", "C", "D"), "buy_opportunity": ("A", "C", "D", "E"), "risk_exposure": ("B", "F", "G", "J"),
    "macro_sentiment": ("C", "F", "E"), "liquidity_pressure": ("D", "H"), "anomaly_alert": ("J", "C", "G"),
}


def presented(inputs: Inputs, letter: str) -> np.ndarray:
    """A module's number as pages show it, mapped to 0..1 where it is signed."""
    score = inputs.of(letter)
    return 0.5 + 0.5 * score if letter in ("C", "E") else score


def as_proposed(name: str, inputs: Inputs) -> np.ndarray:
    """The plain mean of the modules that are known at each row; NaN where none is."""
    return _mean([presented(inputs, letter) for letter in PROPOSED[name]], [1.0] * len(PROPOSED[name]))


def weighted_as_proposed(name: str, inputs: Inputs) -> np.ndarray:
    """Weighted means of typed values, renormalised over what is known, on 0..1 (directions as 0.5 + 0.5 x)."""
    def side(letter: str) -> np.ndarray:
        return inputs.of(letter) if letter in ("C", "E") else 2.0 * inputs.of(letter) - 1.0

    if name == "trend_strength":
        p = inputs.of("B")
        mixed = _mean([side("A"), side("C"), side("D")], [.45, .20, .35])
        return 0.5 + 0.5 * mixed * np.where(np.isfinite(p), p, 0.5)
    if name == "buy_opportunity":
        return 0.5 + 0.5 * _mean([side("A"), side("C"), side("D"), inputs.of("E", "e")], [.40, .20, .25, .15])
    if name == "risk_exposure":
        return _mean([inputs.of("G"), inputs.of("B", "b_risk"), inputs.of("J"), 1.0 - inputs.of("F")], [.35, .25, .25, .15])
    if name == "macro_sentiment":
        return 0.5 + 0.5 * _mean([side("C"), side("F"), inputs.of("E", "e")], [.40, .40, .20])
    if name == "liquidity_pressure":
        return _mean([inputs.of("D"), inputs.of("H")], [.55, .45])
    if name == "anomaly_alert":
        return _mean([inputs.of("J"), np.abs(inputs.of("C")), inputs.of("G")], [.55, .20, .25])
    raise KeyError(name)


def _mean(values: list[np.ndarray], weights: list[float]) -> np.ndarray:
    stacked, weight = np.stack(values), np.asarray(weights)[:, None]
    known = np.isfinite(stacked)
    total = (known * weight).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (np.where(known, stacked, 0.0) * weight).sum(axis=0) / total, np.nan)
