"""The sweep on an executor: the same rows, each from one worker, and none lost when a worker dies."""

import ast
import inspect
import os
import re
import socket
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

import specdec_lite as sd
import sweep_child
import tiny
from specdec_lite import verification
from specdec_lite.experiment import COLUMNS, KEY, Bench, Job, Worker

GAMMAS, TEMPERATURES = (0, 2, 3), (0.0, 1.0)
OPTIONS = {
    "gammas": GAMMAS, "temperatures": TEMPERATURES, "prompts": tiny.sources(2, seed=1),
    "measure_prompts": tiny.sources(1, seed=2), "max_new_tokens": 6, "progress": False,
}  # fmt: skip
# What depends on the clock or on the process; every other column must not.
OF_THE_WORKER = [
    "seconds", "baseline_seconds", "speedup", "speedup_low", "speedup_high", "predicted_speedup", "c", "v",
    "peak_memory_mb", "threads", "worker",
]  # fmt: skip


def assert_same_rows(rows, others):
    """All there, and equal, times and worker names aside; sums of float32 may round otherwise in another process."""
    assert list(rows.columns) == list(others.columns) == COLUMNS
    pd.testing.assert_frame_equal(rows.drop(columns=OF_THE_WORKER), others.drop(columns=OF_THE_WORKER), rtol=1e-5)
    assert (rows[OF_THE_WORKER].isna() == others[OF_THE_WORKER].isna()).all(axis=None)


