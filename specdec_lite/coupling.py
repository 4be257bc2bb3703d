"""Draft and target draw with the same noise, and then mostly the same token.

What it buys: for one seed the text depends neither on the draft, nor on gamma, nor on the batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .sampling import Draws, one_hot, wide
from .texts import Text
from .verification import RULES, TokenRule


class CoupledDraws(Draws):
    """A position's token is argmax(log p + g), with Gumbel noise g for every token of the vocabulary.

    The noise is a function of the row's seed and the position, and of nothing else: not of p, not of who asks, not of
    where a round began. Each token has its distribution p, whatever other draws share the noise, and it is the same
    for every draft, gamma and batch (Daliri et al. 2024, arXiv:2408.07978).
    """

    def guesses(self, q: Tensor, texts: Sequence[Text], slot: int) -> Tensor:
        return self.choose(q[:, None], texts, slot)[:, 0].clamp(min=0)

    def next_tokens(self, p: Tensor, texts: Sequence[Text]) -> Tensor:
        return self.choose(p[:, None], texts)[:, 0]

    def seen(self, p: Tensor, texts: Sequence[Text]) -> Tensor:
        """One-hots on the target's own tokens: the noise has decided them before anybody guessed."""
        tokens = self.choose(p, texts)
        return one_hot(tokens.clamp(min=0), p.shape[-1], p.dtype).masked_fill((tokens < 0)[..., None], math.nan)

    def choose(self, probs: Tensor, texts: Sequence[Text], slot: int = 0) -> Tensor:
        """Tokens ``(B, n)`` from ``(B, n, vocab)``, the first of each row `slot` positions behind its text.

        With g = -log(e) and e exponential it is argmax(p/e). Where probs hold NaN there is no token: -1.
        """
        n, vocab = probs.shape[1:]
        noise = np.array([[self.noise(text, slot + i, vocab) for i in range(n)] for text in texts])
        tokens = (probs / torch.tensor(noise, dtype=wide(self.device), device=self.device)).argmax(-1)
        return tokens.masked_fill(~probs.sum(-1).isfinite(), -1)

    def noise(self, text: Text, ahead: int, vocab: int) -> np.ndarray:
        """Exponential numbers ``(vocab,)`` for the position `ahead` tokens behind the text.

        They come from Philox (Salmon et al. 2011), a counter-based generator, under a key of its own for each position.
        """
        position = f"{self.seed_of(text.row)}/{len(text) + ahead}/noise"
        key = int.from_bytes(hashlib.blake2b(position.encode(), digest_size=16).digest(), "big")
        return -np.log(((np.random.Philox(key=key).random_raw(vocab) >> 12) + 0.5) * 2.0**-52)  # within (0, 1)


@dataclass(frozen=True)
class CoupledRule(TokenRule):
    """Daliri et al. (2024), arXiv:2408.07978: keep a guess if it is the very token that the target draws there itself.

    Target and draft draw with the same noise, see `CoupledDraws`. So for one seed the text is the same with any draft,
    any gamma and any batch, and in plain decoding (up to rounding: in half precision a near-tie may fall either way).
    Here p arrives as a one-hot on the target's own token, and of that the token rule makes a comparison: heads are 0
    or 1, and the residual is the one-hot.
    """

    lenience: float = field(default=1.0, init=False, repr=False)
    draws = CoupledDraws


RULES["coupled"] = CoupledRule()
