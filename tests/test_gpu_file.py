"""`make gpu`: one file with everything, whatever a part does. Tried on the CPU, with tiny shapes."""

import argparse
import json
import os
import subprocess
import sys

import pytest

import gpu
import tiny
from test_compiled import not_traced

QUICK = argparse.Namespace(device="cpu", prompts=2, max_new_tokens=6, quick=True)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(gpu.bench, "machine_rates", lambda device: {"read_rate": 1e10, "flop_rate": 1e11})
    monkeypatch.setattr(gpu.bench, "sources", lambda pair, n: (tiny.sources(n), tiny.sources(1, seed=1)))


@not_traced()
def test_a_pair_has_a_table_of_all_ways_and_its_costs(small, tmp_path):
    keep = gpu.Pages(tmp_path / "part.json")
    gpu.work("t5-tiny-tiny", keep, QUICK)
    found = json.loads(keep.file.read_text(encoding="utf8"))
    assert "error" not in found and found["parameters"]["target"] > 1e6
    ways = {row["way"]: row for row in found["all, T = 0"]}
    assert {"plain, eager", "speculative, eager", "plain, compiled", "speculative, compiled"} < {*ways}
    assert all(row["ms_per_token"] > 0 and row["same"] <= row["texts"] == 2 for row in ways.values())
    assert ways["speculative, compiled"]["gamma"] == 2 and ways["speculative, eager"]["gamma"] in gpu.EAGER
    for costs, gammas in zip(found["all, T = 0, costs"].values(), (gpu.EAGER, (2,))):
        assert costs["plain step"][0] > 0 and {f"v({gamma})" for gamma in gammas} < {*costs}
        assert {*costs["predicted, α = 0.8"]} == {*map(str, gammas)}
    assert keep.file.stat().st_size < 30_000


def test_what_cannot_be_compiled_says_why_and_keeps_the_rest(small, tmp_path, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("no Triton")

    monkeypatch.setattr(gpu.bench, "on_fast_path", broken)
    keep = gpu.Pages(tmp_path / "part.json")
    gpu.work("t5-tiny-tiny", keep, QUICK)
    assert "no Triton" in keep.content["error"] and len(keep.content["all, T = 0"]) == 4


@not_traced()
def test_the_papers_shapes_are_timed_as_they_are_and_compiled(tmp_path):
    keep = gpu.Pages(tmp_path / "part.json")
    gpu.work("paper", keep, QUICK)
    found = json.loads(keep.file.read_text(encoding="utf8"))
    assert {*found["eager, ms"]["tiny"]} == {*map(str, gpu.paper_shapes.WIDTHS)}
    assert {*found["compiled, ms"]["tiny"]} == {"1", "8"}
    layers, width, inner = 2, 64, 128  # a step: three of four products of both attentions, gated feed-forward, the head
    own, cross, dense = 4 * width * 128, 2 * width * 128, 3 * width * inner
    assert found["weights of a step"]["tiny"] == layers * (own + cross + dense) + 32128 * width


PART = """
import sys, time
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
name, out = sys.argv[sys.argv.index("--part") + 1], Path(sys.argv[sys.argv.index("--out") + 1])
out.write_text('{{"table": [1, 2]}}')
time.sleep(60 if name == "slow" else 0)
sys.exit("it broke" if name == "broken" else 0)
"""


def test_a_part_that_is_slow_or_fails_loses_nothing_of_the_others(tmp_path):
    command = [sys.executable, "-c", PART.format(benchmarks=str(gpu.ROOT / "benchmarks"))]
    out = tmp_path / "deep" / "gpu.json"
    gpu.run({"fine": 1, "slow": 1, "broken": 30, "last": 30, "late": 0}, command, out, 67, {"gpu": "none"})
    parts = json.loads(out.read_text(encoding="utf8"))["parts"]
    assert list(parts) == ["fine", "slow", "broken", "last", "late"]
    assert all(part["table"] == [1, 2] for part in parts.values())
    assert parts["slow"]["error"].startswith("it took longer than") and "it broke" in parts["broken"]["error"]
    assert "error" not in parts["fine"] and parts["slow"]["seconds"] < 30


def test_when_the_time_is_over_the_rest_says_so(tmp_path):
    content = gpu.run({"one": 10, "two": 10}, ["never", "run"], tmp_path / "gpu.json", 3, {})
    assert [part["error"] for part in content["parts"].values()] == ["no time was left for it"] * 2


def test_the_command_works_as_it_is_without_an_installation(tmp_path):
    out = tmp_path / "gpu.json"
    asked = ["--device=cpu", "--quick", "--parts", "t5gemma-tiny-tiny", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", *asked], cwd=gpu.ROOT, env=os.environ | {"PYTHONPATH": "."},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_text(encoding="utf8"))
    assert {"processor", "torch", "transformers", "device"} <= {*content["machine"]} and content["finished"]
    assert len(content["parts"]["t5gemma-tiny-tiny"]["eager, T = 0"]) == 4
    assert "plain, eager" in done.stdout and f"{out}: " in done.stdout


def test_a_part_that_is_unknown_is_named(tmp_path):
    with pytest.raises(KeyError, match="such"):
        gpu.work("t5-no-such", gpu.Pages(tmp_path / "part.json"), QUICK)


def test_numbers_that_json_has_not_become_null_and_text_stays_text():
    text = gpu.as_text({"a": [float("nan"), 1.23456789, {"b": float("inf")}], "said": "[ 1,\n 2 ]"})
    assert json.loads(text) == {"a": [None, 1.234568, {"b": None}], "said": "[ 1,\n 2 ]"}
