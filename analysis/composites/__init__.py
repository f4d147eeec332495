"""The composites, in the order they are shown. A new one is a class in this folder and a line in `COMPOSITES`."""

from __future__ import annotations

from analysis.composites.allocation import OptimalAllocation
from analysis.composites.beside import Crowding, DataConfidence, ExecutionQuality
from analysis.composites.combine import Composite, CompositeLine, Inputs
from analysis.composites.danger import AnomalyAlert, RiskExposureNow
from analysis.composites.direction import BuyOpportunity, LiquidityPressure, MacroSentiment, SellOpportunity, TrendStrength
from data.errors import InputError
from data.market import did_you_mean

COMPOSITES: tuple[Composite, ...] = (TrendStrength(), BuyOpportunity(), SellOpportunity(), RiskExposureNow(), MacroSentiment(),
                                     LiquidityPressure(), OptimalAllocation(), AnomalyAlert(), Crowding(), ExecutionQuality(),
                                     DataConfidence())


def by_name(name: str) -> Composite:
    """
    >>> by_name("trend-strength").title
    'Trend strength'

    Raises
    ------
    InputError
        When there is no composite of that name.
    """
    wanted = name.strip().lower().replace("-", "_").replace(" ", "_")
    for composite in COMPOSITES:
        if composite.name == wanted:
            return composite
    names = [composite.name for composite in COMPOSITES]
    raise InputError(f"expected one of {', '.join(names)}, got {name[:30]!r}{did_you_mean(wanted, names)}")


__all__ = ["COMPOSITES", "Composite", "CompositeLine", "Inputs", "by_name"]
