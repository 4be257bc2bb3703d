"""The pages' look: chapter numbers and links, folded cells, icons; and what `make look` says without its tools."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

nodes = pytest.importorskip("docutils.nodes")
pytest.importorskip("pydata_sphinx_theme")

import icons  # noqa: E402
import look  # noqa: E402
import pages  # noqa: E402

KNOWN = {"4": "notebooks/04_loop", "7": "notebooks/07_test", "12": "notebooks/12_fast", "A1": "notebooks/A1_train"}


@pytest.mark.parametrize(
    ("docname", "number", "label"),
    [
        ("notebooks/00_quickstart", "0", "Chapter 0"),
        ("notebooks/12_faster", "12", "Chapter 12"),
        ("notebooks/A1_train_the_pocket_pair", "A1", "Appendix A1"),
        ("book/glossary", "", ""),
        ("book/2024_notes", "", ""),
    ],
)
def test_a_chapter_has_the_number_of_its_file(docname, number, label):
    assert (pages.number_of(docname), pages.label_of(docname)) == (number, label)


@pytest.fixture
def linker():
    """The transform on a page of its own, the seventh chapter."""
    made = pages.LinkChapters.__new__(pages.LinkChapters)
    titles = {name: nodes.title("", f"Title of {name}") for name in KNOWN.values()}
    app = SimpleNamespace(builder=SimpleNamespace(get_relative_uri=lambda here, there: f"{there}.html"))
    environment = SimpleNamespace(docname="notebooks/07_test", titles=titles, app=app)
    made.document = SimpleNamespace(settings=SimpleNamespace(env=environment))
    return made


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("As chapter 4 shows.", ["chapter 4"]),
        ("Chapter 12's loop", ["Chapter 12"]),
        ("in chapters 4, 7 and 12", ["4", "12"]),
        ("chapters 4 to 12", ["4", "12"]),
        ("see chapter A1.", ["chapter A1"]),
        ("chapter 7 is this one, chapter 9 is not written", []),
        ("chapter 123, chapter four, chapters", []),
        ("chapter 4, and chapter 12", ["chapter 4", "chapter 12"]),
    ],
)
def test_every_mention_of_another_chapter_is_a_link_and_no_word_is_lost(linker, text, links):
    parts = linker.linked(text, KNOWN)
    assert "".join(part.astext() for part in parts) == text
    assert [part.astext() for part in parts if isinstance(part, nodes.reference)] == links


def cell(tags=(), hide="all", output=False, **metadata):
    made = nodes.container(nb_element="cell_code", cell_metadata={"tags": list(tags), **metadata})
    if hide:
        made["hide_mode"], made["prompt_show"], made["prompt_hide"] = hide, "Show {type}", "Hide {type}"
    made += nodes.container(nb_element="cell_code_source")
    if output:
        made += nodes.container(nb_element="cell_code_output")
    return made


def folded(*cells):
    section = nodes.section("", *cells)
    document = SimpleNamespace(findall=section.findall)
    transform = pages.FoldSetup.__new__(pages.FoldSetup)
    transform.document = document
    transform.apply()
    return section


def test_folded_cells_in_a_row_become_one_line():
    section = folded(cell(), cell(["parameters"]), cell(), nodes.paragraph("", "Text."), cell(hide=None))
    assert [type(child).__name__ for child in section] == [
        *["raw", "container", "container", "container", "raw", "paragraph", "container"]
    ]
    assert "<summary>Setup: install, parameters, imports</summary>" in section[0].astext()
    assert not any("hide_mode" in child for child in section.findall(nodes.container))


def test_a_folded_cell_alone_says_what_is_behind_it():
    asked = cell(mystnb={"code_prompt_show": "Code of this figure"})
    figure, solution = cell(hide="input", output=True), cell(["exercise-1-1-solution"])
    text = (nodes.paragraph("", "Text.") for _ in range(2))
    folded(figure, next(text), solution, next(text), asked)
    assert [one["prompt_show"] for one in (figure, solution)] == ["Show the code", "Show a solution"]
    assert (
        asked["prompt_show"] == "Show {type}"
    )  # the notebook's own words, which the reader of notebooks has put there


def test_code_folded_over_an_output_stays_with_its_output():
    section = folded(cell(hide="input", output=True), cell(hide="input", output=True))
    assert [child["hide_mode"] for child in section] == ["input", "input"]


def test_only_icons_in_use_are_kept_and_a_missing_one_is_named(tmp_path):
    theme = Path(sys.modules["pydata_sphinx_theme"].__file__).parent
    source = theme / "theme/pydata_sphinx_theme/static/vendor/fontawesome/6.5.2"
    for folder in ("css", "webfonts", "js"):
        (tmp_path / folder).mkdir()
    missing = icons.trim(source, tmp_path, '<i class="fa-solid fa-bars"></i><i class="fas fa-lemon fa-lg"></i>')
    assert missing == ["lemon"]
    style = (tmp_path / "css/all.min.css").read_text()
    assert style.count(":before{content:") == len(icons.ICONS.split()) and ".fa-bars:before" in style
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 20_000


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("look", 1)])
def test_without_its_tools_nobody_looks_and_that_is_said(ci, code, monkeypatch, capsys, tmp_path):
    (tmp_path / "_build" / "html").mkdir(parents=True)
    monkeypatch.setattr(look, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["look.py"])
    monkeypatch.setenv("CI", ci)
    for missing, said in (("book", "make book"), ("node", "node is missing"), ("browser", "Chromium is missing")):
        if missing != "book":
            (tmp_path / "_build" / "html" / "index.html").touch()
        monkeypatch.setattr(look.shutil, "which", lambda tool, gone=missing: None if gone == "node" else f"bin/{tool}")
        monkeypatch.setattr(look, "browser", lambda: "")
        with pytest.raises(SystemExit) as ended:
            look.main()
        assert ended.value.code == code and said in capsys.readouterr().out


def test_the_address_decides_about_buttons():
    def config(url):
        return SimpleNamespace(html_theme_options={"repository_url": url, "launch_buttons": {"x": 1}}, html_baseurl="")

    app = SimpleNamespace(tags=set())
    unset, known = config("https://github.com/OWNER/specdec-lite"), config("https://github.com/Me/specdec-lite")
    pages.hide_dead_buttons(app, unset)
    assert unset.html_theme_options["launch_buttons"] == {} and not unset.html_theme_options["use_repository_button"]
    assert app.tags == set() and unset.html_baseurl == ""
    pages.hide_dead_buttons(app, known)
    assert known.html_theme_options["launch_buttons"] and "published" in app.tags
    assert known.html_baseurl == "https://me.github.io/specdec-lite/"
