"""The fast path behind encoders of sound and of pictures: what it gives, what it refuses, and what its buffers hold."""

from contextlib import nullcontext

import pytest
import torch
import transformers as hf

import families
import specdec_lite as sd
import tiny
from families import FAMILIES
from specdec_lite.fast import has_compiler
from specdec_lite.fast.buffers import CompiledSeq2Seq
from specdec_lite.fast.compile import buffer_size, obeys_mask, states_of_every_source
from test_compiled import CountingBackend, not_traced

# Those that run by default, and those that take long
SERVED = ["whisper", *(pytest.param(name, marks=pytest.mark.long) for name in (
    "moonshine", "moonshine_streaming", "canary", "cohere", "donut", "pop2piano",
))]  # fmt: skip
WINDOW = tiny.whisper_model().config.max_source_positions


def pair_of(name, **options):
    options = options or {"prompt": FAMILIES[name].prompt or None}
    return sd.Pair(*(sd.Seq2Seq(model, **options) for model in families.pair(name)), name)


def fast(pair, backend=None, **options):
    options = {"gammas": 3, "max_new_tokens": 16, "progress": False, **options}
    return sd.compile_pair(pair, backend=backend or CountingBackend(), **options)


def buffers(model, **options):
    return CompiledSeq2Seq(model, [1, 4], **{"max_new_tokens": 16, "backend": "eager", **options})


def sound(seed=0, frames=2 * WINDOW):
    return {"input_features": torch.randn(1, 8, frames, generator=torch.Generator().manual_seed(seed))}


def assert_same(pair, quick, sources, gammas=(0, 1, 3)):
    seen = set()
    for seed, source in enumerate(sources):
        for temperature in (0.0, 1.0):
            options = {"max_new_tokens": 16, "temperature": temperature, "seed": seed}
            plain = sd.autoregressive_generate(pair.target, source, **options).token_ids
            assert sd.autoregressive_generate(quick.target, source, **options).token_ids == plain
            for gamma in gammas:
                slow, got = (sd.speculative_generate(*p, source, gamma=gamma, **options) for p in (pair, quick))
                assert got.token_ids == slow.token_ids and got.target_passes == slow.target_passes
                assert temperature or got.token_ids == plain
            seen.add(tuple(plain))
    assert len(seen) > len(sources)


# What is served


@pytest.mark.parametrize("name", SERVED)
def test_same_tokens_as_the_pair(name):
    with not_traced() if name == "whisper" else nullcontext():  # it is traced below
        pair = pair_of(name)
        assert_same(pair, fast(pair), FAMILIES[name].sources()[:3])


@not_traced()  # a prompt is fed, as the next test's is
def test_language_and_task_are_those_of_the_pair():
    texts = []
    for language, task in (("de", "transcribe"), ("en", "translate")):
        pair = pair_of("whisper", language=language, task=task)
        quick, source = fast(pair), sound()
        assert len(quick.target.prompt) == 4 and quick.target.prompt == pair.target.prompt
        assert_same(pair, quick, [source], gammas=[3])
        texts.append(sd.autoregressive_generate(quick.target, source, max_new_tokens=16, temperature=0.0).token_ids)
    assert texts[0] != texts[1]


def test_a_whisper_without_settings_takes_the_two_calls_and_compiles_nothing_more():
    pair, backend = tiny.tiny_pair("whisper"), CountingBackend()
    pair = sd.Pair(*(sd.Seq2Seq(model.hf_model, prompt=[3, 8, 9, 10]) for model in pair), pair.name)
    quick = fast(pair, backend)
    assert backend.graphs == 7 and quick.target.whole
    assert_same(pair, quick, [sound(seed) for seed in range(4)])
    assert backend.graphs == 7


@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="no C++ compiler")
@pytest.mark.long
def test_whisper_compiled_for_real():
    pair = pair_of("whisper")
    assert_same(pair, fast(pair, "inductor"), FAMILIES["whisper"].sources()[:2], gammas=[3])


def large_whisper(**more):
    """Wide enough for one call of all layers."""
    shape = {
        "vocab_size": 50, "d_model": 32, "encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 48, "num_mel_bins": 8,
        "max_source_positions": 20, "max_target_positions": 64, "pad_token_id": 0, "bos_token_id": 2,
        "eos_token_id": 1, "decoder_start_token_id": 3, "suppress_tokens": None, "begin_suppress_tokens": None,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = hf.WhisperForConditionalGeneration(hf.WhisperConfig(**shape | more))
        for parameter in made.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return sd.Seq2Seq(made)


@torch.inference_mode()
def assert_same_logits(slow, quick, source):
    ours, theirs = quick.cursor(), slow.cursor()
    for cursor in (ours, theirs):
        cursor.start(slow.encode(source))
    for kept, fed in ((0, [3]), (1, [7, 8, 9, 4]), (2, [11, 12]), (4, [13])):
        a, b = ([cursor.rollback(kept), cursor.extend([fed])][1] for cursor in (ours, theirs))
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * b.std().item())


