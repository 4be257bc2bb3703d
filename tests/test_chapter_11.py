"""The lines of chapter 11 and A6, run on tiny models under the published names; and what the pages say."""

import ast
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

import chapters
import specdec_lite as sd
import stand_ins
import tiny
from specdec_lite.run import check_parameters, find_chapter

ROOT = Path(__file__).parents[1]
CELLS = {number: chapters.chapter(number) for number in ("11", "A3", "A6")}
CODE = {
    number: ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for number, cells in CELLS.items()
}
PROSE = {
    number: "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for number, cells in CELLS.items()
}
ANSWERS = (ROOT / "book" / "troubleshooting.md").read_text(encoding="utf8").partition("## What people ask")[2]
# What a page loads, by the model_type of its configuration; and which names are there to be refused
NAMED = {
    "11": ({"t5"}, {"google/mt5-small", "openai/whisper-large-v3", "openai/whisper-small"}),
    "A6": (
        {"t5", "t5gemma", "bart", "marian", "m2m_100", "whisper", "moonshine"},
        {"Helsinki-NLP/opus-mt-en-de"},
    ),
}


def cell_with(page: str, text: str) -> int:
    (found,) = [i for i, source in enumerate(CODE[page]) if text in source]
    return found


@pytest.fixture(scope="module", params=NAMED)
def lines(request):
    """A page up to the end of its lines, run; its number, and what was loaded on the way, by name."""
    page, loaded, before = request.param, {}, os.getcwd()
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
        for source in CODE[page][cell_with(page, "import stand_ins") : cell_with(page, "shelf.cleanup()") + 1]:
            exec(source, names)
    finally:
        sd.load_pair, sd.load_model = originals
        os.chdir(before)
    return page, loaded


def calls(source: str, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [node for node in found if getattr(node.func, "attr", getattr(node.func, "id", "")) == name]


def test_every_family_is_loaded_by_the_line_that_the_reader_types(lines):
    page, loaded = lines
    kinds, refused = NAMED[page]
    assert {model.hf_model.config.model_type for model in loaded.values()} == kinds
    typed = {
        argument.value
        for source in CODE[page][1:]  # the first one has a line for the notebook alone
        for call in (*calls(source, "load_pair"), *calls(source, "load_model"))
        for argument in call.args
        if isinstance(argument, ast.Constant) and argument.value is not None
    }
    assert typed - refused == set(loaded)


def test_a_page_writes_the_stand_ins_that_it_uses_and_a6_those_of_every_family():
    asked = {}
    for page in NAMED:
        (call,) = calls(CODE[page][cell_with(page, "stand_ins.write")], "write")
        asked[page] = {argument.value for argument in call.args}
    families = {name.removeprefix("write_") for name in vars(stand_ins) if name.startswith("write_")}
    assert asked["11"] < families and asked["A6"] == families - {"mt5"}  # which is there to be refused


def test_the_stand_ins_have_the_chat_template_and_the_source_language_that_a6_sets(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stand_ins.write("t5gemma", "nllb")
    asks = hf.AutoTokenizer.from_pretrained("google/t5gemma-2b-2b-prefixlm-it")
    said = [{"role": "user", "content": "a book"}]
    ids = asks.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    assert asks.convert_ids_to_tokens(ids[:2]) == ["<bos>", "<start_of_turn>"]
    reads = hf.AutoTokenizer.from_pretrained("facebook/nllb-200-3.3B")
    for code in ("eng_Latn", "deu_Latn"):
        reads.src_lang = code
        assert reads.convert_ids_to_tokens(reads("a book").input_ids)[0] == code


@pytest.mark.parametrize("page", NAMED)
def test_the_lines_leave_the_working_directory_and_the_random_state_as_they_were(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state, before = torch.get_rng_state(), random.getstate()
    names = {"gamma": 4, "sd": sd}
    for text in ("import stand_ins", "stand_ins.write", "shelf.cleanup()"):
        exec(CODE[page][cell_with(page, text)], names)
    assert Path.cwd() == tmp_path and not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), state) and random.getstate() == before


def test_every_row_of_the_table_of_families_leads_to_its_heading():
    headings = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-"): title for title in heads(PROSE["A6"])}
    led = [headings[anchor] for anchor in re.findall(r"^\| \[.*?\]\(#([\w-]+)\)", PROSE["A6"], re.MULTILINE)]
    assert list(dict.fromkeys(led)) == [
        title for title in heads(PROSE["A6"]) if title not in ("What we learned", "Exercises")
    ]


def heads(text: str) -> list[str]:
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_every_second_layer_of_t5gemma_is_a_sliding_window_as_a6_says():
    config = hf.T5GemmaModuleConfig()
    assert config.layer_types == ["sliding_attention", "full_attention"] * (config.num_hidden_layers // 2)
    assert config.sliding_window == 4096 and "Half of its layers see only the last 4,096 tokens" in PROSE["A6"]


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
    for name in re.findall(r"\{doc\}`(?:[^`]*<)?([^`<>]+)>?`", PROSE[page]):
        links.append(f"{name}.md" if name.startswith("../book/") else f"{name}.ipynb")
    assert links and [link for link in links if not (chapters.NOTEBOOKS / link).exists()] == []


@pytest.mark.parametrize("text, count", {"what people ask": (ANSWERS, 8), "A3": (PROSE["A3"], 4)}.values())
def test_every_question_and_every_claim_about_an_engine_has_its_source(text, count):
    rows = re.findall(r"^\| *(\[.*)\|$", text, re.MULTILINE)
    assert len(rows) == count
    assert all(re.search(r"\]\(https://(github\.com|nvidia\.github\.io|opennmt\.net)/", row) for row in rows)


@pytest.fixture(scope="module")
def monitor():
    names = {"sqrt": math.sqrt, "deque": deque}
    exec(CODE["A3"][cell_with("A3", "class Monitor")], names)
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
