"""The gamma sweep: its columns, its figures, and a table that neither a kill nor a competitor can harm."""

import csv
import json
import math
import random
import re
import signal
import threading
import time

import pandas as pd
import pytest
import torch
from matplotlib import image

import specdec_lite as sd
import sweep_child
import tiny
from specdec_lite.experiment import COLUMNS, KEY, Bench, ResultsTable, fingerprint

# The columns that the design promises; there may be more.
PROMISED = """
    pair, device, dtype, verification, temperature, gamma, repeat, prompts, tokens, target_passes, draft_passes,
    accepted, examined, alpha, acceptance_rate, tokens_per_target_pass, seconds, baseline_seconds, speedup,
    predicted_speedup, c, v, js, js_floor, peak_memory_mb, specdec_lite, torch, transformers, seed
"""
OPTIONS = {
    "gammas": (0, 2, 3), "temperatures": (0.0, 1.0), "prompts": tiny.sources(4, seed=1),
    "measure_prompts": tiny.sources(2, seed=2), "max_new_tokens": 8, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def rows(folder, t5_pair):
    return sd.run_gamma_sweep(t5_pair, results_dir=folder, **OPTIONS)


def test_one_row_for_each_key_with_all_promised_columns(rows):
    assert list(rows.columns) == COLUMNS and set(re.findall(r"\w+", PROMISED)) <= set(COLUMNS)
    assert list(zip(rows.temperature, rows.gamma)) == [(t, g) for t in (0.0, 1.0) for g in (0, 2, 3)]
    assert not rows.duplicated(KEY).any()


def test_rows_returned_are_the_rows_on_disk(rows, folder):
    pd.testing.assert_frame_equal(pd.read_csv(folder / "results.csv"), rows)


def test_at_temperature_zero_every_output_is_identical(rows):
    cold = rows[rows.temperature == 0]
    assert (cold.identical == cold.prompts).all() and (cold.prompts == 4).all()
    assert (cold.js == 0).all() and (cold.js_floor == 0).all()


def test_a_warm_row_has_a_noise_floor(rows):
    warm = rows[rows.temperature == 1]
    assert ((warm.js > 0) & (warm.js_floor > 0)).all() and (warm.identical < warm.prompts).all()


def test_counts_and_ratios_of_a_row_agree(rows):
    for row in rows.itertuples():
        assert row.tokens_per_target_pass == pytest.approx(row.tokens / row.target_passes)
        assert row.accepted <= row.examined <= row.draft_passes <= row.gamma * row.target_passes
        if row.gamma == 0:
            assert row.target_passes == row.tokens and math.isnan(row.alpha) and row.draft_passes == 0
        else:
            assert row.acceptance_rate == pytest.approx(row.accepted / row.examined) and 0 < row.alpha < 1


def test_speed_up_is_a_ratio_of_times_per_token_within_its_interval(rows):
    plain, fast = rows.baseline_seconds / rows.baseline_tokens, rows.seconds / rows.tokens
    assert rows.speedup.tolist() == pytest.approx((plain / fast).tolist())
    assert ((rows.speedup_low <= rows.speedup) & (rows.speedup <= rows.speedup_high)).all()


def test_every_row_of_the_token_rule_is_predicted(rows):
    assert rows.predicted_speedup.notna().all() and (rows.predicted_speedup > 0).all()
    assert (rows[rows.gamma == 0].v == 1).all() and (rows.c > 0).all()


def test_prediction_never_sees_the_prompts_it_is_compared_with(t5_pair, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "specdec_lite.experiment.bench.measure_costs", lambda pair, prompts, *_, **__: seen.append(prompts)
    )
    bench = Bench(t5_pair, 0.0, 8, OPTIONS["prompts"], OPTIONS["measure_prompts"], (2,), 0)
    assert seen == [OPTIONS["measure_prompts"]] and len(bench.measured) == 2


def test_a_draft_as_good_as_the_target_can_be_swept(t5_pair, tmp_path):
    twins = sd.Pair(t5_pair.target, t5_pair.target, "twins")
    rows = sd.run_gamma_sweep(twins, results_dir=tmp_path, **(OPTIONS | {"gammas": (3,)}))
    assert (rows.acceptance_rate == 1).all() and rows.alpha.tolist() == pytest.approx([1, 1])


def test_resuming_does_only_what_is_missing(rows, folder, t5_pair, monkeypatch):
    done, measure = [], Bench.row
    monkeypatch.setattr(Bench, "row", lambda self, gamma, *rest: done.append(gamma) or measure(self, gamma, *rest))
    again = sd.run_gamma_sweep(t5_pair, results_dir=folder, **OPTIONS)
    pd.testing.assert_frame_equal(again, rows)
    assert done == []
    more = sd.run_gamma_sweep(t5_pair, results_dir=folder, **(OPTIONS | {"gammas": (3, 4), "temperatures": (0.0,)}))
    assert done == [4] and more.gamma.tolist() == [3, 4]
    pd.testing.assert_frame_equal(pd.read_csv(folder / "results.csv")[: len(rows)], rows)


@pytest.mark.parametrize(
    "other, named",
    [
        ({"seed": 1}, "seed"),
        ({"max_new_tokens": 9}, "max_new_tokens"),
        ({"prompts": OPTIONS["prompts"][:3]}, "prompts"),
        ({"prompts": OPTIONS["prompts"][::-1]}, "prompts_id"),
    ],
)
@pytest.mark.usefixtures("rows")
def test_rows_measured_otherwise_do_not_share_a_file(folder, t5_pair, other, named):
    with pytest.raises(ValueError, match=f"^{named}=.*results_dir.*expected"):
        sd.run_gamma_sweep(t5_pair, results_dir=folder, **(OPTIONS | other))


def test_two_pairs_share_a_file(t5_pair, bart_pair, tmp_path):
    few = OPTIONS | {"gammas": (2,), "temperatures": (0.0,)}
    for pair in (t5_pair, bart_pair):
        assert sd.run_gamma_sweep(pair, results_dir=tmp_path, **few).pair.tolist() == [pair.name]
    assert pd.read_csv(tmp_path / "results.csv").pair.tolist() == ["tiny t5", "tiny bart"]


def test_figures_are_written_at_twice_the_screens_size(rows, tmp_path):
    paths = sd.save_figures(rows, tmp_path)
    assert [path.name for path in paths] == ["speedup.png", "alpha.png", "js.png"]
    for path in paths:
        pixels = image.imread(path)
        assert pixels.shape[:2] == (840, 1400) and pixels.std() > 0.01


def test_titles_of_the_figures_state_a_finding(rows):
    titles = [plot(rows).axes[0].get_title(loc="left") for plot in (sd.plot_speedup, sd.plot_alpha, sd.plot_js)]
    best = rows.loc[rows.speedup.idxmax()]
    assert f"{best.speedup:.1f}×" in titles[0] or "does not pay" in titles[0]
    assert f"{rows.alpha.min():.2f}" in titles[1] and "noise" in titles[2]


def test_probabilities_along_an_output_are_drawn(t5_pair):
    run = sd.speculative_generate(*t5_pair, OPTIONS["prompts"][0], max_new_tokens=8, seed=0, record_probs=True)
    figure = sd.plot_token_probs(run)
    assert f"{run.accepted} of {len(run.token_ids)}" in figure.axes[0].get_title(loc="left")


# Rows of any content, to test the table alone.


def row(key: int) -> dict:
    made = dict.fromkeys(COLUMNS, 0) | {"pair": "p", "device": "cpu", "dtype": "float32", "verification": "token"}
    return made | {"temperature": 0.5, "gamma": key, "repeat": 0, "seconds": math.pi * 10 ** (key - 5)}


def test_values_survive_many_rewritings_to_the_last_bit(tmp_path):
    table = ResultsTable(tmp_path)
    for key in range(12):
        table.append(row(key))
    assert table.read().seconds.tolist() == [row(key)["seconds"] for key in range(12)]


def test_a_finished_row_is_not_written_twice(tmp_path):
    table = ResultsTable(tmp_path)
    for seconds in (1.0, 2.0):
        table.append(row(3) | {"seconds": seconds})
    assert table.read().seconds.tolist() == [1.0]


def test_threads_that_append_together_lose_nothing_and_double_nothing(tmp_path):
    def work(seed):
        table, keys = ResultsTable(tmp_path), list(range(15))
        random.Random(seed).shuffle(keys)
        for key in keys:
            table.append(row(key))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ResultsTable(tmp_path).read().gamma) == list(range(15))


