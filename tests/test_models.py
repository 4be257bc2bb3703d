"""A checkpoint behind its face: sources, prompts, languages, pieces, and whether several tokens can be fed at once."""

import copy
import warnings

import numpy as np
import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.modeling_outputs import BaseModelOutput

import specdec_lite as sd
import tiny
from specdec_lite.selfcheck import check_blocks

SOURCE, SPECIAL = [5, 6, 7, 9], {"pad_token_id": tiny.PAD, "eos_token_id": tiny.EOS, "bos_token_id": 2}
RATE = 16000
SMALL = {
    "vocab_size": tiny.VOCAB, "d_model": tiny.WIDTH, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "max_position_embeddings": 64, "decoder_start_token_id": 3, "forced_eos_token_id": None, **SPECIAL,
    "tie_word_embeddings": False,
}  # fmt: skip


def m2m100():
    return hf.M2M100ForConditionalGeneration(hf.M2M100Config(**SMALL))


def marian():
    return hf.MarianMTModel(hf.MarianConfig(**SMALL))


def fsmt():
    settings = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    return hf.FSMTForConditionalGeneration(
        hf.FSMTConfig(langs=["en", "de"], src_vocab_size=tiny.VOCAB, tgt_vocab_size=tiny.VOCAB, **settings)
    )


def prophetnet():
    sides = ("encoder", "decoder")
    return hf.ProphetNetForConditionalGeneration(
        hf.ProphetNetConfig(
            vocab_size=tiny.VOCAB, hidden_size=tiny.WIDTH, max_position_embeddings=64, decoder_start_token_id=3,
            **{f"num_{side}_layers": 1 for side in sides}, **{f"num_{side}_attention_heads": 4 for side in sides},
            **{f"{side}_ffn_dim": 32 for side in sides}, **SPECIAL,
        )
    )  # fmt: skip


def moonshine():
    sides = ("encoder", "decoder")
    return hf.MoonshineForConditionalGeneration(
        hf.MoonshineConfig(
            vocab_size=tiny.VOCAB, hidden_size=tiny.WIDTH, intermediate_size=32, decoder_start_token_id=3,
            **{f"{side}_num_hidden_layers": 1 for side in sides},
            **{f"{side}_num_attention_heads": 4 for side in sides}, **SPECIAL,
        )
    )  # fmt: skip


def trocr():
    encoder = hf.ViTConfig(
        hidden_size=tiny.WIDTH, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, image_size=16,
        patch_size=4,
    )  # fmt: skip
    decoder = hf.TrOCRConfig(**SMALL, is_decoder=True, add_cross_attention=True)
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.tie_word_embeddings = 3, False
    for name, token in SPECIAL.items():
        setattr(config, name, token)
    return hf.VisionEncoderDecoderModel(config)


def lively(model):
    """Random weights of a size that makes outputs depend on everything, with a seed of their own."""
    return tiny.shake(tiny.untie(model), 0, 3.0).eval()


def refuses(error, *said):
    return pytest.raises(error, match="(?s)" + "".join(f"(?=.*{part})" for part in said) + ".*expected")


def generate(hf_model, source, n=10, **options):
    inputs = {"input_ids": torch.tensor([source])} if isinstance(source, list) else source
    return hf_model.generate(**inputs, max_new_tokens=n, do_sample=False, num_beams=1, **options)[0].tolist()


def greedy(model, source, n=10):
    return sd.autoregressive_generate(model, source, max_new_tokens=n, temperature=0.0).token_ids


# Sources


@pytest.mark.parametrize("key", ["labels", "attention_masks", "decoder_input_ids", "foo"])
@pytest.mark.parametrize("family", ["t5", "bart", "whisper"])
def test_an_unknown_key_is_refused_and_the_known_are_listed(family, key):
    model = tiny.tiny_pair(family).target
    name = model.hf_model.main_input_name
    main = torch.randn(1, 8, 40) if family == "whisper" else torch.tensor([SOURCE])
    model.encode({name: main})
    with refuses(ValueError, f"'{key}'", name, "attention_mask"):
        model.encode({name: main, key: torch.ones(1, 4)})


