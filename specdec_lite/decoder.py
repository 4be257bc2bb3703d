"""The cursor: a decoder with its encoder output and its KV cache, hidden behind a position.

It needs a Hugging Face model and nothing else of this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput


@dataclass
class EncoderStates(BaseModelOutput):
    """What a decoder is given of its encoder: the states, and what a few families look for beside them."""

    attention_mask: Tensor | None = None  # over states, not inputs: Moonshine, Canary, UDOP
    router_logits: Tensor | None = None  # Switch and NLLB-MoE want to find it, and do nothing with it

    def select(self, rows: Tensor | slice) -> EncoderStates:
        """A copy of these rows: Moonshine's streaming decoder writes into the states it is given."""
        mask = None if self.attention_mask is None else self.attention_mask[rows]
        return EncoderStates(last_hidden_state=self.last_hidden_state[rows].clone(), attention_mask=mask)


class EncodedSource:
    """The sources of a batch, each read once by the encoder: what every cursor on them starts from.

    The encoder runs when the first cursor starts. Rows of one shape are read together; others alone, for an encoder
    can see padding (convolutions do). So each row's states are what they are when the row is alone.

    Parameters
    ----------
    hf_model : transformers.PreTrainedModel
    inputs : list of dict
        The encoder's inputs, one dict a row, the main one first, each tensor with a batch dimension of 1.
    sources : list, optional
        What the caller gave, for a draft that reads it in its own way.
    """

    def __init__(self, hf_model, inputs: Sequence[Mapping[str, Tensor]], sources: Sequence | None = None):
        self.hf_model, self.encoder, self.inputs = hf_model, hf_model.get_encoder(), list(inputs)
        self.sources = list(inputs if sources is None else sources)
        if not self.inputs or not all(isinstance(row, Mapping) and row for row in self.inputs):
            raise TypeError(f"inputs={inputs!r:.80}: expected a dict of encoder inputs for each row, one row or more")
        if len(self._alike()) > 1 and "attention_mask" not in signature(hf_model.forward).parameters:
            raise ValueError(
                f"source holds rows of {len(self._alike())} shapes: expected one, since {type(hf_model).__name__} "
                "cannot be told where a row's states end"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def outputs(self) -> EncoderStates:
        """The encoder's states ``(B, longest, width)``, 0 behind the end of a row, and their mask if one is needed."""
        states, masks, told = [None] * len(self), [None] * len(self), None
        groups = self._alike()
        for rows in groups:
            together = {name: torch.cat([self.inputs[i][name] for i in rows]) for name in self.inputs[rows[0]]}
            outputs = self.encoder(**together, return_dict=True)
            told = getattr(outputs, "attention_mask", None)
            for place, i in enumerate(rows):
                states[i] = outputs.last_hidden_state[place]
                masks[i] = _ones(states[i][None])[0] if told is None else told[place].long()
        if len(groups) == 1:
            return EncoderStates(last_hidden_state=torch.stack(states), attention_mask=told)
        longest = max(len(row) for row in states)
        states = torch.stack([pad(row, (0, 0, 0, longest - len(row))) for row in states])
        masks = torch.stack([pad(row, (0, longest - len(row))) for row in masks])
        return EncoderStates(last_hidden_state=states, attention_mask=masks)

    @cached_property
    def attention_mask(self) -> Tensor | None:
        """1 on what a row has, 0 behind it, ``(B, longest input)``; None if there is nothing to hide."""
        if len(self._alike()) == 1:
            masks = [inputs.get("attention_mask") for inputs in self.inputs]
            mask = None if masks[0] is None else torch.cat(masks)
            return None if mask is None or bool(mask.all()) else mask  # the encoder may want one that hides nothing
        masks = [inputs.get("attention_mask", _ones(next(iter(inputs.values())))) for inputs in self.inputs]
        longest = max(mask.shape[1] for mask in masks)
        return torch.cat([pad(mask, (0, longest - mask.shape[1])) for mask in masks])

    def same_inputs(self, other: EncodedSource) -> bool:
        """Whether both hold the same tensors under the same names."""
        pairs = list(zip(self.inputs, other.inputs, strict=True))
        return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)

    def _alike(self) -> list[list[int]]:
        """Row numbers, grouped by the names and shapes of their inputs."""
        groups: dict[tuple, list[int]] = {}
        for i, inputs in enumerate(self.inputs):
            groups.setdefault(tuple((name, tensor.shape) for name, tensor in inputs.items()), []).append(i)
        return list(groups.values())


