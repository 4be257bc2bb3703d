"""The gamma sweep: its columns, its figures, and a table that neither a kill nor a competitor can harm."""

import copy
import csv
import json
import math
import os
import random
import re
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import image

import specdec_lite as sd
import sweep_child
import tiny
from specdec_lite.experiment import COLUMNS, KEY, Bench, ResultsTable, fingerprint, table
from specdec_lite.experiment.bench import peak_memory_mb, reset_peak_memory
from specdec_lite.experiment.table import row_key
from specdec_lite.fast import CompiledSeq2Seq
from specdec_lite.verification import at_cut

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


FEW = OPTIONS | {"gammas": (2,), "temperatures": (0.0,)}


class NotCompiled(CompiledSeq2Seq):
    """What the sweep takes for a compiled model, without the minute that compiling takes."""

    cursor, source = sd.Seq2Seq.cursor, sd.Seq2Seq.source

    def __init__(self, model):
        self.__dict__.update(model.__dict__)


def shipping(pair, **settings):
    """The same tensors with other settings."""
    models = [copy.copy(model) for model in pair]
    for model in models:
        model.hf_model = copy.copy(model.hf_model)
        model.hf_model.generation_config = copy.deepcopy(model.hf_model.generation_config)
        model.hf_model.generation_config.update(**settings)
    return sd.Pair(*models, pair.name)


def nudged(pair):
    """The same names and one number in one tensor of the draft that differs."""
    model = copy.copy(pair.draft)
    model.hf_model = copy.deepcopy(model.hf_model)
    with torch.no_grad():
        next(model.hf_model.parameters())[5, 7] += 1e-6
    return sd.Pair(pair.target, model, pair.name)


OTHERS = {
    "another draft of the same name": lambda pair: ({"pair": nudged(pair)}, "draft_id"),
    "another target of the same name": lambda pair: ({"pair": sd.Pair(pair.draft, pair.draft, pair.name)}, "target_id"),
    "a setting of the checkpoint": lambda pair: ({"pair": shipping(pair, min_length=7)}, "target_id"),
    "other prompts": lambda pair: ({"prompts": OPTIONS["prompts"][::-1]}, "prompts_id"),
    "other measure prompts": lambda pair: ({"measure_prompts": tiny.sources(2, seed=3)}, "measure_id"),
    "another seed": lambda pair: ({"seed": 1}, "seed"),
    "another limit": lambda pair: ({"max_new_tokens": 9}, "max_new_tokens"),
    "another rule": lambda pair: ({"verification": sd.TokenRule()}, "verification"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory, t5_pair):
    """A folder with one row."""
    made = tmp_path_factory.mktemp("shared")
    sd.run_gamma_sweep(t5_pair, results_dir=made, **FEW)
    return made


@pytest.mark.parametrize("name", OTHERS)
def test_a_row_measured_otherwise_is_measured_and_stands_beside_the_old_one(shared, t5_pair, name):
    (other, differs), before = OTHERS[name](t5_pair), ResultsTable(shared).read()
    rows = sd.run_gamma_sweep(**{"pair": t5_pair, "results_dir": shared, **FEW, **other})
    after = ResultsTable(shared).read()
    pd.testing.assert_frame_equal(after[: len(before)], before)
    assert len(after) == len(before) + 1 and len(rows) == 1
    assert rows[differs][0] != before[differs][0]
    again = sd.run_gamma_sweep(**{"pair": t5_pair, "results_dir": shared, **FEW, **other})
    pd.testing.assert_frame_equal(again, rows)
    assert len(ResultsTable(shared).read()) == len(after)


def test_eager_and_compiled_share_a_call_and_agree(t5_pair, tmp_path):
    compiled, half = (
        sd.Pair(kind(t5_pair.target), NotCompiled(t5_pair.draft), t5_pair.name) for kind in (NotCompiled, copy.copy)
    )
    rows = sd.run_gamma_sweep([t5_pair, compiled, half], results_dir=tmp_path, **FEW)
    assert (
        rows.way.tolist() == ["eager", "compiled", "eager + compiled"]
        and rows.target_id.nunique() == rows.tokens.nunique() == 1
    )


class Scaled:
    """A rule with a setting and no repr of its own: accepts a share of what the token rule does."""

    def __init__(self, share):
        self.share = share

    def heads(self, p, q, drafted):
        return sd.TokenRule().heads(p, q, drafted) * self.share

    def cut(self, coins):
        return sd.TokenRule().cut(coins)

    def after(self, p, q, drafted, cut):
        p, q = at_cut(p, cut), at_cut(q, cut)
        left = p - self.share * torch.minimum(p, q)
        return left / left.sum(-1, keepdim=True)


class Named(Scaled):
    def __repr__(self):
        return f"a rule, “{self.share}”"


def test_rules_are_taken_as_objects_and_named_by_repr(t5_pair, tmp_path):
    rules = ["token", Scaled(0.5), Scaled(0.25), Named(0.5)]
    rows = sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, verification=rules, **FEW)
    assert rows.verification.tolist() == ["token", "Scaled(share=0.5)", "Scaled(share=0.25)", "a rule, “0.5”"]
    assert rows.acceptance_rate.iloc[0] > rows.acceptance_rate.iloc[1] > rows.acceptance_rate.iloc[2]
    assert (rows.identical == 4).all() and rows.predicted_speedup.notna().tolist() == [True, False, False, False]
    assert len(sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, verification=Scaled(0.5), **FEW)) == 1
    assert len(ResultsTable(tmp_path).read()) == 4  # the object was another one, the rule the same


