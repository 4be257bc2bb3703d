"""Sentences are made of what was recorded: if the record changes, they change with it, or the chapter stops.

A copy of the record with other numbers is put in its place; then the cells run that a sentence depends on, those that
do not depend on the record only once. A sentence that is the same for every record was written by hand.
"""

import json
import re
import zlib
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import chapters
from specdec_lite import measured

READ = r"\brecorded\(|(?<!training_log)\.json\"\)+\.read_text"  # what a cell that reads a record says
LONG = r"\bfit\(|\bbill\("  # sentences that need these, training and copying, take too long
CHEAP = {"prompts": 5, "max_new_tokens": 6}  # counts differ from the page's, and are none of the record


def numbers(thing, change, path=""):
    """JSON with every number changed by `change(path, number)`; places in lists have the path of their list."""
    if isinstance(thing, dict):
        return {key: numbers(value, change, f"{path}/{key}") for key, value in thing.items()}
    if isinstance(thing, list):
        return [numbers(value, change, path) for value in thing]
    return change(path, thing) if isinstance(thing, float) else thing


def times(factors: dict[str, float]):
    """A number times the factor of the first pattern that its path matches."""
    return lambda path, number: number * next((factors[key] for key in factors if re.search(key, path)), 1)


def shaken(path: str, number: float) -> float:
    """Every number is smaller, by up to 40 %, and each by another factor."""
    return number * (0.6 + 0.4 * zlib.crc32(path.encode()) / 2**32)


UNCHANGED = times({})
CHANGES = {
    "it never pays": times({
        r"/c$": 2, r"/v[(/]": 1.5, r"/speed-up": 0.5, r"/round": 1.8, r"/race/\d+/[1-9]\d*/seconds": 3,
    }),
    "many guesses are best": times({r"/speed-up\(8\)": 2}),
    "shaken": shaken,
}  # fmt: skip


class Chapter:
    """The sentences of a chapter that depend on a record, to be said again with another one."""

    def __init__(self, cells: list[dict], folder: Path, monkeypatch):
        self.cells, self.folder, self.monkeypatch = cells, folder, monkeypatch
        self.sources = {i: chapters.python(cell) for i, cell in enumerate(cells) if cell["cell_type"] == "code"}
        self.dependent = chapters.dependent(self.sources, READ)
        shown = {i: chapters.needed(self.sources, i) for i in sorted(self.dependent) if shows_markdown(cells[i])}
        self.sentences = {
            i: cells for i, cells in shown.items() if not any(re.search(LONG, self.sources[j]) for j in cells)
        }
        self.kept = {}

    def put(self, change) -> None:
        """A changed record takes the place of the real one."""
        (self.folder / "recorded").mkdir(exist_ok=True)
        for file in (measured.FILE, *(chapters.NOTEBOOKS / "recorded").glob("*.json")):
            what = numbers(json.loads(file.read_text(encoding="utf8")), change)
            (self.folder / "recorded" / file.name).write_text(json.dumps(what), encoding="utf8")
        record = self.folder / "recorded" / "measured.json"
        self.monkeypatch.setattr(measured.read_sessions, "__defaults__", (record,))
        self.monkeypatch.chdir(self.folder)

    def say(self, change) -> dict[int, str | None]:
        """Every sentence with a changed record; None if an assert stopped it."""
        self.put(change)
        namespace, said, stopped = {"__name__": "__main__"}, {}, set()
        for i in sorted(set().union(*self.sentences.values())):
            if stopped & chapters.needed(self.sources, i):
                stopped.add(i)
            elif i in self.kept:
                namespace |= self.kept[i]
            else:
                try:
                    said[i] = chapters.run(self.sources[i], namespace, self.monkeypatch)
                except Exception as error:  # with another record something else than an assert may stop it, too
                    if change is UNCHANGED and not isinstance(error, AssertionError):
                        raise
                    stopped.add(i)
                if "parameters" in self.cells[i]["metadata"].get("tags", []):
                    namespace |= {name: value for name, value in CHEAP.items() if name in namespace}
                if i not in self.dependent:
                    given, _ = chapters.names(self.sources[i])
                    self.kept[i] = {name: namespace[name] for name in given if name in namespace}
        plt.close("all")
        return {i: None if i in stopped else said[i] for i in self.sentences}

    def compare(self) -> tuple[list[int], list[int], int]:
        """Cells whose sentence never changes, those of which more than digits change, and how many were looked at."""
        before = {i: text for i, text in self.say(UNCHANGED).items() if text is not None}
        after = [self.say(change) for change in CHANGES.values()]
        same = [i for i, text in before.items() if all(each[i] == text for each in after)]
        worded = [
            i for i, text in before.items() if any(each[i] is None or bare(each[i]) != bare(text) for each in after)
        ]
        return same, worded, len(before)


def shows_markdown(cell: dict) -> bool:
    return any("text/markdown" in output.get("data", {}) for output in cell["outputs"])


def bare(text: str | None) -> str | None:
    """Its words, without numbers."""
    return text and re.sub(r"[\d.,]+", "#", text)


@pytest.mark.parametrize("number, least", {"05": 2, "06": 4, "09": 1, "10": 3, "A1": 3}.items())
def test_what_a_chapter_says_of_the_record_changes_with_it(number, least, tmp_path, monkeypatch):
    chapter = Chapter(chapters.chapter(number), tmp_path, monkeypatch)
    same, worded, looked_at = chapter.compare()
    assert looked_at >= least
    assert not same, {i: chapter.sources[i] for i in same}
    assert worded  # not only digits change: a comparison is made in the cell, or an assert guards it


def cell(source: str) -> dict:
    shown = [{"data": {"text/markdown": ""}}] if "Markdown(" in source else []
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": shown}


TOY = {
    "import specdec_lite as sd\nfrom IPython.display import Markdown, display\nc = sd.recorded('c')": "",
    "f = 2 * c\ndisplay(Markdown(f'Two guesses cost {f:.2f} steps.'))": "changes",
    "Markdown(f'A guess costs 0.30 of {f.__class__}.')": "was written by hand",
    "assert f < 1\nMarkdown('Guesses are cheap.')": "is guarded",
    "Markdown('It pays.' if sd.recorded('speed-up') > 1 else 'It does not.')": "changes its words",
    "Markdown('Guesses are cheap.')": "does not use the record",
}


def test_a_sentence_that_was_written_by_hand_is_seen(tmp_path, monkeypatch):
    same, worded, looked_at = Chapter([cell(source) for source in TOY], tmp_path, monkeypatch).compare()
    kinds = list(TOY.values())
    assert [kinds[i] for i in same] == ["was written by hand"] and looked_at == 4
    assert [kinds[i] for i in worded] == ["is guarded", "changes its words"]
