"""The mutation lab: exact biases, and which test catches which wrong implementation."""

from fractions import Fraction as F

import pytest

import mutations as lab

CAUGHT = {  # one step, sequences, greedy, cache, passes, chi-square
    "right": "......",
    "refusal: draw from p": "XX...X",
    "residual q − p": "XXX..X",
    "ratio min(1, q/p)": "XXX..X",
    "accept iff p ≥ q": "XX...X",
    "argmax draft, softmax q": "XX...X",
    "top-2 draft, raw q": "XX...X",
    "one-hot q, refusal from p": "XX..XX",
    "unsure draft token dropped": "XX..XX",
    "bonus token forgotten": "....X.",
    "hole in the draft's cache": "...XX.",
    "source cropped on rollback": ".X.X..",
    "one uniform for all coins": ".X...X",
}


def test_matrix():
    found = {name: "".join(".X"[caught] for caught in row) for name, row in lab.matrix().items()}
    assert found == CAUGHT


@pytest.mark.parametrize(
    "name, bias",
    [
        ("right", F(0)),
        ("refusal: draw from p", F(3, 20)),
        ("residual q − p", F(3, 10)),
        ("ratio min(1, q/p)", F(3, 10)),
        ("accept iff p ≥ q", F(1, 2)),
        ("argmax draft, softmax q", F(3, 10)),
        ("top-2 draft, raw q", F(1, 8)),
        ("one-hot q, refusal from p", F(21, 100)),
        ("unsure draft token dropped", F(1, 10)),
        ("one uniform for all coins", F(0)),
    ],
)
def test_exact_bias_of_one_step(name, bias):
    assert lab.distance(lab.emitted_law(lab.MUTATIONS[name], 1, 1), lab.target_law(1)) == bias
