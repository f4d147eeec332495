"""Planted truth: an estimator, a world whose parameters are known, and the band the answer must fall into (methods.md 8.2).

A row is run once in the suite against its single-seed bands, and over `seeds` seeds in the long run against the bands of the
mean. A failing single seed with a passing mean is noise; the reverse is a bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Band = tuple[float, float]

FIRST_SEED = 1  # of the long run: seeds FIRST_SEED .. FIRST_SEED + seeds - 1


@dataclass(frozen=True)
class Row:
    """One line of the acceptance table.

    `estimate(seed)` builds the world of that seed and returns named estimates. `single` holds the band of one seed, `mean`
    the band of the mean over `seeds` seeds, by those names; a name in neither is only reported. NaN lies in no band.
    """

    name: str
    planted: str
    estimate: Callable[[int], Mapping[str, float]]
    single: Mapping[str, Band] = field(default_factory=dict)
    mean: Mapping[str, Band] = field(default_factory=dict)
    seeds: int = 20

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def inside(value: float, band: Band) -> bool:
    return math.isfinite(value) and band[0] <= value <= band[1]


def outside(row: Row, found: Mapping[str, float], bands: Mapping[str, Band]) -> list[str]:
    """The estimates that miss their band, in words; empty when all is well."""
    return [f"{row.name}: {key} = {found.get(key, math.nan):.6g}, expected {low:g} .. {high:g} (planted {row.planted})"
            for key, (low, high) in bands.items() if not inside(found.get(key, math.nan), (low, high))]


def means(row: Row) -> dict[str, float]:
    """The mean of every estimate over the row's seeds."""
    runs = [row.estimate(seed) for seed in range(FIRST_SEED, FIRST_SEED + row.seeds)]
    return {key: math.fsum(run[key] for run in runs) / len(runs) for key in runs[0]}


def check_single(row: Row, seed: int = FIRST_SEED) -> dict[str, float]:
    """One seed against the single-seed bands; returns the estimates, raises AssertionError with every miss."""
    found = dict(row.estimate(seed))
    missed = outside(row, found, row.single)
    assert not missed, "\n".join([f"seed {seed}", *missed])
    return found


def check_mean(row: Row) -> dict[str, float]:
    """All seeds against the bands of the mean; returns the means and prints the row, raises AssertionError with every miss."""
    found = means(row)
    for line in table([(row, found, row.mean)]):
        print(line)
    missed = outside(row, found, row.mean)
    assert not missed, "\n".join([f"mean over {row.seeds} seeds", *missed])
    return found


def table(results: Iterable[tuple[Row, Mapping[str, float], Mapping[str, Band]]]) -> list[str]:
    """Lines of a Markdown table: estimator, planted, what was found, the band, whether it lies inside."""
    lines = []
    for row, found, bands in results:
        for key, value in found.items():
            band = bands.get(key)
            words = f"{band[0]:g} .. {band[1]:g}" if band else "-"
            verdict = "-" if band is None else "ok" if inside(value, band) else "MISSED"
            lines.append(f"| {row.name}: {key} | {row.planted} | {value:.5g} | {words} | {verdict} |")
    return lines
