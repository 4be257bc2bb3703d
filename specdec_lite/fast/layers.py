"""All layers of a decoder or an encoder in one call, for the families that are built like T5 or like BART."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..drafting.head import with_shared_weights
from ..selfcheck import made_up_source, same_but_for_rounding
from .kernels import pack, serves

LANES = 16  # numbers of a vector: widths and sizes of heads must be multiples
ACTIVATIONS = {  # transformers' names, and the numbers in kernels.cpp
    "relu": 0, "gelu": 1, "gelu_new": 2, "gelu_fast": 2, "gelu_pytorch_tanh": 2, "silu": 3, "swish": 3,
}  # fmt: skip


class Parts(NamedTuple):
    """What a layer is made of. An encoder's has no attention to a source: where that would be, there is None."""

    norms: list[nn.Module | None]  # of three blocks: attention to the text, attention to the source, feed-forward
    products: list[list[nn.Module]]  # in and out of each of them, then the source's; those in a list have one input
    own: nn.Module  # the attention to the text
    activation: str
    eps: float
    extra: int  # values that a layer hands on beside its output

    @property
    def heads(self) -> tuple[int, int]:
        """Their number and size."""
        number = self.own.n_heads if hasattr(self.own, "n_heads") else self.own.num_heads
        return number, rows(self.products[0][0]) // number


def like_t5(layer: nn.Module, config) -> Parts:
    own, *cross, last = layer.layer
    a, dense = own.SelfAttention, last.DenseReluDense
    up = [dense.wi_0, dense.wi_1] if hasattr(dense, "wi_0") else [dense.wi]
    c, between = (cross[0].EncDecAttention, cross[0].layer_norm) if cross else (None, None)
    source = ([c.q], [c.o], [c.k, c.v]) if cross else ([], [], [])
    products = [[a.q, a.k, a.v], [a.o], *source[:2], up, [dense.wo], source[2]]
    norms = [own.layer_norm, between, last.layer_norm]
    return Parts(norms, products, a, config.dense_act_fn, own.layer_norm.variance_epsilon, 2)


def like_bart(layer: nn.Module, config) -> Parts:
    a, c, first = layer.self_attn, getattr(layer, "encoder_attn", None), layer.self_attn_layer_norm
    source = ([c.q_proj], [c.out_proj], [c.k_proj, c.v_proj]) if c else ([], [], [])
    products = [[a.q_proj, a.k_proj, a.v_proj], [a.out_proj], *source[:2], [layer.fc1], [layer.fc2], source[2]]
    norms = [first, layer.encoder_attn_layer_norm if c else None, layer.final_layer_norm]
    return Parts(norms, products, a, config.activation_function, first.eps, 0)


class LayerStack(nn.Module):
    """Stands in an encoder or a decoder in place of its layers.

    Parameters
    ----------
    layers : list of Parts
    tensors : list of Tensor or None
        What `gathered` makes of these layers and their buffers.
    start : Tensor
        The position of the first token fed.
    mask : Tensor
        Ones for the positions of the source, which come first, ``(1, source length)``; nothing to an encoder.
    norm_first : bool
        Whether a block's norm comes before it, or behind the sum.
    """

    def __init__(self, layers: list[Parts], tensors: list, start: Tensor, mask: Tensor, norm_first: bool):
        super().__init__()
        first = layers[0]
        self.start, self.mask, self.extra = start, mask, first.extra
        outputs = [sum(map(rows, product)) for product in first.products]
        kinds = [ACTIVATIONS[first.activation], len(first.products[4]) - 1, int(norm_first)]
        self.number = torch.ops.specdec_lite.make_stack(tensors, outputs, kinds, [first.own.scaling, first.eps])
        weakref.finalize(self, torch.ops.specdec_lite.drop_stack, self.number)

    def forward(self, hidden: Tensor, *_, **options) -> Tensor | tuple:
        out = torch.ops.specdec_lite.run_stack(self.number, hidden, self.start, self.mask)
        return (out, *[None] * self.extra) if self.extra else out

    def read(self, states: Tensor) -> None:
        """Make the source's keys and values, in the buffers."""
        torch.ops.specdec_lite.read_source(self.number, states, self.mask)


class Buffers(NamedTuple):
    """A layer's keys and values, of the text and, in a decoder, of the source: ``(1, heads, length, size)``."""

    keys: Tensor
    values: Tensor
    source_keys: Tensor | None = None
    source_values: Tensor | None = None


