"""A decoder whose products and attention are written for a few positions, as loops that the compiler joins."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..drafting.head import TruncatedHead, with_shared_weights
from .kernels import pack, serves

NARROW = 17  # positions, so up to gamma = 16
NARROW_ATTENTION = "specdec_lite_narrow"  # under this name transformers finds `narrow_attention`
ROUNDED = {"bfloat16": torch.bfloat16, "int8": torch.int8}


def is_narrow(positions: int) -> bool:
    """Whether to write products as loops: not uncompiled, where each would store all it multiplies."""
    return torch.compiler.is_compiling() and positions <= NARROW


class NarrowLinear(nn.Module):
    """A linear layer for one or a few positions, where what takes the time is to read the weights.

    The compiler makes the products and their sums one loop over the weights, which reads each of them once for all
    positions; rounded weights become floats in its registers. A library's product is made for many more positions.
    """

    def __init__(self, linear: nn.Linear, rounded: torch.dtype | None = None, *, by_kernel: bool = False):
        super().__init__()
        weight, self.bias, self.scale = linear.weight.detach(), linear.bias, None
        if rounded == torch.int8:  # a scale for each row, so that its largest weight becomes 127
            self.scale = weight.abs().amax(1).clamp(min=1e-12) / 127
            weight = (weight / self.scale[:, None]).round()
        self.weight = linear.weight  # as it was: some models look at its type
        self.stored = linear.weight if rounded is None else nn.Parameter(weight.to(rounded), requires_grad=False)
        self.register_buffer("packed", pack(self.stored) if by_kernel else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if self.packed is not None and len(rows) <= NARROW:
            out = torch.ops.specdec_lite.linear(rows, self.packed, len(self.stored))
        elif is_narrow(len(rows)):
            out = torch.stack([(self.stored * row).sum(-1) for row in rows])
        else:
            out = rows @ self.stored.to(x.dtype).T
        out = out if self.scale is None else out * self.scale
        out = out if self.bias is None else out + self.bias
        return out.reshape(*x.shape[:-1], -1)


def narrow_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
    scaling: float | None = None, position_bias: Tensor | None = None, **options,
):  # fmt: skip
    """Attention for one or a few positions as loops, which the compiler joins with their neighbours.

    query ``(1, heads, n, size)``, key and value ``(1, heads, length, size)``; it returns ``(1, n, heads, size)`` and,
    as transformers expects of an attention function, the weights or None.
    """
    if mask is None or not is_narrow(query.shape[2]):
        return sdpa_attention_forward(
            module, query, key, value, mask, scaling=scaling, position_bias=position_bias, **options
        )
    scores = (query[:, :, :, None] * key[:, :, None]).sum(-1) * (scaling or query.shape[-1] ** -0.5)
    scores = scores if position_bias is None else scores + position_bias
    out = (scores.masked_fill(~mask, -math.inf).softmax(-1)[..., None] * value[:, :, None]).sum(-2)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(NARROW_ATTENTION, narrow_attention)
AttentionMaskInterface.register(NARROW_ATTENTION, sdpa_mask)


def narrow_twin(hf_model, rounded: torch.dtype | None):
    """A copy whose decoder and head compute as `NarrowLinear` does.

    Tensors, encoder and generation config are the same objects: what is set on one model holds for the other.
    """
    twin = with_shared_weights(hf_model)
    for module in list(twin.get_decoder().modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, NarrowLinear(child, rounded))
    head = twin.get_output_embeddings()
    by_kernel = serves(head.weight)  # the layers have a call of their own, see `layers`
    if isinstance(head, TruncatedHead):
        head.linear = NarrowLinear(head.linear, rounded, by_kernel=by_kernel)
    else:
        twin.set_output_embeddings(NarrowLinear(head, rounded, by_kernel=by_kernel))
    twin.get_decoder().config._attn_implementation = NARROW_ATTENTION
    return twin