@pytest.mark.parametrize("mask", [torch.ones(1, 3), torch.ones(1, 5), torch.ones(2, 4), torch.ones(4)])
def test_a_mask_must_fit(bart_pair, mask):
    with refuses(ValueError, str(tuple(mask.shape))[1:-1] if mask.shape[0] == 1 else ""):
        bart_pair.target.encode({"input_ids": [SOURCE], "attention_mask": mask})


@pytest.mark.parametrize("mask", [[1, 1, 1, 0], [1, 1, 1, 1]])
def test_a_mask_goes_to_the_encoder_as_it_is_and_to_the_decoder_if_it_hides(bart_pair, mask):
    """Two families' encoders compute something else with a mask, even with one that hides nothing."""
    source = bart_pair.target.source([{"input_ids": [SOURCE], "attention_mask": [mask]}])
    assert source.inputs[0]["attention_mask"].tolist() == [mask]
    assert (source.attention_mask is None) == all(mask)


@pytest.mark.parametrize("source", [b"abc", bytearray(b"abc"), np.zeros(9, np.float32), torch.rand(9), {5, 6.5}])
def test_what_is_no_text_is_refused_by_a_text_model(bart_pair, source):
    with refuses(TypeError, "source="):
        bart_pair.target.encode(source)


@pytest.fixture(scope="module")
def extractor():
    """One second is 40 frames: what the tiny Whisper reads."""
    return hf.WhisperFeatureExtractor(feature_size=8, sampling_rate=RATE, hop_length=400, chunk_length=1, n_fft=400)


@pytest.fixture(scope="module")
def listener(extractor):
    return sd.Seq2Seq(tiny.tiny_pair("whisper").target.hf_model, extractor)


def test_audio_goes_through_the_feature_extractor(listener, extractor):
    samples = np.sin(np.arange(RATE) / 30).astype(np.float32)
    want = extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
    for source in (samples, torch.tensor(samples), {"array": samples, "sampling_rate": RATE}, {"input_features": want}):
        inputs = listener.encode(source)
        assert set(inputs) == {"input_features"} and torch.equal(inputs["input_features"], want)
    assert len(greedy(listener, samples)) == 10


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("a text", TypeError, ["a text", "16000 Hz", "input_features"]),
        ([5, 6], TypeError, ["5, 6"]),
        (b"ab", TypeError, ["ab"]),
        (np.zeros(RATE + 1, np.float32), ValueError, ["1.0 s", "16001 and 16000 samples"]),
        (np.zeros((2, 400), np.float32), ValueError, ["2, 400"]),
        (np.zeros(400, np.int16), ValueError, ["int16"]),
        (np.zeros(0, np.float32), ValueError, ["0,"]),
        ({"array": np.zeros(400, np.float32), "sampling_rate": 44100}, ValueError, ["sampling_rate=44100", "16000"]),
        ({"input_features": torch.zeros(1, 8, 41)}, ValueError, ["1, 8, 41", "1, 8, 40"]),
        ({"input_features": torch.zeros(1, 9, 40)}, ValueError, ["1, 9, 40"]),
        ({"input_features": torch.zeros(1, 8, 0)}, ValueError, ["1, 8, 0"]),
        ({"input_ids": [SOURCE]}, ValueError, ["'input_ids'", "input_features"]),
        ({"input_features": "loud"}, TypeError, ["input_features", "loud"]),
    ],
    ids=str,
)
def test_audio_that_does_not_fit_is_refused(listener, source, error, said):
    with refuses(error, "source", *said):
        listener.encode(source)


