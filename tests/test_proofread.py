"""`make proofread` finds what it must on a page, and leaves plain prose alone."""

import json
import sys
from pathlib import Path

import pytest

from test_measured import tool

proofread = tool("proofread")

BAD = {
    "The rule stands on page 4.": '"stands" for "is"',
    "Row 2 wants another token.": '"wants" for "needs"',
    "The law holds.": '"holds" for "is true"',
    "The time is that of a step.": '"that of"',
    "We take two, of which one is long.": '"of which"',
    "The draft guesses, too.": 'a trailing "too"',
    "It climbs a rung.": "a word of the workshop",
    "If it is refused, then the round ends.": "If … then",
    "The loop, a plain old one, the one from before, with its own cache, the small one.": "a chain of appositions",
    "It reads the the text.": "a word twice",
}
GOOD = [
    "α stands for the share of guesses that is accepted.",
    "You want a faster model, so you need a draft.",
    "The cache holds six tokens.",
    "If it is refused, the round ends.",
    "It reads the source, the text, a mask and two caches.",
    "The tests of this book use p, q, u, v, and a seed.",
    "It costs too much.",
    "The rows do not agree.",
]


@pytest.mark.parametrize("sentence", BAD)
def test_a_habit_is_found_and_named(sentence):
    assert [name for name, _ in proofread.habits(sentence)] == [BAD[sentence]]


@pytest.mark.parametrize("sentence", GOOD)
def test_plain_prose_is_left_alone(sentence):
    assert list(proofread.habits(sentence)) == []


class Dictionary:
    """Knows the words of the good sentences."""

    def unknown(self, asked):
        known = set(proofread.words(" ".join(GOOD).lower()))
        return {word.lower() for word in asked} - known


LONG = "The draft" + 13 * " and the text" + " ends."


def notebook(tmp_path: Path) -> Path:
    shown = {"data": {"text/markdown": "The time is that of a step."}}
    code = {"cell_type": "code", "source": "x = 'The law holds.'", "outputs": [shown], "metadata": {}}
    said = {
        "cell_type": "markdown",
        "source": ["# That of\n", "\n", f"It costs to much. {LONG}"],
        "metadata": {},
    }
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps({"cells": [said, code]}), encoding="utf8")
    return path


def test_a_report_says_what_and_in_which_cell(tmp_path):
    page = notebook(tmp_path)
    lines = proofread.report(page, None).splitlines()
    assert lines[0] == "== small: 3 sentences, median 7 words, 33% over 25"
    assert lines[1] == '  "that of", output of cell 1: …The time is that of a step.…'
    assert lines[2] == f"  42 words, cell 0: {LONG}" and len(lines) == 3
    assert "  unknown, cell 0: to" in proofread.report(page, Dictionary()).splitlines()


PAGE = """# A tests page

```python
that_of = "The law holds."
```

It reads `that of`
the text. $x$ that
of it, [that of](that_of.md) it.

- The cache holds
  six tokens. It costs too much.

| that of | it |

```{figure} a.svg
:alt: The law holds.
:width: 6

The source and the mask, too.
```
"""


def test_code_formulas_tables_and_alternative_texts_are_no_sentences_and_lines_are_counted(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf8")
    found = proofread.sentences(page)
    assert [place for place, _ in found] == ["line 7", "line 7", "line 11", "line 11", "line 20"]
    assert found[0][1] == "It reads `…` the text." and found[3][1] == "It costs too much."
    names = [line.split(":")[0].strip() for line in proofread.report(page, None).splitlines()[1:]]
    assert names == ['"that of", line 7', 'a trailing "too", line 20']


def test_words_are_looked_up_without_what_an_apostrophe_adds():
    text = "The draft's text isn’t x86, `teh`, CachedDecoder or *hte*; don't agree a.b.ckt."
    assert proofread.unknown(proofread.prose(text), Dictionary()) == ["or", "hte"]


def test_it_says_so_and_goes_on_without_a_dictionary(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "spellchecker", None)
    monkeypatch.setattr(sys, "argv", ["proofread.py", "preface"])
    proofread.main()
    said = capsys.readouterr().out.splitlines()
    assert "not installed" in said[0] and said[1].startswith("== preface: ")


def test_the_list_of_words_is_sorted_and_has_no_capitals():
    listed = proofread.WORDS.read_text(encoding="utf8").split()
    assert listed == sorted({word.lower() for word in listed})
