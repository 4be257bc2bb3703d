"""The gamma sweep: one row per (pair, verification, temperature, gamma, repeat), appended as each finishes."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import socket
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import product
from pathlib import Path

import pandas as pd
import torch
import transformers
from filelock import FileLock
from tqdm.auto import tqdm

from .checks import check_integer
from .costs import measure_costs
from .generation import autoregressive_generate, speculative_generate
from .metrics import js_between_samples, js_noise_floor, paired_bootstrap
from .models import Pair, Seq2Seq
from .record import Generation
from .sampling import SamplingRule
from .verification import verifier

KEY = ["pair", "device", "dtype", "verification", "temperature", "gamma", "repeat"]
# Rows of one file share these, or they could not be compared.
SETTINGS = ["prompts", "prompts_id", "max_new_tokens", "seed"]
COLUMNS = [
    *KEY, *SETTINGS, "tokens", "target_passes", "draft_passes", "accepted", "examined", "alpha", "acceptance_rate",
    "tokens_per_target_pass", "seconds", "baseline_tokens", "baseline_seconds",
    "speedup", "speedup_low", "speedup_high", "predicted_speedup", "c", "v", "js", "js_floor", "js_floor_sd",
    "identical", "peak_memory_mb", "threads", "specdec_lite", "torch", "transformers", "worker",
]  # fmt: skip


def load_prompts() -> dict[str, list[str]]:
    """The book's English paragraphs: "sweep" (30) to measure speed on, "measure" (10) to predict it from."""
    return json.loads((Path(__file__).parent / "data" / "prompts.json").read_text(encoding="utf8"))