def test_audio_without_a_processor_is_refused():
    with refuses(TypeError, "source=", "input_features"):
        tiny.tiny_pair("whisper").target.encode(np.zeros(400, np.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_are_the_input_of_moonshine_and_have_its_dtype(dtype):
    hf_model = moonshine().to(dtype)
    model = sd.Seq2Seq(hf_model, hf.Wav2Vec2FeatureExtractor(sampling_rate=RATE))
    samples = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    inputs = model.encode(samples)
    assert inputs["input_values"].shape == (1, 4000) and inputs["input_values"].dtype == dtype
    assert generate(hf_model, inputs) == [3, *greedy(model, samples)]


def test_a_processor_that_does_not_fit_the_model_is_refused(extractor):
    model = sd.Seq2Seq(moonshine(), extractor)
    with refuses(ValueError, "WhisperFeatureExtractor", "input_values"):
        model.encode(np.zeros(RATE, np.float32))
    with refuses(TypeError, "tokenizer='t5'"):
        sd.Seq2Seq(moonshine(), "t5")


def test_a_picture_goes_through_the_image_processor():
    image = pytest.importorskip("PIL.Image").new("L", (20, 30), 7)
    hf_model = lively(trocr())
    model = sd.Seq2Seq(hf_model, hf.ViTImageProcessor(size={"height": 16, "width": 16}))
    inputs = model.encode(image)
    assert set(inputs) == {"pixel_values"} and inputs["pixel_values"].shape == (1, 3, 16, 16)
    assert generate(hf_model, inputs) == [3, *greedy(model, image)]
    for source in ("a text", SOURCE, np.zeros((3, 16, 16))):
        with refuses(TypeError, "source=", "PIL", "pixel_values"):
            model.encode(source)
    with refuses(TypeError, "source=", "pixel_values"):
        sd.Seq2Seq(hf_model).encode(image)


def test_a_source_may_be_of_another_vocabulary_than_the_output():
    apart = {"vocab_size": 40, "decoder_vocab_size": 32, "share_encoder_decoder_embeddings": False}
    hf_model = hf.MarianMTModel(hf.MarianConfig(**SMALL | apart))
    model = sd.Seq2Seq(hf_model)
    assert model.encode([39])["input_ids"].tolist() == [[39]]
    with refuses(ValueError, "40", "0..39"):
        model.encode([40])


# The decoder's prompt


def test_a_model_with_a_bos_and_no_start_token_begins_as_generate_does():
    model = tiny.tiny_pair("bart").target
    model.hf_model.generation_config.decoder_start_token_id = None
    assert model.prompt == (2,) and generate(model.hf_model, SOURCE) == [2, *greedy(model, SOURCE)]
    model.hf_model.generation_config.bos_token_id = model.hf_model.config.decoder_start_token_id = None
    with refuses(ValueError, "decoder_start_token_id=None"):
        sd.Seq2Seq(model.hf_model)


@pytest.mark.parametrize("prompt", [[3, 8, 9], [8, 9], (8,), np.array([8, 9])])
def test_a_prompt_is_what_generate_takes_for_decoder_input_ids(prompt):
    hf_model = lively(marian())
    model = sd.Seq2Seq(hf_model, prompt=prompt)
    assert model.prompt == (3, *[int(i) for i in prompt if i != 3])
    want = generate(hf_model, SOURCE, decoder_input_ids=torch.tensor([[int(i) for i in prompt]]))
    assert want == [*model.prompt, *greedy(model, SOURCE)]


def test_a_prompt_may_be_text():
    assert sd.Seq2Seq(marian(), tiny.tokenizer(), prompt="w8 w9").prompt == (3, 8, 9)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"prompt": [5, tiny.VOCAB]}, ValueError, ["prompt=", "0..31"]),
        ({"prompt": [-1]}, ValueError, ["prompt="]),
        ({"prompt": []}, ValueError, ["prompt="]),
        ({"prompt": [1.5]}, TypeError, ["prompt="]),
        ({"prompt": "w5"}, TypeError, ["prompt='w5'"]),
        ({"prompt": 5}, TypeError, ["prompt=5"]),
        ({"prompt": [5], "language": "de"}, ValueError, ["prompt=", "language='de'"]),
        ({"language": "de"}, ValueError, ["language='de'"]),
        ({"task": "translate"}, ValueError, ["task='translate'"]),
    ],
    ids=str,
)
def test_a_prompt_that_does_not_fit_is_refused(options, error, said):
    with refuses(error, *said):
        sd.Seq2Seq(marian(), **options)


