"""The prose pages say nothing that the tree does not keep: paths, public names, code, and who may import whom."""

import ast
import inspect
import json
import re
from html import escape
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import PIL.Image
import pytest
import yaml

import chapters
import ladder
import specdec_lite as sd
from specdec_lite.plotting import describe, draw_map, show

ROOT = Path(__file__).parents[1]
PROSE = ("notation", "glossary", "inside", "how_to_read", "troubleshooting")
PAGES = [ROOT / "book" / f"{name}.md" for name in PROSE]
# From the ground up: a module imports only from those before it.
MODULES = [
    "checks", "texts", "sampling", "verification", "block", "coupling", "theory", "metrics",
    "decoder", "settings", "adjustment", "selfcheck", "inputs", "prompts", "models", "checkpoint", "loading", "memory",
    "drafting/base", "drafting/model", "drafting/copies", "drafting/wrapper", "drafting/chain", "drafting/stops",
    "drafting/schedules", "drafting/head", "record", "checking", "fast/kernels", "fast/narrow", "fast/layers",
    "fast/padded", "fast/rounds", "fast/buffers", "fast/compile", "generation", "costs", "measured", "about",
    "experiment/table", "experiment/bench", "experiment/workers", "experiment/sweep", "display", "plotting",
    "explore/page", "explore/accept_reject", "explore/gamma_map", "explore/mutation_matrix", "explore/rounds", "audit",
    "run",
]  # fmt: skip
PACKAGE = ROOT / "specdec_lite"


def is_module(dotted: str) -> bool:
    return PACKAGE.joinpath(*dotted.split(".")[1:]).with_suffix(".py").exists()


def modules_imported_by(module: str) -> set[str]:
    """Modules as paths, "fast/narrow"; a subpackage, whose __init__ imports all of it, as its last module."""
    package = ["specdec_lite", *module.split("/")[:-1]]
    dotted = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) + 1 - node.level], *filter(None, [node.module])])
            base = base if node.level else node.module
            inner = {f"{base}.{alias.name}" for alias in node.names}
            dotted |= {name if is_module(name) else base for name in inner}
        elif isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
    paths = {name.removeprefix("specdec_lite.").replace(".", "/") for name in dotted if name.startswith("specdec_lite")}
    return {next((m for m in reversed(MODULES) if m == path or m.startswith(f"{path}/")), path) for path in paths}


def test_every_module_is_in_the_order_and_in_the_table_of_the_page():
    found = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    entries = {"__init__", "__main__", *(f"{module.split('/')[0]}/__init__" for module in MODULES if "/" in module)}
    assert found == {*MODULES, *entries}
    page = (ROOT / "book" / "inside.md").read_text()
    assert re.findall(r"^\| `specdec_lite/([\w/]+)\.py`", page, re.MULTILINE) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_modules_before_it(module):
    assert modules_imported_by(module) <= {*MODULES[: MODULES.index(module)]}


