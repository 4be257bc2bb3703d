"""Chapter 11's lines for real checkpoints, run on tiny models under the published names; and what it and A3 say."""

import ast
import json
import math
import os
import random
import re
import tempfile
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers as hf

import specdec_lite as sd
import tiny
from specdec_lite.run import check_parameters, find_chapter

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "11_real_checkpoints.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
PRODUCTION = json.loads((ROOT / "notebooks" / "A3_in_production.ipynb").read_text(encoding="utf8"))["cells"]
PROSE = {
    name: "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for name, cells in (("11", CELLS), ("A3", PRODUCTION))
}
# What the chapter names, by the model_type of its configuration
NAMED = {"t5", "mt5", "t5gemma", "bart", "marian", "m2m_100", "whisper", "moonshine"}


def cell_with(text: str) -> int:
    (found,) = [i for i, source in enumerate(CODE) if text in source]
    return found


@pytest.fixture(scope="module")
def lines():
    """Everything up to the end of the families, run; and what was loaded on the way, by name."""
    loaded, before = {}, os.getcwd()
    names = {"__name__": "chapter", "gamma": 4, "sd": sd}
    originals = sd.load_pair, sd.load_model

    def pair_of(target=None, draft=None, *args, **options):
        pair = originals[0](target, draft, *args, **options)
        loaded[target], loaded[draft] = pair
        return pair

    def model_of(name, *args, **options):
        loaded[name] = originals[1](name, *args, **options)
        return loaded[name]

    sd.load_pair, sd.load_model = pair_of, model_of
    try:
        for source in CODE[cell_with("import transformers as hf") : cell_with("shelf.cleanup()") + 1]:
            exec(source, names)
    finally:
        sd.load_pair, sd.load_model = originals
        os.chdir(before)
    return loaded


def calls(source: str, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [node for node in found if getattr(node.func, "attr", getattr(node.func, "id", "")) == name]


def test_every_family_is_loaded_by_the_line_that_the_reader_types(lines):
    kinds = {model.hf_model.config.model_type for model in lines.values()}
    assert kinds == NAMED - {"mt5"}  # which is there to be refused
    typed = {
        argument.value
        for source in CODE[1:]  # the first one has a line for the notebook alone
        for call in (*calls(source, "load_pair"), *calls(source, "load_model"))
        for argument in call.args
        if isinstance(argument, ast.Constant) and argument.value is not None
    }
    refused = {"google/mt5-small", "openai/whisper-small", "Helsinki-NLP/opus-mt-en-de"}
    assert typed - refused == set(lines)


def test_the_lines_leave_the_working_directory_and_the_random_state_as_they_were(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state, before = torch.get_rng_state(), random.getstate()
    names = {"gamma": 4, "sd": sd}
    for source in (CODE[cell_with("import transformers as hf")], CODE[cell_with("def pairs()")]):
        exec(source, names)
    exec(CODE[cell_with("shelf.cleanup()")], names)
    assert Path.cwd() == tmp_path and not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), state) and random.getstate() == before


# Published numbers of parameters
PARAMETERS = {
    "t5-small": 60_506_624,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "flan-t5-small": 76_961_152,
    "flan-t5-xl": 2_849_757_184,
    "bart-large-cnn": 406_290_432,
    "nllb-200-distilled-600M": 615_073_792,
    "whisper-large-v3": 1_543_490_560,
}


@pytest.fixture(scope="module")
def on_paper():
    names = {"hf": hf, "torch": torch, "sd": sd, "SIDES": ("encoder", "decoder")}
    exec(CODE[cell_with("def on_paper")], names)
    return names


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_shape_on_paper_has_the_published_number_of_parameters(on_paper, name):
    assert sum(parameter.numel() for parameter in on_paper["on_paper"](name).parameters()) == PARAMETERS[name]


def test_every_pair_of_the_table_has_one_vocabulary(on_paper):
    for pair in on_paper["PAIRS"]:
        sizes = {on_paper["on_paper"](name).get_output_embeddings().weight.shape[0] for name in pair}
        assert len(sizes) == 1, pair


