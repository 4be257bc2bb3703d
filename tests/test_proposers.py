"""What a proposer says is checked: a wrong q costs exactness, so it is an error, and never a silent one."""

import math

import pytest
import torch

import specdec_lite as sd
import tiny

SOURCE = [5, 6, 7]


class Uniform:
    """An honest proposer without a model: every token is as likely as any other."""

    passes = 0

    def start(self, source, texts):
        pass

    def propose(self, texts, plan, adjustment, draws):
        q = torch.full((len(texts), tiny.VOCAB), 1 / tiny.VOCAB)
        tokens = torch.stack([draws.guesses(q, texts, slot) for slot in range(max(plan))], 1)
        return self.say(tokens, q[:, None].repeat(1, max(plan), 1))

    def say(self, tokens, probs):
        return sd.Proposal(tokens, probs)

    def keep(self, texts, cuts):
        pass


def speak(pair, **methods):
    """Decode with a proposer of which some methods are others."""
    proposer = type("Odd", (Uniform,), methods)()
    return sd.speculative_generate(pair.target, proposer, SOURCE, gamma=3, max_new_tokens=12, seed=0)


def changed(edit):
    """q with something done to the second token of each round."""

    def say(self, tokens, probs):
        if probs.shape[1] > 1:
            edit(probs[:, 1], tokens[:, 1])
        return sd.Proposal(tokens, probs)

    return say


def test_an_honest_proposer_is_served(pair):
    run = speak(pair)
    assert run.draft_passes == 0 and run.accepted and run.examined > run.accepted


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda q, x: q.fill_(0), "sums to 0"),
        (lambda q, x: q.fill_(math.nan), "holds NaN or infinity"),
        (lambda q, x: q[:, 0].fill_(math.inf), "holds NaN or infinity"),
        (lambda q, x: q.mul_(2), "sums to 2"),
        (lambda q, x: q.copy_(torch.linspace(-3, 3, tiny.VOCAB).expand_as(q)), "has a negative entry"),
        (lambda q, x: q.zero_().scatter_(1, (x[:, None] + 1) % tiny.VOCAB, 1.0), "gives probability 0 to token"),
    ],
    ids=["zeros", "nan", "inf", "twice", "logits", "another token"],
)
def test_a_q_that_is_no_distribution_is_an_error_that_names_the_proposer(pair, edit, said):
    with pytest.raises(ValueError, match=rf"Odd: the q of drafted token 1 \(row 0\) {said}.*expected the distribution"):
        speak(pair, say=changed(edit))


@pytest.mark.parametrize(
    ("say", "error", "said"),
    [
        (lambda self, tokens, probs: None, TypeError, "None: expected a Proposal"),
        (lambda self, tokens, probs: (tokens.tolist(), probs), TypeError, "expected a Proposal"),
        (lambda self, tokens, probs: (tokens[0], probs[0]), ValueError, r"expected whole numbers \(1, n\)"),
        (lambda self, tokens, probs: (tokens, probs[..., :-1]), ValueError, r"\(1, n, 32\)"),
        (lambda self, tokens, probs: (tokens.float(), probs), ValueError, "float32"),
        (lambda self, tokens, probs: (tokens, probs, [9]), ValueError, "counts"),
        (lambda self, tokens, probs: (tokens, probs, [1, 1]), ValueError, "counts"),
        (lambda self, tokens, probs: (tokens, probs, [1.5]), ValueError, r"counts=\[1.5\]"),
        (lambda self, tokens, probs: (tokens, probs, 2), ValueError, "counts=2"),
    ],
)
def test_a_proposal_of_another_shape_is_an_error_that_names_the_proposer(pair, say, error, said):
    with pytest.raises(error, match=rf"Odd\.propose returned.*{said}"):
        speak(pair, say=say)


def test_a_token_outside_the_vocabulary_is_an_error(pair):
    for shift in (99, -99):
        with pytest.raises(ValueError, match=r"Odd: the q of drafted token 0 .* is for no token of the vocabulary"):
            speak(pair, say=lambda self, tokens, probs, shift=shift: (tokens + shift, probs))