@pytest.mark.usefixtures("kernels")
def test_whispers_decoder_runs_in_one_call_and_its_encoder_stays():
    slow = large_whisper()
    quick = buffers(slow, max_source_tokens=20, whole=True)
    assert quick.in_one_call and quick.encoder is slow.hf_model.get_encoder()
    assert_same_logits(slow, quick, sound(frames=40))


def test_an_encoder_that_is_wider_than_its_decoder():
    encoder = hf.ViTConfig(
        hidden_size=48, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4
    )
    decoder = hf.MBartConfig(**families.bart_like(1, 32, is_decoder=True, add_cross_attention=True))
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    slow = sd.Seq2Seq(hf.VisionEncoderDecoderModel(families._special(config)))
    assert not obeys_mask(slow) and states_of_every_source(slow) == 17
    quick = buffers(slow, max_source_tokens=17, whole=True)
    assert quick.states.shape == (1, 17, 48)
    assert_same_logits(slow, quick, {"pixel_values": torch.rand(1, 3, 16, 16)})


@pytest.mark.long
def test_frames_that_a_mask_hides_at_the_end_are_left_out():
    slow = pair_of("canary").target
    quick = buffers(slow, max_source_tokens=40)
    source = FAMILIES["canary"].sources()[0]
    source["attention_mask"][:, -9:] = 0
    assert_same_logits(slow, quick, source)


# What the buffers hold


def test_the_buffers_of_a_whisper_are_its_window():
    pair = tiny.tiny_pair("whisper")
    with pytest.raises(ValueError) as raised:
        fast(pair, max_source_tokens=WINDOW - 1)
    made = "the states that the encoder of pair.target=WhisperForConditionalGeneration makes of every source"
    assert str(raised.value) == f"max_source_tokens={WINDOW - 1}: expected at least {WINDOW}, {made}, or None"
    for asked in (None, WINDOW, WINDOW + 9):
        assert buffer_size("target", pair.target, asked) == {"max_source_tokens": WINDOW, "whole": True}


def test_other_buffers_have_what_is_asked_for():
    text, other = tiny.tiny_pair().target, pair_of("moonshine").target
    assert [buffer_size("", text, asked)["max_source_tokens"] for asked in (None, 9)] == [128, 9]
    assert [buffer_size("", other, asked)["max_source_tokens"] for asked in (None, 9)] == [1500, 9]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_who_obeys_a_mask(dtype):
    for family in tiny.FAMILIES:
        assert obeys_mask(tiny.tiny_pair(family, dtype=dtype).target)
    assert not obeys_mask(tiny.tiny_pair("whisper", dtype=dtype).target)


def test_what_the_buffers_would_compute_otherwise_is_refused():
    with pytest.raises(ValueError, match="on buffers of fixed size it computes other logits"):
        buffers(tiny.tiny_pair("whisper").target, max_source_tokens=WINDOW)  # shorter sources would see what is behind


def test_wrong_sources_are_told():
    quick = buffers(tiny.tiny_pair("whisper").target, max_source_tokens=WINDOW, whole=True)
    with pytest.raises(ValueError, match=r"source\['input_features'\] has shape \(1, 8, 38\): expected \(1, 8, 40\)"):
        sd.autoregressive_generate(quick, sound(frames=38), max_new_tokens=4)
    with pytest.raises(ValueError, match=r"source has the unknown key 'input_ids'"):
        sd.autoregressive_generate(quick, {"input_ids": torch.tensor([[5, 6]])}, max_new_tokens=4)
    with pytest.raises(ValueError, match="source is a list of 2: expected one"):
        sd.autoregressive_generate(quick, [sound(), sound(1)], max_new_tokens=4)


@pytest.mark.parametrize("name, said", [
    ("moonshine", r"source has \d+ positions: expected at most 5"),  # counted before its encoder runs
    ("canary", r"source has \d+ positions: expected at most max_source_tokens=5"),
])  # fmt: skip
def test_a_source_that_is_longer_than_the_buffers_is_told(name, said):
    quick = buffers(pair_of(name).target, max_source_tokens=5)
    with pytest.raises(ValueError, match=said):
        sd.autoregressive_generate(quick, FAMILIES[name].sources()[0], max_new_tokens=4)


def test_a_picture_of_another_size_is_told():
    quick = buffers(pair_of("donut").target, max_source_tokens=16, whole=True)
    with pytest.raises(ValueError, match="source has 32 positions: expected 16"):
        sd.autoregressive_generate(quick, {"pixel_values": torch.zeros(1, 3, 32, 16)}, max_new_tokens=4)
