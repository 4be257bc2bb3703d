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
from nbclient import NotebookClient
from status import chapters, machine, write_status

WIDGET = "application/vnd.jupyter.widget-view+json"  # in this book only progress bars are widgets


def keep_alt_texts(notebook) -> None:
    """What a figure said about itself in this run is the text that its picture has on the page."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["alt"] = alt


def drop_progress_bars(notebook) -> None:
    """A bar that has run to its end tells a reader nothing, and its widget makes a page heavy."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    notebook.metadata.pop("widgets", None)


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)  # what it leaves behind names times and paths of one machine
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    start = time.perf_counter()
    resources = {"metadata": {"path": path.parent}}
    how = {"timeout": 3600, "kernel_name": "python3", "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources=resources, **how).execute()
    keep_alt_texts(notebook)
    drop_progress_bars(notebook)
    notebook.metadata["specdec_lite"] = {
        "seconds": round(time.perf_counter() - start),
        "cores": os.cpu_count(),
        "machine": machine(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name).split("+")[0] for name in ("torch", "transformers")},
    }
    nbformat.write(notebook, path)


def main() -> None:
    for path in [Path(name).resolve() for name in sys.argv[1:]] or chapters():
        print(f"{path.name} …", end=" ", flush=True)
        start = time.perf_counter()
        execute(path)
        print(f"{time.perf_counter() - start:.0f} s")
    write_status()


if __name__ == "__main__":
    main()
