"""The gamma sweep: what is missing in the table is measured, one row at a time, and appended as it finishes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from itertools import product
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ..checks import check_integer
from ..models import Pair
from ..sampling import SamplingRule
from ..verification import verifier
from .table import COLUMNS, KEY, ResultsTable, fingerprint, row_key
from .workers import Job, Worker, gather, on_worker


def load_prompts() -> dict[str, list[str]]:
    """The book's English paragraphs: "sweep" (30) to measure speed on, "measure" (10) to predict it from."""
    return json.loads((Path(__file__).parents[1] / "data" / "prompts.json").read_text(encoding="utf8"))


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
    todo = [(job, key) for job, key in grid if row_key(key) not in done]
    rows = (worker.measure(*task) for task in todo) if executor is None else gather(executor, todo, table.path)
    with closing(rows):
        for row in tqdm(rows, desc="sweep", unit="row", total=len(todo), disable=not progress):
            table.append(settings | row)
    return pd.DataFrame([key for _, key in grid]).merge(table.read(), on=KEY)[COLUMNS]


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