# Whole sweeps in processes of their own.


@pytest.fixture(scope="module")
def processes():
    return sweep_child.fork_server()


def lines(journal) -> list[dict]:
    """The complete lines: a kill may cut the last one short."""
    text = journal.read_text() if journal.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1] if line.endswith("}")]


def check(folder, journal) -> list[dict]:
    """The file parses, keys are unique, and every row that was finished is there with every value it had."""
    path = folder / "results.csv"
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    kept = {tuple(row[name] for name in KEY): row for row in rows}
    assert len(kept) == len(rows) == len(ResultsTable(folder).read())
    for told in lines(journal):
        found = kept[tuple(str(told[name]) for name in KEY)]
        for name, value in told.items():
            assert type(value)(found[name] or math.nan) == value or value != value
    return rows


def finish(processes, folder, journal, **options) -> list[dict]:
    last = processes.Process(target=sweep_child.sweep, args=(folder, journal), kwargs=options)
    last.start()
    last.join()
    assert last.exitcode == 0
    return check(folder, journal)


def test_ten_kills_at_random_moments_lose_no_finished_row(processes, tmp_path):
    journal, rng = tmp_path / "journal", random.Random(0)
    for _ in range(10):
        victim = processes.Process(target=sweep_child.sweep, args=(tmp_path, journal))
        victim.start()
        wanted = len(lines(journal)) + rng.randint(0, 3)
        while len(lines(journal)) < wanted and victim.is_alive():
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        victim.kill()
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
        check(tmp_path, journal)
    before = len(lines(journal))
    assert 0 < before < sweep_child.ROWS
    assert len(finish(processes, tmp_path, journal)) == sweep_child.ROWS
    assert len(lines(journal)) >= sweep_child.ROWS - 10  # a kill between a row and its line leaves the row


