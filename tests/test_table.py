"""The table alone: no row is lost, doubled or altered, and what is damaged is refused by line and left as it is."""

import csv
import errno
import math
import os
import random
import re
import socket
import threading
from pathlib import Path

import pytest

from specdec_lite.experiment import COLUMNS, KEY, ResultsTable, table


def row(key: int, **values) -> dict:
    made = dict.fromkeys(COLUMNS, 0) | {"pair": "p", "device": "cpu", "dtype": "float32", "verification": "token"}
    return made | {"temperature": 0.5, "gamma": key, "seconds": math.pi * 10 ** (key - 5), "worker": "me:1"} | values


@pytest.fixture
def filled(tmp_path):
    """A table with rows of gamma 0, 1, 2."""
    made = ResultsTable(tmp_path)
    for key in range(3):
        made.append(row(key))
    return made


def on_file(folder) -> list[dict]:
    with open(folder / "results.csv", encoding="utf8", newline="") as file:
        return list(csv.DictReader(file))


def test_values_survive_many_rewritings_to_the_last_bit(tmp_path):
    made = ResultsTable(tmp_path)
    for key in range(12):
        made.append(row(key))
    assert made.read().seconds.tolist() == [row(key)["seconds"] for key in range(12)]


def test_a_finished_row_is_not_written_twice(tmp_path):
    made = ResultsTable(tmp_path)
    for seconds in (1.0, 2.0):
        made.append(row(3, seconds=seconds))
    assert made.read().seconds.tolist() == [1.0]


@pytest.mark.parametrize("name", KEY)
def test_rows_that_differ_in_anything_of_the_key_stand_beside_each_other(filled, name):
    filled.append(row(1, **{name: "another" if name in table.TEXT else 9}))
    assert len(filled.read()) == 4


def test_threads_that_append_together_lose_nothing_and_double_nothing(tmp_path):
    def work(seed):
        made, keys = ResultsTable(tmp_path), list(range(15))
        random.Random(seed).shuffle(keys)
        for key in keys:
            made.append(row(key))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ResultsTable(tmp_path).read().gamma) == list(range(15))


