"""A checkpoint's generation config: what becomes of every field of it, and the processors that obey it.

The measure is ``generate(num_beams=1, do_sample=False)``. A field that changes what it returns is honoured with equal
outputs or refused by name; the call's own temperature, top-k and top-p come afterwards (`adjustment.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from numbers import Integral
from types import SimpleNamespace

import torch
import transformers as hf
from torch import Tensor


class SuppressTokens(hf.LogitsProcessor):
    """Forbid tokens everywhere, or only behind a prefix of one `length`; ids outside the vocabulary are left out.

    Hugging Face's two classes look every id of the vocabulary up in the list at each step (``torch.isin``). For a list
    as long as Whisper's that sorts the vocabulary, and on a GPU the host waits for it.
    """

    def __init__(self, tokens: Sequence[int], vocab_size: int, device, length: int | None = None):
        inside = [int(token) for token in tokens if 0 <= token < vocab_size]
        self.tokens = torch.tensor(inside, dtype=torch.long, device=device)
        self.length = length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        here = self.length in (None, input_ids.shape[-1])
        return scores.index_fill(-1, self.tokens, -math.inf) if here else scores


# fmt: off
# Honoured, in the order in which `generate` applies them: the value that asks for nothing, and what makes the processor
# from the value x and the call c (or makes nothing, where `generate` has none either).
HONOURED = {
    "sequence_bias": (None, lambda x, c: hf.SequenceBiasLogitsProcessor(x)),
    "encoder_repetition_penalty": (1.0, lambda x, c: c.ids and hf.EncoderRepetitionPenaltyLogitsProcessor(x, *c.ids)),
    "repetition_penalty": (1.0, lambda x, c: hf.RepetitionPenaltyLogitsProcessor(x)),
    "no_repeat_ngram_size": (0, lambda x, c: hf.NoRepeatNGramLogitsProcessor(x)),
    "encoder_no_repeat_ngram_size": (0, lambda x, c: c.ids and hf.EncoderNoRepeatNGramLogitsProcessor(x, *c.ids)),
    "bad_words_ids": (None, lambda x, c: hf.NoBadWordsLogitsProcessor(x, c.eos)),
    "min_length": (0, lambda x, c: c.least is None and c.eos and hf.MinLengthLogitsProcessor(x, c.eos, c.device)),
    "min_new_tokens": (0, lambda x, c: c.eos and hf.MinLengthLogitsProcessor(c.prompt + x, c.eos, c.device)),
    "forced_bos_token_id": (None, lambda x, c: hf.ForcedBOSTokenLogitsProcessor(x)),
    "forced_eos_token_id": (None, lambda x, c: hf.ForcedEOSTokenLogitsProcessor(c.longest, x, c.device)),
    "remove_invalid_values": (False, lambda x, c: hf.InfNanRemoveLogitsProcessor()),
    "exponential_decay_length_penalty": (None, lambda x, c: hf.ExponentialDecayLengthPenalty(x, c.eos, c.prompt)),
    "suppress_tokens": (None, lambda x, c: SuppressTokens(x, c.vocab_size, c.device)),
    "begin_suppress_tokens": (None, lambda x, c: SuppressTokens(x, c.vocab_size, c.device, c.begin)),
    "renormalize_logits": (False, lambda x, c: hf.LogitNormalization()),
}
# Refused unless they have one of these values: they change what `generate` returns, and we cannot follow.
REFUSED = {
    "guidance_scale": (None, 1), "watermarking_config": (None,), "token_healing": (None, False),
    "stop_strings": (None,), "max_time": (None,), "is_assistant": (None, False), "dola_layers": (None,),
    "constraints": (None,), "force_words_ids": (None,), "penalty_alpha": (None, 0),
    "return_timestamps": (None, False), "no_speech_threshold": (None,),  # Whisper's own `generate` reads these two
}
# How to search or sample: the call decides that itself. These values ask for nothing.
OVERRIDDEN = {
    "do_sample": (None, False), "temperature": (None, 1), "top_k": (None, 0, 50), "top_p": (None, 1),
    "min_p": (None, 0), "top_h": (None,), "typical_p": (None, 1), "epsilon_cutoff": (None, 0), "eta_cutoff": (None, 0),
    "num_beams": (None, 1), "num_beam_groups": (None, 1), "diversity_penalty": (None, 0), "length_penalty": (None, 1),
    "early_stopping": (None, False), "num_return_sequences": (None, 1),
}
# Nothing to do here: special tokens and lengths are read elsewhere; the others are about speed or the output's form.
IGNORED = {
    "bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens",
    "use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size", "compile_config",
    "disable_compile", "continuous_batching_config", "low_memory", "use_mtp", "speculation_type",
    "prompt_lookup_num_tokens", "max_matching_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight", "assistant_lookbehind",
    "target_lookbehind", "output_attentions", "output_hidden_states", "output_logits", "output_scores",
    "return_dict_in_generate", "transformers_version",
}
# What a later transformers adds is refused when it is set: nobody has looked at what it does.
UNKNOWN = {
    name: (None,) for name in vars(hf.GenerationConfig())
    if not name.startswith("_") and name not in {*HONOURED, *REFUSED, *OVERRIDDEN, *IGNORED}
}
FORCED = ("forced_bos_token_id", "forced_eos_token_id")
# fmt: on


def processors_for(
    generation_config: hf.GenerationConfig,
    *,
    prompt_length: int,
    max_new_tokens: int,
    vocab_size: int,
    encoder_input_ids: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> hf.LogitsProcessorList:
    """What `generate` applies to one row, by the config as it is now.

    `encoder_input_ids` ``(1, S)`` is the row's source, not padded for a batch; None if it is not token ids (audio,
    images): the two settings that want them then do nothing, as in `generate`.

    Raises
    ------
    ValueError
        A setting that would change the output and is not supported, or that cannot be obeyed: its name, its value.
    """
    config = generation_config
    for name, value, idle in _entries(config, REFUSED | UNKNOWN):
        if value not in idle:
            expected = " or ".join(map(repr, idle))
            raise ValueError(f"generation_config.{name}={value!r}: expected {expected}, nothing else is supported")
    call = SimpleNamespace(
        prompt=prompt_length,
        longest=prompt_length + max_new_tokens,
        least=config.min_new_tokens,  # where it is set, min_length does not count
        # The first token that is free to choose: `generate` lets a forced one pass.
        begin=prompt_length + (prompt_length == 1 and config.forced_bos_token_id is not None),
        eos=list(_token_ids(config.eos_token_id)),
        ids=() if encoder_input_ids is None else (encoder_input_ids,),
        suppressed=set(config.suppress_tokens or ()),
        vocab_size=vocab_size,
        device=device,
    )
    asked = [(name, value) for name, value, (idle, _) in _entries(config, HONOURED) if value not in (None, idle)]
    made = [_processor(name, value, call) for name, value in asked]
    return hf.LogitsProcessorList(processor for processor in made if processor)


def overridden(generation_config: hf.GenerationConfig) -> dict[str, object]:
    """What the checkpoint asks for in sampling and beams, by name; the call's own settings take its place."""
    return {name: value for name, value, idle in _entries(generation_config, OVERRIDDEN) if value not in idle}


