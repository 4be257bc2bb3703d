"""How much memory a call needs, before it is made: what fits on a card of 6 GB?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from .checks import check_integer
from .decoder import EncoderStates
from .loading import parse_dtype


@dataclass(frozen=True)
class MemoryBudget:
    """What is held at once, in bytes, when the texts of a batch have reached their limit.

    Attributes
    ----------
    weights : int
        All models' parameters and buffers; those that they share count once.
    self_cache : int
        Keys and values of the texts, in every model and row.
    cross_cache : int
        Keys and values of the sources, in every model and row.
    states : int
        What the encoders say of the sources: once, and once more in each cursor.
    probabilities : int
        The logits of a check, and in float32 the same divided by the temperature, p and q. Top-p about doubles it.
    """

    weights: int
    self_cache: int
    cross_cache: int
    states: int
    probabilities: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def memory_budget(
    target,
    *drafts,
    source_length: int,
    max_new_tokens: int = 64,
    batch_size: int = 1,
    gamma: int = 4,
    dtype: str | torch.dtype | None = None,
    prompt_length: int = 1,
) -> MemoryBudget:
    """The memory that a call of one of the loops needs, by the shapes of the models alone.

    Left out is what a pass needs on the way and gives back (activations): little for a few tokens, but much for an
    encoder that reads a long source. So are torch itself, the room that its allocator keeps, and on a GPU the workspace
    of its library for products, some 30 MB.

    Parameters
    ----------
    target, *drafts : Seq2Seq or transformers.PreTrainedModel
        ``memory_budget(*pair, ...)`` for a pair; the target alone for plain decoding or copies. A model without weights
        will do: make it from its configuration within ``torch.device("meta")``.
    source_length : int
        Positions that the encoder gives: tokens of a text; 1500 for Whisper.
    max_new_tokens, batch_size, gamma : int
        As in the call; gamma = 0 for plain decoding.
    dtype : str or torch type, optional
        What the weights would be stored in; by default what they are stored in.
    prompt_length : int
        Decoder tokens before the first generated one.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected.
    """
    lengths = {"source_length": source_length, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    for name, value in (lengths | {"prompt_length": prompt_length}).items():
        check_integer(name, value, minimum=1)
    gamma, dtype = check_integer("gamma", gamma, minimum=0), None if dtype is None else parse_dtype(dtype)
    models = [hf_model_of(model) for model in (target, *drafts)]
    caches = [cached_numbers(model) for model in models]
    sizes = [(dtype or model.dtype).itemsize for model in models]
    fed = prompt_length + max_new_tokens - 1  # the last token is never fed
    own, cross = (sum(numbers[i] * size for numbers, size in zip(caches, sizes)) for i in (0, 1))
    encoders = {id(model.get_encoder()): model for model in models}.values()
    widths = [encoder_width(model) * size for model, size in zip([*models, *encoders], [*sizes, *sizes])]
    exact = max(4, sizes[0])  # probabilities are in float32 or better
    vocab = models[0].get_output_embeddings().weight.shape[0]
    return MemoryBudget(
        weights=weight_bytes(models, dtype),
        self_cache=batch_size * fed * own,
        cross_cache=batch_size * source_length * cross,
        states=batch_size * source_length * sum(widths),
        probabilities=batch_size * (gamma + 1) * vocab * (sizes[0] + 3 * exact),
    )


def hf_model_of(model):
    found = getattr(model, "hf_model", model)
    if not getattr(getattr(found, "config", None), "is_encoder_decoder", False):
        raise TypeError(f"{model!r:.80}: expected a Seq2Seq, or an encoder-decoder model of transformers")
    return found


def weight_bytes(models: Iterable, dtype: torch.dtype | None = None) -> int:
    """Every tensor of the models once, whoever shares it; floating ones as if they were of this dtype."""
    tensors = {}
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            tensors[tensor.data_ptr() or id(tensor)] = tensor  # on "meta" there is no address
    return sum(tensor.numel() * stored(tensor, dtype).itemsize for tensor in tensors.values())


def stored(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def encoder_width(hf_model) -> int:
    return getattr(hf_model.get_encoder(), "config", hf_model.config).get_text_config().hidden_size


@torch.inference_mode()
def cached_numbers(hf_model) -> tuple[int, int]:
    """How many numbers the decoder's caches hold for one token, and for one position of the source.

    One token is fed to an empty cache, so that no family's names for its sizes have to be known. On "meta" this
    computes nothing.
    """
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    states = torch.zeros(1, 1, encoder_width(hf_model), dtype=hf_model.dtype, device=hf_model.device)
    with all_layers(hf_model):
        hf_model(
            encoder_outputs=EncoderStates(last_hidden_state=states),
            decoder_input_ids=torch.zeros(1, 1, dtype=torch.long, device=hf_model.device),
            past_key_values=cache,
            use_cache=True,
        )
    own, cross = (
        sum(part.numel() for layer in each.layers for part in (layer.keys, layer.values))
        for each in (cache.self_attention_cache, cache.cross_attention_cache)
    )
    return own, cross


@contextmanager
def all_layers(hf_model) -> Iterator[None]:
    """No layer is dropped, as in training; and on "meta" no shortcut reads a mask, which has no numbers there."""
    training, attention = hf_model.training, hf_model.config._attn_implementation
    hf_model.eval()
    if hf_model.device.type == "meta":
        hf_model.set_attn_implementation("eager")
    try:
        yield
    finally:
        hf_model.train(training)
        if hf_model.device.type == "meta":
            hf_model.set_attn_implementation(attention)
