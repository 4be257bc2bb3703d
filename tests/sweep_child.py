"""What test_experiment.py runs in processes of its own, to kill them or to let them compete."""

import json
import os
import signal
from pathlib import Path

import torch

import specdec_lite as sd
import tiny
from specdec_lite.experiment import ResultsTable

GRID = {"gammas": (1, 2, 3), "temperatures": (0.0, 1.0), "repeats": 8}
ROWS = 3 * 2 * 8


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
