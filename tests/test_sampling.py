"""From logits to the sampled distribution, and drawing from it."""

import math

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

import specdec_lite as sd
from reference import adjusted

RULES = [
    sd.SamplingRule(temperature, top_k, top_p)
    for temperature in (0.0, 0.5, 1.0, 3.0)
    for top_k in (0, 1, 3, 50)
    for top_p in (1.0, 0.8, 0.3, 1e-9)
]


def texts(n):
    """n texts of one row, each longer than the last: what random numbers are looked up by."""
    return [sd.Text([0] * (i + 1), frozenset(), 9) for i in range(n)]


def many(n):
    """n short texts of many rows."""
    return [sd.Text([0] * (1 + i % 50), frozenset(), 9, i // 50) for i in range(n)]


def logits(rows=20, vocab=12, seed=0):
    return 2 * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_probs_equal_the_naive_reference(rule):
    wanted = [adjusted(row, rule) for row in logits().tolist()]
    assert torch.allclose(rule.probs(logits()), torch.tensor(wanted, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (0, 0.7), (5, 0.6), (1, 0.9)])
def test_probs_equal_those_hugging_face_samples_from(top_k, top_p):
    scores = TemperatureLogitsWarper(0.7)(None, logits())
    scores = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    scores = TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores
    assert torch.allclose(sd.SamplingRule(0.7, top_k, top_p).probs(logits()), scores.softmax(-1), atol=1e-12)


def test_temperature_zero_is_one_hot_at_the_argmax():
    probs = sd.SamplingRule(0.0).probs(logits())
    assert torch.equal(probs, sd.one_hot(logits().argmax(-1), 12, torch.float64))
    assert torch.equal(probs.sum(-1), torch.ones(20, dtype=torch.float64))


def test_a_row_is_adjusted_alike_alone_and_among_others():
    rule = sd.SamplingRule(0.8, 4, 0.7)
    assert torch.equal(torch.stack([rule.probs(row) for row in logits()]), rule.probs(logits()))


def test_half_precision_logits_give_single_precision_probs():
    probs = sd.SamplingRule().probs(logits().bfloat16())
    assert probs.dtype == torch.float32 and torch.allclose(probs.sum(-1), torch.ones(20))


def test_forbidden_tokens_stay_impossible():
    row = logits()[0].index_fill(0, torch.tensor([2, 5]), -math.inf)
    for rule in RULES:
        assert rule.probs(row)[[2, 5]].tolist() == [0, 0]


def test_nucleus_keeps_the_token_that_reaches_the_mass_and_no_more():
    probs = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    kept = {top_p: sd.nucleus(probs, top_p).tolist() for top_p in (0.5, 0.51, 0.75, 0.76)}
    assert kept[0.5] == [1, 0, 0, 0]
    assert kept[0.51] == kept[0.75] == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert kept[0.76] == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0])  # of two equals the first


def test_draws_follow_the_probabilities():
    probs, n = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0]), 20_000
    draws = sd.Draws(seed=0)
    observed = draws.next_tokens(probs.expand(n, -1), many(n)).bincount(minlength=5)
    chi_square = ((observed - n * probs) ** 2 / (n * probs))[:4].sum()
    assert observed[4] == 0 and chi_square < 16.3  # 0.1 % of fair samples exceed it, at 3 degrees of freedom


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-53])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_uniforms_never_draw_the_impossible(uniform, dtype):
    probs = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0], dtype=dtype)
    assert float(probs[sd.pick(probs, torch.tensor(uniform, dtype=torch.float64))]) > 0


def test_coins_show_heads_as_often_as_they_should():
    heads, n = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]), 20_000
    draws = sd.Draws(seed=1)
    rate = draws.coins(heads.expand(n, -1), many(n)).double().mean(0)
    assert rate[0] == 0 and rate[4] == 1
    assert ((rate - heads).abs() <= 4 * (heads * (1 - heads) / n).sqrt()).all()


def test_a_uniform_of_zero_never_accepts_the_impossible(monkeypatch):
    draws = sd.Draws(seed=0)
    monkeypatch.setattr(draws, "uniforms", lambda texts, n: torch.zeros(1, 1 + 2 * n, dtype=torch.float64))
    assert draws.coins(torch.tensor([[0.0, 1e-30, 1.0]]), texts(1)).tolist() == [[False, True, True]]


