"""`python -m specdec_lite`: translates, sweeps, and says what is wrong with exit code 2."""

import os
import re
import runpy
import signal
import sys

import pytest

import specdec_lite as sd
import tiny
from specdec_lite import audit
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


def test_help_lists_the_commands_and_gives_examples(capsys):
    for ask in ("--help", "-h"):
        with pytest.raises(SystemExit) as ended:
            main([ask])
        said = capsys.readouterr().out
        assert ended.value.code == 0 and 'specdec_lite "Where is the station?"' in said
        assert re.findall(r"^    (\w+)(?: |$)", said, re.MULTILINE) == ["translate", "sweep", "check", "run"]


@pytest.mark.parametrize("command", ["translate", "sweep", "check", "run"])
def test_the_help_of_each_command_says_what_it_does_and_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and said.startswith(f"usage: specdec_lite {command}")
    description = said.split("\n\n")[1]
    assert len(description.split()) >= 8 and description.endswith(".")
    for option in re.findall(r"^  (--?[\w-]+.*(?:\n {8,}.*)?)", said, re.MULTILINE):
        assert len(option.split("  ", 1)[-1].split()) >= 1 and "  " in option, option


def test_a_text_needs_no_command_and_may_be_the_name_of_one(pair, capsys):
    first = ["--repeats", "0", "--max-new-tokens", "4"]
    for arguments in (["w5 w6", *first], [*first, "w5 w6"], ["translate", "w5 w6", *first]):
        assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown == 3 * shown[: len(shown) // 3]
    assert main(["translate", "check", *first]) == 0 and "alpha" in capsys.readouterr().out


def test_ctrl_c_ends_in_one_line_without_a_traceback(pair, tmp_path, capsys, monkeypatch):
    short = {"sweep": ["w5 w6 w7"], "measure": ["w10 w11"]}
    monkeypatch.setattr("specdec_lite.experiment.sweep.load_prompts", lambda: short)
    monkeypatch.setattr("specdec_lite.experiment.Bench.row", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    arguments = ["--gammas", "1", "--temperatures", "0", "--max-new-tokens", "6", "--results-dir", str(tmp_path)]
    assert main(["sweep", *arguments]) == 130
    last = capsys.readouterr().err.split("\n")[-2]
    assert last == f"specdec_lite: 0 of 1 rows in '{tmp_path / 'results.csv'}'; call again to go on"
    monkeypatch.setattr("specdec_lite.__main__.load_pair", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert main(["w5"]) == 130 and capsys.readouterr().err == "specdec_lite: interrupted\n"


def test_what_a_terminal_would_obey_is_shown_and_not_sent(monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("no file in \x1b[31m\x07red\nsecond line")

    monkeypatch.setattr("specdec_lite.__main__.load_pair", fail)
    assert main(["w5"]) == 2
    assert capsys.readouterr().err == "specdec_lite: no file in \\x1b[31m\\x07red\nsecond line\n"


def outcomes(*ok):
    return lambda pair: [audit.Outcome(f"check {i}", fine, 0.1, "found") for i, fine in enumerate(ok)]


@pytest.mark.usefixtures("pair")
def test_check_prints_a_line_for_each_check_and_ends_with_1_if_one_fails(monkeypatch, capsys):
    monkeypatch.setattr("specdec_lite.__main__.run_checks", outcomes(True, True))
    assert main(["check"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["ok", "ok", "all"]
    monkeypatch.setattr("specdec_lite.__main__.run_checks", outcomes(True, False, True))
    assert main(["check"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[:3]] == ["ok", "FAILED", "ok"] and said[3].startswith("1 failed")


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
