"""The prose pages say nothing that the tree does not keep: paths, public names, code, and who may import whom."""

import ast
import json
import re
from pathlib import Path

import pytest

import specdec_lite as sd

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "book" / f"{name}.md"
    for name in (
        "notation",
        "glossary",
        "inside",
        "how_to_read",
        "troubleshooting",
    )
]
# From the ground up: a room imports only from those before it.
ROOMS = [
    "sampling", "verification", "theory", "metrics", "models", "decoder", "compiled", "drafting", "generation",
    "costs", "display", "experiment", "plotting",
]  # fmt: skip


def rooms_imported_by(room: str) -> set[str]:
    tree = ast.parse((ROOT / "specdec_lite" / f"{room}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("specdec_lite")):
            module = (node.module or "").removeprefix("specdec_lite").lstrip(".")
            found |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("specdec_lite.") for a in node.names if a.name.startswith("specdec_lite")}
    return found


def test_every_room_is_in_the_order_and_in_the_table_of_the_page():
    assert {path.stem for path in ROOT.glob("specdec_lite/*.py")} == {*ROOMS, "__init__", "__main__"}
    page = (ROOT / "book" / "inside.md").read_text()
    assert re.findall(r"^\| `specdec_lite/(\w+)\.py`", page, re.MULTILINE) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_before_it(room):
    assert rooms_imported_by(room) <= {*ROOMS[: ROOMS.index(room)]}


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
    recorded = json.loads((ROOT / "notebooks" / "recorded" / "fast_path.json").read_text(encoding="utf8"))
    assert set(re.findall(r'\bfact\("(\w+)"', source)) == set(recorded)
    assert re.findall(r'"(.+)": (?:plain_on|speculative_on)\(', source) == list(recorded["race"])
    for name in recorded["costs"]:
        assert f'"{name}"' in source and name in recorded["passes"]