def test_a_rule_without_a_name_that_lasts_is_refused(t5_pair, tmp_path):
    with pytest.raises(TypeError, match=r"verification=Scaled.* at 0x.*expected a rule whose repr is the same"):
        sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, verification=Scaled(object()), **FEW)


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
    measured = [name for name in rows if name.startswith("speedup")]  # and the ends of its interval
    faster, slower = (rows.assign(**rows[measured] * (highest / rows.speedup.max())) for highest in (1.234, 0.9))
    titles = [plot(faster).axes[0].get_title(loc="left") for plot in (sd.plot_speedup, sd.plot_alpha, sd.plot_js)]
    assert f"1.23× with γ = {rows.gamma[rows.speedup.idxmax()]}" in titles[0]
    assert sd.plot_speedup(slower).axes[0].get_title(loc="left") == "Speculative decoding does not pay here"
    assert f"{rows.alpha.min():.2f}" in titles[1] and "noise" in titles[2]


def test_probabilities_along_an_output_are_drawn(t5_pair):
    run = sd.speculative_generate(*t5_pair, OPTIONS["prompts"][0], max_new_tokens=8, seed=0, record_probs=True)
    figure = sd.plot_token_probs(run)
    kept = [i for i, origin in enumerate(run.origins) if origin == "accepted"]
    middle = np.median([float(run.target_probs[i, run.token_ids[i]]) for i in kept])
    assert f"accepted {middle:.2f}" in figure.axes[0].get_title(loc="left")


@pytest.fixture(scope="module")
def grid(t5_pair, bart_pair, tmp_path_factory):
    options = OPTIONS | {"gammas": (1, 3), "verification": ["token", Scaled(0.3)], "repeats": 2, "max_new_tokens": 4}
    options |= {"prompts": OPTIONS["prompts"][:2], "measure_prompts": OPTIONS["measure_prompts"][:1]}
    return sd.run_gamma_sweep([t5_pair, bart_pair], results_dir=tmp_path_factory.mktemp("grid"), **options)