def test_the_prompt_takes_room_in_the_decoder():
    model = sd.Seq2Seq(marian(), prompt=[8, 9, 10])
    assert model.texts(2, 61)[1].limit == 65  # the last token is never fed
    with pytest.raises(
        ValueError, match="max_new_tokens=62: expected at most the model's 64 positions less 3 of the prompt"
    ):
        model.texts(1, 62)


def multilingual(**more):
    """A Whisper of two languages, as the published checkpoints describe themselves."""
    model = tiny.tiny_pair("whisper").target.hf_model
    told = {
        "is_multilingual": True, "lang_to_id": {"<|en|>": 20, "<|de|>": 21}, "no_timestamps_token_id": 24,
        "task_to_id": {"translate": 22, "transcribe": 23}, **more,
    }  # fmt: skip
    for name, value in told.items():
        setattr(model.generation_config, name, value)
    return model


WHISPERS = [
    ({}, {"language": "de"}),
    ({}, {"language": "german", "task": "translate"}),
    ({}, {"language": "<|en|>", "task": "transcribe"}),
    ({"language": "en"}, {}),
    ({"language": "en", "task": "translate"}, {"language": "de"}),
    ({"forced_decoder_ids": [[1, 21], [2, 22]]}, {}),
    ({"forced_decoder_ids": [[1, None], [2, 23]]}, {"language": "en"}),
    ({"forced_decoder_ids": [[1, 20], [2, 23], [3, 24]]}, {}),
    ({"is_multilingual": False, "lang_to_id": None, "task_to_id": None, "forced_decoder_ids": [[1, 24]]}, {}),
    ({"return_timestamps": True}, {"language": "de"}),
]


@pytest.mark.parametrize(("told", "asked"), WHISPERS, ids=str)
def test_whispers_prompt_is_that_of_its_own_generate(told, asked):
    hf_model = multilingual(**told)
    for name in ("lang_to_id", "task_to_id"):
        if getattr(hf_model.generation_config, name) is None:
            delattr(hf_model.generation_config, name)
    config = copy.deepcopy(hf_model.generation_config)
    hf_model._set_language_and_task(asked.get("language"), asked.get("task"), None, config)
    config.return_timestamps = getattr(config, "return_timestamps", None)
    want = hf_model._retrieve_init_tokens(torch.zeros(1, 8, 40), 1, config, hf_model.config, 40, {})
    assert sd.Seq2Seq(hf_model, **asked).prompt == tuple(want[0].tolist())


def test_whispers_output_is_that_of_its_own_generate():
    hf_model = multilingual()
    features = {"input_features": torch.randn(1, 8, 40, generator=torch.Generator().manual_seed(0))}
    with warnings.catch_warnings(action="ignore"):
        want = generate(hf_model, features, language="de", task="translate")
    assert greedy(sd.Seq2Seq(hf_model, language="de", task="translate"), features) == want[-10:]


@pytest.mark.parametrize(
    ("told", "asked", "said"),
    [
        ({}, {}, ["language=None", "en, de"]),
        ({"forced_decoder_ids": [[1, None], [2, 23]]}, {}, ["language=None", "en, de"]),
        ({}, {"task": "translate"}, ["language=None"]),
        ({}, {"language": "fr"}, ["language='fr'", "en, de"]),
        ({}, {"language": "de", "task": "sing"}, ["task='sing'", "translate, transcribe"]),
        ({"is_multilingual": False}, {"language": "de"}, ["language='de'", "English"]),
    ],
)
def test_whisper_without_a_language_that_it_knows_is_refused(told, asked, said):
    with refuses(ValueError, *said):
        sd.Seq2Seq(multilingual(**told), **asked)


