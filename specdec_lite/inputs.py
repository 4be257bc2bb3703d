"""One source to the inputs of an encoder: text, audio or a picture, by way of what the checkpoint brings for it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from operator import index

import numpy as np
import torch
from torch import Tensor

AUDIO, IMAGE = ("input_features", "input_values"), ("pixel_values", "flattened_patches")

Source = str | Sequence[int] | Mapping[str, Tensor] | np.ndarray | Tensor  # or a PIL image


def as_batch(source) -> tuple[list, bool]:
    """The sources of a call, and whether there was a list of them: a list of whole numbers is one source."""
    many = isinstance(source, (list, tuple)) and not (len(source) and isinstance(source[0], Integral))
    if many and not len(source):
        raise ValueError("source is an empty list: expected one source, or a list of one or more")
    return (list(source), True) if many else ([source], False)


class SourceReader:
    """Turns one source into encoder inputs, or says what is wrong with it.

    Parameters
    ----------
    hf_model : transformers.PreTrainedModel
    processor : optional
        A tokenizer, or a processor that holds one beside its feature extractor or image processor.
    prefix : str
        Put before every text.

    Attributes
    ----------
    name : str
        The encoder's main input: "input_ids", "input_features", "input_values", "pixel_values" ...
    known : list of str
        All that the encoder takes.
    max_length : int or None
        Longest source, in tokens or in positions behind the convolutions of a speech encoder.
    """

    def __init__(self, hf_model, processor=None, prefix: str = ""):
        self.hf_model, self.processor, self.prefix = hf_model, processor, prefix
        self.tokenizer = processor if hasattr(processor, "get_vocab") else getattr(processor, "tokenizer", None)
        encoder = hf_model.get_encoder()
        self.name, self.known = main_input(hf_model), known_inputs(encoder)
        self.max_length = source_limit(hf_model, self.name, self.tokenizer)
        if self.name == "input_ids":
            self.vocab_size = source_vocabulary(hf_model, encoder)

    def __call__(self, source: Source, max_length: int | None) -> dict[str, Tensor]:
        """Inputs with a batch dimension of 1, on the model's device, floating ones in the model's dtype."""
        inputs = self._read(source)
        self._check(inputs, max_length)
        device, dtype = self.hf_model.device, self.hf_model.dtype
        return {name: value.to(device, dtype if value.is_floating_point() else None) for name, value in inputs.items()}

    def _read(self, source: Source) -> dict[str, Tensor]:
        if isinstance(source, Mapping):
            if self.name in AUDIO and "array" in source:
                return self._read_audio(source["array"], source.get("sampling_rate"))
            return self._read_inputs(source)
        if self.name in AUDIO:
            return self._read_audio(source)
        if self.name in IMAGE:
            return self._read_image(source)
        if isinstance(source, str):
            return self._read_text(source)
        return {"input_ids": torch.tensor([self._check_ids(source)])}

    def _read_inputs(self, source: Mapping) -> dict[str, Tensor]:
        unknown = [name for name in source if name not in self.known]
        if unknown or not {self.name, "inputs_embeds"} & set(source):
            found = f"the unknown key {unknown[0]!r}" if unknown else f"the keys {sorted(source)}"
            raise ValueError(f"source has {found}: expected {self.name}, and else only {', '.join(self.known)}")
        inputs = {}
        for name in sorted(source, key=lambda name: name not in (self.name, "inputs_embeds")):  # the main one first
            value = source[name]
            try:
                inputs[name] = torch.as_tensor(value)
            except (TypeError, ValueError, RuntimeError):
                raise TypeError(f"source[{name!r}]={shorten(value)}: expected a tensor") from None
        return inputs

    def _read_text(self, text: str) -> dict[str, Tensor]:
        if self.tokenizer is None:
            raise TypeError(f"source={shorten(text)}: expected token ids, since this model has no tokenizer")
        if not text.strip():
            raise ValueError(f"source={text!r}: expected a text that is not empty")
        return self._select(self.tokenizer(self.prefix + text, return_tensors="pt", return_attention_mask=False))

    def _read_audio(self, samples, rate: int | None = None) -> dict[str, Tensor]:
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        wanted = getattr(extractor, "sampling_rate", None)
        if wanted is None or not isinstance(samples, (np.ndarray, Tensor)):
            array = "" if wanted is None else f"a 1-D float array at {wanted} Hz, or "
            raise TypeError(f"source={shorten(samples)}: expected audio, {array}a dict that holds {self.name}")
        samples = np.asarray(samples.cpu() if isinstance(samples, Tensor) else samples)
        if samples.ndim != 1 or not len(samples) or samples.dtype.kind != "f":
            raise ValueError(
                f"source is an array of shape {samples.shape} and type {samples.dtype}: "
                f"expected audio samples, 1-D and floating"
            )
        if rate not in (None, wanted):
            raise ValueError(f"source has sampling_rate={rate!r}: expected {wanted}")
        longest = getattr(extractor, "n_samples", math.inf)  # Whisper's would cut the rest off without a word
        if len(samples) > longest:
            seconds = f"{len(samples) / wanted:.1f} s: expected at most {longest / wanted:g} s"
            raise ValueError(f"source is audio of {seconds} ({len(samples)} and {longest} samples)")
        return self._select(extractor(samples, sampling_rate=wanted, return_tensors="pt"))

    def _read_image(self, picture) -> dict[str, Tensor]:
        maker = getattr(self.processor, "image_processor", self.processor)
        if not hasattr(maker, "preprocess") or not hasattr(picture, "getbands"):  # the latter: a PIL image
            image = "a PIL image, or " if hasattr(maker, "preprocess") else ""
            raise TypeError(f"source={shorten(picture)}: expected a picture, {image}a dict that holds {self.name}")
        return self._select(maker(picture.convert("RGB"), return_tensors="pt"))

    def _select(self, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder takes of all that a tokenizer or a processor gives."""
        if self.name not in made:
            kind = type(self.processor).__name__
            raise ValueError(f"the {kind} gives {sorted(made)}: expected {self.name}, which this model reads")
        names = [self.name, *(name for name in made if name in self.known and name != self.name)]
        return {name: made[name] for name in names}

    def _check(self, inputs: dict[str, Tensor], max_length: int | None) -> None:
        name = self.name if self.name in inputs else "inputs_embeds"
        main, mask = inputs[name], inputs.get("attention_mask")
        for key, value in inputs.items():
            if value.ndim < 2 or not value.numel():
                raise ValueError(f"source[{key!r}] has shape {tuple(value.shape)}: expected (1, n, ...) with n >= 1")
            if len(value) != 1:
                raise ValueError(f"source is a batch of {len(value)}: expected one sequence (batch dimension 1)")
        if mask is not None and (mask.ndim != 2 or mask.shape[1] not in main.shape[1:]):
            raise ValueError(
                f"source['attention_mask'] has shape {tuple(mask.shape)}: "
                f"expected one number for each position of {name}, which has shape {tuple(main.shape)}"
            )
        if name == "input_ids":
            self._check_ids(main[0].tolist())
        self._check_length(main, max_length)

    def _check_length(self, main: Tensor, max_length: int | None) -> None:
        config, length = self.hf_model.config, main.shape[1]
        if config.model_type == "whisper":  # its encoder reads windows of one length
            window = 1, config.num_mel_bins, 2 * config.max_source_positions
            if main.shape != window:
                raise ValueError(f"source[{self.name!r}] has shape {tuple(main.shape)}: expected {window}")
        elif max_length is not None:
            if self.name != "input_ids":
                length = int(self.hf_model._get_feat_extract_output_lengths(torch.tensor(length)))
            if length > max_length:
                kind = "tokens" if self.name == "input_ids" else "positions"
                raise ValueError(f"source has {length} {kind}: expected at most {max_length}")

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        try:
            if isinstance(ids, (bytes, bytearray, str)) or not hasattr(ids, "__len__"):  # a generator is read once only
                raise TypeError
            ids = [index(i) for i in ids]
        except (TypeError, ValueError):
            raise TypeError(
                f"source={shorten(ids)}: expected a string, a list of token ids, or a dict of encoder inputs"
            ) from None
        wrong = [i for i in ids if not 0 <= i < self.vocab_size]
        if not ids or wrong:
            found = f"token id {wrong[0]}" if wrong else "an empty list"
            raise ValueError(f"source holds {found}: expected one or more ids in 0..{self.vocab_size - 1}")
        return ids


