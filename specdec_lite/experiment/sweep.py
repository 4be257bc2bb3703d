"""The gamma sweep: what is missing in the table is measured, one row at a time, and appended as it finishes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from itertools import product
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ..checks import check_integer, check_list
from ..models import Pair
from ..sampling import SamplingRule
from ..verification import Verifier, verifier
from .table import ResultsTable, as_frame, check_text, fingerprint, row_key
from .workers import Job, Worker, gather, on_worker


def load_prompts() -> dict[str, list[str]]:
    """The book's English paragraphs: "sweep" (30) to measure speed on, "measure" (10) to predict it from."""
    return json.loads((Path(__file__).parents[1] / "data" / "prompts.json").read_text(encoding="utf8"))


def run_gamma_sweep(
    pair: Pair | Callable[[], Pair] | Sequence[Pair | Callable[[], Pair]],
    *,
    gammas: Iterable[int] = (1, 2, 3, 4, 5, 6, 7, 8),
    temperatures: Iterable[float] = (0.0, 1.0),
    prompts: Iterable[str] | None = None,
    measure_prompts: Iterable[str] | None = None,
    max_new_tokens: int = 80,
    repeats: int = 1,
    verification: str | Verifier | Sequence[str | Verifier] = "token",
    results_dir: str | Path = "results",
    seed: int = 0,
    progress: bool = True,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Measure speed-up, alpha and JS divergence for every gamma; continue where an interrupted sweep stopped.

    Within a row, plain and speculative decoding take turns prompt by prompt, A B B A. The prediction beside it
    comes from `measure_prompts`, which the row's measurement never sees.

    A row is taken from the file only if all that its numbers depend on is the same: the weights and settings of both
    models (`target_id` and `draft_id` are digests of them), compiled steps or not, both lists of prompts, and every
    argument below. Other rows of the file stay as they are.

    Parameters
    ----------
    pair : Pair, function that returns one, or a list of these
        With an executor, better a function that can be pickled: ``functools.partial(load_pair, "google-t5/t5-large",
        "google-t5/t5-small", device="cuda")``. It is called once on each worker, and never here. A Pair works too, but
        its weights then travel with every row.
    verification : str, Verifier, or list of these
        One or more rules. The table has their names; of an object its `repr`.
    executor : concurrent.futures.Executor, optional
        Carries out the rows elsewhere: a ProcessPoolExecutor, dask's ``client.get_executor()``, an MPIPoolExecutor ...
        A row is one task, so its two kinds of decoding share a worker; so do the costs behind its prediction, which
        each worker measures for itself. A process measures one row at a time, whatever the executor asks of it, and
        keeps the models of its last row. Only this process writes the table.

    Returns
    -------
    pandas.DataFrame
        The rows of this sweep, as in `results_dir`/results.csv, in the order of the grid: pair, temperature,
        verification, repeat, gamma. `peak_memory_mb` is the row's own peak: on a GPU of what torch has allocated there;
        on a CPU of all that the process has in memory (off Linux since the process began, not since the row did).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected, before any row is measured. Or naming a line of
        results.csv that is damaged.
    RuntimeError
        Some rows could not be measured by the executor; all others are on file.
    OSError
        A row could not be written (a full disk, for instance); all earlier ones are on file.
    KeyboardInterrupt
        Saying how many rows are on file.
    """
    pairs = pair if isinstance(pair, (list, tuple)) else [pair]
    rules = verification if isinstance(verification, (list, tuple)) else [verification]
    lists = {"gammas": gammas, "temperatures": temperatures, "verification": rules}
    gammas, temperatures, rules = (check_list(name, values, "different values") for name, values in lists.items())
    prompts = load_prompts()["sweep"] if prompts is None else check_list("prompts", prompts, "sources")
    if measure_prompts is None:
        measure_prompts = load_prompts()["measure"]
    measure_prompts = check_list("measure_prompts", measure_prompts, "sources")
    check_sweep(pairs, gammas, temperatures, repeats, rules, seed, executor)
    rules = {rule_name(rule): rule for rule in rules}
    jobs = [Job(p, gammas, prompts, measure_prompts, max_new_tokens, seed, rules) for p in pairs]
    worker = Worker()
    if executor is None:
        labels = [worker.describe(job) for job in jobs]
    else:
        labels = [future.result() for future in [executor.submit(on_worker, "describe", job) for job in jobs]]
    if len({tuple(label.values()) for label in labels}) < len(labels):
        raise ValueError(f"pair={labels}: expected pairs that differ in name, weights, device, dtype or way")
    shared = {
        "seed": seed, "max_new_tokens": max_new_tokens, "prompts": len(prompts),
        "prompts_id": fingerprint(prompts), "measure_id": fingerprint(measure_prompts),
    }  # fmt: skip
    grid = [
        (job, label | shared | {"verification": rule, "temperature": float(t), "gamma": int(g), "repeat": r})
        for (job, label), t, rule, r, g in product(zip(jobs, labels), temperatures, rules, range(repeats), gammas)
    ]
    for _, key in grid:
        check_text(key)
    table = ResultsTable(results_dir)
    done = table.rows()
    todo = [(job, key) for job, key in grid if row_key(key) not in done]
    rows = (worker.measure(*task) for task in todo) if executor is None else gather(executor, todo, table.path)
    try:
        with closing(rows):
            for row in tqdm(rows, desc="sweep", unit="row", total=len(todo), disable=not progress):
                table.append(row)
    except KeyboardInterrupt:
        done = table.rows()
        had = sum(row_key(key) in done for _, key in grid)
        raise KeyboardInterrupt(f"{had} of {len(grid)} rows in {str(table.path)!r}; call again to go on") from None
    done = table.rows()
    return as_frame(done[row_key(key)] for _, key in grid)


def rule_name(rule: str | Verifier) -> str:
    """What the table calls a rule: of an object its repr; if it has none of its own, its class and what it holds."""
    if isinstance(rule, str):
        return rule
    name = repr(rule)
    if type(rule).__repr__ is object.__repr__:
        held = ", ".join(f"{key}={value!r}" for key, value in getattr(rule, "__dict__", {}).items())
        name = f"{type(rule).__name__}({held})"
    if " at 0x" in name:
        raise TypeError(f"verification={name}: expected a rule whose repr is the same in every process, for the table")
    return name


def check_sweep(pairs, gammas, temperatures, repeats, rules, seed, executor) -> None:
    """Everything that could be wrong and needs no model to be told, before any work is done."""
    for rule in rules:
        verifier(rule)
    for gamma in gammas:
        check_integer("gammas", gamma, minimum=0)
    for temperature in temperatures:
        SamplingRule(temperature)
    names = [rule_name(rule) for rule in rules]
    for name, values in (("gammas", gammas), ("temperatures", temperatures), ("verification", names)):
        if len(set(values)) < len(values):
            raise ValueError(f"{name}={values!r}: expected a list of one or more different values")
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
