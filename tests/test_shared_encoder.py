"""A draft that kept its teacher's encoder: held once, run once a source, and nothing about the output changes."""

import copy
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

import specdec_lite as sd
import tiny
from specdec_lite.models import same_encoder
from test_compiled import fast

SOURCES = tiny.sources(6)


@pytest.fixture(scope="module", params=[*tiny.FAMILIES, "whisper"])
def saved(request, tmp_path_factory):
    """A target, a draft with its encoder and another decoder, and a draft of which one encoder weight differs."""
    folder, target = tmp_path_factory.mktemp(request.param), tiny.tiny_pair(request.param).target.hf_model
    draft, other = copy.deepcopy(target), copy.deepcopy(target)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in draft.get_decoder().named_parameters():
            if "embed" not in name:
                weight *= 1 + 0.2 * torch.randn(weight.shape, generator=generator)
        list(other.get_encoder().parameters())[-1][0] += 0.1
    for name, model in {"target": target, "draft": draft, "other": other}.items():
        model.save_pretrained(folder / name)
        tiny.tokenizer().save_pretrained(folder / name)
    return folder


def sources(pair):
    if pair.target.hf_model.main_input_name == "input_ids":
        return SOURCES
    generator = torch.Generator().manual_seed(0)
    return [{"input_features": torch.randn(1, 8, 40, generator=generator)} for _ in SOURCES]


def unshared(folder):
    return [sd.load_model(folder / name) for name in ("target", "draft")]


def test_equal_weights_are_held_once(saved):
    pair = sd.load_pair(saved / "target", saved / "draft")
    assert pair.draft.hf_model.get_encoder() is pair.target.hf_model.get_encoder()
    held = {tensor.data_ptr() for tensor in pair.target.hf_model.parameters()}
    mine = dict(pair.draft.hf_model.named_parameters())
    apart = [name for name, tensor in mine.items() if tensor.data_ptr() not in held]
    assert apart and all("decoder" in name for name in apart)
    assert pair.draft.hf_model.get_output_embeddings().weight.data_ptr() in held


def test_one_different_weight_keeps_the_encoders_apart(saved):
    pair = sd.load_pair(saved / "target", saved / "other")
    assert not same_encoder(*pair)
    with tiny.counted(*pair) as (target, draft):
        sd.speculative_generate(*pair, sources(pair)[0], max_new_tokens=8)
    assert (target["encoder"], draft["encoder"]) == (1, 1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_encoder_runs_once_and_the_output_is_the_same(saved, temperature):
    pair, apart = sd.load_pair(saved / "target", saved / "draft"), unshared(saved)
    seen = []
    for seed, source in enumerate(sources(pair)):
        options = {"gamma": 3, "max_new_tokens": 20, "temperature": temperature, "seed": seed}
        with tiny.counted(pair.target) as (counts,):
            run = sd.speculative_generate(*pair, source, **options)
        expected = sd.speculative_generate(*apart, source, **options)
        assert counts["encoder"] == 1 and run.token_ids == expected.token_ids and run.rounds == expected.rounds
        seen += run.origins
    assert {"accepted", "residual"} <= set(seen)  # the two decoders do differ


def test_a_draft_may_leave_out_what_it_has_in_common_with_its_target(saved, tmp_path):
    whole = sd.load_pair(saved / "target", saved / "draft")
    weights = whole.draft.hf_model.state_dict()
    own = {name: weight for name, weight in weights.items() if not name.removeprefix("model.").startswith("encoder.")}
    whole.draft.hf_model.save_pretrained(tmp_path, state_dict=own)
    tiny.tokenizer().save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(own)
    lean = sd.load_pair(saved / "target", tmp_path)
    assert same_encoder(*lean)
    for name, weight in lean.draft.hf_model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_borrowed_weights_are_the_targets_or_an_error(saved, tmp_path):
    """T5 ties a head that is left out to the embeddings; where the target's are two, the draft's cannot be right."""
    whole = sd.load_pair(saved / "target", saved / "draft").draft.hf_model
    if "shared.weight" not in whole.state_dict():
        pytest.skip("this family leaves apart what was saved apart")
    own = {name: weight for name, weight in whole.state_dict().items() if name.startswith("decoder.block")}
    whole.save_pretrained(tmp_path, state_dict=own)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"draft=.* ties .*lm_head.weight to others, which the target does not"):
        sd.load_pair(saved / "target", tmp_path)


def test_a_draft_that_leaves_out_what_the_target_has_not_is_refused(saved, tmp_path):
    model = sd.load_model(saved / "draft").hf_model
    lost = sorted(name for name in model.state_dict() if re.search(r"decoder.*(block|layers)\.1\.", name))[0]
    model.save_pretrained(tmp_path, state_dict={n: w for n, w in model.state_dict().items() if n != lost})
    shallow = AutoConfig.from_pretrained(saved / "target")
    shallow.num_decoder_layers = shallow.decoder_layers = 1
    type(model)(shallow).save_pretrained(tmp_path / "shallow")
    for folder in (tmp_path, tmp_path / "shallow"):
        tiny.tokenizer().save_pretrained(folder)
    with pytest.raises(ValueError, match=re.escape(f"draft={str(tmp_path)!r} leaves out {lost}")):
        sd.load_pair(tmp_path / "shallow", tmp_path)


class WrongSource(sd.DraftModel):
    def start(self, source, texts):
        super().start(self.model.source([SOURCES[0]]), texts)


def test_a_draft_that_reads_another_source_does_not_lend_it_to_the_target(saved):
    pair = sd.load_pair(saved / "target", saved / "draft")
    if pair.target.hf_model.main_input_name != "input_ids":
        pytest.skip("the sources here are token ids")
    for source in SOURCES[1:]:
        options = {"max_new_tokens": 20, "temperature": 0.0}
        with tiny.counted(pair.target) as (counts,):
            run = sd.speculative_generate(pair.target, WrongSource(pair.draft), source, **options)
        assert counts["encoder"] == 2
        assert run.token_ids == sd.autoregressive_generate(pair.target, source, **options).token_ids


@torch.compiler.set_stance("force_eager")  # the same calls, not traced: test_compiled has traced them
def test_compiled_pair_still_shares(saved):
    pair = sd.load_pair(saved / "target", saved / "draft")
    if pair.target.hf_model.main_input_name != "input_ids":
        pytest.skip("compile_pair takes models that read text")
    quick = fast(pair)
    for source in SOURCES:
        with tiny.counted(quick.target) as (counts,):
            got = sd.speculative_generate(*quick, source, gamma=3, max_new_tokens=20, seed=1)
        want = sd.speculative_generate(*pair, source, gamma=3, max_new_tokens=20, seed=1)
        assert counts["encoder"] == 1 and got.token_ids == want.token_ids
