"""The fast path: the same cursor on buffers of fixed size, so that each kind of step is compiled once.

Nothing about the output changes. A step is spared most of Python's time, all memory allocation, and matrix products
that were made for larger shapes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from transformers import EncoderDecoderCache, StaticCache
from transformers.modeling_outputs import BaseModelOutput

from .decoder import CachedDecoder
from .models import Pair, Seq2Seq
from .sampling import check_integer


def compile_pair(
    pair: Pair,
    *,
    gammas: int | Iterable[int] = 4,
    max_new_tokens: int = 64,
    max_source_tokens: int = 128,
    int8_draft: bool = False,
    backend="inductor",
    progress: bool = True,
) -> Pair:
    """The same pair with compiled steps: pass it to the loops in place of the other.

    The target is compiled for one position (plain decoding) and for gamma + 1, the draft for one and, to catch up, two;
    each of them also for a step that reads a new source.
    Compiling takes from seconds to minutes; it happens here, once, and not in the first generation.

    Parameters
    ----------
    gammas : int or several
        The values of gamma that will be used. With another one the next larger step is used, if there is one.
    max_new_tokens, max_source_tokens : int
        What the buffers hold. Longer requests are refused.
    int8_draft : bool
        Round the weights of the draft's decoder to 8 bits: a step reads a quarter of the bytes. q becomes that of the
        rounded draft, and stays the distribution that is really drawn from, so the output keeps the target's law.
        Measure: on processors that are slow to turn small integers into floats it costs more than it saves.
    backend : str or callable
        As in `torch.compile`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected.
    RuntimeError
        There is no C++ compiler (CPU), or no Triton (GPU).
    """
    gammas = [gammas] if isinstance(gammas, int) else list(gammas)
    if not gammas:
        raise ValueError("gammas=[]: expected at least one integer >= 0")
    for gamma in gammas:
        check_integer("gammas", gamma, minimum=0)
    check_integer("max_new_tokens", max_new_tokens, minimum=1)
    check_integer("max_source_tokens", max_source_tokens, minimum=1)
    if not callable(backend) and backend not in torch.compiler.list_backends(exclude_tags=()):
        raise ValueError(f"backend={backend!r}: expected a callable or one of {torch.compiler.list_backends()}")
    if any(model.hf_model.main_input_name != "input_ids" for model in pair):
        raise TypeError(f"pair={pair.name}: expected models that read text")
    if backend == "inductor" and not has_compiler(pair.target.device):
        needed = "Triton" if pair.target.device.type == "cuda" else "a C++ compiler"
        raise RuntimeError(f"compile_pair needs {needed} and found none; the pair works without it, as it is")
    options = {"max_new_tokens": max_new_tokens, "max_source_tokens": max_source_tokens, "backend": backend}
    target = CompiledSeq2Seq(pair.target, {1, *(gamma + 1 for gamma in gammas)}, **options)
    draft = CompiledSeq2Seq(pair.draft, {1, 2}, int8=int8_draft, **options)
    seconds = target.warm_up() + draft.warm_up()
    if progress:
        print(f"compiled {len(target.steps) + len(draft.steps) + 2} steps in {seconds:.0f} s")
    return Pair(target, draft, pair.name)


class CompiledSeq2Seq(Seq2Seq):
    """A model with fixed buffers and a compiled step for each width.

    The buffers serve one generation at a time: the cursor that started last owns them.

    Attributes
    ----------
    read : callable
        The step that makes a new source's keys and values.
    steps : dict of int to callable
        Width n to a function from token ids ``(1, n)`` to logits ``(n, vocab)``.
    """

    def __init__(
        self, model: Seq2Seq, widths, *, max_new_tokens: int, max_source_tokens: int, int8=False, backend="inductor"
    ):
        self.__dict__.update(model.__dict__)  # the same tokenizer and rules
        if int8 or self.device.type == "cpu":
            self.hf_model = with_narrow_products(model.hf_model, int8)
        self.cursor = StaticDecoder
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
        self.read = compiled(self.step, backend, self.device)
        self.steps = {n: compiled(self.step, backend, self.device) for n in sorted(widths)}

    def step(self, token_ids: Tensor) -> Tensor:
        """What is compiled: one pass over ``(1, n)`` tokens, behind those that the cache holds.

        It makes the source's keys and values if the cache has none: that is traced as another graph, `read`.
        """
        return self.hf_model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
            attention_mask=self.mask,
            decoder_input_ids=token_ids,
            past_key_values=self.cache,
            use_cache=True,
        ).logits[0]

    def set_length(self, length: int) -> None:
        """Move the position at which the next token is written. What lies behind it is masked."""
        for layer in self.cache.self_attention_cache.layers:
            layer.cumulative_length.fill_(length)

    def set_source(self, states: Tensor) -> None:
        """Copy the encoder's output into the buffer, and make its keys and values: a step's logits are thrown away."""
        n = states.shape[1]
        self.states.zero_()
        self.states[:, :n], self.mask[:] = states, torch.arange(self.mask.shape[1], device=self.device) < n
        for layer in self.cache.cross_attention_cache.layers:
            layer.cumulative_length.zero_()
        self.cache.is_updated = dict.fromkeys(self.cache.is_updated, False)
        self.set_length(0)
        self.read(self.start_ids)

    @torch.inference_mode()
    def warm_up(self) -> float:
        """Compile every step, and return the seconds it took."""
        began = time.perf_counter()
        cursor = StaticDecoder(self)
        for _ in range(3):  # with CUDA graphs the second call records, and the third is the first to replay
            cursor.start({"input_ids": torch.tensor([sorted(self.eos_tokens)[:1]], device=self.device)})
            for n in self.steps:
                cursor.rollback(0)
                cursor.extend([self.start_token] * n)
        return time.perf_counter() - began


class StaticDecoder(CachedDecoder):
    """A `CachedDecoder` on a compiled model's buffers: rollback moves an index, and nothing is copied."""

    def empty_cache(self) -> EncoderDecoderCache:
        """The model's buffers, from now on this cursor's. They refuse a longer source, or one with padding inside."""
        states = self.encoder_outputs.last_hidden_state
        if states.shape[1] > self.model.mask.shape[1]:
            expected = f"expected at most max_source_tokens={self.model.mask.shape[1]}"
            raise ValueError(f"source has {states.shape[1]} positions: {expected}")
        if self.attention_mask is not None and not self.attention_mask.all():
            raise ValueError("attention_mask hides some positions: expected a source without padding")
        self.model.set_source(states)
        self.model.owner, self.written = self, 1  # written: where the buffers' own counters stand
        return self.model.cache

    def forward(self, tokens: Tensor) -> Tensor:
        if self.model.owner is not self:
            raise RuntimeError("another cursor has started on this compiled model: it serves one generation at a time")
        n, steps = len(tokens), self.model.steps
        width = min((w for w in steps if w >= n), default=None)
        if self.written != self.length:
            self.model.set_length(self.length)
        if width is None:
            width, logits = n, self.model.step(tokens[None])
        else:
            logits = steps[width](torch.nn.functional.pad(tokens, (0, width - n))[None])
        self.written = self.length + width
        return logits[:n]

    def crop(self, length: int) -> None:
        """Nothing to do: the next step overwrites what lies behind `length`."""


