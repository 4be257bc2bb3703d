"""Exercises: the stub gets a diagnosis, the folded solution passes, a typical mistake the message written for it."""

import itertools
import json
import math
import re
import statistics
from fractions import Fraction
from operator import eq, truediv
from pathlib import Path

import pytest

import mutations as lab
import specdec_lite as sd
from check import (
    chapter_1,
    chapter_2,
    chapter_3,
    chapter_4,
    chapter_5,
    chapter_6,
    chapter_7,
    chapter_8,
    chapter_9,
    chapter_10,
    chapter_11,
    chapter_12,
    chapter_A1,
    chapter_A2,
    chapter_A3,
    chapter_A4,
    chapter_A5,
    chapter_A6,
)

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CHECKERS = {
    "1": chapter_1,
    "2": chapter_2,
    "3": chapter_3,
    "4": chapter_4,
    "5": chapter_5,
    "6": chapter_6,
    "7": chapter_7,
    "8": chapter_8,
    "9": chapter_9,
    "10": chapter_10,
    "11": chapter_11,
    "12": chapter_12,
    "A1": chapter_A1,
    "A2": chapter_A2,
    "A3": chapter_A3,
    "A4": chapter_A4,
    "A5": chapter_A5,
    "A6": chapter_A6,
}


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
    names = {"itertools": itertools, "statistics": statistics, "Fraction": Fraction, "sd": sd, "lab": lab}
    exec(CELLS[tag], {**names, "check": CHECKERS[tag.split("-")[1]]})
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


def most(p, q):
    """The token that q lacks most."""
    return max(range(len(p)), key=lambda i: p[i] - q[i])


def takes_most(p, q):
    shared = [min(a, b) for a, b in zip(p, q, strict=True)]
    return [s + (1 - sum(shared)) * (i == most(p, q)) for i, s in enumerate(shared)]


def verify(
    ratio=lambda p, q: p / q,
    passes=lambda u, ratio: u < ratio,
    rest=lambda p, q: max(p - q, 0),
    total=sum,
    reached=lambda total, v: total > v,
    none=None,
):
    """Exercise 3.2's solution with one part exchanged."""

    def function(p, q, x, u, v):
        if passes(u, ratio(p[x], q[x])):
            return x
        weights = [rest(a, b) for a, b in zip(p, q, strict=True)]
        sums = itertools.accumulate(w / total(weights) for w in weights)
        found = (i for i, sum_ in enumerate(sums) if reached(sum_, v))
        return next(found, none(p, q)) if none else next(found)

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


def round_times(passes, wide=1.3):
    """Exercise 4.3's solution, with the passes of a round one at a time and the price of a wide one exchanged."""

    def function(accepted, gamma, c, v):
        guessing = gamma * c * len(accepted)
        return guessing + sum(passes(k, gamma) for k in accepted), guessing + wide * len(accepted)

    return function


def accepted_per(examined):
    """Exercise 5.1's solution, with the count of a round's examined positions exchanged."""
    return lambda rounds: sum(n for _, n in rounds) / sum(examined(drafted, n) for drafted, n in rounds)


def emitted(alpha, gamma):
    return sum(alpha**i for i in range(gamma + 1))


def best_gamma(tokens=emitted, v=lambda v, gamma: v(gamma), also=0):
    """Exercise 5.2's solution, with the tokens of a round, v, or the answer of plain decoding exchanged."""

    def function(alpha, c, width, gammas):
        return max([also, *gammas], key=lambda gamma: tokens(alpha, gamma) / (gamma * c + v(width, gamma)))

    return function


def interval(ratio, low=0.025, high=0.975):
    """Exercise 5.3's solution, with the ratio of one pick or the two ends exchanged."""

    def function(base, spec, picks):
        ratios = sorted(ratio(base, spec, pick) for pick in picks)
        return tuple(ratios[round(share * (len(ratios) - 1))] for share in (low, high))

    return function


def of_sums(base, spec, pick):
    return sum(base[i] for i in pick) / sum(spec[i] for i in pick)


def break_even(tokens=emitted, time=lambda gamma, c, v: gamma * c + v, hopeless=None):
    """Exercise 6.1's solution, with the tokens or the time of a round, or the answer where nothing pays, exchanged."""

    def function(gamma, c, v):
        grid = [i / 20_000 for i in range(20_001)]
        return next((alpha for alpha in grid if tokens(alpha, gamma) >= time(gamma, c, v)), hopeless)

    return function


