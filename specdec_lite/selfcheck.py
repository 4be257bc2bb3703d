"""Can several tokens be fed at once? Speculative decoding rests on it, and a few families of models cannot."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from .decoder import EncoderStates

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}  # of the logits' size
FAINT = 1e-5  # of the logits' size: no position counts for so little
REASON = "expected a decoder that can be fed several tokens at once (self_check=False leaves this check out)"


def check_blocks(hf_model, start: int, vocab_size: int) -> int | None:
    """Compare three cached tokens fed at once with the same three one by one; the middle one is the pad token.

    Returns
    -------
    The pad token if a block has to be cut behind it: some families (M2M100, NLLB, Seamless, Speech2Text) number their
    positions by counting the tokens that are not it. Else None.

    Raises
    ------
    ValueError
        The logits differ (no causal mask with a cache: FSMT), or the model refuses such a block (ProphetNet), or what
        it reads of its encoder is something else than the last states.
    """
    pad = hf_model.config.get_text_config(decoder=True).pad_token_id
    others = [i for i in range(min(vocab_size, 64)) if i not in (start, pad)]
    tokens = [others[0], others[1] if pad is None else pad, others[-1]]
    decoder = _Decoder(hf_model, start)
    try:
        alone = decoder.logits([[token] for token in tokens])
        once, split = (decoder.distance(alone, blocks) for blocks in ([tokens], [tokens[:2], tokens[2:]]))
        decoder.states *= -10
        deaf = torch.equal(alone[0], decoder.logits([tokens[:1]])[0])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model raises, it is why it cannot be used
        raise ValueError(f"hf_model={type(hf_model).__name__} fails with {error!r}: {REASON}") from error
    if max(split) > TOLERANCE.get(hf_model.dtype, 0.2):
        raise ValueError(f"hf_model={type(hf_model).__name__} computes other logits for a block: {REASON}")
    if deaf:  # such as PP-FormulaNet, which reads a pooled output
        raise ValueError(
            f"hf_model={type(hf_model).__name__} ignores its encoder's states: expected them to be all it reads"
        )
    # In half precision a position more or less is near rounding; but rounding is in both, and the position in one.
    # (Sums of other widths round differently, by some eps: what a position changes is more than that.)
    return pad if once[-1] > max(10 * split[-1], 2 * torch.finfo(hf_model.dtype).eps, FAINT) else None


def made_up_states(hf_model, length: int) -> Tensor:
    """Encoder states ``(1, length, width)`` to try a decoder on: no input is needed, and the encoder need not run."""
    config = getattr(hf_model.get_encoder(), "config", hf_model.config).get_text_config()
    # a generator of its own: a check must not move the caller's random state; on the processor, wherever that puts
    # its tensors (`with torch.device("cuda")`)
    numbers = torch.Generator("cpu").manual_seed(0)
    states = torch.randn(1, length, config.hidden_size, generator=numbers, device="cpu")
    return states.to(hf_model.device, hf_model.dtype)


def made_up_source(encoder, length: int) -> Tensor:
    """Token ids ``(1, length)`` to try an encoder on."""
    weight = encoder.get_input_embeddings().weight
    return (torch.arange(length, device=weight.device)[None] * 7 + 3) % len(weight)


def off_by(found: Tensor, expected: Tensor) -> Tensor:
    """How far each row is from the expected one, relative to the spread of that: ``(..., n)`` to ``(...,)``."""
    found, expected = found.double(), expected.double()
    return (found - expected).norm(dim=-1) / (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)


def same_but_for_rounding(found: Tensor, expected: Tensor) -> bool:
    """Whether every row is, and in it every number, up to what the dtype and another order of sums explain."""
    limit = TOLERANCE.get(expected.dtype, 0.2)
    every = torch.allclose(found, expected, rtol=limit, atol=limit * expected.std().item())
    return every and bool((off_by(found, expected) <= limit).all())


class _Decoder:
    """A decoder on encoder states drawn at random."""

    def __init__(self, hf_model, start: int):
        self.hf_model, self.start = hf_model, start
        self.states = made_up_states(hf_model, 4)

    @torch.inference_mode()
    def logits(self, blocks: list[list[int]]) -> Tensor:
        """``(tokens, vocab)``: feed the start token and then each block to an empty cache."""
        cache, rows = EncoderDecoderCache(DynamicCache(), DynamicCache()), []
        outputs = EncoderStates(last_hidden_state=self.states.clone())
        for block in [[self.start], *blocks]:
            ids = torch.tensor([block], device=self.hf_model.device)
            given = {"encoder_outputs": outputs, "past_key_values": cache, "use_cache": True}
            rows.append(self.hf_model(decoder_input_ids=ids, **given).logits[0])
        return torch.cat(rows[1:]).double()

    def distance(self, alone: Tensor, blocks: list[list[int]]) -> list[float]:
        """For each token, how far its logits are from those of the tokens one by one, relative to their spread.

        Where they are not finite nothing can be said: 0. The decoding loop will say it.
        """
        return torch.nan_to_num(off_by(self.logits(blocks), alone), 0.0).tolist()