def run_gamma_sweep(
    pair: Pair | Callable[[], Pair] | Sequence[Pair | Callable[[], Pair]],
    *,
    gammas: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8),
    temperatures: Sequence[float] = (0.0, 1.0),
    prompts: Sequence[str] | None = None,
    measure_prompts: Sequence[str] | None = None,
    max_new_tokens: int = 80,
    repeats: int = 1,
    verification: str | Sequence[str] = "token",
    results_dir: str | Path = "results",
    seed: int = 0,
    progress: bool = True,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Measure speed-up, alpha and JS divergence for every gamma; continue where an interrupted sweep stopped.

    Within a row, plain and speculative decoding take turns prompt by prompt, A B B A. The prediction beside it
    comes from `measure_prompts`, which the row's measurement never sees.

    Parameters
    ----------
    pair : Pair, function that returns one, or a list of these
        With an executor, better a function that can be pickled: ``functools.partial(load_pair, "google-t5/t5-large",
        "google-t5/t5-small", device="cuda")``. It is called once on each worker, and never here. A Pair works too, but
        its weights then travel with every row.
    verification : str or list of str
        The names of one or more rules.
    executor : concurrent.futures.Executor, optional
        Carries out the rows elsewhere: a ProcessPoolExecutor, dask's ``client.get_executor()``, an MPIPoolExecutor ...
        A row is one task, so its two kinds of decoding share a worker; so do the costs behind its prediction, which
        each worker measures for itself. A process measures one row at a time, whatever the executor asks of it, and
        keeps the models of its last row. Only this process writes the table.

    Returns
    -------
    pandas.DataFrame
        The rows of this sweep, as in `results_dir`/results.csv, in the order of the grid: pair, temperature,
        verification, repeat, gamma.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected, before any row is measured.
    RuntimeError
        Some rows could not be measured by the executor; all others are on file.
    """
    prompts = load_prompts()["sweep"] if prompts is None else prompts
    measure_prompts = load_prompts()["measure"] if measure_prompts is None else measure_prompts
    pairs, rules = (x if isinstance(x, (list, tuple)) else [x] for x in (pair, verification))
    check_sweep(pairs, gammas, temperatures, repeats, rules, seed, executor)
    jobs = [Job(p, gammas, prompts, measure_prompts, max_new_tokens, seed) for p in pairs]
    worker = Worker()
    if executor is None:
        labels = [worker.describe(job) for job in jobs]
    else:
        labels = [future.result() for future in [executor.submit(on_worker, "describe", job) for job in jobs]]
    if len({tuple(label.values()) for label in labels}) < len(labels):
        raise ValueError(f"pair={labels}: expected pairs that differ in name, device or dtype")
    table = ResultsTable(results_dir)
    settings = {
        "prompts": len(prompts), "prompts_id": fingerprint(prompts), "max_new_tokens": max_new_tokens, "seed": seed
    }  # fmt: skip
    table.check_settings(settings)
    grid = [
        (job, label | {"verification": rule, "temperature": float(t), "gamma": g, "repeat": r})
        for (job, label), t, rule, r, g in product(zip(jobs, labels), temperatures, rules, range(repeats), gammas)
    ]
    done = table.keys()
    todo = [(job, key) for job, key in grid if _key(key) not in done]
    rows = (worker.measure(*task) for task in todo) if executor is None else gather(executor, todo, table.path)
    with closing(rows):
        for row in tqdm(rows, desc="sweep", unit="row", total=len(todo), disable=not progress):
            table.append(settings | row)
    return pd.DataFrame([key for _, key in grid]).merge(table.read(), on=KEY)[COLUMNS]


@dataclass(frozen=True)
class Job:
    """What a worker must know to measure any row of one pair. It travels with every task."""

    pair: Pair | Callable[[], Pair]
    gammas: Sequence[int]
    prompts: Sequence[str]
    measure_prompts: Sequence[str]
    max_new_tokens: int
    seed: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # what has travelled is a copy: this tells it again


class Worker:
    """Measures rows, one at a time, and keeps for the next one what they share: the models and the bench."""

    def __init__(self):
        self.turn = threading.Lock()  # two rows at once in one process would time each other
        self.job_id = self.pair = self.bench = None

    def load(self, job: Job) -> Pair:
        if self.job_id != job.id:
            self.job_id = self.pair = self.bench = None  # make room first
            self.pair = job.pair if isinstance(job.pair, Pair) else job.pair()
            if not isinstance(self.pair, Pair):
                raise TypeError(f"pair={job.pair!r} returned a {type(self.pair).__name__}: expected a Pair")
            self.job_id = job.id
        return self.pair

    def describe(self, job: Job) -> dict[str, str]:
        """Check what only the models can tell, and return the columns that name them."""
        with self.turn:
            pair = self.load(job)
            pair.target.texts(1, job.max_new_tokens)  # refuses more than the model has positions
            check_prompts(pair, prompts=job.prompts, measure_prompts=job.measure_prompts)
            dtype = str(pair.target.dtype).removeprefix("torch.")
            return {"pair": pair.name, "device": pair.target.device.type, "dtype": dtype}

    def measure(self, job: Job, key: dict) -> dict:
        with self.turn:
            pair = self.load(job)
            if self.bench is None or self.bench.temperature != key["temperature"]:
                self.bench = Bench(
                    pair, key["temperature"], job.max_new_tokens, job.prompts, job.measure_prompts, job.gammas, job.seed
                )
            row = self.bench.row(key["gamma"], key["repeat"], key["verification"])
        return key | row | {"worker": f"{socket.gethostname()}:{os.getpid()}"}


HERE = Worker()


def on_worker(method: str, *arguments):
    """What an executor is asked to run, in whichever process it has chosen."""
    return getattr(HERE, method)(*arguments)


def gather(executor: Executor, tasks: Sequence[tuple[Job, dict]], path: Path) -> Iterator[dict]:
    """Rows in the order in which they are finished. A failure is raised when all that can be had has been passed on."""
    waiting, failures = {submit(executor, "measure", *task) for task in tasks}, []
    try:
        for future in as_completed(waiting):
            waiting.remove(future)  # an engine may keep, and after a crash compute again, what is still asked for
            try:
                row = future.result()
            except Exception as error:
                failures.append(error)
            else:
                yield row
    finally:
        for future in waiting:
            future.cancel()
    if failures:
        raise RuntimeError(
            f"{len(failures)} of {len(tasks)} rows could not be measured ({failures[0]!r}); the others are in "
            f"{str(path)!r}: call again with an executor that works, and only what is missing is measured"
        ) from failures[0]


def submit(executor: Executor, method: str, *arguments) -> Future:
    """A broken pool refuses new tasks: a failure like any other, for earlier ones may have finished."""
    try:
        return executor.submit(on_worker, method, *arguments)
    except Exception as error:
        refused = Future()
        refused.set_exception(error)
        return refused


class Bench:
    """All measurements at one temperature: what rows share is measured once, here."""

    def __init__(self, pair, temperature, max_new_tokens, prompts, measure_prompts, gammas, seed):
        self.pair, self.temperature, self.prompts, self.seed = pair, temperature, prompts, seed
        self.options = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        self.measured = [self.plain(text, "measure", i) for i, text in enumerate(measure_prompts)]  # warms up, too
        spec = [self.speculative(text, 4, "token", "measure", i) for i, text in enumerate(measure_prompts)]
        self.alpha = min(1.0, counts(spec)["alpha"])  # sums of float32 probabilities round, sometimes up
        self.costs = measure_costs(pair, measure_prompts, gammas, temperature=temperature, seed=seed)
        # Plain decoding, used by no row: with a row's own baseline these samples make the six pairs of its noise floor.
        self.references = [
            [self.plain(text, "reference", k, i).token_ids for i, text in enumerate(prompts)]
            for k in range(3 if temperature > 0 else 0)
        ]

    def plain(self, text: str, *label) -> Generation:
        return autoregressive_generate(self.pair.target, text, seed=self.seed_for("plain", *label), **self.options)

    def speculative(self, text: str, gamma: int, verification: str, *label) -> Generation:
        return speculative_generate(
            *self.pair, text, gamma=gamma, verification=verification,
            seed=self.seed_for("speculative", gamma, verification, *label), **self.options,
        )  # fmt: skip

    def seed_for(self, *label) -> int:
        """An independent seed for every run, the same on every machine."""
        text = repr((self.seed, self.temperature, *label))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")

    def row(self, gamma: int, repeat: int, verification: str) -> dict:
        """Run every prompt both ways and reduce to the columns of one row."""
        base, spec = [], []
        for i, text in enumerate(self.prompts):
            for kind in ("plain", "speculative") if i % 2 == 0 else ("speculative", "plain"):
                if kind == "plain":
                    base.append(self.plain(text, gamma, repeat, verification, i))
                else:
                    spec.append(self.speculative(text, gamma, verification, repeat, i))
        seconds, tokens = [g.seconds for g in spec], [len(g.token_ids) for g in spec]
        base_seconds, base_tokens = [g.seconds for g in base], [len(g.token_ids) for g in base]
        speedup, low, high = paired_bootstrap(per_token_ratio, base_seconds, base_tokens, seconds, tokens)
        c, v = self.costs.c, self.costs.v[gamma]
        return {
            **counts(spec),
            "seconds": sum(seconds), "baseline_tokens": sum(base_tokens), "baseline_seconds": sum(base_seconds),
            "speedup": speedup, "speedup_low": low, "speedup_high": high,
            "predicted_speedup": self.predict(gamma, verification), "c": c, "v": v,
            **self.divergence(base, spec),
            "identical": sum(a.token_ids == b.token_ids for a, b in zip(base, spec, strict=True)),
            "peak_memory_mb": peak_memory_mb(self.pair.target), "threads": torch.get_num_threads(),
            "specdec_lite": version("specdec-lite"), "torch": torch.__version__,
            "transformers": transformers.__version__,
        }  # fmt: skip

    def predict(self, gamma: int, verification: str) -> float:
        """Speed-up from alpha, c, v and the output lengths of the measure prompts; the theory is the token rule's."""
        if verification != "token":
            return math.nan
        return self.costs.predict(self.alpha, gamma, [len(g.token_ids) for g in self.measured])

    def divergence(self, base: list[Generation], spec: list[Generation]) -> dict[str, float]:
        """JS between the two samplers' outputs, and between plain samples alone; both 0 when nothing is random."""
        vocab = self.pair.target.vocab_size
        base, spec = [g.token_ids for g in base], [g.token_ids for g in spec]
        floor, spread = js_noise_floor([base, *self.references], vocab) if self.references else (0.0, 0.0)
        return {"js": js_between_samples(base, spec, vocab), "js_floor": floor, "js_floor_sd": spread}


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
        return {_key(row) for row in self.read()[KEY].to_dict("records")}

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
            if _key(row) in self.keys():  # another sweep was faster
                return
            old = self.path.read_text(encoding="utf8") if self.path.exists() else ",".join(COLUMNS) + "\n"
            new = pd.DataFrame([row])[COLUMNS].to_csv(index=False, header=False, lineterminator="\n")
            part = self.path.with_suffix(".part")
            part.write_text(old + new, encoding="utf8")
            os.replace(part, self.path)


