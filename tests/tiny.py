"""Tiny random encoder-decoders that behave like trained ones where it matters to a decoding test.

An untrained T5 repeats its last token for ever, and any two such models agree: every parity test would pass. Here the
weights are scaled so that the next token depends on the whole prefix and on the source, the output head is untied, and
the draft is a shallower model that shares the target's weights up to noise. `test_tiny.py` holds these properties.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

import specdec_lite as sd

FAMILIES = ("t5", "bart")
PAD, EOS, VOCAB, WIDTH = 0, 1, 32, 32
SEED = {"t5": 4, "bart": 1, "whisper": 0}  # chosen by the properties that test_tiny.py asserts


def tiny_pair(
    family: str = "t5",
    *,
    seed: int | None = None,
    vocab: int = VOCAB,
    dtype: torch.dtype = torch.float32,
    sharpness: float = 3.0,
    noise: float = 0.07,
    tokenizer=None,
    **generation,
) -> sd.Pair:
    """A two-layer target and a one-layer draft; `generation` holds settings such as ``suppress_tokens=[5]``."""
    seed = SEED[family] if seed is None else seed
    target, draft = (untie(BUILD[family](layers, vocab)) for layers in (2, 1))
    resemble(draft, shake(target, seed, sharpness), seed + 1, noise)
    for model in (target, draft):
        model.generation_config.update(**generation)
    return sd.Pair(*(sd.Seq2Seq(model.to(dtype), tokenizer) for model in (target, draft)), f"tiny {family}")


def t5_model(layers: int = 2, vocab: int = VOCAB) -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocab, d_model=WIDTH, d_kv=8, d_ff=2 * WIDTH, num_layers=layers, num_heads=4, dropout_rate=0.0,
            relative_attention_num_buckets=16, tie_word_embeddings=False,
            pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=PAD,
        )
    )  # fmt: skip


def bart_model(layers: int = 2, vocab: int = VOCAB, positions: int = 64) -> BartForConditionalGeneration:
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=vocab, d_model=WIDTH, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=2 * WIDTH, decoder_ffn_dim=2 * WIDTH,
            max_position_embeddings=positions, dropout=0.0, tie_word_embeddings=False, forced_eos_token_id=None,
            pad_token_id=PAD, bos_token_id=2, eos_token_id=EOS, decoder_start_token_id=EOS,
        )
    )  # fmt: skip


def whisper_model(layers: int = 2, vocab: int = VOCAB) -> WhisperForConditionalGeneration:
    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=vocab, d_model=WIDTH, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=2 * WIDTH, decoder_ffn_dim=2 * WIDTH, num_mel_bins=8,
            max_source_positions=20, max_target_positions=64, dropout=0.0, tie_word_embeddings=False,
            suppress_tokens=None, begin_suppress_tokens=None,
            pad_token_id=PAD, bos_token_id=2, eos_token_id=EOS, decoder_start_token_id=3,
        )
    )  # fmt: skip


BUILD = {"t5": t5_model, "bart": bart_model, "whisper": whisper_model}


def untie(model):
    """T5's tie_word_embeddings=False leaves the head tied; then a token's likeliest successor is itself."""
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    return model


@torch.no_grad()
def shake(model, seed: int, sharpness: float):
    """Weights of a size that makes context matter; `sharpness` sets how far the output is from uniform."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        if weight.ndim >= 2:
            weight.copy_(_gain(name, weight) * torch.randn(weight.shape, generator=generator))
    head = model.get_output_embeddings().weight
    head.copy_(sharpness * head.shape[1] ** -0.5 * torch.randn(head.shape, generator=generator))
    if model.main_input_name == "input_ids":
        # All hidden states share a direction, by which the same few tokens would always win: the head ignores it.
        common = _hidden(model, *torch.randint(2, len(head), (2, 64, 12), generator=generator)).mean((0, 1))
        head -= (head @ common)[:, None] * common / common.square().sum()
    return model


def _gain(name: str, weight: torch.Tensor) -> float:
    if "relative_attention_bias" in name:
        return 3.0  # a head looks some distance back: greedy decoding does not fall into a short cycle
    if "embed" in name or "shared" in name:
        return 1.0
    later_layer = ".block.1." in name or ".layers.1." in name
    ends_branch = any(part in name for part in (".o.", ".wo.", "out_proj", "fc2"))
    # The layer that the draft lacks says less than the one it has, or the two would not overlap.
    return (0.15 if later_layer and ends_branch else 2.0) * weight.shape[1:].numel() ** -0.5


def _hidden(model, source, decoder):
    seen = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.eval()(input_ids=source, decoder_input_ids=decoder)
    hook.remove()
    return seen[0]


@torch.no_grad()
def resemble(draft, target, seed: int, noise: float) -> None:
    """Give the draft the target's weights where it has them, each with noise of `noise` times their size."""
    generator = torch.Generator().manual_seed(seed)
    theirs = dict(target.named_parameters())
    for name, weight in sorted(draft.named_parameters()):
        if weight.ndim >= 2:
            spread = noise * theirs[name].std()
            weight.copy_(theirs[name] + spread * torch.randn(weight.shape, generator=generator))


def sources(n: int, seed: int = 0, vocab: int = VOCAB) -> list[list[int]]:
    """Random token ids, three to ten a source, none of them special."""
    rng = random.Random(seed)
    return [[rng.randrange(2, vocab) for _ in range(rng.randint(3, 10))] for _ in range(n)]


def tokenizer(vocab: int = VOCAB, swap: bool = False, **options) -> PreTrainedTokenizerFast:
    """Words "w2", "w3" ... are the tokens; with `swap` two of them have each other's id."""
    words = ["<pad>", "</s>", *(f"w{i}" for i in range(2, vocab))]
    if swap:
        words[2], words[3] = words[3], words[2]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w2"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", **options)


@torch.no_grad()
def fresh_logits(model: sd.Seq2Seq, source, tokens) -> torch.Tensor:
    """Logits ``(len(tokens), vocab)`` of one pass without any cache."""
    decoder_input_ids = torch.as_tensor(list(tokens), dtype=torch.long)[None]
    return model.hf_model(**model.encode(source), decoder_input_ids=decoder_input_ids, use_cache=False).logits[0]


@contextmanager
def counted(*models: sd.Seq2Seq):
    """Counts of real forward passes, one Counter a model: ``counts["encoder"]``, ``counts["decoder"]``."""
    counts, hooks = [Counter() for _ in models], []
    for model, count in zip(models, counts, strict=True):
        parts = {"encoder": model.hf_model.get_encoder(), "decoder": model.hf_model.get_decoder()}
        for name, part in parts.items():
            hooks.append(part.register_forward_pre_hook(lambda *_, c=count, n=name: c.update([n])))
    yield counts
    for hook in hooks:
        hook.remove()
