"""Each allocation method at 20 and 100 assets, 180 days, against riskfolio-lib called directly, and skfolio where it is installed.

Everybody starts from the same table of returns and shrinks its covariance (Ledoit & Wolf): that is part of the time. The peers are what a
user would write, one call; building their portfolio object is part of theirs. Weights are compared before anything is timed.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.allocation.black_litterman import black_litterman
from analysis.allocation.methods import Problem, method
from analysis.allocation.wishes import Wishes, room_for

ASSETS, DAYS, ROUNDS = (20, 100), 180, 5
TARGET = "0.5x"
Method = Callable[[], np.ndarray]


def returns_of(assets: int) -> np.ndarray:
    """Percent returns of a few common factors and noise; with more days than assets, so that the peers' sample covariance inverts."""
    stream = np.random.default_rng(assets)
    common = stream.standard_normal((DAYS, 3)) @ stream.uniform(0, 1, (3, assets))
    return common + stream.standard_normal((DAYS, assets)) * stream.uniform(1, 3, assets) + 0.3


def ours(x: np.ndarray) -> dict[str, Method]:
    """Covariance and weights, as the plan of a day computes them."""
    assets = x.shape[1]
    market, picks = np.full(assets, 1.0 / assets), np.eye(assets)[:2]

    room, names = room_for(Wishes(), assets), [str(i) for i in range(assets)]

    def solved(name: str) -> Method:
        return lambda: method(name).solve(Problem.of(names, x)[0], room)[0]

    def views() -> np.ndarray:
        return black_litterman(Problem.of(names, x)[0].covariance, market, picks, np.array([0.5, 0.4]), tau=1.0 / DAYS).mean

    return {"HRP": solved("hrp"), "risk parity": solved("risk-parity"), "minimum variance": solved("min-variance"),
            "maximum Sharpe": solved("max-sharpe"), "inverse volatility": solved("inverse-vol"), "equal weight": solved("equal"),
            "Black-Litterman": views}


def riskfolio_methods(x: np.ndarray) -> dict[str, Method]:
    import riskfolio as rp

    frame = pd.DataFrame(x)
    assets = x.shape[1]

    def portfolio() -> rp.Portfolio:
        made = rp.Portfolio(returns=frame)
        made.assets_stats(method_mu="hist", method_cov="ledoit")
        return made

    def optimum(goal: str) -> np.ndarray:
        return portfolio().optimization(model="Classic", rm="MV", obj=goal, rf=0, l=0, hist=True).to_numpy().ravel()

    def tree() -> np.ndarray:
        made = rp.HCPortfolio(returns=frame)
        return made.optimization(model="HRP", codependence="pearson", method_cov="ledoit", rm="MV", linkage="single",
                                 leaf_order=False).to_numpy().ravel()

    def views() -> np.ndarray:
        made = portfolio()
        held = pd.DataFrame(np.full((assets, 1), 1 / assets), index=frame.columns, columns=["weights"])
        made.blacklitterman_stats(np.eye(assets)[:2], np.array([[0.5], [0.4]]), rf=0, w=held, delta=2.5, eq=True,
                                  method_mu="hist", method_cov="ledoit")
        return np.asarray(made.mu_bl).ravel()

    def parity() -> np.ndarray:
        return portfolio().rp_optimization(model="Classic", rm="MV", rf=0, b=None, hist=True).to_numpy().ravel()

    return {"HRP": tree, "risk parity": parity,
            "minimum variance": lambda: optimum("MinRisk"), "maximum Sharpe": lambda: optimum("Sharpe"), "Black-Litterman": views}


def skfolio_methods(x: np.ndarray) -> dict[str, Method]:
    if importlib.util.find_spec("skfolio") is None:
        return {}
    from skfolio.moments import LedoitWolf
    from skfolio.optimization import (
        EqualWeighted,
        HierarchicalRiskParity,
        InverseVolatility,
        MeanRisk,
        ObjectiveFunction,
        RiskBudgeting,
    )
    from skfolio.prior import EmpiricalPrior

    def shrunk() -> EmpiricalPrior:
        return EmpiricalPrior(covariance_estimator=LedoitWolf())

    frame = pd.DataFrame(x / 100)

    def fitted(model) -> np.ndarray:
        return np.asarray(model.fit(frame).weights_)

    return {"HRP": lambda: fitted(HierarchicalRiskParity(prior_estimator=shrunk())),
            "risk parity": lambda: fitted(RiskBudgeting(prior_estimator=shrunk())),
            "minimum variance": lambda: fitted(MeanRisk(prior_estimator=shrunk())),
            "maximum Sharpe": lambda: fitted(MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_RATIO, prior_estimator=shrunk())),
            "inverse volatility": lambda: fitted(InverseVolatility(prior_estimator=shrunk())),
            "equal weight": lambda: fitted(EqualWeighted())}


def medians_ms(mine: Method, theirs: Method) -> tuple[float, float]:
    """Medians of a few interleaved calls; both have been called once before."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for call, held in zip((mine, theirs), times, strict=True):
            began = time.perf_counter()
            call()
            held.append(time.perf_counter() - began)
    return 1000.0 * statistics.median(times[0]), 1000.0 * statistics.median(times[1])


def run() -> list[dict]:
    """Rows of the performance table; the peer's column says by how much the answers differ."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for assets in ASSETS:
            x = returns_of(assets)
            mine = ours(x)
            for library, theirs in (("riskfolio", riskfolio_methods(x)), ("skfolio", skfolio_methods(x))):
                for name, call in theirs.items():
                    apart = float(np.abs(mine[name]() - call()).max())
                    a, b = medians_ms(mine[name], call)
                    rows.append({"name": f"{name}, {assets} assets x {DAYS} days", "ours_ms": a, "peer_ms": b, "ratio": a / b,
                                 "peer": f"{library} (answers differ by {apart:.0e})", "target": TARGET})
    return rows


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
