"""Exercises: the stub gets a diagnosis, the folded solution passes, a typical mistake the message written for it."""

import itertools
import json
import re
import statistics
from fractions import Fraction
from pathlib import Path

import pytest

from check import chapter_1, chapter_2, chapter_3, chapter_7

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CHECKERS = {"1": chapter_1, "2": chapter_2, "3": chapter_3, "7": chapter_7}


def exercise_cells() -> dict[str, str]:
    """Tag, such as "exercise-3-1-stub", to the source of its cell, for all notebooks."""
    found = {}
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            for tag in cell["metadata"].get("tags", []):
                if tag.startswith("exercise-"):
                    found[tag] = "".join(cell["source"])
    return found


CELLS = exercise_cells()
EXERCISES = sorted({tag.rpartition("-")[0] for tag in CELLS})


def said(tag: str, capsys) -> str:
    """What the cell prints, run with the checkers of its chapter."""
    exec(CELLS[tag], {"itertools": itertools, "statistics": statistics, "check": CHECKERS[tag.split("-")[1]]})
    return capsys.readouterr().out


def test_every_exercise_has_a_stub_and_a_solution():
    assert EXERCISES and {*CELLS} == {f"{name}-{part}" for name in EXERCISES for part in ("stub", "solution")}


@pytest.mark.parametrize("name", EXERCISES)
def test_stub_is_diagnosed(name, capsys):
    assert re.match("✗ .{20}", said(f"{name}-stub", capsys))


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_passes(name, capsys):
    assert said(f"{name}-solution", capsys) == "✓ right\n"


def from_p(p, q):
    shared = [min(a, b) for a, b in zip(p, q, strict=True)]
    return [s + (1 - sum(shared)) * a for s, a in zip(shared, p, strict=True)]


def verify(ratio=lambda p, q: p / q, passes=lambda u, ratio: u < ratio, rest=lambda p, q: max(p - q, 0)):
    """Exercise 3.2's solution with one part exchanged."""

    def function(p, q, x, u, v):
        if passes(u, ratio(p[x], q[x])):
            return x
        weights = [rest(a, b) for a, b in zip(p, q, strict=True)]
        sums = itertools.accumulate(w / sum(weights) for w in weights)
        return next(i for i, total in enumerate(sums) if total > v)

    return function


def kv_bytes(factor, source):
    """Exercise 1.1's solution, with a factor and the source's part exchanged."""
    return lambda **a: factor * a["layers"] * a["heads"] * a["d_kv"] * (source * a["source"] + a["written"]) * 4


def dart(passes=lambda u, total: u < total):
    def function(p, u):
        return next(i for i, total in enumerate(itertools.accumulate(p)) if passes(u, total))

    return function


def price(of):
    """Exercise 2.1's solution, with another average."""
    return lambda times: {n: of(seconds) / of(times[1]) for n, seconds in times.items()}


MISTAKES = {
    "keys only": ("ex_1_1", kv_bytes(1, 1), "a key and a value"),
    "no cross-attention": ("ex_1_1", kv_bytes(2, 0), "cross-attention"),
    "float32 only": ("ex_1_1", kv_bytes(2, 1), "float32 only"),
    "one token off": ("ex_1_2", lambda p, u: min(dart()(p, u) + 1, 2), "0.1, 0.4, 0.8"),
    "dart at zero": ("ex_1_2", dart(lambda u, total: u <= total), "strictly"),
    "dart past the end": ("ex_1_2", lambda p, u: sum(total <= u for total in itertools.accumulate(p)), "beyond that"),
    "draw from p": ("ex_3_1", from_p, "you draw from p"),
    "residual not weighed": ("ex_3_1", lambda p, q: [min(a, b) + max(a - b, 0) / 2 for a, b in zip(p, q)], "sum to"),
    "the other model": ("ex_3_1", lambda p, q: q, "not p"),
    "divides by zero": ("ex_3_1", lambda p, q: [x / (p != q) for x in p], "ZeroDivisionError"),
    "inverted ratio": ("ex_3_2", verify(ratio=lambda p, q: q / p if p else 2.0), "is your ratio q/p"),
    "accept iff p >= q": ("ex_3_2", verify(passes=lambda u, ratio: ratio >= 1), "do not ask for p >= q"),
    "redraw from p": ("ex_3_2", verify(rest=lambda p, q: p), "you draw from p"),
    "residual of q": ("ex_3_2", verify(rest=lambda p, q: max(q - p, 0)), "is your residual q - p"),
    "not strict": ("ex_3_2", verify(passes=lambda u, ratio: u <= ratio), "must be strict"),
    "no bonus": ("ex_3_3", lambda alpha, gamma: sum(alpha**i for i in range(1, gamma + 1)), "target's own"),
    "one too many": ("ex_3_3", lambda alpha, gamma: sum(alpha**i for i in range(gamma + 2)), "1 + alpha"),
    "formula at 1": (
        "ex_3_3",
        lambda alpha, gamma: (1 - alpha ** (gamma + 1)) / (1 - alpha) if alpha != 1 else Fraction(0),
        "alpha = 1",
    ),
    "mean of times": ("ex_2_1", price(statistics.mean), "take the median"),
    "fastest time": ("ex_2_1", price(min), "lucky"),
    "per position": ("ex_2_1", lambda t: {n: price(statistics.median)(t)[n] / n for n in t}, "whole pass"),
    "upside down": ("ex_2_1", lambda t: {n: 1 / v for n, v in price(statistics.median)(t).items()}, "upside down"),
    "wrong key": ("ex_2_1", lambda t: t["one"], "raised KeyError"),
    "settled token": ("ex_2_2", lambda f, b, w: int(f / b * w / 2), "one less"),
    "bytes divide": ("ex_2_2", lambda f, b, w: int(f / b * 2 / w) - 1, "multiply n"),
    "two bytes only": ("ex_2_2", lambda f, b, w: int(f / b * 2) - 1, "float32 only"),
    "one operation": ("ex_2_2", lambda f, b, w: int(f / b * w) - 1, "2 FLOP"),
    "below zero": ("ex_2_2", lambda f, b, w: int(f / b * w / 2) - 1, "not less"),
    "no refusals": ("ex_7_1", lambda p, q: [min(a, b) for a, b in zip(p, q, strict=True)], "sum to 7/10"),
    "right rule": ("ex_7_1", lambda p, q: p, "this is p"),
    "not squared": ("ex_7_2", lambda p, epsilon, z: z * p * (1 - p) / epsilon, "square root"),
    "variance p": ("ex_7_2", lambda p, epsilon, z: z**2 * p / epsilon**2, "p(1 - p), not p"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_the_message_written_for_it(mistake, capsys):
    name, function, message = MISTAKES[mistake]
    getattr(CHECKERS[name.split("_")[1]], name)(function)
    out = capsys.readouterr().out
    assert out.startswith("✗ ") and message in out
