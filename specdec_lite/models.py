"""A Hugging Face encoder-decoder and its tokenizer behind one small face, and the pairs that ship or download."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING
from transformers.utils import logging

from .adjustment import Adjustment
from .checks import check_integer
from .decoder import CachedDecoder, EncodedSource
from .sampling import SamplingRule
from .settings import processors_for
from .texts import Text

POCKET_PAIR = Path(__file__).parent / "data" / "pocket_pair"

Source = str | Sequence[int] | Mapping[str, Tensor]


class Seq2Seq:
    """One encoder-decoder with what decoding needs to know about it.

    Parameters
    ----------
    hf_model : transformers.PreTrainedModel
        Any encoder-decoder with a language-model head: T5, BART, Marian, NLLB, Whisper ...
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        Needed for text in and text out; without it, sources are token ids.
    prefix : str, optional
        Put before every text source. By default the one the checkpoint's own configuration asks for.
    """

    def __init__(self, hf_model, tokenizer=None, prefix: str | None = None):
        config = getattr(hf_model, "config", None)
        if not getattr(config, "is_encoder_decoder", False):
            raise TypeError(
                f"hf_model={type(hf_model).__name__}: expected an encoder-decoder model (T5, BART, Marian ...)"
            )
        self.hf_model = hf_model.eval()
        self.tokenizer = tokenizer
        self.prefix = task_prefix(config) if prefix is None else prefix
        generation = hf_model.generation_config
        self.start_token = _first(generation.decoder_start_token_id, config.decoder_start_token_id)
        if self.start_token is None:
            raise ValueError("hf_model's configuration has decoder_start_token_id=None: expected a token id")
        self.eos_tokens = frozenset(_as_list(_first(generation.eos_token_id, config.eos_token_id)))
        self.vocab_size = hf_model.get_output_embeddings().weight.shape[0]
        self.max_source_length = source_limit(config, tokenizer)
        self.max_target_length = _first(
            getattr(config, "max_target_positions", None), getattr(config, "max_position_embeddings", None)
        )
        # What `generate` forces or forbids for this checkpoint, so that both decode from the same distribution.
        self.forced_first = generation.forced_bos_token_id
        self.forced_last = generation.forced_eos_token_id
        one_token_words = {word[0] for word in generation.bad_words_ids or [] if len(word) == 1} - self.eos_tokens
        self.forbidden = sorted({*(generation.suppress_tokens or []), *one_token_words})
        self.forbidden_first = sorted(generation.begin_suppress_tokens or [])

    def cursor(self) -> CachedDecoder:
        return self.cursor_kind(self.hf_model)

    cursor_kind = CachedDecoder

    def with_cursor(self, kind) -> Seq2Seq:
        other = copy.copy(self)
        other.cursor_kind = kind
        return other

    @property
    def prompt(self):
        return (self.start_token,)

    def source(self, sources) -> EncodedSource:
        return EncodedSource(self.hf_model, [self.encode(s) for s in sources], sources)

    def texts(self, rows: int, max_new_tokens: int) -> list[Text]:
        check_integer("max_new_tokens", max_new_tokens, minimum=1)
        texts = [Text(self.prompt, self.eos_tokens, max_new_tokens, row) for row in range(rows)]
        self.check_room(texts)
        return texts

    def check_room(self, texts) -> None:
        n = texts[0].limit - texts[0].prompt_length
        if self.max_target_length and texts[0].limit - 1 > self.max_target_length:
            raise ValueError(f"max_new_tokens={n}: expected at most the model's {self.max_target_length} positions")

    def adjustment(self, rule: SamplingRule, source, texts) -> Adjustment:
        options = {
            "prompt_length": texts[0].prompt_length,
            "max_new_tokens": texts[0].limit - texts[0].prompt_length,
            "vocab_size": self.vocab_size,
            "device": self.device,
        }
        config, rows = self.hf_model.generation_config, source.inputs
        return Adjustment(
            rule, [processors_for(config, encoder_input_ids=row.get("input_ids"), **options) for row in rows]
        )

    @property
    def device(self) -> torch.device:
        return self.hf_model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.hf_model.dtype

    @cached_property
    def vocabulary(self) -> dict[str, int] | None:
        """Piece to id, to compare two models' vocabularies once."""
        return None if self.tokenizer is None else self.tokenizer.get_vocab()

    def encode(self, source: Source) -> dict[str, Tensor]:
        """Encoder inputs with a batch dimension of 1, on the model's device.

        An attention mask without a zero is left out: it changes nothing, and making masks from it costs time.
        """
        if isinstance(source, str):
            inputs = self._encode_text(source)
        elif isinstance(source, Mapping):
            inputs = {name: torch.as_tensor(value) for name, value in source.items()}
        else:
            inputs = {"input_ids": torch.tensor([self._check_ids(source)])}
        self._check_inputs(inputs)
        mask = inputs.get("attention_mask")
        if mask is not None and bool(mask.all()):
            inputs.pop("attention_mask")
        return {name: value.to(self.device) for name, value in inputs.items()}

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text without special tokens; without a tokenizer, the ids themselves."""
        if self.tokenizer is None:
            return " ".join(map(str, token_ids))
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The string of each token, a leading space shown as a space."""
        if self.tokenizer is None:
            return [f" {token}" for token in token_ids]
        return [piece.replace("\u2581", " ") for piece in self.tokenizer.convert_ids_to_tokens(list(token_ids))]

    def constrain(self, logits: Tensor, position: int, last: int) -> Tensor:
        """Apply the checkpoint's forced and forbidden tokens; most checkpoints have none.

        logits ``(n, vocab)``: row i scores the generated token number ``position + i``; ``last`` is the number of the
        last one that fits into max_new_tokens.
        """
        if self.forbidden:
            logits = _forbid(logits, slice(None), self.forbidden)
        first = 0 if self.forced_first is None else 1  # the first token that is free to choose
        if self.forbidden_first and position <= first < position + len(logits):
            logits = _forbid(logits, first - position, self.forbidden_first)
        if position == 0 and self.forced_first is not None:
            logits = _force(logits, 0, [self.forced_first])
        if self.forced_last is not None and position <= last < position + len(logits):
            logits = _force(logits, last - position, _as_list(self.forced_last))
        return logits

    def _encode_text(self, text: str) -> dict[str, Tensor]:
        if self.tokenizer is None:
            raise TypeError(f"source={text!r}: expected token ids, since this model has no tokenizer")
        if not text.strip():
            raise ValueError(f"source={text!r}: expected a text that is not empty")
        return dict(self.tokenizer(self.prefix + text, return_tensors="pt", return_attention_mask=False))

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        try:
            ids = [index(i) for i in ids]
        except (TypeError, ValueError):
            raise TypeError(
                f"source={ids!r}: expected a string, a list of token ids, or a dict of encoder inputs"
            ) from None
        wrong = [i for i in ids if not 0 <= i < self.vocab_size]
        if not ids or wrong:
            found = f"token id {wrong[0]}" if wrong else "an empty list"
            raise ValueError(f"source holds {found}: expected one or more ids in 0..{self.vocab_size - 1}")
        return ids

    def _check_inputs(self, inputs: dict[str, Tensor]) -> None:
        main = inputs.get("input_ids", inputs.get("input_features"))
        if main is None:
            raise ValueError(f"source has keys {sorted(inputs)}: expected input_ids or input_features")
        if len(main) != 1:
            raise ValueError(f"source is a batch of {len(main)}: expected one sequence (batch dimension 1)")
        if "input_ids" not in inputs:
            return
        self._check_ids(main[0].tolist())
        if self.max_source_length and main.shape[-1] > self.max_source_length:
            raise ValueError(f"source has {main.shape[-1]} tokens: expected at most {self.max_source_length}")


