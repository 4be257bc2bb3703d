"""What was measured has one place: sessions are added and never mixed or lost, and pages quote nothing else."""

import argparse
import importlib.util
import json
import pickle
import re
import sys
from pathlib import Path

import pytest

import measure
import specdec_lite as sd
import tiny
from specdec_lite import measured
from specdec_lite.costs import Costs
from test_compiled import not_traced

ROOT = Path(__file__).parents[1]
MACHINE = {
    "processor": "A", "cores": 2, "threads": 2, "torch": "2.13.0+cpu", "transformers": "5.0", "dtype": "float32",
}  # fmt: skip


def tool(name: str):
    sys.path.insert(0, str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def session(c: float, day: int = 1, **other) -> dict:
    values = {"machine": {"read rate": [10.0, 9.0, 11.0]}, "eager, T = 0": {"c": [c, c - 0.02, c + 0.02]}}
    return {"began": f"2026-01-0{day}T10:00:00", "machine": MACHINE | other, "options": {}, "values": values}


@pytest.fixture
def on_file(tmp_path, monkeypatch):
    """Write sessions to a file that takes the record's place."""
    file = tmp_path / "measured.json"
    monkeypatch.setattr(measured.read_sessions, "__defaults__", (file,))

    def write(*sessions):
        file.write_text(measure.as_text([*sessions]), encoding="utf8")
        return file

    return write


def test_quoted_is_the_median_of_the_sessions_between_the_smallest_and_the_largest(on_file):
    on_file(session(0.3), session(0.5, 2), session(0.31, 3))
    c = sd.recorded("c")
    assert (c, c.low, c.high) == (0.31, 0.3, 0.5) and str(c) == "0.31 [0.30–0.50]" and f"{c:.1f}" == "0.3"
    assert c.date == "2026-01-01 to 2026-01-03" and "A, 2 cores, torch 2.13.0, " in c.machine
    assert len(c.sessions) == 3 and 2 * c == 0.62
    again = pickle.loads(pickle.dumps(c))
    assert str(again) == str(c) and again.sessions == c.sessions and json.dumps(c) == "0.31"


def test_a_single_session_is_quoted_with_its_own_interval(on_file):
    on_file(session(0.3))
    assert str(sd.recorded("c")) == "0.30 (0.28 to 0.32)" and sd.recorded("c").date == "2026-01-01"
    assert str(sd.recorded("read rate")) == "10.0 GB/s (9.0 to 11.0)"


@pytest.mark.parametrize("fact", measured.SAME)
def test_the_sessions_of_another_machine_are_not_mixed_in(on_file, fact):
    on_file(session(0.9), session(0.1, 2, **{fact: "other"}), session(0.3, 3), session(0.32, 4))
    c = sd.recorded("c")
    assert len(c.sessions) == 3 and c.high == 0.9
    on_file(session(0.9), session(0.1, 2, **{fact: "other"}))
    assert sd.recorded("c") == 0.1


def test_where_nothing_is_recorded_it_says_how_to_change_that(on_file):
    on_file()
    with pytest.raises(ValueError, match="make measure"):
        sd.recorded("c")
    on_file(session(0.3))
    with pytest.raises(ValueError, match=r"path='compiled': expected one that was measured at T = 0"):
        sd.recorded("c", "compiled")


def asked(file) -> argparse.Namespace:
    return argparse.Namespace(prompts=2, gammas=[1, 4], compiled_gammas=[1, 2], max_new_tokens=10, out=file)


@pytest.fixture
def paragraphs(monkeypatch):
    monkeypatch.setattr(measure, "machine_rates", lambda: {"read_rate": 1e10, "flop_rate": 1e11})
    return {"measure": tiny.sources(2, seed=1), "sweep": tiny.sources(2)}


@not_traced()
def test_a_session_has_every_number_of_the_table(on_file, paragraphs, monkeypatch):
    quick = sd.compile_pair
    monkeypatch.setattr(
        sd, "compile_pair", lambda pair, **how: quick(pair, backend=lambda graph, _: graph.forward, **how)
    )
    file = on_file(session(0.3))
    measure.measure(asked(file), tiny.tiny_pair(), paragraphs)
    sessions = json.loads(file.read_text(encoding="utf8"))
    assert sessions[0] == session(0.3) and len(sessions) == 2
    for path, gammas in (("eager", (1, 4)), ("compiled", (1, 2))):
        counts = sd.recorded("tokens per pass", path)
        assert 1 <= counts <= max(gammas) + 1 and sd.recorded("gamma", path) in gammas
        assert sd.recorded("ms per token, plain", path) > 0
        of_gamma = ("v", "speed-up", "round", "predicted", "predicted round", "tokens per pass")
        for name in [*(f"{name}({gamma})" for name in of_gamma for gamma in gammas), "c", "plain step", "encoder"]:
            value = sd.recorded(name, path)
            assert 0 <= value.low <= value <= value.high, name
        assert sd.recorded("speed-up over generate", path, 1) > 0
    for temperature in (0, 1):
        table = sd.recorded_table(temperature)
        assert len(table.splitlines()) == 10 and table.endswith(f"{sessions[1]['began'][:10]}.")
        assert re.search(r"^\| speculative, compiled, γ = [12] \| [\d.]+ \(.*\) \|", table, re.MULTILINE)


def test_what_an_interrupted_session_had_finished_is_on_file(on_file, paragraphs, monkeypatch):
    file = on_file(session(0.3))
    monkeypatch.setattr(measure, "has_compiler", lambda device: False)
    monkeypatch.setattr(measure, "race", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        measure.measure(asked(file), tiny.tiny_pair(), paragraphs)
    first, second = json.loads(file.read_text(encoding="utf8"))
    assert first == session(0.3) and {"c", "v(1)", "v(4)"} <= {*second["values"]["eager, T = 0"]}
    assert sorted(path.name for path in file.parent.iterdir()) in (
        ["measured.json"],
        [".measured.json.lock", "measured.json"],
    )


def test_a_session_on_another_machine_is_announced(on_file, capsys):
    file = on_file(session(0.3))
    measure.Session(file, {})
    said = capsys.readouterr().out
    assert "1 sessions on file are of another machine (A, torch 2.13.0+cpu)" in said and "not mixed" in said


def test_predictions_on_file_are_what_the_package_says_of_the_costs_beside_them():
    """At temperature 0, where the lengths of the texts are known; another formula needs another record."""
    target, how = sd.load_pair().target, {"temperature": 0.0, "max_new_tokens": 64}
    runs = [sd.autoregressive_generate(target, text, **how) for text in sd.load_prompts()["measure"]]
    for session in measured.newest_machine(measured.read_sessions()):
        assert session["options"]["max_new_tokens"] == 64
        for path in measured.PATHS:
            value = {name: found[0] for name, found in session["values"][f"{path}, T = 0"].items()}
            gammas = [int(name[2:-1]) for name in value if name.startswith("v(")]
            costs = Costs(
                c=value["c"], catch_up=value["catch-up"], v={gamma: value[f"v({gamma})"] for gamma in gammas},
                target_start=value["encoder"] / value["plain step"], draft_start=value["draft start"],
                step_seconds=value["plain step"] / 1000,
            )  # fmt: skip
            for gamma in gammas:
                said = costs.predict(value["alpha, others"], gamma, [len(run.token_ids) for run in runs], 64)
                assert value[f"predicted({gamma})"] == pytest.approx(said, rel=5e-4)


# ---- What pages say ----


def test_pages_quote_the_record_as_it_is():
    quote = tool("quote")
    for path in quote.pages():
        text = path.read_text(encoding="utf8")
        assert quote.quoted(text) == text, f"{path.name}: run tools/quote.py"
        split = re.findall(r"^ *<!-- recorded: .*", text, re.MULTILINE)
        assert not split, f"{path.name}: a paragraph ends where a line begins with a comment\n" + "\n".join(split)
    assert "recorded table: 0" in (ROOT / "README.md").read_text(encoding="utf8")


NUMBERS = (
    r"\d\.\d+ ?×|\d\.\d+ times (?:as fast|faster)|(?:gain|reach)\w* \d\.\d+|\d(?:\.\d+)? (?:ms|milliseconds)\b|"
    r"\bc\$? ?= ?\$?0?\.\d|\bv(?:\(\d\))?\$? ?= ?\$?\d\.\d"
)
ELSEWHERE = {  # what may stand in prose all the same, and why
    ("05_gamma_experiment.ipynb", "We try v = 1.3"): "an example's value, computed with below",
}  # fmt: skip


def prose():
    """The words of every page, without what is quoted, code, outputs, and the texts of drawings."""
    quote = tool("quote")
    for path in quote.pages():
        text = re.sub(r"^```(?:\w+|\{eval-rst\})?\n.*?^```", "", path.read_text(encoding="utf8"), flags=re.S | re.M)
        yield path.name, re.sub(r"^:alt: .*$|!\[[^\]]*\]", "", quote.MARK.sub("", text), flags=re.MULTILINE)
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield path.name, re.sub(r"!\[[^\]]*\]", "", "".join(cell["source"]))


def test_no_page_has_a_time_or_a_speed_of_its_own():
    found, used = [], set()
    for name, text in prose():
        for number in re.finditer(NUMBERS, text):
            line = " ".join(text[max(0, number.start() - 60) : number.end() + 30].split())
            why = [key for key in ELSEWHERE if key[0] == name and key[1] in line]
            used |= {*why}
            found += [] if why else [f"{name}: … {line} …"]
    assert not found, (
        "quote the record (sd.recorded in a cell, marks in a page), or say why in ELSEWHERE:\n" + "\n".join(found)
    )
    assert {*ELSEWHERE} == used, "these are no longer there"
