"""The facade's verbs over portfolios: weights, their risk, their record out of sample, and the way there from what is held."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.dealing import Dealing
from core.kept import Kept
from data.market import Interval

if TYPE_CHECKING:
    from analysis.allocation.record import Record
    from core.portfolio import Allocation, Asked
    from core.portfolio_plan import Rebalancing
    from core.portfolio_risk import PortfolioRisk

ALLOCATIONS_KEPT = 32
REFERENCE = "BTCUSDT"  # as core/portfolio.py, which is loaded when it is needed


class Allocating(Dealing):
    """Verbs over portfolios, each a few lines of delegation."""

    @cached_property
    def _allocations(self) -> Kept[Any]:
        return Kept(ALLOCATIONS_KEPT, self._turns)

    def allocation(self, asked: Asked, *, bands: bool = True) -> Allocation:
        """Weights by one method under what is wished (P1)."""
        from core.portfolio import allocate

        held = self.held_weights() if asked.wishes.turnover is not None else {}
        return self._allocations.get(self._portfolio_version("weights", asked, (bands, tuple(sorted(held.items())))),
                                     lambda: allocate(self, asked, held=held, bands=bands))

    def portfolio_risk(self, asked: Asked, *, market_shock: float = -0.2, shocks: Mapping[str, float] | None = None) -> PortfolioRisk:
        """What today's weights could lose: tails, tests, betas, crashes, shocks, and what to do about it (P2)."""
        from core.portfolio_risk import risk_of

        own = tuple(sorted((shocks or {}).items()))
        held = tuple(sorted(self.held_weights().items())) if asked.wishes.turnover is not None else ()
        return self._allocations.get(self._portfolio_version("risk", asked, (market_shock, own, held)),
                                     lambda: risk_of(self.allocation(asked), market_shock=market_shock, shocks=dict(own)))

    def allocation_record(self, asked: Asked, *, start_ms: int | None = None) -> Record:
        """Every method out of sample after costs, from `start_ms` on (default: all there is), beside 1/N and inverse volatility (X17)."""
        from core.portfolio_record import record_of

        return self._allocations.get(self._portfolio_version("record", asked, start_ms), lambda: record_of(self, asked, start_ms))

    def held_weights(self) -> dict[str, float]:
        """Signed shares of the paper account's equity by symbol; empty without an account."""
        status = self.paper_status()
        if status["account"] is None or not status["equity"] > 0:
            return {}
        return {p["symbol"]: p["side"] * p["notional"] / status["equity"] for p in status["positions"]}

    def rebalancing(self, allocation: Allocation, *, band: float = 0.02) -> Rebalancing:
        """From the paper account's holdings to the weights: orders, costs, and what is left alone."""
        from core.portfolio_plan import rebalancing

        return rebalancing(self, allocation, band=band)

    def send_rebalancing(self, plan: Rebalancing) -> tuple[str, ...]:
        """Ask the paper account for the orders of a plan; the same plan twice is asked once. Returns the keys of what was asked."""
        from core.portfolio_plan import send

        return send(self, plan)

    def _portfolio_version(self, what: str, asked: Asked, *more: Any) -> tuple[Any, ...]:
        wanted = {*asked.symbols, REFERENCE}  # asked for once: a reader makes its keys anew at every look
        series = sorted((k for k in self.reader.keys() if k.market is asked.market and k.symbol in wanted), key=str)
        steps = (asked.interval, Interval.D1, Interval.H4, Interval.H1) if asked.method == "black-litterman" else ()
        lab = tuple(found.made_at for i in steps if (found := self.lab_result(i, asked.market)) is not None)
        return (what, self.world, asked, tuple(self.reader.version(k) for k in series), lab, *more)