@dataclass(frozen=True)
class Pair:
    """A target and a draft that share one vocabulary."""

    target: Seq2Seq
    draft: Seq2Seq
    name: str

    def __iter__(self):
        return iter((self.target, self.draft))


def load_pair(
    target: str | Path | None = None,
    draft: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
) -> Pair:
    """Load a target and its draft; without names, the pocket pair that ships with the package (no download).

    Parameters
    ----------
    target, draft : str or Path, optional
        Hugging Face names ("google-t5/t5-large", "google-t5/t5-small") or folders. Both or neither.
    device, dtype : str or torch type
        For instance "cuda" and "bfloat16".

    Raises
    ------
    ValueError
        Unknown device or dtype, only one of the two names, a decoder-only checkpoint, two different vocabularies.
    """
    if (target is None) != (draft is None):
        raise ValueError(f"target={target!r}, draft={draft!r}: expected both names, or neither for the pocket pair")
    device, dtype = parse_device(device), parse_dtype(dtype)
    name = "pocket" if target is None else f"{target} + {draft}"
    target, draft = target or POCKET_PAIR / "target", draft or POCKET_PAIR / "draft"
    for argument, path in (("target", target), ("draft", draft)):
        _check_encoder_decoder(argument, path)
    large = load_model(target, device, dtype)
    pair = Pair(large, load_model(draft, device, dtype, lender=large), name)
    check_same_vocabulary(pair.target, pair.draft)
    share_weights(pair.target.hf_model, pair.draft.hf_model)
    return pair


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    lender: Seq2Seq | None = None,
) -> Seq2Seq:
    """Load one checkpoint: safetensors only, and never code that comes with it.

    A draft's checkpoint may leave out weights that it has in common with its target, the `lender`.
    """
    config = AutoConfig.from_pretrained(path)
    speech = type(config) in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING
    family = AutoModelForSpeechSeq2Seq if speech else AutoModelForSeq2SeqLM
    with quiet(reports=lender is None):
        hf_model, info = family.from_pretrained(
            path, dtype=parse_dtype(dtype), use_safetensors=True, output_loading_info=True
        )
    hf_model = hf_model.to(parse_device(device))
    if lender is not None:
        borrow_weights(hf_model, info["missing_keys"], lender.hf_model, path)
    return Seq2Seq(hf_model, AutoTokenizer.from_pretrained(path))