def place_of_layers(stack: nn.Module) -> str:
    return "block" if hasattr(stack, "block") else "layers"


def parts(stack: nn.Module) -> list[Parts]:
    """The layers of an encoder or a decoder; none if they are built otherwise, or of sizes that no vector fits."""
    name = place_of_layers(stack)
    kind = like_t5 if name == "block" else like_bart
    try:
        layers = [kind(layer, stack.config) for layer in getattr(stack, name)]
        sizes = len(layers[0].norms[0].weight), rows(layers[0].products[4][0]), layers[0].heads[1]
    except (AttributeError, TypeError, ValueError):
        return []
    fits = layers[0].activation in ACTIVATIONS and not any(size % LANES for size in sizes)
    return layers if fits and serves(layers[0].norms[0].weight) else []


def gathered(layers: list[Parts], buffers: list[Buffers]) -> list[Tensor | None]:
    """A layer's tensors after the other's, as kernels.cpp takes them; the buffers are used where they are."""
    tensors, length = [], buffers[0].keys.shape[2]
    biases = [distances(each.own, length) for each in layers]
    for each, own, bias in zip(layers, buffers, biases):
        tensors += [
            part for norm in each.norms for part in (getattr(norm, "weight", None), getattr(norm, "bias", None))
        ]
        tensors += [part for product in each.products for part in joined(product)]
        tensors += [*own, biases[0] if bias is None else bias]
    return tensors


def rows(linear: nn.Module) -> int:
    return len(getattr(linear, "stored", linear.weight))


def joined(linears: list[nn.Module]) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Products of one input as one product: packed weights, bias and scale."""
    if not linears:
        return None, None, None
    weight, scale, bias = torch.cat([getattr(each, "stored", each.weight) for each in linears]), None, None
    if getattr(linears[0], "scale", None) is not None:
        scale = torch.cat([each.scale for each in linears])
    if any(each.bias is not None for each in linears):
        bias = torch.cat([torch.zeros(rows(each)) if each.bias is None else each.bias for each in linears])
    return pack(weight), bias, scale


def distances(attention: nn.Module, length: int) -> Tensor | None:
    """T5's bias of a key 1 - length, 2 - length … positions away: it depends on nothing else.

    To 0 away in a decoder, ``(heads, length)``, to length - 1 in an encoder, ``(heads, 2 length - 1)``.
    """
    if not getattr(attention, "has_relative_attention_bias", False):
        return None
    before = attention.compute_bias(1, length, past_seen_tokens=length - 1)[0, :, 0]
    if attention.is_decoder:
        return before.contiguous()
    return torch.cat([before, attention.compute_bias(1, length)[0, :, 0, 1:]], -1)


def with_one_call(
    model: nn.Module, where: Callable, buffers: list[Buffers], start: Tensor, mask: Tensor
) -> Iterator[tuple[nn.Module, LayerStack]]:
    """Copies of a model that runs the layers of ``where(model)`` in one call; none if they are not of a kind that can.

    Nobody says whether a family's norms come first, or whether it does anything besides. So there is a copy for either
    case, and the caller must see which of them, if any, computes what the model does.
    """
    if layers := parts(where(model)):
        tensors = gathered(layers, buffers)
        for norm_first in (True, False):
            stack, twin = LayerStack(layers, tensors, start, mask, norm_first), with_shared_weights(model)
            setattr(where(twin), place_of_layers(where(twin)), nn.ModuleList([stack]))
            yield twin, stack


@torch.no_grad()
def quick_encoder(encoder: nn.Module, longest: int) -> nn.Module:
    """An encoder with its layers in one call, for one source of so many tokens or less; or, if it can't be, the same.

    It is taken only if it computes what the encoder does, tried on sources of two lengths.
    """

    def same(twin, length: int) -> bool:
        source = made_up_source(encoder, length)
        return same_but_for_rounding(*(each(input_ids=source).last_hidden_state for each in (twin, encoder)))

    if layers := parts(encoder):
        heads, size = layers[0].heads
        keys, values = (torch.zeros(1, heads, longest, size) for _ in range(2))
        start = torch.zeros(1, dtype=torch.long)
        for twin, _ in with_one_call(encoder, lambda it: it, [Buffers(keys, values)] * len(layers), start, start):
            with suppress(Exception):
                if same(twin, longest) and same(twin, (longest + 1) // 2):
                    return twin
    return encoder
