"""The table of a sweep: results.csv, one row per (pair, verification, temperature, gamma, repeat)."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

KEY = ["pair", "device", "dtype", "verification", "temperature", "gamma", "repeat"]
# Rows of one file share these, or they could not be compared.
SETTINGS = ["prompts", "prompts_id", "max_new_tokens", "seed"]
COLUMNS = [
    *KEY, *SETTINGS, "tokens", "target_passes", "draft_passes", "accepted", "examined", "alpha", "acceptance_rate",
    "tokens_per_target_pass", "seconds", "baseline_tokens", "baseline_seconds",
    "speedup", "speedup_low", "speedup_high", "predicted_speedup", "c", "v", "js", "js_floor", "js_floor_sd",
    "identical", "peak_memory_mb", "threads", "specdec_lite", "torch", "transformers", "worker",
]  # fmt: skip


class ResultsTable:
    """results.csv in a folder: read as a data frame, appended to one row at a time.

    A row is written under a lock to a new file that then takes the old one's place, so a kill at any moment leaves
    either the old table or the new one, and two sweeps can share a folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.path = self.folder / "results.csv"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise ValueError(f"results_dir={str(folder)!r}: expected a folder that can be written ({error})") from error
        self.lock = FileLock(self.folder / ".results.lock")
        self.read()

    def read(self) -> pd.DataFrame:
        if not self.path.exists():
            return pd.DataFrame(columns=COLUMNS)
        text = self.path.read_text(encoding="utf8", errors="replace")
        columns = text.partition("\n")[0].split(",")
        if columns != COLUMNS:
            other = sorted(set(columns) ^ set(COLUMNS)) or "their order"
            raise ValueError(
                f"results_dir={str(self.folder)!r} holds a results.csv with other columns ({other}): expected this "
                "version's, or another results_dir"
            )
        return pd.read_csv(io.StringIO(text))

    def keys(self) -> set[tuple]:
        return {row_key(row) for row in self.read()[KEY].to_dict("records")}

    def check_settings(self, settings: dict) -> None:
        for row in self.read()[SETTINGS].to_dict("records"):
            for name in SETTINGS:
                if row[name] != settings[name]:
                    raise ValueError(
                        f"{name}={settings[name]!r}: the rows in results_dir={str(self.folder)!r} have {row[name]}; "
                        "expected the same, or another results_dir"
                    )

    def append(self, row: dict) -> None:
        with self.lock:
            if row_key(row) in self.keys():  # another sweep was faster
                return
            old = self.path.read_text(encoding="utf8") if self.path.exists() else ",".join(COLUMNS) + "\n"
            new = pd.DataFrame([row])[COLUMNS].to_csv(index=False, header=False, lineterminator="\n")
            part = self.path.with_suffix(".part")
            part.write_text(old + new, encoding="utf8")
            os.replace(part, self.path)


def row_key(row: dict) -> tuple:
    """What tells a row from all others, whether it comes from the file or not."""
    return tuple(float(row[name]) if name in ("temperature", "gamma", "repeat") else str(row[name]) for name in KEY)


def fingerprint(prompts: Sequence) -> str:
    """Tells one list of prompts from another in the table. Of arrays every number counts."""
    return "sha256:" + hashlib.sha256(repr([in_full(prompt) for prompt in prompts]).encode()).hexdigest()[:12]


def in_full(prompt):
    """The prompt with arrays as digests of their bytes: `repr` would leave out the middle of a long one."""
    if isinstance(prompt, Mapping):
        return {name: in_full(value) for name, value in prompt.items()}
    if torch.is_tensor(prompt) or isinstance(prompt, np.ndarray):
        tensor = torch.as_tensor(prompt).detach().cpu().flatten()
        digest = hashlib.sha256(tensor.view(torch.uint8).numpy().tobytes()).hexdigest()
        return tuple(prompt.shape), str(tensor.dtype), digest
    return prompt