def borrow_weights(draft, missing: set[str], target, path: str | Path) -> None:
    """Copy from one Hugging Face model to the other what the other's checkpoint left out."""
    mine, theirs = draft.state_dict(), target.state_dict()
    for name in sorted(missing):
        if name not in theirs or mine[name].shape != theirs[name].shape:
            raise ValueError(
                f"draft={str(path)!r} leaves out {name}, and the target has none like it: expected it here"
            )
        mine[name].copy_(theirs[name])
    tied = [name for name in sorted(missing) if not torch.equal(mine[name], theirs[name])]
    if tied:
        raise ValueError(
            f"draft={str(path)!r} ties {', '.join(tied)} to others, which the target does not: expected both"
        )


def share_weights(target, draft) -> None:
    """Hold in memory once what is equal in both Hugging Face models: the draft takes the target's tensors.

    A draft that kept its teacher's encoder, as distil-Whisper and the pocket pair's draft do, gets the very module. So
    it runs once per source (`same_encoder`).
    """
    tensors = dict(target.named_parameters())
    for name, parameter in draft.named_parameters():
        if name in tensors and torch.equal(parameter, tensors[name]):
            parameter.data = tensors[name].data
    encoders = target.get_encoder(), draft.get_encoder()
    kinds = [type(encoder) for encoder in encoders]
    places = [{name: tensor.data_ptr() for name, tensor in encoder.named_parameters()} for encoder in encoders]
    if kinds[0] is kinds[1] and places[0] == places[1]:
        draft.set_encoder(target.get_encoder())


def same_encoder(target: Seq2Seq, draft: Seq2Seq) -> bool:
    """Whether both models read a source with one and the same encoder."""
    return target.hf_model.get_encoder() is draft.hf_model.get_encoder()


@contextmanager
def quiet(reports: bool = True):
    """No progress bars: a page or a terminal that loads a local folder has nothing to show. Or no reports either."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if not reports:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def check_same_vocabulary(target: Seq2Seq, draft: Seq2Seq) -> None:
    """Raise a ValueError unless every token id means the same to both: p and q must be over the same set."""
    if target.vocab_size != draft.vocab_size:
        raise ValueError(f"draft has {draft.vocab_size} tokens: expected the target's {target.vocab_size}")
    if target.tokenizer is draft.tokenizer or target.vocabulary is None or draft.vocabulary is None:
        return
    if target.vocabulary is not draft.vocabulary:
        if target.vocabulary != draft.vocabulary:
            raise ValueError("draft's tokenizer gives other ids to the same pieces: expected the target's vocabulary")
        draft.vocabulary = target.vocabulary  # equal: from now on the same object, and this check costs nothing


def parse_device(device: str | torch.device) -> torch.device:
    """A device that exists here, or a ValueError that says which do."""
    present = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        parsed = None
    if parsed is None or parsed.type not in present or (parsed.index or 0) >= _count(parsed.type):
        raise ValueError(f"device={str(device)!r}: expected one that is present here: {', '.join(present)}")
    return parsed


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """float64, float32, bfloat16 or float16, by name or as torch's type."""
    names = ("float64", "float32", "bfloat16", "float16")
    for name in names:
        if dtype in (name, getattr(torch, name)):
            return getattr(torch, name)
    raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(names)}")


def task_prefix(config) -> str:
    """The prefix a checkpoint asks for English-to-German translation (the original T5s do), else none."""
    tasks = getattr(config, "task_specific_params", None) or {}
    return tasks.get("translation_en_to_de", {}).get("prefix", "")


def source_limit(config, tokenizer) -> int | None:
    """Longest source in tokens: learned positions end somewhere; relative ones (T5) end where the tokenizer says."""
    positions = getattr(config, "max_source_positions", None) or getattr(config, "max_position_embeddings", None)
    told = getattr(tokenizer, "model_max_length", math.inf)
    return positions or (int(told) if told < 1e9 else None)


def _check_encoder_decoder(argument: str, path: str | Path) -> None:
    if not AutoConfig.from_pretrained(path).is_encoder_decoder:
        raise ValueError(f"{argument}={str(path)!r}: expected an encoder-decoder checkpoint, this one is decoder-only")


def _count(device_type: str) -> int:
    return torch.cuda.device_count() if device_type == "cuda" else 1


def _first(*values):
    return next((value for value in values if value is not None), None)


def _as_list(value) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _forbid(logits: Tensor, rows, tokens: list[int]) -> Tensor:
    logits = logits.clone()
    logits[rows, tokens] = -math.inf
    return logits


def _force(logits: Tensor, row: int, tokens: list[int]) -> Tensor:
    logits = logits.clone()
    logits[row] = -math.inf
    logits[row, tokens] = 0.0
    return logits
