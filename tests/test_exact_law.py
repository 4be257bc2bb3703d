"""The loop is lossless: the exact law of its rounds, in float64, against the target's."""

import functools
import itertools
import math

import pytest
import torch

import specdec_lite as sd
import tiny
from enumerate_law import Case, distance, every_path, joint, remembering, target_law

LENGTH = 4
SOURCE, OTHER = [3, 2, 3], [2, 3, 3, 2]
# Plain softmax with three tokens that can occur; six tokens of which temperature, top-k and top-p leave a few.
PLAIN = {"rule": sd.SamplingRule(), "vocab": 4, "suppress_tokens": [tiny.PAD]}
CUT = {"rule": sd.SamplingRule(temperature=0.8, top_k=3, top_p=0.9), "vocab": 6, "suppress_tokens": None}

families = pytest.mark.parametrize("family", tiny.FAMILIES)
settings = pytest.mark.parametrize("setting", [PLAIN, CUT], ids=["softmax", "temperature-topk-topp"])


class ResamplesFromP(sd.TokenRule):
    """Wrong: after a refusal draws from p instead of from the residual."""

    def after(self, p, q, drafted, cut):
        return super().after(p, torch.zeros_like(q), drafted, cut)


class InvertedRatio(sd.TokenRule):
    """Wrong: accepts with probability min(1, q/p)."""

    def heads(self, p, q, drafted):
        return torch.where(super().heads(q, q, drafted) > 0, super().heads(q, p, drafted), 0.0)


class ResidualTheOtherWay(sd.TokenRule):
    """Wrong: draws from norm(max(q - p, 0)) after a refusal."""

    def after(self, p, q, drafted, cut):
        proposed = q.sum(-1, keepdim=True) > 0
        return super().after(torch.where(proposed, q, p), torch.where(proposed, p, q), drafted, cut)


WRONG = (ResamplesFromP(), InvertedRatio(), ResidualTheOtherWay())


class Parrot:
    """A proposer without a model: repeats the source, certain of every token, and does not keep to what was asked."""

    passes = 0

    def __init__(self, vocab):
        self.vocab = vocab

    def start(self, source, texts):
        self.sources = {text.row: [*ids, tiny.EOS, *ids] for text, ids in zip(texts, source.sources)}

    def propose(self, texts, plan, adjustment, draws):
        ahead = [self.sources[text.row][len(text) - 1 :][: max(plan) + 1] for text in texts]
        counts = [len(tokens) for tokens in ahead]
        tokens = torch.tensor([[*row, *[0] * (max(counts) - len(row))] for row in ahead], dtype=torch.long)
        return sd.Proposal(tokens, sd.one_hot(tokens, self.vocab, torch.float64), counts)

    def keep(self, texts, cuts):
        pass


@functools.cache
def tiny_pair(family: str, vocab: int, **generation) -> sd.Pair:
    """Thousands of runs share their forward passes."""
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in generation.items()}
    options = {"seed": 7, "vocab": vocab, "dtype": torch.float64, "sharpness": 1.2, "noise": 0.3}
    return tiny.tiny_pair(family, **options, **given)


def pair_of(family, setting):
    suppressed = setting["suppress_tokens"]
    return tiny_pair(family, setting["vocab"], suppress_tokens=suppressed and tuple(suppressed))


def forbid(*tokens):
    """An edit of logits: these tokens never come."""

    def edit(prefix, logits):
        for token in tokens:
            logits[token] = -math.inf

    return edit


def wanted(pair, source, setting, length=LENGTH):
    edit = forbid(*(setting["suppress_tokens"] or []))
    return joint(target_law(pair.target, source, setting["rule"], length, edit))


def case(pair, setting, gamma, length=LENGTH, draft=None, sources=(SOURCE,)):
    quick = remembering(pair)
    return Case(quick.target, draft or quick.draft, sources, setting["rule"], length, gamma)


@families
@settings
def test_the_targets_law_is_worth_comparing_with(family, setting):
    law = wanted(pair_of(family, setting), SOURCE, setting)
    assert math.isclose(sum(law.values()), 1, abs_tol=1e-12)
    assert len(law) >= 10 and max(law.values()) < 0.5


@families
@settings
def test_autoregressive_law_equals_target_exactly(family, setting):
    pair, total, rule = pair_of(family, setting), {}, setting["rule"]
    options = {"temperature": rule.temperature, "top_k": rule.top_k, "top_p": rule.top_p, "max_new_tokens": LENGTH}
    model = remembering(pair).target
    for run, probability in every_path(lambda d: sd.autoregressive_generate(model, SOURCE, draws=d, **options)):
        tokens = (tuple(run.token_ids),)
        total[tokens] = total.get(tokens, 0.0) + probability
    assert distance(total, wanted(pair, SOURCE, setting)) < 1e-12


@families
@settings
@pytest.mark.parametrize(("gamma", "length"), [(0, 4), (1, 4), (2, 4), (3, 4), (4, 5)])
def test_emitted_sequence_law_equals_target_exactly(family, setting, gamma, length):
    pair = pair_of(family, setting)
    right, law = case(pair, setting, gamma, length), wanted(pair, SOURCE, setting, length)
    assert distance(right.law(), law) < 1e-12
    if gamma:
        assert any(r.next_token is None for r in right.seen), "no path accepts a drafted EOS"
        assert {"residual", "bonus"} <= {r.source for r in right.seen}
    if gamma == 1:  # the same enumeration sees what is wrong
        for wrong in WRONG:
            assert distance(case(pair, setting, gamma).law(wrong), law) > 0.01, wrong.__doc__