@pytest.mark.parametrize(("plot", "column"), [("speedup", "speedup"), ("alpha", "alpha"), ("js", "js")])
def test_no_figure_averages_over_pairs_or_rules(grid, plot, column):
    figure = getattr(sd, f"plot_{plot}")(grid)
    parts = [part for _, part in grid.groupby(["pair", "verification"], sort=False)]
    assert [axes.get_title(loc="left").split("\n")[0] for axes in figure.axes] == [
        f"tiny {family}, {rule}" for family in ("t5", "bart") for rule in ("token", "Scaled(share=0.3)")
    ]
    for axes, part in zip(figure.axes, parts, strict=True):
        drawn = {tuple(np.asarray(line.get_ydata(), float).round(6)) for line in axes.lines}
        for _, series in part.groupby("temperature"):
            assert tuple(series.groupby("gamma")[column].mean().round(6)) in drawn


def test_a_figure_of_one_pair_and_rule_has_one_panel_and_no_name(rows):
    figure = sd.plot_alpha(rows)
    assert len(figure.axes) == 1 and "\n" not in figure.axes[0].get_title(loc="left")
    dear = rows.assign(pair="$x^$")
    assert "$" not in sd.plot_alpha(dear).axes[0].get_title(loc="left")
    sd.plot_js(pd.concat([rows, dear])).canvas.draw()  # would raise where a name is read as a formula


@pytest.mark.parametrize("plot", [sd.plot_speedup, sd.plot_alpha, sd.plot_js])
def test_what_is_no_table_of_a_sweep_is_refused_by_name(rows, plot):
    for wrong, error, said in (
        (rows[:0], ValueError, "^rows has no row: expected"),
        (rows.drop(columns="gamma"), ValueError, "^rows has no column 'gamma'"),
        (pd.DataFrame(), ValueError, "^rows has no column"),
        ([1, 2], TypeError, "^rows=list: expected a data frame"),
    ):
        with pytest.raises(error, match=said):
            plot(wrong)


# What a model or a machine can do to a sweep.


def test_outputs_of_one_token_are_swept_without_a_prediction(t5_pair, tmp_path):
    with pytest.warns(UserWarning, match="no prediction: prompts=.*two tokens or more"):
        rows = sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, **OPTIONS | {"max_new_tokens": 1})
    assert len(rows) == 6 and rows[["predicted_speedup", "c", "v", "alpha"]].isna().all(axis=None)
    assert (rows.tokens == 4).all() and (rows[rows.temperature == 0].identical == 4).all()
    for plot in (sd.plot_speedup, sd.plot_alpha, sd.plot_js):
        plot(rows)


def test_a_measure_prompt_with_an_output_of_one_token_does_no_harm(tmp_path):
    pair = tiny.tiny_pair()
    lengths = {len(sd.autoregressive_generate(pair.target, x, temperature=0.0, max_new_tokens=8).token_ids): x
               for x in tiny.sources(60, seed=5)}  # fmt: skip
    pair.target.hf_model.generation_config.eos_token_id = [1, first_token(pair, lengths[max(lengths)])]
    measure = [lengths[max(lengths)], tiny.sources(1, seed=9)[0]]
    rows = sd.run_gamma_sweep(pair, results_dir=tmp_path, **FEW | {"measure_prompts": measure})
    assert rows.predicted_speedup.notna().all()


def first_token(pair, source):
    return sd.autoregressive_generate(pair.target, source, temperature=0.0, max_new_tokens=1).token_ids[0]


@pytest.mark.parametrize("gammas", [(0,), (100_000,), (6, 40)])
def test_any_gamma_can_be_swept_on_few_positions(tmp_path, gammas):
    """On twelve positions: a round drafts no more than still fits, and the costs keep to the sweep's limit."""
    models = [sd.Seq2Seq(tiny.untie(tiny.bart_model(layers, positions=12))) for layers in (2, 1)]
    for model in models:
        tiny.shake(model.hf_model, 1, 3.0)
    short = [source[:5] for source in tiny.sources(3)]
    options = FEW | {"prompts": short, "measure_prompts": short[:1], "gammas": gammas, "max_new_tokens": 12}
    rows = sd.run_gamma_sweep(sd.Pair(*models, "short"), results_dir=tmp_path, **options)
    assert (rows.identical == 3).all() and rows.predicted_speedup.notna().all()


