"""The table of batches: every way writes the same texts, a stopped run goes on, what the page reads is there."""

import json

import pytest

import batches
import specdec_lite as sd
import tiny

SIZES = (1, 2, 4)


@pytest.fixture
def texts(monkeypatch):
    monkeypatch.setitem(batches.OPTIONS, "max_new_tokens", 8)
    monkeypatch.setattr(batches, "WRITTEN", 4)
    return tiny.sources(8, seed=2)


def test_a_run_that_was_stopped_goes_on(pair, texts, tmp_path, capsys):
    file = tmp_path / "there" / "batches.json"
    first = batches.measure(pair, texts, file, turns=1, seconds=60, sizes=SIZES)
    both = batches.measure(pair, texts, file, turns=2, seconds=60, sizes=SIZES)
    assert len(first["turns"]) == 1 and both["turns"][:1] == first["turns"] and len(both["turns"]) == 2
    assert json.loads(file.read_text()) == both
    assert batches.measure(pair, texts, file, turns=2, seconds=60, sizes=SIZES) == both  # nothing is left to do
    assert batches.measure(pair, texts, file, turns=9, seconds=0, sizes=SIZES) == both  # nor any time
    for turn in both["turns"]:
        assert {*turn["pass"]} == {*turn["race"]} == {"1", "2", "4"}
        for rows, ways in turn["race"].items():
            assert len({cell["tokens"] for cell in ways.values()}) == 1
            assert all(cell["texts"] == cell["same"] for cell in ways.values())
            assert [len(cell["seconds"]) for cell in ways.values()] == 3 * [max(2, int(rows)) // int(rows)]
            assert ways["4"]["passes"] <= ways["0"]["passes"]
            assert {*turn["pass"][rows]} == {"1", "3", "5", "9", "draft"}
            assert {*ways["0"]["phases"]} == {"start", "step"} and {*ways["4"]["phases"]} == {"start", "draft", "check"}
    lines = batches.table(both).splitlines()
    assert len(lines) == 1 + len(SIZES) and "γ = 4" in lines[0]


def test_a_file_from_elsewhere_is_not_added_to(pair, texts, tmp_path):
    file = tmp_path / "batches.json"
    file.write_text(json.dumps({**batches.begin(pair), "cores": 1024}))
    with pytest.raises(SystemExit, match="another cores, 1024"):
        batches.measure(pair, texts, file, turns=1, seconds=60, sizes=SIZES)


def test_texts_that_differ_from_plain_decoding_are_counted(pair, texts, monkeypatch):
    wrong = sd.Generation(token_ids=[1, 2, 3], target_passes=1)
    honest = batches.decode
    monkeypatch.setattr(batches, "decode", lambda *a, **o: [wrong] * 2 if a[2] == 4 else honest(*a, **o))
    found = batches.race(pair, texts, 2, 0)
    assert [(cell["texts"], cell["same"]) for cell in found.values()] == [(2, 2), (2, 2), (2, 0)]


def test_four_turns_take_every_text_at_every_size():
    texts = list(range(32))
    for rows in batches.ROWS:
        turns = [batches.batches(texts, rows, turn) for turn in range(4)]
        assert {text for turn in turns for batch in turn for text in batch} == {*texts}
        assert {len(batch) for turn in turns for batch in turn} == {rows}


def test_what_is_recorded_is_whole():
    recorded = json.loads(batches.FILE.read_text(encoding="utf8"))
    assert len(recorded["turns"]) >= 8 and len(recorded["turns"]) % 4 == 0
    assert all({*map(int, turn["race"])} == {*batches.ROWS} == {*map(int, turn["pass"])} for turn in recorded["turns"])
    cells = [cell for turn in recorded["turns"] for ways in turn["race"].values() for cell in ways.values()]
    assert all(cell["texts"] == cell["same"] for cell in cells)
    assert all(turn["when"] for turn in recorded["turns"]) and recorded["processor"] and recorded["torch"]
