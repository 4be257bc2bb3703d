"""Write book/status.md: what every notebook ran on and how long it took, and how much is tested. `make status`."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).parents[1]
PAGE = """# How this book was run

Every output in this book was made by `make execute`: each notebook from a clean kernel, in its own folder, on a CPU.
`make status` wrote this page, from what the notebooks and the tests say of themselves.

| notebook | seconds | CPU cores | Python | torch | transformers |
|---|---:|---:|---|---|---|
{rows}

All of them together take {minutes} minutes{machines}. Another machine gives other times, and another processor may
round a last digit differently.

## What is checked

| | |
|---|---:|
| tests of the package and of these pages | {tests} |
| of them, tests of a law: the exact distribution of what is written, or of one step to it | {laws} |
| code cells that are run again and compared with the outputs on the page | {compared} |
| code cells that are run again and not compared, since they measure time | {timed} |

`make test` does all of it.
"""
COLUMNS = ("seconds", "cores", "python", "torch", "transformers")


def machine() -> str:
    """The kind of processor, as far as the system tells: "AMD EPYC, 2 cores"."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    name = found[1] if found else platform.processor() or platform.machine()
    name = re.sub(r"\(R\)|\(TM\)|@.*| CPU\b|\b\d+-Core Processor.*", "", name)
    return f"{' '.join(name.split())}, {os.cpu_count()} cores"


def chapters() -> list[Path]:
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    files = [chapter["file"] for part in parts for chapter in part["chapters"]]
    return [ROOT / f"{file}.ipynb" for file in files if (ROOT / f"{file}.ipynb").exists()]


def collected() -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if "::" in line]


def write_status() -> None:
    books = {path.stem: nbformat.read(path, as_version=4) for path in chapters()}
    runs = {name: book.metadata.get("specdec_lite", {}) for name, book in books.items()}
    rows = [
        f"| {{doc}}`../notebooks/{name}` | " + " | ".join(str(run.get(column, "–")) for column in COLUMNS) + " |"
        for name, run in runs.items()
    ]
    kinds = sorted({run["machine"] for run in runs.values() if "machine" in run})
    tests = collected()
    code = [cell for book in books.values() for cell in book.cells if cell.cell_type == "code"]
    timed = sum("nbval-ignore-output" in cell.metadata.get("tags", []) for cell in code)
    page = PAGE.format(
        rows="\n".join(rows),
        minutes=round(sum(run.get("seconds", 0) for run in runs.values()) / 60),
        machines=f" ({'; '.join(kinds)})" if kinds else "",
        tests=len(tests),
        laws=sum(bool(re.search(r"(?<![a-z])law", test)) for test in tests),
        compared=len(code) - timed,
        timed=timed,
    )
    (ROOT / "book/status.md").write_text(page)


if __name__ == "__main__":
    write_status()
