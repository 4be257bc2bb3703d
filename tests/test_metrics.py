"""Distances, noise floors and intervals."""

import math

import numpy as np
import pytest
import torch

import specdec_lite as sd


def random_law(vocab, seed):
    weights = torch.rand(vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 2
    return weights / weights.sum()


def sample(law, n, seed):
    return (
        torch.multinomial(law, n, replacement=True, generator=torch.Generator().manual_seed(seed))
        .reshape(-1, 10)
        .tolist()
    )


def test_total_variation_by_hand():
    assert sd.total_variation([0.5, 0.3, 0.2], [0.2, 0.5, 0.3]) == pytest.approx(0.3)
    assert sd.total_variation([1, 0], [0, 1]) == 1 and sd.total_variation([0.4, 0.6], [0.4, 0.6]) == 0
    assert sd.total_variation([[1, 0], [1, 0]], [[1, 0], [0, 1]]) == 0.5  # the mean over rows


def test_js_by_hand():
    by_hand = 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)) + 0.5 * math.log(1 / 0.75)
    assert sd.js_divergence([0.5, 0.5], [1, 0]) == pytest.approx(by_hand, abs=1e-15)
    assert sd.js_divergence([1, 0], [0, 1]) == pytest.approx(math.log(2), abs=1e-15)


@pytest.mark.parametrize("seed", range(10))
def test_js_is_symmetric_and_between_zero_and_ln_2(seed):
    p, q = random_law(30, seed), random_law(30, seed + 50)
    assert 0 < sd.js_divergence(p, q) < math.log(2)
    assert sd.js_divergence(p, q) == pytest.approx(sd.js_divergence(q, p), abs=1e-15)
    assert sd.js_divergence(p, p) == 0
    assert sd.total_variation(p, q) ** 2 / 2 <= sd.js_divergence(p, q) <= sd.total_variation(p, q) * math.log(2)


def test_token_histogram_pools_all_sequences():
    assert sd.token_histogram([[0, 1, 1], [3]], 5).tolist() == [0.25, 0.5, 0, 0.25, 0]


def test_noise_floor_is_what_statistics_expects_of_equal_samplers():
    law, n = random_law(40, 0), 4000
    floor, spread = sd.js_noise_floor([sample(law, n, seed) for seed in range(8)], 40)
    assert floor == pytest.approx((40 - 1) / (4 * n), rel=0.2)  # the mean of chi-square, to leading order
    assert 0 < spread < floor


def test_js_between_samples_stands_clear_of_the_floor_only_if_the_samplers_differ():
    law, other, n = random_law(40, 0), random_law(40, 9), 4000
    floor, spread = sd.js_noise_floor([sample(law, n, seed) for seed in range(8)], 40)
    assert abs(sd.js_between_samples(sample(law, n, 100), sample(law, n, 101), 40) - floor) < 4 * spread
    assert sd.js_between_samples(sample(law, n, 100), sample(0.9 * law + 0.1 * other, n, 101), 40) > floor + 4 * spread


def test_bootstrap_value_is_the_statistic_of_the_sums():
    value, low, high = sd.paired_bootstrap(lambda a, b: a / b, [1.0, 2.0, 9.0], [1.0, 1.0, 2.0])
    assert value == 3.0 and low < value < high


def test_bootstrap_resamples_prompts_whole():
    times = [1.0, 5.0, 2.0, 30.0]
    assert sd.paired_bootstrap(lambda a, b: a / b, times, [t / 2 for t in times]) == (2.0, 2.0, 2.0)


def test_bootstrap_is_reproducible_and_its_level_counts():
    columns = np.random.default_rng(0).random((2, 20)) + 1
    wide, narrow = (sd.paired_bootstrap(lambda a, b: a / b, *columns, level=level) for level in (0.99, 0.5))
    assert wide == sd.paired_bootstrap(lambda a, b: a / b, *columns, level=0.99)
    assert wide[1] < narrow[1] < narrow[2] < wide[2]


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        base = rng.lognormal(0, 0.5, 30)
        _, low, high = sd.paired_bootstrap(
            lambda a, b: a / b,
            2 * base * rng.lognormal(0, 0.2, 30),
            base * rng.lognormal(0, 0.2, 30),
            resamples=300,
            seed=trial,
        )
        hits += low <= 2 <= high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sd.total_variation([1, 0], [1, 0, 0]), "shapes"),
        (lambda: sd.js_divergence([[1, 0]], [1, 0]), "shapes"),
        (lambda: sd.token_histogram([[], []], 5), "sequences"),
        (lambda: sd.token_histogram([[1, 5]], 5), "sequences"),
        (lambda: sd.js_noise_floor([[[1]]], 5), "samples has 1"),
        (lambda: sd.paired_bootstrap(lambda a: a, []), "columns"),
        (lambda: sd.paired_bootstrap(lambda: 0), "columns"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
