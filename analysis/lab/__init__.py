"""The score lab: does a score predict anything? Cards with honest intervals, weighting schemes side by side, worlds without an edge."""

from __future__ import annotations

from analysis.lab.cards import LabReport, PooledCard, ValidityCard, Verdict
from analysis.lab.null_worlds import NullSize, mirrored, null_size, run_worlds
from analysis.lab.panel import Panel
from analysis.lab.schemes import SCHEMES, Member, SchemeResult, WeightBand, compare_schemes, weight_band, weighted_mean
from analysis.lab.targets import SPECS, TARGETS, ScoreSpec, specs_for
from analysis.lab.validity import judge

__all__ = [
    "SCHEMES", "SPECS", "TARGETS", "LabReport", "Member", "NullSize", "Panel", "PooledCard", "SchemeResult", "ScoreSpec", "ValidityCard",
    "Verdict", "WeightBand", "compare_schemes", "judge", "mirrored", "null_size", "run_worlds", "specs_for", "weight_band",
    "weighted_mean",
]
