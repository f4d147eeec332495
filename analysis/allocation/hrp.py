"""Hierarchical risk parity: weights by recursive bisection of a tree of correlations, without inverting anything."""

from __future__ import annotations

import numpy as np

from analysis.allocation.covariance import correlation_of


def hrp(covariance: np.ndarray, correlation: np.ndarray | None = None) -> np.ndarray:
    """Long-only weights that sum to 1.

    Distance `sqrt((1 - rho)/2)`, single linkage, assets in the order of the tree's leaves; the list is halved again and again and each
    half gets weight in inverse proportion to the variance of its inverse-variance portfolio.

    Parameters
    ----------
    covariance : ndarray of shape (assets, assets)
    correlation : ndarray of shape (assets, assets), optional
        Where the tree is to be built on another estimate; by default that of the covariance.

    Notes
    -----
    The order of the leaves decides where an odd list is split: three equal assets get 1/2 for one and 1/4 for the others, and which one is
    the tree's choice. It is no property of the assets.

    References
    ----------
    López de Prado (2016), "Building Diversified Portfolios that Outperform Out of Sample".
    """
    assets = len(covariance)
    if assets == 1:
        return np.ones(1)
    weights = np.ones(assets)
    order = leaf_order(correlation_of(covariance) if correlation is None else correlation)
    pending = [order]
    while pending:
        items = pending.pop()
        if len(items) < 2:
            continue
        left, right = items[: len(items) // 2], items[len(items) // 2 :]
        risk_left, risk_right = cluster_variance(covariance, left), cluster_variance(covariance, right)
        share = risk_right / (risk_left + risk_right)
        weights[left] *= share
        weights[right] *= 1.0 - share
        pending += [left, right]
    return weights / weights.sum()


def leaf_order(correlation: np.ndarray) -> list[int]:
    """Assets in the order of the leaves of the single-linkage tree."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    return [int(i) for i in leaves_list(linkage(squareform(distances(correlation), checks=False), "single"))]


def distances(correlation: np.ndarray) -> np.ndarray:
    """`sqrt((1 - rho)/2)`: 0 for the same, 1 for the opposite; a metric."""
    out = np.sqrt(np.clip((1.0 - correlation) / 2.0, 0.0, 1.0))
    np.fill_diagonal(out, 0.0)
    return out


def cluster_variance(covariance: np.ndarray, items: list[int]) -> float:
    """Variance of the inverse-variance portfolio of some assets."""
    part = covariance[np.ix_(items, items)]
    inverse = 1.0 / np.diag(part)
    inverse /= inverse.sum()
    return float(inverse @ part @ inverse)


def branches(correlation: np.ndarray) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """The single-linkage tree as lines: across and up of the four corners of each join, and the leaves from left to right.

    Leaf k stands at 5 + 10 k across; a join stands as high as the distance `sqrt((1 - rho)/2)` at which its parts meet.
    """
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    drawn = dendrogram(linkage(squareform(distances(correlation), checks=False), "single"), no_plot=True)
    return drawn["icoord"], drawn["dcoord"], [int(i) for i in drawn["leaves"]]
