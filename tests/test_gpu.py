"""What differs on a GPU: where tensors are made, and calls that are recorded and replayed. What can runs on a CPU, too.

`make gpu` runs these on a machine that has one.
"""

import functools
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import specdec_lite as sd
import tiny
from specdec_lite.fast import CompiledSeq2Seq, buffers
from specdec_lite.fast.padded import PaddedEncoder, padded_encoder
from specdec_lite.selfcheck import made_up_states

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_a_gpu)])
LENGTH = 24


def pair_on(device: str, family: str = "t5") -> sd.Pair:
    """The tiny pair in float64, where the order of sums decides nothing."""
    pair = tiny.tiny_pair(family, dtype=torch.float64)
    return sd.Pair(*(sd.Seq2Seq(model.hf_model.to(device)) for model in pair), pair.name)


@functools.cache
def compiled_on(device: str) -> sd.Pair:
    """Compiled for real on a GPU; on a CPU that has tests of its own, and here the calls run as they are."""
    how = {"max_new_tokens": LENGTH, "max_source_tokens": 16, "draft_weights": "bfloat16", "progress": False}
    if device == "cuda":
        return sd.compile_pair(pair_on(device), gammas=3, **how)
    with mock.patch("torch.compile", lambda call, **_: call):
        return sd.compile_pair(pair_on(device), gammas=3, backend="eager", **how)


def texts(pair: sd.Pair, gamma: int, sources: list, **options) -> list:
    options = {"max_new_tokens": LENGTH} | options
    runs = [
        sd.speculative_generate(*pair, source, gamma=gamma, seed=seed, **options)
        if gamma
        else sd.autoregressive_generate(pair.target, source, seed=seed, **options)
        for seed, source in enumerate(sources)
    ]
    return [(run.token_ids, [r.n_accepted for r in run.rounds]) for run in runs]


def devices_of(*cases, by_default):
    """All of the cases on a GPU; on a CPU, which then writes what it writes, only a few by default."""
    here = [pytest.param(*case, "cpu", marks=() if case in by_default else pytest.mark.long) for case in cases]
    return here + [pytest.param(*case, "cuda", marks=on_a_gpu) for case in cases]


RULES = [(family, rule) for family in tiny.FAMILIES for rule in ("token", "block", "coupled")]


@pytest.mark.parametrize(("family", "verification", "device"), devices_of(*RULES, by_default=RULES[:3]))
def test_a_gpu_writes_what_a_processor_writes(family, verification, device):
    here, there = pair_on("cpu", family), pair_on(device, family)
    for temperature in (0.0, 1.0):
        how = {"temperature": temperature, "verification": verification}
        for gamma in (0, 3):
            sources = tiny.sources(3)
            assert texts(there, gamma, sources, **how) == texts(here, gamma, sources, **how)
    many = [
        sd.speculative_generate(*pair, tiny.sources(4), gamma=3, seed=0, max_new_tokens=LENGTH)
        for pair in (here, there)
    ]
    assert [run.token_ids for run in many[0]] == [run.token_ids for run in many[1]]


WAYS = [({"temperature": 0.0},), ({},), ({"top_k": 5},), ({"verification": "block"},)]


@pytest.mark.parametrize(("options", "device"), devices_of(*WAYS, by_default=WAYS[1:2]), ids=str)
def test_compiled_calls_write_what_a_processor_writes(options, device):
    here, there, sources = compiled_on("cpu"), compiled_on(device), tiny.sources(6)
    for gamma in (0, 1, 2, 3):  # 2 is a part of the block of 3; 1 goes step by step
        assert texts(there, gamma, sources, **options) == texts(here, gamma, sources, **options)


@devices
def test_recorded_probabilities_outlive_the_next_call(device):
    """A replayed call writes its results where it wrote the last ones."""
    options = {"max_new_tokens": LENGTH, "seed": 1, "record_probs": True}
    for source in tiny.sources(3):
        for decode in (
            lambda pair, source: sd.speculative_generate(*pair, source, gamma=3, **options),
            lambda pair, source: sd.autoregressive_generate(pair.target, source, **options),
        ):
            ours, theirs = (decode(pair, source) for pair in (compiled_on(device), pair_on("cpu")))
            if len(ours.rounds) == len(ours.token_ids):  # one law for each token of one text
                assert ours.token_ids == theirs.token_ids
                assert torch.allclose(ours.target_probs.cpu(), theirs.target_probs, atol=1e-9)
            assert (ours.target_probs.sum(-1) - 1).abs().max() < 1e-9
            for row, token in zip(ours.target_probs, ours.token_ids):
                assert row[token] > 0


