"""The zoo: a tiny random target and draft of every encoder-decoder that transformers can generate text with.

Each family is a builder of models of a given depth, a maker of sources, and what `seed` and `sharpness` let its outputs
vary. What transformers lists is asked of transformers itself (`listed`); a class that is not here stands in `EXCLUDED`
with the reason. `test_families.py` holds both together.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import transformers as hf
from huggingface_hub.errors import StrictDataclassError
from transformers.generation import GenerationMixin
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import tiny

PAD, EOS, BOS, START, VOCAB, WIDTH = tiny.PAD, tiny.EOS, 2, 3, tiny.VOCAB, tiny.WIDTH
HEADS, POSITIONS, IMAGE_TOKEN, LANGUAGE = 4, 64, VOCAB - 1, 5
SPECIAL = {"pad_token_id": PAD, "eos_token_id": EOS}
WITH_BOS = {**SPECIAL, "bos_token_id": BOS}
WITH_START = {**WITH_BOS, "decoder_start_token_id": START}
QUIET = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}  # eval() does it; this says so


# Configurations that several families share


def bart_like(layers: int, vocab: int, **more) -> dict:
    sides = ("encoder", "decoder")
    return {
        "vocab_size": vocab, "d_model": WIDTH, "max_position_embeddings": POSITIONS, "tie_word_embeddings": False,
        **{f"{side}_layers": layers for side in sides}, **{f"{side}_ffn_dim": 2 * WIDTH for side in sides},
        **{f"{side}_attention_heads": HEADS for side in sides}, **QUIET, **WITH_START, **more,
    }  # fmt: skip


def t5_like(layers: int, vocab: int, **more) -> dict:
    return {
        "vocab_size": vocab, "d_model": WIDTH, "d_kv": 8, "d_ff": 2 * WIDTH, "num_layers": layers, "num_heads": HEADS,
        "num_decoder_layers": layers, "relative_attention_num_buckets": 16, "dropout_rate": 0.0,
        "tie_word_embeddings": False, "decoder_start_token_id": PAD, **SPECIAL, **more,
    }  # fmt: skip


def bert_like(layers: int, vocab: int, **more) -> dict:
    return {
        "vocab_size": vocab, "hidden_size": WIDTH, "num_hidden_layers": layers, "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH, "max_position_embeddings": POSITIONS, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "tie_word_embeddings": False, **SPECIAL, **more,
    }  # fmt: skip


def gemma_like(layers: int, vocab: int, **more) -> dict:
    # The first layer looks back over six tokens only, so that a cache that forgets would be seen; two heads share keys.
    return {
        "vocab_size": vocab, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2, "head_dim": 8, "query_pre_attn_scalar": 8,
        "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"][:layers],
        "max_position_embeddings": POSITIONS, **WITH_BOS, **more,
    }  # fmt: skip


def parakeet(layers: int) -> dict:
    return {
        "hidden_size": WIDTH, "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_mel_bins": 8,
        "intermediate_size": 2 * WIDTH, "subsampling_factor": 2, "subsampling_conv_channels": 8, "layerdrop": 0.0,
        "conv_kernel_size": 5, "scale_input": False, **QUIET,
    }  # fmt: skip


def wav2vec(layers: int) -> hf.Wav2Vec2Config:
    return hf.Wav2Vec2Config(
        hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=2 * WIDTH,
        conv_dim=(16, 16), conv_kernel=(8, 4), conv_stride=(4, 4), feat_extract_norm="layer", do_stable_layer_norm=True,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, layerdrop=0.0, apply_spec_augment=False,
        hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0,
    )  # fmt: skip


def seamless_like(layers: int, vocab: int, **more) -> dict:
    return {
        **bart_like(layers, vocab), "hidden_size": WIDTH, "speech_encoder_layers": layers,
        "speech_encoder_attention_heads": HEADS, "speech_encoder_intermediate_size": 2 * WIDTH,
        "feature_projection_input_dim": 8, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
        "adaptor_kernel_size": 4, "adaptor_stride": 4, "conv_depthwise_kernel_size": 5, "t2u_encoder_layers": 1,
        "t2u_decoder_layers": 1, "t2u_encoder_attention_heads": HEADS, "t2u_decoder_attention_heads": HEADS,
        "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "speech_encoder_layerdrop": 0.0, **more,
    }  # fmt: skip


# Classes that are put together from two configurations


def text_decoder(layers: int, vocab: int) -> hf.BertConfig:
    return hf.BertConfig(**bert_like(layers, vocab, is_decoder=True, add_cross_attention=True))


def bert_to_bert(layers: int, vocab: int):
    encoder = hf.BertConfig(**bert_like(layers, vocab))
    config = hf.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, text_decoder(layers, vocab))
    return hf.EncoderDecoderModel(_special(config))


def speech_to_bert(layers: int, vocab: int):
    config = hf.SpeechEncoderDecoderConfig.from_encoder_decoder_configs(wav2vec(layers), text_decoder(layers, vocab))
    return hf.SpeechEncoderDecoderModel(_special(config))


def roberta_to_roberta(layers: int, vocab: int):
    """Roberta numbers positions by counting tokens that are not padding."""
    encoder = hf.RobertaConfig(**bert_like(layers, vocab))
    decoder = hf.RobertaConfig(**bert_like(layers, vocab, is_decoder=True, add_cross_attention=True))
    config = hf.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    return hf.EncoderDecoderModel(_special(config))


def trocr(layers: int, vocab: int, **more):
    encoder = hf.ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=2 * WIDTH,
        image_size=16, patch_size=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    decoder = hf.TrOCRConfig(**bart_like(layers, vocab, is_decoder=True, add_cross_attention=True, **more))
    return hf.VisionEncoderDecoderModel(
        _special(hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    )


def donut(layers: int, vocab: int):
    encoder = hf.DonutSwinConfig(
        image_size=16, patch_size=2, embed_dim=WIDTH // 2, depths=[layers, 1], num_heads=[2, 4], window_size=4,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, drop_path_rate=0.0,
    )  # fmt: skip
    decoder = hf.MBartConfig(**bart_like(layers, vocab, is_decoder=True, add_cross_attention=True))
    return hf.VisionEncoderDecoderModel(
        _special(hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    )


def _special(config):
    """from_encoder_decoder_configs leaves special tokens to the caller."""
    for name, token in WITH_START.items():
        setattr(config, name, token)
    config.tie_word_embeddings = False
    return config


def t5gemma(layers: int, vocab: int):
    sides = (hf.T5GemmaModuleConfig(**gemma_like(layers, vocab)) for _ in range(2))
    return hf.T5GemmaForConditionalGeneration(
        hf.T5GemmaConfig(**dict(zip(("encoder", "decoder"), sides)), vocab_size=vocab, tie_word_embeddings=False)
    )


def t5gemma2(layers: int, vocab: int):
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "image_size": 8, "patch_size": 4,
    }  # fmt: skip
    tokens = {"boi_token_index": vocab - 3, "eoi_token_index": vocab - 2, "image_token_index": vocab - 1}
    encoder = {"text_config": gemma_like(layers, vocab), "vision_config": vision, "mm_tokens_per_image": 4, **tokens}
    config = hf.T5Gemma2Config(
        encoder=encoder, decoder=gemma_like(layers, vocab), image_token_index=vocab - 1, tie_word_embeddings=False
    )
    return hf.T5Gemma2ForConditionalGeneration(config)


def canary(layers: int, vocab: int):
    decoder = {
        "vocab_size": vocab, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": 8,
        "max_position_embeddings": POSITIONS, **WITH_BOS,
    }  # fmt: skip
    return hf.CanaryForConditionalGeneration(
        hf.CanaryConfig(
            encoder_config=hf.ParakeetEncoderConfig(**parakeet(layers)), decoder_config=decoder, vocab_size=vocab,
            tie_word_embeddings=False, **WITH_START,
        )
    )  # fmt: skip


def cohere(layers: int, vocab: int):
    return hf.CohereAsrForConditionalGeneration(
        hf.CohereAsrConfig(
            encoder_config=hf.ParakeetEncoderConfig(**parakeet(layers)), vocab_size=vocab, hidden_size=WIDTH,
            num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=2 * WIDTH,
            max_position_embeddings=POSITIONS, **WITH_START,
        )
    )  # fmt: skip


def moonshine(layers: int, vocab: int):
    sides = ("encoder", "decoder")
    return hf.MoonshineForConditionalGeneration(
        hf.MoonshineConfig(
            vocab_size=vocab, hidden_size=WIDTH, intermediate_size=2 * WIDTH, max_position_embeddings=POSITIONS,
            **{f"{side}_num_hidden_layers": layers for side in sides}, tie_word_embeddings=False,
            **{f"{side}_num_attention_heads": HEADS for side in sides}, **WITH_START,
        )
    )  # fmt: skip


def moonshine_streaming(layers: int, vocab: int):
    shared = {"num_attention_heads": HEADS, "num_hidden_layers": layers, "intermediate_size": 2 * WIDTH}
    encoder = hf.MoonshineStreamingEncoderConfig(
        hidden_size=WIDTH, num_key_value_heads=HEADS, sliding_windows=[[4, 2]] * layers, **shared
    )
    return hf.MoonshineStreamingForConditionalGeneration(
        hf.MoonshineStreamingConfig(
            encoder_config=encoder, vocab_size=vocab, hidden_size=WIDTH, max_position_embeddings=4 * POSITIONS,
            num_key_value_heads=HEADS, **shared, **WITH_START,
        )
    )  # fmt: skip


def whisper(layers: int, vocab: int):
    """Multilingual: two languages, two tasks, no timestamps; and it suppresses what the checkpoints do."""
    english, german, translate, transcribe, no_timestamps = special = range(vocab - 5, vocab)
    model = tiny.whisper_model(layers, vocab)
    model.config.pad_token_id = EOS  # as in the checkpoints
    model.generation_config.pad_token_id = EOS
    shipped = {
        "is_multilingual": True, "no_timestamps_token_id": no_timestamps, "suppress_tokens": [7, *special],
        "begin_suppress_tokens": [5, EOS], "lang_to_id": {"<|en|>": english, "<|de|>": german},
        "task_to_id": {"translate": translate, "transcribe": transcribe},
    }  # fmt: skip
    for key, value in shipped.items():
        setattr(model.generation_config, key, value)
    return model


def prophetnet(layers: int, vocab: int):
    sides = ("encoder", "decoder")
    return hf.ProphetNetForConditionalGeneration(
        hf.ProphetNetConfig(
            vocab_size=vocab, hidden_size=WIDTH, max_position_embeddings=POSITIONS, tie_word_embeddings=False,
            **{f"num_{side}_layers": layers for side in sides}, **{f"{side}_ffn_dim": 2 * WIDTH for side in sides},
            **{f"num_{side}_attention_heads": HEADS for side in sides}, **QUIET, **WITH_START,
        )
    )  # fmt: skip


def fsmt(layers: int, vocab: int):
    settings = bart_like(layers, vocab, langs=["en", "de"], src_vocab_size=vocab, tgt_vocab_size=vocab)
    settings.pop("vocab_size")
    return hf.FSMTForConditionalGeneration(hf.FSMTConfig(**settings, forced_eos_token_id=None))


def speecht5(layers: int, vocab: int):
    sides = ("encoder", "decoder")
    return hf.SpeechT5ForSpeechToText(
        hf.SpeechT5Config(
            vocab_size=vocab, hidden_size=WIDTH, conv_dim=(16, 16), conv_kernel=(8, 4), conv_stride=(4, 4),
            **{f"{side}_layers": layers for side in sides}, **{f"{side}_ffn_dim": 2 * WIDTH for side in sides},
            **{f"{side}_attention_heads": HEADS for side in sides}, **{f"{side}_layerdrop": 0.0 for side in sides},
            feat_extract_norm="layer", num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
            max_text_positions=POSITIONS, encoder_max_relative_position=8, apply_spec_augment=False,
            hidden_dropout=0.0, positional_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
            tie_word_embeddings=False, **WITH_START,
        )
    )  # fmt: skip


def speech_to_text(layers: int, vocab: int):
    settings = bart_like(layers, vocab, num_conv_layers=2, conv_kernel_sizes=(3, 3), conv_channels=16)
    return hf.Speech2TextForConditionalGeneration(
        hf.Speech2TextConfig(
            **settings, input_feat_per_channel=8, max_source_positions=POSITIONS, max_target_positions=POSITIONS
        )
    )


def florence2(layers: int, vocab: int):
    vision = {
        "depths": (1, 1), "patch_size": (3, 3), "patch_stride": (2, 2), "patch_padding": (1, 1),
        "patch_prenorm": (False, True), "embed_dim": (16, WIDTH), "num_heads": (2, 4), "num_groups": (2, 4),
        "window_size": 4, "projection_dim": WIDTH, "drop_path_rate": 0.0,
    }  # fmt: skip
    text = {"model_type": "bart", **bart_like(layers, vocab, forced_eos_token_id=None)}
    config = hf.Florence2Config(
        text_config=text, vision_config=vision, image_token_id=IMAGE_TOKEN, tie_word_embeddings=False
    )
    return hf.Florence2ForConditionalGeneration(config)


def formulanet(layers: int, vocab: int):
    vision = {
        "hidden_size": WIDTH, "output_channels": 16, "num_hidden_layers": layers, "num_attention_heads": HEADS,
        "image_size": 64, "patch_size": 4, "window_size": 4, "global_attn_indexes": (0,),
        "mlp_dim": 2 * WIDTH, "post_conv_in_channels": 16, "post_conv_mid_channels": 16,
        "post_conv_out_channels": WIDTH, "decoder_hidden_size": WIDTH,
    }  # fmt: skip
    text = bart_like(layers, vocab, forced_eos_token_id=None)
    return hf.PPFormulaNetForConditionalGeneration(hf.PPFormulaNetConfig(text_config=text, vision_config=vision))


def pix2struct(layers: int, vocab: int):
    shared = {"hidden_size": WIDTH, "d_kv": 8, "d_ff": 2 * WIDTH, "dropout_rate": 0.0}
    text = {
        "vocab_size": vocab, "num_layers": layers, "num_heads": HEADS, "relative_attention_num_buckets": 16,
        **shared, **SPECIAL, "decoder_start_token_id": PAD,
    }  # fmt: skip
    vision = {
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "patch_embed_hidden_size": 12, "seq_len": 16,
        **shared,
    }  # fmt: skip
    return hf.Pix2StructForConditionalGeneration(hf.Pix2StructConfig(text_config=text, vision_config=vision))


# Sources


LENGTHS = (6, 3, 9, 5, 8, 4)  # mixed, so that a batch of four is padded


def ids(scale: int = 1, vocab: int = VOCAB, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(4, vocab - 3) for _ in range(scale * length)] for length in LENGTHS]


def arrays(name: str, *shape: int, seed: int = 0) -> list[dict]:
    """Random inputs of one shape."""
    generator = torch.Generator().manual_seed(seed)
    return [{name: torch.randn(1, *shape, generator=generator)} for _ in LENGTHS]


def sequences(name: str, scale: int, *width: int, seed: int = 0) -> list[dict]:
    """Random inputs that are as long as their source is, each with a mask that hides nothing, as extractors give it."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(1, scale * length, *width, generator=generator) for length in LENGTHS]
    return [{name: x, "attention_mask": torch.ones(x.shape[:2], dtype=torch.long)} for x in made]


