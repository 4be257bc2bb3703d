"""All layers of a decoder in one call, for the families that are built like T5 or like BART."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import EncoderDecoderCache

from ..drafting.head import with_shared_weights
from .kernels import pack, serves
from .narrow import NarrowLinear

LANES = 16  # numbers of a vector: widths and sizes of heads must be multiples
ACTIVATIONS = {  # transformers' names, and the numbers in kernels.cpp
    "relu": 0, "gelu": 1, "gelu_new": 2, "gelu_fast": 2, "gelu_pytorch_tanh": 2, "silu": 3, "swish": 3,
}  # fmt: skip


class Parts(NamedTuple):
    """What a layer is made of."""

    norms: list[nn.Module]  # of three blocks: attention to the text, attention to the source, feed-forward
    products: list[list[NarrowLinear]]  # in and out of each of them; those in a list have the same input
    own: nn.Module  # the attention to the text
    activation: str
    eps: float
    extra: int  # values that a layer hands on beside its output


def like_t5(layer: nn.Module, config) -> Parts:
    own, cross, last = layer.layer
    a, c, dense = own.SelfAttention, cross.EncDecAttention, last.DenseReluDense
    up = [dense.wi_0, dense.wi_1] if hasattr(dense, "wi_0") else [dense.wi]
    norms, products = (
        [own.layer_norm, cross.layer_norm, last.layer_norm],
        [[a.q, a.k, a.v], [a.o], [c.q], [c.o], up, [dense.wo]],
    )
    return Parts(norms, products, a, config.dense_act_fn, norms[0].variance_epsilon, 2)


def like_bart(layer: nn.Module, config) -> Parts:
    a, c = layer.self_attn, layer.encoder_attn
    norms = [layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm]
    products = [[a.q_proj, a.k_proj, a.v_proj], [a.out_proj], [c.q_proj], [c.out_proj], [layer.fc1], [layer.fc2]]
    return Parts(norms, products, a, config.activation_function, norms[0].eps, 0)


class LayerStack(nn.Module):
    """Stands in a decoder in place of its layers, on the buffers of a compiled model.

    Parameters
    ----------
    layers : list of Parts
    tensors : list of Tensor or None
        What `gathered` makes of these layers and the cache.
    start : Tensor
        The position of the first token fed.
    mask : Tensor
        Ones for the positions of the source, which come first, ``(1, source length)``.
    norm_first : bool
        Whether a block's norm comes before it, or behind the sum.
    """

    def __init__(self, layers: list[Parts], tensors: list, start: Tensor, mask: Tensor, norm_first: bool):
        super().__init__()
        first = layers[0]
        self.start, self.mask, self.extra = start, mask, first.extra
        outputs = [sum(len(linear.stored) for linear in product) for product in first.products]
        kinds = [ACTIVATIONS[first.activation], len(first.products[4]) - 1, int(norm_first)]
        self.number = torch.ops.specdec_lite.make_stack(tensors, outputs, kinds, [first.own.scaling, first.eps])
        weakref.finalize(self, torch.ops.specdec_lite.drop_stack, self.number)

    def forward(self, hidden: Tensor, *_, **options) -> Tensor | tuple:
        out = torch.ops.specdec_lite.run_stack(self.number, hidden, self.start, self.mask)
        return (out, *[None] * self.extra) if self.extra else out


def gathered(layers: list[Parts], cache: EncoderDecoderCache) -> list[Tensor | None]:
    """A layer's tensors after the other's, as kernels.cpp takes them; the buffers are used where they are."""
    own, cross = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
    tensors, biases = [], [distances(each.own, own[0].keys.shape[2]) for each in layers]
    for each, mine, theirs, bias in zip(layers, own, cross, biases):
        tensors += [part for norm in each.norms for part in (norm.weight, getattr(norm, "bias", None))]
        tensors += [part for product in each.products for part in joined(product)]
        tensors += [mine.keys, mine.values, theirs.keys, theirs.values, biases[0] if bias is None else bias]
    return tensors


def joined(linears: list[NarrowLinear]) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Products of one input as one product: packed weights, bias and scale."""
    weight, scale, bias = torch.cat([linear.stored for linear in linears]), None, None
    if linears[0].scale is not None:
        scale = torch.cat([linear.scale for linear in linears])
    if any(linear.bias is not None for linear in linears):
        bias = torch.cat(
            [torch.zeros(len(linear.stored)) if linear.bias is None else linear.bias for linear in linears]
        )
    return pack(weight), bias, scale


def distances(attention: nn.Module, length: int) -> Tensor | None:
    """T5's bias of a key 0, 1, 2 … positions back, ``(heads, length)``: in a decoder it depends on nothing else."""
    if not getattr(attention, "has_relative_attention_bias", False):
        return None
    last = attention.compute_bias(1, length, past_seen_tokens=length - 1)
    return last[0, :, 0].flip(-1).contiguous()


def with_one_call(hf_model, cache: EncoderDecoderCache, mask: Tensor) -> Iterator:
    """Copies of a model whose decoder runs its layers in one call; none if it is built otherwise, or can't have one.

    Nobody says whether a family's norms come first, or whether it does anything besides. So there is a copy for either
    case, and the caller must see which of them, if any, computes what the model does.
    """
    decoder = hf_model.get_decoder()
    name = "block" if hasattr(decoder, "block") else "layers"
    try:
        layers = [
            (like_t5 if name == "block" else like_bart)(layer, decoder.config) for layer in getattr(decoder, name)
        ]
    except (AttributeError, TypeError, ValueError):
        return
    first = layers[0]
    weight, buffers = first.norms[0].weight, cache.self_attention_cache.layers[0]
    sizes = len(weight), buffers.keys.shape[3], len(first.products[4][0].stored)
    fits = first.activation in ACTIVATIONS and not any(size % LANES for size in sizes)
    if not (fits and buffers.keys.dtype == torch.float32 and serves(weight)):
        return
    tensors = gathered(layers, cache)
    for norm_first in (True, False):
        twin = with_shared_weights(hf_model)
        stack = LayerStack(layers, tensors, buffers.cumulative_length, mask, norm_first)
        setattr(twin.get_decoder(), name, nn.ModuleList([stack]))
        yield twin
