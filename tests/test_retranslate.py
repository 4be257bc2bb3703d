"""What an earlier translation is worth as a draft: the script that measures it, in passes, on three paragraphs."""

import pytest

import retranslate
import specdec_lite as sd

OPTIONS = {"max_new_tokens": 100, "temperature": 0.0}


@pytest.fixture(scope="module")
def pocket():
    return sd.load_pair()


@pytest.fixture(scope="module")
def work(pocket):
    return retranslate.tasks(pocket, 3, OPTIONS)


@pytest.fixture(scope="module")
def expected(pocket, work):
    return [sd.autoregressive_generate(pocket.target, text, **OPTIONS).token_ids for text, _ in work["a word"]]


def test_one_word_or_one_sentence_is_another(work):
    was = sd.load_prompts()["sweep"][:3]
    for before, (after, _) in zip(was, work["a word"]):
        assert sum(a != b for a, b in zip(before.split(), after.split(), strict=True)) == 1
    for before, (after, _) in zip(was, work["a sentence"]):
        assert (
            before != after
            and before.split(". ")[0] == after.split(". ")[0]
            and before.split()[-1] == after.split()[-1]
        )


@pytest.mark.parametrize(
    ("way", "least"),
    [("copies, γ = 16", 3.5), ("copies, γ = 16, then the draft model, γ = 2", 4.2)],
)
def test_copies_save_most_passes_of_a_translation_made_again(pocket, work, expected, way, least):
    make, gamma = retranslate.TIMED[way]
    found = retranslate.count(pocket, make, gamma, work["a word"], OPTIONS, retranslate.C, retranslate.V)
    assert [run.token_ids for run in found["runs"]] == expected
    assert found["tokens per target pass"] >= least


@pytest.mark.long
def test_twenty_paragraphs_are_made_again_in_few_passes(pocket):
    work = retranslate.tasks(pocket, 20, OPTIONS)["a word"]
    plain = [sd.autoregressive_generate(pocket.target, text, **OPTIONS) for text, _ in work]
    for way, least in (("copies, γ = 16", 4.5), ("copies, γ = 16, then the draft model, γ = 2", 6)):
        make, gamma = retranslate.TIMED[way]
        found = retranslate.count(pocket, make, gamma, work, OPTIONS, retranslate.C, retranslate.V)
        retranslate.check_equal(way, found["runs"], plain)
        assert found["tokens per target pass"] >= least


def test_passes_are_priced_by_their_width_between_the_measured_ones():
    assert retranslate.price([1, 2, 3], {1: 1.5, 3: 2.5}) == 1 + 1.5 + 2
