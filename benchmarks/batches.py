"""Tokens per second against the batch's size, plain and speculative; and what a pass costs when it has many rows.

    python benchmarks/batches.py [--turns 8] [--seconds 600]     `make batches`: some four minutes on two quiet cores

A turn decodes a quarter of the texts at every batch size (all of them where the batch is that large), every way after
the other, forwards and backwards. After each turn the file is written, and a run that was stopped goes on where it was.
All is greedy, and how many texts are the same as plain decoding's is written beside the times (but for near-ties of
rounding: all). Everything is warmed up first.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import specdec_lite as sd
from bench import machine
from specdec_lite.costs import Stopwatch, now

ROOT = Path(__file__).parents[1]
FILE = ROOT / "notebooks" / "recorded" / "batches.json"
ROWS = (1, 2, 4, 8, 16, 32)
GAMMAS = (0, 2, 4)  # 0: plain decoding
WIDTHS = (1, 3, 5, 9)  # positions of a pass that is timed alone; 2γ + 1 is the widest of a batch
WRITTEN = 20  # tokens of each text before a pass that is timed alone
OPTIONS = {"temperature": 0.0, "max_new_tokens": 64}


def texts_of(n: int) -> list[str]:
    prompts = sd.load_prompts()
    return (prompts["sweep"] + prompts["measure"])[:n]


def batches(texts: list, rows: int, turn: int) -> list[list]:
    """This turn's batches: a quarter of the texts, or more where a batch is larger than that."""
    quarter = max(len(texts) // 4, 1)
    take = max(rows, quarter)
    first = turn * take % len(texts)
    chosen = texts[first : first + take]
    return [chosen[i : i + rows] for i in range(0, len(chosen), rows)]


def decode(pair: sd.Pair, batch: list, gamma: int, **options) -> list[sd.Generation]:
    options = {**OPTIONS, **options}
    if gamma:
        return sd.speculative_generate(*pair, batch, gamma=gamma, **options)
    return sd.autoregressive_generate(pair.target, batch, **options)


def race(pair: sd.Pair, texts: list, rows: int, turn: int) -> dict[str, dict]:
    """For every gamma: tokens, the seconds of each batch and of each phase, passes, texts as plain. A B C, C B A, …"""
    found = {
        str(gamma): {"tokens": 0, "seconds": [], "phases": {}, "passes": 0, "texts": 0, "same": 0} for gamma in GAMMAS
    }
    for i, batch in enumerate(batches(texts, rows, turn)):
        runs, watches = {}, {}
        for gamma in GAMMAS[:: 1 if (turn + i) % 2 == 0 else -1]:
            watches[gamma] = Stopwatch(pair.target)
            runs[gamma] = decode(pair, batch, gamma, observer=watches[gamma])
        for gamma, rows_of in runs.items():
            out = found[str(gamma)]
            out["texts"] += len(batch)
            out["same"] += sum(run.token_ids == plain.token_ids for run, plain in zip(rows_of, runs[0]))
            for phase, seconds in watches[gamma].laps:
                out["phases"][phase] = out["phases"].get(phase, 0.0) + seconds
            out["tokens"] += sum(len(run.token_ids) for run in rows_of)
            out["seconds"].append(rows_of[0].seconds)
            out["passes"] += max(run.target_passes for run in rows_of)
    return found


@torch.inference_mode()
def cursor_at(model: sd.Seq2Seq, batch: list) -> sd.CachedDecoder:
    """A cursor in mid-text, in every row."""
    cursor = model.cursor()
    cursor.start(model.source(batch))
    cursor.extend([[model.start_token] * WRITTEN] * len(batch))
    return cursor


@torch.inference_mode()
def pass_seconds(cursor: sd.CachedDecoder, rows: int, n: int, model: sd.Seq2Seq) -> float:
    tokens = torch.full((rows, n), model.start_token, device=model.device)
    began = now(model)
    cursor.extend(tokens)
    ended = now(model)
    cursor.rollback(WRITTEN)
    return ended - began


def passes(pair: sd.Pair, texts: list, rows: int, repeats: int = 3) -> dict[str, float]:
    """Median seconds of a pass with so many rows: of the target over n positions, of the draft over one."""
    target, draft = (cursor_at(model, texts[:rows]) for model in pair)
    work: dict[str, Callable[[], float]] = {
        str(n): lambda n=n: pass_seconds(target, rows, n, pair.target) for n in WIDTHS
    }
    work["draft"] = lambda: pass_seconds(draft, rows, 1, pair.draft)
    times = {name: [] for name in work}
    for i in range(repeats + 1):
        for name in list(work)[:: 1 if i % 2 == 0 else -1]:
            times[name].append(work[name]())
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def a_turn(pair: sd.Pair, texts: list, sizes: tuple[int, ...], turn: int) -> dict:
    """Sizes go up in one turn and down in the next."""
    order = sizes[:: 1 if turn % 2 == 0 else -1]
    return {
        "race": {str(rows): race(pair, texts, rows, turn) for rows in order},
        "pass": {str(rows): passes(pair, texts, rows) for rows in order},
    }


def begin(pair: sd.Pair) -> dict:
    """What the file says of its machine."""
    return {
        **machine(),
        "pair": pair.name,
        "device": str(pair.target.device),
        "dtype": str(pair.target.hf_model.dtype).removeprefix("torch."),
        "turns": [],
    }


def measure(pair: sd.Pair, texts: list, file: Path, turns: int, seconds: float, sizes: tuple[int, ...] = ROWS) -> dict:
    """Add turns to the file until it has so many, or the time is over."""
    here, start = begin(pair), time.perf_counter()
    found = json.loads(file.read_text(encoding="utf8")) if file.exists() else here
    other = [name for name in here if name != "turns" and found.get(name) != here[name]]
    if other:
        raise SystemExit(f"{file} was written with another {other[0]}, {found.get(other[0])!r}: move it away to begin")
    for rows in sizes if len(found["turns"]) < turns else ():
        for gamma in GAMMAS:
            decode(pair, texts[:rows], gamma, max_new_tokens=24)  # warms up
    longest = 0.0
    while len(found["turns"]) < turns and time.perf_counter() - start + longest < seconds:
        began = time.perf_counter()
        turn = a_turn(pair, texts, sizes, len(found["turns"]))
        turn["when"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        found["turns"].append(turn)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(written(rounded(found)), encoding="utf8")
        longest = max(longest, time.perf_counter() - began)
        print(f"turn {len(found['turns'])} of {turns}: {time.perf_counter() - began:.0f} s", flush=True)
    return rounded(found)


def rounded(thing):
    """Seconds to the microsecond: the file stays small."""
    if isinstance(thing, dict):
        return {key: rounded(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [rounded(value) for value in thing]
    return round(thing, 6) if isinstance(thing, float) else thing


def written(found: dict) -> str:
    """JSON with a line for each turn."""
    head = json.dumps({name: value for name, value in found.items() if name != "turns"}, indent=1)
    turns = ",\n".join(f"  {json.dumps(turn)}" for turn in found["turns"])
    return f'{head[:-2]},\n "turns": [\n{turns}\n ]\n}}\n'


def rates(found: dict, gamma: int) -> dict[int, list[float]]:
    """Tokens per second in each turn, by the size of the batch."""
    sizes = sorted({int(rows) for turn in found["turns"] for rows in turn["race"]})
    cells = {rows: [turn["race"][str(rows)][str(gamma)] for turn in found["turns"]] for rows in sizes}
    return {rows: [cell["tokens"] / sum(cell["seconds"]) for cell in turns] for rows, turns in cells.items()}


def ratios(found: dict, rows: int, gamma: int) -> list[float]:
    """Plain seconds ÷ speculative seconds of each batch in each turn, sorted; a stall of the machine hits only one."""
    cells = [turn["race"][str(rows)] for turn in found["turns"]]
    return sorted(a / b for cell in cells for a, b in zip(cell["0"]["seconds"], cell[str(gamma)]["seconds"]))


def table(found: dict) -> str:
    """Medians: of the rates over the turns, of the speed-up over all batches, each paired with itself."""
    plain = rates(found, 0)
    lines = ["rows   plain tok/s" + "".join(f"   γ = {gamma} tok/s  speed-up (quartiles)" for gamma in GAMMAS[1:])]
    for rows in plain:
        line = f"{rows:4} {statistics.median(plain[rows]):13.0f}"
        for gamma in GAMMAS[1:]:
            paired = ratios(found, rows, gamma)
            low, middle, high = (paired[round(share * (len(paired) - 1))] for share in (0.25, 0.5, 0.75))
            fast = statistics.median(rates(found, gamma)[rows])
            line += f"{fast:14.0f}  {middle:.2f} ({low:.2f} to {high:.2f})   "
        lines.append(line.rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=8, help="four of them go once through all texts")
    parser.add_argument("--seconds", type=float, default=3600, help="begin no turn that would end later")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    pair = sd.load_pair(device=asked.device, dtype=asked.dtype)
    print(table(measure(pair, texts_of(max(ROWS)), asked.out, asked.turns, asked.seconds)))


if __name__ == "__main__":
    main()
