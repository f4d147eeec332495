"""The score modules, in letter order. A new one is a file in this folder and a line in `MODULES`."""

from __future__ import annotations

from analysis.module import ScoreModule
from analysis.modules.corr_lead import CorrelationLeadLag
from analysis.modules.deriv_sentim import DerivativesSentiment
from analysis.modules.microalpha import MicroAlpha
from analysis.modules.onchain import OnChain
from analysis.modules.order_micros import OrderFlow
from analysis.modules.port_alloc import PortfolioAllocation
from analysis.modules.regime_anomal import RegimeAnomaly
from analysis.modules.risk_expos import RiskExposure
from analysis.modules.trend_moment import TrendMomentum
from analysis.modules.volat_regime import VolatilityRegime
from data.errors import InputError

MODULES: tuple[ScoreModule, ...] = (
    TrendMomentum(), VolatilityRegime(), DerivativesSentiment(), OrderFlow(), CorrelationLeadLag(), OnChain(), RiskExposure(),
    MicroAlpha(), PortfolioAllocation(), RegimeAnomaly())

BY_LETTER: dict[str, ScoreModule] = {module.letter: module for module in MODULES}


def by_command(word: str) -> ScoreModule:
    """The module that a command word, its short alias, slug or letter names.

    >>> by_command("t").letter, by_command("regime").letter, by_command("B").slug
    ('A', 'B', 'volat_regime')

    Raises
    ------
    InputError
        When no module has that name; the message lists those there are.
    """
    wanted = word.strip()
    if wanted in BY_LETTER:
        return BY_LETTER[wanted]  # "F" is a letter, "f" another module's alias
    for module in MODULES:
        if wanted.lower() in (*module.commands, module.slug):
            return module
    known = ", ".join(f"{module.commands[0]} ({module.letter})" for module in MODULES)
    raise InputError(f"expected one of {known}, got {wanted[:30]!r}")


__all__ = ["BY_LETTER", "MODULES", "by_command"]