def cautious(rank=lambda n: n // 20, factor=lambda a, c, v, g: emitted(a, g) / (g * c + v[g]), also=True):
    """Exercise 6.3's solution, with the rank, the factor of a draw or the answer where nothing pays exchanged."""

    def function(draws, gammas):
        def score(gamma):
            return sorted(factor(*draw, gamma) for draw in draws)[rank(len(draws))]

        best = max(gammas, key=score)
        return best if score(best) > 1 or not also else 0

    return function


def on_average(draws, gammas):
    return max(gammas, key=lambda g: statistics.mean(emitted(a, g) / (g * c + v[g]) for a, c, v in draws))


def tenths(*row):
    return [Fraction(n, 10) for n in row]


def split(keep=True, cuts=9, empty=False):
    """Exercise 7.3's solution; without the pads, with so many cuts at most, or with an empty piece at the end."""

    def function(tokens, pad):
        pieces = [[]]
        for token in tokens:
            if keep or token != pad:
                pieces[-1].append(token)
            if token == pad and len(pieces) <= cuts:
                pieces.append([])
        return [piece for piece in pieces if piece or empty]

    return function


def round_floor(bits=8, target=1, draft=lambda gamma: gamma, own_bits=True, tokens=emitted):
    """Exercise 12.1's solution, with one part exchanged."""

    def function(target_n, draft_n, target_bits, draft_bits, gamma, alpha, rate):
        of_draft = draft(gamma) * draft_n * (draft_bits if own_bits else target_bits)
        passes = gamma + 1 if target == "each" else 1
        return (passes * target_n * target_bits + of_draft) / bits / rate / tokens(alpha, gamma)

    return function


def least_alpha(after):
    """Exercise 12.2's solution, with what it says of the time after compiling exchanged."""
    return lambda one, two, draft, s, d: ((draft + two) / one - 1, after(one, two, draft, s, d))


def compiled_alpha(one, two, draft, saved, draft_saved):
    return (draft - draft_saved + two - saved) / (one - saved) - 1


def eight_bits(scale=lambda row: max(map(abs, row)) / 127 or 1.0, whole=round):
    """Exercise 12.3's solution, with the scale or the rounding exchanged."""
    return lambda rows: [(scale(row), [whole(x / scale(row)) for x in row]) for row in rows]


MISTAKES = {
    "keys only": ("ex_1_1", kv_bytes(1, 1), "a key and a value"),
    "no cross-attention": ("ex_1_1", kv_bytes(2, 0), "cross-attention"),
    "float32 only": ("ex_1_1", kv_bytes(2, 1), "float32 only"),
    "one token off": ("ex_1_2", lambda p, u: min(dart()(p, u) + 1, 2), "0.1, 0.4, 0.8"),
    "dart at zero": ("ex_1_2", dart(lambda u, total: u <= total), "strictly"),
    "dart past the end": ("ex_1_2", lambda p, u: sum(total <= u for total in itertools.accumulate(p)), "beyond that"),
    "dart at the end": (
        "ex_1_2",
        lambda p, u: next((i for i, total in enumerate(itertools.accumulate(p)) if u < total), len(p) - 1),
        "probability 0",
    ),
    "draw from p": ("ex_3_1", from_p, "you draw from p"),
    "residual not weighed": ("ex_3_1", lambda p, q: [min(a, b) + max(a - b, 0) / 2 for a, b in zip(p, q)], "sum to"),
    "the other model": ("ex_3_1", lambda p, q: q, "not p"),
    "p itself": ("ex_3_1", lambda p, q: list(p), "you return p itself"),
    "likeliest of the residual": ("ex_3_1", takes_most, "the token that lacks most"),
    "the page's numbers": (
        "ex_3_1",
        lambda p, q: [Fraction(n, 6) for n in (3, 2, 1)][: len(p)],
        "right for the page's p and q",
    ),
    "first and last token only": (
        "ex_3_1",
        lambda p, q: from_p(p, q) if len(p) != 3 else [a * 1 for a in p],
        "right for the page's p and q",
    ),
    "divides by zero": ("ex_3_1", lambda p, q: [x / (p != q) for x in p], "ZeroDivisionError"),
    "inverted ratio": ("ex_3_2", verify(ratio=lambda p, q: q / p if p else 2.0), "is your ratio q/p"),
    "accept iff p >= q": ("ex_3_2", verify(passes=lambda u, ratio: ratio >= 1), "do not ask for p >= q"),
    "redraw from p": ("ex_3_2", verify(rest=lambda p, q: p), "you draw from p"),
    "residual of q": ("ex_3_2", verify(rest=lambda p, q: max(q - p, 0)), "is your residual q - p"),
    "argmax": ("ex_3_2", lambda p, q, x, u, v: x if u * q[x] < p[x] else most(p, q), "you always take the token"),
    "not divided by its sum": (
        "ex_3_2",
        verify(total=lambda weights: 1, none=lambda p, q: len(p) - 1),
        "divide max",
    ),
    "never refuses": ("ex_3_2", lambda p, q, x, u, v: x, "u = 0.9 refuses it"),
    "v at zero": ("ex_3_2", verify(reached=lambda total, v: total >= v), "w can be exactly 0"),
    "past the last sum": ("ex_3_2", verify(), "StopIteration"),
    "the last token, if none": ("ex_3_2", verify(none=lambda p, q: len(p) - 1), "take the last token that has p > q"),
    "asks for the residual first": (
        "ex_3_2",
        lambda p, q, x, u, v: x if sum(max(a - b, 0) for a, b in zip(p, q)) == 0 and 1 / 0 else verify()(p, q, x, u, v),
        "raised ZeroDivisionError",
    ),
    "not strict": ("ex_3_2", verify(passes=lambda u, ratio: u <= ratio), "must be strict"),
    "no bonus": ("ex_3_3", lambda alpha, gamma: sum(alpha**i for i in range(1, gamma + 1)), "target's own"),
    "refusal ends nothing, own token": ("ex_3_3", lambda alpha, gamma: 1 + gamma * alpha, "guess 3 needs"),
    "gamma ignored": ("ex_3_3", lambda alpha, gamma: sum(alpha**i for i in range(4)), "alpha = 1"),
    "a float": ("ex_3_3", lambda alpha, gamma: float(emitted(alpha, gamma)), "a float"),
    "two answers by heart": (
        "ex_3_3",
        lambda alpha, gamma: {3: Fraction(2533, 1000), 4: 5}.get(gamma, 1 + alpha),
        "wrong for alpha = 1/3 and gamma = 0",
    ),
    "one too many": ("ex_3_3", lambda alpha, gamma: sum(alpha**i for i in range(gamma + 2)), "1 + alpha"),
    "formula at 1": (
        "ex_3_3",
        lambda alpha, gamma: (1 - alpha ** (gamma + 1)) / (1 - alpha) if alpha != 1 else Fraction(0),
        "alpha = 1",
    ),
    "last token fed": ("ex_4_1", lambda L, n, k: (L + k + 1, L + k + 1), "in neither cache"),
    "last token not fed": ("ex_4_1", lambda L, n, k: (L + k - 1, L + k - 1), "stays: L + k"),
    "no rollback": ("ex_4_1", lambda L, n, k: (L + n, L + n - 1), "before the rollback"),
    "text only": ("ex_4_1", lambda L, n, k: (L, L), "L = 10, n = 4, k = 2"),
    "no hole": ("ex_4_1", lambda L, n, k: (L + k, L + k), "its own last guess"),
    "target short": ("ex_4_1", lambda L, n, k: (min(L + k, L + n - 1),) * 2, "the draft lacks one"),
    "refused guess emitted": ("ex_4_2", lambda d, n, t, e: [*d, t], "the third guess was refused"),
    "no token of the target's": ("ex_4_2", lambda d, n, t, e: d[:n], "adds 5, 6, 9"),
    "bonus after EOS": ("ex_4_2", lambda d, n, t, e: [*d[:n], t], "no bonus token"),
    "EOS dropped": ("ex_4_2", lambda d, n, t, e: d[: d.index(e)] if e in d else [*d[:n], t], "keep it"),
    "EOS replaced": ("ex_4_2", lambda d, n, t, e: [t] if e in d else [*d[:n], t], "expected 5 and the EOS"),
    "refused EOS": ("ex_4_2", lambda d, n, t, e: d[: d.index(e) + 1] if e in d else [*d[:n], t], "was refused"),
    "nothing without guesses": (
        "ex_4_2",
        lambda d, n, t, e: d[:n] if not d or d[n - 1] == e else [*d[:n], t],
        "without guesses",
    ),
    "guessing is free": ("ex_4_3", lambda a, g, c, v: (sum(k + 1 for k in a), v * len(a)), "not free"),
    "own token free": ("ex_4_3", round_times(lambda k, gamma: k), "costs a pass, too"),
    "no early stop": ("ex_4_3", round_times(lambda k, gamma: gamma + 1), "first refusal"),
    "one pass each": ("ex_4_3", round_times(lambda k, gamma: 1), "make 10.2"),
    "width free": ("ex_4_3", round_times(lambda k, gamma: k + 1, wide=1), "costs v"),
    "width twice": ("ex_4_3", round_times(lambda k, gamma: k + 1, wide=2.6), "make 5.1"),
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
    "by drafted": ("ex_5_1", accepted_per(lambda drafted, n: drafted), "after a refusal nobody looks"),
    "refusal in every round": ("ex_5_1", accepted_per(lambda drafted, n: n + 1), "there was none"),
    "gamma fixed": ("ex_5_1", accepted_per(lambda drafted, n: n + (n < 4)), "that round's own number"),
    "tokens per pass": ("ex_5_1", lambda rounds: sum(n + 1 for _, n in rounds) / len(rounds), "of at least 1"),
    "mean over drafted": ("ex_5_1", lambda rounds: statistics.mean(n / d for d, n in rounds), "divide sums"),
    "mean over examined": (
        "ex_5_1",
        lambda rounds: statistics.mean(n / min(n + 1, d) for d, n in rounds),
        "divide sums",
    ),
    "refused share": ("ex_5_1", lambda rounds: 1 - accepted_per(lambda d, n: min(n + 1, d))(rounds), "by hand"),
    "time forgotten": ("ex_5_2", lambda alpha, c, v, gammas: max(gammas), "divide the tokens"),
    "refusal ends nothing": ("ex_5_2", best_gamma(lambda alpha, gamma: 1 + gamma * alpha), "a refusal ends the round"),
    "own token forgotten": ("ex_5_2", best_gamma(lambda alpha, gamma: emitted(alpha, gamma) - 1), "target's own, too"),
    "v is 1": ("ex_5_2", best_gamma(v=lambda v, gamma: 1), "you take v = 1"),
    "v at one gamma": ("ex_5_2", best_gamma(v=lambda v, gamma: v(1)), "at one γ only"),
    "draft steps": ("ex_5_2", lambda a, c, v, g: best_gamma()(a, c, lambda n: v(n) + c, g), "right is [5, 5, 3]"),
    "plain decoding forgotten": ("ex_5_2", best_gamma(also=1), "the answer is 0"),
    "single paragraphs": (
        "ex_5_3",
        lambda base, spec, picks: (min(map(truediv, base, spec)), max(map(truediv, base, spec))),
        "sum over each pick",
    ),
    "mean of ratios": ("ex_5_3", interval(lambda b, s, pick: statistics.mean(b[i] / s[i] for i in pick)), "divide the"),
    "speed-down": ("ex_5_3", interval(lambda base, spec, pick: of_sums(spec, base, pick)), "upside down"),
    "pick as a set": ("ex_5_3", interval(lambda base, spec, pick: of_sums(base, spec, {*pick})), "counts twice"),
    "not paired": ("ex_5_3", interval(lambda b, s, pick: sum(b[i] for i in pick) / sum(s)), "not paired"),
    "extremes": ("ex_5_3", interval(of_sums, 0, 1), "the extremes"),
    "90 %": ("ex_5_3", interval(of_sums, 0.05, 0.95), "90 % interval"),
    "high before low": ("ex_5_3", interval(of_sums, 0.975, 0.025), "right is 1.08 to 1.42"),
    "paper's condition": ("ex_6_1", lambda gamma, c, v: c, "*some* γ pays"),
    "one guess only": ("ex_6_1", lambda gamma, c, v: c + v - 1, "for γ = 1 only"),
    "free wide pass": ("ex_6_1", break_even(time=lambda g, c, v: g * c + 1), "you take v = 1"),
    "one draft step": ("ex_6_1", break_even(time=lambda g, c, v: c + v), "takes γ of them"),
    "no refusal ends": ("ex_6_1", break_even(lambda a, g: 1 + g * a), "only after 1 and 2"),
    "accepted only": ("ex_6_1", break_even(lambda a, g: emitted(a, g) - 1, hopeless=1.0), "target's own, too"),
    "hopeless too early": ("ex_6_1", lambda gamma, c, v: None, "a good enough draft does pay"),
    "hopeless is one": ("ex_6_1", break_even(hopeless=1.0), "the answer is None"),
    "upside-down": ("ex_6_1", lambda gamma, c, v: 1 / (gamma * c + v), "print tokens and time"),
    "independent": ("ex_6_2", lambda: 4 * [0.8], "let the places differ"),
    "plain mean": ("ex_6_2", lambda: [0.5, 0.8, 0.9, 1.0], "you made the plain mean 0.8"),
    "the easy ones first": ("ex_6_2", lambda: [1.0, 1.0, 1.0, 0.2], "*more* than 3.36"),
    "a little hard": ("ex_6_2", lambda: [0.65, 0.8846, 0.913, 0.857], "make the hard place harder"),
    "too hard": ("ex_6_2", lambda: [0.3, 1.0, 1.0, 1.0], "not 0.8; guess i is examined"),
    "five chances": ("ex_6_2", lambda: [0.5, 1.0, 1.0, 1.0, 1.0], "you return 5 chances"),
    "above one": ("ex_6_2", lambda: [0.4, 1.2, 1.2, 1.2], "between 0 and 1"),
    "one draw": ("ex_6_3", lambda draws, gammas: on_average(draws[:1], gammas), "you look at one draw"),
    "on average": ("ex_6_3", on_average, "the best γ on average"),
    "the lucky end": ("ex_6_3", cautious(lambda n: -1 - n // 20), "the lucky end"),
    "the worst of all": ("ex_6_3", cautious(lambda n: 0), "the worst draw of all"),
    "wide pass free": ("ex_6_3", cautious(factor=lambda a, c, v, g: emitted(a, g) / (g * c + 1)), "you take v = 1"),
    "never plain": ("ex_6_3", cautious(also=False), "the answer is 0"),
    "longest": ("ex_6_3", lambda draws, gammas: max(gammas), "print the fifth percentile"),
    "always plain": ("ex_6_3", lambda draws, gammas: 0, "print the fifth percentile"),
    "the page's pair": ("ex_7_1", lambda: (lab.P0, lab.Q0), "what if it had one"),
    "nothing to refuse": ("ex_7_1", lambda: (lab.P0, lab.P0), "p equals q"),
    "hardly anything to refuse": ("ex_7_1", lambda: (lab.P0, lab.Q1), "1/4 is the least"),
    "a token never drafted": ("ex_7_1", lambda: (lab.P0, tenths(0, 5, 5)), "every one must be above 0"),
    "weights": ("ex_7_1", lambda: ([5, 3, 2], lab.Q0), "p sums to 10"),
    "two tokens only": ("ex_7_1", lambda: (tenths(5, 5), tenths(2, 8)), "three tokens, please"),
    "two tokens to choose from": ("ex_7_1", lambda: (tenths(4, 4, 2), tenths(2, 2, 6)), "two tokens to choose from"),
    "an instance": ("ex_7_2", lab.Right(), "the class itself"),
    "the right loop": ("ex_7_2", lab.Right, "what the right loop does"),
    "the page's bug": ("ex_7_2", type("Mine", (lab.ForgetsBonus,), {}), "the page's forgotten bonus"),
    "two tests": ("ex_7_2", lab.DraftHole, "Leave the caches alone"),
    "off early": ("ex_7_2", lab.UncappedLast, "from the fourth token on only"),
    "no harm": ("ex_7_2", lab.Block, "it differs from the right loop"),
    "endless": (
        "ex_7_2",
        type("Mine", (lab.Right,), {"cut": lambda *_: 0, "adds_own": lambda *_: False}),
        "every round must write at least one",
    ),
    "no cut": ("ex_7_3", lambda tokens, pad: [tokens], "positions are wrong: cut"),
    "one by one": ("ex_7_3", lambda tokens, pad: [[token] for token in tokens], "four passes"),
    "cut before": ("ex_7_3", lambda tokens, pad: [tokens[: (i := tokens.index(pad))], tokens[i:]], "before the pad"),
    "pad dropped": ("ex_7_3", split(keep=False), "the pad is lost"),
    "empty piece": ("ex_7_3", split(empty=True), "an empty piece"),
    "first pad only": ("ex_7_3", split(cuts=1), "right is"),
    "pad by heart": ("ex_7_3", lambda tokens, pad: split()(tokens, 9), "with the pad 5"),
    "backwards": ("ex_7_3", lambda tokens, pad: split()(tokens[::-1], pad), "change places"),
    "bits as bytes": ("ex_12_1", round_floor(bits=1), "divide by 8"),
    "floor of a round": ("ex_12_1", round_floor(tokens=lambda a, g: 1), "this is the time of a round"),
    "all guesses good": ("ex_12_1", round_floor(tokens=lambda a, g: g + 1), "as if all guesses"),
    "draft read once": ("ex_12_1", round_floor(draft=lambda gamma: 1), "each of its γ steps"),
    "target read often": ("ex_12_1", round_floor(target="each"), "reads the target once"),
    "one kind of bits": ("ex_12_1", round_floor(own_bits=False), "bits of their own"),
    "rate forgotten": ("ex_12_1", lambda *a: round_floor()(*a) * a[-1], "s per token"),
    "alpha above c": ("ex_12_2", lambda o, t, d, s, ds: (d / o, (d - ds) / (o - s)), "solve 1 + α = c + v"),
    "one not subtracted": (
        "ex_12_2",
        lambda o, t, d, s, ds: ((d + t) / o, (d - ds + t - s) / (o - s)),
        "subtract 1",
    ),
    "old unit": ("ex_12_2", least_alpha(lambda o, t, d, s, ds: (d - ds + t - s) / o - 1), "*new* target step"),
    "old v": ("ex_12_2", least_alpha(lambda o, t, d, s, ds: (d - ds) / (o - s) + t / o - 1), "v changes, too"),
    "wide pass as before": (
        "ex_12_2",
        least_alpha(lambda o, t, d, s, ds: (d - ds + t) / (o - s) - 1),
        "wide pass loses",
    ),
    "after before": (
        "ex_12_2",
        lambda o, t, d, s, ds: ((d - ds + t - s) / (o - s) - 1, (d + t) / o - 1),
        "the other way round",
    ),
    "alpha of two": ("ex_12_2", least_alpha(compiled_alpha), "even α = 1 loses"),
    "alpha clamped": (
        "ex_12_2",
        lambda *times: [min(alpha, 1.0) for alpha in least_alpha(compiled_alpha)(*times)],
        "no α pays",
    ),
    "none too often": (
        "ex_12_2",
        lambda *times: [alpha if alpha < 0.5 else None for alpha in least_alpha(compiled_alpha)(*times)],
        "some α below 1 pays",
    ),
    "none if dear": (
        "ex_12_2",
        lambda *times: [alpha if alpha < 0.55 else None for alpha in least_alpha(compiled_alpha)(*times)],
        "α = 0.6 pays",
    ),
    "draft as before": ("ex_12_2", least_alpha(lambda o, t, d, s, ds: (d + t - s) / (o - s) - 1), "right is 0.283"),
    "sign forgotten": ("ex_12_3", eight_bits(lambda row: max(row) / 127), "*absolute*"),
    "one scale": ("ex_12_3", lambda rows: eight_bits(lambda row: 3 / 127)(rows), "each row its own"),
    "not whole": ("ex_12_3", eight_bits(whole=lambda x: x), "must be whole"),
    "cut off": ("ex_12_3", eight_bits(whole=lambda x: int(x + 1e-9 * x)), "do not cut off"),
    "not all bits": ("ex_12_3", eight_bits(lambda row: max(map(abs, row)) / 100), "should become ±127"),
    "row lost": ("ex_12_3", lambda rows: eight_bits()(rows)[1:], "one for each row"),
    "zero row": ("ex_12_3", eight_bits(lambda row: max(map(abs, row)) / 127), "ZeroDivisionError"),
}


def implied(answer):
    """c from E, γ, speed and v, or None where it is negative."""

    def c(alpha, gamma, speed, v):
        found = answer(sum(alpha**i for i in range(gamma + 1)), gamma, speed, v)
        return found if found >= 0 else None

    return c


MISTAKES_A2 = {
    "price of a round": ("ex_A2_1", implied(lambda tokens, g, s, v: tokens / s - v), "all γ guesses of a round"),
    "free width": ("ex_A2_1", implied(lambda tokens, g, s, v: (tokens / s - 1) / g), "you take v = 1"),
    "speed forgotten": ("ex_A2_1", implied(lambda tokens, g, s, v: (tokens - v) / g), "you forget the speed"),
    "upside down": ("ex_A2_1", lambda a, g, s, v: (s / chapter_A2.tokens(a, g) - v) / g, "upside down"),
    "no refusals counted": ("ex_A2_1", implied(lambda tokens, g, s, v: ((g + 1) / s - v) / g), "count γ + 1 tokens"),
    "γ + 1 guesses": ("ex_A2_1", implied(lambda tokens, g, s, v: (tokens / s - v) / (g + 1)), "the target's own"),
    "negative c": ("ex_A2_1", lambda a, g, s, v: (chapter_A2.tokens(a, g) / s - v) / g, "return None"),
    "always None": ("ex_A2_1", lambda a, g, s, v: None, "a c above 0 gives that speed"),
    "all easy": ("ex_A2_2", lambda n: n * [True], "α = 1"),
    "easy, rarely examined": ("ex_A2_2", lambda n: ((4 * [True] + [False]) * n)[:n], "α = 1"),
    "too easy": ("ex_A2_2", lambda n: ((20 * [True] + [False]) * n)[:n], "make more of the *examined* places hard"),
    "refused early": ("ex_A2_2", lambda n: ((10 * [True] + [False]) * n)[:n], "as late in a round"),
    "numbers": ("ex_A2_2", lambda n: n * [1], "list of True and False"),
    "too short": ("ex_A2_2", lambda n: [True, False], "has 2 places"),
}


def tries(wanted=lambda p, q, left: [x / sum(left) for x in left], weighed=True, order=lambda qs: qs):
    """Exercise 8.1's solution, with what is wanted after a refusal, its weight or the order of tries exchanged."""

    def function(p, qs):
        kept, refused = Fraction(0), Fraction(1)
        for q in order(qs):
            now = sum(map(min, p, q))
            kept += refused * now if weighed else now
            refused *= 1 - now
            left = [max(a - b, Fraction(0)) for a, b in zip(p, q)]
            if not sum(left):
                break
            p = wanted(p, q, left)
        return kept

    return function


def stays_at_the_first(p, qs):
    """Later tries against the first residual."""
    kept = [tries()(p, [qs[0], q]) for q in qs[1:]]
    first = tries()(p, qs[:1])
    return 1 - (1 - first) * math.prod((1 - both) / (1 - first) for both in kept)


def coupled(
    position=lambda text, start: len(text),
    limit=lambda gamma, left: min(gamma, left - 1),
    emits=lambda own, guess: own,
    extra=0,
    goes_on=False,
):
    """Exercise A4.1's solution, with one part exchanged."""

    def function(P, Q, gamma, length, draw):
        text, kept = (), 0
        while len(text) < length:
            guesses = start = text
            for _ in range(limit(gamma, length - len(text))):
                guesses += (draw(Q(guesses), position(guesses, start)),)
            kept += extra
            for place in range(len(start), len(guesses) + 1):
                own = draw(P(text), position(text, start))
                guess = guesses[place] if place < len(guesses) else None
                kept += own == guess
                text += (own if guess is None else emits(own, guess),)
                if own != guess and not (goes_on and guess is not None):
                    break
        return text, kept

    return function


def counts_behind(P, Q, gamma, length, draw):
    """Right text; every guess that agrees counts, even behind one that differs."""
    text, kept = (), 0
    while len(text) < length:
        start = guesses = text
        for _ in range(min(gamma, length - len(text) - 1)):
            guesses += (draw(Q(guesses), len(guesses)),)
        own = start
        for _ in guesses[len(start) :]:
            own += (draw(P(own), len(own)),)
        kept += sum(map(eq, own[len(start) :], guesses[len(start) :]))
        while text == guesses[: len(text)] and len(text) < length:
            text += (draw(P(text), len(text)),)
    return text, kept


MISTAKES_8 = {
    "every try the first": ("ex_8_1", tries(lambda p, q, left: p), "against p"),
    "residual as it is": ("ex_8_1", tries(lambda p, q, left: left), "divide the residual"),
    "tries not weighed": ("ex_8_1", tries(weighed=False), "only after a refusal"),
    "residual turned": (
        "ex_8_1",
        tries(lambda p, q, left: [max(b - a, 0) / sum(left) for a, b in zip(p, q)]),
        "your residual is q - p",
    ),
    "one try": ("ex_8_1", tries(order=lambda qs: qs[:1]), "do you try it"),
    "one draft": ("ex_8_1", tries(order=lambda qs: qs[:1] * len(qs)), "a distribution of its own"),
    "last draft first": ("ex_8_1", tries(order=lambda qs: qs[::-1]), "the other way round"),
    "refused": ("ex_8_1", lambda p, qs: 1 - tries()(p, qs), "a single guess is kept with"),
    "the first residual": ("ex_8_1", stays_at_the_first, "right for two guesses, wrong for three"),
    "p equals q": ("ex_8_1", lambda p, qs: tries()(p, qs) / (p not in qs), "ZeroDivisionError"),
    "no guesses, one kept": ("ex_8_1", lambda p, qs: tries()(p, qs) if qs else Fraction(1), "an empty qs gives 0"),
    "alike": ("ex_8_2", lambda: ([1, 1], [2, 2]), "p equals q"),
    "the toy": ("ex_8_2", lambda: ([1, 2], [2, 1]), "as on the page"),
    "chances": ("ex_8_2", lambda: ([0.75, 0.25], [0.25, 0.75]), "whole numbers"),
    "never drafted": ("ex_8_2", lambda: ([1, 1], [0, 1]), "whole numbers"),
    "three tokens": ("ex_8_2", lambda: ([1, 2, 3], [3, 2, 1]), "two numbers each"),
    "one row": ("ex_8_2", lambda: [[3, 1]], "return p and q"),
    "too near": ("ex_8_2", lambda: ([3, 2], [2, 3]), "a surplus of 3/2"),
    "too far": ("ex_8_2", lambda: ([9, 1], [1, 9]), "comes with 9/100"),
    "a surplus for nothing": ("ex_8_2", lambda: ([9, 7], [1, 7]), "above 1 it buys nothing more"),
}


def choose(tokens=emitted, time=lambda c, gamma, v: gamma * c + v(gamma), only=None, lost=None):
    """The solution of 9.1, with a part of it exchanged."""

    def best(drafts, v, gammas):
        def factor(way):
            (alpha, c), gamma = drafts[way[0]], way[1]
            return tokens(alpha, gamma) / time(c, gamma, v)

        way = max(((name, gamma) for name in drafts for gamma in only or gammas), key=factor)
        return way if factor(way) > 1 else lost and way

    return best


def by_name(key):
    return lambda drafts, v, gammas: (max(drafts, key=lambda name: key(*drafts[name])), 4)


def drafting(
    product=True, keep=True, most=True, stop_at_eos=True, told=list, below=lambda chance, least: chance < least
):
    """The solution of 9.2, with a part of it exchanged."""

    def draft(step, n, least, eos):
        tokens, chance = [], 1.0
        while len(tokens) < (n if most else 6):
            token, prob = step(told(tokens))
            chance = chance * prob if product else prob
            if below(chance, least) and not keep:
                break
            tokens.append(token)
            if below(chance, least) or (stop_at_eos and token == eos):
                break
        return tokens

    return draft


def one_step_late(step, n, least, eos):
    tokens, chance, late = [], 1.0, False
    while len(tokens) < n and not late and eos not in tokens:
        late = chance < least
        token, prob = step(tokens)
        tokens, chance = [*tokens, token], chance * prob
    return tokens


SENTENCE = "My brother wants to buy a new car next week."
MISTAKES_9 = {
    "free passes": ("ex_9_1", choose(time=lambda c, gamma, v: gamma * c + 1), "you take v = 1"),
    "one width": ("ex_9_1", choose(time=lambda c, gamma, v: gamma * c + v(1)), "at one γ only"),
    "one guess a round": ("ex_9_1", choose(time=lambda c, gamma, v: c + v(gamma)), "drafts γ times"),
    "nothing refused": ("ex_9_1", choose(lambda alpha, gamma: 1 + gamma * alpha), "a refusal ends the round"),
    "target's own token": ("ex_9_1", choose(lambda a, g: emitted(a, g) - 1, lost=True), "target's own, too"),
    "one γ for all": ("ex_9_1", choose(only=[4]), "a best γ of its own"),
    "most often right": ("ex_9_1", by_name(lambda alpha, c: alpha), "most often right"),
    "cheapest": ("ex_9_1", by_name(lambda alpha, c: -c), "the cheapest draft"),
    "the first name": ("ex_9_1", lambda drafts, v, gammas: (min(drafts), 3), "in four cases you choose"),
    "a name only": ("ex_9_1", lambda drafts, v, gammas: min(drafts), "a pair of a name and a γ"),
    "never plain": ("ex_9_1", choose(lost=True), "the answer is None"),
    "doubtful guess dropped": ("ex_9_2", drafting(keep=False), "must not depend on what it is"),
    "each guess alone": ("ex_9_2", drafting(product=False), "one guess at a time"),
    "each guess alone, and dropped": ("ex_9_2", drafting(product=False, keep=False), "one guess at a time"),
    "a step too late": ("ex_9_2", one_step_late, "one guess too many"),
    "n ignored": ("ex_9_2", drafting(most=False), "at most n = 2"),
    "behind an EOS": ("ex_9_2", drafting(stop_at_eos=False), "nothing may follow an EOS"),
    "step in the dark": ("ex_9_2", drafting(told=lambda tokens: []), "the guesses so far"),
    "never stops": ("ex_9_2", drafting(below=lambda chance, least: False), "one guess at a time"),
    "last guess first": ("ex_9_2", lambda *given: drafting()(*given)[::-1], "expected [11, 12, 13]"),
    "stops at once": ("ex_9_2", lambda step, n, least, eos: [step([])[0]], "expected [11, 12, 13]"),
    "no sentences": ("ex_9_3", lambda: SENTENCE, "expected two sentences"),
    "too short to copy": ("ex_9_3", lambda: ("He is old.", "He is young."), "at least eight"),
    "nothing changed": ("ex_9_3", lambda: (SENTENCE, SENTENCE), "0 words differ"),
    "a word more": ("ex_9_3", lambda: (SENTENCE, SENTENCE.replace("new", "very new")), "10 words became 11"),
    "two words": ("ex_9_3", lambda: (SENTENCE, SENTENCE.replace("new car", "old house")), "2 words differ"),
    "mostly copied": ("ex_9_3", lambda: (SENTENCE, SENTENCE.replace("new", "big")), "tokens per target pass"),
}


def refilled(order=list, room=lambda places: places, stays=lambda left: left > 1, at_once=True):
    """Exercise 10.2's solution with a part exchanged."""

    def function(lengths, places):
        queue, batch, done = order(lengths), [], 0
        while queue or batch:
            free = room(places) - len(batch) if at_once or not batch else 0
            batch, queue = batch + queue[:free], queue[free:]
            done, batch = done + 1, [left - 1 for left in batch if stays(left)]
        return done

    return function


def emptied(lengths, places):
    """Right, but it takes the caller's list apart."""
    found = chapter_10.filled(lengths, places)
    lengths.clear()
    return found


MISTAKES_10 = {
    "plays": ("ex_10_1", lambda a, b: b / a, "share of the rounds in which A plays"),
    "how much faster": ("ex_10_1", lambda a, b: a / b - 1, "a share of rounds is at most 1"),
    "of both rows' tokens": ("ex_10_1", lambda a, b: (a - b) / (a + b), "B plays in every round"),
    "tokens gained": ("ex_10_1", lambda a, b: a - b, "how many tokens A gains"),
    "never waits": ("ex_10_1", lambda a, b: 0.0, "can't run away for ever"),
    "every other round": ("ex_10_1", lambda a, b: 0.5, "nobody ever waits"),
    "squared": ("ex_10_1", lambda a, b: 1 - (b / a) ** 2, "you say"),
    "still batches": ("ex_10_2", refilled(at_once=False), "before *every* pass"),
    "no empty place": ("ex_10_2", lambda lengths, places: math.ceil(sum(lengths) / places), "no place ever empty"),
    "one by one": ("ex_10_2", lambda lengths, places: sum(lengths), "one text after the other"),
    "all at once": ("ex_10_2", lambda lengths, places: max(lengths, default=0), "only so many places"),
    "longest first": ("ex_10_2", refilled(order=lambda x: sorted(x, reverse=True)), "may not reorder"),
    "leaves late": ("ex_10_2", refilled(stays=lambda left: left > 0), "its place is free before the next one"),
    "a place too many": ("ex_10_2", refilled(room=lambda places: places + 1), "you say"),
    "takes the list apart": ("ex_10_2", emptied, "changes the list"),
}


def tie(step=chapter_11.step, size=max, near=lambda off, step: off <= step):
    """Exercise 11.1's solution, with the step, its size or the comparison exchanged."""
    return lambda x, y, bits: near(abs(x - y), step(size(abs(x), abs(y)), bits))


NUMBERS = {"alpha": 0.8, "c": 0.2, "v": 1.4, "gamma": 4, "speedup": 1.5, "pays": True}

MISTAKES_11 = {
    "fixed limit": ("ex_11_1", lambda x, y, bits: abs(x - y) < 0.01, "a fixed limit won't do"),
    "larger fixed limit": ("ex_11_1", lambda x, y, bits: abs(x - y) < 0.07, "a fixed limit won't do"),
    "relative limit": ("ex_11_1", tie(lambda x, bits: abs(x) * 2.0**-bits), "round log2 down"),
    "bfloat16 only": ("ex_11_1", lambda x, y, bits: tie()(x, y, 7), "use bits"),
    "equal only": ("ex_11_1", lambda x, y, bits: x == y, "neighbours count"),
    "less than a step": ("ex_11_1", tie(near=lambda off, step: off < step), "≤"),
    "smaller size": ("ex_11_1", tie(size=min), "*larger*"),
    "sign kept": ("ex_11_1", lambda x, y, bits: x > 0 and tie()(x, y, bits), "negative"),
    "log of a negative": (
        "ex_11_1",
        lambda x, y, bits: abs(x - y) <= 2.0 ** (math.floor(math.log2(max(x, y))) - bits),
        "raised",
    ),
    "inverse": ("ex_11_1", lambda x, y, bits: not tie()(x, y, bits), "other way round"),
    "always near": ("ex_11_1", lambda x, y, bits: True, "for every pair"),
    "no dictionary": ("ex_11_2", lambda: (0.8, 0.2), "return a dictionary"),
    "α in percent": ("ex_11_2", lambda: NUMBERS | {"alpha": 80}, "between 0 and 1"),
    "half a guess": ("ex_11_2", lambda: NUMBERS | {"gamma": 2.5}, "a whole number"),
    "a free draft": ("ex_11_2", lambda: NUMBERS | {"c": 0}, "takes time"),
    "narrow by wide": ("ex_11_2", lambda: NUMBERS | {"v": 0.3}, "not narrow ÷ wide"),
    "no time": ("ex_11_2", lambda: NUMBERS | {"speedup": 0}, "plain seconds"),
    "a miracle": ("ex_11_2", lambda: NUMBERS | {"speedup": 7}, "at most γ + 1"),
    "tokens for speed": ("ex_11_2", lambda: NUMBERS | {"speedup": emitted(0.8, 4)}, "tokens per target pass"),
    "seconds upside down": ("ex_11_2", lambda: NUMBERS | {"speedup": 2.2 / emitted(0.8, 4)}, "upside down"),
    "another baseline": ("ex_11_2", lambda: NUMBERS | {"alpha": 0.1, "speedup": 2.2}, "its cache"),
    "pays in spite of it": ("ex_11_2", lambda: NUMBERS | {"speedup": 0.9}, "pays=True"),
}


def laws(p, q):
    return lambda: (p, q)


def even(shared, ks=lambda n: range(1, n + 1), order=lambda p: sorted(p, reverse=True)):
    """The k that shares most with p, by this way of counting."""
    return lambda p: max(ks(len(p)), key=lambda k: round(shared(order(p)[:k], k), 12))


def both(first, k):
    return sum(min(x, 1 / k) for x in first)


def chosen(a_round, tokens=chapter_A1.tokens, none=None):
    """The draft and γ of the least time per token, by this price of a round."""

    def choose(drafts, target_mb, overhead, rate):
        ways = [
            (a_round(g, mb / rate, target_mb / rate, overhead) / tokens(alpha, g), i, g)
            for i, (alpha, mb) in enumerate(drafts)
            for g in range(1, 17)
        ]
        least, i, g = min(ways)
        return (i, g) if least < overhead + target_mb / rate else none

    return choose


def passes(g, draft, target, overhead):
    return g * (overhead + draft) + overhead + target


MISTAKES_A1 = {
    "too much in front": ("ex_A1_1", laws([0.4, 0.35, 0.25, 0, 0], [0.4, 0.35, 0, 0.25, 0]), "hold 0.75"),
    "same others": (
        "ex_A1_1",
        laws([0.25, 0.25, 0.2, 0.2, 0.1], [0.25, 0.25, 0.2, 0.1, 0.2]),
        "to other tokens than p",
    ),
    "first two differ": ("ex_A1_1", laws([0.3, 0.3, 0.4, 0, 0], [0.1, 0.1, 0.8, 0, 0]), "agree on p's 2 likeliest"),
    "they share little": ("ex_A1_1", laws([0.5, 0.3, 0.2, 0, 0], [0, 0, 0, 0.5, 0.5]), "p's 2 likeliest tokens"),
    "neither": ("ex_A1_1", laws([0.5, 0.4, 0.1, 0, 0], [0.5, 0.3, 0.2, 0, 0]), "really 0.90"),
    "no distribution": ("ex_A1_1", laws([0.5, 0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0, 0]), "p = [0.5, 0.5, 0.5, 0, 0] is no"),
    "below 0": ("ex_A1_1", laws([0.5, 0.5, 0, 0, 0], [0.5, 0.5, 0.1, -0.1, 0]), "at least 0"),
    "four tokens": ("ex_A1_1", laws([0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]), "has 4 numbers"),
    "all tokens": ("ex_A1_2", len, "what cross-entropy asks for"),
    "one token": ("ex_A1_2", lambda p: 1, "right for an argmax"),
    "unsorted": ("ex_A1_2", even(both, order=list), "its k likeliest"),
    "p alone": ("ex_A1_2", even(lambda first, k: sum(first)), "p alone"),
    "from 0": ("ex_A1_2", lambda p: even(both)(p) - 1, "count from 0"),
    "never all": ("ex_A1_2", even(both, ks=lambda n: range(1, n)), "as large as the vocabulary"),
    "not even": ("ex_A1_2", even(lambda first, k: -abs(sum(first) - 0.9)), "The overlaps of k = 1, 2"),
    "largest alpha": ("ex_A1_3", lambda drafts, *machine: (drafts.index(max(drafts)), 4), "the largest α"),
    "bytes alone": ("ex_A1_3", lambda d, t, o, r: chapter_A1.choice(d, t, 0, r), "has its overhead"),
    "one draft step": ("ex_A1_3", chosen(lambda g, d, t, o: 2 * o + d + t), "γ draft steps"),
    "overhead once": ("ex_A1_3", chosen(lambda g, d, t, o: g * d + o + t), "in every pass"),
    "bonus forgotten": ("ex_A1_3", chosen(passes, lambda a, g: chapter_A1.tokens(a, g - 1)), "the target's own"),
    "always a draft": ("ex_A1_3", chosen(passes, none=(0, 1)), "return None there"),
    "γ first": ("ex_A1_3", lambda *case: (found := chosen(passes)(*case)) and found[::-1], "in this order"),
    "no way": ("ex_A1_3", lambda *case: None, "you choose None"),
}


def alarm(mean=None, window=lambda window: window, patience=lambda patience: patience, **more):
    """Exercise A3.1's solution, with its mean, its window or its patience exchanged."""
    return lambda calls, limit, w, n: chapter_A3.states(calls, limit, window(w), patience(n), mean=mean, **more)


def stepped(**changed):
    """Exercise A3.2's solution, with its speed, its choice or its plain row exchanged."""
    return lambda c, v: chapter_A3.table(c, v, **changed)


MISTAKES_A3 = {
    "at once": (
        "ex_A3_1",
        lambda calls, limit, *_: [s / e < limit for s, e in calls],
        "each call alone",
    ),
    "no patience": ("ex_A3_1", alarm(patience=lambda n: 1), "no patience"),
    "off at once": ("ex_A3_1", alarm(back=1), "to switch off, too"),
    "never off": ("ex_A3_1", alarm(back=10**9), "never goes off"),
    "count not reset": ("ex_A3_1", alarm(rising=1), "back to 0"),
    "window of one": ("ex_A3_1", alarm(window=lambda w: 1), "judge each call alone"),
    "no forgetting": ("ex_A3_1", alarm(window=lambda w: 10**9), "never forget"),
    "averaged ratios": ("ex_A3_1", alarm(mean=chapter_A3.mean_of_ratios), "divide sums"),
    "on above": ("ex_A3_1", lambda *stream: [not on for on in chapter_A3.states(*stream)], "*below*"),
    "one state": ("ex_A3_1", lambda calls, *_: [False], "one state for each call"),
    "at the limit is below": (
        "ex_A3_1",
        lambda calls, limit, *rest: chapter_A3.states(calls, limit + 1e-9, *rest),
        "not below it",
    ),
    "late": ("ex_A3_1", lambda *stream: [False, *chapter_A3.states(*stream)[:-1]], "right is"),
    "one switch": ("ex_A3_2", lambda c, v: [(0.0, 0), (0.7, 4)], "for every machine"),
    "every α": (
        "ex_A3_2",
        lambda c, v: [(i / 100, max(v) if i > 60 else round(c)) for i in range(101)],
        "only the changes",
    ),
    "γ first": ("ex_A3_2", lambda c, v: [pair[::-1] for pair in chapter_A3.table(c, v)], "the α first"),
    "never plain": ("ex_A3_2", stepped(plain=False), "a way, too"),
    "tokens": ("ex_A3_2", stepped(speed=lambda a, g, c, v: emitted(a, g)), "you count tokens"),
    "free width": ("ex_A3_2", stepped(speed=lambda a, g, c, v: emitted(a, g) / (g * c + 1)), "you take v = 1"),
    "free drafting": ("ex_A3_2", stepped(speed=lambda a, g, c, v: emitted(a, g) / v[g]), "not free"),
    "one draft step": ("ex_A3_2", stepped(speed=lambda a, g, c, v: emitted(a, g) / (c + v[g])), "not one"),
    "no token of its own": (
        "ex_A3_2",
        stepped(speed=lambda a, g, c, v: (emitted(a, g) - 1) / (g * c + v[g])),
        "the target's own",
    ),
    "guesses behind a refusal": (
        "ex_A3_2",
        stepped(speed=lambda a, g, c, v: (1 + g * a) / (g * c + v[g])),
        "drops all guesses",
    ),
    "largest that pays": ("ex_A3_2", stepped(choose=chapter_A3.largest_that_pays), "take the fastest"),
    "from 0.01": ("ex_A3_2", stepped(start=1), "begin at α = 0"),
    "shifted": ("ex_A3_2", lambda c, v: [(a + 0.01 * (a > 0), g) for a, g in chapter_A3.table(c, v)], "right is"),
}


MISTAKES_A4 = {
    "nothing drafted": ("ex_A4_1", lambda P, Q, g, n, draw: coupled()(P, Q, 0, n, draw), "no guess was kept"),
    "no count": ("ex_A4_1", lambda P, Q, g, n, draw: coupled()(P, Q, g, n, draw)[0], "return the text and the number"),
    "places of the round": (
        "ex_A4_1",
        coupled(position=lambda text, start: len(text) - len(start)),
        "from the beginning",
    ),
    "the guess stays": ("ex_A4_1", coupled(emits=lambda own, guess: guess), "is not the target's own"),
    "bonus counted": ("ex_A4_1", coupled(extra=1), "only guesses are kept"),
    "beyond the end": ("ex_A4_1", coupled(limit=lambda gamma, left: gamma), "draft r - 1 at most"),
    "one guess": ("ex_A4_1", coupled(limit=lambda gamma, left: min(gamma, 1, left - 1)), "draft γ of them"),
    "counts behind": ("ex_A4_1", counts_behind, "count for nothing"),
    "p and q only": ("ex_A4_2", lambda: ([2, 1, 1], [2, 1, 0]), "return p, q and l"),
    "chances of three": ("ex_A4_2", lambda: ([0.5, 0.25, 0.25], [2, 1, 0], 0.75), "whole numbers"),
    "two tokens": ("ex_A4_2", lambda: ([3, 1], [1, 0], 0.75), "three whole numbers"),
    "never written": ("ex_A4_2", lambda: ([3, 1, 0], [1, 0, 0], 0.75), "all of p must be above 0"),
    "percent": ("ex_A4_2", lambda: ([2, 1, 1], [2, 1, 0], 75), "at most 1"),
    "the same": ("ex_A4_2", lambda: ([2, 1, 1], [4, 2, 2], 0.5), "nothing to buy"),
    "exact": ("ex_A4_2", lambda: ([2, 1, 1], [2, 1, 0], 1), "is the exact rule"),
    "opposites": ("ex_A4_2", lambda: ([1, 1, 8], [8, 1, 1], Fraction(3, 4)), "token 0 has q = 4/5 above p/l = 2/15"),
    "too near to 1": ("ex_A4_2", lambda: ([2, 1, 1], [2, 1, 0], Fraction(4, 5)), "is refused, and brings no bias"),
    "spent on nothing": ("ex_A4_2", lambda: ([2, 1, 1], [6, 3, 1], 0.75), "that brings no bias"),
    "l too small": ("ex_A4_2", lambda: ([2, 1, 1], [2, 1, 0], 0.5), "would be kept"),
    "far, by a small l": ("ex_A4_2", lambda: ([1, 1, 2], [1, 1, 0], 0.5), "l can be nearer to 1"),
    "near, and not enough": ("ex_A4_2", lambda: ([4, 4, 2], [1, 1, 0], Fraction(4, 5)), "less than 1/4"),
}


def says(**changed):
    """Exercise A6.1's solution, with a rule exchanged."""
    return lambda facts: chapter_A6.arguments(facts, **changed)


def fits(**changed):
    """Exercise A6.2's solution, with a rule left out or exchanged."""
    return lambda target, draft: chapter_A6.why_not(target, draft, **changed)


def only_in_target(target, draft):
    return next((piece for piece, i in target["ids"].items() if draft["ids"].get(piece) != i), None)


def other_names(target, draft):
    return next(iter(target["ids"].keys() ^ draft["ids"].keys()), None)


def other_order(target, draft):
    pairs = zip(target["ids"].items(), draft["ids"].items())
    return next((a[0] for a, b in pairs if a != b), None)


MISTAKES_A6 = {
    "nothing": ("ex_A6_1", lambda facts: {}, "for every family"),
    "a list": ("ex_A6_1", lambda facts: list(says()(facts) or ()), "return a dictionary"),
    "arguments of None": ("ex_A6_1", lambda facts: {"prefix": None, **(says()(facts) or {})}, "leave an argument out"),
    "another argument": ("ex_A6_1", lambda facts: says()(facts) and {"task": facts["task"]}, "'task'"),
    "its own prefix": ("ex_A6_1", says(silent=()), "by itself"),
    "a language for all": ("ex_A6_1", says(codes=True), "refuses language="),
    "no language": ("ex_A6_1", says(codes=False), "must be told"),
    "any branch": ("ex_A6_1", says(branch=lambda files: True), '"flax" has none'),
    "one file": ("ex_A6_1", says(safe=lambda files: "model.safetensors" in files), "several files"),
    "never converts": ("ex_A6_1", says(convert={}), "return None"),
    "opens pickles": ("ex_A6_1", says(safe=lambda files: True), "never opened"),
    "no prefix": ("ex_A6_1", says(silent=chapter_A6.PREFIXES), "right is {'prefix': 'summarize: '}"),
    "a reason for all": ("ex_A6_2", lambda target, draft: "size", "for every two models"),
    "true or false": ("ex_A6_2", lambda target, draft: fits()(target, draft) is None, "return None"),
    "an id": ("ex_A6_2", lambda target, draft: fits()(target, draft) and "2", "not its id"),
    "any kind": ("ex_A6_2", fits(kind=False), "without an encoder"),
    "any size": ("ex_A6_2", fits(rows=None), "compare the rows"),
    "pieces for rows": ("ex_A6_2", fits(rows="ids"), "8 rows against 4"),
    "sizes only": ("ex_A6_2", fits(same=lambda target, draft: None), "other ids"),
    "names only": ("ex_A6_2", fits(same=other_names), "not names"),
    "target's pieces only": ("ex_A6_2", fits(same=only_in_target), "in the target and in the draft"),
    "in their order": ("ex_A6_2", fits(same=other_order), "the order in which"),
}


def rows_that_fit(fixed=lambda one, two: 2 * one - two, row=lambda one, two: two - one, last=lambda x: max(0, int(x))):
    """Exercise A5.1's solution with a part exchanged."""
    return lambda one, two, card: last((card - fixed(one, two)) / row(one, two))


def let_in(**changed):
    """Exercise A5.2's solution, with what it looks at, or whom it lets in, exchanged."""
    return lambda *given: chapter_A5.served(*given, **changed)


def uses_up(queue, *rest):
    """Right, but it takes the caller's list apart."""
    found = chapter_A5.served(queue, *rest)
    queue.clear()
    return found


MISTAKES_A5 = {
    "weights for each row": ("ex_A5_1", lambda one, two, card: card // one, "weights are paid once"),
    "one row short": ("ex_A5_1", rows_that_fit(fixed=lambda one, two: one), "one row short"),
    "no weights": ("ex_A5_1", rows_that_fit(fixed=lambda one, two: 0), "forget what is fixed"),
    "two sets of weights": ("ex_A5_1", lambda one, two, card: 2 * card // two, "one set of weights"),
    "part of a row": ("ex_A5_1", rows_that_fit(last=math.ceil), "round down"),
    "rows not whole": ("ex_A5_1", rows_that_fit(last=lambda x: x), "rows are whole"),
    "fewer than none": ("ex_A5_1", rows_that_fit(last=math.floor), "return 0, not -4"),
    "now": ("ex_A5_2", let_in(need=chapter_A5.at_once), "caches grow"),
    "one pass ahead": ("ex_A5_2", let_in(need=chapter_A5.next_pass), "all passes to come"),
    "all peaks at once": ("ex_A5_2", let_in(need=chapter_A5.at_the_end), "too careful"),
    "sources only": ("ex_A5_2", let_in(need=chapter_A5.of_sources), "for each token that is written"),
    "texts only": ("ex_A5_2", let_in(need=chapter_A5.of_texts), "the sources take memory"),
    "last token forgotten": ("ex_A5_2", let_in(need=chapter_A5.one_token_less), "the last token counts"),
    "still there": ("ex_A5_2", let_in(need=chapter_A5.one_pass_more), "gone before the next pass"),
    "leaves a pass late": ("ex_A5_2", let_in(last=0), "one pass too many"),
    "overtaken": ("ex_A5_2", let_in(skip=True), "may overtake"),
    "batch by batch": ("ex_A5_2", let_in(refill=False), "before *every* pass"),
    "never full": ("ex_A5_2", let_in(strict=True), "just `room` bytes"),
    "one after the other": ("ex_A5_2", lambda queue, *_: sum(new for _, new in queue), "in every row"),
    "a pass too many": ("ex_A5_2", lambda *given: chapter_A5.served(*given) + 1, "right is 19"),
    "queue taken apart": ("ex_A5_2", uses_up, "changes the list"),
}


# An exercise has names of its own: no chapter takes another's case away.
GROUPS = [
    MISTAKES,
    MISTAKES_8,
    MISTAKES_9,
    MISTAKES_10,
    MISTAKES_11,
    MISTAKES_A1,
    MISTAKES_A2,
    MISTAKES_A3,
    MISTAKES_A4,
    MISTAKES_A5,
    MISTAKES_A6,
]
CASES = {f"{case[0]} {name}": case for mistakes in GROUPS for name, case in mistakes.items()}


@pytest.mark.parametrize("mistake", CASES)
def test_mistake_gets_the_message_written_for_it(mistake, capsys):
    name, function, message = CASES[mistake]
    getattr(CHECKERS[name.split("_")[1]], name)(function)
    out = capsys.readouterr().out
    assert out.startswith("✗ ") and message in out
