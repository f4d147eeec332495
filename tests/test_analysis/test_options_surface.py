"""Black-76 against finite differences and parity, a flat smile, a known slope, total variance, and what is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.methods.options_surface import (
    GAMMA_CONVENTION,
    YEAR_MS,
    black76_gamma,
    black76_price,
    forward_delta,
    gamma_exposure,
    in_total_variance,
    iv30,
    iv30_series,
    smiles_of,
    snapshot_slices,
    surfaces,
)
from data.market import DAY_MS, HOUR_MS
from data.observations import COLUMNS_OF, Kind, Observations

NOW = 1_795_161_600_000


def chain(smile, *, forward=100.0, days=(10.0, 25.0, 40.0, 90.0), strikes=None, at=NOW):
    """Marks of calls and puts; `smile(strike, years)` is the volatility."""
    strikes = np.arange(40.0, 201.0, 2.0) if strikes is None else strikes
    rows = {name: [] for name in COLUMNS_OF[Kind.OPTION_MARK]}
    for d in days:
        years = d / 365.0
        iv = np.array([smile(k, years) for k in strikes])
        for is_call in (True, False):
            rows["strike"].append(strikes)
            rows["expiry_ms"].append(np.full(len(strikes), at + d * DAY_MS))
            rows["is_call"].append(np.full(len(strikes), float(is_call)))
            rows["mark_iv"].append(iv)
            rows["mark_price"].append(black76_price(np.full(len(strikes), forward), strikes, np.full(len(strikes), years), iv,
                                                    np.full(len(strikes), is_call)))
            for name in ("delta", "gamma", "theta", "vega"):
                rows[name].append(np.full(len(strikes), np.nan))
    columns = {name: np.concatenate(parts) for name, parts in rows.items()}
    stamp = np.full(len(columns["strike"]), at, np.int64)
    return Observations(Kind.OPTION_MARK, stamp, stamp, columns)


def together(*parts):
    return Observations(parts[0].kind, np.concatenate([p.event_time for p in parts]), np.concatenate([p.available_time for p in parts]),
                        {name: np.concatenate([p[name] for p in parts]) for name in parts[0].columns})


def held(marks, calls, puts, *, late_ms=0):
    contracts = np.where(marks["is_call"] > 0, calls, puts)
    at = marks.event_time - late_ms
    return Observations(Kind.OPTION_OPEN_INTEREST, at, at, {"strike": marks["strike"], "expiry_ms": marks["expiry_ms"],
                                                            "is_call": marks["is_call"], "contracts": contracts,
                                                            "value_quote": contracts * 100})


def flat(strike, years):
    return 0.6


@pytest.mark.parametrize(("forward", "strike", "years", "sigma"), [(100.0, 100.0, 1.0, 0.2), (100.0, 130.0, 0.08, 0.7), (17_698.0, 15_000.0,
                                                                                                                      0.01, 0.5)])
def test_gamma_is_the_second_difference_of_the_price(forward, strike, years, sigma):
    h = forward * 1e-3
    up, mid, down = (float(black76_price(np.array(f), np.array(strike), np.array(years), np.array(sigma), np.array(True)))
                     for f in (forward + h, forward, forward - h))
    assert float(black76_gamma(forward, strike, years, sigma)) == pytest.approx((up - 2 * mid + down) / h**2, rel=2e-3)
    assert float(forward_delta(forward, strike, years, sigma)) == pytest.approx((up - down) / (2 * h), abs=1e-3)


def test_a_textbook_price_and_parity():
    call, put = (float(black76_price(np.array(100.0), np.array(100.0), np.array(1.0), np.array(0.2), np.array(c))) for c in (True, False))
    assert call == pytest.approx(7.9655674, abs=1e-6) and call - put == pytest.approx(0.0, abs=1e-12)


def test_a_flat_smile_has_no_skew_and_every_term_the_same_volatility():
    marks = chain(flat, forward=103.7)
    found = surfaces(marks)[0]
    assert found.forward == pytest.approx(103.7) and found.at_ms == NOW
    assert (found.atm, found.call_25, found.put_25) == pytest.approx((0.6, 0.6, 0.6), abs=1e-9)
    assert found.skew == pytest.approx(0.0, abs=1e-12) and iv30(marks) == pytest.approx(0.6, abs=0.006)


def test_skew_is_read_at_the_deltas_it_names():
    """A volatility that is a line in the call's delta is read back exactly: .70 at delta .75, .60 at .50, .50 at .25."""
    def smile(strike, years):
        iv = 0.6
        for _ in range(200):
            iv = 0.4 + 0.4 * float(forward_delta(100.0, strike, years, iv))
        return iv

    found = surfaces(chain(smile))[0]
    assert found.call_25 == pytest.approx(0.50, abs=1e-6) and found.put_25 == pytest.approx(0.70, abs=1e-6)
    assert found.skew == pytest.approx(-0.20, abs=1e-6)
    assert found.relative_skew == pytest.approx(0.20 / found.atm, rel=1e-6) and found.atm == pytest.approx(0.6, abs=0.02)


