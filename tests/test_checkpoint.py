"""Checkpoints that mean harm or are damaged: no code runs, nothing is fetched or unpickled, and the file is named."""

import json
import pickle
import shutil
import socket
from functools import partial

import pytest
import torch
import transformers as hf
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers.integrations import hub_kernels
from transformers.utils import hub

import specdec_lite as sd
import tiny
from specdec_lite.checkpoint import Checkpoint, parts
from test_models import trocr

TEXT = "w5 w6 w7"
CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass M: pass\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a tiny T5, one with a tiny reader of pictures, and what the T5 says."""
    folder, made = tmp_path_factory.mktemp("models"), tiny.tiny_pair(tokenizer=tiny.tokenizer()).target
    for part in (made.hf_model, made.tokenizer):
        part.save_pretrained(folder / "t5")
    trocr().save_pretrained(folder / "trocr")
    tiny.tokenizer().save_pretrained(folder / "trocr")
    return folder, sd.autoregressive_generate(made, TEXT, max_new_tokens=8, temperature=0.0).token_ids


@pytest.fixture
def checkpoint(models, tmp_path):
    """A copy of the T5, with Python in it that leaves a trace if it is run; each test may change it."""
    shutil.copytree(models[0] / "t5", tmp_path / "model")
    (tmp_path / "model" / "code.py").write_text(CODE)
    return tmp_path / "model"


@pytest.fixture
def watched(monkeypatch):
    """What nobody may do while a checkpoint is loaded, written down: ask, unpickle, connect, fetch a kernel."""
    done = []

    def forbid(owner, name):
        def called(*_, **__):
            done.append(name)
            if name == "input":
                return "y"
            raise OSError(f"{name} was called")

        monkeypatch.setattr(owner, name, called)

    forbid(__import__("builtins"), "input")
    for owner, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        forbid(owner, name)
    for name in ("create_connection", "getaddrinfo"):
        forbid(socket, name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # so that an attempt would be made
    forbid(hub_kernels, "get_kernel")
    for module in (hub_kernels, hf.modeling_utils):
        monkeypatch.setattr(module, "is_kernels_available", lambda *_: True)
    return done


def set_json(name, **entries):
    def change(folder):
        path = folder / name
        held = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(held | entries))

    return change


def index_of(part):
    def change(folder):
        names = load_file(folder / "model.safetensors")
        torch.save(names, folder / "x.bin")
        (folder / "model.safetensors").unlink()
        set_json("model.safetensors.index.json", metadata={}, weight_map=dict.fromkeys(names, part))(folder)

    return change


def to_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def other_weights(name):
    def change(folder):
        torch.save(load_file(folder / "model.safetensors"), folder / "adapter_model.bin")
        set_json("config.json", transformers_weights=name)(folder)

    return change


def custom_generate(folder):
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE)


def gguf(folder):
    (folder / "model.gguf").write_bytes(b"GGUF")
    (folder / "model.safetensors").unlink()


MINE = dict.fromkeys(["AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM", "AutoTokenizer"], "code.M")
OTHERS = dict.fromkeys(MINE, "evil/repo--code.M")
READERS = dict.fromkeys(["AutoProcessor", "AutoFeatureExtractor", "AutoImageProcessor", "AutoTokenizer"], "code.M")
AUDIO = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "evil/repo"}
config = partial(set_json, "config.json")
tokenizer, generation = partial(set_json, "tokenizer_config.json"), partial(set_json, "generation_config.json")
processor, reader = partial(set_json, "processor_config.json"), partial(set_json, "preprocessor_config.json")
# What is changed in the folder, and what is said; None if the model is loaded all the same.
DOORS = {
    "a model of an unknown kind": (config(model_type="mine", auto_map=MINE), "its configuration"),
    "a model of no kind": (config(model_type=None, auto_map=MINE), "its configuration"),
    "classes for a known kind": (config(auto_map=MINE), None),
    "classes from another repository": (config(auto_map=OTHERS), None),
    "a tokenizer": (tokenizer(tokenizer_class="Mine", auto_map={"AutoTokenizer": ["code.M", None]}), None),
    "a tokenizer, in the old form": (tokenizer(tokenizer_class="Mine", auto_map=["code.M", None]), None),
    "a processor": (processor(processor_class="Mine", auto_map=READERS), "its processor"),
    "a feature extractor": (reader(feature_extractor_type="Mine", auto_map=READERS), "its processor"),
    "an image processor": (reader(image_processor_type="Mine", auto_map=READERS), "its processor"),
    "an audio tokenizer": (processor(audio_tokenizer=AUDIO), "audio tokenizer"),
    "an audio tokenizer, in the old form": (set_json("audio_tokenizer_config.json", **AUDIO), "audio tokenizer"),
    "a way to generate": (custom_generate, None),
    "a way to generate, by name": (generation(custom_generate="code.py"), None),
    "a chat template": (lambda folder: (folder / "chat_template.jinja").write_text("{{ ''.__class__.mro() }}"), None),
    "an adapter": (set_json("adapter_config.json", base_model_name_or_path="evil/repo"), "adapter_config.json"),
    "an index to a pickle": (index_of("x.bin"), "weights in 'x.bin'"),
    "an index to another folder": (index_of("../x.safetensors"), "weights in '../x.safetensors'"),
    "weights of another name": (other_weights("adapter_model.bin"), "transformers_weights"),
    "an index of another name": (other_weights("x.safetensors.index.json"), "transformers_weights"),
    "a pickle and nothing else": (to_pickle, "no model.safetensors (but pytorch_model.bin): expected it"),
    "a pickle beside": (lambda folder: torch.save({}, folder / "pytorch_model.bin"), None),
    "a GGUF file and nothing else": (gguf, "no model.safetensors"),
    "a kernel for attention": (config(attn_implementation="kernels-community/flash-attn2"), None),
    "a kernel for attention, by its inner name": (config(_attn_implementation="evil/kernel@main:f"), None),
    "flash attention": (config(attn_implementation="flash_attention_2"), None),
    "a kernel for experts": (config(experts_implementation="deepgemm"), None),
    "quantized weights": (config(quantization_config={"quant_method": "fp8"}), "quantization_config"),
}


@pytest.mark.parametrize("name", DOORS)
def test_nothing_in_a_checkpoint_is_run_unpickled_or_followed(models, checkpoint, watched, name):
    change, said = DOORS[name]
    change(checkpoint)
    if said is None:
        model = sd.load_model(checkpoint)
        assert sd.autoregressive_generate(model, TEXT, max_new_tokens=8, temperature=0.0).token_ids == models[1]
    else:
        with pytest.raises(ValueError) as raised:
            sd.load_model(checkpoint)
        assert f"path={str(checkpoint)!r}" in str(raised.value) and said in str(raised.value)
        assert "expected" in str(raised.value)
    assert watched == [] and not list(checkpoint.rglob("ran"))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_part_of_a_model_brings_no_code_and_no_kernel_either(models, tmp_path, watched, part):
    """transformers builds the two parts without being told that no code is to be run; it would ask."""
    shutil.copytree(models[0] / "trocr", tmp_path / "model")
    (tmp_path / "model" / "code.py").write_text(CODE)
    names = dict.fromkeys(["AutoModel", "AutoModelForCausalLM"], "code.M")
    for kind, entries in (
        ("t5" if part == "decoder" else "wav2vec2_bert_unknown", {}),
        (None, {"attn_implementation": "kernels-community/flash-attn2"}),
    ):
        config = json.loads((models[0] / "trocr" / "config.json").read_text())
        config[part] |= {"auto_map": names, "name_or_path": str(tmp_path / "model"), **entries}
        if kind:
            config[part]["model_type"] = kind
        (tmp_path / "model" / "config.json").write_text(json.dumps(config))
        if kind:
            with pytest.raises(ValueError, match=r"cannot read its (model|configuration)"):
                sd.load_model(tmp_path / "model")
        else:
            assert sd.load_model(tmp_path / "model").hf_model.config.model_type == "vision-encoder-decoder"
    assert watched == [] and not list(tmp_path.rglob("ran"))


def test_no_part_of_a_configuration_names_a_kernel(models, tmp_path):
    held = json.loads((models[0] / "trocr" / "config.json").read_text())
    names = {"attn_implementation": "evil/attention", "experts_implementation": "evil/experts"}
    held |= {part: held[part] | names for part in ("encoder", "decoder")} | names
    (tmp_path / "config.json").write_text(json.dumps(held))
    found = list(parts(Checkpoint("path", tmp_path).config()))
    assert len(found) == 3
    assert {(part._attn_implementation, part._experts_implementation) for part in found} == {(None, None)}


def cut(file, share=0.5):
    file.write_bytes(file.read_bytes()[: int(len(file.read_bytes()) * share)])


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
DAMAGE = {
    "weights cut in the middle": ("model.safetensors", cut),
    "weights without their last byte": ("model.safetensors", lambda file: file.write_bytes(file.read_bytes()[:-1])),
    "weights cut in their header": ("model.safetensors", lambda file: file.write_bytes(file.read_bytes()[:20])),
    "weights with a longer header": (
        "model.safetensors",
        lambda file: file.write_bytes(b"\0" + file.read_bytes()[:-1]),
    ),
    "weights that are a pointer": ("model.safetensors", lambda file: file.write_text(LFS)),
    "no weights at all": ("model.safetensors", lambda file: file.write_bytes(b"")),
    "a configuration cut": ("config.json", cut),
    "a tokenizer cut": ("tokenizer.json", cut),
    "a tokenizer's settings cut": ("tokenizer_config.json", cut),
    "generation settings cut": ("generation_config.json", cut),
    "generation settings that are a list": ("generation_config.json", lambda file: file.write_text("[1]")),
    "an index cut": ("model.safetensors.index.json", lambda file: file.write_text('{"weight_map": {')),
    "an index of nothing": ("model.safetensors.index.json", lambda file: file.write_text('{"weight_map": 3}')),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_named(checkpoint, name):
    file, damage = DAMAGE[name]
    damage(checkpoint / file)
    with pytest.raises(ValueError) as raised:
        sd.load_pair(checkpoint, checkpoint)
    shown = str(raised.value)
    assert f"target={str(checkpoint)!r}" in shown and "expected" in shown and len(shown) < 600
    assert {"tokenizer.json": "its tokenizer", "config.json": "its configuration"}.get(file, file) in shown


def test_a_part_that_is_missing_is_named(checkpoint):
    model = sd.load_model(checkpoint).hf_model
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="20KB")
    part = sorted(checkpoint.glob("model-*.safetensors"))[1]
    cut(part)
    with pytest.raises(ValueError, match=f"cannot read {part.name}"):
        sd.load_model(checkpoint)
    part.unlink()
    with pytest.raises(ValueError, match=f"has no {part.name}.*expected it, since"):
        sd.load_model(checkpoint)


def test_the_draft_is_looked_at_before_the_target_is_loaded(checkpoint, tmp_path, monkeypatch):
    shutil.copytree(checkpoint, tmp_path / "draft")
    cut(tmp_path / "draft" / "model.safetensors")
    monkeypatch.setattr(sd.loading, "read_model", lambda *_: pytest.fail("the target was loaded"))
    with pytest.raises(ValueError, match=r"draft=.*model\.safetensors"):
        sd.load_pair(checkpoint, tmp_path / "draft")


def test_without_a_network_the_name_and_the_argument_are_said(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(
        ValueError, match=r"draft='google-t5/t5-small': there is no such folder, and nothing from.*no route"
    ):
        sd.load_pair(sd.loading.POCKET_PAIR / "target", "google-t5/t5-small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"path='google-t5/t5-small'.*HF_HUB_OFFLINE is set.*expected a folder"):
        sd.load_model("google-t5/t5-small")


@pytest.mark.parametrize("said", ["no such repository", "a gated repository", "\x1b]0;owned\x07"])
def test_what_the_hub_says_is_passed_on_and_is_printable(monkeypatch, said):
    def refuse(*_, **__):
        raise OSError(said)

    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    with pytest.raises(ValueError, match="path='a/b': there is no such folder, and nothing from the Hub") as raised:
        sd.load_model("a/b")
    assert all(c.isprintable() for c in str(raised.value)) and said.strip("\x1b\x07") in str(raised.value)


def test_what_a_configuration_says_does_not_reach_the_terminal_raw(checkpoint):
    set_json("config.json", model_type="\x1b]0;owned\x07")(checkpoint)
    with pytest.raises(ValueError) as raised:
        sd.load_model(checkpoint)
    assert all(c.isprintable() for c in str(raised.value))
    assert raised.value.__cause__ is None and raised.value.__suppress_context__  # nor does the traceback


def test_a_model_that_transformers_cannot_build_is_named_and_its_reason_kept(checkpoint):
    set_json("config.json", num_heads="four")(checkpoint)
    with pytest.raises(ValueError, match=r"cannot read its (configuration|model) .*num_heads") as raised:
        sd.load_model(checkpoint)
    assert raised.value.__cause__ is not None


def out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("which", ["target", "draft"])
def test_when_memory_gives_out_the_message_says_what_needs_less(monkeypatch, which):
    pair = tiny.tiny_pair("t5")
    monkeypatch.setattr(getattr(pair, which).hf_model, "forward", out_of_memory)
    calls = [lambda: sd.speculative_generate(*pair, [[5, 6], [7, 8]], seed=0)]
    if which == "target":
        calls.append(lambda: sd.autoregressive_generate(pair.target, [5, 6], seed=0))
    for call in calls:
        with pytest.raises(torch.OutOfMemoryError, match=r"no memory left: fewer sources.*gamma.*bfloat16") as raised:
            call()
        assert "Tried to allocate 2.00 GiB" in str(raised.value)
        assert isinstance(raised.value.__cause__, torch.OutOfMemoryError)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("when", ["to", "forward"])  # on the way to the device, and at the first self-check
def test_when_memory_gives_out_while_loading_the_message_says_what_needs_less(checkpoint, monkeypatch, when):
    monkeypatch.setattr(hf.T5ForConditionalGeneration, when, out_of_memory)
    with pytest.raises(torch.OutOfMemoryError, match=r"no memory left: dtype='bfloat16'.*device='cpu'") as raised:
        sd.load_model(checkpoint)
    assert isinstance(raised.value.__cause__, torch.OutOfMemoryError)
