"""Which test catches which wrong loop, and what is wrong with it: the changed lines."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Mapping, Sequence

from .page import Explorable, button, escape


def changed_lines(loops: Mapping[str, type]) -> dict[str, list[str]]:
    """For each wrong loop the lines that differ from a right one: "- " before the old, "+ " the new.

    The first loop is right. A wrong one is a subclass that replaces methods or attributes; it is compared with the
    nearest class above it that is not wrong, too. Unchanged lines begin with two spaces.
    """
    _, *wrong = loops.values()
    above = {name: next(cls for cls in loop.__mro__ if cls not in wrong) for name, loop in loops.items()}
    return {name: [] if loop is above[name] else difference(loop, above[name]) for name, loop in loops.items()}


def difference(loop: type, right: type) -> list[str]:
    own = {}
    for cls in reversed(loop.__mro__[: loop.__mro__.index(right)]):
        own |= statements(cls)
    before = {}
    for cls in reversed(right.__mro__[:-1]):
        before |= statements(cls)
    lines = []
    for name, new in own.items():
        old = before.get(name, [])
        lines += [line for line in difflib.ndiff(old, new) if not line.startswith("?")]
    return lines


def statements(cls: type) -> dict[str, list[str]]:
    """The source lines of each method, attribute and inner class that a class's own body defines, by name."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body[0].body:
        names = [node.name] if hasattr(node, "name") else [t.id for t in getattr(node, "targets", [])]
        text = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])).splitlines()
        found |= dict.fromkeys(names, text)
    return found


def mutation_matrix(
    matrix: Mapping[str, Sequence[bool]], tests: Sequence[str], changes: Mapping[str, Sequence[str]]
) -> Explorable:
    """A table of wrong loops and tests; a row opens the changed lines, and tests can be switched off.

    Parameters
    ----------
    matrix : dict of str to list of bool
        For each loop, is it caught by each test? The first loop is the right one.
    tests : sequence of str
        The names of the tests.
    changes : dict of str to list of str
        What is changed in each loop, as `changed_lines` finds it.
    """
    tests = [" ".join(str(test).split()) for test in tests]
    rows = {name: [bool(hit) for hit in row] for name, row in matrix.items()}
    for name, row in rows.items():
        if len(row) != len(tests):
            raise ValueError(f"matrix[{name!r}] has {len(row)} entries: expected one for each of {len(tests)} tests")
        if name not in changes:
            raise ValueError(f"changes has no entry for {name!r}: expected one for each loop of the matrix")
    data = {"names": [*rows], "tests": tests, "matrix": [*rows.values()], "right": 0}
    counts = [sum(column) for column in zip(*rows.values(), strict=True)]
    each = "; ".join(f"{test} {count}" for test, count in zip(tests, counts))
    words = f"Which test catches which of {len(rows) - 1} bugs. Caught by each: {each}."
    return Explorable("mutation_matrix", "Which test catches which bug", body(data, changes), data, words)


def body(data: dict, changes: Mapping[str, Sequence[str]]) -> str:
    tests, names = data["tests"], data["names"]
    heads = "".join(
        f'<th scope="col" data-test="{i}"><button type="button" data-do="test:{i}" aria-pressed="true">'
        f"{escape(test)}</button></th>"
        for i, test in enumerate(tests)
    )
    lines = "".join(line(i, name, data["matrix"][i]) for i, name in enumerate(names))
    panels = "".join(change(i, name, changes[name]) for i, name in enumerate(names))
    bugs = len(names) - 1
    caught = sum(any(row) for row in data["matrix"][1:])
    return f"""
<div class="scroll" tabindex="0" role="region" aria-label="bugs and tests"><table class="matrix">
<thead><tr><th scope="col">loop</th>{heads}</tr></thead><tbody>{lines}</tbody></table></div>
<div class="controls">{button("all", "all tests on")}{button("none", "all off")}
<span class="unit escapes">escapes the tests that are on</span></div>
<p class="say" role="status" data-show="say">{len(tests)} tests catch {caught} of {bugs} bugs.</p>
<div class="stack">{panels}</div>"""


def line(i: int, name: str, row: Sequence[bool]) -> str:
    cells = "".join(
        f'<td data-test="{k}" class="{"caught" if hit else "missed"}">{"caught" if hit else "–"}</td>'
        for k, hit in enumerate(row)
    )
    first = "true" if i == 1 else "false"
    return (
        f'<tr data-row="{i}"{" class=now" if i == 1 else ""}><th scope="row"><button type="button" data-do="open:{i}" '
        f'aria-pressed="{first}">{escape(name)}</button></th>{cells}</tr>'
    )


def change(i: int, name: str, lines: Sequence[str]) -> str:
    kind = {"-": "del", "+": "ins"}
    code = "".join(
        f"<{kind[mark]}>{escape(text)}</{kind[mark]}>" if (mark := text[:1]) in kind else f"<span>{escape(text)}</span>"
        for text in lines
    )
    shown = f"<pre>{code}</pre>" if lines else "<p>Algorithm 1 as it is. No test may fail here.</p>"
    return f'<div class="change{" now" if i == 1 else ""}"><b>{escape(name)}</b>{shown}</div>'