def test_a_rows_peak_of_memory_is_its_own(t5_pair, tmp_path, monkeypatch):
    if sys.platform != "linux" or peak_after_reset(t5_pair) > 0.9 * peak_after_growing(t5_pair):
        pytest.skip("this system keeps one peak for the whole process")
    plain = Bench.plain

    def eat(self, text, *label):
        if label[0] == 2:  # the row of gamma = 2
            assert len(b"x" * 300_000_000)
        return plain(self, text, *label)

    monkeypatch.setattr(Bench, "plain", eat)
    rows = sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, **FEW | {"gammas": (1, 2, 3)})
    first, second, third = rows.peak_memory_mb
    assert second > first + 250 and third < second - 250


def peak_after_growing(pair):
    assert len(b"x" * 200_000_000)
    return peak_memory_mb(pair.target)


def peak_after_reset(pair):
    reset_peak_memory(pair.target)
    return peak_memory_mb(pair.target)


def test_ctrl_c_says_in_one_line_how_many_rows_are_kept(t5_pair, tmp_path, monkeypatch):
    measure, done = Bench.row, []

    def interrupt(self, *asked):
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        done.append(asked)
        return measure(self, *asked)

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "row", interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"^2 of 6 rows in '.*results.csv'; call again to go on$") as raised:
            sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, **OPTIONS)
    assert raised.value.__suppress_context__ and len(ResultsTable(tmp_path).read()) == 2
    assert len(sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, **OPTIONS)) == 6


@pytest.mark.parametrize("name", ["NA", "007", "None", True, "a\nb", "a,b"])
def test_a_pair_of_any_name_is_swept_once(t5_pair, tmp_path, name):
    pair = sd.Pair(*t5_pair, name)
    for _ in range(2):
        rows = sd.run_gamma_sweep(pair, results_dir=tmp_path, **FEW)
        assert rows.pair.tolist() == [str(name)] and len(ResultsTable(tmp_path).read()) == 1


def test_a_generator_or_an_array_will_do_for_a_list(t5_pair, tmp_path):
    lists = {"gammas": np.array([2]), "temperatures": (t for t in [0.0]), "prompts": iter(OPTIONS["prompts"])}
    assert len(sd.run_gamma_sweep(t5_pair, results_dir=tmp_path, **OPTIONS | lists)) == 1


@pytest.mark.parametrize(
    "wrong", [{"gammas": None}, {"gammas": iter(())}, {"prompts": 3}, {"measure_prompts": "one"}, {"temperatures": {}}]
)
def test_what_is_no_list_is_refused_by_name(tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name}=.*expected a list of one or more"):
        sd.run_gamma_sweep(dict, results_dir=tmp_path, **OPTIONS | wrong)  # before the function is called


def test_a_name_that_cannot_be_written_is_refused_before_any_row(t5_pair, tmp_path, monkeypatch):
    monkeypatch.setattr(Bench, "row", None)
    with pytest.raises(ValueError, match=r"^pair='\\udc80': expected text"):
        sd.run_gamma_sweep(sd.Pair(*t5_pair, "\udc80"), results_dir=tmp_path, **FEW)


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


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.long)])
def test_kills_at_random_moments_lose_no_finished_row(processes, tmp_path, kills):
    journal, rng = tmp_path / "journal", random.Random(kills)
    for kill in range(kills):
        if kill % 2:  # the n-th step of writing a row: at its opening, between its parts, before and after the replace
            step = {"target": sweep_child.die_at, "args": (tmp_path, journal, rng.randint(1, 8))}
        else:
            step = {"target": sweep_child.sweep, "args": (tmp_path, journal)}
        victim = processes.Process(**step)
        victim.start()
        if kill % 2 == 0:
            wanted = len(lines(journal)) + rng.randint(0, 2)
            while len(lines(journal)) < wanted and victim.is_alive():
                time.sleep(0.002)
            time.sleep(rng.random() * 0.05)
            victim.kill()
        victim.join()
        if victim.exitcode == 0:  # everything is measured: begin again
            assert len(check(tmp_path, journal)) == sweep_child.ROWS
            for path in (tmp_path / "results.csv", journal):
                path.unlink()
            continue
        assert victim.exitcode == -signal.SIGKILL
        check(tmp_path, journal)
    assert len(finish(processes, tmp_path, journal)) == sweep_child.ROWS
    assert len(lines(journal)) >= sweep_child.ROWS - kills  # a kill between a row and its line leaves the row


