"""`python -m specdec_lite check` passes here, and fails by the name of the right check when the package is broken."""

import dataclasses
import re

import pytest
import torch

import specdec_lite as sd
import tiny
from specdec_lite import audit, settings, verification


@pytest.fixture(scope="module")
def pair():
    return tiny.tiny_pair()


def failures(pair) -> dict[str, str]:
    return {outcome.name: outcome.found for outcome in sd.run_checks(pair) if not outcome.ok}


def test_all_is_well_here_and_each_check_says_what_it_found(pair):
    before = torch.get_rng_state()
    outcomes = list(sd.run_checks(pair))
    assert torch.equal(torch.get_rng_state(), before)
    assert [outcome.name for outcome in outcomes] == list(audit.CHECKS) and all(outcome.ok for outcome in outcomes)
    for outcome in outcomes:
        assert re.fullmatch(rf"ok +{outcome.name} +\d+\.\d s  .+", str(outcome))


def test_the_enumeration_is_of_distributions_worth_comparing():
    for family in audit.FAMILIES:
        made = audit.tiny_pair(family, 4, torch.device("cpu"), suppress_tokens=[audit.PAD])
        laws = [
            audit.distribution(sd.autoregressive_generate, model, max_new_tokens=3, temperature=2.0) for model in made
        ]
        for law in laws:
            assert sum(law.values()) == pytest.approx(1, abs=1e-12) and len(law) == 15 and max(law.values()) < 0.8
        assert sum(abs(laws[0][text] - laws[1][text]) for text in laws[0]) / 2 > 0.1


# Each of these breaks the package in one way.


def residual_is_p(monkeypatch):
    monkeypatch.setattr(verification, "residual", lambda p, *_: p)


def everything_is_accepted(monkeypatch):
    monkeypatch.setattr(sd.TokenRule, "heads", lambda self, p, q, drafted: (at(q, drafted) > 0).to(p))


def at(rows, drafted):
    return verification.at_tokens(rows, drafted)


def a_position_is_dropped(monkeypatch):
    crop = sd.CachedDecoder.crop
    monkeypatch.setattr(sd.CachedDecoder, "crop", lambda self, length: crop(self, max(0, length - 1)))


def a_position_too_many_stays(monkeypatch):
    crop = sd.CachedDecoder.crop
    monkeypatch.setattr(sd.CachedDecoder, "crop", lambda self, length: crop(self, min(self.length - 1, length + 1)))


def a_processor_is_left_out(name):
    def leave_out(monkeypatch):
        monkeypatch.setitem(settings.HONOURED, name, (settings.HONOURED[name][0], lambda x, c: None))

    return leave_out


def the_draft_claims_another_q(monkeypatch):
    propose = sd.DraftModel.propose

    def claim(self, *asked):
        proposal = propose(self, *asked)
        return proposal._replace(probs=(proposal.probs + 1 / proposal.probs.shape[-1]) / 2)

    monkeypatch.setattr(sd.DraftModel, "propose", claim)


def logits_are_nan(monkeypatch):
    forward = sd.CachedDecoder.forward
    monkeypatch.setattr(sd.CachedDecoder, "forward", lambda self, rows: forward(self, rows) * float("nan"))


BROKEN = [
    (residual_is_p, "exact distribution"),
    (everything_is_accepted, "exact distribution"),
    (everything_is_accepted, "greedy texts"),
    (everything_is_accepted, "coupled texts"),
    (a_position_is_dropped, "coupled texts"),
    (a_position_is_dropped, "cache against a fresh pass"),
    (logits_are_nan, "cache against a fresh pass"),
    (a_position_too_many_stays, "cache against a fresh pass"),
    (the_draft_claims_another_q, "accounts of q"),
    pytest.param(the_draft_claims_another_q, "exact distribution", marks=pytest.mark.long),
    *((a_processor_is_left_out(name), "settings of a checkpoint") for name in audit.SHIPPED),
]


@pytest.mark.parametrize(("break_it", "name"), BROKEN)
def test_what_is_broken_fails_by_name_and_says_what_to_do(pair, monkeypatch, break_it, name):
    monkeypatch.setattr(audit, "CHECKS", {name: audit.CHECKS[name]})
    monkeypatch.setattr(audit, "FAMILIES", {"T5": audit.t5})  # the other one is as slow
    break_it(monkeypatch)
    found = failures(pair)
    assert list(found) == [name] and f"what to do: {audit.CHECKS[name][1]}" in found[name]


def test_a_setting_that_is_left_out_is_named(pair, monkeypatch):
    monkeypatch.setattr(audit, "FAMILIES", {"T5": audit.t5})
    monkeypatch.setattr(audit, "CHECKS", {"settings": audit.CHECKS["settings of a checkpoint"]})
    a_processor_is_left_out("min_length")(monkeypatch)
    assert "T5, min_length=11: plain decoding differs from `generate`" in failures(pair)["settings"]


def test_a_check_that_raises_has_failed_and_the_others_go_on(pair, monkeypatch):
    def fail(pair, sources):
        raise ZeroDivisionError("no way")

    monkeypatch.setattr(audit, "CHECKS", {"one": (fail, "mend it"), "two": (lambda pair, sources: "fine", "")})
    one, two = sd.run_checks(pair)
    assert not one.ok and two.ok and "ZeroDivisionError: no way" in one.found and str(one).startswith("FAILED  one")


def test_a_difference_counts_unless_it_is_a_near_tie(pair, monkeypatch):
    source = tiny.sources(1)[0]
    run = sd.autoregressive_generate(pair.target, source, temperature=0.0, max_new_tokens=3).token_ids
    logits = audit.fresh_logits(pair.target, source, [*pair.target.prompt, *run[:2]])[-1]
    second = logits.topk(2).indices[1].item()
    margin = float((logits.max() - logits[second]) / logits.std())
    assert audit.tie_margin(pair.target, source, run[:2], run[2], second) == pytest.approx(margin, rel=1e-3)
    assert audit.tie_margin(pair.target, source, run, 5, None) == float("inf")
    generate = sd.speculative_generate

    def second_best(target, *rest, **options):
        made = generate(target, *rest, **options)
        return dataclasses.replace(made, token_ids=[*made.token_ids[:2], second]) if rest[1] == source else made

    monkeypatch.setattr(audit, "speculative_generate", second_best)
    monkeypatch.setattr(audit, "length", lambda pair: 3)
    with pytest.raises(audit.Wrong, match=r"gamma=1: token 2 is .* instead of .* no near-tie \(margin"):
        audit.greedy_texts(pair, [source])
    monkeypatch.setattr(audit, "tolerance", lambda model: 2 * margin)
    assert "3 parted at a near-tie" in audit.greedy_texts(pair, [source])


def test_a_pair_that_reads_no_text_is_refused():
    with pytest.raises(ValueError, match=r"^pair='tiny whisper' reads input_features: expected one that reads text"):
        next(sd.run_checks(tiny.tiny_pair("whisper")))
