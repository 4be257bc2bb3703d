"""What a decoder is given before its first token: a start token, a prompt of several, a language.

The same as Hugging Face's `generate` begins with, so that both decode from one distribution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import index

from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE


def start_token(hf_model) -> int:
    """The token that every text begins with; T5Gemma has a BOS for it and no other."""
    generation, config = hf_model.generation_config, hf_model.config
    found = generation.decoder_start_token_id, generation.bos_token_id, getattr(config, "decoder_start_token_id", None)
    token = next((token for token in found if token is not None), None)
    if token is None:
        raise ValueError("hf_model's configuration has decoder_start_token_id=None and no BOS: expected a token id")
    return token


def full_prompt(hf_model, prompt: Sequence[int]) -> tuple[int, ...]:
    """The caller's tokens, behind the start token where `generate` would put it."""
    start, family = start_token(hf_model), hf_model.config.model_type
    encoder = getattr(hf_model.config, "encoder", None)
    complete = prompt[0] == start or family == "whisper" or "donut" in getattr(encoder, "model_type", "")
    return tuple(prompt) if complete else (start, *prompt)


def prompt_ids(prompt: str | Sequence[int], tokenizer, vocab_size: int) -> list[int]:
    """A prompt as the caller gives it, checked; text goes through the tokenizer, which adds nothing to it."""
    if isinstance(prompt, str) and tokenizer is not None:
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
    else:
        ids = prompt
    try:
        ids = [index(i) for i in ids]
    except (TypeError, ValueError):
        raise TypeError(f"prompt={prompt!r}: expected a list of token ids") from None
    if not ids or not all(0 <= i < vocab_size for i in ids):
        raise ValueError(f"prompt={prompt!r}: expected one or more ids in 0..{vocab_size - 1}")
    return ids


def decoder_prompt(hf_model, language: str | None, task: str | None) -> tuple[int, ...]:
    """Start token, and what Whisper and Seamless want behind it."""
    start, generation = start_token(hf_model), hf_model.generation_config
    if hf_model.config.model_type == "whisper":
        return whisper_prompt(hf_model, language, task)
    if task is not None:
        raise ValueError(f"task={task!r}: expected None, since this model knows no tasks")
    codes = getattr(generation, "text_decoder_lang_to_code_id", None)
    return (start, find("language", language, codes)) if codes and language is not None else (start,)


def forced_language(hf_model, tokenizer, language: str | None) -> int | None:
    """NLLB, M2M100, mBART and their like: the language is the first token generated, and it is forced."""
    in_prompt = hf_model.config.model_type == "whisper" or hasattr(
        hf_model.generation_config, "text_decoder_lang_to_code_id"
    )
    return None if language is None or in_prompt else find("language", language, tokenizer_languages(tokenizer))


def tokenizer_languages(tokenizer) -> dict[str, int]:
    """Language codes and their tokens ("de_DE", "deu_Latn", "de"); empty if the tokenizer knows none."""
    told = getattr(tokenizer, "lang_code_to_id", None)
    if told:
        return dict(told)
    special = getattr(tokenizer, "all_special_tokens", ())
    codes = [token for token in special if re.fullmatch("[a-z]{2,3}_[A-Z][A-Za-z]+", token)]
    return dict(zip(codes, tokenizer.convert_tokens_to_ids(codes))) if codes else {}


def whisper_prompt(hf_model, language: str | None, task: str | None) -> tuple[int, ...]:
    """Start, language, task, no timestamps: as Whisper's own `generate` builds it from its generation config."""
    generation, start = hf_model.generation_config, start_token(hf_model)
    languages, tasks = (getattr(generation, name, None) for name in ("lang_to_id", "task_to_id"))
    if not getattr(generation, "is_multilingual", True) and (language, task) != (None, None):
        raise ValueError(f"language={language!r}, task={task!r}: expected neither, this model knows English only")
    language = getattr(generation, "language", None) if language is None else language
    task = getattr(generation, "task", None) if task is None else task
    tokens = [start, *(_forced_prompt(hf_model) if language is None and task is None else ())]
    if language is not None:
        tokens[1:2] = [find("language", language, whisper_languages(languages))]
    elif languages and (len(tokens) < 2 or tokens[1] is None):
        known = ", ".join(whisper_languages(languages, codes_only=True))
        raise ValueError(f"language=None: expected the language that is spoken, language=… with one of {known}")
    if task is not None:
        tokens.append(find("task", task, tasks))
    elif language is not None and tasks and not set(tokens) & set(tasks.values()):
        tokens.append(tasks["transcribe"])
    plain = getattr(generation, "no_timestamps_token_id", None)
    if plain is not None:
        tokens = [token for token in tokens if token != plain]
        tokens += [] if getattr(generation, "return_timestamps", False) else [plain]
    return tuple(token for token in tokens if token is not None)


def whisper_languages(languages: Mapping[str, int] | None, codes_only: bool = False) -> dict[str, int]:
    """From a language's code ("de"), token ("<|de|>") or English name ("german") to the id of its token."""
    languages = languages or {}
    codes = {token.strip("<|>"): i for token, i in languages.items()}
    if codes_only:
        return codes
    names = {name: codes[code] for name, code in TO_LANGUAGE_CODE.items() if code in codes}
    return {**codes, **languages, **names}


def find(argument: str, value: str, known: Mapping[str, int] | None) -> int:
    """The token of a language or a task, or an error that lists those that the checkpoint knows."""
    if not known:
        raise ValueError(f"{argument}={value!r}: expected None, since this checkpoint names none; prompt=… takes ids")
    token = known.get(value, known.get(str(value).lower()))
    if token is None:
        raise ValueError(f"{argument}={value!r}: expected one of {', '.join(known)}")
    return token


def _forced_prompt(hf_model) -> list[int | None]:
    """Tokens 1, 2, ... of the prompt where an older checkpoint lists them as ``[[1, token], [2, token] ...]``."""
    forced = [getattr(holder, "forced_decoder_ids", None) for holder in (hf_model.generation_config, hf_model.config)]
    placed = dict(next((pairs for pairs in forced if pairs is not None), ()))
    if list(placed) != list(range(1, len(placed) + 1)):
        raise ValueError(f"forced_decoder_ids={placed}: expected positions 1, 2, ... without a gap")
    return list(placed.values())
