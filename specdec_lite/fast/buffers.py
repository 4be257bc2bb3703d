"""The same cursor on buffers of fixed size, so that each kind of step is compiled once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from ..decoder import CachedDecoder, EncodedSource, EncoderStates
from ..inputs import Source
from ..models import Seq2Seq
from .narrow import narrow_twin


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
        self.cursor_kind = StaticDecoder
        self.lent = SimpleNamespace(to=None)  # shared with copies of this model, as the buffers are
        longest = len(self.prompt) - 1 + max_new_tokens  # the last token is never fed
        self.max_target_length = min(longest, model.max_target_length or longest)
        self.max_source_length = min(max_source_tokens, model.max_source_length or max_source_tokens)
        config = self.hf_model.get_decoder().config
        # A step that is wider than what it is fed writes behind the last token, so there must be room.
        own, cross = StaticCache(config, longest + max(widths)), StaticCache(config, max_source_tokens)
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
        """A cursor on the buffers; `with_cursor` takes a kind that is called with this model alone."""
        return self.cursor_kind(self)

    def source(self, sources: Sequence[Source]) -> EncodedSource:
        if len(sources) > 1:
            name = type(self.hf_model).__name__
            expected = f"expected one, for the compiled steps of {name} serve one row; the pair as it was serves a list"
            raise ValueError(f"source is a list of {len(sources)}: {expected}")
        return super().source(sources)

    def step(self, token_ids: Tensor, cache: EncoderDecoderCache | None = None) -> Tensor:
        """What is compiled: one pass over ``(1, n)`` tokens to ``(1, n, vocab)``, behind those that the cache holds."""
        return self.hf_model(
            encoder_outputs=EncoderStates(last_hidden_state=self.states),
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
            cursor.start({"input_ids": torch.zeros(1, 1, dtype=torch.long, device=self.device)})
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
        if states.shape[1] > self.model.mask.shape[1]:
            expected = f"expected at most max_source_tokens={self.model.mask.shape[1]}"
            raise ValueError(f"source has {states.shape[1]} positions: {expected}")
        if self.attention_mask is not None and not self.attention_mask.all():
            raise ValueError("attention_mask hides some positions: expected a source without padding")
        self.model.set_source(states)
        self.model.lent.to, self.written = self, None  # written: where the buffers' own counters stand
        return self.model.cache

    def forward(self, rows: Tensor) -> Tensor:
        if self.model.lent.to is not self:
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
