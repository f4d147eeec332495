"""Covariances of returns that can be inverted: Ledoit and Wolf's shrinkage, or exponential weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MINIMUM_ROWS = 60
FLAT = 1e-14  # a variance below this is rounding


@dataclass(frozen=True)
class Usable:
    """Which columns of a table of returns can be used together.

    `columns` are their numbers, `rows` those of the table in which all of them are known, `dropped` says in words why the others were
    left out, by column number.
    """

    columns: list[int]
    rows: np.ndarray
    dropped: dict[int, str]


def usable(returns: np.ndarray, *, minimum: int = MINIMUM_ROWS, unit: str = "days") -> Usable:
    """The columns with at least `minimum` known rows of their own and in common; those with fewest rows leave first.

    Parameters
    ----------
    returns : ndarray of shape (rows, assets)
        NaN where unknown.
    """
    known = np.isfinite(returns)
    count = known.sum(axis=0)
    dropped, columns = {}, []
    for i in range(returns.shape[1]):
        own = returns[known[:, i], i]
        if count[i] < minimum:
            dropped[i] = f"{count[i]} {unit} of returns, {minimum} needed"
        elif float(np.var(own)) <= FLAT:
            dropped[i] = "its price does not move"
        else:
            columns.append(i)
    while columns:
        rows = np.flatnonzero(known[:, columns].all(axis=1))
        if len(rows) >= minimum:
            still = [i for i in columns if float(np.var(returns[rows, i])) <= FLAT]
            if not still:
                return Usable(columns, rows, dropped)
            for i in still:  # it moved, but not in the rows all are known in: no correlation there
                columns.remove(i)
                dropped[i] = f"its price does not move in the {unit} all are known"
            continue
        least = min(columns, key=lambda i: (count[i], i))
        columns.remove(least)
        dropped[least] = f"too few {unit} in common with the others"
    return Usable([], np.empty(0, np.int64), dropped)


def ledoit_wolf(returns: np.ndarray) -> tuple[np.ndarray, float]:
    """(covariance shrunk towards the mean variance times the identity, shrinkage in [0, 1]).

    Parameters
    ----------
    returns : ndarray of shape (rows, assets)
        All known. The sample covariance is the maximum likelihood one (ddof 0), as in scikit-learn.

    References
    ----------
    Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices".
    """
    x = np.asarray(returns, float)
    n, assets = x.shape
    x = x - x.mean(axis=0)
    sample = x.T @ x / n
    mean = float(np.trace(sample)) / assets
    squares = x**2
    distance = float(np.sum(sample**2)) - assets * mean**2
    noise = (float(np.sum(squares.T @ squares)) / n - float(np.sum(sample**2))) / n
    shrinkage = min(1.0, max(0.0, noise / distance)) if distance > FLAT * mean**2 else 0.0
    return (1.0 - shrinkage) * sample + shrinkage * mean * np.eye(assets), shrinkage


def ewma_covariance(returns: np.ndarray, *, decay: float = 0.97) -> np.ndarray:
    """Covariance about the weighted mean, weights `decay^age` that sum to 1; the newest row has age 0."""
    x = np.asarray(returns, float)
    weight = decay ** np.arange(len(x) - 1, -1, -1)
    weight /= weight.sum()
    x = x - weight @ x
    return (x * weight[:, None]).T @ x


def correlation_of(covariance: np.ndarray) -> np.ndarray:
    """Correlations of a covariance, its diagonal exactly 1; NaN rows where a variance is zero."""
    sd = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.clip(covariance / np.outer(sd, sd), -1.0, 1.0)
    np.fill_diagonal(out, np.where(sd > 0, 1.0, np.nan))
    return out
