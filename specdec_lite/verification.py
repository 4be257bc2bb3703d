"""The accept-reject rules: pure arithmetic on p, q and the drafted tokens.

A rule answers three questions, and knows nothing of models or randomness: how likely does each drafted token's coin
show ``heads``; where is the ``cut``, given the coins; from which distribution comes the token ``after`` it.

Shapes: p and q ``(..., n + 1, vocab)``, drafted ``(..., n)``; in front stand any row axes. p's last row says what
follows the whole draft. q's row is 0 where nothing was proposed, its last row always: a certain refusal there, and the
residual of p against 0 is p. So the bonus token, a short proposal and rows of unequal length are no special cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .checks import check_methods, check_number


class Verifier(Protocol):
    """What the loop asks of a rule. Any object with these three methods can be passed as `verification`.

    A rule that needs random numbers of another kind names their class in an attribute `draws`, as `CoupledRule` does.
    """

    def heads(self, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
        """Probability of heads for each drafted token, ``(..., n)``; 0 where nothing was proposed."""

    def cut(self, coins: Tensor) -> Tensor:
        """How many drafted tokens are kept, ``(...)``, from the coins ``(..., n)``."""

    def after(self, p: Tensor, q: Tensor, drafted: Tensor, cut: Tensor) -> Tensor:
        """Distribution of the token after the cut, ``(..., vocab)``."""


@dataclass(frozen=True)
class TokenRule:
    """Leviathan et al. (2023), Algorithm 1: accept each token with probability min(1, p/q), stop at the first tails.

    Parameters
    ----------
    lenience : float
        l in (0, 1]; 1 is exact. With less, a token is accepted with probability min(1, p/(l q)) (their appendix on
        lenience), so more are kept and none is emitted with a probability above p/l: `lenient_probs` says with which.
        At temperature 0 nothing changes.
    """

    lenience: float = 1.0

    def __post_init__(self):
        check_number("lenience", self.lenience, "a number in (0, 1]", lambda x: 0 < x <= 1)

    def heads(self, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
        """min(1, p(x)/q(x)) for each drafted token x, and 0 where q(x) = 0."""
        return (ratios(p, q, drafted) / self.lenience).clamp(max=1.0)

    def cut(self, coins: Tensor) -> Tensor:
        """The number of heads before the first tails."""
        return coins.long().cumprod(-1).sum(-1)

    def after(self, p: Tensor, q: Tensor, drafted: Tensor, cut: Tensor) -> Tensor:
        """The residual norm(max(p - q, 0)); behind the proposal q is 0, so there it is p itself (the bonus).

        It stays the same under lenience: of all distributions for a refused token it brings the emitted one closest
        to p, for it fills up only what lies below p.
        """
        return residual(at_cut(p, cut), at_cut(q, cut))


def ratios(p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
    """p(x)/q(x) for each drafted token x, ``(..., n)``; 0 where nothing was proposed, or p is no distribution."""
    p, q = (at_tokens(rows, drafted) for rows in (p, q))
    return torch.where(q > 0, p / q, 0.0).nan_to_num(0.0)


def at_tokens(rows: Tensor, drafted: Tensor) -> Tensor:
    """Each drafted token's probability in its own row: ``(..., n + 1, vocab)`` and ``(..., n)`` to ``(..., n)``."""
    return rows[..., :-1, :].gather(-1, drafted[..., None])[..., 0]


def at_cut(rows: Tensor, cut: Tensor) -> Tensor:
    """The row at the cut: ``(..., n + 1, vocab)`` and ``(...)`` to ``(..., vocab)``."""
    return rows.take_along_dim(torch.as_tensor(cut)[..., None, None], -2)[..., 0, :]


def residual(p: Tensor, q: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """norm(max(weight p - q, 0)), ``(..., vocab)``. Where both agree to rounding nothing is left: then it is p."""
    excess = (weight * p - q).clamp(min=0)
    total = excess.sum(-1, keepdim=True)
    return torch.where(total > 0, excess / total, p)


def overlap(p: Tensor, q: Tensor) -> Tensor:
    """sum(min(p, q)) per row: the acceptance probability of one token, the paper's beta."""
    return torch.minimum(p, q).sum(-1)


RULES: dict[str, Verifier] = {"token": TokenRule()}  # "block" and "coupled" join from their own modules


def verifier(rule: str | Verifier) -> Verifier:
    """Look a rule up by name, or take an object that has the Verifier's methods."""
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(f"verification={rule!r}: expected one of {sorted(RULES)} or a Verifier")
        return RULES[rule]
    check_methods("verification", rule, ("heads", "cut", "after"), "a Verifier")
    return rule
