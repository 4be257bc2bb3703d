"""The cursor: a model with its encoder output and its KV cache, hidden behind a position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from .models import Seq2Seq
from .sampling import check_integer


class CachedDecoder:
    """Feeds new tokens to a decoder, never the prefix again, and can forget the last ones.

    Invariant: the logits equal those of a fresh pass without a cache, whatever extends and rollbacks came before.

    Attributes
    ----------
    length : int
        Number of decoder tokens in the cache, the start token included.
    passes, encoder_runs : int
        Forward passes so far.
    """

    def __init__(self, model: Seq2Seq):
        self.model, self.device = model, model.device
        self.length = self.passes = self.encoder_runs = 0
        self.cache = None

    @classmethod
    def on(cls, model: Seq2Seq) -> CachedDecoder:
        """A cursor on a model: of the model's own kind if it brings one (`compiled`), else of this one."""
        return getattr(model, "cursor", cls)(model)

    def start(self, inputs: dict[str, Tensor], encoder_outputs=None) -> None:
        """Run the encoder once and begin with an empty cache.

        `inputs` as `Seq2Seq.encode` returns them. With `encoder_outputs`, from a cursor that shares this encoder, it
        need not run.
        """
        self.cache = None
        self.attention_mask = inputs.get("attention_mask")
        if encoder_outputs is None:
            encoder_outputs = self.model.hf_model.get_encoder()(**inputs, return_dict=True)
            self.encoder_runs += 1
        self.encoder_outputs, self.length = encoder_outputs, 0
        self.cache = self.empty_cache()

    def empty_cache(self) -> EncoderDecoderCache:
        """One cache grows with the text; the other holds the source's keys, computed once and never cropped."""
        return EncoderDecoderCache(DynamicCache(), DynamicCache())

    def extend(self, token_ids: Tensor | Sequence[int]) -> Tensor:
        """Feed n new tokens in one forward pass and return ``(n, vocab)`` logits.

        Row i scores what follows the i-th token fed.
        """
        if self.cache is None:
            raise RuntimeError("extend was called before start: expected start(inputs) first")
        tokens = torch.as_tensor(token_ids, dtype=torch.long, device=self.device)
        if tokens.ndim != 1 or not len(tokens):
            raise ValueError(f"token_ids has shape {tuple(tokens.shape)}: expected (n,) with n >= 1")
        logits = self.forward(tokens)
        self.length += len(tokens)
        self.passes += 1
        return logits

    def forward(self, tokens: Tensor) -> Tensor:
        """The model's own forward, so that what a family does to its logits is done."""
        return self.model.hf_model(
            encoder_outputs=self.encoder_outputs,
            attention_mask=self.attention_mask,
            decoder_input_ids=tokens[None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[0]

    def rollback(self, length: int) -> None:
        """Keep the first `length` positions."""
        check_integer("length", length, minimum=0)
        if length > self.length:
            raise ValueError(f"length={length}: expected at most the {self.length} positions in the cache")
        if length < self.length:
            self.crop(length)
            self.length = length

    def crop(self, length: int) -> None:
        # transformers >= 5 takes the negative number of tokens to remove
        self.cache.self_attention_cache.crop(length - self.length)
