"""What the tests of the sweep run in processes of their own: to kill them, to let them compete, or as workers."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pandas as pd
import torch

import specdec_lite as sd
import tiny
from specdec_lite.experiment import COLUMNS, Bench, ResultsTable, table

GRID = {"gammas": (1, 2, 3), "temperatures": (0.0, 1.0), "repeats": 8}
ROWS = 3 * 2 * 8


def fork_server():
    """Processes that do not share the parent's threads; the server imports torch once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "specdec_lite", "transformers.models.t5.modeling_t5"])
    return context


def sweep(folder, journal, **options) -> None:
    """The same quick sweep always; every row that `append` has promised to keep goes to the journal."""
    torch.set_num_threads(1)
    append = ResultsTable.append

    def append_and_tell(self, row):
        append(self, row)
        with open(journal, "a") as file:
            file.write(json.dumps({name: plain(value) for name, value in row.items()}) + "\n")

    ResultsTable.append = append_and_tell
    prompts = tiny.sources(3)
    options = {**GRID, "prompts": prompts[:2], "measure_prompts": prompts[2:], "max_new_tokens": 4, **options}
    sd.run_gamma_sweep(tiny.tiny_pair(), results_dir=folder, progress=False, **options)


def plain(value):
    return value.item() if hasattr(value, "item") else value


def die_while_writing(folder, journal, complete: bool) -> None:
    """A sweep killed inside its third append: amid the new file, or just before it takes the old one's place."""
    fsync, replace, calls = os.fsync, os.replace, []

    def half_a_file(opened):
        calls.append(opened)
        if len(calls) == 5 and not complete:  # each append syncs its file, then the folder
            os.ftruncate(opened, os.fstat(opened).st_size * 2 // 3)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(opened)

    def never(source, target):
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.fsync, os.replace = half_a_file, never
    sweep(folder, journal)


def die_at(folder, journal, call: int) -> None:
    """A sweep killed at the n-th call to the file system that an append makes."""
    calls = []

    def counted(function):
        def count_and_run(*arguments):
            calls.append(function)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return count_and_run

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)
    table.open = counted(open)
    sweep(folder, journal)


def hold_the_lock(folder, flag: Path, seconds: float) -> None:
    """Another process that writes to the table, slowly."""
    with ResultsTable(folder).locked():
        flag.touch()
        time.sleep(seconds)


def read_on(folder, flag: Path, sizes: Path) -> None:
    """A reader that never waits: notes how many rows each look at the file found, until the flag appears."""
    seen = []
    while not flag.exists():
        if (folder / "results.csv").exists():
            rows = pd.read_csv(folder / "results.csv", keep_default_na=False)
            assert list(rows.columns) == COLUMNS
            seen.append(len(rows))
    sizes.write_text(json.dumps(seen))


# What a worker loads its pair with. A worker is a process of its own, so these may change `Bench` there for good.


def pair_of(family: str = "t5") -> sd.Pair:
    torch.set_num_threads(1)
    return tiny.tiny_pair(family)


def pair_with_a_journal(folder: Path, workers: int) -> sd.Pair:
    """Every decoding is noted under the worker that did it, and none begins before all workers have the pair."""
    journal = folder / f"{os.getpid()}"
    with open(journal, "a") as file:
        file.write("loaded\n")

    def noted(run, name):
        def note_and_run(self, *arguments):
            deadline = time.monotonic() + 120
            while len(list(folder.iterdir())) < workers and time.monotonic() < deadline:
                time.sleep(0.01)
            with open(journal, "a") as file:
                file.write(f"{name} {self.temperature} {arguments[1:]}\n")
            return run(self, *arguments)

        return note_and_run

    Bench.plain, Bench.speculative = noted(Bench.plain, "plain"), noted(Bench.speculative, "speculative")
    return pair_of()


def pair_of_a_victim(flag: Path, gamma: int) -> sd.Pair:
    """The first worker to come to this gamma at temperature 1 is killed in the middle of the row."""
    plain = Bench.plain

    def die_or_run(self, text, *label):
        if self.temperature == 1 and label[0] == gamma and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, text, *label)

    Bench.plain = die_or_run
    return pair_of()


def pair_that_fails(gamma: int) -> sd.Pair:
    """Every row of this gamma raises."""
    row = Bench.row

    def fail_or_run(self, asked, *rest):
        if asked == gamma:
            raise MemoryError(f"no room for gamma={gamma}")
        return row(self, asked, *rest)

    Bench.row = fail_or_run
    return pair_of()
