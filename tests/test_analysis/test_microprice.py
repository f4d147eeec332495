"""The micro price against a chain solved by hand, against a simulation of its definition, and on bad input."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.methods import microprice
from analysis.methods.microprice import BUCKETS, SPREADS, fit_adjustment, fit_day, mirrors, states_of, weighted_mid
from data.simulator.micro_worlds import CHAIN_BUCKETS, CHAIN_TRUTH, microprice_chain


def exact(cycle, move):
    """A sequence of states whose counted frequencies are the stated probabilities: `cycle` repeated many times."""
    return np.array(cycle * 400 + [cycle[0]]), np.array(move * 400, float)


def test_two_states_by_hand():
    # Bids heavy (1): half the time stays, half moves up a tick into asks heavy (0), which mirrors it.
    # G1 = (1 - 1/2)^-1 * 1/2 = 1; B carries 1 into 0 and back, so the terms alternate: 1 - 1 + 1 - 1 + 1 - 1 = 0.
    state, move = exact([1, 1, 0, 0], [0, 1, 0, -1])
    assert fit_adjustment(state, move, 2, 1) == pytest.approx([0.0, 0.0], abs=1e-12)
    # A move that leads into the same side adds up: 1 -> (up) 1 and 0 -> (down) 0, six terms of 1.
    state, move = exact([1, 1], [0, 1])
    assert fit_adjustment(state, move, 2, 1) == pytest.approx([-6.0, 6.0])


def test_the_planted_chain_solved_from_its_probabilities():
    """G* of methods.md 8.1 from the transition matrices themselves: what the estimator must come near."""
    from data.simulator.micro_worlds import AFTER_UP, EXIT_UP, STEP_WEIGHTS

    down = EXIT_UP[::-1]
    walk, carry = np.zeros((5, 5)), np.zeros((5, 5))
    for i in range(5):
        for to, weight in zip((max(0, i - 1), i, min(4, i + 1)), STEP_WEIGHTS, strict=True):
            walk[i, to] += weight
        for bucket, weight in AFTER_UP.items():
            carry[i, bucket] += EXIT_UP[i] * weight
            carry[i, 4 - bucket] += down[i] * weight
    left = np.linalg.inv(np.eye(5) - walk * (1 - EXIT_UP - down)[:, None])
    g1, b = left @ (EXIT_UP - down), left @ carry
    total = sum(np.linalg.matrix_power(b, i) @ g1 for i in range(6))
    assert total == pytest.approx(CHAIN_TRUTH, abs=1e-4)


def test_the_micro_price_is_a_martingale_and_the_mid_is_not():
    """Stoikov's theorem: from no state does mid + G* move in the mean; the mid does."""
    chain = microprice_chain(3, 200_000)
    g = fit_adjustment(chain.state, chain.move, CHAIN_BUCKETS, 1)
    here, there = chain.state[:-1], chain.state[1:]
    for bucket in range(CHAIN_BUCKETS):
        at = here == bucket
        error = 4.0 * np.std(chain.move[at]) / np.sqrt(at.sum())
        assert abs(np.mean(chain.move[at] + g[there[at]] - g[bucket])) < error
    assert abs(np.mean(chain.move[here == 4])) > 0.05


def test_mirrored_counting_makes_it_antisymmetric_to_the_last_digit():
    chain = microprice_chain(5, 3000)
    found = fit_adjustment(chain.state, chain.move, CHAIN_BUCKETS, 1, least_visits=1)
    assert found == pytest.approx(-found[::-1], abs=1e-12) and found[2] == pytest.approx(0.0, abs=1e-12)


def test_rare_states_are_merged_inwards_and_rare_spreads_into_narrower_ones():
    chain = microprice_chain(7, 20_000)
    found = fit_adjustment(chain.state, chain.move, CHAIN_BUCKETS, 1, least_visits=10**9)
    assert found == pytest.approx(np.zeros(5), abs=1e-12)  # one state left, and it leans nowhere
    wide = np.where(np.arange(len(chain.state)) % 4000 == 0, chain.state + CHAIN_BUCKETS, chain.state)  # five rows of two ticks
    both = fit_adjustment(wide, chain.move, CHAIN_BUCKETS, 3)
    assert both[5:10] == pytest.approx(both[:5]) and both[10:] == pytest.approx(both[:5])
    one = fit_adjustment(chain.state + 2 * CHAIN_BUCKETS, chain.move, CHAIN_BUCKETS, 3)  # never narrower than three ticks
    assert np.isfinite(one).sum() in (0, 15)


def test_unknown_samples_break_the_chain_and_count_nothing():
    chain = microprice_chain(11, 30_000)
    state, move = chain.state.copy(), chain.move.copy()
    state[5000:5050] = -1
    move[9000] = np.nan
    apart = fit_adjustment(state, move, CHAIN_BUCKETS, 1)
    assert apart == pytest.approx(fit_adjustment(chain.state, chain.move, CHAIN_BUCKETS, 1), abs=0.02)


def test_states_of_quotes():
    share = np.array([0.0, 0.05, 0.55, 1.0, np.nan, 0.5])
    ticks = np.array([1.0, 2.0, 7.0, 1.0, 1.0, 0.0])
    assert states_of(share, ticks).tolist() == [0, 10, 25, 9, -1, -1]
    assert mirrors()[:3].tolist() == [9, 8, 7] and mirrors()[25] == 24 and len(mirrors()) == BUCKETS * SPREADS


def test_the_weighted_mid():
    assert weighted_mid(np.array([100.0]), np.array([101.0]), np.array([3.0]), np.array([1.0])).tolist() == [100.75]
    assert np.isnan(weighted_mid(np.array([100.0]), np.array([101.0]), np.array([0.0]), np.array([0.0])))[0]


@pytest.mark.parametrize("mid", [np.full(500, 7.0), np.full(500, np.nan)])
def test_a_day_without_moves_says_so(mid):
    fit = fit_day(np.column_stack((np.full(500, 0.3), np.full(500, 0.01), mid)))
    assert fit["reason"] and fit["g"] == []
    assert fit_day(np.full((10, 3), np.nan))["reason"] == "no quote"


def test_a_fit_is_a_plain_document_with_an_answer_for_every_state():
    chain = microprice_chain(13, 80_000)
    share = (np.repeat([0.05, 0.25, 0.5, 0.75, 0.95], 1)[chain.state])
    fit = fit_day(np.column_stack((share, np.full(len(share), 0.01), 100.0 + 0.01 * np.concatenate(([0.0], np.cumsum(chain.move))))))
    g = np.array(fit["g"])
    assert fit["tick"] == 0.01 and g.shape == (microprice.BUCKETS * microprice.SPREADS,) and np.isfinite(g).all()
    assert g[[0, 2, 7, 9]] == pytest.approx(CHAIN_TRUTH[[0, 1, 3, 4]], abs=0.03)
