"""The same cursor on buffers of fixed size, so that each kind of call is compiled once."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from types import FunctionType, SimpleNamespace

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from ..checking import decide
from ..decoder import CachedDecoder, EncodedSource, EncoderStates
from ..drafting.base import Block
from ..inputs import Source
from ..models import Seq2Seq
from ..sampling import wide
from ..selfcheck import TOLERANCE, made_up_states, off_by, same_but_for_rounding
from ..verification import TokenRule
from .layers import Buffers, quick_encoder, with_one_call
from .narrow import narrow_twin
from .padded import padded_encoder
from .rounds import CompiledChecker, CompiledDraft, Given, adjusted


class CompiledSeq2Seq(Seq2Seq):
    """A model with fixed buffers, and a compiled call for each width.

    The buffers serve one generation at a time: the cursor that started last owns them. They have a position for each of
    an encoder's states: of a text there are as many as it has tokens.

    Parameters
    ----------
    whole : bool
        Every source fills the buffers: so it must be where a decoder cannot be told where a source ends (Whisper).

    Attributes
    ----------
    read : callable
        Makes a new source's keys and values.
    checks : dict of int to callable
        Width n to `check`, compiled: a pass over n tokens, and a round's verdict.
    blocks : dict of int to callable
        gamma to `draft`, compiled: gamma passes over one token each.
    """

    def __init__(
        self,
        model: Seq2Seq,
        widths,
        gammas=(),
        *,
        max_new_tokens: int,
        max_source_tokens: int,
        whole: bool = False,
        rounded: torch.dtype | None = None,
        backend="inductor",
    ):
        self.__dict__.update(model.__dict__)  # the same tokenizer and rules
        self.passes, self.whole, self.backend = self.hf_model, whole, backend
        self.cursor_kind, self.checker_kind, self.proposer_kind = StaticDecoder, CompiledChecker, CompiledDraft
        self.lent = SimpleNamespace(to=None)  # shared with copies of this model, as the buffers are
        # A call that is wider than what it is fed writes behind the last token, so there must be room.
        spare, longest = max([*widths, *gammas]), len(self.prompt) - 1 + max_new_tokens  # the last token is never fed
        self.max_target_length = min(longest, (model.max_target_length or longest + spare) - spare)
        if self.reader.name == "input_ids" or hasattr(self.hf_model, "_get_feat_extract_output_lengths"):  # told early
            self.max_source_length = min(max_source_tokens, model.max_source_length or max_source_tokens)
        config = self.hf_model.get_decoder().config
        own, cross = StaticCache(config, longest + spare), StaticCache(config, max_source_tokens)
        self.cache = EncoderDecoderCache(own, cross)
        self.states = torch.zeros_like(made_up_states(self.hf_model, max_source_tokens))
        self.mask = torch.zeros(1, max_source_tokens, dtype=torch.long, device=self.device)
        self.start_ids = torch.tensor([[self.start_token]], device=self.device)
        with torch.inference_mode():
            self.evaluate()
            logits = self.step(self.start_ids)  # makes the buffers: what is compiled must find them in their place
            p = adjusted(logits, torch.ones(1, device=self.device))
            self.nothing = {n: p.new_zeros(1, n, self.vocab_size) for n in widths}  # the q of no draft
            self.prove_buffers()
            if rounded or self.device.type == "cpu":
                self.hf_model = narrow_twin(model.hf_model, rounded)
            self.passes, stack = self.proved()
        self.read = partial(stack.read, self.states) if stack else compiled(self.make_source_keys, backend, self.device)
        self.checks = {n: compiled(self.check, backend, self.device, self.in_one_call) for n in sorted(widths)}
        self.blocks = {
            n: compiled(partial(self.draft, n), backend, self.device, self.in_one_call) for n in sorted(gammas) if n
        }

    @property
    def in_one_call(self) -> bool:
        """Whether a pass runs the decoder's layers as one operator (`layers`)."""
        return self.passes is not self.hf_model

    def cursor(self) -> StaticDecoder:
        """A cursor on the buffers; `with_cursor` takes a kind that is called with this model alone."""
        return self.cursor_kind(self)

    def source(self, sources: Sequence[Source]) -> EncodedSource:
        if len(sources) > 1:
            name = type(self.hf_model).__name__
            expected = f"expected one, for the compiled steps of {name} serve one row; the pair as it was serves a list"
            raise ValueError(f"source is a list of {len(sources)}: {expected}")
        encoded = super().source(sources)
        encoded.encoder = lambda **inputs: self.encoder(**inputs)  # made when it is needed
        return encoded

    @cached_property
    def encoder(self) -> torch.nn.Module:
        """What reads a source; a draft that shares its target's encoder never asks."""
        encoder, longest = self.hf_model.get_encoder(), self.mask.shape[1]
        if self.reader.name != "input_ids":
            return encoder
        if self.device.type == "cuda":
            return padded_encoder(encoder, longest, partial(compiled, backend=self.backend, device=self.device))
        return quick_encoder(encoder, longest)

    def step(self, token_ids: Tensor, cache: EncoderDecoderCache | None = None) -> Tensor:
        """One pass over ``(1, n)`` tokens to ``(1, n, vocab)``, behind those that the cache holds."""
        model = self.passes if cache is None else self.hf_model
        return model(
            encoder_outputs=EncoderStates(last_hidden_state=self.states, attention_mask=self.mask),
            attention_mask=self.mask,  # a family looks for it here or there
            decoder_input_ids=token_ids,
            past_key_values=self.cache if cache is None else cache,
            use_cache=True,
        ).logits

    def trial(self, passes) -> Tensor:
        """Logits of three tokens on the buffers, and of the last of them once more: it is taken back and fed again."""
        self.passes, few = passes, self.few
        self.set_length(torch.tensor(0))
        first = self.step(few)
        self.set_length(torch.tensor(2))
        return torch.cat([first, self.step(few[:, 2:])], 1)

    @property
    def few(self) -> Tensor:
        return torch.arange(3, device=self.device)[None] % self.vocab_size

    @property
    def trial_sources(self) -> list[Tensor]:
        """Encoder states of two lengths; of one, where every source fills the buffers."""
        full = self.mask.shape[1]
        states = made_up_states(self.hf_model, full)
        return [states[:, :n] for n in ([full] if self.whole else [full, (full + 1) // 2])]

    def prove_buffers(self) -> None:
        """Raise a ValueError unless a model gives on the buffers what its usual cursor gives."""
        for states in self.trial_sources:
            usual = CachedDecoder(self.hf_model)
            usual.start(read_already(self.hf_model, states))
            expected = usual.extend(self.few)
            usual.rollback(2)
            expected = torch.cat([expected, usual.extend(self.few[:, 2:])], 1)
            self.fill(states)
            self.make_source_keys()
            off = float(off_by(self.trial(self.hf_model), expected).max())
            if off > TOLERANCE.get(self.dtype, 0.2):
                raise ValueError(f"on buffers of fixed size it computes other logits, {off:.2g} of their spread")

    def proved(self):
        """A model that computes what `hf_model` does, with its layers in one call, and these layers; else that itself.

        It is tried on sources of two lengths, and on a text that is taken back by one.
        """

        def same(twin, stack, states: Tensor) -> bool:
            self.fill(states)
            self.make_source_keys()
            expected = self.trial(self.hf_model)
            for layer in theirs:
                layer.keys.zero_(), layer.values.zero_()
            stack.read(self.states)
            return same_but_for_rounding(self.trial(twin), expected)

        mine, theirs = self.cache.self_attention_cache.layers, self.cache.cross_attention_cache.layers
        buffers = [Buffers(one.keys, one.values, two.keys, two.values) for one, two in zip(mine, theirs)]
        place = mine[0].cumulative_length
        for twin, stack in with_one_call(self.hf_model, lambda it: it.get_decoder(), buffers, place, self.mask):
            with suppress(Exception):  # a family may hand on more between its layers: then it is not this kind
                if all(same(twin, stack, states) for states in self.trial_sources):
                    return twin, stack
        return self.hf_model, None

    def check(self, fed: Tensor, q: Tensor, uniforms: Tensor, temperature: Tensor, start: Tensor):
        """What is compiled for a round's check: `decide` ``(1, 2 + 3 n)``, p and logits ``(1, n + 1, vocab)``.

        fed ``(1, n + 1)`` are the last known token and the drafted ones, q ``(1, n + 1, vocab)`` is as in a `Block`,
        uniforms ``(1 + 2 n,)`` as in `Draws`; start is the position of the first token fed.
        """
        self.set_length(start)
        logits = self.step(fed)
        p = adjusted(logits, temperature)
        block = Block(fed[:, 1:], q, [], "", torch.zeros_like(fed[:, 1:], dtype=torch.bool))
        return decide(p, block, TokenRule(), Given(uniforms), []), p, logits

    def draft(self, gamma: int, fed: Tensor, known: Tensor, uniforms: Tensor, temperature: Tensor, start: Tensor):
        """What is compiled for a block of guesses: tokens ``(1, gamma)``, q ``(1, gamma + 1, vocab)``, 0 at its end.

        fed ``(1, 2)`` begins with the one or two tokens that the draft has not seen, `known` ``(1,)`` says how many.
        """
        draws, tokens, probs = Given(uniforms), [], []
        self.set_length(start)
        logits = self.step(fed).index_select(1, known - 1)
        for slot in range(gamma):
            probs.append(adjusted(logits, temperature))
            tokens.append(draws.guesses(probs[-1][:, 0], [], slot)[:, None])
            if slot < gamma - 1:
                self.set_length(start + known[0] + slot)
                logits = self.step(tokens[-1])
        return torch.cat(tokens, 1), torch.cat([*probs, torch.zeros_like(probs[0])], 1)

    def make_source_keys(self) -> None:
        """What is compiled to read a source: a step of which nothing is kept but the source's keys and values.

        The compiler leaves out what nobody uses, and that is all the rest. So this works for every family.
        """
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        cache.cross_attention_cache = self.cache.cross_attention_cache
        self.step(self.start_ids, cache)

    def set_length(self, length: Tensor) -> None:
        """Move the position at which the next token is written. What lies behind it is masked."""
        for layer in self.cache.self_attention_cache.layers:
            layer.cumulative_length.copy_(length)

    def set_source(self, states: Tensor) -> None:
        """Copy an encoder's output into the buffer and make its keys and values. What lies behind it is masked."""
        self.fill(states)
        self.read()

    def fill(self, states: Tensor) -> None:
        """Copy an encoder's output into the buffer, to be read."""
        n = states.shape[1]
        self.states[:, :n], self.mask[:] = states, torch.arange(self.mask.shape[1], device=self.device) < n
        for layer in self.cache.cross_attention_cache.layers:
            layer.cumulative_length.zero_()

    @torch.inference_mode()
    def warm_up(self) -> float:
        """Compile every call, and return the seconds it took."""
        began = time.perf_counter()
        if self.device.type == "cuda":
            self.encoder.eval()  # made, and compiled, when it is first asked for
        cursor, source = self.cursor(), read_already(self.hf_model, self.trial_sources[-1])
        for _ in range(3):  # with CUDA graphs the second call records, and the third is the first to replay
            cursor.start(source)
            for n in self.checks:
                cursor.rollback(0)
                cursor.extend([self.start_token] * n)
            for gamma in self.blocks:
                cursor.rollback(0)
                numbers = torch.zeros(1 + 2 * gamma, dtype=wide(self.device), device=self.device)
                cursor.draft(gamma, [self.start_token], numbers, 1.0)
        return time.perf_counter() - began


class StaticDecoder(CachedDecoder):
    """A `CachedDecoder` on a compiled model's buffers: rollback moves an index, and nothing is copied."""

    def __init__(self, model: CompiledSeq2Seq):
        super().__init__(model.hf_model)
        self.model = model

    def empty_cache(self) -> EncoderDecoderCache:
        """The model's buffers, from now on this cursor's. They refuse a source that does not fit, or a padded text."""
        states, longest = self.without_padding(), self.model.mask.shape[1]
        found, name = f"source has {states.shape[1]} positions", type(self.hf_model).__name__
        if self.model.whole and states.shape[1] != longest:
            raise ValueError(f"{found}: expected {longest}, of which no mask of {name} hides one")
        if states.shape[1] > longest:
            raise ValueError(f"{found}: expected at most max_source_tokens={longest}")
        self.model.set_source(states)
        self.model.lent.to = self
        return self.model.cache

    def without_padding(self) -> Tensor:
        """The encoder's states, less those at their end that its decoder would not be shown."""
        states, mask = self.encoder_outputs.last_hidden_state, self.encoder_outputs.attention_mask
        mask = self.attention_mask if mask is None else mask
        if mask is None or self.model.whole or mask.all():
            return states
        n = int(mask.sum())
        if self.model.reader.name == "input_ids" or mask.shape[1] != states.shape[1] or not mask[:, :n].all():
            raise ValueError("attention_mask hides some positions: expected a source without padding")
        return states[:, :n]

    def forward(self, rows: Tensor) -> Tensor:
        n = rows.shape[1]
        width = min((w for w in self.model.checks if w >= n), default=None)
        if width is not None:
            uniforms = torch.zeros(2 * width - 1, dtype=wide(self.device), device=self.device)
            return self.run(self.model.checks[width], rows, width, None, uniforms, 1.0)[2][:, :n]
        self.check_turn()
        self.model.set_length(torch.tensor(self.length, device=self.device))
        return self.model.step(rows)

    def check(self, rows: Tensor, q: Tensor | None, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """`CompiledSeq2Seq.check` of tokens ``(1, n + 1)``, in a call that is at least as wide: its verdict and p."""
        width = min(w for w in self.model.checks if w >= rows.shape[1])
        decided, p, _ = self.run(self.model.checks[width], rows, width, q, uniforms[: 2 * width - 1], temperature)
        self.length, self.passes = self.length + rows.shape[1], self.passes + 1
        return decided, p

    def draft(self, gamma: int, known: Sequence[int], uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """`CompiledSeq2Seq.draft` of gamma tokens behind those known, one or two: the tokens and their q."""
        self.check_turn()
        fed = torch.tensor([[*known, self.filler][:2]], device=self.device)
        n, start = torch.tensor([len(known)], device=self.device), torch.tensor(self.length, device=self.device)
        drafted = self.model.blocks[gamma](fed, n, uniforms[: 1 + 2 * gamma], self.number(temperature), start)
        self.length, self.passes = self.length + len(known) + gamma - 1, self.passes + gamma
        return drafted

    def run(self, check, rows: Tensor, width: int, q: Tensor | None, uniforms: Tensor, temperature: float):
        """One compiled call. What it is fed has its full width: what is compiled knows shapes and strides."""
        self.check_turn()
        fed = rows.new_full((1, width), self.filler)
        fed[:, : rows.shape[1]] = rows
        if q is None:
            q = self.model.nothing[width]
        elif q.shape[1] < width:
            q = pad(q, (0, 0, 0, width - q.shape[1]))
        start = torch.tensor(self.length, device=self.device)
        return check(fed, q, uniforms, self.number(temperature), start)

    def number(self, value: float) -> Tensor:
        return torch.tensor([value], dtype=wide(self.device), device=self.device)

    def check_turn(self) -> None:
        if self.model.lent.to is not self:
            raise RuntimeError("another cursor has started on this compiled model: it serves one generation at a time")

    def crop(self, length: int) -> None:
        """Nothing to do: the next call overwrites what lies behind `length`."""


def read_already(hf_model, states: Tensor) -> EncodedSource:
    """A source whose encoder states are given."""
    source = EncodedSource(hf_model, [{"states": states}])
    source.encoder = lambda states, **_: EncoderStates(last_hidden_state=states)
    return source


def compiled(call, backend, device: torch.device, short: bool = False):
    """`torch.compile` for a call whose inputs never change their shapes.

    The model, the buffers and the width are always the same, so nothing has to be checked at each call. A short call,
    of few operators, is worth a wrapper in C++: that takes longer to compile.
    """
    options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    isolates = "isolate_recompiles" in inspect.signature(torch.compile).parameters  # since torch 2.13
    if device.type == "cuda":
        options["triton.cudagraphs"] = True  # a call is recorded and replayed whole
    else:
        options["cpp.enable_floating_point_contract_flag"] = "fast"  # a product and its sum in one instruction
        options["cpp_wrapper"], options["size_asserts"] = short and isolates, False
        options["realize_reads_threshold"] = 0  # positions are computed once, not again for each row of weights
    if backend != "inductor":  # others take no options
        options = None
    apart = {"isolate_recompiles": True} if isolates else {}
    call = call if isolates else with_code_of_its_own(call)
    return torch.compile(call, backend=backend, dynamic=False, fullgraph=True, options=options, **apart)


def with_code_of_its_own(call):
    """The same call behind a function that no other call shares its code with.

    What torch compiles it keeps with a function's code. As nothing is checked at a call, another width that had the
    same code would be served what was compiled for the first.
    """

    def own(*args):
        return call(*args)

    return FunctionType(own.__code__.replace(), own.__globals__, own.__name__, None, own.__closure__)
