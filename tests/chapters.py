"""Run some cells of a chapter without a kernel: those that a cell's output depends on, in their order."""

import ast
import dis
import functools
import json
import re
import types
from pathlib import Path

import IPython.display

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
IN_PLACE = ("append", "extend", "insert", "update", "add", "setdefault")


def chapter(number: str) -> list[dict]:
    """Its cells; number as in the name of the file, "06" or "A1"."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return json.loads(path.read_text(encoding="utf8"))["cells"]


def python(cell: dict) -> str:
    """The source of a code cell without the lines that are IPython's."""
    return re.sub(r"^(\s*)[%!].*", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)


@functools.cache
def names(source: str) -> tuple[set[str], set[str]]:
    """Which names a cell gives a value or changes in place, and which it takes from cells before it."""
    code, given, taken = compile(source, "cell", "exec"), set(), set()
    for step in dis.get_instructions(code):
        if step.opname == "STORE_NAME":
            given.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in given:
            taken.add(step.argval)
    taken |= inner(code) - given
    for node in ast.walk(ast.parse(source)):
        place = isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store)
        method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in IN_PLACE
        base = node.func.value if method else node
        while isinstance(base, (ast.Attribute, ast.Subscript)):
            base = base.value
        if (place or method) and isinstance(base, ast.Name):
            given.add(base.id)
    return given, taken


def inner(code: types.CodeType) -> set[str]:
    """What functions and classes in the code take from outside of it."""
    found = set()
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= {
                step.argval for step in dis.get_instructions(const) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            }
            found |= inner(const)
    return found


def needed(sources: dict[int, str], last: int) -> set[int]:
    """The cells that cell `last` depends on, and itself. A function may use a name that a later cell gives."""
    found, wanted = {last}, names(sources[last])[1]
    while True:
        more = {i for i in sources if i < last and i not in found and names(sources[i])[0] & wanted}
        if not more:
            return found
        found |= more
        wanted = wanted.union(*(names(sources[i])[1] for i in more))


def imported(source: str) -> set[str]:
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {alias.asname or alias.name.split(".")[0] for node in found for alias in node.names}


def dependent(sources: dict[int, str], starts: str) -> set[int]:
    """The cells that read what matches `starts`, and all after them that depend on them."""
    found, given = set(), set()
    for i, source in sorted(sources.items()):
        new, taken = names(source)
        if re.search(starts, source) or taken & given:
            found.add(i)
            given |= new - imported(source)
    return found


shown = []


def run(source: str, namespace: dict, monkeypatch) -> str:
    """Run a cell; what it displays as Markdown."""
    shown.clear()
    monkeypatch.setattr(IPython.display, "display", lambda *things, **_: shown.extend(things))
    tree = ast.parse(source)
    value = tree.body and isinstance(tree.body[-1], ast.Expr) and ast.Expression(tree.body.pop().value)
    exec(compile(tree, "cell", "exec"), namespace)
    if value:
        shown.append(eval(compile(value, "cell", "eval"), namespace))
    return "\n".join(thing.data for thing in shown if isinstance(thing, IPython.display.Markdown))