def pictures_with_text() -> list[dict]:
    """Florence-2 reads a picture where the ids hold its token: here four of them."""
    pictures = arrays("pixel_values", 3, 8, 8)
    return [{**one, "input_ids": torch.tensor([[IMAGE_TOKEN] * 5 + text])} for one, text in zip(pictures, ids())]


def documents() -> list[dict]:
    """UDOP wants to know where on the page a token stands."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for text in ids():
        corner = torch.randint(0, 8, (1, len(text), 2), generator=generator) / 16
        box = torch.cat([corner, corner + 0.25], -1)
        picture = torch.randn(1, 3, 16, 16, generator=generator)
        mask = torch.ones(1, len(text), dtype=torch.long)
        found.append({"input_ids": torch.tensor([text]), "attention_mask": mask, "bbox": box, "pixel_values": picture})
    return found


def patches() -> list[dict]:
    """Pix2Struct's patches begin with their row and column."""
    found = sequences("flattened_patches", 1, 14)
    for one in found:
        for i, patch in enumerate(one["flattened_patches"][0]):
            patch[:2] = torch.tensor([1 + i // 4, 1 + i % 4])
    return found


@dataclass(frozen=True)
class Family:
    """One class of transformers, how to build it, what feeds it, and how its decoder begins."""

    hf_class: str
    build: Callable  # layers, size of the vocabulary -> model
    sources: Callable[[], list] = ids
    prompt: tuple[int, ...] = ()  # empty: the start token alone


def bart_family(hf_class: str, **more) -> Family:
    return _family(hf_class, bart_like, more)


def t5_family(hf_class: str, **more) -> Family:
    return _family(hf_class, t5_like, more)


def seamless(hf_class: str, config: str, sources: Callable) -> Family:
    return _family(hf_class, seamless_like, {}, config, sources=sources, prompt=(START, LANGUAGE))


def _family(hf_class: str, settings: Callable, more: dict, config: str | None = None, **rest) -> Family:
    config = config or hf_class.replace("ForConditionalGeneration", "Config")
    return Family(hf_class, of(hf_class, getattr(hf, config), settings, **more), **rest)


def of(name: str, config: type, settings: Callable, forced: int | None = None, **more) -> Callable:
    """A builder for a class whose whole configuration is one of the dictionaries above and a few settings more.

    `forced` is the first generated token: so checkpoints name the language to translate into.
    """

    def build(layers: int, vocab: int):
        deep = {key: value(layers) if callable(value) else value for key, value in more.items()}
        model = getattr(hf, name)(config(**settings(layers, vocab, **deep)))
        model.generation_config.forced_bos_token_id = forced
        return model

    return build


sound = partial(sequences, "input_values")
frames = partial(sequences, "input_features", 8, 8)
small_pictures = partial(arrays, "pixel_values", 3, 16, 16)
NOT_FORCED = {"forced_eos_token_id": None}  # these classes force an EOS at the limit by default; here texts run on

FAMILIES = {
    # text to text
    "t5": t5_family("T5ForConditionalGeneration"),
    "mt5": t5_family("MT5ForConditionalGeneration"),
    "umt5": t5_family("UMT5ForConditionalGeneration"),
    "longt5": t5_family("LongT5ForConditionalGeneration", local_radius=3),
    "switch": t5_family(
        "SwitchTransformersForConditionalGeneration",
        num_experts=4,
        num_sparse_encoder_layers=int,
        num_sparse_decoder_layers=int,
    ),
    "t5gemma": Family("T5GemmaForConditionalGeneration", t5gemma),
    "t5gemma2": Family("T5Gemma2ForConditionalGeneration", t5gemma2),
    "bart": bart_family("BartForConditionalGeneration", **NOT_FORCED),
    "mbart": bart_family("MBartForConditionalGeneration", forced=LANGUAGE, **NOT_FORCED),
    "mvp": bart_family("MvpForConditionalGeneration", **NOT_FORCED),
    "plbart": bart_family("PLBartForConditionalGeneration", **NOT_FORCED),
    "marian": _family("MarianMTModel", bart_like, NOT_FORCED, "MarianConfig"),
    "pegasus": bart_family("PegasusForConditionalGeneration", **NOT_FORCED),
    "pegasus_x": bart_family("PegasusXForConditionalGeneration", num_global_tokens=2, block_size=4, **NOT_FORCED),
    "bigbird_pegasus": bart_family("BigBirdPegasusForConditionalGeneration", block_size=2, num_random_blocks=1),
    "blenderbot": bart_family("BlenderbotForConditionalGeneration", **NOT_FORCED),
    "blenderbot_small": bart_family("BlenderbotSmallForConditionalGeneration", **NOT_FORCED),
    "led": bart_family(
        "LEDForConditionalGeneration",
        attention_window=4,
        max_encoder_position_embeddings=POSITIONS,
        max_decoder_position_embeddings=POSITIONS,
    ),
    "m2m100": bart_family("M2M100ForConditionalGeneration", forced=LANGUAGE),
    "nllb_moe": bart_family(
        "NllbMoeForConditionalGeneration", forced=LANGUAGE, num_experts=4, encoder_sparse_step=1, decoder_sparse_step=1
    ),
    "fsmt": Family("FSMTForConditionalGeneration", fsmt),
    "prophetnet": Family("ProphetNetForConditionalGeneration", prophetnet),
    "bert2bert": Family("EncoderDecoderModel", bert_to_bert),
    "roberta2roberta": Family("EncoderDecoderModel", roberta_to_roberta),
    "seamless_text": seamless("SeamlessM4TForTextToText", "SeamlessM4TConfig", ids),
    "seamless_v2_text": seamless("SeamlessM4Tv2ForTextToText", "SeamlessM4Tv2Config", ids),
    # sound to text
    "seamless_speech": seamless("SeamlessM4TForSpeechToText", "SeamlessM4TConfig", frames),
    "seamless_v2_speech": seamless("SeamlessM4Tv2ForSpeechToText", "SeamlessM4Tv2Config", frames),
    "speech2text": Family("Speech2TextForConditionalGeneration", speech_to_text, frames),
    "speecht5": Family("SpeechT5ForSpeechToText", speecht5, partial(sound, 120)),
    "speech2bert": Family("SpeechEncoderDecoderModel", speech_to_bert, partial(sound, 120)),
    "whisper": Family(
        "WhisperForConditionalGeneration",
        whisper,
        partial(arrays, "input_features", 8, 40),
        (START, VOCAB - 4, VOCAB - 2, VOCAB - 1),
    ),
    "moonshine": Family("MoonshineForConditionalGeneration", moonshine, partial(sound, 1200)),
    "moonshine_streaming": Family(
        "MoonshineStreamingForConditionalGeneration", moonshine_streaming, partial(sound, 640)
    ),
    "canary": Family("CanaryForConditionalGeneration", canary, frames, (START, 10, 11)),
    "cohere": Family("CohereAsrForConditionalGeneration", cohere, frames, (START, 10, 11, 12)),
    "pop2piano": _family(
        "Pop2PianoForConditionalGeneration", t5_like, {}, sources=partial(sequences, "inputs_embeds", 1, WIDTH)
    ),
    # pictures to text
    "trocr": Family("VisionEncoderDecoderModel", trocr, small_pictures),
    "trocr_sinusoidal": Family(
        "VisionEncoderDecoderModel", partial(trocr, use_learned_position_embeddings=False), small_pictures
    ),
    "donut": Family("VisionEncoderDecoderModel", donut, small_pictures),
    "florence2": Family("Florence2ForConditionalGeneration", florence2, pictures_with_text),
    "formulanet": Family(
        "PPFormulaNetForConditionalGeneration", formulanet, partial(arrays, "pixel_values", 3, 64, 64)
    ),
    "pix2struct": Family("Pix2StructForConditionalGeneration", pix2struct, patches),
    "udop": _family(
        "UdopForConditionalGeneration",
        t5_like,
        {"image_size": 16, "patch_size": 8, "max_2d_position_embeddings": 32, "relative_attention_num_buckets": 32},
        sources=documents,
    ),
}

# What transformers lists besides, and why it is not here
_ALONE = "a decoder alone; its configuration describes the whole encoder-decoder"
_SOUND = "text comes from the same decoder as in ...ForTextToText and ...ForSpeechToText; generate returns a waveform"
_UNITS = "an inner part that reads another decoder's states and writes units of speech"
_TRANSDUCER = (
    "a transducer: joins every audio frame with a recurrent predictor; no attention to a source, blanks between"
)
_CODEBOOKS = "writes several audio codebooks at a step, shifted against each other: no single next token"
EXCLUDED = {
    **{f"{name}ForCausalLM": _ALONE for name in (
        "Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "MBart", "Marian", "Musicgen", "MusicgenMelody",
        "Mvp", "PLBart", "Pegasus", "ProphetNet", "Whisper",
    )},
    **{f"SeamlessM4T{version}{name}": _SOUND for version in ("", "v2") for name in (
        "ForSpeechToSpeech", "ForTextToSpeech", "Model",
    )},
    **{f"SeamlessM4T{version}TextToUnitForConditionalGeneration": _UNITS for version in ("", "v2")},
    **{f"Parakeet{name}": _TRANSDUCER for name in ("ForRNNT", "ForTDT")},
    **{f"Nemotron{name}ForRNNT": _TRANSDUCER for name in ("3_5Asr", "AsrStreaming")},
    **{f"{name}ForConditionalGeneration": _CODEBOOKS for name in ("Dia", "Musicgen", "MusicgenMelody")},
    "ParakeetForCTC": "no decoder: one label for each audio frame",
    "RagTokenForGeneration": "sums over documents that a retriever finds in an index: no single source to encode",
}  # fmt: skip

# Families in which several tokens cannot be fed to a cache at once, and why
ONE_BY_ONE = {
    "fsmt": "no causal mask with a cache: a token sees those that follow it in its block",
    "prophetnet": "its forward asserts that a cache is fed one token at a time",
}

# Families that the package refuses, and a part of what it says
REFUSED = {
    "fsmt": "computes other logits for a block",
    "prophetnet": "fails with AssertionError",
    "formulanet": "ignores its encoder's states",  # its decoder reads what was pooled from them
}

# Families that number positions by counting tokens that are not padding: a pad inside a block shifts what follows it
COUNT_PADS = {
    "m2m100", "nllb_moe", "seamless_text", "seamless_v2_text", "seamless_speech", "seamless_v2_speech", "speech2text",
    "speecht5", "roberta2roberta", "trocr_sinusoidal",
}  # fmt: skip

# Where a forward that is given encoder outputs takes the mask over them from, if not from attention_mask as it stands
MASK_FROM_INPUTS = {"seamless_speech", "seamless_v2_speech", "speech2text", "speecht5", "speech2bert"}  # sub-samples it
MASK_FROM_OUTPUTS = {"moonshine", "moonshine_streaming", "canary", "cohere", "udop"}  # encoder_outputs.attention_mask

# seed, size of embeddings, noise of the draft: searched for once, so that outputs vary as `test_families.py` asks
TUNED = {
    "t5": (7, 1.0, 0.07), "mt5": (5, 0.4, 0.03), "umt5": (6, 1.0, 0.07), "longt5": (5, 0.4, 0.07),
    "switch": (4, 0.4, 0.03), "t5gemma": (6, 0.4, 0.03), "t5gemma2": (6, 0.4, 0.01), "bart": (3, 1.0, 0.01),
    "mbart": (0, 1.0, 0.07), "mvp": (3, 1.0, 0.01), "plbart": (1, 1.0, 0.03), "marian": (9, 1.0, 0.03),
    "pegasus": (3, 1.0, 0.07), "pegasus_x": (7, 1.0, 0.07), "bigbird_pegasus": (11, 1.0, 0.07),
    "blenderbot": (3, 1.0, 0.07), "blenderbot_small": (1, 1.0, 0.03), "led": (2, 1.0, 0.03), "m2m100": (1, 0.4, 0.07),
    "nllb_moe": (2, 0.4, 0.07), "fsmt": (3, 1.0, 0.01), "prophetnet": (4, 0.4, 0.01), "bert2bert": (9, 1.0, 0.03),
    "roberta2roberta": (9, 1.0, 0.01), "seamless_text": (7, 0.4, 0.07), "seamless_v2_text": (7, 0.4, 0.07),
    "seamless_speech": (10, 1.0, 0.01), "seamless_v2_speech": (7, 0.4, 0.03), "speech2text": (7, 0.4, 0.07),
    "speecht5": (11, 1.0, 0.01), "speech2bert": (10, 1.0, 0.03), "whisper": (8, 1.0, 0.07), "moonshine": (0, 1.0, 0.07),
    "moonshine_streaming": (8, 0.4, 0.07), "canary": (1, 1.0, 0.07), "cohere": (6, 0.4, 0.01),
    "pop2piano": (11, 0.4, 0.07), "trocr": (7, 0.4, 0.01), "trocr_sinusoidal": (6, 1.0, 0.01), "donut": (1, 1.0, 0.01),
    "florence2": (9, 1.0, 0.01), "formulanet": (4, 0.4, 0.03), "pix2struct": (6, 1.0, 0.07), "udop": (1, 1.0, 0.07),
}  # fmt: skip


def listed() -> set[str]:
    """Every class of transformers that can generate and whose default configuration is an encoder-decoder's."""
    found = set()
    for kind in CONFIG_MAPPING:
        config = CONFIG_MAPPING[kind]
        if _for_encoder_decoder(config):
            package = importlib.import_module(config.__module__.rpartition(".")[0])
            modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
            for name in (name for name in modules if name.startswith("modeling_")):
                found |= _generators(importlib.import_module(f"{package.__name__}.{name}"))
    return found


def _for_encoder_decoder(config: type) -> bool:
    if config.is_encoder_decoder:
        return True
    try:
        return config().is_encoder_decoder  # Musicgen's says it only then
    except StrictDataclassError:  # one cannot be made without settings
        return False


def _generators(module) -> set[str]:
    here = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
    return {kind.__name__ for kind in here if issubclass(kind, GenerationMixin)}


# Weights


def pair(name: str, dtype: torch.dtype = torch.float32):
    """The family's two-layer target and its one-layer draft, as Hugging Face models."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # a few classes draw vectors, too, which `shake` leaves as they are
        target, draft = (FAMILIES[name].build(layers, VOCAB).eval() for layers in (2, 1))
    shake(target, draft, FAMILIES[name].sources(), *TUNED[name])
    return target.to(dtype), draft.to(dtype)


@torch.no_grad()
def shake(target, draft, sources: list, seed: int, embedding: float, noise: float, sharpness: float = 3.0) -> None:
    """As `tiny.shake` and `tiny.resemble`, for any class: what the draft lacks is what says less."""
    for model in (target, draft):
        head_of(model).weight = torch.nn.Parameter(head_of(model).weight.detach().clone())
    generator = torch.Generator().manual_seed(seed)
    of_draft = dict(draft.named_parameters())
    for name, weight in sorted(target.named_parameters()):
        if weight.ndim >= 2:
            gain = _gain(name, weight, embedding, later=name not in of_draft)
            weight.copy_(gain * torch.randn(weight.shape, generator=generator))
    head = head_of(target).weight
    head.copy_(sharpness * head.shape[1] ** -0.5 * torch.randn(head.shape, generator=generator))
    common = _hidden(target, sources, generator)
    head -= (head @ common)[:, None] * common / common.square().sum()
    tiny.resemble(draft, target, seed + 1, noise)


def head_of(model):
    """The layer that makes logits. FSMT names its embedding instead, which shares the weight."""
    return getattr(model.get_decoder(), "output_projection", None) or model.get_output_embeddings()


ENDS_BRANCH = re.compile(
    r"\.(o|wo|out_proj|o_proj|fc2|down_proj|output|output\.dense|output_dense|linear_out|linear2|lin2|pointwise_conv2|"
    r"attn\.proj)\.weight$"
)


def _gain(name: str, weight: torch.Tensor, embedding: float, later: bool) -> float:
    if "relative_attention_bias" in name:
        return 3.0
    if "embed" in name or "shared" in name:
        return embedding
    return (0.15 if later and ENDS_BRANCH.search(name) else 2.0) * weight.shape[1:].numel() ** -0.5


def _hidden(model, sources: list, generator) -> torch.Tensor:
    """The direction that the hidden states before the head share, over all sources and random targets."""
    seen = []
    hook = head_of(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    for source in sources:
        model(**inputs_of(source), decoder_input_ids=torch.randint(2, VOCAB, (1, 12), generator=generator))
    hook.remove()
    return torch.cat(seen).mean(0)


# What Hugging Face does


def inputs_of(source, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Encoder inputs of one row; copies, since a model may write into them."""
    if not isinstance(source, dict):
        return {"input_ids": torch.tensor([source])}
    return {name: x.to(dtype, copy=True) if x.is_floating_point() else x.clone() for name, x in source.items()}


def prompt_of(name: str, model) -> tuple[int, ...]:
    """The decoder's tokens before the first generated one, the start token found as `generate` finds it."""
    config = model.generation_config
    start = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    return FAMILIES[name].prompt or (start,)


@torch.no_grad()
def reference(name: str, model, source, max_new_tokens: int) -> list[int]:
    """What Hugging Face's own `generate` gives for one source alone: generated tokens only."""
    options = {"max_new_tokens": max_new_tokens, "num_beams": 1, "do_sample": False, **inputs_of(source, model.dtype)}
    if name == "whisper":
        # Its own generate makes the prompt from these words, and leaves out an EOS at the end.
        found = model.generate(**options, language="de", task="transcribe")[0].tolist()
        return found if len(found) == max_new_tokens else [*found, EOS]
    prompt = prompt_of(name, model)
    if len(prompt) > 1:
        options["decoder_input_ids"] = torch.tensor([prompt])
    # Pop2Piano's own generate only puts a composer before the features; then it calls this one.
    generate = GenerationMixin.generate if name == "pop2piano" else type(model).generate
    return generate(model, **options)[0, len(prompt) :].tolist()


@torch.no_grad()
def encoded(model, source):
    """Encoder outputs as `generate` makes them: with the picture, too, where the text holds a place for it."""
    tensor, name, inputs = model._prepare_model_inputs(None, None, inputs_of(source, model.dtype))
    config = model.generation_config
    return model._maybe_prepare_encoder_kwargs_for_generation(tensor, inputs, name, config)["encoder_outputs"]
