"""The layers of a decoder in one call: the models it serves, what it computes, and what is done without it."""

import gc
import subprocess
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch.nn.functional import linear

import specdec_lite as sd
import tiny
from specdec_lite.fast import kernels, layers
from specdec_lite.fast.buffers import CompiledSeq2Seq
from specdec_lite.fast.kernels import has_kernels, pack

needed = pytest.mark.usefixtures("kernels")
IDS = {"vocab_size": 50, "pad_token_id": 0, "eos_token_id": 1}
T5 = {**IDS, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 3, "num_heads": 2, "decoder_start_token_id": 0}
BART = {
    **IDS, "d_model": 32, "encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "bos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
SERVED = {
    "t5": (hf.T5ForConditionalGeneration, hf.T5Config(**T5)),
    "t5, gated": (hf.T5ForConditionalGeneration, hf.T5Config(**T5, feed_forward_proj="gated-gelu")),
    "t5, gated silu": (hf.T5ForConditionalGeneration, hf.T5Config(**T5, feed_forward_proj="gated-silu")),
    "mt5": (hf.MT5ForConditionalGeneration, hf.MT5Config(**T5)),
    "bart": (hf.BartForConditionalGeneration, hf.BartConfig(**BART)),
    "bart, relu": (hf.BartForConditionalGeneration, hf.BartConfig(**BART, activation_function="relu")),
    "mbart": (hf.MBartForConditionalGeneration, hf.MBartConfig(**BART)),
    "marian": (hf.MarianMTModel, hf.MarianConfig(**BART, activation_function="swish")),
    "pegasus": (hf.PegasusForConditionalGeneration, hf.PegasusConfig(**BART)),
    "m2m100": (hf.M2M100ForConditionalGeneration, hf.M2M100Config(**BART)),
    "blenderbot": (hf.BlenderbotForConditionalGeneration, hf.BlenderbotConfig(**BART)),
    "blenderbot, small": (hf.BlenderbotSmallForConditionalGeneration, hf.BlenderbotSmallConfig(**BART)),
    "plbart": (hf.PLBartForConditionalGeneration, hf.PLBartConfig(**BART)),
}
OTHERS = {
    "a bias in each layer": (hf.UMT5ForConditionalGeneration, hf.UMT5Config(**T5)),
    "experts": (hf.SwitchTransformersForConditionalGeneration, hf.SwitchTransformersConfig(**T5)),
    "experts, too": (hf.NllbMoeForConditionalGeneration, hf.NllbMoeConfig(**BART, num_experts=4)),
    "heads of 8": (hf.T5ForConditionalGeneration, hf.T5Config(**{**T5, "d_kv": 8})),
    "an activation of its own": (hf.BartForConditionalGeneration, hf.BartConfig(**BART, activation_function="tanh")),
}


def model(case, seed=0, dtype=torch.float32):
    """Of random weights, biases and norms included, so that none of them can be left out unseen."""
    kind, config = case
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = kind(config).eval()
        for parameter in made.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return sd.Seq2Seq(made.to(dtype))


def add_to_last_layer(stack):
    """Its last layer hands on a little more than it computes."""

    def more(module, args, out):
        return (out[0] + 0.1, *out[1:]) if isinstance(out, tuple) else out + 0.1

    getattr(stack, layers.place_of_layers(stack))[-1].register_forward_hook(more)


def quick(model, widths=(1, 4), gammas=(), **options):
    options = {"max_new_tokens": 24, "max_source_tokens": 20, "backend": "eager", **options}
    return CompiledSeq2Seq(model, widths, gammas, **options)


@needed
@pytest.mark.parametrize("name", SERVED)
@torch.inference_mode()
def test_logits_are_the_models_after_any_moves(name):
    slow = model(SERVED[name])
    fast = quick(slow)
    assert fast.in_one_call
    for source in ([5, 9, 1], list(range(3, 23))):
        ours, theirs = fast.cursor(), slow.cursor()
        for cursor in (ours, theirs):
            cursor.start(slow.encode(source))
        for kept, fed in ((0, [3]), (1, [7, 8, 9, 4]), (2, [11, 12]), (4, [13]), (5, list(range(4, 14)))):
            a, b = ([cursor.rollback(kept), cursor.extend([fed])][1] for cursor in (ours, theirs))
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * b.std().item())


@needed
@pytest.mark.parametrize("name", SERVED)
@torch.inference_mode()
def test_states_are_the_encoders(name):
    slow = model(SERVED[name])
    fast, encoder = quick(slow), slow.hf_model.get_encoder()
    assert fast.encoder is not encoder and fast.hf_model.get_encoder() is encoder
    for length in (1, 2, 9, 17, 20):
        source = [3 + 7 * i % 47 for i in range(length)]
        found, expected = (each.source([source]).outputs.last_hidden_state for each in (fast, slow))
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.std().item())


@needed
def test_an_encoder_of_several_layers():
    slow = model((hf.BartForConditionalGeneration, hf.BartConfig(**{**BART, "encoder_layers": 3})))
    assert quick(slow).encoder is not slow.hf_model.get_encoder()


@needed
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_an_encoder_that_does_something_besides_is_kept(name):
    odd = model(SERVED[name])
    encoder = odd.hf_model.get_encoder()
    add_to_last_layer(encoder)
    fast = quick(odd)
    assert fast.in_one_call and fast.encoder is encoder


