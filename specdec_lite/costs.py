"""What the steps cost: the c and v of the speed-up formula, measured; and the weights that a step reads."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from .checks import check_integer, check_list
from .decoder import CachedDecoder
from .fast import NarrowLinear
from .generation import autoregressive_generate, speculative_generate
from .models import Pair, Seq2Seq, Source, check_model, check_pair, now
from .theory import finite_walltime_factor

NAMES = ("unit", "c", "catch_up", "target_start", "draft_start")


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
    turns : tuple of dict
        What every turn found: the numbers above are medians over all of them.
    """

    c: float
    catch_up: float
    v: dict[int, float]
    target_start: float
    draft_start: float
    step_seconds: float
    turns: tuple[dict, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, turns: Sequence[dict], gammas: Sequence[int]) -> Costs:
        """The medians over these turns."""
        middle = {name: median([x for turn in turns for x in turn.get(name, [])]) for name in [*NAMES, *gammas]}
        extra = {name: max(0.0, middle[name]) for name in ("catch_up", "target_start", "draft_start")}
        v = {gamma: middle[gamma] if gamma else 1.0 for gamma in gammas}
        return cls(c=middle["c"], v=v, step_seconds=middle["unit"], turns=tuple(turns), **extra)

    def resampled(self, times: int = 200, seed: int = 0) -> list[Costs]:
        """The costs again, each time from as many turns, drawn with replacement: how sure they are.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, its value and what was expected; or these costs were not measured.
        """
        check_integer("times", times, minimum=1), check_integer("seed", seed, minimum=0)
        if not self.turns:
            raise ValueError("turns=(): expected costs that measure_costs has measured")
        picks = np.random.default_rng(seed).integers(len(self.turns), size=(times, len(self.turns)))
        return [Costs.of([self.turns[i] for i in pick], list(self.v)) for pick in picks]

    def predict(self, alpha: float, gamma: int, lengths: Sequence[int], limit: int | None = None) -> float:
        """Speed-up over texts of these lengths: their plain time over their speculative time, each summed.

        `limit` is the maximal length, which the loop knows; where a text ends by itself it doesn't know.
        NaN if alpha or a cost is: the texts that they were to come from were too short.
        """
        # A share alpha^gamma of the rounds has to catch up.
        c = self.c + alpha**gamma * self.catch_up / gamma if gamma else 0.0
        costs = c, self.v[gamma]
        if any(math.isnan(number) for number in (alpha, *costs)):
            return math.nan
        factors = [
            finite_walltime_factor(alpha, gamma, *costs, n, self.target_start, self.draft_start, limit) for n in lengths
        ]
        plain = [self.target_start + n for n in lengths]
        return sum(plain) / sum(seconds / factor for seconds, factor in zip(plain, factors, strict=True))


class Stopwatch:
    """An observer of the loops: how long each phase took, with the device waited for."""

    def __init__(self, model: Seq2Seq):
        self.model, self.laps = model, []
        self.last = now(model)

    def __call__(self, phase: str) -> None:
        here = now(self.model)
        self.laps.append((phase, here - self.last))
        self.last = here

    def __getitem__(self, phase: str) -> list[float]:
        """The seconds of every lap of this phase, in order."""
        return [seconds for name, seconds in self.laps if name == phase]


def measure_costs(
    pair: Pair, prompts: Sequence[Source], gammas: Sequence[int], *, temperature=1.0, repeats: int = 3, seed: int = 0,
    max_new_tokens: int = 32,
) -> Costs:  # fmt: skip
    """Watch both loops at work, in turns, and return the medians of ratios within a turn.

    Parameters
    ----------
    prompts : list of sources
        Each is decoded plainly and with every gamma, `repeats` times.
    gammas : list of int
        What v is wanted for.
    temperature, max_new_tokens, seed
        As in `speculative_generate`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected; or no output has two tokens, so there is nothing to time.
    """
    check_pair(pair)
    prompts = check_list("prompts", prompts, "sources")
    gammas = [check_integer("gammas", gamma, minimum=0) for gamma in check_list("gammas", gammas, "values")]
    check_integer("repeats", repeats, minimum=1)
    options = {"temperature": temperature, "max_new_tokens": max_new_tokens}
    turns = [
        watch_turn(pair, text, gammas, options | {"seed": seed + turn}) for turn in range(repeats) for text in prompts
    ]
    costs = Costs.of(turns, gammas)
    if math.isnan(costs.step_seconds):
        raise ValueError(f"prompts={prompts!r:.80}: expected some whose outputs have two tokens or more")
    return costs


def watch_turn(pair: Pair, text: Source, gammas: Sequence[int], options: dict) -> dict:
    """One text decoded plainly, then with each gamma: lists of costs, in units of this turn's plain step."""
    watch = Stopwatch(pair.target)
    autoregressive_generate(pair.target, text, observer=watch, **options)
    unit = median(watch["step"][1:])  # the first one also makes the source's keys and values
    begun = (watch["start"][0] + watch["step"][0]) / unit - 1
    turn = {"unit": [unit], "target_start": [begun], "c": [], "catch_up": [], "draft_start": []}
    for gamma in gammas:
        if gamma:
            for name, costs in watch_gamma(pair, text, gamma, options, unit, begun).items():
                turn.setdefault(name, []).extend(costs)
    return turn


def watch_gamma(pair: Pair, text: Source, gamma: int, options: dict, unit: float, begun: float) -> dict:
    """The costs of the rounds that drafted the most.

    The first round counts only to tell what came before it, unless no later one has drafted anything.
    """
    watch = Stopwatch(pair.target)
    run = speculative_generate(*pair, text, gamma=gamma, observer=watch, **options)
    written = [0, *accumulate(len(r.emitted) for r in run.rounds)]
    planned = [min(gamma, options["max_new_tokens"] - n - 1) for n in written[:-1]]
    later = max(planned[1:], default=0)
    n = later or planned[0]
    rounds = [i for i, each in enumerate(planned) if each == n > 0 and (i or not later)]
    catching_up = [i for i in rounds if i and run.rounds[i - 1].source == "bonus"]
    steps = [watch["draft"][i] / n / unit for i in rounds if i not in catching_up or rounds == catching_up]
    checks = [watch["check"][i] / unit for i in rounds]
    first = (watch["start"][0] + watch["draft"][0] + watch["check"][0]) / unit
    return {
        gamma: checks,
        "c": steps,
        "catch_up": [watch["draft"][i] / unit - n * median(steps) for i in catching_up],
        "draft_start": [first - planned[0] * median(steps) - median(checks) - begun],
    }


def median(values: Sequence[float]) -> float:
    """The median of the numbers among the values; NaN if there is none."""
    values = [value for value in values if not math.isnan(value)]
    return statistics.median(values) if values else math.nan


@torch.inference_mode()
def step_weights(model: Seq2Seq, source: Source) -> list[Tensor]:
    """The matrices that a decoding step multiplies with, in order, each ``(out, in)``.

    Those that make the source's keys and values are not among them: they are used once per source.
    """
    check_model("model", model)
    cursor, used = CachedDecoder(model.hf_model), []  # not a compiled model's own cursor: that calls no hooks
    cursor.start(model.encode(source))
    cursor.extend([model.start_token])
    linear = [layer for layer in model.hf_model.modules() if isinstance(layer, (nn.Linear, NarrowLinear))]
    hooks = [
        layer.register_forward_hook(lambda layer, *_: used.append(getattr(layer, "stored", layer.weight)))
        for layer in linear
    ]
    cursor.extend([model.start_token])
    for hook in hooks:
        hook.remove()
    return used
