"""Checkpoints: what is loaded, what is refused, and what stays as it was."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import specdec_lite as sd
import tiny
from specdec_lite import loading
from test_models import moonshine, refuses, trocr


@pytest.fixture
def saved(tmp_path):
    """Folders with a tiny T5 target and its draft; each test may damage its own."""
    made = tiny.tiny_pair(tokenizer=tiny.tokenizer())
    for name, model in zip(("target", "draft"), made):
        for part in (model.hf_model, model.tokenizer):
            part.save_pretrained(tmp_path / name)
    return tmp_path


def load(folder, **options):
    return sd.load_pair(folder / "target", folder / "draft", **options)


def edit(file, change):
    """Rewrite a checkpoint's weights or a JSON file."""
    held = json.loads(file.read_text()) if file.suffix == ".json" else load_file(file)
    change(held)
    if file.suffix == ".json":
        file.write_text(json.dumps(held))
    else:
        save_file(held, file, metadata={"format": "pt"})


def test_a_target_must_have_all_its_weights(saved):
    lost = "decoder.block.1.layer.0.SelfAttention.k.weight"
    edit(saved / "target" / "model.safetensors", lambda held: held.pop(lost))
    with refuses(ValueError, "target=", lost):
        load(saved)


@pytest.mark.parametrize("name", ["target", "draft"])
def test_a_weight_of_another_shape_is_named(saved, name):
    lost = "decoder.block.0.layer.0.SelfAttention.k.weight"
    edit(saved / name / "model.safetensors", lambda held: held.update({lost: torch.zeros(32, 8)}))
    with refuses(ValueError, f"{name}=", lost, "32, 8"):
        load(saved)


def test_an_index_that_leads_to_a_pickle_is_refused(saved):
    folder = saved / "target"
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "x.bin")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, "x.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for keep in (True, False):  # beside a whole file, or in its place
        if not keep:
            (folder / "model.safetensors").unlink()
        with refuses(ValueError, "x.bin", "safetensors"):
            load(saved)


def test_parts_that_are_safetensors_are_loaded(saved):
    model = sd.load_model(saved / "target").hf_model
    shutil.rmtree(saved / "target")
    model.save_pretrained(saved / "target", max_shard_size="20KB")
    tiny.tokenizer().save_pretrained(saved / "target")
    assert (saved / "target" / "model.safetensors.index.json").exists()
    assert sd.load_model(saved / "target").encode("w5")["input_ids"].tolist() == [[5]]


@pytest.mark.parametrize("names", [("target", "draft"), ("draft",)])
def test_a_tokenizer_without_its_files_is_refused(saved, names):
    for name in names:
        (saved / name / "tokenizer.json").unlink()
        (saved / name / "tokenizer_config.json").unlink()
    with refuses(ValueError, f"{names[0]}.*has no tokenizer", "tokenizer.json"):
        load(saved)


def test_a_tokenizer_that_needs_no_files_has_none(tmp_path):
    tiny.t5_model(vocab=384).save_pretrained(tmp_path)
    hf.ByT5Tokenizer().save_pretrained(tmp_path)
    assert sd.load_model(tmp_path).encode("a")["input_ids"].tolist() == [[100, 1]]


@pytest.mark.parametrize("names", [("", ""), ("", None), ("a", ""), (None, "")])
def test_an_empty_name_is_refused(names):
    with refuses(ValueError, "target=", "draft=", "both"):
        sd.load_pair(*names)


def test_loading_moves_no_random_state(saved):
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()
    sd.load_pair()
    load(saved)
    assert torch.equal(torch.random.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert all(np.array_equal(*both) for both in zip(np.random.get_state(), states[2]))


@pytest.mark.parametrize("share", [True, False])
def test_equal_weights_are_one_tensor_unless_they_shall_not_be(share):
    pair = sd.load_pair(share=share)
    before = [model.hf_model.get_encoder().embed_tokens.weight.clone() for model in pair]
    assert torch.equal(*before)
    with torch.no_grad():
        pair.draft.hf_model.get_encoder().embed_tokens.weight.add_(1)
    moved = not torch.equal(pair.target.hf_model.get_encoder().embed_tokens.weight, before[0])
    assert moved == share


def test_that_equal_weights_are_shared_is_said():
    for function in (sd.load_pair, loading.share_weights):
        assert "train" in function.__doc__


def test_options_go_to_both_models(saved):
    pair = load(saved, prefix="w9 ", prompt=[8])
    for model in pair:
        assert model.encode("w5")["input_ids"].tolist() == [[9, 5]] and model.prompt == (0, 8)
    with refuses(ValueError, "language='de'"):
        load(saved, language="de")


@pytest.mark.parametrize(("given", "want"), [(None, [None] * 2), ("v1", ["v1"] * 2), (("v1", "v2"), ["v1", "v2"])])
def test_revisions(saved, monkeypatch, given, want):
    seen, real = {}, loading.read_model

    def watched(checkpoint, *rest):
        seen[checkpoint.argument] = checkpoint.where["revision"]
        return real(checkpoint, *rest)

    monkeypatch.setattr(loading, "read_model", watched)
    load(saved, revision=given)
    assert list(seen.values()) == want and list(seen) == ["target", "draft"]


def test_speech_and_pictures_load_with_what_reads_them(tmp_path):
    extractors = {
        "whisper": hf.WhisperFeatureExtractor(feature_size=8, hop_length=400, chunk_length=1),
        "moonshine": hf.Wav2Vec2FeatureExtractor(),
    }
    builders = {"whisper": tiny.whisper_model, "moonshine": moonshine}
    for name, extractor in extractors.items():
        builders[name]().save_pretrained(tmp_path / name)
        extractor.save_pretrained(tmp_path / name)
        tiny.tokenizer().save_pretrained(tmp_path / name)
        model = sd.load_model(tmp_path / name)
        main = model.hf_model.main_input_name
        assert type(model.hf_model) is type(builders[name]()) and main in model.encode(np.zeros(900, np.float32))
        assert model.decode([5, 6]) == "w5 w6"
    trocr().save_pretrained(tmp_path / "trocr")
    reads = hf.ViTImageProcessor(size={"height": 16, "width": 16})
    hf.TrOCRProcessor(reads, tiny.tokenizer()).save_pretrained(tmp_path / "trocr")
    model = sd.load_model(tmp_path / "trocr")
    assert isinstance(model.hf_model, hf.VisionEncoderDecoderModel) and model.decode([5]) == "w5"
    picture = pytest.importorskip("PIL.Image").new("RGB", (20, 30))
    assert model.encode(picture)["pixel_values"].shape == (1, 3, 16, 16)
