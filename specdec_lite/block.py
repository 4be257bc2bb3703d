"""Block verification: the draft is judged as a whole, not token by token. Pure arithmetic, as all rules are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .verification import RULES, at_cut, ratios, residual


@dataclass(frozen=True)
class BlockRule:
    """Sun et al. (2024), arXiv:2403.10444, Algorithm 2: the draft is judged as a whole. Exact, like the token rule.

    A token that p prefers makes up for one before it that q preferred, so on average no fewer tokens are kept.
    """

    def heads(self, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
        """h_i = Z/(Z + 1 - w_i), where Z = sum(max(w_i p - q, 0)) over the row behind token i.

        Where the proposal ends q is 0, so Z = w_i = h_i there. It ends, too, where p is no distribution.
        """
        w = self.weights(p, q, drafted)[..., 1:]
        z = (w[..., None] * p[..., 1:, :] - q[..., 1:, :]).clamp(min=0).sum(-1)
        z = torch.where(z.isnan(), w, z)
        return torch.where(w < 1, z / (z + 1 - w), 1.0)

    def cut(self, coins: Tensor) -> Tensor:
        """The place of the last heads: what is refused here may be kept by what comes later."""
        return coins.flip(-1).long().cumsum(-1).clamp(max=1).sum(-1)

    def after(self, p: Tensor, q: Tensor, drafted: Tensor, cut: Tensor) -> Tensor:
        """norm(max(w p - q, 0)) with the w at the cut; p itself as the bonus."""
        w = self.weights(p, q, drafted).take_along_dim(torch.as_tensor(cut)[..., None], -1)
        return residual(at_cut(p, cut), at_cut(q, cut), w)

    def weights(self, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
        """``(..., n + 1)``: w_0 = 1, w_i = min(1, w_(i-1) p(x_i)/q(x_i)), how likely x_1 ... x_i can all be kept."""
        w = [torch.ones_like(p[..., 0, 0])]
        for ratio in ratios(p, q, drafted).unbind(-1):
            w.append((w[-1] * ratio).clamp(max=1.0))
        return torch.stack(w, -1)


RULES["block"] = BlockRule()
