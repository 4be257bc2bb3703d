"""The accept-reject rule: pure arithmetic on p, q and the drafted tokens.

A verifier answers two questions, and knows nothing of models or randomness:

1. ``accept_probs``: for each drafted token, the probability that its coin shows heads; ``cut`` reads from the coins
   how many tokens are kept. ``cut_probs`` is the same as a distribution over cuts, for exact enumeration.
2. ``next_probs``: given the cut, the distribution of the token that follows it.

Shapes: p ``(n + 1, vocab)``, q ``(n, vocab)``, drafted ``(n,)``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Verifier(Protocol):
    """What the loop asks of a rule. Any object with these four methods can be passed as `verification`."""

    def accept_probs(self, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
        """Probability of heads for each drafted token, ``(n,)``."""

    def cut(self, coins: Tensor) -> Tensor:
        """How many drafted tokens are kept, from the coins ``(n,)``: an integer tensor of shape ``()``."""

    def examined(self, cut: int, n: int) -> int:
        """How many of the n coins the rule looked at to decide this cut."""

    def next_probs(self, p: Tensor, q: Tensor, drafted: Tensor, cut: Tensor | int) -> Tensor:
        """Distribution of the token after the cut, ``(vocab,)``."""


class TokenRule:
    """Leviathan et al. (2023), Algorithm 1: accept each token with probability min(1, p/q), stop at the first tails."""

    def accept_probs(self, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
        """min(1, p(x)/q(x)) for each drafted token x. A drafted token has q(x) > 0, for it was drawn from q."""
        index = drafted[:, None]
        return (p[:-1].gather(1, index) / q.gather(1, index))[:, 0].clamp(max=1.0)

    def cut(self, coins: Tensor) -> Tensor:
        """The number of heads before the first tails."""
        return coins.long().cumprod(0).sum()

    def examined(self, cut: int, n: int) -> int:
        """The accepted ones and the first refused one."""
        return min(cut + 1, n)

    def next_probs(self, p: Tensor, q: Tensor, drafted: Tensor, cut: Tensor | int) -> Tensor:
        """The residual norm(max(p - q, 0)) after a refusal; p itself after the last drafted token (the bonus)."""
        return p[cut] if cut == len(q) else residual(p[cut], q[cut])


def residual(p: Tensor, q: Tensor) -> Tensor:
    """norm(max(p - q, 0)), ``(vocab,)``. Where p and q agree to rounding nothing is left: then it is p."""
    excess = (p - q).clamp(min=0)
    total = excess.sum()
    return torch.where(total > 0, excess / total.clamp(min=torch.finfo(p.dtype).tiny), p)


def cut_probs(rule: Verifier, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
    """The distribution of the cut, ``(n + 1,)``, by going through all 2^n outcomes of the coins."""
    heads = rule.accept_probs(p, q, drafted)
    n = len(heads)
    law = heads.new_zeros(n + 1)
    for outcome in torch.cartesian_prod(*[torch.tensor([False, True])] * n).reshape(-1, n) if n else [heads.bool()]:
        law[rule.cut(outcome)] += torch.where(outcome, heads, 1 - heads).prod()
    return law


def overlap(p: Tensor, q: Tensor) -> Tensor:
    """sum(min(p, q)) per row: the acceptance probability of one token, the paper's beta."""
    return torch.minimum(p, q).sum(-1)


RULES: dict[str, Verifier] = {"token": TokenRule()}


def verifier(rule: str | Verifier) -> Verifier:
    """Look a rule up by name, or take an object that has the Verifier's methods."""
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(f"verification={rule!r}: expected one of {sorted(RULES)} or a Verifier")
        return RULES[rule]
    missing = [name for name in ("accept_probs", "cut", "examined", "next_probs") if not hasattr(rule, name)]
    if missing:
        raise TypeError(f"verification={rule!r}: expected a Verifier, but it has no {', '.join(missing)}")
    return rule