def no_eos_below(least):
    def edit(prefix, logits):
        if 1 + len(prefix) < least:
            logits[tiny.EOS] = -math.inf

    return edit


def no_pair_twice(start):
    def edit(prefix, logits):
        written = (start, *prefix)
        for first, second in itertools.pairwise(written):
            if first == written[-1]:
                logits[second] = -math.inf

    return edit


def forced(first, last, length):
    def edit(prefix, logits):
        for position, token in ((0, first), (length - 1, last)):
            if len(prefix) == position:
                logits[:] = [0.0 if i == token else -math.inf for i in range(len(logits))]

    return edit


SHIPPED = {
    "min_length": ({"min_length": 3}, lambda model, length: no_eos_below(3)),
    "no_repeat_ngram_size": ({"no_repeat_ngram_size": 2}, lambda model, length: no_pair_twice(model.start_token)),
    "forced tokens": (
        {"forced_bos_token_id": 3, "forced_eos_token_id": tiny.EOS},
        lambda model, length: forced(3, tiny.EOS, length),
    ),
}


def shipping(family, name, length):
    """A pair whose checkpoint ships a setting, and the same as an edit of logits in plain Python."""
    shipped, made = SHIPPED[name]
    pair = tiny_pair(family, PLAIN["vocab"], suppress_tokens=(tiny.PAD,), **shipped)
    edits = made(pair.target, length), forbid(tiny.PAD)

    def edit(prefix, logits):
        for each in edits:
            each(prefix, logits)

    return pair, edit


@families
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("gamma", [1, pytest.param(2, marks=pytest.mark.long), 3])
def test_law_holds_under_what_a_checkpoint_ships(family, name, gamma):
    """Its processors adjust p and q alike; the law compared with is edited in plain Python."""
    pair, edit = shipping(family, name, LENGTH)
    law = joint(target_law(pair.target, SOURCE, PLAIN["rule"], LENGTH, edit))
    assert distance(law, wanted(pair, SOURCE, PLAIN)) > 0.01, "the setting changes nothing here"
    right = case(pair, PLAIN, gamma)
    assert distance(right.law(), law) < 1e-12
    assert any(r.n_accepted for r in right.seen)
    if gamma == 1:
        assert min(distance(case(pair, PLAIN, gamma).law(wrong), law) for wrong in WRONG) > 0.01


NAMES = ["softmax", "temperature-topk-topp", *SHIPPED]
# All names with one γ, two of them with the other family, too, and one with the other γ; with --long all of all.
SHORT = {*[("t5", name, 1) for name in NAMES], *[("bart", name, 1) for name in NAMES[:2]], ("bart", "softmax", 2)}


@pytest.mark.parametrize(
    ("family", "name", "gamma"),
    [
        pytest.param(*each, marks=() if each in SHORT else pytest.mark.long)
        for each in itertools.product(tiny.FAMILIES, NAMES, (1, 2))
    ],
)
def test_two_rows_have_the_product_of_their_laws_exactly(family, name, gamma):
    """They differ in source, get ahead of each other, finish at different times, and do not disturb each other."""
    length, both, setting = 3, (SOURCE, OTHER), CUT if name.startswith("temperature") else PLAIN
    if name in SHIPPED:
        pair, edit = shipping(family, name, length)
    else:
        pair, edit = pair_of(family, setting), forbid(*(setting["suppress_tokens"] or []))
    law = joint(*(target_law(pair.target, source, setting["rule"], length, edit) for source in both))
    assert distance(case(pair, setting, gamma, length, sources=both).law(), law) < 1e-12


@pytest.mark.parametrize("family", ["t5", pytest.param("bart", marks=pytest.mark.long)])
@pytest.mark.parametrize("wrong", WRONG, ids=lambda rule: type(rule).__name__)
def test_the_enumeration_of_two_rows_sees_what_is_wrong(family, wrong):
    pair, both = pair_of(family, PLAIN), (SOURCE, OTHER)
    law = joint(*({tokens[0]: p for tokens, p in wanted(pair, source, PLAIN, 3).items()} for source in both))
    assert distance(case(pair, PLAIN, 1, 3, sources=both).law(wrong), law) > 0.01


@families
def test_law_holds_with_the_real_cache(family):
    pair = pair_of(family, PLAIN)
    real = Case(*pair, [SOURCE], PLAIN["rule"], LENGTH, gamma=2)
    assert distance(real.law(), wanted(pair, SOURCE, PLAIN)) < 1e-12


@families
@settings
@pytest.mark.parametrize("gamma", [1, 3])
def test_law_holds_for_a_proposer_without_a_model(family, setting, gamma):
    """It says one token more than it was asked for, goes on after an EOS, and has nothing to say in the end."""
    pair = pair_of(family, setting)
    parrot = case(pair, setting, gamma, draft=Parrot(setting["vocab"]))
    assert distance(parrot.law(), wanted(pair, SOURCE, setting)) < 1e-12
    assert any(r.n_accepted for r in parrot.seen)


@families
def test_a_draft_that_misreports_q_is_seen(family):
    """The field's commonest bug: argmax drafts, judged by the softmax they were not drawn from."""

    class Argmax(sd.DraftModel):
        def propose(self, texts, plan, adjustment, draws):
            class Certain:
                def guesses(self, q, texts, slot):
                    return q.argmax(-1)

            return super().propose(texts, plan, adjustment, Certain())

    pair = pair_of(family, PLAIN)
    draft = Argmax(remembering(pair).draft)
    assert distance(case(pair, PLAIN, 2, draft=draft).law(), wanted(pair, SOURCE, PLAIN)) > 0.01