def main_input(hf_model) -> str:
    """The model's word for what its encoder reads; where it is of two parts (speech, text), the encoder's word."""
    encoder = hf_model.get_encoder()
    names = hf_model.main_input_name, getattr(encoder, "main_input_name", None)
    return next((name for name in names if name in known_inputs(encoder)), names[0])


def known_inputs(encoder) -> list[str]:
    """The names of the tensors that an encoder reads; some encoders would swallow any other name without a word."""
    other = ("past_key_values", "use_cache", "return_dict", "bool_masked_pos", "mm_encoder_outputs")
    parameters = inspect.signature(encoder.forward).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    names = [
        name for name in names if name not in other and not name.startswith(("output_", "encoder_", "interpolate"))
    ]
    return names if "attention_mask" in names else [*names, "attention_mask"]


def source_limit(hf_model, name: str, tokenizer) -> int | None:
    """Longest source: learned positions end somewhere; relative ones (T5) end where the tokenizer says."""
    config = getattr(hf_model.get_encoder(), "config", hf_model.config)
    if name == "input_ids":
        limits = [getattr(config, f"max_{kind}position_embeddings", None) for kind in ("encoder_", "")]
        told = getattr(tokenizer, "model_max_length", math.inf)
        return next(filter(None, limits), int(told) if told < 1e9 else None)
    counts = hasattr(hf_model, "_get_feat_extract_output_lengths")
    return getattr(config, "max_source_positions", None) if counts else None


def source_vocabulary(hf_model, encoder) -> int:
    """How many tokens a source may be made of; a few models read another vocabulary than they write."""
    embeddings = encoder.get_input_embeddings() if hasattr(encoder, "get_input_embeddings") else None
    return (hf_model.get_input_embeddings() if embeddings is None else embeddings).weight.shape[0]


def shorten(value) -> str:
    """What an error shows of a value."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and math.prod(value.shape) > 8:
        return f"{type(value).__name__} of shape {tuple(value.shape)} and type {value.dtype}"
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
