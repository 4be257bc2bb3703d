"""The exact law of a generation, by going through every outcome of its draws.

`Branching` stands in for `specdec_lite.Draws`. The loop under test runs as it is, once per path: each run follows a
script of outcomes, takes the first possible one where the script ends, and notes the others for later runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import product

import torch

import mutations
import specdec_lite as sd
import tiny
from reference import adjusted


class Branching(mutations.Branching):
    """The laboratory's branching draws, with the methods of `Draws`."""

    def token(self, probs: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.take(enumerate(probs.tolist())))

    def coins(self, heads: torch.Tensor) -> torch.Tensor:
        outcomes = product(*[((True, head), (False, 1 - head)) for head in heads.tolist()])
        return torch.tensor(self.take(([c for c, _ in way], math.prod(p for _, p in way)) for way in outcomes))


def every_path(generate: Callable[[Branching], sd.Generation]) -> Iterator[tuple[sd.Generation, float]]:
    """All generations that can happen, each with its probability."""
    return mutations.every_path(generate, Branching)


def law(paths) -> dict[tuple[int, ...], float]:
    """The distribution over emitted sequences."""
    total = defaultdict(float)
    for generation, probability in paths:
        total[tuple(generation.token_ids)] += probability
    return dict(total)


def target_law(model: sd.Seq2Seq, source, rule: sd.SamplingRule, max_new_tokens: int) -> dict[tuple[int, ...], float]:
    """What the target alone would emit, from passes without a cache and plain-Python sampling arithmetic."""
    total = {}

    def extend(tokens: tuple[int, ...], probability: float) -> None:
        if len(tokens) == max_new_tokens or (tokens and tokens[-1] in model.eos_tokens):
            total[tokens] = probability
            return
        logits = tiny.fresh_logits(model, source, (model.start_token, *tokens))[-1].tolist()
        for token in model.forbidden:
            logits[token] = -math.inf
        for token, p in enumerate(adjusted(logits, rule)):
            if p > 0:
                extend((*tokens, token), probability * p)

    extend((), 1.0)
    return total


def distance(p: dict, q: dict) -> float:
    """Total variation between two laws."""
    return sum(abs(p.get(outcome, 0.0) - q.get(outcome, 0.0)) for outcome in p.keys() | q.keys()) / 2


def remembering_cursor() -> type[sd.CachedDecoder]:
    """A cursor that computes the logits of each context once, without a cache, for thousands of runs.

    It gives what `CachedDecoder` promises: the logits of the tokens that were really fed, less those rolled back.
    """
    rows: dict[tuple, torch.Tensor] = {}

    class RememberingCursor(sd.CachedDecoder):
        def start(self, inputs, encoder_outputs=None):
            self.source, self.fed = inputs["input_ids"][0].tolist(), ()
            self.encoder_runs += 1

        def extend(self, token_ids):
            tokens = tuple(torch.as_tensor(token_ids).tolist())
            contexts = [self.fed + tokens[: i + 1] for i in range(len(tokens))]
            self.fed += tokens
            self.length = len(self.fed)
            self.passes += 1
            return torch.stack([self._row(context) for context in contexts])

        def rollback(self, length):
            assert 0 <= length <= self.length
            self.fed, self.length = self.fed[:length], length

        def _row(self, context):
            key = (id(self.model), *self.source, None, *context)
            if key not in rows:
                rows[key] = tiny.fresh_logits(self.model, self.source, context)[-1]
            return rows[key]

    return RememberingCursor