def test_the_defaults_of_assisted_generation_are_those_of_the_page():
    defaults = hf.GenerationConfig()._get_default_generation_params()
    assert defaults["num_assistant_tokens"] == 20 and defaults["num_assistant_tokens_schedule"] == "constant"
    assert defaults["assistant_confidence_threshold"] == 0.4 and defaults["top_k"] == 50


@pytest.mark.parametrize("page", PROSE)
def test_what_stands_in_prose_as_code_can_be_parsed_and_names_what_exists(page):
    for block in re.findall(r"```python\n(.*?)```", PROSE[page], re.DOTALL):
        ast.parse(block)
    assert [name for name in re.findall(r"\bsd\.([A-Za-z_]\w*)", PROSE[page]) if not hasattr(sd, name)] == []


def test_a_padded_vocabulary_is_matched_as_the_page_says():
    pair = tiny.tiny_pair("t5")
    small = tiny.tiny_pair("t5", vocab=28).draft.hf_model
    with pytest.raises(ValueError, match="draft has 28 tokens: expected the target's 32"):
        sd.speculative_generate(pair.target, sd.Seq2Seq(small), [5, 6, 7])
    small.resize_token_embeddings(32)
    pair.target.hf_model.generation_config.suppress_tokens = [28, 29, 30, 31]
    for source in tiny.sources(4, vocab=28):
        spec = sd.speculative_generate(pair.target, sd.Seq2Seq(small), source, max_new_tokens=12, temperature=0.0)
        plain = sd.autoregressive_generate(pair.target, source, max_new_tokens=12, temperature=0.0)
        assert spec.token_ids == plain.token_ids and not {*plain.token_ids} & {28, 29, 30, 31}


def test_a_misspelt_parameter_is_refused():
    with pytest.raises(ValueError, match="'gama' is no parameter of 11_real_checkpoints"):
        check_parameters(find_chapter("11"), {"gama": 2})


@pytest.mark.parametrize("page", PROSE)
def test_every_chapter_that_the_page_links_is_there(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PROSE[page])
    links += [f"{name}.ipynb" for name in re.findall(r"\{doc\}`[^`]*?<?(\w+)>?`", PROSE[page])]
    assert links and [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.parametrize("page", PROSE)
def test_every_question_and_every_claim_about_an_engine_has_its_source(page):
    rows = re.findall(r"^\| *(\[.*)\|$", PROSE[page], re.MULTILINE)
    assert len(rows) == {"11": 8, "A3": 4}[page]
    assert all(re.search(r"\]\(https://(github\.com|nvidia\.github\.io|opennmt\.net)/", row) for row in rows)


@pytest.fixture(scope="module")
def monitor():
    names = {"sqrt": math.sqrt, "deque": deque}
    exec("".join(next(cell["source"] for cell in PRODUCTION if "class Monitor" in "".join(cell["source"]))), names)
    return names["Monitor"]


def calls_of(sums):
    return [SimpleNamespace(overlap_sum=overlap, examined=examined) for overlap, examined in sums]


def test_the_monitor_forgets_what_has_left_its_window(monitor):
    old, new = calls_of([(0.0, 20)] * 5), calls_of([(9.0, 10), (16.0, 20)] * 2)
    watched, fresh = monitor(4), monitor(4)
    for run in old:
        watched.add(run)
    assert [watched.add(run) for run in new][-1] == [fresh.add(run) for run in new][-1]


def test_the_monitor_says_the_ratio_of_sums_and_the_bootstraps_interval(monitor):
    random.seed(0)
    sums = [(random.uniform(0.6, 1) * n, n) for n in (random.randint(5, 40) for _ in range(200))]
    watched = monitor(200)
    alpha, low, high = [watched.add(run) for run in calls_of(sums)][-1]
    overlaps, examined = zip(*sums)
    assert alpha == pytest.approx(sum(overlaps) / sum(examined))
    by_bootstrap = sd.paired_bootstrap(lambda a, b: a / b, list(overlaps), list(examined))
    assert (alpha, low, high) == pytest.approx(by_bootstrap, abs=0.004)


def test_calls_that_agree_leave_no_doubt(monitor):
    watched = monitor()
    for run in calls_of([(8.0, 10), (16.0, 20), (4.0, 5)]):
        assert watched.add(run) == pytest.approx((0.8, 0.8, 0.8))
