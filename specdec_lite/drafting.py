"""Where proposals come from. Anything with the methods of `Proposer` can draft."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .decoder import CachedDecoder
from .models import Seq2Seq, Source, check_same_vocabulary, same_encoder
from .sampling import Draws, SamplingRule


class Proposal(NamedTuple):
    """n drafted tokens ``(n,)`` and the distributions they were *really* drawn from ``(n, vocab)``."""

    tokens: Tensor
    probs: Tensor


class Proposer(Protocol):
    """What the loop asks of a draft.

    The q it reports must be the distribution that the token was drawn from. A poor q costs speed; a wrong q costs
    exactness.
    """

    passes: int

    def start(self, source: Source) -> None:
        """A new sequence begins."""

    def propose(self, tokens: list[int], n: int, last: int, rule: SamplingRule, draws: Draws) -> Proposal:
        """Up to n tokens to follow `tokens` (start token included).

        `last` is the number of the last generated token that fits into max_new_tokens, counted from 0.
        """

    def keep(self, length: int) -> None:
        """Of all tokens seen or proposed, the first `length` stand."""


class DraftModel:
    """A small model drafts token by token, with a cursor of its own."""

    def __init__(self, model: Seq2Seq):
        self.model, self.inputs = model, {}
        self.decoder = CachedDecoder.on(model)

    @property
    def passes(self) -> int:
        return self.decoder.passes

    def start(self, source: Source) -> None:
        self.inputs = self.model.encode(source)
        self.decoder.start(self.inputs)

    def propose(self, tokens: list[int], n: int, last: int, rule: SamplingRule, draws: Draws) -> Proposal:
        # Catch-up: after a fully accepted round the cursor lacks the last drafted token too, so this feeds two.
        feed = torch.tensor(tokens[self.decoder.length :], device=self.decoder.device)
        drafted, probs = [], []
        for position in range(len(tokens) - 1, len(tokens) - 1 + n):
            logits = self.model.constrain(self.decoder.extend(feed)[-1:], position, last)
            probs.append(rule.probs(logits)[0])
            drafted.append(draws.token(probs[-1]))
            feed = drafted[-1][None]
            if int(drafted[-1]) in self.model.eos_tokens:  # nothing follows it; the EOS itself is kept
                break
        return Proposal(torch.stack(drafted), torch.stack(probs))

    def keep(self, length: int) -> None:
        self.decoder.rollback(min(length, self.decoder.length))

    def encoder_outputs_for(self, target: Seq2Seq, inputs: dict[str, Tensor]):
        """What the target's encoder would make of these inputs, if it has just done so for the draft; else None."""
        if not same_encoder(target, self.model) or inputs.keys() != self.inputs.keys():
            return None
        same_source = all(torch.equal(inputs[name], self.inputs[name]) for name in inputs)
        return self.decoder.encoder_outputs if same_source else None


def as_proposer(draft: Seq2Seq | Proposer, target: Seq2Seq) -> Proposer:
    """Wrap a draft model; let any other proposer pass."""
    if isinstance(draft, Seq2Seq):
        check_same_vocabulary(target, draft)
        if draft.device != target.device:
            raise ValueError(f"draft is on {draft.device}: expected the target's device, {target.device}")
        return DraftModel(draft)
    missing = [name for name in ("start", "propose", "keep", "passes") if not hasattr(draft, name)]
    if missing:
        raise TypeError(
            f"draft is a {type(draft).__name__}: expected a Seq2Seq or a Proposer, but it has no {', '.join(missing)}"
        )
    return draft
