"""What the steps cost: the c and v of the speed-up formula, measured; and the weights that a step reads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .decoder import CachedDecoder
from .drafting import DraftModel
from .generation import autoregressive_generate, judge, now, propose
from .models import Pair, Seq2Seq, Source, same_encoder
from .sampling import Draws, SamplingRule
from .theory import finite_walltime_factor
from .verification import verifier

BLOCK = 4  # plain steps timed together


@dataclass(frozen=True)
class Costs:
    """What the steps cost, in units of one plain decoding step of the target, sampling included.

    Attributes
    ----------
    c : float
        A draft step.
    catch_up : float
        What the first draft step costs more after a fully accepted round: it feeds two tokens.
    v : dict of int to float
        A target pass over gamma + 1 positions with its verification, for each gamma.
    target_start, draft_start : float
        What a text costs before its first token: the encoder, and the source's keys and values. The draft's is small
        if it shares the target's encoder.
    step_seconds : float
        The unit.
    """

    c: float
    catch_up: float
    v: dict[int, float]
    target_start: float
    draft_start: float
    step_seconds: float

    def predict(self, alpha: float, gamma: int, lengths: Sequence[int]) -> float:
        """Speed-up over texts of these lengths: their plain time over their speculative time, each summed."""
        c = self.c + alpha**gamma * self.catch_up / max(gamma, 1)  # a share alpha^gamma of the rounds needs it
        costs = c, self.v[gamma]
        factors = [
            finite_walltime_factor(alpha, gamma, *costs, n, self.target_start, self.draft_start) for n in lengths
        ]
        plain = [self.target_start + n for n in lengths]
        return sum(plain) / sum(seconds / factor for seconds, factor in zip(plain, factors, strict=True))


def measure_costs(
    pair: Pair, prompts: Sequence[str], gammas: Sequence[int], *, temperature=1.0, repeats: int = 5, seed: int = 0
) -> Costs:
    """Time each kind of step in mid-text, in turns, and return the medians of ratios within a turn."""
    turns = [turn for text in prompts for turn in time_steps(pair, text, gammas, temperature, repeats, seed)]
    middle = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    v = {n: middle[n] if n else 1.0 for n in gammas}
    return Costs(middle["c"], middle["catch_up"], v, middle["target_start"], middle["draft_start"], middle["unit"])


@torch.inference_mode()
def step_weights(model: Seq2Seq, source: Source) -> list[Tensor]:
    """The matrices that a decoding step multiplies with, in order, each ``(out, in)``.

    Those that make the source's keys and values are not among them: they are used once per source.
    """
    cursor, used = CachedDecoder(model), []
    cursor.start(model.encode(source))
    cursor.extend([model.start_token])
    linear = [layer for layer in model.hf_model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, *_: used.append(layer.weight)) for layer in linear]
    cursor.extend([model.start_token])
    for hook in hooks:
        hook.remove()
    return used


@torch.inference_mode()
def time_steps(pair: Pair, text: str, gammas: Sequence[int], temperature: float, repeats: int, seed: int) -> list[dict]:
    """Both cursors stand in the middle of one output and take the same steps again and again, as the loops do."""
    rule, draws, verify = SamplingRule(temperature), Draws(seed, pair.target.device), verifier("token")
    output = autoregressive_generate(pair.target, text, max_new_tokens=40, temperature=temperature, seed=seed).token_ids
    written = [pair.target.start_token, *output[: len(output) // 2]]
    tokens = torch.tensor(written, device=pair.target.device)
    ahead = tokens[-1:].repeat(max(gammas))  # which tokens are fed does not change the time
    q = torch.full((max(gammas), pair.target.vocab_size), 1 / pair.target.vocab_size, device=tokens.device)
    target, proposer = CachedDecoder.on(pair.target), DraftModel(pair.draft)
    here, last = len(written) - 1, len(written) + max(gammas)

    def start(decoder, encoder_outputs=None):
        decoder.start(decoder.model.encode(text), encoder_outputs)
        decoder.extend(tokens[:1])

    def plain_steps(n):
        for _ in range(n):
            draws.token(rule.probs(target.extend(tokens[-1:]))[0])

    def check(n):
        p = rule.probs(target.extend(torch.cat([tokens[-1:], ahead[:n]])))
        judge(verify, p, q[:n], ahead[:n], draws, pair.target)
        target.rollback(here)

    def guess(n):
        propose(proposer, written, n, last, rule, draws, pair.target)

    first = {"target_start": seconds_of(pair, start, target)}
    shared = target.encoder_outputs if same_encoder(pair.target, pair.draft) else None
    first["draft_start"] = seconds_of(pair, start, proposer.decoder, shared)
    if here:
        target.extend(tokens[1:])
    guess(1)  # feeds the draft all that is written
    turns = []
    for _ in range(repeats):
        target.rollback(here)
        plain_steps(1)  # not timed: a plain step finds the processor's cache as another plain step left it
        unit = seconds_of(pair, plain_steps, BLOCK) / BLOCK
        target.rollback(here)
        turn, drafting, passes = {"unit": unit}, 0.0, -proposer.passes
        for n in gammas:  # like a round: the two models empty the processor's cache for each other
            proposer.keep(here)
            drafting += seconds_of(pair, guess, n or 1)
            turn[n] = seconds_of(pair, check, n) / unit
        turn["c"] = drafting / (passes + proposer.passes) / unit
        proposer.keep(max(here - 1, 0))
        turn["catch_up"] = max(0.0, seconds_of(pair, guess, 1) / unit - turn["c"])
        # Each start took one step; the loops count that elsewhere.
        turn["target_start"] = max(0.0, first["target_start"] / unit - 1)
        turn["draft_start"] = max(0.0, first["draft_start"] / unit - turn["c"])
        turns.append(turn)
    return turns


def seconds_of(pair: Pair, action: Callable, *arguments) -> float:
    """Time of one call, with the device waited for."""
    began = now(pair.target)
    action(*arguments)
    return now(pair.target) - began
