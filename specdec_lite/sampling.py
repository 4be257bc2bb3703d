"""From logits to the distribution that is really sampled, and drawing from it.

Everywhere in this package ``p`` (target) and ``q`` (draft) mean the *adjusted* distributions: after temperature,
top-k and top-p. Temperature 0 is not a special loop, it is a one-hot distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor


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
        check_number("temperature", self.temperature, "a finite number >= 0", lambda x: 0 <= x < math.inf)
        check_integer("top_k", self.top_k, minimum=0)
        check_number("top_p", self.top_p, "a number in (0, 1]", lambda x: 0 < x <= 1)

    def probs(self, logits: Tensor) -> Tensor:
        """Probabilities, same shape as logits ``(..., vocab)``, in float32 or better."""
        logits = logits.double() if logits.dtype == torch.float64 else logits.float()
        if self.temperature == 0:
            return one_hot(logits.argmax(-1), logits.shape[-1], logits.dtype)
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
    ordered, index = probs.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered  # the mass in front of each token; the likeliest has none, so it is kept
    kept = torch.zeros_like(probs).scatter_(-1, index, ordered.masked_fill(before >= top_p, 0.0))
    return kept / kept.sum(-1, keepdim=True)


class Draws:
    """Every random draw of the loops: a token from a distribution, and the coins of the verifier.

    A test replaces this object by one that branches on every outcome and so obtains the exact law of a whole
    generation (``tests/enumerate_law.py``).

    Parameters
    ----------
    seed : int or None
        An integer makes the draws reproducible. None starts from torch's state of the moment. Either way the draws
        come from a generator of our own: torch's global state is read, never reset.
    """

    def __init__(self, seed: int | None = None, device: torch.device | str = "cpu"):
        if seed is None:
            seed = int(torch.randint(2**62, ()))
        else:
            check_integer("seed", seed, minimum=0)
        self.generator = torch.Generator(device).manual_seed(int(seed))
        self.device = torch.device(device)

    def token(self, probs: Tensor) -> Tensor:
        """One token id, shape ``()``, from ``(vocab,)`` probabilities, by inverting their cumulative sum.

        The height lies in (0, total]: so it never passes the end, and never rests on a token of probability 0.
        """
        cumulative = probs.cumsum(-1, dtype=torch.float64)
        height = (1 - torch.rand((), generator=self.generator, device=self.device, dtype=torch.float64)) * cumulative[
            -1
        ]
        return torch.searchsorted(cumulative, height)

    def coins(self, heads: Tensor) -> Tensor:
        """Independent coins, ``(n,)`` booleans. A uniform can be 0, so the comparison is strict."""
        uniforms = torch.rand(heads.shape, generator=self.generator, device=self.device, dtype=heads.dtype)
        return uniforms < heads


def check_integer(name: str, value, minimum: int) -> int:
    """Return value if it is an integer >= minimum (True and False are not), else raise an error that says so."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r}: expected an integer >= {minimum}")
    if value < minimum:
        raise ValueError(f"{name}={value!r}: expected an integer >= {minimum}")
    return int(value)


def check_number(name: str, value, expected: str, legal) -> float:
    """Return value if it is a real number that `legal` admits, else raise an error that says what was expected."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r}: expected {expected}")
    if not legal(value):  # NaN fails every comparison
        raise ValueError(f"{name}={value!r}: expected {expected}")
    return float(value)