@on_a_gpu
def test_every_call_is_recorded_as_a_cuda_graph():
    from torch._dynamo.utils import counters
    from torch._inductor.cudagraph_trees import get_manager

    texts(compiled_on("cuda"), 3, tiny.sources(1))
    assert not counters["inductor"]["cudagraph_skips"], dict(counters["inductor"])
    assert get_manager(0, create_if_none_exists=False) is not None


@devices
def test_the_encoder_is_the_models_own_where_there_are_no_operators(device, monkeypatch):
    monkeypatch.setenv("SPECDEC_LITE_KERNELS", "0")
    monkeypatch.setattr("specdec_lite.fast.layers.serves", lambda weight: False)
    for model in compiled_on(device):
        assert model.encoder is model.hf_model.get_encoder() and not model.in_one_call


@devices
@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.inference_mode()
def test_a_padded_encoder_says_of_a_source_what_the_encoder_says(family, device):
    encoder = pair_on(device, family).target.hf_model.get_encoder()
    calls = []

    def counted(call):
        return lambda *inputs: calls.append([each.shape for each in inputs]) or call(*inputs)

    quick = padded_encoder(encoder, 16, counted)
    assert isinstance(quick, PaddedEncoder)
    for length in (1, 5, 16, 17):
        ids = torch.arange(3, 3 + length, device=device)[None] % 20
        hidden = torch.ones_like(ids)
        hidden[:, length // 2 + 1 :] = 0
        for mask in (None, hidden):
            given = {"input_ids": ids} if mask is None else {"input_ids": ids, "attention_mask": mask}
            shown = slice(None) if mask is None else slice(0, length // 2 + 1)  # what is said of the rest is not read
            found, expected = (each(**given).last_hidden_state[:, shown] for each in (quick, encoder))
            assert found.shape == expected.shape and (found - expected).abs().max() < 1e-9
    assert {shape for shapes in calls for shape in shapes} == {(1, 16)}  # 17 went to the encoder itself


def test_an_encoder_that_looks_at_its_padding_is_not_padded():
    encoder = pair_on("cpu").target.hf_model.get_encoder()

    def deaf(call):
        return lambda ids, mask: call(ids, torch.ones_like(mask))

    assert padded_encoder(encoder, 16, deaf) is encoder


@on_a_gpu
def test_an_encoder_is_compiled_on_a_gpu():
    assert all(isinstance(model.encoder, PaddedEncoder) for model in compiled_on("cuda"))


def test_a_model_is_checked_wherever_torch_puts_its_tensors():
    model = pair_on("cpu").target.hf_model
    with torch.device("meta"):
        states = made_up_states(model, 4)
    assert torch.equal(states, made_up_states(model, 4))


class OneDevice(TorchDispatchMode):
    """Refuses an operator that is given tensors of two devices; and lets a tensor without numbers answer yes."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        found, name = {each.device.type for each in tensors if each.ndim}, func._schema.name.removeprefix("aten::")
        assert len(found) < 2 or name in ("copy_", "to", "_to_copy"), f"{name} is given tensors on {found}"
        if name in ("item", "is_nonzero", "_local_scalar_dense") and tensors[0].is_meta:
            return name == "is_nonzero" or tensors[0].dtype == torch.bool or 1
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("rounded", [None, torch.bfloat16, torch.int8], ids=str)
def test_compiled_calls_are_fed_from_their_own_device(family, rounded, monkeypatch):
    """A device without numbers stands for the GPU: what is made on the processor by mistake does not go with it."""
    monkeypatch.setattr(buffers, "compiled", lambda call, *_: call)
    monkeypatch.setattr(buffers, "TOLERANCE", {torch.float32: 2.0})  # without numbers there is nothing to compare
    elsewhere = sd.Seq2Seq(tiny.tiny_pair(family).target.hf_model.to("meta"), self_check=False)
    with OneDevice():
        model = CompiledSeq2Seq(elsewhere, {1, 4}, [3], max_new_tokens=LENGTH, max_source_tokens=16, rounded=rounded)
        model.warm_up()
    assert not model.in_one_call and model.encoder is model.hf_model.get_encoder()
    assert {each.device.type for each in (model.states, model.mask, *model.nothing.values())} == {"meta"}
