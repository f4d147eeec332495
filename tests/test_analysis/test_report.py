"""Typed scores: what may be averaged, what may not, and a document that is JSON whatever is unknown."""

from __future__ import annotations

import json
import math

import pytest

from analysis.report import Direction, Intensity, ModuleReport, Part, Regime, Risk, Score, Status, Weights
from data.errors import MixedScores

KNOWN = {"interval": "1h", "horizon_bars": 24, "as_of_ms": 1_700_000_000_000, "coverage": 1.0}


def test_scores_of_one_kind_and_horizon_average():
    mean = Direction.average([Direction(value=1.0, **KNOWN), Direction(value=-0.5, **KNOWN)], [1, 3])
    assert type(mean) is Direction and mean.value == pytest.approx(-0.125) and mean.coverage == 1.0


@pytest.mark.parametrize("other", [Risk(value=0.2, **KNOWN), Intensity(value=0.2, **KNOWN), Score(value=0.2, **KNOWN)])
def test_mixing_kinds_raises_and_names_both(other):
    with pytest.raises(MixedScores, match=f"Direction cannot be averaged with {type(other).__name__}"):
        Direction.average([Direction(value=0.1, **KNOWN), other], [1, 1])


@pytest.mark.parametrize("changed", [{"horizon_bars": 12}, {"interval": "4h"}])
def test_mixing_horizons_raises(changed):
    with pytest.raises(MixedScores, match="horizons differ"):
        Risk.average([Risk(value=0.1, **KNOWN), Risk(value=0.1, **(KNOWN | changed))], [1, 1])


@pytest.mark.parametrize("kind", [Regime, Weights])
def test_regimes_and_weights_are_never_averaged(kind):
    with pytest.raises(MixedScores, match="cannot be averaged"):
        kind.average([kind(value=0.5, **KNOWN)], [1])


def test_unknown_scores_lower_the_coverage_and_nothing_known_is_unknown():
    unknown = Risk(value=None, reason="no candles", **(KNOWN | {"coverage": 0.0}))
    mean = Risk.average([Risk(value=0.4, **KNOWN), unknown], [1, 1])
    assert mean.value == 0.4 and mean.coverage == 0.5
    nothing = Risk.average([unknown, unknown], [1, 1])
    assert nothing.value is None and nothing.reason == "none of the inputs is known" and nothing.coverage == 0.0


def test_counts_of_weights_must_match():
    with pytest.raises(MixedScores, match="as many weights as scores"):
        Risk.average([Risk(value=0.4, **KNOWN)], [1, 2])


@pytest.mark.parametrize(("kind", "value"), [(Direction, -1.01), (Risk, -0.01), (Intensity, 1.01)])
def test_values_outside_the_range_are_refused(kind, value):
    with pytest.raises(MixedScores, match="expects a value in"):
        kind(value=value, **KNOWN)


def test_an_unknown_value_needs_words():
    with pytest.raises(MixedScores, match="needs its reason in words"):
        Risk(value=None, **KNOWN)


def report(**changes):
    part = Part("var", "Value at risk", math.nan, "fraction", 0.15, None, Status.WARMUP.word, note="needs 3 more days")
    known = {
        "letter": "G", "slug": "risk_expos", "name": "Risk", "type": "risk 0..1", "symbol": "XYZUSDT", "market": "spot", "interval": "1h",
        "as_of_ms": 1_700_000_000_000, "score": None, "status": "insufficient", "reason": "too short", "coverage": 0.1, "age_s": math.inf,
        "raw": None, "link": "identity", "value": Risk(value=None, reason="too short", **KNOWN), "parts": (part,),
        "shown": {"a": math.inf, "b": [math.nan, 1.0], "c": {"d": (1, 2)}},
    }
    return ModuleReport(**(known | changes))


def test_a_document_is_json_with_null_and_a_reason_beside_it():
    document = json.loads(json.dumps(report().document(), allow_nan=False))
    assert document["score"] is None and document["reason"] == "too short" and document["age_s"] is None
    assert document["parts"][0]["value"] is None and document["parts"][0]["note"] == "needs 3 more days"
    assert document["value"]["kind"] == "Risk" and document["as_of"] == "2023-11-14T22:13:20Z"
    assert document["shown"] == {"a": None, "b": [None, 1.0], "c": {"d": [1, 2]}}


def test_a_document_writes_numpy_numbers_as_numbers():
    import numpy as np

    document = report(score=np.float64(0.25), shown={"n": np.int64(3), "on": np.bool_(True)}).document()
    assert json.dumps(document["score"]) == "0.25" and document["shown"] == {"n": 3, "on": True}


def test_only_ok_and_fallback_count():
    assert [s.word for s in Status if s.counts] == ["ok", "fallback"]
    assert report().part("var").status == "warmup"
