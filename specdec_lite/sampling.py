"""From logits to the distribution that is really sampled, and drawing from it.

Everywhere in this package ``p`` (target) and ``q`` (draft) mean the *adjusted* distributions: after temperature,
top-k and top-p. Temperature 0 is not a special loop, it is a one-hot distribution.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import check_integer, check_number
from .texts import Text

COLDEST = 1e-5  # below it float32 cannot tell the division by T from an argmax, and may divide by zero


@dataclass(frozen=True)
class SamplingRule:
    """How logits become probabilities. The same rule adjusts target and draft.

    Parameters
    ----------
    temperature : float
        Divides the logits; 0 means argmax.
    top_k : int
        Keep only the k likeliest tokens; 0 keeps all.
    top_p : float
        Keep the smallest set of likeliest tokens whose probabilities sum to at least top_p; 1 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        expected = f"a finite number >= 0 (0 is argmax; else at least {COLDEST:g})"
        check_number("temperature", self.temperature, expected, lambda x: x == 0 or COLDEST <= x < math.inf)
        check_integer("top_k", self.top_k, minimum=0)
        check_number("top_p", self.top_p, "a number in (0, 1]", lambda x: 0 < x <= 1)

    def probs(self, logits: Tensor) -> Tensor:
        """Probabilities, same shape as logits ``(..., vocab)``, in float32 or better.

        Where a row of logits is not finite (a NaN, +inf, or -inf everywhere) there is no distribution: it becomes NaN
        at every temperature, and `Draws` says so instead of drawing.
        """
        logits = logits.double() if logits.dtype == torch.float64 else logits.float()
        if self.temperature == 0:
            best, token = logits.max(-1, keepdim=True)
            return torch.zeros_like(logits).scatter_(-1, token, torch.where(best.isfinite(), 1.0, math.nan).to(logits))
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            kth = logits.topk(self.top_k).values[..., -1:]
            logits = logits.masked_fill(logits < kth, -math.inf)
        probs = logits.softmax(-1)
        return nucleus(probs, self.top_p) if self.top_p < 1 else probs


def one_hot(tokens: Tensor, vocab: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Probability 1 on each token: ``(...)`` to ``(..., vocab)``."""
    return torch.zeros(*tokens.shape, vocab, dtype=dtype, device=tokens.device).scatter_(-1, tokens[..., None], 1.0)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Top-p (Holtzman et al. 2020): keep the likeliest tokens until top_p is reached, renormalise."""
    check_number("top_p", top_p, "a number in (0, 1]", lambda x: 0 < x <= 1)
    ordered, index = probs.sort(dim=-1, descending=True, stable=True)
    dropped = ordered.cumsum(-1) - ordered >= top_p  # the mass in front of each token has reached top_p
    dropped[..., 0] = False  # however small top_p is
    kept = torch.zeros_like(probs).scatter_(-1, index, ordered.masked_fill(dropped, 0.0))
    return kept / kept.sum(-1, keepdim=True)


def wide(device: torch.device) -> torch.dtype:
    """The type that random numbers are compared in: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def pick(probs: Tensor, uniforms: Tensor) -> Tensor:
    """The token of each uniform number in [0, 1): ``(..., vocab)`` and ``(...)`` to ``(...)``.

    It inverts the cumulative sum. The height lies in (0, total], so it never passes the end, and never rests on a
    token of probability 0. Where probs hold NaN there is no token: -1.
    """
    cumulative = probs.cumsum(-1, dtype=uniforms.dtype)
    total = cumulative[..., -1:]
    tokens = torch.searchsorted(cumulative, (1 - uniforms)[..., None] * total)
    return tokens.masked_fill(~total.isfinite(), -1)[..., 0]


class Draws:
    """Every random draw of the loops: drafted tokens, the rule's coins, and the token after the cut.

    The uniform numbers behind them come from a hash of a counter and not from a stream (the idea: Salmon et al. 2011).
    What is hashed is the row's seed, the length of its text when the round began, and what the number is for. So a text
    does not depend on the other rows of its batch. A test replaces this object by one that branches on every outcome,
    and so obtains the exact law of a round (``tests/enumerate_law.py``).

    Parameters
    ----------
    seed : int, list of int, or None
        An integer s gives row i the seed ``row_seed(s, i)``; a list has one seed a row. None takes one draw from
        torch's generator. Nothing else of torch's, numpy's or Python's random state is read or changed.
    """

    def __init__(self, seed: int | Sequence[int] | None = None, device: torch.device | str = "cpu"):
        if seed is None:
            seed = int(torch.randint(2**62, ()))
        many = isinstance(seed, (list, tuple))
        self.seeds = [check_integer("seed", each, minimum=0) for each in (seed if many else [seed])]
        self.shared = None if many else self.seeds[0]
        self.device = torch.device(device)
        self._last = None, None

    def guesses(self, q: Tensor, texts: Sequence[Text], slot: int) -> Tensor:
        """The drafted token number `slot` of each row, ``(B,)``, from ``(B, vocab)``."""
        return pick(q, self.uniforms(texts, slot + 1)[:, 1 + 2 * slot]).clamp(min=0)  # what is no q is told later

    def coins(self, heads: Tensor, texts: Sequence[Text]) -> Tensor:
        """Independent coins ``(B, n)``, True with these probabilities. A uniform can be 0: the comparison is strict."""
        return self.uniforms(texts, heads.shape[1])[:, 2 : 2 + 2 * heads.shape[1] : 2] < heads

    def next_tokens(self, p: Tensor, texts: Sequence[Text]) -> Tensor:
        """The token that ends each row's round, ``(B,)``, from ``(B, vocab)``; -1 where that is no distribution."""
        return pick(p, self.uniforms(texts, 0)[:, 0])

    def seen(self, p: Tensor, texts: Sequence[Text]) -> Tensor:
        """p ``(B, n, vocab)`` as the rule is to see it: as it is, if the draws have decided nothing beforehand."""
        return p

    def uniforms(self, texts: Sequence[Text], n: int) -> Tensor:
        """A round's numbers, ``(B, >= 1 + 2 n)`` in [0, 1): for the next token; then guess and coin, n times."""
        keys = [(text.row, len(text)) for text in texts]
        known, numbers = self._last
        if known != keys or numbers.shape[1] < 1 + 2 * n:
            rows = [self._row(row, length, 1 + 2 * n) for row, length in keys]
            numbers = torch.tensor(rows, dtype=wide(self.device), device=self.device)
            self._last = keys, numbers
        return numbers

    def seed_of(self, row: int) -> int:
        return self.seeds[row] if self.shared is None else row_seed(self.shared, row)

    def _row(self, row: int, length: int, count: int) -> list[float]:
        """At least `count` numbers. A digest of 64 bytes makes eight of them."""
        seed = self.seed_of(row)
        bits = 24 if self.device.type == "mps" else 53  # as many as the float has: rounding must not reach 1
        return [
            (number >> (64 - bits)) * 2.0**-bits
            for block in range(-(-max(count, 16) // 8))
            for number in struct.unpack("<8Q", hashlib.blake2b(f"{seed}/{length}/{block}".encode()).digest())
        ]


def row_seed(seed: int, row: int) -> int:
    """The seed of a batch's row: that of row 0 is the seed itself, as if it were alone."""
    seed, row = check_integer("seed", seed, minimum=0), check_integer("row", row, minimum=0)
    digest = hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=8).digest()
    return seed if row == 0 else int.from_bytes(digest, "big") >> 1
