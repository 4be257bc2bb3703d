"""What the tests of the sweep run in processes of their own: to kill them, to let them compete, or as workers."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch

import specdec_lite as sd
import tiny
from specdec_lite.experiment import Bench, ResultsTable

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
    write, replace, calls = Path.write_text, os.replace, []

    def half_a_file(self, text, **options):
        calls.append(self)
        if len(calls) == 3 and not complete:
            write(self, text[: -len(text) // 3], **options)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(self, text, **options)

    def never(source, target):
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    Path.write_text, os.replace = half_a_file, never
    sweep(folder, journal)


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
