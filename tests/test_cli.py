"""`python -m specdec_lite`: translates, sweeps, and says what is wrong with exit code 2."""

import runpy
import sys

import pytest

import specdec_lite as sd
import tiny
from specdec_lite.__main__ import main


@pytest.fixture
def pair(monkeypatch):
    """A tiny pair in place of the pocket pair."""
    made = tiny.tiny_pair(tokenizer=tiny.tokenizer())
    monkeypatch.setattr("specdec_lite.__main__.load_pair", lambda *_, **__: made)
    return made


def test_translates_and_reports_alpha_tokens_per_pass_and_speed_up(pair, capsys):
    assert main(["w5 w6 w7", "--gamma", "2", "--max-new-tokens", "10", "--repeats", "2"]) == 0
    said = capsys.readouterr().out
    run = sd.speculative_generate(*pair, "w5 w6 w7", gamma=2, max_new_tokens=10, temperature=0.0)
    assert sd.show_tokens(run).ansi() in said
    assert f"alpha {run.alpha:.2f}   tokens per target pass {run.tokens_per_target_pass:.2f}" in said
    assert "speed-up" in said and "2 runs" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["w5", "--gamma", "-1"], "gamma=-1"),
        (["w5", "--temperature", "-1"], "temperature=-1.0"),
        (["w5", "--temperature", "nan"], "temperature=nan"),
        (["w5", "--max-new-tokens", "0"], "max_new_tokens=0"),
        ([" "], "source=' '"),
        (["w5", "--repeats", "-1"], "repeats=-1"),
        (["sweep", "--gammas", "2", "2"], "gammas=[2, 2]"),
        (["sweep", "--results-dir", "/dev/null/x"], "results_dir='/dev/null/x'"),
    ],
)
@pytest.mark.usefixtures("pair")
def test_bad_input_ends_with_code_2_and_a_message_without_traceback(arguments, said, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("specdec_lite: ") and said in captured.err and "Traceback" not in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    "arguments", [["w5", "--device", "tpu"], ["sweep", "--dtype", "int8"], ["w5", "--target", "x"]]
)
def test_a_pair_that_cannot_be_loaded_ends_with_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["w5", "--gamma", "many"], ["w5", "--unknown"], ["sweep", "--gammas"]])
def test_wrong_usage_ends_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "usage" in capsys.readouterr().err


def test_sweep_help_lists_its_options(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    options = (
        "gammas",
        "temperatures",
        "max-new-tokens",
        "repeats",
        "seed",
        "results-dir",
        "target",
        "draft",
        "device",
        "dtype",
    )
    assert all(f"--{option}" in said for option in options)


def test_the_module_runs_as_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["specdec_lite", "w5", "--device", "tpu"])
    with pytest.warns(RuntimeWarning, match="found in sys.modules"), pytest.raises(SystemExit) as ended:
        runpy.run_module("specdec_lite", run_name="__main__")
    assert ended.value.code == 2 and "device='tpu'" in capsys.readouterr().err


def test_sweep_writes_the_table_and_figures_and_prints_where(pair, tmp_path, capsys, monkeypatch):
    short = {"sweep": ["w5 w6 w7", "w8 w9"], "measure": ["w10 w11"]}
    monkeypatch.setattr("specdec_lite.experiment.sweep.load_prompts", lambda: short)
    arguments = ["--gammas", "1", "2", "--temperatures", "0", "--max-new-tokens", "6", "--results-dir", str(tmp_path)]
    assert main(["sweep", *arguments]) == 0
    said = capsys.readouterr().out
    assert "speedup" in said and "alpha" in said
    for name in ("speedup.png", "alpha.png", "js.png"):
        assert (tmp_path / name).exists() and str(tmp_path / name) in said
    assert len(sd.run_gamma_sweep(pair, gammas=[1, 2], temperatures=[0], max_new_tokens=6, results_dir=tmp_path)) == 2
