"""The two loops: autoregressive, one token per target pass; speculative, the paper's Algorithm 1."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .decoder import CachedDecoder
from .drafting import DraftModel, Proposer, as_proposer
from .models import Seq2Seq, Source
from .sampling import Draws, SamplingRule, check_integer
from .verification import Verifier, overlap, verifier


@dataclass(frozen=True)
class Round:
    """What one target pass gave.

    Attributes
    ----------
    drafted : tuple of int
        The proposal, in order.
    n_accepted : int
        How many of them were emitted.
    next_token : int or None
        The token that the target added; None when an accepted EOS had ended the text.
    source : str or None
        Where next_token came from: "residual" after a refusal, "bonus" after full acceptance, "target" in plain
        decoding.
    examined : int
        How many drafted positions the rule looked at.
    overlaps : tuple of float
        sum(min(p, q)) at each examined position.
    """

    drafted: tuple[int, ...]
    n_accepted: int
    next_token: int | None
    source: str | None
    examined: int = 0
    overlaps: tuple[float, ...] = ()

    @property
    def emitted(self) -> tuple[int, ...]:
        end = () if self.next_token is None else (self.next_token,)
        return self.drafted[: self.n_accepted] + end

    @property
    def origins(self) -> tuple[str, ...]:
        return ("accepted",) * self.n_accepted + (() if self.next_token is None else (self.source,))


@dataclass
class Generation:
    """A finished text and how it came about. `token_ids` holds generated tokens only, EOS included when reached."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    target_passes: int = 0
    draft_passes: int = 0
    seconds: float = 0.0
    target_probs: Tensor | None = field(default=None, repr=False)  # (tokens, vocab) with record_probs=True

    @property
    def origins(self) -> list[str]:
        """For each token: "accepted", "residual", "bonus", or "target" in plain decoding."""
        return [origin for r in self.rounds for origin in r.origins]

    @property
    def accepted(self) -> int:
        return sum(r.n_accepted for r in self.rounds)

    @property
    def examined(self) -> int:
        return sum(r.examined for r in self.rounds)

    @property
    def overlap_sum(self) -> float:
        return sum(sum(r.overlaps) for r in self.rounds)

    @property
    def alpha(self) -> float:
        """Mean of sum(min(p, q)) over the examined positions; NaN if there was none."""
        return self.overlap_sum / self.examined if self.examined else float("nan")

    @property
    def acceptance_rate(self) -> float:
        """Accepted / examined: the other estimate of the paper's alpha; NaN if nothing was examined."""
        return self.accepted / self.examined if self.examined else float("nan")

    @property
    def tokens_per_target_pass(self) -> float:
        return len(self.token_ids) / self.target_passes


@torch.inference_mode()
def autoregressive_generate(
    target: Seq2Seq,
    source: Source,
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    record_probs: bool = False,
    draws: Draws | None = None,
) -> Generation:
    """The baseline: one target pass per token, with the KV cache and the encoder output kept.

    Parameters are those of `speculative_generate`.
    """
    rule = SamplingRule(temperature, top_k, top_p)
    check_length(target, max_new_tokens)
    inputs, draws = target.encode(source), draws or Draws(seed, target.device)
    decoder, out, probs = CachedDecoder.on(target), Generation(), []
    began = now(target)
    decoder.start(inputs)
    token = torch.tensor([target.start_token], device=target.device)
    while not finished(out.token_ids, target, max_new_tokens):
        logits = target.constrain(decoder.extend(token), len(out.token_ids), max_new_tokens - 1)
        p = rule.probs(logits)
        token = draws.token(p[0])[None]
        out.token_ids.append(int(token))
        out.rounds.append(Round((), 0, out.token_ids[-1], "target"))
        if record_probs:
            probs.append(p)
    out.seconds = now(target) - began
    return finish(out, target, decoder, probs)


