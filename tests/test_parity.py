"""Greedy decoding: speculative, plain and Hugging Face's own give the same tokens, whatever gamma."""

from functools import cache

import pytest
import torch

import specdec_lite as sd
import tiny
from parity import differences, hugging_face, plain, speculative

SOURCES, LENGTH = tiny.sources(24, seed=5), 16
GAMMAS = 1, 4, 12, *(pytest.param(gamma, marks=pytest.mark.long) for gamma in (2, 7))

# What a checkpoint may force or forbid, and what an output must then look like.
CONSTRAINTS = {
    "forced BOS": ({"forced_bos_token_id": 9}, lambda out: out[0] == 9),
    "forced EOS": ({"forced_eos_token_id": tiny.EOS}, lambda out: out[-1] == tiny.EOS),
    "suppressed": ({"suppress_tokens": [10, 11, 12, 13]}, lambda out: not {10, 11, 12, 13} & set(out)),
    "bad words": ({"bad_words_ids": [[14], [15], [16]]}, lambda out: not {14, 15, 16} & set(out)),
    "bad EOS": ({"bad_words_ids": [[tiny.EOS], [14]]}, lambda out: 14 not in out),
    "not first": ({"begin_suppress_tokens": [*range(20, 32), 1]}, lambda out: out[0] not in [1, *range(20, 32)]),
    "not after BOS": (
        {"begin_suppress_tokens": [*range(20, 32), 1], "forced_bos_token_id": 9},
        lambda out: out[1] not in [1, *range(20, 32)],
    ),
    "two EOS": ({"eos_token_id": [tiny.EOS, 2, 17]}, lambda out: not {2, 17} & set(out[:-1])),
    "no EOS": ({"suppress_tokens": [tiny.EOS]}, lambda out: len(out) == LENGTH),
}


@cache
def expected(family: str) -> list[list[int]]:
    return [hugging_face(tiny.tiny_pair(family).target, source, LENGTH) for source in SOURCES]


def family_of(pair: sd.Pair) -> str:
    return pair.name.removeprefix("tiny ")


def test_plain_decoding_equals_hugging_face_token_for_token(pair):
    cases = [(s, want, plain(pair.target, s, LENGTH)) for s, want in zip(SOURCES, expected(family_of(pair)))]
    assert not (found := differences(pair.target, cases, LENGTH)), found


@pytest.mark.parametrize("gamma", GAMMAS)
def test_speculative_decoding_equals_hugging_face_token_for_token(pair, gamma):
    cases = [(s, want, speculative(pair, s, gamma, LENGTH)) for s, want in zip(SOURCES, expected(family_of(pair)))]
    assert not (found := differences(pair.target, cases, LENGTH)), found


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_forced_and_forbidden_tokens_are_those_of_hugging_face(family, name):
    settings, holds = CONSTRAINTS[name]
    pair, cases = tiny.tiny_pair(family, **settings), []
    for source in SOURCES[:8]:
        want = hugging_face(pair.target, source, LENGTH)
        assert holds(want)
        cases += [
            (source, want, got) for got in (plain(pair.target, source, LENGTH), speculative(pair, source, 3, LENGTH))
        ]
    assert not (found := differences(pair.target, cases, LENGTH)), found
    assert [want for _, want, _ in cases[::2]] != expected(family)[:8], "the setting changes nothing here"


@pytest.mark.parametrize("length", [1, 2, 5])
def test_short_limits_give_the_beginning_of_longer_outputs(pair, length):
    for source, want in zip(SOURCES[:8], expected(family_of(pair))):
        assert speculative(pair, source, 4, length) == want[:length]


def test_masked_padding_in_the_source_changes_nothing(pair):
    for source, want in zip(SOURCES[:8], expected(family_of(pair))):
        padding = 3
        ids = torch.tensor([source + [tiny.PAD] * padding])
        padded = {"input_ids": ids, "attention_mask": torch.tensor([[1] * len(source) + [0] * padding])}
        assert speculative(pair, padded, 4, LENGTH) == want == hugging_face(pair.target, padded, LENGTH)


def test_gamma_zero_is_plain_decoding(pair):
    for source, want in zip(SOURCES[:4], expected(family_of(pair))):
        run = sd.speculative_generate(*pair, source, gamma=0, max_new_tokens=LENGTH, temperature=0.0)
        assert run.token_ids == want and run.target_passes == len(want) and run.draft_passes == 0


def test_whisper_decodes_sound_features_like_hugging_face():
    pair = tiny.tiny_pair("whisper")
    generator = torch.Generator().manual_seed(0)
    outputs = set()
    for _ in range(6):
        source = {"input_features": torch.randn(1, 8, 40, generator=generator)}
        want = hugging_face(pair.target, source, LENGTH)
        cases = [
            (source, want, got) for got in (plain(pair.target, source, LENGTH), speculative(pair, source, 3, LENGTH))
        ]
        assert not (found := differences(pair.target, cases, LENGTH)), found
        outputs.add(tuple(want))
    assert len(outputs) > 1, "the sound makes no difference"
