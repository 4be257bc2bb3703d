"""The two loops: autoregressive, one token per target pass; speculative, the paper's Algorithm 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .adjustment import Adjustment
from .checking import Checker, write
from .checks import check_integer, check_methods, memory_advice
from .drafting.base import Proposer, ask
from .drafting.model import as_proposer
from .inputs import Source, as_batch
from .models import Seq2Seq, check_model, now
from .record import Generation, Round
from .sampling import Draws, SamplingRule
from .texts import Text
from .verification import Verifier, verifier

Observer = Callable[[str], None]
LESS = "fewer sources in one call, a smaller gamma or max_new_tokens, or a pair loaded with dtype='bfloat16' need less"


@memory_advice(LESS)
@torch.inference_mode()
def autoregressive_generate(
    target: Seq2Seq,
    source: Source | Sequence[Source],
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | Sequence[int] | None = None,
    verification: str | Verifier = "token",
    record_probs: bool = False,
    draws: Draws | None = None,
    observer: Observer | None = None,
) -> Generation | list[Generation]:
    """The baseline: one target pass per token, with the KV cache and the encoder output kept.

    Parameters are those of `speculative_generate`; the observer hears "start" and then "step" after every token.
    Nothing is verified here, but "coupled" gives the very text of a coupled speculative call: the draws are the rule's.
    """
    check_model("target", target)
    rule, sampling = verifier(verification), SamplingRule(temperature, top_k, top_p)
    call = Call(target, source, max_new_tokens, sampling, rule, seed, record_probs, draws, observer)
    checker, texts = getattr(target, "checker_kind", Checker)(target, call.source), call.texts
    call.observe("start")
    while texts:
        p, tokens = checker.next_tokens(texts, call.adjustment, call.draws)
        records = [write(text, (), 0, token, "target", ()) for text, token in zip(texts, tokens)]
        checker.keep(texts)
        call.observe("step")
        call.note(Step(texts, records, p, 0))
        texts = [text for text in texts if text.open]
    return call.finish()


@memory_advice(LESS)
@torch.inference_mode()
def speculative_generate(
    target: Seq2Seq,
    draft: Seq2Seq | Proposer,
    source: Source | Sequence[Source],
    *,
    gamma: int = 4,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | Sequence[int] | None = None,
    verification: str | Verifier = "token",
    record_probs: bool = False,
    draws: Draws | None = None,
    observer: Observer | None = None,
) -> Generation | list[Generation]:
    """Leviathan et al. (2023), Algorithm 1, until EOS: the target's distribution in fewer target passes.

    Parameters
    ----------
    target : Seq2Seq
        M_p, whose distribution the output has.
    draft : Seq2Seq or Proposer
        M_q, or anything else that proposes tokens with their true q.
    source : str, list of int, dict of encoder inputs, audio, image; or a list of such
        A list is a batch, and a list of generations comes back.
    gamma : int
        Tokens drafted per round; 0 drafts nothing.
    max_new_tokens : int
        Never exceeded, and nothing is proposed beyond it.
    temperature, top_k, top_p : float, int, float
        See `SamplingRule`; the same for both models. Temperature 0 is greedy decoding.
    seed : int or list of int, optional
        Makes the call reproducible; see `Draws`. A list has one seed a row.
    verification : str or Verifier
        "token" (`TokenRule`), "block" (`BlockRule`), "coupled" (`CoupledRule`), or any rule.
    record_probs : bool
        Keep M_p's distribution for every emitted token in `target_probs` ``(tokens, vocab)``.
    draws : Draws, optional
        The source of randomness; `seed` is then unused.
    observer : callable, optional
        Called with the name of each phase as it ends: "start", then "draft" and "check" of every round.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected, before any forward pass.
    torch.OutOfMemoryError
        The device's memory gave out; the message says what needs less of it.
    """
    check_model("target", target)
    rule, gamma = verifier(verification), check_integer("gamma", gamma, minimum=0)
    proposer, sampling = as_proposer(draft, target), SamplingRule(temperature, top_k, top_p)
    call = Call(target, source, max_new_tokens, sampling, rule, seed, record_probs, draws, observer)
    proposer.start(call.source, call.texts)
    checker = getattr(target, "checker_kind", Checker)(target, call.source)
    call.observe("start")
    for step in rounds(checker, proposer, call.texts, gamma, call.adjustment, rule, call.draws, call.observe):
        call.note(step)
    return call.finish()


class Step(NamedTuple):
    """What a round of the whole batch did: the open texts, what each got (None if it sat out), p, draft passes."""

    texts: list[Text]
    records: list[Round | None]
    p: Tensor
    draft_passes: int


def rounds(
    checker: Checker, proposer: Proposer, texts: Sequence[Text], gamma: int,
    adjustment: Adjustment, rule: Verifier, draws: Draws, observe: Observer,
) -> Iterator[Step]:  # fmt: skip
    """Leviathan et al. (2023), Algorithm 1, every row a text; yields what each round did."""
    while texts := [text for text in texts if text.open]:
        before, plan = proposer.passes, plan_round(texts, gamma)
        block = ask(proposer, texts, plan, adjustment, draws, checker.vocab)
        observe("draft")
        verdict = checker.check(texts, block, adjustment, rule, draws)
        records = [verdict.write(i, text) for i, text in enumerate(texts)]
        checker.keep(texts)
        proposer.keep(texts, verdict.cuts)
        observe("check")
        yield Step(texts, records, verdict.p, proposer.passes - before)


def plan_round(texts: Sequence[Text], gamma: int) -> list[int | None]:
    """How many tokens each row may draft: the target's own token ends the round. None: the row sits this round out.

    It does if it is more than gamma tokens ahead, which bounds what is fed again. Its plan is never shortened instead,
    or its text would depend on its neighbours.
    """
    shortest = min(len(text) for text in texts)
    return [min(gamma, text.remaining - 1) if len(text) - shortest <= gamma else None for text in texts]


class Call:
    """What both loops are asked for, checked before any pass; and the record of what comes of it."""

    def __init__(
        self, target: Seq2Seq, source, max_new_tokens: int, sampling: SamplingRule, rule: Verifier, seed,
        record_probs: bool, draws: Draws | None, observer: Observer | None,
    ):  # fmt: skip
        self.target, self.record_probs = target, record_probs
        sources, self.many = as_batch(source)
        self.texts = target.texts(len(sources), max_new_tokens)
        self.source = target.source(sources)
        self.adjustment = target.adjustment(sampling, self.source, self.texts)
        kind = getattr(rule, "draws", Draws)
        if draws is not None and kind is not Draws and not isinstance(draws, kind):
            raise TypeError(f"draws={draws!r:.80}: expected {kind.__name__}, the kind that {rule!r} needs")
        self.draws = kind(check_seeds(seed, len(sources)), target.device) if draws is None else draws
        check_methods("draws", self.draws, ("guesses", "coins", "next_tokens", "device"), "a Draws")
        if isinstance(draws, Draws) and draws.shared is None:
            check_seeds(draws.seeds, len(sources))
        self.observe = (lambda phase: None) if observer is None else observer
        check_methods("observer", self.observe, ("__call__",), "a function of the phase's name")
        self.out = [Generation(batch_size=len(sources)) for _ in sources]
        self.probs = [[] for _ in sources]
        self.began = now(target)

    def note(self, step: Step) -> None:
        for i, (text, record) in enumerate(zip(step.texts, step.records)):
            out = self.out[text.row]
            out.target_passes += 1
            out.draft_passes += step.draft_passes
            if record is not None:
                out.rounds.append(record)
                if self.record_probs:
                    self.probs[text.row].append(step.p[i, : len(record.emitted)].clone())

    def finish(self) -> Generation | list[Generation]:
        """What is outside the clock: text and pieces, recorded distributions."""
        seconds = now(self.target) - self.began
        for out, text, probs in zip(self.out, self.texts, self.probs):
            out.seconds, out.token_ids = seconds, text.generated
            out.text, out.pieces = self.target.decode(out.token_ids), self.target.pieces(out.token_ids)
            out.refused = [self.target.pieces(r.drafted[r.n_accepted :]) for r in out.rounds]
            with torch.inference_mode(False):  # an ordinary tensor, for whatever the caller does with it
                out.target_probs = torch.cat(probs) if self.record_probs else None
        return self.out if self.many else self.out[0]


def check_seeds(seed, rows: int):
    """Return the seed if it suits so many rows."""
    if isinstance(seed, (list, tuple)) and len(seed) != rows:
        raise ValueError(f"seed={seed!r}: expected one integer, or a list of {rows}, one for each source")
    return seed
