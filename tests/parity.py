"""Greedy outputs compared token for token, with a message that tells a wrong loop from a near-tie."""

from __future__ import annotations

import torch
from transformers import GenerationMixin

import specdec_lite as sd
import tiny


def hugging_face(model: sd.Seq2Seq, source, max_new_tokens: int) -> list[int]:
    """What `generate` gives: generated tokens only."""
    options = {"max_new_tokens": max_new_tokens, "num_beams": 1, "do_sample": False}
    # Whisper overrides `generate` by its own long-form transcription; this is the one beneath.
    output = GenerationMixin.generate(model.hf_model, **model.encode(source), **options)
    return output[0, 1:].tolist()


def plain(model: sd.Seq2Seq, source, max_new_tokens: int) -> list[int]:
    return sd.autoregressive_generate(model, source, max_new_tokens=max_new_tokens, temperature=0.0).token_ids


def speculative(pair: sd.Pair, source, gamma: int, max_new_tokens: int) -> list[int]:
    options = {"gamma": gamma, "max_new_tokens": max_new_tokens, "temperature": 0.0}
    return sd.speculative_generate(*pair, source, **options).token_ids


def differences(model: sd.Seq2Seq, cases, max_new_tokens: int) -> str:
    """Of (source, expected, got), those that differ, and how clearly the target prefers its first choice there."""
    found = [(source, want, got) for source, want, got in cases if want != got]
    return "\n".join(_explain(model, *case, max_new_tokens) for case in found)


def _explain(model, source, want, got, max_new_tokens) -> str:
    same = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    (text,), given = model.texts(1, max_new_tokens), model.source([source])
    text.write(want[:same])
    logits = tiny.fresh_logits(model, source, text.tokens)[-1:]
    nothing = torch.empty(1, 0, dtype=torch.long)
    top = model.adjustment(sd.SamplingRule(), given, [text]).scores(logits[None], [text], nothing)[0, 0].topk(2)
    margin = float(top.values[0] - top.values[1])
    verdict = f"top-2 margin {margin:.2e}, {'a near-tie' if margin < 1e-4 else 'no near-tie'}"
    return f"{source!r}: token {same} is {got[same:][:1]}, expected {want[same:][:1]} ({verdict})"


def same_logits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal as far as the precision goes that the project promises."""
    return torch.allclose(a, b, rtol=0, atol=1e-9 if a.dtype == torch.float64 else 1e-4)