def test_the_modules_that_carry_the_ideas_can_be_read_in_an_evening():
    core = re.search(r"^CORE := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert {*core} < {*MODULES} and len(core) == 9
    assert sum(len((PACKAGE / f"{module}.py").read_text().splitlines()) for module in core) < 1200


def test_the_imports_of_a_module_are_seen():
    of_fast = {"fast/buffers", "fast/narrow", "fast/padded"}
    assert modules_imported_by("fast/compile") == {"checks", "decoder", "models", *of_fast}
    assert "prompts" in modules_imported_by("models")  # from . import prompts


@pytest.mark.parametrize("page", ["inside"])
def test_every_path_that_the_page_names_exists(page):
    text = (ROOT / "book" / f"{page}.md").read_text()
    paths = re.findall(r"(?:specdec_lite|notebooks|tests|book|tools)/[\w/]*\.\w+", text)
    assert paths and [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_of_the_package_that_the_page_uses_exists(page):
    names = {*re.findall(r"\bsd\.([A-Za-z_]\w*)", page.read_text())}
    assert [name for name in sorted(names) if not hasattr(sd, name)] == []


def test_the_code_of_the_page_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "book" / "inside.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    namespace = {}
    for block in blocks:
        exec(block, namespace)


def test_what_was_recorded_for_chapter_12_is_what_it_asks_for():
    notebook = json.loads((ROOT / "notebooks" / "12_faster.ipynb").read_text(encoding="utf8"))
    source = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    recorded = json.loads(ladder.RECORD.read_text(encoding="utf8"))
    assert {name for _, name in re.findall(r"""\brecorded\[(["'])(\w+)\1""", source)} == set(recorded)
    assert [*recorded["T0"]] == [*ladder.STEPS, ladder.EXTRA]
    for name in {*recorded["counts"], *recorded["round"]}:
        assert f'"{name}"' in source and name in recorded["T0"]


def test_the_strip_on_the_first_page_is_what_the_pocket_pair_writes():
    page = (ROOT / "book" / "preface.md").read_text()
    strip = re.search(r'<div class="strip">.*?</div>', page, re.DOTALL)[0]
    rounds = strip.split('class="legend"')[0].split('<span class="pass">')[1:]
    shown = [re.findall(r'<span class="token (\w+)">([^<]+)</span>', each) for each in rounds]
    text = sd.load_prompts()["sweep"][10]
    run = sd.speculative_generate(*sd.load_pair(), text, gamma=4, max_new_tokens=80, temperature=0.0)
    written = iter([(origin, escape(piece.strip())) for origin, piece in zip(run.origins, run.pieces)])
    assert shown == [[next(written) for _ in each.emitted] for each in run.rounds] and not [*written]
    assert re.findall(r"<sup[^>]*>(\d+)</sup>", strip) == [str(i) for i, _ in enumerate(rounds, 1)]
    assert f"<strong>{len(run.token_ids)} tokens, {run.target_passes} passes</strong>" in strip


def test_the_table_of_the_sweep_is_what_the_pocket_pair_writes():
    page = (ROOT / "book" / "scale_out.md").read_text()
    tokens, accepted, alpha = re.search(r"^ +0\.0 +4 +(\d+) +(\d+) +([\d.]+)", page, re.MULTILINE).groups()
    options = {"gamma": 4, "max_new_tokens": 80, "temperature": 0.0}
    prompts = sd.load_prompts()["sweep"][:6]
    runs = [sd.speculative_generate(*sd.load_pair(), text, **options) for text in prompts]
    assert sum(len(run.token_ids) for run in runs) == int(tokens)
    assert sum(each.n_accepted for run in runs for each in run.rounds) == int(accepted)
    seen = sum(run.overlap_sum for run in runs) / sum(run.examined for run in runs)
    assert seen == pytest.approx(float(alpha), abs=0.0051)


def test_every_public_name_is_on_the_page_of_the_api_once():
    named = re.findall(r"^\.\. auto\w+:: specdec_lite\.(\w+)$", (ROOT / "book" / "api.md").read_text(), re.MULTILINE)
    public = [name for name, thing in vars(sd).items() if not name.startswith("_") and not inspect.ismodule(thing)]
    assert sorted(named) == sorted(public)


def test_every_chapter_has_a_short_name_for_the_sidebar():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [page for part in toc["parts"] for page in part["chapters"] if page["file"].startswith("notebooks/")]
    assert [page["file"] for page in chapters if not 0 < len(page.get("title", "")) <= 25] == []


def test_every_figure_of_a_chapter_is_sharp_has_a_caption_and_says_what_it_shows():
    figures = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                if "image/png" not in output.get("data", {}):
                    continue
                figures += 1
                said = output["metadata"]["image/png"]
                kept = cell["metadata"]["mystnb"]
                assert said["width"] >= 640, path.name  # points; twice as many pixels
                assert len(said["alt"]) > 40 and kept["image"]["alt"] == said["alt"], path.name
                assert kept["figure"]["caption"], path.name
    assert figures >= 17


# What a cell says that reads a clock; what depends on such a cell need not be compared either.
CLOCK = (
    r"perf_counter|\.seconds\b|Stopwatch|measure_costs|sweep\(|_rates?\(|profile\(|\bfit\(|compile_pair\(|"
    r"\bmilliseconds\(|\bpass_time\(|\bfact\("
)
IGNORED = {  # what is not compared for another reason
    ("11", "half = sd.load_pair"): "half precision: another processor rounds otherwise",
    ("11", "best_two"): "half precision",
    ("11", "{ties} have two exactly equal"): "half precision",
    ("A5", "ru_maxrss"): "the memory of a whole process",
}
# Whose numbers they are; a table claims nothing.
WHOSE = r"[Ii]n this run|[Oo]n (?:this|your) machine|[Yy]ours|^\|"


@pytest.mark.parametrize("path", sorted(chapters.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_claim_is_in_a_cell_that_is_not_compared(path):
    number = path.stem.split("_")[0]
    cells = chapters.chapter(number)
    sources = {i: chapters.python(cell) for i, cell in enumerate(cells) if cell["cell_type"] == "code"}
    ignored = {i for i in sources if "nbval-ignore-output" in cells[i]["metadata"].get("tags", [])}
    excused = {i for i in ignored if any(key == number and words in sources[i] for key, words in IGNORED)}
    setup = {i for i in sources if "sd.versions()" in sources[i]}
    others = {*sources} - setup - chapters.dependent(sources, CLOCK)
    left_out = others & ignored
    print(f"{len(sources)} cells; {len(others)} read no clock, and {len(others - left_out)} of them are compared")
    assert left_out <= excused and len(left_out) <= 0.1 * len(others)
    for i in ignored - excused:
        for output in cells[i]["outputs"]:
            said = "".join(output.get("data", {}).get("text/markdown", ""))
            assert not said or re.search(WHOSE, said), f"cell {i} claims, and is not compared: {said}"


def test_every_reason_not_to_compare_is_still_needed():
    for number, words in IGNORED:
        assert any(words in "".join(cell["source"]) for cell in chapters.chapter(number)), words


def test_what_a_figure_says_is_its_title_its_labels_and_its_names():
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2], [3, 4], label="measured")
    left.set(xlabel="γ", ylabel="speed-up (×)", title="It pays")
    right.barh(["plain", "speculative"], [1, 2])
    right.set_xlabel("seconds")
    assert describe(figure) == "It pays. speed-up (×) against γ: measured. seconds: plain; speculative."
    plt.close(figure)


def test_a_shown_figure_keeps_the_colour_of_a_small_mark(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure, axes = plt.subplots()
    draw_map(axes, lambda gamma: 1.2, 0.8, 0.0)
    axes.plot(0.3, 0.8, "o", color="#E69F00")
    show(figure)
    image = PIL.Image.open(BytesIO(shown[0].data)).convert("RGB")
    near = (sum(abs(a - b) for a, b in zip(pixel, (0xE6, 0x9F, 0x00))) for _, pixel in image.getcolors(256))
    assert min(near) < 30 and len(shown[0].data) < 40_000


def test_the_map_of_drafts_is_grey_where_no_gamma_pays():
    figure, axes = plt.subplots()
    draw_map(axes, lambda gamma: 1.2, 0.8, 0.0)
    (grey,) = axes.collections[-1].get_paths()
    assert grey.contains_point((0.7, 0.1)) and not grey.contains_point((0.05, 0.9))
    plt.close(figure)
