"""Black-Litterman: the returns at which a portfolio is what one would hold, moved by views as far as they can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RISK_AVERSION = 2.5
TAU = 0.05


@dataclass(frozen=True)
class Posterior:
    """`equilibrium` and `mean`: expected excess returns before and after the views; `covariance` = S + M, what they are known by."""

    equilibrium: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def weights(self, *, risk_aversion: float = RISK_AVERSION) -> np.ndarray:
        """`(risk_aversion (S + M))^-1 mean`: unconstrained, may be negative; without views the market's weights / (1 + tau)."""
        return np.linalg.solve(risk_aversion * self.covariance, self.mean)


def black_litterman(covariance: np.ndarray, market: np.ndarray, picks: np.ndarray, returns: np.ndarray,
                    confidence: np.ndarray | float = 1.0, *, risk_aversion: float = RISK_AVERSION, tau: float = TAU) -> Posterior:
    """Expected returns given views.

    `Pi = d S w`; `M = [(tau S)^-1 + P' O^-1 P]^-1`; `mean = M [(tau S)^-1 Pi + P' O^-1 Q]`, `O = diag(P tau S P') / c`. Computed in the
    form that inverts only a matrix of the views' size, so a singular S is no harm.

    Parameters
    ----------
    covariance : ndarray of shape (assets, assets)
        Per period of `returns`.
    market : ndarray of shape (assets,)
        Weights of the portfolio that is taken as equilibrium.
    picks : ndarray of shape (views, assets)
        P: each row one portfolio that has a view.
    returns : ndarray of shape (views,)
        Q: its expected return.
    confidence : float or ndarray of shape (views,)
        c in (0, 1]; at 1 a view weighs as much as equilibrium does.

    References
    ----------
    He & Litterman (1999), "The Intuition Behind Black-Litterman Model Portfolios".
    """
    pi = risk_aversion * covariance @ market
    picks = np.atleast_2d(np.asarray(picks, float)).reshape(-1, len(market))
    if not len(picks):
        return Posterior(pi, pi, covariance * (1.0 + tau))
    prior = tau * covariance
    spread = prior @ picks.T
    own = picks @ spread
    omega = np.diag(np.diag(own) / np.broadcast_to(np.asarray(confidence, float), len(picks)))
    gain = np.linalg.solve(own + omega, spread.T).T
    return Posterior(pi, pi + gain @ (np.asarray(returns, float) - picks @ pi), covariance + prior - gain @ spread.T)


@dataclass(frozen=True)
class View:
    """A score that may move weights: its verdict in the score lab, its rank correlation with what followed, and where it stands now.

    `z` is the score in its own standard deviations, `confidence` in (0, 1].
    """

    verdict: str
    ic: float
    z: float
    confidence: float = 0.5


def supported(views: Mapping[str, View], names: Sequence[str]) -> dict[str, View]:
    """The views that count: verdict "supported" and an asset of the portfolio."""
    return {name: view for name, view in views.items() if view.verdict == "supported" and name in names}


def view_returns(views: Mapping[str, View], names: Sequence[str], sd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(P, Q, c) of absolute views, one an asset: `Q_i = IC_i sd_i z_i` (Grinold 1994, "Alpha is volatility times IC times score")."""
    held = [name for name in names if name in views]
    picks = np.zeros((len(held), len(names)))
    for row, name in enumerate(held):
        picks[row, list(names).index(name)] = 1.0
    q = np.array([views[n].ic * sd[list(names).index(n)] * views[n].z for n in held])
    return picks, q, np.array([views[n].confidence for n in held])
