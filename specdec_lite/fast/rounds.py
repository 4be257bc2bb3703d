"""The two sides of a round on compiled calls: a block of guesses is one call, the check is another.

What is compiled are the package's own functions. They are served their random numbers, and the whole call of one text:
the token rule at any temperature. All else (another rule, top-k, top-p, settings of the checkpoint) is done by the
usual functions on what the compiled passes give.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..adjustment import Adjustment
from ..checking import Checker, Verdict
from ..drafting.base import Block, Proposal
from ..drafting.model import DraftModel
from ..sampling import COLDEST, Draws
from ..texts import Text
from ..verification import TokenRule, Verifier


class Given(Draws):
    """Draws from random numbers that are there already, for one row."""

    def __init__(self, numbers: Tensor):
        self.numbers = numbers

    def uniforms(self, texts: Sequence[Text], n: int) -> Tensor:
        return self.numbers[None]


def adjusted(logits: Tensor, temperature: Tensor) -> Tensor:
    """`SamplingRule.probs` with a temperature ``(1,)`` that is a tensor, so that one compiled call serves them all."""
    logits = logits.double() if logits.dtype == torch.float64 else logits.float()
    temperature = temperature.to(logits)
    best, token = logits.max(-1, keepdim=True)
    sure = torch.where(best.isfinite(), 1.0, torch.nan).to(logits)
    greedy = torch.where(torch.arange(logits.shape[-1], device=logits.device) == token, sure, 0.0)
    return torch.where(temperature > 0, (logits / temperature.clamp(min=COLDEST)).softmax(-1), greedy)


def served(adjustment: Adjustment, draws: Draws) -> bool:
    """Whether the compiled calls do what this adjustment and these draws ask for."""
    rule, own = adjustment.rule, ("guesses", "coins", "next_tokens", "seen")
    by_uniforms = isinstance(draws, Draws) and all(getattr(type(draws), name) is getattr(Draws, name) for name in own)
    return by_uniforms and not adjustment.processors and rule.top_k == 0 and rule.top_p == 1


class CompiledChecker(Checker):
    """A `Checker` whose plain step is one call, and whose check is another."""

    def next_tokens(self, texts: Sequence[Text], adjustment: Adjustment, draws: Draws) -> tuple[Tensor, Sequence[int]]:
        if not served(adjustment, draws):
            return super().next_tokens(texts, adjustment, draws)
        self.catch_up(texts[0])
        decided, p = self.call(texts, None, adjustment, draws, 0)
        return p, [int(decided.tolist()[0][1])]

    def check(
        self, texts: Sequence[Text], block: Block, adjustment: Adjustment, rule: Verifier, draws: Draws
    ) -> Verdict:
        n = block.tokens.shape[1]
        if not served(adjustment, draws) or rule != TokenRule() or n >= max(self.target.checks):
            return super().check(texts, block, adjustment, rule, draws)
        self.catch_up(texts[0])
        decided, p = self.call(texts, block, adjustment, draws, n)
        return Verdict.read(block, shortened(decided, n), p[:, : n + 1])

    def call(self, texts, block, adjustment, draws, n):
        last = torch.tensor([texts[0].tokens[-1:]], device=self.cursor.device)
        fed = last if block is None else torch.cat([last, block.tokens], 1)
        uniforms = draws.uniforms(texts, max(self.target.checks) - 1)[0]
        return self.cursor.check(fed, None if block is None else block.q, uniforms, adjustment.rule.temperature)

    def catch_up(self, text: Text) -> None:
        """A prompt of several tokens: all but the last."""
        if len(text) - 1 > self.cursor.length:
            self.cursor.extend([text.tokens[self.cursor.length : -1]])


def shortened(decided: Tensor, n: int) -> Tensor:
    """The columns ``(1, 2 + 3 n)`` of a verdict over more tokens than were drafted."""
    width = decided.shape[1] // 3
    return decided if n == width else torch.cat([decided[:, :2], *(c[:, :n] for c in decided[:, 2:].chunk(3, 1))], 1)


class CompiledDraft(DraftModel):
    """A `DraftModel` that drafts a block in one call."""

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        n, text = max(plan), texts[0]
        gamma = min(
            (gamma for gamma in self.model.blocks if n <= gamma < 2 * n), default=None
        )  # else steps are cheaper
        if gamma is None or not served(adjustment, draws):
            return super().propose(texts, plan, adjustment, draws)
        if len(text) - 2 > self.cursor.length:  # a prompt of several tokens
            self.cursor.extend([text.tokens[self.cursor.length : -2]])
        uniforms = draws.uniforms(texts, gamma)[0]
        known = text.tokens[self.cursor.length :]
        tokens, q = self.cursor.draft(gamma, known, uniforms, adjustment.rule.temperature)
        return Proposal(tokens[:, :n], q[:, :n], plan)
