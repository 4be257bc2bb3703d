"""The fast path: the same cursor on buffers of fixed size, so that each kind of step is compiled once.

Nothing about the output changes. A step is spared most of Python's time, all memory allocation, and matrix products
that were made for larger shapes.
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, EncoderDecoderCache, StaticCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutput

from .checks import check_integer
from .decoder import CachedDecoder
from .models import Pair, Seq2Seq


def compile_pair(
    pair: Pair,
    *,
    gammas: int | Iterable[int] = 4,
    max_new_tokens: int = 64,
    max_source_tokens: int = 128,
    draft_weights: str | None = None,
    backend="inductor",
    progress: bool = True,
) -> Pair:
    """The same pair with compiled steps: pass it to the loops in place of the other.

    The target is compiled for one position (plain decoding) and for gamma + 1, the draft for one and, to catch up, two.
    What each of them makes of a new source, its keys and values, is compiled as well.
    Compiling takes from seconds to minutes; it happens here, once, and not in the first generation.

    Parameters
    ----------
    gammas : int or several
        The values of gamma that will be used. With another one the next larger step is used, if there is one.
    max_new_tokens, max_source_tokens : int
        What the buffers hold. Longer requests are refused.
    draft_weights : str, optional
        "bfloat16" or "int8": round the weights of the draft's decoder, so that a step reads half or a quarter of
        float32's bytes. q becomes that of the rounded draft, and stays the distribution that is really drawn from, so
        the output keeps the target's law. Measure "int8": some processors are slow to turn small integers into floats.
    backend : str or callable
        As in `torch.compile`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected.
    RuntimeError
        There is no C++ compiler (CPU), or no Triton (GPU), or torch is too old.
    """
    gammas = [gammas] if isinstance(gammas, int) else list(gammas)
    if not gammas:
        raise ValueError("gammas=[]: expected at least one integer >= 0")
    for gamma in gammas:
        check_integer("gammas", gamma, minimum=0)
    check_integer("max_new_tokens", max_new_tokens, minimum=1)
    check_integer("max_source_tokens", max_source_tokens, minimum=1)
    if draft_weights not in (None, *ROUNDED):
        raise ValueError(f"draft_weights={draft_weights!r}: expected None, {' or '.join(map(repr, ROUNDED))}")
    check_can_compile(pair, backend)
    options = {"max_new_tokens": max_new_tokens, "max_source_tokens": max_source_tokens, "backend": backend}
    target = CompiledSeq2Seq(pair.target, {1, *(gamma + 1 for gamma in gammas)}, **options)
    draft = CompiledSeq2Seq(pair.draft, {1, 2}, rounded=ROUNDED.get(draft_weights), lean_calls=True, **options)
    seconds = target.warm_up() + draft.warm_up()
    if progress:
        print(f"compiled {len(target.steps) + len(draft.steps) + 2} steps in {seconds:.0f} s")
    return Pair(target, draft, pair.name)


def check_can_compile(pair: Pair, backend) -> None:
    """Raise an error that says what is missing: a backend, models that read text, a newer torch, a compiler."""
    if not callable(backend) and backend not in torch.compiler.list_backends(exclude_tags=()):
        raise ValueError(f"backend={backend!r}: expected a callable or one of {torch.compiler.list_backends()}")
    if any(model.hf_model.main_input_name != "input_ids" for model in pair):
        raise TypeError(f"pair={pair.name}: expected models that read text")
    if "isolate_recompiles" not in inspect.signature(torch.compile).parameters:
        needed = f"compile_pair needs a torch that compiles each width by itself, as 2.13 does, not {torch.__version__}"
        raise RuntimeError(f"{needed}; the pair works without it, as it is")
    if backend == "inductor" and not has_compiler(pair.target.device):
        needed = "Triton" if pair.target.device.type == "cuda" else "a C++ compiler"
        raise RuntimeError(f"compile_pair needs {needed} and found none; the pair works without it, as it is")


class CompiledSeq2Seq(Seq2Seq):
    """A model with fixed buffers and a compiled step for each width.

    The buffers serve one generation at a time: the cursor that started last owns them.

    Attributes
    ----------
    read : callable
        Makes a new source's keys and values.
    steps : dict of int to callable
        Width n to a function from token ids ``(1, n)`` to logits ``(1, n, vocab)``.
    """

    def __init__(
        self,
        model: Seq2Seq,
        widths,
        *,
        max_new_tokens: int,
        max_source_tokens: int,
        rounded: torch.dtype | None = None,
        lean_calls: bool = False,
        backend="inductor",
    ):
        self.__dict__.update(model.__dict__)  # the same tokenizer and rules
        if rounded or self.device.type == "cpu":
            self.hf_model = narrow_twin(model.hf_model, rounded)
        self.owner = None
        self.max_target_length = min(max_new_tokens, model.max_target_length or max_new_tokens)
        self.max_source_length = min(max_source_tokens, model.max_source_length or max_source_tokens)
        config = self.hf_model.get_decoder().config
        # A step that is wider than what it is fed writes behind the last token, so there must be room.
        own, cross = StaticCache(config, max_new_tokens + max(widths)), StaticCache(config, max_source_tokens)
        self.cache = EncoderDecoderCache(own, cross)
        width = self.hf_model.get_encoder().config.hidden_size
        self.states = torch.zeros(1, max_source_tokens, width, dtype=self.dtype, device=self.device)
        self.mask = torch.zeros(1, max_source_tokens, dtype=torch.long, device=self.device)
        self.start_ids = torch.tensor([[self.start_token]], device=self.device)
        with torch.inference_mode():
            self.step(self.start_ids)  # makes the buffers: what is compiled must find them in their place
        self.read = compiled(self.make_source_keys, backend, self.device)
        self.steps = {n: compiled(self.step, backend, self.device, lean_calls) for n in sorted(widths)}

    def cursor(self) -> StaticDecoder:
        return StaticDecoder(self)

    def step(self, token_ids: Tensor, cache: EncoderDecoderCache | None = None) -> Tensor:
        """What is compiled: one pass over ``(1, n)`` tokens to ``(1, n, vocab)``, behind those that the cache holds."""
        return self.hf_model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
            attention_mask=self.mask,
            decoder_input_ids=token_ids,
            past_key_values=self.cache if cache is None else cache,
            use_cache=True,
        ).logits

    def make_source_keys(self) -> None:
        """What is compiled to read a source: a step of which nothing is kept but the source's keys and values.

        The compiler leaves out what nobody uses, and that is all the rest. So this works for every family.
        """
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        cache.cross_attention_cache = self.cache.cross_attention_cache
        self.step(self.start_ids, cache)

    def set_length(self, length: int) -> None:
        """Move the position at which the next token is written. What lies behind it is masked."""
        for layer in self.cache.self_attention_cache.layers:
            layer.cumulative_length.fill_(length)

    def set_source(self, states: Tensor) -> None:
        """Copy an encoder's output into the buffer and make its keys and values. What lies behind it is masked."""
        n = states.shape[1]
        self.states[:, :n], self.mask[:] = states, torch.arange(self.mask.shape[1], device=self.device) < n
        for layer in self.cache.cross_attention_cache.layers:
            layer.cumulative_length.zero_()
        self.read()

    @torch.inference_mode()
    def warm_up(self) -> float:
        """Compile every step, and return the seconds it took."""
        began = time.perf_counter()
        cursor = self.cursor()
        for _ in range(3):  # with CUDA graphs the second call records, and the third is the first to replay
            cursor.start({"input_ids": torch.tensor([sorted(self.eos_tokens)[:1]], device=self.device)})
            for n in self.steps:
                cursor.rollback(0)
                cursor.extend([self.start_token] * n)
        return time.perf_counter() - began


