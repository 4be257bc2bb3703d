"""An encoder compiled for one length: on a GPU the many small calls of a short source take longer than their work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..decoder import EncoderStates
from ..selfcheck import made_up_source, same_but_for_rounding


class PaddedEncoder(nn.Module):
    """Reads one source of `longest` tokens or less. A shorter one is padded, its padding masked, its states cut.

    Parameters
    ----------
    encoder : torch.nn.Module
    longest : int
    compiled : callable
        Compiles a call whose inputs never change their shapes.
    """

    def __init__(self, encoder: nn.Module, longest: int, compiled: Callable):
        super().__init__()
        self.encoder, self.longest, self.call = encoder, longest, compiled(self.read)
        self.filler = encoder.config.pad_token_id or 0

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What is compiled."""
        return self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options) -> EncoderStates:
        rows, n = input_ids.shape
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        if rows > 1 or n > self.longest:
            return self.encoder(input_ids=input_ids, attention_mask=mask, **options)
        missing = (0, self.longest - n)
        states = self.call(pad(input_ids, missing, value=self.filler), pad(mask, missing))
        return EncoderStates(last_hidden_state=states[:, :n].clone())  # a replayed call writes over its last result


@torch.inference_mode()
def padded_encoder(encoder: nn.Module, longest: int, compiled: Callable) -> nn.Module:
    """The encoder compiled, if it then computes what it does, tried on three lengths; or, if not, the same encoder."""
    with suppress(Exception):  # what cannot be traced, or cannot be told where a source ends, stays as it is
        quick = PaddedEncoder(encoder, longest, compiled)
        # with CUDA graphs the first call compiles, the second is recorded, and from the third on they are replayed
        if all(same(quick, encoder, length) for length in (longest, (longest + 1) // 2, 1, longest)):
            return quick
    return encoder


def same(quick: PaddedEncoder, encoder: nn.Module, length: int) -> bool:
    source = made_up_source(encoder, length)
    return same_but_for_rounding(*(each(input_ids=source).last_hidden_state for each in (quick, encoder)))
