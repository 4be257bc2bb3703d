"""A Hugging Face encoder-decoder, and what goes with it, behind one small face."""

from __future__ import annotations

import copy
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from . import prompts
from .adjustment import Adjustment
from .checks import check_integer
from .decoder import CachedDecoder, EncodedSource
from .inputs import Source, SourceReader, shorten
from .sampling import SamplingRule
from .selfcheck import check_blocks
from .settings import overridden, processors_for
from .texts import Text


class Seq2Seq:
    """One encoder-decoder with what decoding needs to know about it.

    What its generation config says is read at every call, so it may be changed between calls. The model is put into
    evaluation mode at every call, too: after some training, say so again with ``hf_model.train()``.

    Parameters
    ----------
    hf_model : transformers.PreTrainedModel
        Any encoder-decoder with a language-model head: T5, BART, Marian, NLLB, Whisper, Moonshine, TrOCR ...
    tokenizer : tokenizer or processor, optional
        Needed for text, audio and pictures in, and for text out; without it, sources are token ids or tensors.
    prefix : str, optional
        Put before every text source. By default the one the checkpoint's own configuration asks for.
    prompt : list of int, or str, optional
        What the decoder is given before its first token, as `generate` takes it for ``decoder_input_ids``: the start
        token is put before it where it is missing.
    language, task : str, optional
        The target's language ("de", "deu_Latn", "de_DE": as the checkpoint calls it), and for Whisper "transcribe" or
        "translate". A source's language is set on the tokenizer.
    self_check : bool
        Try, on random encoder states, whether several tokens can be fed at once.

    Raises
    ------
    TypeError, ValueError
        A decoder-only model, an unknown language (the known ones are listed), a multilingual Whisper without a
        language, a prompt outside the vocabulary, a decoder that fails the self-check.
    """

    def __init__(
        self,
        hf_model,
        tokenizer=None,
        prefix: str | None = None,
        *,
        prompt: str | Sequence[int] | None = None,
        language: str | None = None,
        task: str | None = None,
        self_check: bool = True,
    ):
        config = getattr(hf_model, "config", None)
        if not getattr(config, "is_encoder_decoder", False):
            raise TypeError(
                f"hf_model={type(hf_model).__name__}: expected an encoder-decoder model (T5, BART, Marian ...)"
            )
        if tokenizer is not None and not callable(tokenizer):
            raise TypeError(f"tokenizer={shorten(tokenizer)}: expected a tokenizer or a processor")
        if not isinstance(prefix, (str, type(None))):
            raise TypeError(f"prefix={prefix!r}: expected a text to put before every source")
        if prompt is not None and (language, task) != (None, None):
            raise ValueError(
                f"prompt={prompt!r}, language={language!r}, task={task!r}: expected a prompt or the others"
            )
        self.hf_model = hf_model.eval()
        self.reader = SourceReader(hf_model, tokenizer, task_prefix(config) if prefix is None else prefix)
        self.tokenizer = self.reader.tokenizer
        self.max_source_length = self.reader.max_length
        self.vocab_size = hf_model.get_output_embeddings().weight.shape[0]
        self.max_target_length = target_limit(config.get_text_config(decoder=True))
        self.language, self.task, self.cursor_kind = language, task, CachedDecoder
        self.given = None if prompt is None else prompts.prompt_ids(prompt, self.tokenizer, self.vocab_size)
        _ = self.prompt, self.forced_first  # wrong ones are refused now
        self.split_after = check_blocks(hf_model, self.start_token, self.vocab_size) if self_check else None

    @property
    def device(self) -> torch.device:
        return self.hf_model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.hf_model.dtype

    @property
    def prefix(self) -> str:
        return self.reader.prefix

    @cached_property
    def vocabulary(self) -> dict[str, int] | None:
        """Piece to id, to compare two models' vocabularies once."""
        return None if self.tokenizer is None else self.tokenizer.get_vocab()

    @property
    def prompt(self) -> tuple[int, ...]:
        """Decoder tokens before the first generated one: usually one, the start token."""
        if self.given is not None:
            return prompts.full_prompt(self.hf_model, self.given)
        return prompts.decoder_prompt(self.hf_model, self.language, self.task)

    @property
    def start_token(self) -> int:
        return self.prompt[0]

    @property
    def forced_first(self) -> int | None:
        """The first generated token where the checkpoint, or its way to name a language, leaves no choice."""
        language = prompts.forced_language(self.hf_model, self.tokenizer, self.language)
        return self.hf_model.generation_config.forced_bos_token_id if language is None else language

    @property
    def eos_tokens(self) -> frozenset[int]:
        """The tokens that end a text; none if the generation config names none, as in `generate`."""
        found = self.hf_model.generation_config.eos_token_id
        return frozenset([] if found is None else found if isinstance(found, (list, tuple)) else [found])

    def encode(self, source: Source) -> dict[str, Tensor]:
        """Encoder inputs with a batch dimension of 1, on the model's device."""
        return self.reader(source, self.max_source_length)

    def source(self, sources: Sequence[Source]) -> EncodedSource:
        """A batch of sources, all checked; the encoder runs when the first cursor starts from it."""
        self.evaluate()
        return EncodedSource(self.hf_model, [self.encode(source) for source in sources], list(sources))

    def evaluate(self) -> None:
        """Switch dropout off, should somebody have switched it on."""
        if self.hf_model.training:
            self.hf_model.eval()

    def cursor(self) -> CachedDecoder:
        self.evaluate()
        return self.cursor_kind(self.hf_model, split_after=self.split_after)

    def with_cursor(self, kind: Callable[..., CachedDecoder]) -> Seq2Seq:
        """The same model with cursors of another kind, called as ``kind(hf_model, split_after=...)``."""
        other = copy.copy(self)
        other.cursor_kind = kind
        return other

    def texts(self, rows: int, max_new_tokens: int) -> list[Text]:
        """Empty texts, one a row, that begin with the prompt."""
        check_integer("rows", rows, minimum=1)
        texts = [Text(self.prompt, self.eos_tokens, max_new_tokens, row) for row in range(rows)]
        self.check_room(texts)
        return texts

    def check_room(self, texts: Sequence[Text]) -> None:
        """Raise a ValueError unless the decoder has a position for every token that it may be fed."""
        text, limit = texts[0], self.max_target_length
        if limit and text.limit - 1 > limit:  # the last token is never fed
            taken = f" less {text.prompt_length - 1} of the prompt" if text.prompt_length > 1 else ""
            asked = text.limit - text.prompt_length
            raise ValueError(f"max_new_tokens={asked}: expected at most the model's {limit} positions{taken}")

    def adjustment(self, rule: SamplingRule, source: EncodedSource, texts: Sequence[Text]) -> Adjustment:
        """What this checkpoint's generation config asks for now, then the rule."""
        config = copy.copy(self.hf_model.generation_config)
        config.forced_bos_token_id = self.forced_first
        warn_once(self.hf_model, overridden(config))
        prompt = texts[0].prompt_length
        shared = {"prompt_length": prompt, "max_new_tokens": texts[0].limit - prompt, "vocab_size": self.vocab_size}
        ids = [inputs.get("input_ids") for inputs in source.inputs]
        return Adjustment(
            rule, [processors_for(config, encoder_input_ids=row, device=self.device, **shared) for row in ids]
        )

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text without special tokens; without a tokenizer, the ids themselves."""
        if self.tokenizer is None:
            return " ".join(map(str, token_ids))
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """What each token adds to the text, special tokens included; a leading space is a space.

        A character of several tokens stands at the last of them.
        """
        if self.tokenizer is None:
            return [f" {token}" for token in token_ids]
        tokens = self.tokenizer.convert_ids_to_tokens(list(token_ids))
        tokens = [token or f"<{x}>" for token, x in zip(tokens, token_ids)]  # a model can have more tokens than names
        pieces, known = [], ""
        for i in range(len(tokens)):
            text = self.tokenizer.convert_tokens_to_string(tokens[: i + 1])
            whole = i + 1 == len(tokens) or not text.endswith("\ufffd")  # else the next token may complete it
            pieces.append(text[len(known) :] if whole else "")
            known = text if whole else known
        if tokens and tokens[0].startswith("\u2581"):  # which a text loses at its beginning
            pieces[0] = " " + pieces[0]
        return pieces


@dataclass(frozen=True)
class Pair:
    """A target and a draft that share one vocabulary."""

    target: Seq2Seq
    draft: Seq2Seq
    name: str

    def __post_init__(self):
        check_model("target", self.target)
        check_model("draft", self.draft)

    def __iter__(self):
        return iter((self.target, self.draft))


def check_model(name: str, value) -> None:
    """Raise a TypeError unless it is a Seq2Seq: a pair or a Hugging Face model is easily passed in its place."""
    if not isinstance(value, Seq2Seq):
        kind = type(value).__name__
        hint = ", such as pair.target or pair.draft" if isinstance(value, Pair) else ""
        raise TypeError(f"{name}={kind if hasattr(value, '__dict__') else shorten(value)}: expected a Seq2Seq{hint}")


def check_pair(pair) -> None:
    if not isinstance(pair, Pair):
        raise TypeError(f"pair={type(pair).__name__}: expected a Pair, such as load_pair returns")


def same_encoder(target: Seq2Seq, draft: Seq2Seq) -> bool:
    """Whether both models read a source with one and the same encoder."""
    return target.hf_model.get_encoder() is draft.hf_model.get_encoder()


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


def task_prefix(config) -> str:
    """The prefix a checkpoint asks for English-to-German translation (the original T5s do), else none."""
    tasks = getattr(config, "task_specific_params", None) or {}
    return tasks.get("translation_en_to_de", {}).get("prefix", "")


def target_limit(config) -> int | None:
    """How many positions a decoder has, by the names that families give it; T5 and its like have no end."""
    kinds = "max_target_positions", "max_decoder_position_embeddings", "max_position_embeddings", "max_text_positions"
    return next((limit for kind in kinds if (limit := getattr(config, kind, None))), None)


_warned = weakref.WeakSet()


def warn_once(hf_model, settings: dict) -> None:
    """Say once per model which of its own sampling settings those of the call take the place of."""
    if settings and hf_model not in _warned:
        _warned.add(hf_model)
        listed = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        said = "the call's temperature, top_k and top_p are used instead, and no beams"
        warnings.warn(f"the checkpoint asks for {listed}: {said}", stacklevel=2)


def now(model: Seq2Seq) -> float:
    """Seconds on a clock that waits for the device."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    elif model.device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
