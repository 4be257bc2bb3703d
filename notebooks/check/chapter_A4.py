"""Checkers of appendix A4. Each prints what is right, or what is likely wrong, and never raises."""

import random
from fractions import Fraction as F
from itertools import product

from . import checker


def row_of(weights):
    """A model of two tokens, whose rows depend on the whole text."""

    def model(text):
        first = F(weights[(sum(text) + len(text)) % len(weights)], 10)
        return [first, (1 - first) / 2, (1 - first) / 2]

    return model


BIG, SMALL = row_of([2, 7, 4]), row_of([3, 6, 1, 8])


class Drawing:
    """A token is a function of the row and the position. Remembers how it was asked."""

    def __init__(self, seed):
        self.seed, self.asked = seed, []

    def __call__(self, row, position):
        self.asked.append(position)
        u, x = random.Random(f"{self.seed}/{position}").random(), 0
        while u >= row[x] and x < len(row) - 1:
            u, x = u - row[x], x + 1
        return x


def coupled(P, Q, gamma, length, draw):
    text, kept, rounds = (), 0, 0
    while len(text) < length:
        guesses, rounds = text, rounds + 1
        for _ in range(min(gamma, length - len(text) - 1)):
            guesses += (draw(Q(guesses), len(guesses)),)
        while True:
            text += (draw(P(text), len(text)),)
            if text != guesses[: len(text)]:
                break
            kept += 1
    return text, kept, rounds


@checker
def ex_A4_1(coupled_text) -> str | None:
    """The coupled loop: the target's own text, and how many guesses were its tokens."""
    answer = coupled_text(BIG, SMALL, 3, 8, Drawing(0))
    if not isinstance(answer, tuple) or len(answer) != 2:
        return f"return the text and the number of kept guesses; yours is {answer!r:.60}"
    for seed, gamma, length in product(range(6), (0, 1, 3, 5), (1, 7, 24)):
        plain = coupled(BIG, SMALL, 0, length, Drawing(seed))[0]
        wanted, rounds = coupled(BIG, SMALL, gamma, length, Drawing(seed))[1:]
        text, kept = coupled_text(BIG, SMALL, gamma, length, Drawing(seed))
        case = f"seed {seed}, γ = {gamma}, length {length}"
        if len(text) != length:
            return (
                f"{case}: your text has {len(text)} tokens; with r tokens to go draft r - 1 at most, "
                "and do add the target's own"
            )
        if tuple(text) != plain:
            place = next(i for i in range(length) if text[i] != plain[i])
            return (
                f"{case}: token {place} is not the target's own, so the text depends on the draft: emit draw(P(text), "
                "position), and count the position from the beginning of the text"
            )
        if kept == 0 and wanted:
            return (
                f"{case}: no guess was kept, but {wanted} agree: does the draft guess with the same noise, "
                "behind the text and its own guesses?"
            )
        if kept == wanted + rounds:
            return f"{case}: you count the target's extra token of each round; only guesses are kept"
        if kept > wanted:
            return (
                f"{case}: {wanted} guesses are kept, you say {kept}: behind the first that differs "
                "guesses count for nothing"
            )
        if kept != wanted:
            return (
                f"{case}: {wanted} guesses are kept, you say {kept}: draft γ of them in each round, "
                "each with the noise of its own position"
            )
    return None


def emitted(p, q, lenience):
    """What lenience emits at a drafted position; the distribution, and what of each token is kept."""
    kept = [min(b, a / lenience) for a, b in zip(p, q)]
    left = [max(a - b, F(0)) for a, b in zip(p, q)]
    if not sum(left):
        return p, kept
    return [k + (1 - sum(kept)) * e / sum(left) for k, e in zip(kept, left)], kept


ENOUGH, NEAREST = F(1, 4), F(3, 4)


@checker
def ex_A4_2(far_off) -> str | None:
    """p, q and a lenience as near to 1 as possible, with a bias of 1/4."""
    answer = far_off()
    if not isinstance(answer, tuple) or len(answer) != 3:
        return f"return p, q and l; yours is {answer!r:.60}"
    *rows, lenience = answer
    if [len(row) for row in rows] != [3, 3] or not all(isinstance(x, int) and x >= 0 for row in rows for x in row):
        return f"p and q are three whole numbers each, not below 0; yours are {rows}"
    if not all(rows[0]) or not sum(rows[1]):
        return f"all of p must be above 0, and q can't be all zeros; yours are {rows}"
    if not 0 < lenience <= 1:
        return f"l is above 0 and at most 1; yours is {lenience}"
    lenience = F(lenience)
    p, q = ([F(x, sum(row)) for x in row] for row in rows)
    if p == q:
        return "p equals q: every guess is kept already, and there is nothing to buy"
    if lenience == 1:
        return "l = 1 is the exact rule: it is off by 0"
    out, kept = emitted(p, q, lenience)
    off = sum(abs(a - b) for a, b in zip(out, p)) / 2
    if off >= ENOUGH and lenience == NEAREST:
        return None
    said = f"off by {off}, that is {float(off):.3f}, with l = {lenience}"
    said += "; l can be nearer to 1" if off >= ENOUGH else ", less than 1/4"
    for i, (a, b, k) in enumerate(zip(p, q, kept)):
        if b > k:
            return f"{said}: token {i} has q = {b} above p/l = {k}; what is above p/l is refused, and brings no bias"
        if 0 < b <= a:
            return f"{said}: the draft spends {b} on token {i}, where q is not above p ({a}); that brings no bias"
    i = max((i for i in range(3) if q[i]), key=lambda i: p[i] / lenience - q[i])
    if kept[i] < p[i] / lenience:
        return f"{said}: token {i} has q = {q[i]}, and up to p/l = {p[i] / lenience} would be kept"
    return f"{said}: every guess is kept with q = p/l; what would a larger l need?"