@torch.inference_mode()
def speculative_generate(
    target: Seq2Seq,
    draft: Seq2Seq | Proposer,
    source: Source,
    *,
    gamma: int = 4,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    verification: str | Verifier = "token",
    record_probs: bool = False,
    draws: Draws | None = None,
) -> Generation:
    """Leviathan et al. (2023), Algorithm 1, until EOS: the target's distribution in fewer target passes.

    Parameters
    ----------
    target : Seq2Seq
        M_p, whose distribution the output has.
    draft : Seq2Seq or Proposer
        M_q, or anything else that proposes tokens with their true q.
    source : str, list of int, or dict of encoder inputs
    gamma : int
        Tokens drafted per round; 0 drafts nothing.
    max_new_tokens : int
        Never exceeded, and nothing is drafted beyond it.
    temperature, top_k, top_p : float, int, float
        See `SamplingRule`; the same for both models. Temperature 0 is greedy decoding.
    seed : int, optional
        Makes the call reproducible.
    verification : str or Verifier
    record_probs : bool
        Keep M_p's distribution for every emitted token in `target_probs` ``(tokens, vocab)``.
    draws : Draws, optional
        The source of randomness; `seed` is then unused.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected, before any forward pass.
    """
    rule, verify = SamplingRule(temperature, top_k, top_p), verifier(verification)
    check_integer("gamma", gamma, minimum=0)
    check_length(target, max_new_tokens)
    proposer, passes_before = as_proposer(draft, target), getattr(draft, "passes", 0)
    if isinstance(proposer, DraftModel):
        check_length(proposer.model, max_new_tokens)
    inputs, draws = target.encode(source), draws or Draws(seed, target.device)
    decoder, out, probs = CachedDecoder.on(target), Generation(), []
    began = now(target)
    proposer.start(source)  # first, for it may refuse the source
    shared = proposer.encoder_outputs_for(target, inputs) if isinstance(proposer, DraftModel) else None
    decoder.start(inputs, shared)
    tokens = [target.start_token]  # the whole decoder sequence; its last token has not been fed yet
    while not finished(out.token_ids, target, max_new_tokens):
        n = min(gamma, max_new_tokens - len(out.token_ids) - 1)  # the target's own token ends the round
        drafted, q = propose(proposer, tokens, n, max_new_tokens - 1, rule, draws, target)
        fed = torch.cat([torch.tensor(tokens[-1:], device=drafted.device), drafted])
        p = rule.probs(target.constrain(decoder.extend(fed), len(tokens) - 1, max_new_tokens - 1))
        this = judge(verify, p, q, drafted, draws, target)
        tokens += this.emitted
        known = len(tokens) - len(this.emitted) + this.n_accepted  # the next token has been fed to nobody yet
        decoder.rollback(known)
        proposer.keep(known)
        out.token_ids += this.emitted
        out.rounds.append(this)
        if record_probs:
            probs.append(p[: len(this.emitted)])
    out.seconds = now(target) - began
    out.draft_passes = proposer.passes - passes_before
    return finish(out, target, decoder, probs)


def propose(
    proposer: Proposer, tokens: list[int], n: int, last: int, rule: SamplingRule, draws: Draws, target: Seq2Seq
):
    """Ask for n tokens; what a proposer says after an EOS is not used."""
    if n == 0:
        return torch.empty(0, dtype=torch.long, device=target.device), torch.empty(0, target.vocab_size)
    drafted, q = proposer.propose(tokens, n, last, rule, draws)
    ends = [i for i, token in enumerate(drafted.tolist()[:n]) if token in target.eos_tokens]
    n = ends[0] + 1 if ends else n
    return drafted[:n], q[:n]


def judge(verify: Verifier, p: Tensor, q: Tensor, drafted: Tensor, draws: Draws, target: Seq2Seq) -> Round:
    """Flip the coins, cut, and draw the token after the cut."""
    cut = int(verify.cut(draws.coins(verify.accept_probs(p, q, drafted)))) if len(drafted) else 0
    ids = tuple(drafted.tolist())
    examined = verify.examined(cut, len(ids))
    overlaps = tuple(overlap(p[:examined], q[:examined]).tolist()) if examined else ()
    if cut and ids[cut - 1] in target.eos_tokens:
        return Round(ids, cut, None, None, examined, overlaps)
    next_token = int(draws.token(verify.next_probs(p, q, drafted, cut)))
    return Round(ids, cut, next_token, "bonus" if cut == len(ids) else "residual", examined, overlaps)


def finished(token_ids: list[int], target: Seq2Seq, max_new_tokens: int) -> bool:
    return len(token_ids) == max_new_tokens or (bool(token_ids) and token_ids[-1] in target.eos_tokens)


def finish(out: Generation, target: Seq2Seq, decoder: CachedDecoder, probs: list[Tensor]) -> Generation:
    """What is outside the clock: text, counts, recorded distributions."""
    out.text, out.pieces = target.decode(out.token_ids), target.pieces(out.token_ids)
    out.target_passes = decoder.passes
    out.target_probs = torch.cat(probs) if probs else None
    return out


def check_length(target: Seq2Seq, max_new_tokens: int) -> None:
    check_integer("max_new_tokens", max_new_tokens, minimum=1)
    limit = target.max_target_length
    if limit and max_new_tokens > limit:
        raise ValueError(f"max_new_tokens={max_new_tokens}: expected at most the model's {limit} positions")


def now(model: Seq2Seq) -> float:
    """Seconds on a clock that waits for the device."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
