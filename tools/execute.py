"""Run notebooks from a clean kernel, keep their outputs, and record how long each took.

    python tools/execute.py [notebook ...]      # without names: every notebook of the book, in its order

A notebook that fails is left as it was.
"""

import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
STATUS = """# How this book was run

Every output in this book was made by `make execute`: each notebook from a clean kernel, in its own folder, on a CPU.
These are the seconds that each one took and what it ran on. Another machine gives other times, and another
processor may round a last digit differently.

| notebook | seconds | CPU cores | Python | torch | transformers |
|---|---:|---:|---|---|---|
{rows}

`pytest --nbval` runs them again and compares every output, apart from the cells that measure time.
"""


def chapters() -> list[Path]:
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    files = [chapter["file"] for part in parts for chapter in part["chapters"]]
    return [ROOT / f"{file}.ipynb" for file in files if (ROOT / f"{file}.ipynb").exists()]


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    # Widgets of an earlier run go; what papermill leaves behind names times and paths of one machine.
    for name in ("widgets", "papermill"):
        notebook.metadata.pop(name, None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    start = time.perf_counter()
    resources = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=resources, record_timing=False).execute()
    notebook.metadata["specdec_lite"] = {
        "seconds": round(time.perf_counter() - start),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name).split("+")[0] for name in ("torch", "transformers")},
    }
    nbformat.write(notebook, path)


def write_status() -> None:
    rows = []
    for path in chapters():
        run = nbformat.read(path, as_version=4).metadata.get("specdec_lite", {})
        values = [str(run.get(name, "–")) for name in ("seconds", "cores", "python", "torch", "transformers")]
        rows.append(f"| {{doc}}`../notebooks/{path.stem}` | " + " | ".join(values) + " |")
    (ROOT / "book/status.md").write_text(STATUS.format(rows="\n".join(rows)))


def main() -> None:
    for path in [Path(name).resolve() for name in sys.argv[1:]] or chapters():
        print(f"{path.name} …", end=" ", flush=True)
        start = time.perf_counter()
        execute(path)
        print(f"{time.perf_counter() - start:.0f} s")
    write_status()


if __name__ == "__main__":
    main()
