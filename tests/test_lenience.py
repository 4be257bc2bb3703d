"""The token rule with lenience: what it emits is known exactly, and nothing comes too often."""

import math

import pytest
import torch

import specdec_lite as sd
import tiny
from enumerate_law import distance
from test_verification import law_of_first_token, random_rows
from toy_rounds import always, emitted_law, plain_law, random_model

LENIENCES = (1.0, 0.9, 0.5, 0.1, 1e-3)


def lenient_law(p, q, lenience, gamma, length):
    """The emitted texts by the formula, one number after the other: state is the text and how many guesses are left."""
    waiting, law = {((), min(gamma, length - 1)): 1.0}, {}

    def add(text, left, weight):
        if len(text) == length:
            law[text] = law.get(text, 0.0) + weight
        else:
            left = min(gamma, length - len(text) - 1) if left is None else left
            waiting[text, left] = waiting.get((text, left), 0.0) + weight

    while waiting:
        text, left = min(waiting, key=lambda state: (len(state[0]), -state[1]))
        weight = waiting.pop((text, left))
        p_row, q_row = p(text).tolist(), q(text).tolist()
        kept = [min(b, a / lenience) for a, b in zip(p_row, q_row)]
        excess = [max(a - b, 0.0) for a, b in zip(p_row, q_row)]
        for x in range(len(p_row)):
            if left:
                add((*text, x), left - 1, weight * kept[x])
                add((*text, x), None, weight * (1 - sum(kept)) * excess[x] / sum(excess))
            else:
                add((*text, x), None, weight * p_row[x])
    return law


@pytest.mark.parametrize("lenience", [0, 0.0, -0.5, 1.1, math.nan, math.inf])
def test_a_lenience_outside_0_1_is_refused(lenience):
    for call in (lambda: sd.TokenRule(lenience), lambda: sd.lenient_probs(torch.ones(2), torch.ones(2), lenience)):
        with pytest.raises(ValueError, match=rf"lenience={lenience}: expected a number in \(0, 1\]"):
            call()


@pytest.mark.parametrize("lenience", ["0.5", None, True])
def test_a_lenience_that_is_no_number_is_refused(lenience):
    with pytest.raises(TypeError, match=rf"lenience={lenience!r}: expected a number"):
        sd.TokenRule(lenience)


@pytest.mark.parametrize("lenience", LENIENCES)
@pytest.mark.parametrize("zeros", [False, True])
def test_a_drafted_position_has_the_distribution_of_the_formula(lenience, zeros):
    for seed in range(20):
        p, q = random_rows(2, 7, seed, zeros), random_rows(1, 7, seed + 100, zeros)
        emitted = law_of_first_token(sd.TokenRule(lenience), p, q)
        assert (emitted - sd.lenient_probs(p[0], q[0], lenience)).abs().max() < 1e-14
        assert (emitted <= p[0] / lenience + 1e-14).all()  # what the paper promises
        if lenience == 1:
            assert (emitted - p[0]).abs().max() < 1e-14


@pytest.mark.parametrize("lenience", LENIENCES[1:])
def test_of_all_residuals_this_one_stays_closest_to_p(lenience):
    """Others keep the promise as well, norm(max(p/l - q, 0)) for one; drawing from p itself breaks it."""
    broken, farther = 0, 0
    for seed in range(50):
        (p, _), (q,) = random_rows(2, 7, seed), random_rows(1, 7, seed + 100)
        kept = torch.minimum(q, p / lenience)
        ours, refused = sd.lenient_probs(p, q, lenience), 1 - kept.sum()
        least = (kept - p).clamp(min=0).sum()  # too much of these tokens is accepted already
        assert float(sd.total_variation(ours, p)) == pytest.approx(float(least), abs=1e-14)
        other = kept + refused * sd.residual(p / lenience, q)
        assert (other <= p / lenience + 1e-14).all()
        farther += sd.total_variation(other, p) > least + 1e-6
        broken += bool((kept + refused * p > p / lenience + 1e-6).any())
    assert farther > 10 or lenience == 1e-3  # then next to nothing is refused
    assert broken > 10 or lenience < 0.5


@pytest.mark.parametrize("lenience", [1.0, 0.5, 0.1])
@pytest.mark.parametrize(("gamma", "length"), [(1, 4), (2, 4), (3, 5)])
def test_law_of_texts_is_the_formulas(lenience, gamma, length):
    p, q = random_model(3), random_model(4)
    law = lenient_law(p, q, lenience, gamma, length)
    assert math.isclose(sum(law.values()), 1, abs_tol=1e-12)
    assert distance(emitted_law(sd.TokenRule(lenience), p, q, gamma, length), law) < 1e-12
    assert (distance(law, plain_law(p, length)) < 1e-12) == (lenience == 1)


def test_more_lenience_keeps_more():
    models = random_model(3), random_model(4)
    kept = [sd.expected_accepted(sd.TokenRule(lenience), *models, 3) for lenience in LENIENCES]
    assert kept == sorted(kept) and kept[0] < 1.01 * sd.accepted_bound(*models, 3) < kept[-1] < 3
    toy = always(0.5, 0.5), always(0.8, 0.2)
    assert sd.expected_accepted(sd.TokenRule(0.5), *toy, 1) == pytest.approx(1)  # p/(l q) >= 1 everywhere


def test_lenience_1_is_the_token_rule_to_the_bit_and_names_itself():
    p, q, drafted = random_rows(3, 6, 0), random_rows(3, 6, 1), torch.tensor([2, 3])
    assert torch.equal(sd.TokenRule(1).heads(p, q, drafted), sd.TokenRule().heads(p, q, drafted))
    assert [repr(rule) for rule in (sd.TokenRule(), sd.TokenRule(lenience=0.5))] == [
        "TokenRule(lenience=1.0)", "TokenRule(lenience=0.5)",
    ]  # fmt: skip


def test_at_temperature_0_lenience_changes_nothing(pair):
    for source in tiny.sources(4):
        options = {"temperature": 0.0, "max_new_tokens": 16, "gamma": 3}
        runs = [sd.speculative_generate(*pair, source, verification=sd.TokenRule(x), **options) for x in (1, 1e-3)]
        assert runs[0].token_ids == runs[1].token_ids and runs[0].rounds == runs[1].rounds
