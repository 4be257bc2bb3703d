"""The table of a sweep: results.csv, a row for each thing measured, appended as it finishes and never lost."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout

# All that a row's numbers depend on: rows that differ in any of it are different rows of one file.
KEY = [
    "pair", "device", "dtype", "way", "verification", "temperature", "gamma", "repeat", "seed", "max_new_tokens",
    "prompts_id", "measure_id", "target_id", "draft_id",
]  # fmt: skip
COLUMNS = [
    *KEY, "prompts", "tokens", "target_passes", "draft_passes", "accepted", "examined",
    "alpha", "alpha_low", "alpha_high", "acceptance_rate", "tokens_per_target_pass",
    "seconds", "baseline_tokens", "baseline_seconds",
    "speedup", "speedup_low", "speedup_high", "predicted_speedup", "c", "v", "js", "js_floor", "js_floor_sd",
    "identical", "peak_memory_mb", "threads", "specdec_lite", "torch", "transformers", "worker",
]  # fmt: skip
ALWAYS = ["pair", "verification", "temperature", "gamma", "repeat"]  # what the table of any version has
TEXT = {
    "pair", "device", "dtype", "way", "verification", "prompts_id", "measure_id", "target_id", "draft_id",
    "specdec_lite", "torch", "transformers", "worker",
}  # fmt: skip
WHOLE = {
    "gamma", "repeat", "seed", "max_new_tokens", "prompts", "tokens", "target_passes", "draft_passes", "accepted",
    "examined", "baseline_tokens", "identical", "threads",
}  # fmt: skip
PATIENCE = 5.0  # seconds of waiting for another process before it is named


class ResultsTable:
    """results.csv in a folder: read as a data frame, appended to one row at a time.

    A row is written under a lock to a new file, which takes the old one's place when the disk has all of it. So a kill
    or a power cut at any moment leaves either the old table or the new one, and several sweeps can share a folder.
    A table from an earlier version is taken over: columns that it lacks are empty in its rows. One that is damaged is
    refused by the number of the line, and left as it is.
    """

    def __init__(self, folder: str | Path):
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"results_dir={folder!r}: expected a folder")
        self.folder = Path(folder)
        try:
            self.folder = self.folder.expanduser()
            self.folder.mkdir(parents=True, exist_ok=True)
            self.path = self.folder / "results.csv"
            self.file = self.path.resolve()  # where it is a link, what that leads to is replaced, and the link stays
            with tempfile.TemporaryFile(dir=self.file.parent):
                pass
            self.lock = FileLock(self.file.with_name(".results.lock"))
            self.holder = self.file.with_name(".results.holder")
            self.cells()
        except (OSError, RuntimeError) as error:
            raise ValueError(f"results_dir={str(folder)!r}: expected a folder that can be written ({error})") from error

    def read(self) -> pd.DataFrame:
        return as_frame(self.rows().values())

    def rows(self) -> dict[tuple, dict]:
        """Every row with its numbers, by its key."""
        return {row_key(row): {name: parse(name, row[name]) for name in COLUMNS} for row in self.cells()}

    def append(self, row: Mapping) -> None:
        """Keep a row, unless another sweep was faster; it is on the disk when this returns."""
        check_text(row)
        row = {name: as_cell(row[name]) for name in COLUMNS}
        with self.locked():
            rows = self.cells()
            if row_key(row) not in {row_key(old) for old in rows}:
                self.write([*rows, row])

    def cells(self) -> list[dict[str, str]]:
        """Every row as it stands in the file, checked."""
        if not self.file.exists():
            return []
        data = self.file.read_bytes()
        try:
            reader = csv.reader(io.StringIO(data.decode("utf8"), newline=""), strict=True)
        except UnicodeDecodeError as error:
            self.refuse(data.count(b"\n", 0, error.start) + 1, "is not UTF-8")
        rows, seen = [], {}
        try:
            header = next(reader, [])
            wrong = [name for name in header if name not in COLUMNS or header.count(name) > 1]
            wrong += [name for name in ALWAYS if name not in header]
            if wrong:
                self.refuse(1, f"has other columns than a sweep's ({', '.join(map(repr, dict.fromkeys(wrong)))})")
            for cells in filter(None, reader):
                if len(cells) != len(header):
                    self.refuse(reader.line_num, f"has {len(cells)} cells instead of {len(header)}")
                row = dict(zip(header, cells))
                self.check_numbers(reader.line_num, row)
                rows.append(dict.fromkeys(COLUMNS, "") | row)
                first = seen.setdefault(row_key(rows[-1]), reader.line_num)
                if first != reader.line_num:
                    self.refuse(reader.line_num, f"repeats the row of line {first}")
        except csv.Error as error:
            self.refuse(reader.line_num, f"is no line of a CSV file ({error})")
        return rows

    def check_numbers(self, line: int, row: Mapping[str, str]) -> None:
        for name, cell in row.items():
            try:
                value = parse(name, cell)
            except ValueError:
                value = None
            if value is None or (name in KEY and value != value):
                kind = "whole number" if name in WHOLE else "number"
                self.refuse(line, f"has {cell!r} in column {name}: expected a {kind}")

    def refuse(self, line: int, what: str) -> NoReturn:
        raise ValueError(
            f"results_dir={str(self.folder)!r}: line {line} of results.csv {what}. Nothing was changed: expected the "
            "line mended or, if it is a row, deleted (it is measured again), or another results_dir"
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the file; whoever keeps others waiting for long is named."""
        try:
            self.lock.acquire(timeout=PATIENCE)
        except Timeout:
            warnings.warn(f"waiting for {str(self.path)!r}: {self.who()} is writing to it", stacklevel=3)
            self.lock.acquire()
        try:
            with suppress(OSError):  # on a full disk nobody is told
                since = time.strftime("%Y-%m-%d %H:%M:%S")
                self.holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since},")
            yield
        finally:
            with suppress(OSError):
                self.holder.unlink()
            self.lock.release()

    def who(self) -> str:
        try:
            return self.holder.read_text()
        except OSError:
            return "another process"

    def write(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Put a file with these rows in the place of the old one, when all of it is on the disk."""
        lines = [COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]
        data = "".join(",".join(map(quoted, line)) + "\n" for line in lines).encode("utf8")
        part = self.file.with_suffix(".part")
        try:
            with open(part, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            if self.file.exists():
                shutil.copymode(self.file, part)
            os.replace(part, self.file)
            sync_folder(self.file.parent)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            kept = f"{len(rows) - 1} rows are in {str(self.path)!r}, unharmed; call again to go on"
            raise OSError(error.errno, f"{error.strerror}: the newest row could not be written; {kept}") from error


def sync_folder(folder: Path) -> None:
    """Which file has which name is on the disk, too. Windows cannot open a folder, and does this by itself."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def as_cell(value) -> str:
    """A value as text that gives it back to the last bit; a missing number (NaN) is empty."""
    return "" if isinstance(value, float) and math.isnan(value) else str(value)


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def parse(name: str, cell: str):
    """The value of a column's cell. A name stays text, even one like NA or 007."""
    if name in TEXT:
        return cell
    if cell == "":
        return math.nan
    return int(cell) if name in WHOLE else float(cell)


def check_text(row: Mapping) -> None:
    """Raise a ValueError for a name that no UTF-8 file can hold."""
    for name in TEXT & row.keys():
        try:
            str(row[name]).encode("utf8")
        except UnicodeEncodeError:
            raise ValueError(f"{name}={str(row[name])!r}: expected text that can be written as UTF-8") from None


def row_key(row: Mapping) -> tuple:
    """What tells a row from all others, whether it comes from the file or not."""
    return tuple(parse(name, as_cell(row[name])) for name in KEY)


def as_frame(rows) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=COLUMNS)


def fingerprint(things) -> str:
    """Tells prompts, or the tensors of models, from others. Of arrays every number counts."""
    return "sha256:" + hashlib.sha256(repr([in_full(thing) for thing in things]).encode()).hexdigest()[:12]


def in_full(thing):
    """The thing with arrays as digests of their bytes: `repr` would leave out the middle of a long one."""
    if isinstance(thing, Mapping):
        return {name: in_full(value) for name, value in thing.items()}
    if torch.is_tensor(thing) or isinstance(thing, np.ndarray):
        tensor = torch.as_tensor(thing).detach().cpu().contiguous().flatten()
        digest = hashlib.sha256(tensor.view(torch.uint8).numpy()).hexdigest()
        return tuple(thing.shape), str(tensor.dtype), digest
    return thing
