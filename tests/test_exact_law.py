"""The loop is lossless: the exact law of `speculative_generate` itself, in float64, against the target's."""

import math

import pytest
import torch

import specdec_lite as sd
import tiny
from enumerate_law import distance, every_path, law, remembering_cursor, target_law

LENGTH = 4
# Plain softmax with three tokens that can occur; six tokens of which temperature, top-k and top-p leave a few.
PLAIN = {"rule": sd.SamplingRule(), "vocab": 4, "suppress_tokens": [tiny.PAD]}
CUT = {"rule": sd.SamplingRule(temperature=0.8, top_k=3, top_p=0.9), "vocab": 6, "suppress_tokens": None}

families = pytest.mark.parametrize("family", tiny.FAMILIES)
settings = pytest.mark.parametrize("setting", [PLAIN, CUT], ids=["softmax", "temperature-topk-topp"])


class ResamplesFromP(sd.TokenRule):
    """Wrong: after a refusal draws from p instead of from the residual."""

    def next_probs(self, p, q, drafted, cut):
        return p[cut]


class InvertedRatio(sd.TokenRule):
    """Wrong: accepts with probability min(1, q/p)."""

    def accept_probs(self, p, q, drafted):
        index = drafted[:, None]
        return (q.gather(1, index) / p[:-1].gather(1, index))[:, 0].clamp(max=1.0)


class ResidualTheOtherWay(sd.TokenRule):
    """Wrong: draws from norm(max(q - p, 0)) after a refusal."""

    def next_probs(self, p, q, drafted, cut):
        return p[cut] if cut == len(q) else sd.residual(q[cut], p[cut])


class Parrot:
    """A proposer without a model: repeats the source, certain of every token, and does not keep to what was asked."""

    passes = 0

    def __init__(self, vocab):
        self.vocab = vocab

    def start(self, source):
        self.source = source

    def propose(self, tokens, n, last, rule, draws):
        ahead = torch.tensor([*self.source, tiny.EOS, *self.source][len(tokens) - 1 :][: n + 1], dtype=torch.long)
        return sd.Proposal(ahead, sd.one_hot(ahead, self.vocab, torch.float64))

    def keep(self, length):
        pass


@pytest.fixture(autouse=True)
def cursor(monkeypatch, request):
    """Thousands of runs share their forward passes, unless the test wants the real cache."""
    if "real_cache" not in request.keywords:
        remembering = remembering_cursor()
        monkeypatch.setattr("specdec_lite.generation.CachedDecoder", remembering)
        monkeypatch.setattr("specdec_lite.drafting.CachedDecoder", remembering)


def case(family, setting):
    pair = tiny.tiny_pair(
        family, seed=7, vocab=setting["vocab"], dtype=torch.float64, sharpness=1.2, noise=0.3,
        suppress_tokens=setting["suppress_tokens"],
    )  # fmt: skip
    source = [3, 2, 3]
    return pair, source, target_law(pair.target, source, setting["rule"], LENGTH)


def options(setting, **more):
    rule = setting["rule"]
    return {"max_new_tokens": LENGTH, "temperature": rule.temperature, "top_k": rule.top_k, "top_p": rule.top_p, **more}


def speculative_paths(pair, source, setting, gamma, verification="token", draft=None):
    def run(draws):
        more = options(setting, gamma=gamma, verification=verification, draws=draws)
        return sd.speculative_generate(pair.target, draft or pair.draft, source, **more)

    return list(every_path(run))


@families
@settings
def test_target_law_is_a_distribution_over_many_sequences(family, setting):
    *_, wanted = case(family, setting)
    assert math.isclose(sum(wanted.values()), 1, abs_tol=1e-12)
    assert len(wanted) >= 10 and max(wanted.values()) < 0.5


@families
@settings
def test_autoregressive_law_equals_target_exactly(family, setting):
    pair, source, wanted = case(family, setting)
    paths = every_path(lambda draws: sd.autoregressive_generate(pair.target, source, draws=draws, **options(setting)))
    assert distance(law(paths), wanted) < 1e-12


@families
@settings
@pytest.mark.parametrize("gamma", [0, 1, 2, 3])
def test_emitted_sequence_law_equals_target_exactly(family, setting, gamma):
    pair, source, wanted = case(family, setting)
    paths = speculative_paths(pair, source, setting, gamma)
    assert distance(law(paths), wanted) < 1e-12
    if gamma:
        assert any(r.next_token is None for g, _ in paths for r in g.rounds), "no path accepts a drafted EOS"
        assert any("residual" in g.origins for g, _ in paths) and any("bonus" in g.origins for g, _ in paths)
    if gamma == 1:  # the same enumeration sees what is wrong
        for wrong in (ResamplesFromP(), InvertedRatio(), ResidualTheOtherWay()):
            assert distance(law(speculative_paths(pair, source, setting, gamma, wrong)), wanted) > 0.01, wrong.__doc__


@families
@pytest.mark.real_cache
def test_law_holds_with_the_real_cache(family):
    pair, source, wanted = case(family, PLAIN)
    assert distance(law(speculative_paths(pair, source, PLAIN, gamma=2)), wanted) < 1e-12


@families
@settings
@pytest.mark.parametrize("gamma", [1, 3])
def test_law_holds_for_a_proposer_without_a_model(family, setting, gamma):
    """It says one token more than it was asked for, goes on after an EOS, and has nothing to say in the end."""
    pair, source, wanted = case(family, setting)
    paths = speculative_paths(pair, source, setting, gamma, draft=Parrot(setting["vocab"]))
    assert distance(law(paths), wanted) < 1e-12
    assert any(r.n_accepted for g, _ in paths for r in g.rounds)


@families
def test_a_draft_that_misreports_q_is_seen(family, monkeypatch):
    """The field's commonest bug: argmax drafts, judged by the softmax they were not drawn from."""
    pair, source, wanted = case(family, PLAIN)
    honest = sd.DraftModel.propose

    class Argmax:
        def token(self, probs):
            return probs.argmax()

    monkeypatch.setattr(
        sd.DraftModel,
        "propose",
        lambda self, tokens, n, last, rule, draws: honest(self, tokens, n, last, rule, Argmax()),
    )
    assert distance(law(speculative_paths(pair, source, PLAIN, gamma=2)), wanted) > 0.01
