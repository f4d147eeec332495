"""What changed between two moments, and what would have to change for the word to be another one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.composites.combine import CompositeLine, band_of
from analysis.module import ScoreModule, Timeline
from data.clock import iso
from data.errors import InputError

Bands = tuple[tuple[float, str], ...]  # (lowest raw value, its word), ascending, the first from -inf


@dataclass(frozen=True)
class Change:
    """The move of a score between two moments, split so that the parts add up to it (within 1e-9).

    `parts` are shares of the change of the score, largest first; `raw_parts` of the raw value. A gate's share is what its own move did
    to all it multiplies.
    """

    before_ms: int
    after_ms: int
    score_before: float
    score_after: float
    raw_before: float
    raw_after: float
    parts: Mapping[str, float]
    raw_parts: Mapping[str, float]

    @property
    def change(self) -> float:
        return self.score_after - self.score_before


def what_changed(line: CompositeLine | Timeline, before_ms: int, after_ms: int) -> Change:
    """Attribute the move between the rows that closed at these times.

    For a gated sum g S: `mean(g) dS_i` to each part and `mean(S) dg` to the gate, exact; several gates share dg by the same rule in
    turn. Through the link to the score the parts are scaled by the secant, so that they still add up.

    Raises
    ------
    InputError
        When a row is not there or one of them is unknown.
    """
    i, j = (_row(line, at) for at in (before_ms, after_ms))
    for row in (i, j):
        if not (np.isfinite(line.raw[row]) and np.isfinite(line.score[row])):
            at = iso(int(line.close_time[row]))
            raise InputError(f"the score at {at} is unknown, so its change cannot be split: choose another time")
    inner = line.inner if isinstance(line, CompositeLine) else line.contributions
    gates = line.gates if isinstance(line, CompositeLine) else {}
    sums = [float(np.nansum([v[row] for v in inner.values()])) for row in (i, j)]
    gate = [math.prod(float(v[row]) for v in gates.values()) for row in (i, j)]
    raw_parts = {name: 0.5 * (gate[0] + gate[1]) * _step(v, i, j) for name, v in inner.items()}
    raw_parts |= {name: 0.5 * (sums[0] + sums[1]) * share for name, share in _gate_shares(gates, i, j).items()}
    total = float(line.raw[j] - line.raw[i])
    moved = float(line.score[j] - line.score[i])
    scale = moved / total if abs(total) > 1e-300 else 0.0
    order = sorted(raw_parts, key=lambda name: -abs(raw_parts[name]))
    return Change(int(line.close_time[i]), int(line.close_time[j]), float(line.score[i]), float(line.score[j]), float(line.raw[i]),
                  float(line.raw[j]), {name: scale * raw_parts[name] for name in order}, {name: raw_parts[name] for name in order})


def _row(line: CompositeLine | Timeline, at_ms: int) -> int:
    """The newest row closed at or before a time."""
    row = int(np.searchsorted(line.close_time, at_ms, side="right")) - 1
    if row < 0:
        raise InputError(f"the history begins at {iso(int(line.close_time[0]))}, {iso(at_ms)} was asked for; ask for a later time")
    return row


def _step(values: np.ndarray, i: int, j: int) -> float:
    """The move of a part; one that was absent counted as nothing."""
    return float(np.nan_to_num(values[j]) - np.nan_to_num(values[i]))


def _gate_shares(gates: Mapping[str, np.ndarray], i: int, j: int) -> dict[str, float]:
    """Parts of the move of a product: `d(x y) = mean(y) dx + mean(x) dy`, in turn."""
    names = list(gates)
    shares = {}
    around = 1.0
    for n, name in enumerate(names):
        x = [float(gates[name][row]) for row in (i, j)]
        rest = [math.prod(float(gates[other][row]) for other in names[n + 1 :]) for row in (i, j)]
        shares[name] = around * 0.5 * (rest[0] + rest[1]) * (x[1] - x[0])
        around *= 0.5 * (x[0] + x[1])
    return shares


@dataclass(frozen=True)
class Flip:
    """The change of one input that would change the word, all else equal.

    `k_now` and `k_needed` are unit scores; `reachable` says whether the needed one exists (lies within `bound` of 0).
    """

    name: str
    towards: str
    k_now: float
    k_needed: float
    reachable: bool

    @property
    def distance(self) -> float:
        return abs(self.k_needed - self.k_now)


def flips(parts: Mapping[str, float], weights: Mapping[str, float], raw: float, gate: float, bands: Bands) -> list[Flip]:
    """For both neighbouring bands and every part: `dk = (edge - raw) / (gate w)`, reachable ones first, smallest first.

    Parameters
    ----------
    parts : mapping of name to its ungated contribution w k
    weights : mapping of name to its effective weight w (k lies in [-1, 1])
    raw : float
        gate times the sum of parts.
    """
    here = band_of(raw, bands)
    found = []
    edges = [(bands[here][0], bands[here - 1][1], -1.0)] if here else []
    if here + 1 < len(bands):
        edges.append((*bands[here + 1], 1.0))
    for edge, towards, nudge in edges:
        if gate <= 0:
            continue
        needed = (edge - raw) / gate
        needed += nudge * 1e-9 * max(1.0, abs(edge))  # beyond the edge, not on it
        for name, part in parts.items():
            weight = weights.get(name, 0.0)
            if weight <= 0 or not math.isfinite(part):
                continue
            k = part / weight
            target = k + needed / weight
            found.append(Flip(name, towards, k, target, abs(target) <= 1.0))
    return sorted(found, key=lambda f: (not f.reachable, f.distance))


def module_flips(module: ScoreModule, line: Timeline, bands: Bands) -> list[Flip]:
    """Flips of a module that is a weighted mean (A, C, D, F, H): effective weights are w / coverage."""
    raw, coverage = float(line.raw[-1]), float(line.coverage[-1])
    if not math.isfinite(raw) or coverage <= 0:
        return []
    parts, weights = {}, {}
    for metric in module.metrics:
        share = line.contributions.get(metric.key)
        track = line.tracks[metric.key]
        if share is None or not np.isfinite(share[-1]) or not track.counts_now:
            continue
        parts[metric.key] = float(share[-1])
        weights[metric.key] = metric.weight * float(track.freshness(metric.tau_bars)[-1]) / coverage
    return flips(parts, weights, raw, 1.0, bands)