@pytest.mark.parametrize("complete", [False, True], ids=["half a file", "before it takes its place"])
def test_a_kill_inside_an_append_leaves_the_old_table(processes, tmp_path, complete):
    journal = tmp_path / "journal"
    victim = processes.Process(target=sweep_child.die_while_writing, args=(tmp_path, journal, complete))
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL and (tmp_path / "results.part").exists()
    assert len(check(tmp_path, journal)) == len(lines(journal)) == 2
    assert len(finish(processes, tmp_path, journal, repeats=1)) == 6


def test_sweeps_of_the_same_and_of_other_settings_share_a_table_while_somebody_reads(processes, tmp_path):
    """Two sweeps share the work of one grid, a third has another seed, and a reader sees whole tables only."""
    journals, stop, sizes = [tmp_path / str(i) for i in range(3)], tmp_path / "stop", tmp_path / "sizes"
    reader = processes.Process(target=sweep_child.read_on, args=(tmp_path, stop, sizes))
    sweeps = [
        processes.Process(target=sweep_child.sweep, args=(tmp_path, journal), kwargs={"repeats": 2, "seed": i // 2})
        for i, journal in enumerate(journals)
    ]
    for process in (reader, *sweeps):
        process.start()
    for process in sweeps:
        process.join()
    stop.touch()
    reader.join()
    assert [process.exitcode for process in (reader, *sweeps)] == [0] * 4
    rows = ResultsTable(tmp_path).read()
    assert len(rows) == 24 and rows.seed.value_counts().to_dict() == {0: 12, 1: 12}
    seen = json.loads(sizes.read_text())
    assert seen == sorted(seen) and seen[-1] <= 24  # never fewer than before
    told = [told for journal in journals for told in lines(journal)]
    by_key = {row_key(row): row for row in rows.to_dict("records")}
    first = {}
    for row in told:
        first.setdefault(row_key(row), []).append(row["seconds"])
    assert first.keys() == by_key.keys()
    assert all(by_key[key]["seconds"] in seconds for key, seconds in first.items())  # one of those measured, unaltered


def test_another_process_that_holds_the_lock_is_named(processes, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PATIENCE", 0.05)
    holder = processes.Process(target=sweep_child.hold_the_lock, args=(tmp_path, tmp_path / "held", 0.5))
    holder.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with pytest.warns(UserWarning, match=f"waiting for .*process {holder.pid} on .*, since"):
        ResultsTable(tmp_path).append(dict.fromkeys(COLUMNS, 0))
    holder.join()


def test_the_fingerprint_of_prompts_sees_every_number_of_a_tensor():
    sound = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    other = sound.clone()
    other[0, 40, 1500] += 1  # in the middle, which `repr` leaves out
    prints = {fingerprint([{"input_features": x}]) for x in (sound, other, sound.double(), sound.reshape(1, 3000, 80))}
    assert len(prints) == 4 and fingerprint([{"input_features": sound.clone()}]) in prints
    assert fingerprint([sound.numpy()]) == fingerprint([sound])
    assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])