def test_terms_are_joined_in_total_variance():
    marks = chain(lambda k, years: 0.5 if years < 30 / 365 else 0.8)
    expected = math.sqrt(np.interp(30, (25, 40), (0.25 * 25, 0.64 * 40)) / 30)
    assert surfaces(marks)[0].atm == pytest.approx(expected, abs=1e-9)
    assert in_total_variance((0.1, 0.5), (0.2, 0.6), 0.3) != in_total_variance((0.1, 0.5), (0.2, 0.6), 0.15)
    assert math.isnan(in_total_variance((0.1, 0.5), (0.2, 0.6), 0.3)), "nothing is extrapolated"


def test_without_two_terms_around_thirty_days_nothing_is_said():
    for days in ((5.0, 12.0), (45.0, 90.0)):
        marks = chain(flat, days=days)
        assert math.isnan(surfaces(marks)[0].skew) and math.isnan(iv30(marks))
    narrow = surfaces(chain(flat, strikes=np.arange(96.0, 105.0, 1.0)))[0]
    assert math.isnan(narrow.skew) and narrow.atm == pytest.approx(0.6)
    assert math.isnan(iv30(Observations.empty(Kind.OPTION_MARK))) and surfaces(Observations.empty(Kind.OPTION_MARK)) == []


def test_stale_far_quotes_do_not_reach_the_wings_that_are_read():
    good = surfaces(chain(flat))[0]
    bad = surfaces(chain(lambda k, years: 5.0 if k < 44 else 0.6))[0]
    assert bad.put_25 == pytest.approx(good.put_25) and bad.call_25 == pytest.approx(good.call_25)


def test_quotes_without_volatility_are_left_out():
    marks = chain(flat)
    iv = marks["mark_iv"].copy()
    iv[::5] = np.nan
    holes = Observations(marks.kind, marks.event_time, marks.available_time, {**marks.columns, "mark_iv": iv})
    assert surfaces(holes)[0].atm == pytest.approx(0.6) and len(smiles_of(holes, slice(0, len(holes)))) == 4


def test_gamma_exposure_by_hand():
    marks = chain(flat, days=(20.0, 100.0), strikes=np.arange(90.0, 111.0, 5.0))
    interest = held(marks, 3.0, 1.0)
    gamma = sum(float(black76_gamma(100.0, k, 20 / 365, 0.6)) for k in np.arange(90.0, 111.0, 5.0))
    assert gamma_exposure(marks, interest)[0] == pytest.approx(gamma * (3 - 1) * 100.0**2 * 0.01), "only the expiry within 60 days counts"
    assert gamma_exposure(marks, held(marks, 1.0, 3.0))[0] < 0 and "convention" in GAMMA_CONVENTION


def test_open_interest_must_be_known_and_not_old():
    marks = chain(flat)
    assert math.isnan(gamma_exposure(marks, held(marks, 1.0, 2.0, late_ms=-HOUR_MS))[0]), "published after the marks"
    assert math.isnan(gamma_exposure(marks, held(marks, 1.0, 2.0, late_ms=4 * HOUR_MS))[0])
    assert np.isfinite(gamma_exposure(marks, held(marks, 1.0, 2.0, late_ms=HOUR_MS))[0])


def test_snapshots_are_chains_that_became_known_together():
    first, second = chain(flat, days=(25.0, 40.0)), chain(lambda k, y: 0.7, days=(25.0, 40.0), at=NOW + HOUR_MS)
    both = together(first, second)
    assert [s.stop - s.start for s in snapshot_slices(both)] == [len(first), len(second)]
    assert [s.atm for s in surfaces(both)] == pytest.approx([0.6, 0.7], abs=1e-3)
    moments, index = iv30_series(both)
    assert moments.tolist() == [NOW, NOW + HOUR_MS] and index[1] == pytest.approx(iv30(both)) and index[0] == iv30(first)
    assert YEAR_MS == 365 * DAY_MS