def with_languages(*codes):
    made = tiny.tokenizer()
    words = {f"w{i}": code for i, code in enumerate(codes, start=20)}
    vocabulary = {words.get(word, word): i for word, i in made.get_vocab().items()}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="w2"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "additional_special_tokens": list(codes)}
    return hf.PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def test_a_target_language_is_the_first_token_as_generate_forces_it():
    hf_model, tokenizer = lively(m2m100()), with_languages("eng_Latn", "deu_Latn")
    model = sd.Seq2Seq(hf_model, tokenizer, language="deu_Latn")
    assert model.forced_first == 21 and hf_model.generation_config.forced_bos_token_id is None
    for text in ("w5 w6 w7", "w9 w8"):
        ids = tokenizer(text).input_ids
        assert generate(hf_model, ids, forced_bos_token_id=21) == [3, *greedy(model, text)]
        assert greedy(sd.Seq2Seq(hf_model, tokenizer), text) != greedy(model, text)
    with refuses(ValueError, "language='fr'", "eng_Latn, deu_Latn"):
        sd.Seq2Seq(hf_model, tokenizer, language="fr")
    tokenizer.lang_code_to_id = {"en": 20, "de": 21}  # as M2M100's and mBART's tokenizers have it
    assert sd.Seq2Seq(hf_model, tokenizer, language="de").forced_first == 21


def test_seamless_wants_its_language_in_the_prompt():
    hf_model = marian()  # the rule goes by the generation config
    hf_model.generation_config.text_decoder_lang_to_code_id = {"eng": 20, "deu": 21}
    model = sd.Seq2Seq(hf_model, language="deu")
    assert model.prompt == (3, 21) and model.forced_first is None
    with refuses(ValueError, "language='de'", "eng, deu"):
        sd.Seq2Seq(hf_model, language="de")


# What is read at every call


def test_the_generation_config_is_read_at_every_call():
    model = tiny.tiny_pair("bart").target
    config, first = model.hf_model.generation_config, greedy(model, SOURCE)
    config.eos_token_id = [tiny.EOS, first[2]]
    assert model.eos_tokens == {tiny.EOS, first[2]} and greedy(model, SOURCE) == first[: first.index(first[2]) + 1]
    config.eos_token_id = None
    assert model.eos_tokens == frozenset() and model.hf_model.config.eos_token_id == tiny.EOS
    assert len(greedy(model, SOURCE, 40)) == 40 and [3, 1][1:] + greedy(model, SOURCE, 40) == generate(
        model.hf_model, SOURCE, 40
    )
    config.decoder_start_token_id, config.forced_bos_token_id = 9, 8
    assert model.prompt == (9,) and greedy(model, SOURCE)[0] == model.forced_first == 8


def test_a_model_that_was_trained_in_between_decodes_without_dropout():
    model = sd.Seq2Seq(lively(hf.BartForConditionalGeneration(hf.BartConfig(**SMALL, dropout=0.5))))
    first = greedy(model, SOURCE, 30)
    for _ in range(3):
        model.hf_model.train()
        assert greedy(model, SOURCE, 30) == first


def test_what_the_call_overrides_is_said_once_a_model(recwarn):
    model = tiny.tiny_pair("bart", do_sample=True, num_beams=4).target
    for _ in range(2):
        greedy(model, SOURCE)
        greedy(model.with_cursor(sd.CachedDecoder), SOURCE)
    said = [str(one.message) for one in recwarn if "num_beams=4" in str(one.message)]
    assert len(said) == 1 and "do_sample=True" in said[0]


def test_a_cursor_of_another_kind():
    made = []

    def kind(hf_model, split_after):
        made.append((hf_model, split_after))
        return sd.CachedDecoder(hf_model, split_after)

    model = sd.Seq2Seq(m2m100())
    other = model.with_cursor(kind)
    assert greedy(other, SOURCE) == greedy(model, SOURCE) and made == [(model.hf_model, tiny.PAD)]


# Tokens as text