class Recording(ProcessPoolExecutor):
    """Remembers its futures: what has a result there has reached the sweep."""

    def __init__(self, workers: int):
        super().__init__(workers, mp_context=sweep_child.fork_server())
        self.futures = []

    def submit(self, *call) -> Future:
        self.futures.append(super().submit(*call))
        return self.futures[-1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The sweep in this process."""
    return sd.run_gamma_sweep(sweep_child.pair_of, results_dir=tmp_path_factory.mktemp("here"), **OPTIONS)


@pytest.fixture(scope="module")
def journals(tmp_path_factory):
    return tmp_path_factory.mktemp("journals")


@pytest.fixture(scope="module")
def rows_of_two(journals, tmp_path_factory):
    """The sweep on two workers that wait for each other at the start."""
    with Recording(2) as pool:
        pair = partial(sweep_child.pair_with_a_journal, journals, 2)
        return sd.run_gamma_sweep(pair, results_dir=tmp_path_factory.mktemp("two"), executor=pool, **OPTIONS)


def test_in_process_rows_name_this_process(rows):
    assert set(rows.worker) == {f"{socket.gethostname()}:{os.getpid()}"}


def test_two_workers_give_the_same_rows(rows, rows_of_two):
    assert_same_rows(rows, rows_of_two)
    assert rows_of_two.worker.nunique() == 2 and set(rows_of_two.worker).isdisjoint(rows.worker)


def test_all_decodings_of_a_row_and_its_prediction_come_from_the_worker_that_it_names(rows_of_two, journals):
    by_worker = {path.name: path.read_text().splitlines() for path in journals.iterdir()}
    assert len(by_worker) == 2
    for row in rows_of_two.itertuples():
        pid = row.worker.rpartition(":")[2]
        labels = {
            "plain": (row.gamma, row.repeat, "token"),
            "speculative": (row.gamma, "token", row.repeat),
        }
        for kind, label in labels.items():
            expected = {f"{kind} {row.temperature} {(*label, i)}" for i in range(row.prompts)}
            assert [who for who, lines in by_worker.items() if expected & {*lines}] == [pid]
            assert expected <= {*by_worker[pid]}
        assert f"plain {row.temperature} ('measure', 0)" in by_worker[pid]


def test_each_worker_loads_the_pair_once_and_measures_what_rows_share_once(rows_of_two, journals):
    assert len(rows_of_two) == 6
    for path in journals.iterdir():
        lines = path.read_text().splitlines()
        assert lines.count("loaded") == 1 and len({*lines}) == len(lines)


def test_a_killed_worker_loses_no_finished_row_and_the_same_call_continues(rows, tmp_path):
    sweep = partial(
        sd.run_gamma_sweep, partial(sweep_child.pair_of_a_victim, tmp_path / "killed", 3), results_dir=tmp_path,
        **OPTIONS,
    )  # fmt: skip
    said = r"of 6 rows could not be measured \(BrokenProcessPool.*others are in .*results.csv.*call again"
    with Recording(2) as pool, pytest.raises(RuntimeError, match=said):
        sweep(executor=pool)
    assert (tmp_path / "killed").exists()
    kept = pd.read_csv(tmp_path / "results.csv")
    _, *measured = pool.futures  # the first one asked for the pair's name
    finished = [future.result() for future in measured if future.exception() is None]
    assert 0 < len(finished) < 6
    assert {*kept[KEY].itertuples(index=False)} == {*pd.DataFrame(finished)[KEY].itertuples(index=False)}
    with Recording(2) as pool:
        again = sweep(executor=pool)
    assert len(pool.futures) == 1 + 6 - len(kept)
    assert_same_rows(again, rows)
    assert set(kept.seconds) <= set(again.seconds)  # not measured again


def test_a_pool_that_breaks_while_rows_are_still_handed_out_is_a_failure_like_any_other(tmp_path):
    class Breaking(ThreadPoolExecutor):
        asked = 0

        def submit(self, *call):
            self.asked += 1
            if self.asked > 3:
                raise RuntimeError("cannot schedule new futures")
            return super().submit(*call)

    with Breaking(1) as pool, pytest.raises(RuntimeError, match=r"4 of 6 rows .*cannot schedule new futures"):
        sd.run_gamma_sweep(sweep_child.pair_of, results_dir=tmp_path, executor=pool, **OPTIONS)
    assert pd.read_csv(tmp_path / "results.csv").gamma.tolist() == [0, 2]


def test_one_row_that_fails_leaves_all_others_on_file(rows, tmp_path):
    with Recording(1) as pool, pytest.raises(RuntimeError, match=r"2 of 6 rows .*no room for gamma=2") as raised:
        sd.run_gamma_sweep(partial(sweep_child.pair_that_fails, 2), results_dir=tmp_path, executor=pool, **OPTIONS)
    assert isinstance(raised.value.__cause__, MemoryError)
    kept = pd.read_csv(tmp_path / "results.csv")
    assert list(zip(kept.temperature, kept.gamma)) == [(t, g) for t in TEMPERATURES for g in (0, 3)]
    others = sd.run_gamma_sweep(sweep_child.pair_of, results_dir=tmp_path, **OPTIONS)
    assert_same_rows(others, rows)


def test_what_waits_is_cancelled_when_a_row_cannot_be_kept(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("specdec_lite.experiment.ResultsTable.append", full)
    with Recording(1) as pool, pytest.raises(OSError, match="disk full"):
        sd.run_gamma_sweep(sweep_child.pair_of, results_dir=tmp_path, executor=pool, **OPTIONS | {"repeats": 4})
    assert sum(future.cancelled() for future in pool.futures) > 12


def test_a_pair_itself_can_travel(rows, tmp_path):
    with Recording(1) as pool:
        sent = sd.run_gamma_sweep(tiny.tiny_pair(), results_dir=tmp_path, executor=pool, **OPTIONS)
    assert_same_rows(sent, rows)


def test_threads_take_turns(rows, tmp_path, monkeypatch):
    inside, most, measure = [], [], Bench.row

    def watched(self, *arguments):
        inside.append(1)
        most.append(len(inside))
        row = measure(self, *arguments)
        inside.pop()
        return row

    monkeypatch.setattr(Bench, "row", watched)
    with ThreadPoolExecutor(3) as pool:
        assert_same_rows(sd.run_gamma_sweep(sweep_child.pair_of, results_dir=tmp_path, executor=pool, **OPTIONS), rows)
    assert most == [1] * 6


def test_one_grid_over_pairs_rules_temperatures_and_gammas(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(verification.RULES, "again", sd.TokenRule())
    benches, begin = [], Bench.__init__

    def counted(self, pair, temperature, *rest):
        benches.append((pair.name, temperature))
        begin(self, pair, temperature, *rest)

    monkeypatch.setattr(Bench, "__init__", counted)
    pairs = [sweep_child.pair_of, partial(sweep_child.pair_of, "bart")]
    grid = sd.run_gamma_sweep(pairs, results_dir=tmp_path, verification=["token", "again"], **OPTIONS)
    names, rules = ("tiny t5", "tiny bart"), ("token", "again")
    assert list(grid[["pair", "temperature", "verification", "gamma"]].itertuples(index=False, name=None)) == [
        (p, t, v, g) for p in names for t in TEMPERATURES for v in rules for g in GAMMAS
    ]
    assert benches == [(p, t) for p in names for t in TEMPERATURES]  # both rules share what they can
    alone = grid[(grid.pair == "tiny t5") & (grid.verification == "token")].reset_index(drop=True)
    assert_same_rows(alone, rows)


def test_rules_as_objects_travel(tmp_path):
    rule = sd.TokenRule()
    with Recording(1) as pool:
        made = sd.run_gamma_sweep(
            sweep_child.pair_of, results_dir=tmp_path, executor=pool, verification=["token", rule], **OPTIONS
        )
    byname, byobject = (made[made.verification == name] for name in made.verification.unique())
    cold = byname.temperature.to_numpy() == 0
    assert (byname.accepted.to_numpy() == byobject.accepted.to_numpy())[cold].all()  # the seeds go by name


def test_the_rows_returned_are_in_the_order_of_the_grid_whatever_the_order_on_file(rows, tmp_path):
    for gammas in ((3,), (2,), GAMMAS):
        table = sd.run_gamma_sweep(sweep_child.pair_of, results_dir=tmp_path, **OPTIONS | {"gammas": gammas})
    assert_same_rows(table, rows)
    assert pd.read_csv(tmp_path / "results.csv").gamma.tolist() != table.gamma.tolist()


@pytest.mark.parametrize(
    ("argument", "error", "said"),
    [
        ({"executor": 2}, TypeError, "executor=2: expected a concurrent.futures.Executor"),
        ({"executor": ProcessPoolExecutor}, TypeError, "executor=<class .*: expected a concurrent.futures.Executor"),
        ({"pair": "google-t5/t5-large"}, TypeError, "pair='google-t5/t5-large': expected a Pair, a function"),
        ({"pair": []}, TypeError, r"pair=\[\]: expected a Pair"),
        ({"pair": [sweep_child.pair_of, 3]}, TypeError, "pair=3: expected a Pair"),
        ({"pair": dict}, TypeError, "pair=<class 'dict'> returned a dict: expected a Pair"),
        ({"pair": [sweep_child.pair_of] * 2}, ValueError, "pair=.*tiny t5.*: expected pairs that differ"),
        ({"verification": []}, ValueError, r"verification=\[\]: expected a list of one or more"),
        ({"verification": ["token", "token"]}, ValueError, "verification=.*: expected a list of .*different"),
        ({"verification": ["token", "tokens"]}, ValueError, "verification='tokens': expected one of"),
        ({"verification": [sd.TokenRule]}, TypeError, "verification=TokenRule: expected an object"),
        ({"verification": [sd.TokenRule()] * 2}, ValueError, "verification=.*: expected a list of .*different"),
        ({"verification": [3]}, TypeError, "verification=3: expected a Verifier"),
    ],
)
def test_a_bad_argument_is_refused_before_any_work(argument, error, said, tmp_path, monkeypatch):
    monkeypatch.setattr(Worker, "measure", None)
    with pytest.raises(error, match=said):
        sd.run_gamma_sweep(**{"pair": sweep_child.pair_of, "results_dir": tmp_path / "new", **OPTIONS, **argument})
    assert not (tmp_path / "new").exists()


def test_what_only_the_models_can_tell_is_checked_on_a_worker_before_any_row(tmp_path):
    bart = partial(sweep_child.pair_of, "bart")
    with Recording(1) as pool, pytest.raises(ValueError, match="max_new_tokens=65: expected at most the model's 64"):
        sd.run_gamma_sweep(bart, results_dir=tmp_path, executor=pool, **OPTIONS | {"max_new_tokens": 65})
    assert len(pool.futures) == 1 and not (tmp_path / "results.csv").exists()


def test_a_worker_keeps_no_more_than_one_pair():
    worker = Worker()
    assert worker.load(job := sweep_child_job("t5")) is worker.load(job)
    first = worker.pair
    assert worker.load(sweep_child_job("bart")) is not first and worker.bench is None


def sweep_child_job(family):
    return Job(partial(sweep_child.pair_of, family), (1,), [[5]], [[5]], 4, 0)


PAGE = Path(__file__).parents[1] / "book" / "scale_out.md"


def test_the_pages_code_uses_only_arguments_that_exist():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    known, calls = {*inspect.signature(sd.run_gamma_sweep).parameters}, 0
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "sd":
                assert hasattr(sd, node.attr)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "run_gamma_sweep":
                calls += 1
                assert {keyword.arg for keyword in node.keywords} - {None} <= known
    assert calls >= 2
