"""The formulas of the paper and their finite-length kin, against brute force, simulation and limits."""

import math
import random
from itertools import product

import pytest

import specdec_lite as sd

ALPHAS = (0.0, 0.3, 0.8, 0.99, 1.0)


def test_values_of_the_paper():
    assert sd.expected_tokens(0.8, 4) == pytest.approx(3.3616, abs=1e-12)
    assert sd.walltime_factor(0.8, 4, c=0.05) == pytest.approx(3.3616 / 1.2, abs=1e-12)
    assert sd.expected_tokens(0.5, 1) == 1.5


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("gamma", [0, 1, 4, 6])
def test_expected_tokens_equal_the_mean_over_all_outcomes(alpha, gamma):
    mean = 0.0
    for coins in product((True, False), repeat=gamma):
        heads_first = (*coins, False).index(False)
        mean += math.prod(alpha if coin else 1 - alpha for coin in coins) * (heads_first + 1)
    assert sd.expected_tokens(alpha, gamma) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 0.8, 0.99])
def test_expected_tokens_equal_the_papers_closed_form(alpha):
    for gamma in range(12):
        assert sd.expected_tokens(alpha, gamma) == pytest.approx((1 - alpha ** (gamma + 1)) / (1 - alpha), rel=1e-12)


def test_bounds_of_expected_tokens():
    assert sd.expected_tokens(1.0, 7) == 8 and sd.expected_tokens(0.0, 7) == 1
    assert sd.expected_tokens(0.8, 1000) == pytest.approx(5)


def test_gamma_zero_neither_gains_nor_loses():
    for alpha in ALPHAS:
        assert sd.walltime_factor(alpha, 0, c=0.3) == 1
        assert sd.finite_walltime_factor(alpha, 0, c=0.3, v=1.0, length=9, target_start=2.0) == pytest.approx(1)


def test_a_slower_wide_pass_and_a_dearer_draft_cost_speed():
    assert sd.walltime_factor(0.8, 4, 0.1, v=1.5) == pytest.approx(3.3616 / 1.9)
    assert sd.walltime_factor(0.8, 4, 0.1) > sd.walltime_factor(0.8, 4, 0.2) > sd.walltime_factor(0.8, 4, 0.2, v=2)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.8, 4), (0.5, 2), (0.95, 7), (1.0, 3)])
def test_finite_length_tends_to_the_papers_formula(alpha, gamma):
    endless = sd.walltime_factor(alpha, gamma, c=0.1, v=1.3)
    errors = [
        abs(sd.finite_walltime_factor(alpha, gamma, 0.1, 1.3, length, target_start=1, draft_start=0.3) - endless)
        for length in (10, 100, 1000)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01 * endless


@pytest.mark.parametrize(("alpha", "gamma", "length"), [(0.7, 3, 5), (0.9, 8, 4), (0.4, 1, 7), (0.8, 4, 10)])
@pytest.mark.parametrize("more", [0, 1, 2, None])
def test_finite_length_equals_a_simulation_of_rounds(alpha, gamma, length, more):
    """`more` tokens fit between the end of the text, which no round knows, and its limit, which all of them know."""
    c, v, starts, rng, runs, spent = 0.2, 1.6, (1.5, 0.4), random.Random(0), 20_000, 0.0
    for _ in range(runs):
        left = length
        while left:
            drafted = gamma if more is None else min(gamma, left + more - 1)
            spent += drafted * c + 1 + (v - 1) * drafted / gamma
            n, kept = min(drafted, left - 1), 0
            while kept < n and rng.random() < alpha:
                kept += 1
            left -= kept + 1
    simulated = (starts[0] + length) / (sum(starts) + spent / runs)
    limit = None if more is None else length + more
    factor = sd.finite_walltime_factor(alpha, gamma, c, v, length, *starts, limit)
    assert factor == pytest.approx(simulated, rel=0.01)


def test_one_token_is_never_worth_a_draft():
    assert sd.finite_walltime_factor(0.9, 5, c=0.1, v=1.5, length=1) == pytest.approx(1 / 2)  # 5 guesses, a wide pass
    assert sd.finite_walltime_factor(0.9, 5, c=0.1, v=1.5, length=1, limit=1) == pytest.approx(1)  # it drafts nothing


@pytest.mark.parametrize("alpha", [0.2, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("c", [0.01, 0.1, 0.5])
def test_best_gamma_beats_all_others(alpha, c):
    factors = {g: (1 - alpha ** (g + 1)) / (1 - alpha) / (g * c + 1 + 0.05 * g) for g in range(1, 17)}
    assert sd.best_gamma(alpha, c, lambda g: 1 + 0.05 * g) == max(factors, key=factors.get)


def test_best_gamma_grows_with_alpha_and_falls_with_cost():
    assert sd.best_gamma(0.5, 0.1) < sd.best_gamma(0.8, 0.1) < sd.best_gamma(0.95, 0.1)
    assert sd.best_gamma(0.8, 0.3) < sd.best_gamma(0.8, 0.02)
    assert sd.best_gamma(0.3, 0.9, gammas=(0, 2, 4)) == 0


def test_floor_is_reading_left_of_the_ridge_and_computing_right_of_it():
    machine = {"read_rate": 20e9, "flop_rate": 100e9}  # 5 FLOP per byte: in float32 the ridge is at n = 10
    floors = [sd.floor_seconds(10_000_000, n, 4, **machine) for n in (1, 5, 10, 20, 40)]
    assert floors == pytest.approx([0.002, 0.002, 0.002, 0.004, 0.008], rel=1e-12)
    assert sd.floor_seconds(10_000_000, 1, 2, **machine) == pytest.approx(0.001)  # half the bytes, half the time


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: sd.expected_tokens(1.2, 3), "alpha=1.2"),
        (lambda: sd.expected_tokens(math.nan, 3), "alpha=nan"),
        (lambda: sd.expected_tokens(0.5, -1), "gamma=-1"),
        (lambda: sd.walltime_factor(0.5, 2, c=-0.1), "c=-0.1"),
        (lambda: sd.walltime_factor(0.5, 2, c=0.1, v=0), "v=0"),
        (lambda: sd.finite_walltime_factor(0.5, 2, 0.1, 1.0, length=0), "length=0"),
        (lambda: sd.finite_walltime_factor(0.5, 2, 0.1, 1.0, length=9, limit=8), "limit=8"),
        (lambda: sd.floor_seconds(0, 1, 4, 2e10, 1e11), "weights=0"),
        (lambda: sd.floor_seconds(10, 0, 4, 2e10, 1e11), "n=0"),
        (lambda: sd.floor_seconds(10, 1, 0, 2e10, 1e11), "bytes_per_weight=0"),
        (lambda: sd.floor_seconds(10, 1, 4, 0.0, 1e11), "read_rate=0.0"),
        (lambda: sd.floor_seconds(10, 1, 4, 2e10, math.nan), "flop_rate=nan"),
    ],
)
def test_impossible_numbers_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