@pytest.mark.parametrize("complete", [False, True], ids=["half a file", "before it takes its place"])
def test_a_kill_inside_an_append_leaves_the_old_table(processes, tmp_path, complete):
    journal = tmp_path / "journal"
    victim = processes.Process(target=sweep_child.die_while_writing, args=(tmp_path, journal, complete))
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL and (tmp_path / "results.part").exists()
    assert len(check(tmp_path, journal)) == len(lines(journal)) == 2
    assert len(finish(processes, tmp_path, journal, repeats=1)) == 6


def test_two_sweeps_at_once_share_the_work_of_one_table(processes, tmp_path):
    journals = [tmp_path / "one", tmp_path / "two"]
    both = [
        processes.Process(target=sweep_child.sweep, args=(tmp_path, journal), kwargs={"repeats": 3})
        for journal in journals
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    rows = pd.read_csv(tmp_path / "results.csv")
    assert len(rows) == 18 and not rows.duplicated(KEY).any()


def test_the_fingerprint_of_prompts_sees_every_number_of_a_tensor():
    sound = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    other = sound.clone()
    other[0, 40, 1500] += 1  # in the middle, which `repr` leaves out
    prints = {fingerprint([{"input_features": x}]) for x in (sound, other, sound.double(), sound.reshape(1, 3000, 80))}
    assert len(prints) == 4 and fingerprint([{"input_features": sound.clone()}]) in prints
    assert fingerprint([sound.numpy()]) == fingerprint([sound])
    assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])
