"""The pair that ships: on 200 English sentences all ways to decode greedily give the same German, compiled or not."""

from pathlib import Path

import pytest
import torch

import specdec_lite as sd
from parity import differences, plain, speculative
from specdec_lite.fast import has_compiler
from specdec_lite.loading import POCKET_PAIR

SENTENCES = (Path(__file__).parent / "data" / "validation_200.txt").read_text(encoding="utf8").splitlines()
BATCHES = [SENTENCES[start : start + 25] for start in range(0, len(SENTENCES), 25)]
LENGTH = 48


@pytest.fixture(scope="module")
def pocket():
    return sd.load_pair()


@pytest.fixture(scope="module")
def expected(pocket):
    """Plain greedy decoding of every sentence, once for all tests, in batches: the rows know nothing of each other."""
    options = {"max_new_tokens": LENGTH, "temperature": 0.0}
    return [run.token_ids for rows in BATCHES for run in sd.autoregressive_generate(pocket.target, rows, **options)]


def test_two_hundred_distinct_sentences():
    assert len(SENTENCES) == len(set(SENTENCES)) == 200


def test_plain_decoding_equals_hugging_face_token_for_token(pocket, expected):
    options, theirs = {"max_new_tokens": LENGTH, "num_beams": 1, "do_sample": False}, []
    for rows in BATCHES:
        padded = pocket.target.tokenizer(rows, return_tensors="pt", padding=True)
        theirs += [
            until_eos(row, pocket) for row in pocket.target.hf_model.generate(**padded, **options)[:, 1:].tolist()
        ]
    assert not (found := differences(pocket.target, zip(SENTENCES, theirs, expected), LENGTH)), found


def until_eos(row: list[int], pair: sd.Pair) -> list[int]:
    """A row without the padding that follows it."""
    return row[: next((i + 1 for i, token in enumerate(row) if token in pair.target.eos_tokens), len(row))]


def test_a_sentence_alone_is_decoded_like_a_row_of_a_batch(pocket, expected):
    cases = [(s, plain(pocket.target, s, LENGTH), got) for s, got in list(zip(SENTENCES, expected))[::5]]
    assert not (found := differences(pocket.target, cases, LENGTH)), found


# By default all sentences with one gamma, and a few of them with the least and with a large one
EVERY = [(4, 1), (1, 5), (12, 5), *(pytest.param(gamma, 1, marks=pytest.mark.long) for gamma in (1, 2, 7, 12))]


@pytest.mark.parametrize("gamma, every", EVERY)
def test_speculative_decoding_equals_plain_token_for_token(pocket, expected, gamma, every):
    some = list(zip(SENTENCES, expected))[::every]
    cases = [(s, want, speculative(pocket, s, gamma, LENGTH)) for s, want in some]
    assert not (found := differences(pocket.target, cases, LENGTH)), found


@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="no C++ compiler")
def test_compiled_for_real_it_equals_plain_token_for_token(pocket, expected):
    # Chapter 12's widths and buffers: torch keeps what it compiled, and the notebook's test finds it.
    quick = sd.compile_pair(pocket, gammas=[1, 4], max_new_tokens=64, max_source_tokens=64, progress=False)
    cases = [(s, want, speculative(quick, s, 4, LENGTH)) for s, want in zip(SENTENCES, expected)]
    assert not (found := differences(pocket.target, cases, LENGTH)), found


def test_translations_are_finished_and_differ(pocket, expected):
    finished = [output for output in expected if output[-1] in pocket.target.eos_tokens]
    assert len(finished) >= 190 and len(set(map(tuple, finished))) >= 180


def test_draft_is_worth_having(pocket):
    options = {"gamma": 4, "max_new_tokens": LENGTH, "temperature": 0.0}
    runs = [sd.speculative_generate(*pocket, sentence, **options) for sentence in SENTENCES[::10]]
    assert sum(g.overlap_sum for g in runs) / sum(g.examined for g in runs) > 0.5


def test_shipped_weights_stay_within_their_budget():
    sizes = [path.stat().st_size for path in POCKET_PAIR.rglob("*") if path.is_file()]
    assert sizes and sum(sizes) <= 60e6 and max(sizes) <= 50e6


def test_prompts_are_distinct_and_those_to_measure_on_are_kept_apart(pocket):
    prompts = sd.load_prompts()
    together = prompts["sweep"] + prompts["measure"]
    assert len(set(together)) == len(together) and len(prompts["sweep"]) >= 30 and len(prompts["measure"]) >= 10
    assert all(pocket.target.encode(text)["input_ids"].shape[1] > 20 for text in together), "a paragraph is longer"