def _entries(config, table: dict) -> Iterator[tuple]:
    return ((name, getattr(config, name, None), entry) for name, entry in table.items())


def _processor(name: str, value, call: SimpleNamespace):
    try:
        _check_tokens(name, value, call)
        return HONOURED[name][1](value, call)
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        raise ValueError(f"generation_config.{name}={value!r}: expected what `generate` can obey: {error}") from error


def _check_tokens(name: str, value, call: SimpleNamespace) -> None:
    """Refuse ids with which `generate` would fail in the middle of a text."""
    if name == "exponential_decay_length_penalty":
        tokens = call.eos
    elif name.startswith("encoder_"):
        tokens = [token for ids in call.ids for token in ids.flatten().tolist()]
    else:
        tokens = list(_token_ids(value)) if name in ("sequence_bias", "bad_words_ids", *FORCED) else []
    outside = [token for token in tokens if not 0 <= token < call.vocab_size]
    if outside:
        raise ValueError(f"token id {outside[0]} is not in 0..{call.vocab_size - 1}")
    if name in FORCED and call.suppressed.issuperset(tokens):
        raise ValueError("suppress_tokens forbids it")


def _token_ids(value) -> Iterator[int]:
    """The integers in a number, in nested lists, in the keys of a dict."""
    if isinstance(value, Integral):
        yield int(value)
    elif isinstance(value, (list, tuple, dict)):
        for part in value:
            yield from _token_ids(part)
