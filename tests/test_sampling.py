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
    observed = torch.stack([draws.token(probs) for _ in range(n)]).bincount(minlength=5)
    chi_square = ((observed - n * probs) ** 2 / (n * probs))[:4].sum()
    assert observed[4] == 0 and chi_square < 16.3  # 0.1 % of fair samples exceed it, at 3 degrees of freedom


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-53])
def test_extreme_uniforms_never_draw_the_impossible(monkeypatch, uniform):
    probs = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    monkeypatch.setattr(torch, "rand", lambda shape, dtype, **_: torch.full(shape, uniform, dtype=dtype))
    assert float(probs[sd.Draws(seed=0).token(probs)]) > 0


def test_coins_show_heads_as_often_as_they_should():
    heads, n = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]), 20_000
    draws = sd.Draws(seed=1)
    rate = torch.stack([draws.coins(heads) for _ in range(n)]).double().mean(0)
    assert rate[0] == 0 and rate[4] == 1
    assert ((rate - heads).abs() <= 4 * (heads * (1 - heads) / n).sqrt()).all()


def test_a_uniform_of_zero_never_accepts_the_impossible(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    assert sd.Draws(seed=0).coins(torch.tensor([0.0, 1e-30, 1.0])).tolist() == [False, True, True]


def test_seeds_make_draws_repeatable_and_different():
    probs = torch.full((1000,), 1e-3)
    sequences = [[int(draws.token(probs)) for _ in range(5)] for draws in map(sd.Draws, (0, 0, 1))]
    assert sequences[0] == sequences[1] != sequences[2]