def test_a_proposer_may_say_less_than_it_was_asked_for(pair):
    def short(self, tokens, probs):
        probs[:, 1:] = math.nan  # what lies behind the count is not looked at
        return sd.Proposal(tokens, probs, [1])

    run = speak(pair, say=short)
    assert {len(r.drafted) for r in run.rounds[:-1]} == {1}


def test_a_proposer_cannot_write_into_the_text(pair):
    def propose(self, texts, plan, adjustment, draws):
        with pytest.raises((AttributeError, TypeError)):
            texts[0].tokens.append(7)
        texts[0].generated.append(7)
        return Uniform.propose(self, texts, plan, adjustment, draws)

    assert speak(pair, propose=propose).token_ids == speak(pair).token_ids


def test_the_proposal_is_not_changed_by_the_loop(pair):
    seen = []

    def say(self, tokens, probs):
        seen.append((tokens, probs, tokens.clone(), probs.clone()))
        return sd.Proposal(tokens, probs)

    speak(pair, say=say)
    assert seen and all(torch.equal(a, c) and torch.equal(b, d) for a, b, c, d in seen)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("which", ["target", "draft"])
def test_logits_that_are_not_finite_are_an_error_and_never_a_token(temperature, which):
    pair = tiny.tiny_pair("t5")
    with torch.no_grad():
        getattr(pair, which).hf_model.get_output_embeddings().weight[3] = math.nan
    said = (
        "nothing can follow token 1 of row 0: the target's logits hold NaN"
        if which == "target"
        else "DraftModel: the q"
    )
    with pytest.raises(ValueError, match=said):
        sd.speculative_generate(*pair, SOURCE, temperature=temperature)
    if which == "target":
        with pytest.raises(ValueError, match=said):
            sd.autoregressive_generate(pair.target, SOURCE, temperature=temperature)


def test_a_hand_made_draft_model_is_checked_like_any_other(pair):
    other = sd.DraftModel(sd.Seq2Seq(tiny.t5_model(1, vocab=31)))
    with (
        tiny.counted(*pair) as counts,
        pytest.raises(ValueError, match="draft has 31 tokens: expected the target's 32"),
    ):
        sd.speculative_generate(pair.target, other, SOURCE)
    assert not any(counts)
    elsewhere = sd.DraftModel(sd.Seq2Seq(tiny.t5_model(1).to("meta"), self_check=False))
    with pytest.raises(ValueError, match="draft is on meta: expected the target's device, cpu"):
        sd.speculative_generate(pair.target, elsewhere, SOURCE)


def test_a_class_in_place_of_a_proposer_or_a_rule_is_told_before_any_pass(pair):
    with tiny.counted(*pair) as counts:
        with pytest.raises(TypeError, match=r"draft=Uniform: expected an object, Uniform\(…\), not the class"):
            sd.speculative_generate(pair.target, Uniform, SOURCE)
        with pytest.raises(TypeError, match="verification=TokenRule: expected an object"):
            sd.speculative_generate(*pair, SOURCE, verification=sd.TokenRule)
    assert not any(counts)


def test_the_clock_waits_for_every_kind_of_device(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: waited.append("cuda"))
    for kind in ("cpu", "mps", "cuda"):
        model = type("Model", (), {"device": torch.device(kind)})
        sd.generation.now(model)
    assert waited == ["mps", "cuda"]
    assert [sd.sampling.wide(torch.device(kind)) for kind in ("mps", "cpu")] == [torch.float32, torch.float64]


def test_nothing_proposed_is_on_the_models_device_too():
    """With gamma 0 the loop makes q itself. On "meta" nothing is computed, but the device must be right."""
    from specdec_lite.drafting import ask

    draws = type("Draws", (), {"device": torch.device("meta")})
    block = ask(Uniform(), [sd.Text([0], frozenset(), 3)], [0], None, draws, 7)
    assert block.q.device.type == block.tokens.device.type == "meta" and block.q.shape == (1, 1, 7)
