"""A chapter of the book with other parameters, in a clone: `python -m specdec_lite run 5 -p gammas "[2, 4]"`."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import yaml

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def add_run(commands) -> None:
    parser = commands.add_parser(
        "run", help="a chapter of the book with other parameters (in a clone of its repository)",
        description="Run a chapter with other parameters; without any, as it is on the page.",
    )  # fmt: skip
    parser.add_argument("chapter", nargs="?", help="its number, such as 5; left out: list the chapters")
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help='a parameter, such as -p gammas "[2, 4]"; its type must be that of the chapter',
    )  # fmt: skip
    parser.add_argument("-y", action="append", default=[], metavar='"NAME: VALUE"', help="the same, as YAML")
    parser.add_argument("--list", action="store_true", help="list the chapter's parameters and run nothing")
    parser.add_argument(
        "--results-dir", default="results", help="where the notebook with its new outputs goes (default %(default)s)"
    )
    parser.set_defaults(command=run)


def run(args) -> None:
    if args.chapter is None:
        print("\n".join(contents()))
        return
    path = find_chapter(args.chapter)
    parameters = check_parameters(path, read_parameters([*args.y, *(f"{name}: {value}" for name, value in args.p)]))
    if args.list:
        print(parameters_cell(path))
        return
    print(execute(path, Path(args.results_dir).expanduser() / path.name, parameters))


def chapters() -> dict[str, Path]:
    """A chapter has the number of its file: notebooks/05_… is 5, A1_… is A1."""
    paths = sorted(NOTEBOOKS.glob("[0-9A-Z][0-9]_*.ipynb"))
    if not paths:
        raise ValueError("run needs a clone of the book's repository: there are no notebooks beside this package")
    return {path.stem[:2].removeprefix("0"): path for path in paths}


def contents() -> list[str]:
    return [f"  {number:>2}  {title(path)}" for number, path in chapters().items()]


def title(path: Path) -> str:
    return "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]).split("\n")[0].lstrip("# ")


def find_chapter(name: str) -> Path:
    """By number or by file name, with or without its folder and ending."""
    known = chapters()
    wanted = Path(name).stem
    number = wanted.upper().removeprefix("0") or "0"
    found = known.get(number) or next((path for path in known.values() if path.stem == wanted), None)
    if found is None:
        raise ValueError("\n".join([f"chapter={name!r}: expected one of", *contents()]))
    return found


def read_parameters(texts: list[str]) -> dict[str, object]:
    given = {}
    for text in texts:
        try:
            read = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"-y {text!r} is not YAML: {error}") from error
        if not isinstance(read, dict):
            raise ValueError(f'-y {text!r}: expected "name: value", with a space after the colon')
        given |= read
    return given


def parameters_cell(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return "".join(cell["source"])


def check_parameters(path: Path, given: dict[str, object]) -> dict[str, object]:
    """Papermill takes unknown names and any type without a word; a typing error must not cost an hour."""
    source = parameters_cell(path)
    assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    known = {node.targets[0].id: ast.literal_eval(node.value) for node in assignments}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{name!r} is no parameter of {path.stem}, which has\n\n{source}")
        if problem := mismatch(value, known[name]):
            raise ValueError(f"{name}={value!r}: expected {problem}, as in\n\n{source}")
    return given


def mismatch(value: object, default: object) -> str | None:
    """What was expected, if the value is not of the default's type. An integer will do for a float.

    Counts, seeds and temperatures are not negative; a slice in a chapter would take -1 without a word.
    """
    if default is None:
        return None if value is None or isinstance(value, str) else "a name or null"
    if isinstance(default, list):
        if not isinstance(value, list):
            return f"a list, such as {default}"
        return f"a list like {default}" if default and any(mismatch(item, default[0]) for item in value) else None
    kinds = (int, float) if type(default) is float else type(default)
    right = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
    if right and isinstance(value, (int, float)) and value < 0 <= default:
        return f"a number >= 0, such as {default!r}"
    return None if right else f"{type(default).__name__}, such as {default!r}"


def execute(path: Path, out: Path, parameters: dict[str, object]) -> Path:
    try:
        import papermill
    except ImportError as error:
        raise ValueError('run needs papermill: pip install -e ".[book]"') from error
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The chapters import what lies beside them, so each runs in its own folder.
        papermill.execute_notebook(path, out, parameters, kernel_name="python3", cwd=path.parent)
    except papermill.PapermillExecutionError as error:
        raise ValueError(f"a cell failed with {error.ename}: {error.evalue}; the notebook so far is {out}") from error
    return out