def _ones(inputs: Tensor) -> Tensor:
    """A mask for one row: its second axis counts tokens, samples or frames."""
    return torch.ones(1, inputs.shape[1], dtype=torch.long, device=inputs.device)


class CachedDecoder:
    """Feeds new tokens to a decoder, never the prefix again, and can forget the last ones.

    Invariant: the logits equal those of a fresh pass without a cache, whatever extends and rollbacks came before.

    Parameters
    ----------
    hf_model : transformers.PreTrainedModel
    split_after : int, optional
        A token behind which a block is cut in two passes. Some families count only tokens that are not the pad token
        when they number positions; for them a block with a pad inside is not the same as its tokens one by one.

    Attributes
    ----------
    length : int
        Number of decoder tokens in the cache, the same for every row, the prompt included.
    passes : int
        Forward passes so far.
    filler : int
        A token to put where a row has none.
    """

    def __init__(self, hf_model, split_after: int | None = None):
        self.hf_model, self.device, self.split_after = hf_model, hf_model.device, split_after
        self.length = self.passes = 0
        self.filler = 1 if split_after == 0 else 0
        self.cache = None

    def start(self, source: EncodedSource | Mapping[str, Tensor]) -> None:
        """Begin with an empty cache. One row's encoder inputs will do as well: then they are encoded here."""
        if not isinstance(source, EncodedSource):
            source = EncodedSource(self.hf_model, [source])
        self.cache, self.length = None, 0
        self.encoder_outputs = source.outputs.select(slice(None))
        self.attention_mask = source.attention_mask
        self.cache = self.empty_cache()

    def empty_cache(self) -> EncoderDecoderCache:
        """One cache grows with the text; the other holds the source's keys, computed once and never cropped."""
        return EncoderDecoderCache(DynamicCache(), DynamicCache())

    def extend(self, token_ids: Tensor | Sequence) -> Tensor:
        """Feed n new tokens to every row in one forward pass: ``(B, n)`` to ``(B, n, vocab)`` logits.

        Column i scores what follows the i-th token fed. One row may come without its row axis, ``(n,)``; so do its
        logits then.
        """
        if self.cache is None:
            raise RuntimeError("extend was called before start: expected start(source) first")
        tokens = torch.as_tensor(token_ids, dtype=torch.long, device=self.device)
        rows, expected = tokens[None] if tokens.ndim == 1 else tokens, len(self.encoder_outputs.last_hidden_state)
        if rows.ndim != 2 or len(rows) != expected or not rows.shape[1]:
            raise ValueError(f"token_ids has shape {tuple(tokens.shape)}: expected ({expected}, n) with n >= 1")
        logits = [self.forward(part) for part in self.parts(rows)]
        self.length += rows.shape[1]
        self.passes += len(logits)
        logits = logits[0] if len(logits) == 1 else torch.cat(logits, 1)
        return logits[0] if tokens.ndim == 1 else logits

    def parts(self, rows: Tensor) -> Sequence[Tensor]:
        """The blocks of one forward pass each: almost always all of it."""
        if self.split_after is None or rows.shape[1] == 1:
            return [rows]
        ends = (rows[:, :-1] == self.split_after).any(0).nonzero()[:, 0] + 1
        return rows.tensor_split(ends.tolist(), 1)

    def forward(self, rows: Tensor) -> Tensor:
        """The model's own forward, so that what a family does to its logits is done."""
        return self.hf_model(
            encoder_outputs=self.encoder_outputs,
            attention_mask=self.attention_mask,
            decoder_input_ids=rows,
            past_key_values=self.cache,
            use_cache=True,
        ).logits

    def rollback(self, length: int) -> None:
        """Keep the first `length` positions."""
        if not 0 <= length <= self.length:
            raise ValueError(f"length={length}: expected at least 0 and at most the {self.length} positions fed")
        if length < self.length:
            self.crop(length)
            self.length = length

    def crop(self, length: int) -> None:
        # transformers >= 5 takes the negative number of tokens to remove
        self.cache.self_attention_cache.crop(length - self.length)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order: the others have finished."""
        index = torch.tensor(rows, device=self.device)
        self.cache.batch_select_indices(index)
        self.encoder_outputs = self.encoder_outputs.select(index)
        if self.attention_mask is not None:
            self.attention_mask = self.attention_mask[index]
