"""`python -m specdec_lite run`: a chapter with other parameters; what a chapter does not have is refused by name."""

import ast
import json
import sys

import pytest

from specdec_lite import run
from specdec_lite.__main__ import main

PARAMETERS = 'target = None  # a name\nprompts = 6\ngammas = [1, 2]\nshare = 0.5\nwarm = False\ndevice = "cpu"'


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone whose only chapter, 5, writes its parameters down and reads a file beside it."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "beside.py").write_text("here = 1")
    code = ["import json, sys, beside", "print(json.dumps([target, prompts, gammas, share, warm, device]))"]
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "# How many?\n\nA chapter."},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": PARAMETERS},
        {"cell_type": "code", "metadata": {}, "source": "\n".join(code)},
    ]
    for number, cell in enumerate(cells):
        cell["id"] = str(number)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    book = {"cells": cells, "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "P"}}}
    (folder / "05_gamma.ipynb").write_text(json.dumps(book | {"nbformat": 4, "nbformat_minor": 5}))
    monkeypatch.setattr(run, "NOTEBOOKS", folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(path) -> list:
    cells = json.loads(path.read_text())["cells"]
    return json.loads("".join("".join(out["text"]) for cell in cells for out in cell.get("outputs", [])))


def test_a_chapter_runs_with_other_parameters_in_its_own_folder(clone, capsys):
    assert main(["run", "5", "-y", "gammas: [2, 4]", "-y", "share: 1", "-y", "device: cuda"]) == 0
    out = clone / "results" / "05_gamma.ipynb"
    assert capsys.readouterr().out.strip() == "results/05_gamma.ipynb"
    assert printed(out) == [None, 6, [2, 4], 1, False, "cuda"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["gammas", "2"], "gammas=2: expected a list"),
        (["gammas", "(1, 2)"], "gammas='(1, 2)': expected a list"),
        (["gamas", "[1, 2]"], "'gamas' is no parameter of 05_gamma"),
        (["prompts", "-1"], "prompts=-1: expected a number >= 0"),
    ],
)
def test_parameters_as_papermill_takes_them_are_checked_by_name_and_type(clone, given, said, capsys):
    assert main(["run", "5", "-p", *given]) == 2
    assert said in capsys.readouterr().err and not (clone / "results").exists()


def test_a_list_given_as_papermill_takes_parameters_is_a_list(clone):
    assert main(["run", "5", "-p", "gammas", "[1, 2]", "-p", "device", "cuda:0", "-y", "prompts: 3"]) == 0
    assert printed(clone / "results" / "05_gamma.ipynb") == [None, 3, [1, 2], 0.5, False, "cuda:0"]


@pytest.mark.parametrize("name", ["5", "05", "05_gamma", "05_gamma.ipynb", "notebooks/05_gamma.ipynb"])
@pytest.mark.usefixtures("clone")
def test_a_chapter_is_found_by_its_number_and_by_its_file(name):
    assert run.find_chapter(name).name == "05_gamma.ipynb"


@pytest.mark.parametrize("name", ["8", "gamma", "", "A1"])
@pytest.mark.usefixtures("clone")
def test_an_unknown_chapter_lists_those_there_are(name, capsys):
    assert main(["run", name]) == 2
    said = capsys.readouterr().err
    assert f"chapter={name!r}" in said and "5  How many?" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gama: [2]", "'gama' is no parameter of 05_gamma"),
        ("gammas: 2", "gammas=2: expected a list"),
        ("gammas: [2, x]", "gammas=[2, 'x']: expected a list like [1, 2]"),
        ("gammas: [true]", "gammas=[True]: expected a list like [1, 2]"),
        ("prompts: six", "prompts='six': expected int, such as 6"),
        ("prompts: 1.5", "prompts=1.5: expected int"),
        ("prompts: true", "prompts=True: expected int"),
        ("share: much", "share='much': expected float"),
        ("warm: 1", "warm=1: expected bool"),
        ("device: 0", "device=0: expected str"),
        ("device: null", "device=None: expected str"),
        ("target: 5", "target=5: expected a name or null"),
        ("prompts: -1", "prompts=-1: expected a number >= 0"),
        ("gammas: [2, -1]", "gammas=[2, -1]: expected a list like [1, 2]"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_and_the_known_ones_are_listed(clone, given, said, capsys):
    assert main(["run", "5", "-y", given]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and PARAMETERS in captured.err and "Traceback" not in captured.err
    assert not (clone / "results").exists() and not captured.out


@pytest.mark.parametrize("given", ["gammas:[2]", "gammas", "[1, 2]", "gammas: [2"])
@pytest.mark.usefixtures("clone")
def test_what_is_no_yaml_assignment_is_quoted(given, capsys):
    assert main(["run", "5", "-y", given]) == 2
    assert repr(given) in capsys.readouterr().err


@pytest.mark.usefixtures("clone")
def test_chapters_and_parameters_are_listed_without_running(capsys):
    assert main(["run"]) == 0
    assert "5  How many?" in capsys.readouterr().out
    assert main(["run", "5", "--list"]) == 0
    assert capsys.readouterr().out.strip() == PARAMETERS


def test_a_cell_that_fails_is_named_without_a_traceback(clone, capsys):
    (clone / "notebooks" / "beside.py").write_text("1 / 0")
    assert main(["run", "5"]) == 2
    assert "ZeroDivisionError" in (said := capsys.readouterr().err) and "results/05_gamma.ipynb" in said
    assert "Traceback" not in said.split("specdec_lite:")[-1]


def test_outside_a_clone_and_without_papermill_it_says_what_is_missing(clone, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    assert main(["run", "5"]) == 2
    assert "papermill" in capsys.readouterr().err
    monkeypatch.setattr(run, "NOTEBOOKS", clone / "nowhere")
    assert main(["run", "5"]) == 2
    assert "clone" in capsys.readouterr().err


def test_every_chapter_of_this_book_can_be_checked():
    for path in run.chapters().values():
        names = [node.targets[0].id for node in ast.parse(run.parameters_cell(path)).body]
        values = {name: None for name in names if name in ("target", "draft")}
        assert run.check_parameters(path, values) == values and run.title(path)