class StaticDecoder(CachedDecoder):
    """A `CachedDecoder` on a compiled model's buffers: rollback moves an index, and nothing is copied."""

    def __init__(self, model: CompiledSeq2Seq):
        super().__init__(model.hf_model)
        self.model = model

    def empty_cache(self) -> EncoderDecoderCache:
        """The model's buffers, from now on this cursor's. They refuse a longer source, or one with padding inside."""
        states = self.encoder_outputs.last_hidden_state
        if len(states) > 1:
            raise ValueError(f"source is a list of {len(states)}: expected one, for compiled steps serve one row")
        if states.shape[1] > self.model.mask.shape[1]:
            expected = f"expected at most max_source_tokens={self.model.mask.shape[1]}"
            raise ValueError(f"source has {states.shape[1]} positions: {expected}")
        if self.attention_mask is not None and not self.attention_mask.all():
            raise ValueError("attention_mask hides some positions: expected a source without padding")
        self.model.set_source(states)
        self.model.owner, self.written = self, None  # written: where the buffers' own counters stand
        return self.model.cache

    def forward(self, rows: Tensor) -> Tensor:
        if self.model.owner is not self:
            raise RuntimeError("another cursor has started on this compiled model: it serves one generation at a time")
        n, steps = rows.shape[1], self.model.steps
        width = min((w for w in steps if w >= n), default=None)
        if self.written != self.length:
            self.model.set_length(self.length)
        if width is None:
            width, logits = n, self.model.step(rows)
        else:
            fed = rows.new_zeros(1, width)  # of its own: what is compiled knows its strides
            fed[:, :n] = rows
            logits = steps[width](fed)
        self.written = self.length + width
        return logits[:, :n]

    def crop(self, length: int) -> None:
        """Nothing to do: the next step overwrites what lies behind `length`."""


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

    def __init__(self, linear: nn.Linear, rounded: torch.dtype | None = None):
        super().__init__()
        weight, self.bias, self.scale = linear.weight.detach(), linear.bias, None
        if rounded == torch.int8:  # a scale for each row, so that its largest weight becomes 127
            self.scale = weight.abs().amax(1).clamp(min=1e-12) / 127
            weight = (weight / self.scale[:, None]).round()
        self.weight = linear.weight if rounded is None else nn.Parameter(weight.to(rounded), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if is_narrow(len(rows)):
            out = torch.stack([(self.weight * row).sum(-1) for row in rows])
        else:
            out = rows @ self.weight.to(x.dtype).T
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
    """A copy with the same tensors and encoder, whose decoder and head compute as `NarrowLinear` does."""
    kept = chain(hf_model.parameters(), hf_model.buffers(), [hf_model.get_encoder()])
    shared = {id(each): each for each in kept}
    twin = copy.deepcopy(hf_model, shared)
    for module in list(twin.get_decoder().modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, NarrowLinear(child, rounded))
    twin.set_output_embeddings(NarrowLinear(twin.get_output_embeddings(), rounded))
    twin.get_decoder().config._attn_implementation = NARROW_ATTENTION
    return twin


def has_compiler(device: torch.device) -> bool:
    """Whether `torch.compile` finds what it needs on this machine."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # a second to import, and seldom needed
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    if device.type == "cuda":
        return has_triton()
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def compiled(step, backend, device: torch.device, lean_calls: bool = False):
    """`torch.compile` for a step whose inputs differ in nothing but the token ids.

    The model, the buffers and the width never change, so nothing has to be checked at each call. With lean_calls a
    CPU's loops are called from C++ and not from Python: longer to compile, and only a small model's step gains.
    """
    options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if device.type == "cuda":
        options["triton.cudagraphs"] = True  # a step is recorded and replayed whole
    else:
        options["cpp.enable_floating_point_contract_flag"] = "fast"  # a product and its sum in one instruction
        options["realize_reads_threshold"] = 0  # positions are computed once, not again for each row of weights
        options["cpp_wrapper"] = lean_calls
    if backend != "inductor":  # others take no options
        options = None
    return torch.compile(step, backend=backend, dynamic=False, fullgraph=True, isolate_recompiles=True, options=options)