def byte_level():
    alphabet = {piece: i + 3 for i, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary = {"<pad>": 0, "</s>": 1, "Ġh": 2, **alphabet}
    backend = Tokenizer(models.BPE(vocabulary, [("Ġ", "h")]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return hf.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")


def unigram():
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁für", -1.0), ("▁", -3.0), ("a", -2.0), ("▁das", -1.0)]
    backend = Tokenizer(models.Unigram(words, unk_id=2))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return hf.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def word_piece():
    words = {"[UNK]": 0, "</s>": 1, "play": 2, "##ing": 3, "now": 4}
    backend = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    return hf.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="[UNK]")


@pytest.mark.parametrize(
    ("tokenizer", "text", "want"),
    [
        (byte_level(), "a hü€", ["a", " h", "", "ü", "", "", "€"]),
        (byte_level(), " h", [" h"]),
        (unigram(), "für das a", [" für", " das", " ", "a"]),
        (word_piece(), "playing now", ["play", "ing", " now"]),
    ],
)
def test_pieces_read_like_the_text(tokenizer, text, want):
    model = sd.Seq2Seq(tiny.t5_model(vocab=300), tokenizer)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert model.pieces(ids) == want and "".join(want).strip() == text.strip()
    assert model.pieces([*ids, 1])[-1].strip() == "</s>" and model.pieces([]) == []


def test_half_a_character_is_shown_as_one_that_is_missing():
    model = sd.Seq2Seq(tiny.t5_model(vocab=300), byte_level())
    ids = model.tokenizer("€a").input_ids
    assert model.pieces(ids[:2]) == ["", "\ufffd"] and model.pieces([*ids[:2], ids[-1]])[2] == "\ufffda"


# Several tokens at once


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("build", [tiny.t5_model, tiny.bart_model, tiny.whisper_model, marian, moonshine, trocr])
def test_most_families_take_a_block(build, dtype):
    assert sd.Seq2Seq(build().to(dtype)).split_after is None


@pytest.mark.parametrize("shape", [lambda model: model, lively], ids=["as made", "lively"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_families_that_do_not_count_pads_have_blocks_cut_behind_one(dtype, shape):
    assert sd.Seq2Seq(shape(m2m100()).to(dtype)).split_after == tiny.PAD


@pytest.mark.parametrize(("build", "reason"), [(fsmt, "FSMT.*other logits"), (prophetnet, "ProphetNet.*of length 1")])
def test_families_that_cannot_are_refused_with_the_reason(build, reason):
    hf_model = build()
    with refuses(ValueError, reason, "self_check=False"):
        sd.Seq2Seq(hf_model)
    assert sd.Seq2Seq(hf_model, self_check=False).split_after is None


def test_the_check_moves_no_random_state_and_runs_no_encoder():
    model, state = tiny.tiny_pair("whisper").target, torch.random.get_rng_state()
    with tiny.counted(model) as (counts,):
        assert check_blocks(model.hf_model, model.start_token, model.vocab_size) is None
    assert counts["encoder"] == 0 and counts["decoder"] <= 12
    assert torch.equal(torch.random.get_rng_state(), state)


def test_logits_that_are_not_finite_are_no_reason_to_refuse():
    hf_model = tiny.t5_model()
    hf_model.get_output_embeddings().weight.data[3] = torch.nan
    assert sd.Seq2Seq(hf_model).split_after is None


def test_a_decoder_that_reads_something_else_than_the_states_is_refused(monkeypatch):
    hf_model = tiny.bart_model()
    forward, silence = hf_model.forward, BaseModelOutput(last_hidden_state=torch.zeros(1, 4, tiny.WIDTH))
    monkeypatch.setattr(hf_model, "forward", lambda encoder_outputs, **rest: forward(encoder_outputs=silence, **rest))
    with refuses(ValueError, "BartForConditionalGeneration", "states"):
        sd.Seq2Seq(hf_model)


def test_what_a_wider_sum_rounds_differently_is_no_position(monkeypatch):
    """Seen once on a busy processor: logits differed by two eps, and the model was taken for one like NLLB."""
    model = tiny.tiny_pair("t5").target.hf_model
    forward = model.forward

    def rounded(*args, **given):
        outputs = forward(*args, **given)
        if given["decoder_input_ids"].shape[1] == 3:
            outputs.logits = outputs.logits * (1 + 5e-6)
        return outputs

    monkeypatch.setattr(model, "forward", rounded)
    assert check_blocks(model, 0, 32) is None
