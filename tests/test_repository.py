"""What holds the repository together: one list of requirements, one address, notebooks that were really run."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
INSTALL = """\
# Colab: install the package if it is missing; torch, numpy and transformers stay.
import importlib.util

if importlib.util.find_spec("specdec_lite") is None:
    %pip install -q git+{address}
import specdec_lite as sd

sd.versions()"""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def config() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text())


def toc_files() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def tracked_text_files() -> list[Path]:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    return [path for path in paths if b"\0" not in path.read_bytes()[:8192]]


def test_conda_and_pip_require_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)}
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert {*pip["pip"]} == {*wanted, "-e ."}
    assert conda == [f"python{project['requires-python']}", "pip"]


def test_constraints_pin_every_requirement_exactly():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    pinned = {normalised(pin) for pin in pins}
    required = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert {normalised(line) for line in required if line != "-e ."} <= pinned
    assert "torch==2.13.0" in pins


def normalised(requirement: str) -> str:
    """The name before the version, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_every_page_of_the_book_exists_and_every_notebook_is_a_page():
    pages = toc_files()
    assert [page for page in pages if not any((ROOT / f"{page}{end}").exists() for end in (".md", ".ipynb"))] == []
    assert NOTEBOOKS, "there is no notebook"
    assert {f"notebooks/{path.stem}" for path in NOTEBOOKS} <= {*pages}


@each_notebook
def test_first_cell_installs_the_package_from_the_repositorys_address(path):
    first = code_cells(path)[0]
    assert source(first) == INSTALL.format(address=config()["repository"]["url"])
    assert "nbval-ignore-output" in tags(first)


@each_notebook
def test_every_cell_was_run_from_a_clean_kernel_without_error(path):
    # nbval skips a cell without a count, so a stripped notebook would pass it without a single comparison.
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert [source(cell) for cell in cells if any(out["output_type"] == "error" for out in cell["outputs"])] == []
    assert json.loads(path.read_text())["metadata"]["specdec_lite"]["seconds"] >= 0, "run `make execute`"


@each_notebook
def test_title_has_no_formula(path):
    # The sidebar shows it on every page, also on those that have no formula and so load no MathJax: write γ as it is.
    title = source(json.loads(path.read_text())["cells"][0]).splitlines()[0]
    assert title.startswith("# ")
    assert "$" not in title


@each_notebook
def test_cells_are_short_and_what_does_not_teach_is_folded(path):
    cells = code_cells(path)
    folded = [bool({"hide-cell", "hide-input"} & {*tags(cell)}) for cell in cells]
    lines = [[line for line in source(cell).splitlines() if line.strip()] for cell in cells]
    assert [i for i, cell in enumerate(cells, 1) if not folded[i - 1] and len(lines[i - 1]) > 20] == []
    # A longer line would scroll on the page. The first cell quotes the repository's address, of any length.
    assert [line for cell in lines[1:] for line in cell if len(line) > 84] == []
    plumbing = [cell for cell in cells if cell is cells[0] or "parameters" in tags(cell)]
    assert [source(cell) for cell in plumbing if "hide-cell" not in tags(cell)] == []


def test_make_passes_only_parameters_that_the_notebooks_have():
    # papermill takes an unknown parameter without a word, and the run then ignores it.
    recipes = re.findall(r"papermill .*?(notebooks/\S+\.ipynb)(.*?)\n(?!\t\t)", (ROOT / "Makefile").read_text(), re.S)
    assert len(recipes) == 2
    for notebook, arguments in recipes:
        (cell,) = [cell for cell in code_cells(ROOT / notebook) if "parameters" in tags(cell)]
        known = re.findall(r"^(\w+)\b[^=\n]*=", source(cell), re.MULTILINE)
        assert {*re.findall(r'-[py] "?(\w+)', arguments)} <= {*known}, notebook


def test_no_file_names_a_path_of_one_machine():
    machine_path = re.compile(r"(?<![\w.])/(?:root|home|Users|work|tmp|var)/|\b[A-Z]:\\\\?Users")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if machine_path.search(line)
    ]
    assert found == []
