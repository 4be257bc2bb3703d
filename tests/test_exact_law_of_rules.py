"""The loop under each rule, in float64: block verification has the target's law, lenience that of its formula."""

import math

import pytest
import torch

import specdec_lite as sd
import tiny
from enumerate_law import distance, joint, remembering
from reference import adjusted
from test_block import LastTestUncapped, StopsAtTheFirstTails
from test_drafts import DRAFTS
from test_exact_law import (
    CUT,
    LENGTH,
    OTHER,
    PLAIN,
    SHIPPED,
    SOURCE,
    Parrot,
    case,
    families,
    pair_of,
    settings,
    shipping,
    target_law,
    wanted,
)  # fmt: skip

BLOCK, LENIENT = sd.BlockRule(), sd.TokenRule(lenience=0.5)


def lenient_law(pair, source, setting, gamma, length, lenience):
    """The texts by the formula: from a text with so many guesses left, in plain Python, from passes without a cache."""
    rows, law = {}, {}

    def row(model, text):
        if (model, text) not in rows:
            logits = tiny.fresh_logits(model, source, (*model.prompt, *text))[-1].tolist()
            for token in setting["suppress_tokens"] or []:
                logits[token] = -math.inf
            rows[model, text] = adjusted(logits, setting["rule"])
        return rows[model, text]

    def go_on(text, weight, left=None):
        if not weight:
            return
        if len(text) == length or text[-1:] == (tiny.EOS,):
            law[text] = law.get(text, 0.0) + weight
            return
        left = min(gamma, length - len(text) - 1) if left is None else left
        p = row(pair.target, text)
        if not left:
            for x, share in enumerate(p):
                go_on((*text, x), weight * share)
            return
        q = row(pair.draft, text)
        kept = [min(b, a / lenience) for a, b in zip(p, q)]
        excess = [max(a - b, 0.0) for a, b in zip(p, q)]
        for x in range(len(p)):
            go_on((*text, x), weight * kept[x], left - 1)
            if sum(kept) < 1 - 1e-15:
                go_on((*text, x), weight * (1 - sum(kept)) * excess[x] / sum(excess))

    with torch.inference_mode():
        go_on((), 1.0)
    return law


@families
@settings
@pytest.mark.parametrize(("gamma", "length"), [(1, 4), pytest.param(2, 4, marks=pytest.mark.long), (3, 4), (4, 5)])
def test_law_of_block_verification_is_the_targets(family, setting, gamma, length):
    pair = pair_of(family, setting)
    right = case(pair, setting, gamma, length)
    assert distance(right.law(BLOCK), wanted(pair, SOURCE, setting, length)) < 1e-12
    assert any(r.next_token is None for r in right.seen), "no path accepts a drafted EOS"
    assert {"residual", "bonus"} <= {r.source for r in right.seen}


@pytest.mark.parametrize("wrong", [StopsAtTheFirstTails(), LastTestUncapped()], ids=lambda rule: type(rule).__name__)
def test_a_wrong_block_rule_is_seen_in_the_loop(wrong):
    pair = pair_of("t5", PLAIN)  # the tiny BART's p and q are such that an uncapped last test does no harm
    assert distance(case(pair, PLAIN, 3).law(wrong), wanted(pair, SOURCE, PLAIN)) > 0.001


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("rule", [BLOCK, LENIENT], ids=repr)
def test_law_under_what_a_checkpoint_ships(name, rule):
    """Block verification keeps it; lenience does not."""
    pair, edit = shipping("t5", name, LENGTH)
    law = joint(target_law(pair.target, SOURCE, PLAIN["rule"], LENGTH, edit))
    assert (distance(case(pair, PLAIN, 3).law(rule), law) < 1e-12) == (rule is BLOCK)


two_rows = pytest.mark.parametrize(
    ("family", "setting", "gamma"),
    [
        ("t5", PLAIN, 1),
        *(
            pytest.param(*each, marks=pytest.mark.long)
            for each in (("bart", CUT, 1), ("t5", CUT, 2), ("t5", PLAIN, 2), ("bart", PLAIN, 2))
        ),
    ],
    ids=lambda each: {id(PLAIN): "softmax", id(CUT): "temperature-topk-topp"}.get(id(each), str(each)),
)


@two_rows
def test_two_rows_have_the_product_of_their_laws_under_block_verification(family, setting, gamma):
    pair, both = pair_of(family, setting), (SOURCE, OTHER)
    law = joint(*({tokens[0]: weight for tokens, weight in wanted(pair, each, setting, 3).items()} for each in both))
    assert distance(case(pair, setting, gamma, 3, sources=both).law(BLOCK), law) < 1e-12


@families
@settings
@pytest.mark.parametrize("gamma", [1, 3])
def test_law_under_lenience_is_the_formulas(family, setting, gamma):
    pair = pair_of(family, setting)
    law = joint(lenient_law(pair, SOURCE, setting, gamma, LENGTH, LENIENT.lenience))
    assert math.isclose(sum(law.values()), 1, abs_tol=1e-12)
    assert distance(case(pair, setting, gamma).law(LENIENT), law) < 1e-12
    assert distance(law, wanted(pair, SOURCE, setting)) > 0.001
    strict = joint(lenient_law(pair, SOURCE, setting, gamma, LENGTH, 1.0))
    assert distance(strict, wanted(pair, SOURCE, setting)) < 1e-12


@two_rows
def test_two_rows_have_the_product_of_their_laws_under_lenience(family, setting, gamma):
    pair, both = pair_of(family, setting), (SOURCE, OTHER)
    law = joint(*(lenient_law(pair, source, setting, gamma, 3, LENIENT.lenience) for source in both))
    assert distance(case(pair, setting, gamma, 3, sources=both).law(LENIENT), law) < 1e-12


@families
@pytest.mark.parametrize("gamma", [1, 3])
def test_law_of_block_verification_holds_for_a_proposer_without_a_model(family, gamma):
    pair = pair_of(family, PLAIN)
    parrot = case(pair, PLAIN, gamma, draft=Parrot(PLAIN["vocab"]))
    assert distance(parrot.law(BLOCK), wanted(pair, SOURCE, PLAIN)) < 1e-12
    assert any(r.n_accepted for r in parrot.seen)


@pytest.mark.parametrize("name", ["copy of all", "chain", "by length", "confidence", "head"])
def test_law_of_block_verification_holds_for_every_kind_of_draft(name):
    """Some end their proposals early, by what they have proposed; the last token then gets the last test."""
    pair = pair_of("t5", PLAIN)
    kind = case(pair, PLAIN, 3, draft=DRAFTS[name](remembering(pair).draft))
    assert distance(kind.law(BLOCK), wanted(pair, SOURCE, PLAIN)) < 1e-12
    assert len({len(r.drafted) for r in kind.seen}) > 1 and any(r.n_accepted > 1 for r in kind.seen)
