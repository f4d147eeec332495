"""Does one series' past help to forecast another's? Granger's test for all pairs at once, and vector autoregressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ORDER = 5
RIDGE = 1e-11  # on unit-variance moments: a pair of copies then tests as "no" instead of failing


def granger(returns: np.ndarray, *, order: int = ORDER) -> np.ndarray:
    """p-values, shape (N, N): entry [i, j] tests whether i's past `order` returns help to forecast j beyond j's own past.

    The F test of the sums of squares with and without i's lags, both regressions with a constant. All pairs are solved together from moment
    matrices; a row counts for a pair when both symbols' returns of all its lags are known. NaN on the diagonal and where fewer than
    ten rows a parameter are known.

    References
    ----------
    Granger (1969), "Investigating Causal Relations by Econometric Models and Cross-spectral Methods".
    """
    from scipy.special import fdtrc

    rows, assets = returns.shape
    n = rows - order
    parameters = 2 * order + 1
    if n < 10 * parameters:
        return np.full((assets, assets), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (returns - np.nanmean(returns, axis=0)) / np.nanstd(returns, axis=0)
    past = np.stack([z[order - k : rows - k] for k in range(1, order + 1)], axis=2)  # (n, N, order)
    own = np.concatenate([np.ones((n, assets, 1)), past, z[order:, :, None]], axis=2)  # constant, own lags, the return itself
    has_past, has_own = np.isfinite(past).all(axis=2), np.isfinite(own).all(axis=2)
    past, own = np.where(has_past[:, :, None], past, 0.0), np.where(has_own[:, :, None], own, 0.0)
    leads, follows = has_past.astype(float), has_own.astype(float)
    width = order + 2
    own_own = np.einsum("tja,tjb->tjab", own, own).reshape(n, -1)
    lag_lag = np.einsum("tia,tib->tiab", past, past).reshape(n, -1)
    gram = np.zeros((assets, assets, width + order, width + order))  # [i, j]: i leads, j follows
    first = list(range(order + 1))
    lag = list(range(order + 1, 2 * order + 1))
    last = 2 * order + 1
    where = [*first, last]
    block = (leads.T @ own_own).reshape(assets, assets, width, width)
    gram[np.ix_(range(assets), range(assets), where, where)] = block
    squares = (lag_lag.T @ follows).reshape(assets, order, order, assets)
    gram[:, :, lag[0] : lag[-1] + 1, lag[0] : lag[-1] + 1] = squares.transpose(0, 3, 1, 2)
    cross = (past.reshape(n, -1).T @ own.reshape(n, -1)).reshape(assets, order, assets, width).transpose(0, 2, 1, 3)
    for column, place in enumerate(where):
        gram[:, :, lag[0] : lag[-1] + 1, place] = cross[:, :, :, column]
        gram[:, :, place, lag[0] : lag[-1] + 1] = cross[:, :, :, column]
    count = leads.T @ follows
    gram /= np.maximum(count, 1.0)[:, :, None, None]
    spread = gram[:, :, last, last]

    def left_over(regressors: slice) -> np.ndarray:
        A = gram[:, :, regressors, regressors]
        A = A + RIDGE * np.eye(A.shape[-1])
        b = gram[:, :, regressors, last][..., None]
        return spread - (b * np.linalg.solve(A, b)).sum(axis=(2, 3))

    restricted, full = left_over(slice(0, order + 1)), left_over(slice(0, 2 * order + 1))
    free = count - parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.maximum(0.0, (restricted - full) / order) / (np.maximum(full, 1e-300) / free)
        p = np.where(count >= 10 * parameters, fdtrc(order, np.maximum(free, 1.0), statistic), np.nan)
    np.fill_diagonal(p, np.nan)
    return p


@dataclass(frozen=True)
class Autoregression:
    """A vector autoregression: `coefficients` [lag - 1, follower, leader], the residuals' covariance, the order, whether it is stable."""

    coefficients: np.ndarray
    residual_covariance: np.ndarray
    order: int
    stable: bool

    def variance_shares(self, *, horizon: int = 10) -> np.ndarray:
        """Forecast error variance decomposition at `horizon` by Cholesky, earlier columns first: row j sums to 1, [j, i] is i's share."""
        assets = len(self.residual_covariance)
        shock = np.linalg.cholesky(self.residual_covariance)
        response = [np.eye(assets)]
        for h in range(1, horizon):
            response.append(sum((self.coefficients[k] @ response[h - 1 - k] for k in range(min(self.order, h))), np.zeros((assets,
            assets))))
        power = sum((r @ shock) ** 2 for r in response)
        return np.asarray(power / np.sum(power, axis=1, keepdims=True))


def autoregression(returns: np.ndarray, *, most: int = 5, order: int | None = None) -> Autoregression | None:
    """VAR(p) with a constant by least squares, p = 0 .. `most` by BIC on one common sample; None below 20 rows a parameter.

    Raises nothing: a singular system gives None.

    References
    ----------
    Sims (1980), "Macroeconomics and Reality"; Lütkepohl (2005), "New Introduction to Multiple Time Series Analysis".
    """
    rows, assets = returns.shape
    if rows < 20 * (assets * most + 1) or not np.isfinite(returns).all() or (returns.std(axis=0) <= 0).any():
        return None
    scores = [_bic(_regress(returns[most - p :], p)[1], rows - most, p, assets) for p in range(most + 1)] if order is None else []
    chosen = int(np.argmin(scores)) if order is None else order
    coefficients, residuals = _regress(returns, chosen)
    covariance = residuals.T @ residuals / (len(residuals) - assets * chosen - 1)
    if np.linalg.matrix_rank(covariance) < assets:
        return None
    matrices = coefficients[1:].reshape(chosen, assets, assets).transpose(0, 2, 1)
    return Autoregression(matrices, covariance, chosen, _stable(matrices))


def _regress(returns: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    rows = len(returns)
    design = np.column_stack([np.ones(rows - order), *(returns[order - k : rows - k] for k in range(1, order + 1))])
    solved = np.linalg.lstsq(design, returns[order:], rcond=None)[0]
    return solved, returns[order:] - design @ solved


def _bic(residuals: np.ndarray, rows: int, order: int, assets: int) -> float:
    sign, logdet = np.linalg.slogdet(residuals.T @ residuals / rows)
    return float(logdet) + np.log(rows) / rows * (order * assets**2 + assets) if sign > 0 else np.inf


def _stable(matrices: np.ndarray) -> bool:
    order, assets = len(matrices), matrices.shape[1] if len(matrices) else 0
    if order == 0:
        return True
    companion = np.zeros((order * assets, order * assets))
    companion[:assets] = np.concatenate(list(matrices), axis=1)
    companion[assets:, :-assets] = np.eye((order - 1) * assets)
    return bool(np.abs(np.linalg.eigvals(companion)).max() < 1.0)
