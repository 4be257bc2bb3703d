"""The benchmark runs, asserts equal outputs, and its table says what was compared with what."""

import time

import pandas as pd
import pytest
import torch
from transformers import T5ForConditionalGeneration

import bench
import specdec_lite as sd
import tiny
from test_compiled import not_traced


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(bench, "sources", lambda pair, n: (tiny.sources(n), tiny.sources(2, seed=1)))
    monkeypatch.setattr(bench, "has_compiler", lambda device: False)  # compiling has tests of its own
    return tiny.tiny_pair()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_table(pair, temperature, tmp_path):
    table = bench.measure({"eager": pair}, temperature, n_prompts=3, max_new_tokens=12)
    gamma = int(table.gamma.dropna().iloc[0])
    assisted = f"Hugging Face assisted, γ = {gamma}"
    assert table.way.tolist() == ["Hugging Face generate", "plain, eager", "speculative, eager", assisted]
    if temperature == 0:
        assert table.tokens.nunique() == 1
    ours = table.set_index("way").loc["speculative, eager"]
    assert ours["× its plain, low"] <= ours["× its plain"] <= ours["× its plain, high"]
    assert ours.floor_ms > 0 and ours["× floor"] == pytest.approx(ours.ms_per_token / ours.floor_ms)
    assert 0 < ours.alpha <= 1 and 0 < ours.outside_forwards < 1 and ours.tokens_per_pass >= 1
    bench.write(table, tmp_path)
    assert len(pd.read_csv(tmp_path / "bench.csv")) == 4
    assert assisted in (tmp_path / "bench.md").read_text(encoding="utf8")


def test_different_outputs_are_an_error():
    same, other = sd.Generation(token_ids=[5, 1]), sd.Generation(token_ids=[6, 1])
    bench.check_equal({"Hugging Face generate": [same], "plain": [same]})
    with pytest.raises(AssertionError, match="plain differs on paragraph 0"):
        bench.check_equal({"Hugging Face generate": [same], "plain": [other]})


def test_hugging_face_is_asked_for_the_same_law_and_gamma(pair, monkeypatch):
    asked = {}

    def generate(**options):
        asked.update(options)
        return torch.tensor([[0, 1]])

    monkeypatch.setattr(pair.target.hf_model, "generate", generate)
    bench.HuggingFace(pair, 1.0, 12, gamma=3)([5, 6], seed=0)
    assert asked["do_sample"] and (asked["temperature"], asked["top_k"], asked["top_p"]) == (1.0, 0, 1.0)
    settings = asked["assistant_model"].generation_config
    assert (settings.num_assistant_tokens, settings.num_assistant_tokens_schedule) == (3, "constant")
    assert settings.assistant_confidence_threshold == 0


@pytest.mark.parametrize(
    ("shape", "parameters"), [("small", 60_506_624), ("base", 222_903_552), ("large", 737_668_096)]
)
def test_shapes_have_as_many_parameters_as_the_published_checkpoints(shape, parameters):
    with torch.device("meta"):
        model = T5ForConditionalGeneration(bench.t5_config(shape))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


class Slow(sd.CachedDecoder):
    def forward(self, rows):
        time.sleep(0.05)
        return super().forward(rows)


def decoding(**options):
    return lambda pair: lambda source, seed: sd.speculative_generate(*pair, source, max_new_tokens=6, **options)


def test_what_passes_outside_the_forward_passes(pair):
    slow = sd.Pair(*(model.with_cursor(Slow) for model in pair), "slow")
    waiting = decoding(observer=lambda phase: time.sleep(0.05))
    assert bench.outside_share(decoding(), slow, tiny.sources(1)) < 0.3
    assert bench.outside_share(waiting, pair, tiny.sources(1)) > 0.6
    assert pair.target.cursor_kind is sd.CachedDecoder


@not_traced()
def test_compiled_steps_are_forward_passes(pair):
    options = {"max_new_tokens": 6, "max_source_tokens": 16, "progress": False}
    quick = sd.compile_pair(pair, gammas=4, backend=lambda graph, inputs: graph.forward, **options)
    assert 0 < bench.outside_share(decoding(), quick, tiny.sources(1)) < 1
    assert bench.outside_share(decoding(observer=lambda phase: time.sleep(0.05)), quick, tiny.sources(1)) > 0.6