NAMES = [
    "NA", "nan", "None", "", "007", "1e5", "True", True, Path("a/b"), "a,b", 'a "b"', "a\nb", "a\r\nb", "a\rb", " a ",
    "γ = 4", "=1+1", "\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_is_text_whatever_it_looks_like(tmp_path, name):
    made = ResultsTable(tmp_path)
    for key in (0, 1, 0):
        made.append(row(key, pair=name, verification=str(name)))
    rows = ResultsTable(tmp_path).read()
    assert rows.pair.tolist() == rows.verification.tolist() == [str(name)] * 2
    assert [each["pair"] for each in on_file(tmp_path)] == [str(name)] * 2


def test_a_name_that_utf8_cannot_hold_is_refused_and_nothing_is_written(filled):
    before = filled.path.read_bytes()
    with pytest.raises(ValueError, match=r"^pair='a\\udc80': expected text that can be written as UTF-8"):
        filled.append(row(5, pair="a\udc80"))
    assert filled.path.read_bytes() == before


def test_a_number_that_is_missing_is_an_empty_cell(tmp_path):
    made = ResultsTable(tmp_path)
    made.append(row(0, alpha=math.nan, predicted_speedup=math.nan))
    assert made.read().alpha.isna().all() and on_file(tmp_path)[0]["predicted_speedup"] == ""


# What comes from elsewhere: an earlier version, an editor, a link.


@pytest.mark.parametrize(
    "gone", [["worker"], ["way", "measure_id", "target_id", "draft_id"], ["js_floor_sd", "threads"]]
)
def test_a_table_of_an_earlier_version_is_taken_over(tmp_path, gone):
    kept = [name for name in COLUMNS if name not in gone]
    old = [{name: table.as_cell(row(key)[name]) for name in kept} for key in range(2)]
    lines = [kept[::-1], *([each[name] for name in kept[::-1]] for each in old)]  # in another order, too
    (tmp_path / "results.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    made = ResultsTable(tmp_path)
    assert made.read().seconds.tolist() == [row(key)["seconds"] for key in range(2)]
    for key in (0, 7):
        made.append(row(key))
    rows, known = on_file(tmp_path), not set(gone) & set(KEY)  # what is not known to be the same row is another one
    assert [int(each["gamma"]) for each in rows] == ([0, 1, 7] if known else [0, 1, 0, 7])
    for before, after in zip(old, rows):
        assert after == before | dict.fromkeys(gone, "")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n", "\r\n\r\n"], ids=repr)
@pytest.mark.parametrize("keep", [1, 3], ids=["a header", "rows"])
def test_a_file_may_end_in_any_way(filled, keep, end):
    text = filled.path.read_text().splitlines()[:keep]
    separator = "\r\n" if "\r" in end else "\n"
    filled.path.write_bytes((separator.join(text) + end).encode())
    ResultsTable(filled.folder).append(row(8))
    assert [int(each["gamma"]) for each in on_file(filled.folder)] == [*range(keep - 1), 8]


def test_a_link_stays_one_and_a_file_keeps_its_permissions(tmp_path):
    (tmp_path / "far").mkdir()
    place, link = tmp_path / "far" / "kept.csv", tmp_path / "results.csv"
    link.symlink_to(place)  # to nothing yet
    for key in range(2):
        ResultsTable(tmp_path).append(row(key))
        place.chmod(0o640)
    assert link.is_symlink() and place.stat().st_mode & 0o777 == 0o640
    assert len(ResultsTable(tmp_path).read()) == 2 and not list(tmp_path.glob("*.part"))


def test_the_folder_of_a_user_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ResultsTable("~/x").append(row(0))
    assert (tmp_path / "x" / "results.csv").exists() and not Path("~").exists()


@pytest.mark.parametrize("folder", [3, None, b"x"])
def test_what_is_no_folder_is_refused(folder):
    with pytest.raises(TypeError, match=f"^results_dir={re.escape(repr(folder))}: expected a folder"):
        ResultsTable(folder)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def denied(**_):
        raise PermissionError(errno.EACCES, "Permission denied")  # root may write anywhere, so it is simulated

    monkeypatch.setattr(table.tempfile, "TemporaryFile", denied)
    with pytest.raises(ValueError, match=r"^results_dir=.*can be written \(.*Permission denied"):
        ResultsTable(tmp_path)


# Damage.


def cell(text: str, line: int, column: str, value: str) -> str:
    lines = text.split("\n")
    cells = lines[line - 1].split(",")
    cells[COLUMNS.index(column)] = value
    lines[line - 1] = ",".join(cells)
    return "\n".join(lines)


DAMAGE = {
    "cut row": (lambda text: "\n".join(text.split("\n")[:3]) + "\np,cpu\n", 4, "has 2 cells instead of"),
    "one cell more": (lambda text: text.replace("\n", "\n", 1)[:-1] + ",1\n", 4, "cells instead of"),
    "decimal comma": (lambda text: cell(text, 3, "speedup", '"1,25"'), 3, "has '1,25' in column speedup"),
    "spreadsheet's error": (lambda text: cell(text, 2, "alpha", "#DIV/0!"), 2, "has '#DIV/0!' in column alpha"),
    "half a gamma": (lambda text: cell(text, 4, "gamma", "2.5"), 4, "has '2.5' in column gamma: expected a whole"),
    "no gamma": (lambda text: cell(text, 4, "gamma", ""), 4, "has '' in column gamma"),
    "no number for a temperature": (lambda text: cell(text, 2, "temperature", "nan"), 2, "in column temperature"),
    "the same row again": (lambda text: text + text.split("\n")[2] + "\n", 5, "repeats the row of line 3"),
    "a quote without end": (lambda text: cell(text, 4, "worker", '"me'), 4, "is no line of a CSV file"),
    "zeros behind the end": (lambda text: text + "\0" * 64, 5, ""),
    "latin-1": (lambda text: cell(text, 3, "pair", "é").encode("latin-1"), 3, "is not UTF-8"),
    "utf-16": (lambda text: text.encode("utf-16"), 1, "is not UTF-8"),
    "byte order mark": (lambda text: text.encode("utf-8-sig"), 1, "has other columns"),
    "semicolons": (lambda text: text.replace(",", ";"), 1, "has other columns"),
    "a foreign column": (lambda text: text.replace("alpha", "beta", 1), 1, r"has other columns.*'beta'"),
    "a column twice": (lambda text: text.replace("alpha", "seconds", 1), 1, r"has other columns.*'seconds'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_by_line_and_left_as_it_is(filled, name):
    spoil, line, said = DAMAGE[name]
    spoiled = spoil(filled.path.read_text())
    spoiled = spoiled if isinstance(spoiled, bytes) else spoiled.encode()
    filled.path.write_bytes(spoiled)
    for use in (lambda: ResultsTable(filled.folder), lambda: filled.append(row(9)), filled.read):
        with pytest.raises(ValueError, match=rf"^results_dir=.*: line {line} of results.csv .*{said}"):
            use()
        assert filled.path.read_bytes() == spoiled


def test_a_lost_tail_is_seen_wherever_it_begins(filled):
    """As after a power cut on a disk that promised too much. Without its last row the file is whole again."""
    data = filled.path.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    whole = data.rindex(b",") + 1  # from here on only the name of the worker is cut, and nobody could tell
    for end in range(last + 1, whole):
        filled.path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"line 4 of results.csv"):
            ResultsTable(filled.folder).append(row(5))
        assert filled.path.read_bytes() == data[:end]
    filled.path.write_bytes(data[:last])
    ResultsTable(filled.folder).append(row(2))
    assert filled.path.read_bytes() == data


# The disk.


def failing(function, code: int):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    return fail


class Full:
    """A file on a disk that is full when it is written to, or when it is flushed."""

    def __init__(self, file, at):
        self.file, self.at = file, at

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        if name == self.at:
            self.file.write(b"half")
            return failing(name, errno.ENOSPC)
        return getattr(self.file, name)


@pytest.mark.parametrize("at", ["write", "flush", "fsync", "replace"])
def test_a_full_disk_leaves_the_table_whole_and_says_how_to_go_on(filled, at, monkeypatch):
    before = filled.path.read_bytes()
    with monkeypatch.context() as patch:
        if at in ("fsync", "replace"):
            patch.setattr(table.os, at, failing(at, errno.ENOSPC))
        else:
            patch.setattr(table, "open", lambda *arguments: Full(open(*arguments), at), raising=False)  # noqa: SIM115
        with pytest.raises(OSError, match=r"No space left.*3 rows are in .*unharmed; call again") as raised:
            filled.append(row(7))
    assert raised.value.errno == errno.ENOSPC
    assert filled.path.read_bytes() == before and not (filled.folder / "results.part").exists()
    filled.append(row(7))
    assert filled.path.read_bytes().startswith(before) and len(filled.read()) == 4


def test_a_row_is_on_the_disk_before_it_takes_the_old_ones_place(filled, monkeypatch):
    done = []

    def noted(name):
        function = getattr(os, name)

        def note_and_run(first, *rest):
            if name == "fsync":
                whole = Path(f"/proc/self/fd/{first}").resolve() if Path("/proc/self/fd").exists() else None
                done.append(whole and whole.name)
                assert whole is None or whole.is_dir() or whole.read_bytes().endswith(b"me:1\n")  # flushed before
            else:
                done.append(name)
            return function(first, *rest)

        return note_and_run

    for name in ("fsync", "replace"):
        monkeypatch.setattr(table.os, name, noted(name))
    filled.append(row(6))
    assert done in (["results.part", "replace", filled.folder.name], [None, "replace", None])


# Others who write.


def test_whoever_keeps_others_waiting_is_named(filled, monkeypatch):
    monkeypatch.setattr(table, "PATIENCE", 0.05)
    holds, may_go = threading.Event(), threading.Event()

    def hold():
        with ResultsTable(filled.folder).locked():
            holds.set()
            may_go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(10)
    threading.Timer(0.3, may_go.set).start()
    named = rf"waiting for .*results.csv.*process {os.getpid()} on {re.escape(socket.gethostname())}, since \d{{4}}-"
    with pytest.warns(UserWarning, match=named):
        filled.append(row(5))
    thread.join()
    assert len(filled.read()) == 4 and not filled.holder.exists()
