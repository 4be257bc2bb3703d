"""The two loops: autoregressive, one token per target pass; speculative, the paper's Algorithm 1."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from .adjustment import Adjustment
from .checks import check_integer, check_methods, memory_advice
from .decoder import EncodedSource
from .drafting.base import Block, Proposer, ask, explain, wrong_q
from .drafting.model import as_proposer
from .models import Seq2Seq, Source, check_model
from .record import Generation, Round
from .sampling import Draws, SamplingRule, wide
from .texts import Text, go_back, unfed
from .verification import Verifier, overlap, verifier

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
    cursor, texts = target.cursor(), call.texts
    cursor.start(call.source)
    call.observe("start")
    while texts:
        fed = unfed(texts, cursor.length, 0, cursor.filler, cursor.device)
        p = call.adjustment.probs(cursor.extend(fed)[:, -1:], texts, fed[:, :0])
        tokens = call.draws.next_tokens(p[:, 0], texts).tolist()
        records = [write(text, (), 0, token, "target", ()) for text, token in zip(texts, tokens)]
        go_back(cursor, texts)
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
    checker = Checker(target, call.source)
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


class Checker:
    """The target's side of a round: one pass over what was drafted, the rule, and one read from the device."""

    def __init__(self, target: Seq2Seq, source: EncodedSource):
        self.vocab, self.cursor = target.vocab_size, target.cursor()
        self.cursor.start(source)

    def check(
        self, texts: Sequence[Text], block: Block, adjustment: Adjustment, rule: Verifier, draws: Draws
    ) -> Verdict:
        p = adjustment.probs(self.logits(texts, block), texts, block.tokens)
        seen = draws.seen(p, texts)
        cut = rule.cut(draws.coins(rule.heads(seen, block.q, block.tokens), texts))
        next_token = draws.next_tokens(rule.after(seen, block.q, block.tokens, cut), texts)
        return Verdict.read(block, cut, next_token, p)

    def logits(self, texts: Sequence[Text], block: Block) -> Tensor:
        """``(B, n + 1, vocab)``: what follows each text, and each of its drafted tokens."""
        cursor, n = self.cursor, block.tokens.shape[1]
        known = [len(text) - cursor.length for text in texts]
        fed = unfed(texts, cursor.length, n, cursor.filler, cursor.device)
        slots = torch.tensor(known, device=cursor.device)[:, None] + torch.arange(n + 1, device=cursor.device)
        fed.scatter_(1, slots[:, :n], block.tokens)
        width = max(k + count for k, count in zip(known, block.counts) if count is not None)
        logits = cursor.extend(fed[:, :width])
        if max(known) == 1 and width == n + 1:  # nobody is ahead: the columns are in their places
            return logits
        return logits.take_along_dim((slots - 1).clamp(max=width - 1)[..., None], 1)

    def keep(self, texts: Sequence[Text]) -> None:
        go_back(self.cursor, texts)


class Verdict(NamedTuple):
    """What a check decided, on the host, row by row; and p ``(B, n + 1, vocab)`` on the device."""

    block: Block
    drafted: list[list[int]]
    cuts: list[int]
    next_tokens: list[int]  # -1: there was no distribution to draw from
    wrong_q: list[list[bool]]
    overlaps: list[list[float]]
    p: Tensor

    @classmethod
    def read(cls, block: Block, cut: Tensor, next_token: Tensor, p: Tensor) -> Verdict:
        """One transfer from the device. float64 holds token ids exactly (and float32 those below 16 million)."""
        n, overlaps = block.tokens.shape[1], overlap(p, block.q)[:, :-1]
        columns = [cut[:, None], next_token[:, None], block.tokens, wrong_q(block), overlaps]
        rows = torch.cat([column.to(wide(p.device)) for column in columns], 1).tolist()
        ints = [list(map(int, row[: 2 + 2 * n])) for row in rows]
        drafted = [row[2 : 2 + (count or 0)] for row, count in zip(ints, block.counts)]
        cuts, next_tokens = [row[0] for row in ints], [row[1] for row in ints]
        return cls(block, drafted, cuts, next_tokens, [row[2 + n :] for row in ints], [r[2 + 2 * n :] for r in rows], p)

    def write(self, i: int, text: Text) -> Round | None:
        """Write into row i's text what the round has given it. What was drafted behind an EOS counts for nothing."""
        if self.block.counts[i] is None:
            return None
        cut, drafted = self.cuts[i], text.until_eos(self.drafted[i])
        if any(self.wrong_q[i][: len(drafted)]):
            raise explain(self.block, i)
        source = "bonus" if cut == len(self.drafted[i]) else "residual"
        return write(text, drafted, cut, self.next_tokens[i], source, self.overlaps[i])


def write(text: Text, drafted: list[int], cut: int, next_token: int, source: str, overlaps: Sequence[float]) -> Round:
    """Write the kept tokens and, unless an EOS is among them, the one after them; return the record."""
    kept = text.write(drafted[:cut])
    if goes_on := text.open:
        if next_token < 0:
            raise ValueError(
                f"nothing can follow token {len(text)} of row {text.row}: the target's logits hold NaN or infinity, or "
                "its checkpoint's settings forbid every token; expected at least one that is possible"
            )
        text.write([next_token])
    after = (next_token, source) if goes_on else (None, None)
    examined = min(cut + 1, len(drafted))
    return Round(tuple(drafted), len(kept), *after, examined, tuple(overlaps[:examined]))


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


def as_batch(source) -> tuple[list, bool]:
    """The sources of a call, and whether there was a list of them: a list of whole numbers is one source."""
    many = isinstance(source, (list, tuple)) and not (len(source) and isinstance(source[0], Integral))
    if many and not len(source):
        raise ValueError("source is an empty list: expected one source, or a list of one or more")
    return (list(source), True) if many else ([source], False)


def check_seeds(seed, rows: int):
    """Return the seed if it suits so many rows."""
    if isinstance(seed, (list, tuple)) and len(seed) != rows:
        raise ValueError(f"seed={seed!r}: expected one integer, or a list of {rows}, one for each source")
    return seed


def now(model: Seq2Seq) -> float:
    """Seconds on a clock that waits for the device."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    elif model.device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