def fingerprint(prompts: Sequence[str]) -> str:
    """Tells one list of prompts from another in the table."""
    return "sha256:" + hashlib.sha256(repr(list(prompts)).encode()).hexdigest()[:12]


def counts(runs: list[Generation]) -> dict:
    """Counts summed over prompts, and the ratios of the sums."""
    total = {
        "tokens": sum(len(g.token_ids) for g in runs),
        "target_passes": sum(g.target_passes for g in runs),
        "draft_passes": sum(g.draft_passes for g in runs),
        "accepted": sum(g.accepted for g in runs),
        "examined": sum(g.examined for g in runs),
    }
    examined = total["examined"] or math.nan
    return total | {
        "alpha": sum(g.overlap_sum for g in runs) / examined,
        "acceptance_rate": total["accepted"] / examined,
        "tokens_per_target_pass": total["tokens"] / total["target_passes"],
    }


def per_token_ratio(baseline_seconds, baseline_tokens, seconds, tokens):
    """Speed-up in time per token: sampled outputs of the two loops differ in length."""
    return (baseline_seconds / baseline_tokens) / (seconds / tokens)


def peak_memory_mb(model: Seq2Seq) -> float:
    """Peak of the GPU's allocations, or of the whole process on a CPU, in MB (NaN where the system cannot tell)."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device) / 1e6
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if platform.system() == "Darwin" else peak * 1024 / 1e6


def check_sweep(pairs, gammas, temperatures, repeats, rules, seed, executor) -> None:
    """Everything that could be wrong and needs no model to be told, before any work is done."""
    for rule in rules:
        if not isinstance(rule, str):
            raise TypeError(f"verification={rule!r}: expected a name, for the table")
        verifier(rule)
    for name, values in (("gammas", gammas), ("temperatures", temperatures), ("verification", rules)):
        if isinstance(values, (str, int, float)) or not len(values) or len(set(values)) < len(values):
            raise ValueError(f"{name}={values!r}: expected a list of one or more different values")
    for gamma in gammas:
        check_integer("gammas", gamma, minimum=0)
    for temperature in temperatures:
        SamplingRule(temperature)
    check_integer("repeats", repeats, minimum=1)
    check_integer("seed", seed, minimum=0)
    for pair in pairs or [pairs]:
        if not (isinstance(pair, Pair) or callable(pair)):
            raise TypeError(f"pair={pair!r}: expected a Pair, a function that returns one, or a list of these")
    if not (executor is None or isinstance(executor, Executor)):
        raise TypeError(
            f"executor={executor!r}: expected a concurrent.futures.Executor, such as ProcessPoolExecutor(2) or a dask "
            "client's get_executor()"
        )


def check_prompts(pair: Pair, **lists: Sequence[str]) -> None:
    """Every prompt is one that both models take."""
    for name, prompts in lists.items():
        if isinstance(prompts, str) or not len(prompts):
            raise ValueError(f"{name}={prompts!r}: expected a list of one or more sources")
        for prompt in prompts:
            for model in pair:
                model.encode(prompt)


def _key(row: dict) -> tuple:
    return tuple(float(row[name]) if name in ("temperature", "gamma", "repeat") else str(row[name]) for name in KEY)
