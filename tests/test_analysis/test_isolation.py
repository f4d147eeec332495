"""Our scorer is scikit-learn's, the document is plain JSON, and the tail map is the one of the table."""

import json

import numpy as np
import pytest

from analysis.methods.isolation import average_path, fit_forest, leaves_of, read_forest
from tests import naive_stats as naive


@pytest.fixture(scope="module")
def rows():
    return np.abs(np.random.default_rng(7).standard_t(4, (1200, 4)))


@pytest.fixture(scope="module")
def document(rows):
    return fit_forest(rows)


@pytest.fixture(scope="module")
def peer(rows):
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=300, max_samples=256, random_state=0).fit(rows)


def test_scores_are_scikit_learns(rows, document, peer):
    fresh = np.abs(np.random.default_rng(8).standard_t(2, (500, 4))) * 3
    forest = read_forest(json.loads(json.dumps(document)))
    for x in (rows, fresh, fresh[:1]):
        assert np.max(np.abs(forest.score(x) + peer.score_samples(x))) < 1e-12


def test_rows_on_a_threshold_fall_the_same_way(rows, document, peer):
    cuts = np.concatenate([e.tree_.threshold[e.tree_.children_left >= 0] for e in peer.estimators_[:40]])[:400]
    for x in (cuts, np.nextafter(cuts, np.inf), cuts.astype(np.float32).astype(float)):
        x = np.repeat(x[:, None], 4, axis=1)
        assert np.max(np.abs(read_forest(document).score(x) + peer.score_samples(x))) < 1e-12


def test_score_is_the_definition(rows, document, peer):
    paths = [naive.forest_path(e.tree_, rows[0]) for e in peer.estimators_]
    expected = 2.0 ** (-np.mean(paths) / average_path(np.array(256)))
    assert read_forest(document).score(rows[:1])[0] == pytest.approx(float(expected), rel=1e-12)


def test_tail_map_is_empirical_then_log_linear(rows, document):
    forest = read_forest(document)
    train = forest.training_scores
    near, far = np.quantile(train, [0.95, 0.999])
    p = forest.tail_probability(np.array([train[0], np.median(train), near, far, 2 * far - near, 1.0]))
    assert p[0] > 0.999 and p[1] == pytest.approx(0.5, abs=0.01)
    assert p[2] == pytest.approx(0.05) and p[3] == pytest.approx(0.001) and p[4] == pytest.approx(0.001 * 0.02)
    assert p[5] >= 0.05 * 0.02**3 - 1e-12
    grid = forest.tail_probability(np.linspace(train[0], 1, 500))
    assert np.all(np.diff(grid) <= 1e-15)


def test_an_outlier_is_improbable_and_a_broken_row_unknown(rows, document):
    forest = read_forest(document)
    score = forest.score(np.array([[30.0] * 4, [0.7] * 4, [np.nan, 1, 1, 1]]))
    p = forest.tail_probability(score)
    assert p[0] < 1e-3 < p[1] and np.isnan(score[2]) and np.isnan(p[2])


def test_the_same_rows_give_the_same_document(rows, document):
    assert fit_forest(rows) == document
    holed = np.vstack((rows, np.full((3, 4), np.nan)))
    assert fit_forest(holed) == document


def test_rows_that_do_not_vary_give_no_probability():
    forest = read_forest(fit_forest(np.ones((400, 3))))
    assert np.isnan(forest.tail_probability(forest.score(np.ones((2, 3))))).all()


def test_the_compiled_walk_ends_where_all_trees_stepping_down_together_do(rows, document, monkeypatch):
    forest = read_forest(document)
    monkeypatch.setattr(leaves_of, "compiled", None)
    together = forest.score(rows[:40])
    walked = leaves_of(rows[:40].astype(np.float32), forest.feature, forest.value, forest.right, forest.root)
    assert (forest.feature[walked] < 0).all()
    monkeypatch.setattr(leaves_of, "compiled", leaves_of.plain)
    assert np.array_equal(forest.score(rows[:40]), together)