NARROW = 17  # positions, so up to gamma = 16


class NarrowLinear(nn.Module):
    """A linear layer for one or a few positions, where what takes the time is to read the weights.

    The compiler makes the products and their sums one loop over the weights, which reads each of them once for all
    positions; 8-bit weights become floats in its registers. A library's product is made for many more positions.
    """

    def __init__(self, linear: nn.Linear, int8: bool):
        super().__init__()
        self.weight, self.bias, self.scale = linear.weight, linear.bias, None
        if int8:  # a scale for each row, so that its largest weight becomes 127
            self.scale = linear.weight.detach().abs().amax(1).clamp(min=1e-12) / 127
            rounded = (linear.weight / self.scale[:, None]).round().to(torch.int8)
            self.weight = nn.Parameter(rounded, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if torch.compiler.is_compiling() and len(rows) <= NARROW:
            out = torch.stack([(self.weight * row).sum(-1) for row in rows])
        else:  # uncompiled, the loop would store a matrix for each row; for a whole source, the library is faster
            out = rows @ self.weight.to(x.dtype).T
        out = out if self.scale is None else out * self.scale
        out = out if self.bias is None else out + self.bias
        return out.reshape(*x.shape[:-1], -1)


def with_narrow_products(hf_model, int8: bool):
    """A copy with the same tensors and encoder, whose decoder and output head multiply as `NarrowLinear` does."""
    kept = chain(hf_model.parameters(), hf_model.buffers(), [hf_model.get_encoder()])
    shared = {id(each): each for each in kept}
    twin = copy.deepcopy(hf_model, shared)
    for module in list(twin.get_decoder().modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, NarrowLinear(child, int8))
    twin.set_output_embeddings(NarrowLinear(twin.get_output_embeddings(), int8))
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


def compiled(step, backend, device: torch.device):
    """`torch.compile` for a step whose inputs differ in nothing but the token ids.

    The model, the buffers and the width never change, so nothing has to be checked at each call.
    """
    options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if device.type == "cuda":
        options["triton.cudagraphs"] = True  # a step is recorded and replayed whole
    else:
        options["cpp.enable_floating_point_contract_flag"] = "fast"  # a product and its sum in one instruction
        options["realize_reads_threshold"] = 0  # positions are computed once, not again for each row of weights
    if backend != "inductor":  # others take no options
        options = None
    return torch.compile(step, backend=backend, dynamic=False, fullgraph=True, isolate_recompiles=True, options=options)