@needed
def test_a_shared_encoder_is_packed_once_and_runs_once():
    one, two = (quick(model(SERVED["t5"], seed), gammas=(3,)) for seed in (0, 1))
    two.hf_model.set_encoder(one.hf_model.get_encoder())
    sd.speculative_generate(one, two, [5, 9, 1], gamma=3, max_new_tokens=9)
    assert "encoder" in one.__dict__ and "encoder" not in two.__dict__


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_keep_their_layers(name):
    assert not quick(model(OTHERS[name])).in_one_call


@torch.inference_mode()
def test_other_encoders_are_kept():
    for case in (SERVED["t5"][0], hf.T5Config(**{**T5, "d_kv": 8})), OTHERS["an activation of its own"]:
        odd = model(case)
        assert quick(odd).encoder is odd.hf_model.get_encoder()


def test_other_dtypes_keep_their_layers():
    assert not quick(model(SERVED["t5"], dtype=torch.float64)).in_one_call


@needed
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_layer_that_does_something_besides_keeps_it(name):
    odd = model(SERVED[name])
    add_to_last_layer(odd.hf_model.get_decoder())
    assert not quick(odd).in_one_call


@needed
@pytest.mark.parametrize("rounded", [None, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("name", ["t5, gated", "marian"])
def test_rounded_weights_are_those_that_are_read(name, rounded):
    fast = quick(model(SERVED[name]), rounded=rounded)
    assert fast.in_one_call
    packed = {each.packed.dtype for each in fast.hf_model.modules() if getattr(each, "packed", None) is not None}
    assert packed == {rounded or torch.float32}


@cache
def pair_of(name):
    """A pair, and the same with compiled calls: traced once for all temperatures."""
    pair = sd.Pair(model(SERVED[name]), model(SERVED[name], seed=1), name)
    how = {"max_new_tokens": 20, "max_source_tokens": 20, "backend": "eager", "draft_weights": "bfloat16"}
    return pair, sd.compile_pair(pair, gammas=3, progress=False, **how)


@needed
@pytest.mark.parametrize("name", ["t5", "bart", pytest.param("marian", marks=pytest.mark.long)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_same_tokens(name, temperature):
    pair, fast = pair_of(name)
    assert fast.target.in_one_call and fast.draft.in_one_call
    for seed, source in enumerate(tiny.sources(6, vocab=50)):
        options = {"max_new_tokens": 20, "temperature": temperature, "seed": seed}
        slow = sd.autoregressive_generate(pair.target, source, **options)
        assert sd.autoregressive_generate(fast.target, source, **options).token_ids == slow.token_ids
        got = sd.speculative_generate(*fast, source, gamma=3, **options)
        if not temperature:
            assert got.token_ids == slow.token_ids


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("outputs, inputs", [(32, 16), (40, 37), (7, 5), (250, 64)])
def test_products(outputs, inputs, dtype):
    draw = torch.Generator().manual_seed(0)
    weight = (20 * torch.randn(outputs, inputs, generator=draw)).to(dtype)
    for n in (1, 2, 3, 7, 8, 9, 20):
        x = torch.randn(1, n, inputs, generator=draw)
        found = torch.ops.specdec_lite.linear(x, pack(weight), outputs)
        assert torch.allclose(found, linear(x, weight.float()), rtol=1e-4, atol=1e-2)


@needed
@torch.inference_mode()
def test_what_is_no_number_is_not_hidden():
    slow = model(SERVED["t5"])
    fast = quick(slow)
    slow.hf_model.get_decoder().block[1].layer[0].layer_norm.weight.fill_(torch.nan)  # tensors are shared
    cursor = fast.cursor()
    cursor.start(slow.encode([5, 9, 1]))
    assert cursor.extend([[3, 4]]).isnan().all()


@needed
def test_large_scores_do_not_overflow():
    slow = model(SERVED["bart"])
    for layer in slow.hf_model.get_decoder().layers:
        layer.self_attn.q_proj.weight.data *= 300
    assert quick(slow).in_one_call


@needed
def test_no_room_is_told():
    fast = quick(model(SERVED["t5"]))
    with torch.inference_mode(), pytest.raises(RuntimeError, match="the buffers are full"):
        fast.set_length(torch.tensor(10**6))
        fast.step(torch.tensor([[3]]))


@needed
def test_a_stack_goes_with_its_model():
    fast = quick(model(SERVED["t5"]))
    stack = next(each for each in fast.passes.modules() if isinstance(each, layers.LayerStack))
    number = stack.number
    del fast, stack
    gc.collect()
    again = quick(model(SERVED["t5"]))
    assert next(each for each in again.passes.modules() if isinstance(each, layers.LayerStack)).number <= number


@needed
def test_a_library_is_built_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    commands, real = [], subprocess.run

    def run(command, **options):
        if "-o" not in command:
            return real(command, **options)
        commands.append(command)
        return Path(command[command.index("-o") + 1]).write_text("a library")

    monkeypatch.setattr(subprocess, "run", run)
    library = kernels.build()
    assert library == kernels.build() and len(commands) == 1
    assert [each.name for each in library.parent.iterdir()] == [library.name]


@pytest.mark.parametrize("reason", ["asked", "refused", "no compiler"])
def test_without_the_library_the_compiler_does_it_all(reason, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise subprocess.CalledProcessError(1, "g++") if reason == "refused" else RuntimeError("no compiler")

    if reason == "asked":
        monkeypatch.setenv("SPECDEC_LITE_KERNELS", "0")
    else:
        monkeypatch.setattr(kernels, "build", fail)
    assert not has_kernels.__wrapped__()
    monkeypatch.setattr(kernels, "has_kernels", lambda: False)
    assert not quick(model(SERVED["t5"])).in_one_call
