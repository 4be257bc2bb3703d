"""The tiny pairs are worth testing on: without this, parity tests could pass on models that only repeat a token."""

from collections import Counter
from functools import cache

import pytest
import torch

import specdec_lite as sd
import tiny

each_case = pytest.mark.parametrize(("family", "temperature"), [(f, t) for f in tiny.FAMILIES for t in (0.0, 1.0)])


@cache
def runs(family: str, temperature: float) -> list[sd.Generation]:
    pair = tiny.tiny_pair(family)
    options = {"gamma": 3, "max_new_tokens": 16, "temperature": temperature}
    return [sd.speculative_generate(*pair, source, seed=i, **options) for i, source in enumerate(tiny.sources(30))]


@each_case
def test_acceptance_is_neither_rare_nor_certain(family, temperature):
    acceptance = sum(g.accepted for g in runs(family, temperature)) / sum(g.examined for g in runs(family, temperature))
    assert 0.1 < acceptance < 0.9


@each_case
def test_about_a_fifth_of_outputs_end_in_eos(family, temperature):
    assert 0.1 <= sum(g.token_ids[-1] == tiny.EOS for g in runs(family, temperature)) / 30 <= 0.4


@each_case
def test_outputs_are_diverse(family, temperature):
    outputs = [tuple(g.token_ids) for g in runs(family, temperature)]
    tokens = Counter(token for output in outputs for token in output)
    assert len(set(outputs)) >= 0.9 * len(outputs)
    assert len(tokens) >= tiny.VOCAB / 2 and tokens.most_common(1)[0][1] < 0.4 * tokens.total()


def test_next_token_depends_on_source_and_on_earlier_tokens(pair):
    one, other = [5, 6, 7, 8], [9, 6, 7, 8]
    context, changed = [pair.target.start_token, 10, 11, 12], [pair.target.start_token, 20, 11, 12]
    for model in pair:
        here = tiny.fresh_logits(model, one, context)[-1].softmax(-1)
        for there in (tiny.fresh_logits(model, other, context), tiny.fresh_logits(model, one, changed)):
            assert sd.js_divergence(here, there[-1].softmax(-1)) > 0.01


def test_draft_is_smaller_and_other(pair):
    target, draft = (sum(weight.numel() for weight in model.hf_model.parameters()) for model in pair)
    assert draft < 0.8 * target
    context = [pair.target.start_token, 10, 11, 12]
    p, q = (tiny.fresh_logits(model, [5, 6, 7], context)[-1].softmax(-1) for model in pair)
    assert 0.01 < sd.total_variation(p, q) < 0.99


def test_head_is_not_tied_to_the_embedding(pair):
    for model in pair:
        assert not torch.equal(
            *(get().weight for get in (model.hf_model.get_output_embeddings, model.hf_model.get_input_embeddings))
        )