def test_coins_are_compared_in_float64_whatever_the_probabilities_are():
    """In float32 a head of 1 - 2^-26 is 1. Its coin must still be able to show tails."""
    draws, heads = sd.Draws(seed=0), torch.tensor([[0.5]])
    assert draws.uniforms(texts(1), 1).dtype == torch.float64
    draws.uniforms = lambda texts, n: torch.full((1, 1 + 2 * n), 0.5 - 1e-12, dtype=torch.float64)
    assert draws.coins(heads, texts(1)).tolist() == [[True]]  # in float32 the two are equal


def test_seeds_make_draws_repeatable_and_different():
    probs = torch.full((1, 1000), 1e-3)
    sequences = [[int(draws.next_tokens(probs, [t])) for t in texts(5)] for draws in map(sd.Draws, (0, 0, 1))]
    assert sequences[0] == sequences[1] != sequences[2]


@pytest.mark.parametrize("seed", [2**64, 2**70, 2**200])
def test_any_integer_is_a_seed(seed):
    numbers = [sd.Draws(s).uniforms(texts(1), 4) for s in (seed, seed, seed + 1)]
    assert torch.equal(numbers[0], numbers[1]) and not torch.equal(numbers[0], numbers[2])


def test_a_number_depends_on_seed_row_length_and_use_and_on_nothing_else():
    draws = sd.Draws(seed=5)
    alone = [draws.uniforms([text], 3)[0, :7] for text in texts(4)]
    assert torch.equal(draws.uniforms([sd.Text([0] * 3, frozenset(), 9)], 20)[0, :7], alone[2])  # asked for more
    rows = [sd.Text([0] * 3, frozenset(), 9, row) for row in (2, 0)]
    both = draws.uniforms(rows, 3)[:, :7]
    assert torch.equal(both[1], alone[2])
    assert torch.equal(both[0], sd.Draws(sd.row_seed(5, 2)).uniforms([rows[1]], 3)[0, :7])
    assert len({float(u) for u in torch.cat([*alone, both[0]])}) == 35  # no number stands twice


def test_numbers_are_uniform():
    numbers = torch.cat([sd.Draws(seed=2).uniforms([text], 8)[0] for text in texts(2000)])
    counts = torch.histc(numbers, bins=20, min=0, max=1)
    assert ((counts - len(numbers) / 20) ** 2 / (len(numbers) / 20)).sum() < 43.8  # 0.1 % exceed it, 19 degrees
    pairs = numbers[:-1] * 2 - 1, numbers[1:] * 2 - 1
    assert abs(float((pairs[0] * pairs[1]).mean())) < 4 / 3 / len(numbers) ** 0.5  # neighbours have nothing in common


@pytest.mark.parametrize("top_p", [1e-300, 1e-45, 1e-9])
def test_a_tiny_top_p_leaves_the_likeliest_token(top_p):
    for dtype in (torch.float32, torch.float64):
        probs = sd.SamplingRule(top_p=top_p).probs(logits().to(dtype))
        assert torch.equal(probs, sd.one_hot(logits().argmax(-1), 12, dtype))


@pytest.mark.parametrize("temperature", [1e-40, 1e-38, 9e-6])
def test_a_temperature_that_float32_cannot_divide_by_is_refused(temperature):
    with pytest.raises(ValueError, match=rf"temperature={temperature}: expected a finite number >= 0 \(0 is argmax"):
        sd.SamplingRule(temperature)


def test_the_coldest_temperature_is_the_argmax():
    rows = logits().float()
    assert torch.equal(sd.SamplingRule(1e-5).probs(rows), sd.one_hot(rows.argmax(-1), 12))


@pytest.mark.parametrize("rule", [sd.SamplingRule(0.0), sd.SamplingRule(), sd.SamplingRule(0.7, 3, 0.9)], ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_no_distribution_at_any_temperature(rule, bad):
    rows = logits()[:2].clone()
    rows[0] = bad if bad == -math.inf else rows[0]
    rows[0, 3] = bad
    probs = rule.probs(rows)
    assert probs[0].isnan().any() and torch.equal(probs[1], rule.probs(logits()[1]))
    assert sd.Draws(0).next_tokens(probs, [sd.Text([0], frozenset(), 9, row) for row in range(2)])[0] == -1
