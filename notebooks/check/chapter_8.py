"""Checkers of chapter 8. Each prints what is right, or what is likely wrong, and never raises."""

import random
from fractions import Fraction as F
from itertools import product

from . import checker


def overlap(p, q):
    return sum(min(a, b) for a, b in zip(p, q, strict=True))


def tries(p, qs, next_p=lambda p, q, left: [x / sum(left) for x in left]):
    """The chance that one guess is kept; what a refused one leaves to be wanted can be exchanged."""
    refused = F(1)
    for q in qs:
        refused *= 1 - overlap(p, q)
        left = [max(a - b, F(0)) for a, b in zip(p, q, strict=True)]
        if not sum(left):
            return F(1) - refused
        p = next_p(p, q, left)
    return 1 - refused


def tenths(*row):
    return [F(n, 10) for n in row]


P, QS = tenths(5, 2, 2, 1), [tenths(4, 4, 1, 1), tenths(2, 3, 4, 1), tenths(1, 1, 4, 4)]


@checker
def ex_8_1(one_of) -> str | None:
    """The chance that one of several guesses is kept, if they are tried one after the other."""
    first, found, three = (one_of(P, QS[:n]) for n in (1, 2, 3))
    right = tries(P, QS[:1])
    if first != right:
        return f"a single guess is kept with Σ min(p, q), as in chapter 3, here {right}; you say {first}"
    if found == first:
        return "the second guess changes nothing: do you try it?"
    if found == 1 - (1 - right) * (1 - overlap(P, QS[1])):
        return "you try each guess against p; once a guess was refused, the residual is wanted"
    left = [max(a - b, F(0)) for a, b in zip(P, QS[0], strict=True)]
    if found == right + (1 - right) * overlap(left, QS[1]):
        return "divide the residual by its sum: it is a distribution, and the second guess is tried against it"
    if found == right + overlap([x / sum(left) for x in left], QS[1]):
        return "the second try happens only after a refusal: weigh it by that"
    if found == tries(P, QS[:2], lambda p, q, left: [max(b - a, F(0)) / sum(left) for a, b in zip(p, q)]):
        return "your residual is q - p; what is missing is p - q"
    if found == tries(P, [QS[0]] * 2):
        return "the second guess has a distribution of its own, the second of qs"
    if found == tries(P, QS[1::-1]):
        return "the other way round: try the guesses in the order of qs; it matters"
    if found != tries(P, QS[:2]):
        return (
            f"for p = {said(P)} and qs = {[*map(said, QS[:2])]} you say {found}: print what is refused and the residual"
        )
    if three != tries(P, QS):
        return "right for two guesses, wrong for three: each refusal takes the residual of what was wanted *before* it"
    if isinstance(found, float):
        return "right, but a float: fractions in give a fraction out"
    if one_of(P, [P, QS[0]]) != 1:
        return "wrong where p equals q: nothing is refused then, and there is no residual"
    if one_of(P, []) != 0:
        return "without guesses none is kept: an empty qs gives 0"
    for p, *qs in laws():
        if one_of(p, qs) != tries(p, qs):
            return f"wrong for p = {said(p)} and qs = {[*map(said, qs)]}: {one_of(p, qs)}"
    return None


def said(row) -> str:
    return f"({', '.join(map(str, row))})"


def laws():
    """A target's distribution and those of one to four drafts."""
    chance = random.Random(0)
    for _ in range(50):
        size, drafts = chance.randint(2, 4), chance.randint(1, 4)
        rows = [[chance.randint(1, 5) for _ in range(size)] for _ in range(drafts + 1)]
        yield [[F(w, sum(row)) for w in row] for row in rows]


def released_bias(p, q):
    """Total variation of the first two tokens at gamma = 2, if the last test is not capped."""
    law = dict.fromkeys(product(range(2), repeat=2), F(0))
    for x, y in law:
        r = p[x] / q[x]
        w = min(F(1), r)
        z = sum(max(w * a - b, F(0)) for a, b in zip(p, q))
        last = min(F(1), r * p[y] / q[y])
        first = z / (z + 1 - w) if w < 1 else F(1)
        cuts = [(1 - last) * (1 - first), (1 - last) * first]
        rests = [[max(v * a - b, F(0)) for a, b in zip(p, q)] for v in (F(1), w)]
        drafted = q[x] * q[y]
        law[x, y] += drafted * last
        for a, b in product(range(2), repeat=2):
            if cuts[0]:
                law[a, b] += drafted * cuts[0] * rests[0][a] / sum(rests[0]) * p[b]
            if cuts[1] and a == x:
                law[a, b] += drafted * cuts[1] * rests[1][b] / sum(rests[1])
    return sum(abs(share - p[a] * p[b]) for (a, b), share in law.items()) / 2


@checker
def ex_8_2(worse) -> str | None:
    """Two distributions over two tokens with which the released rule is off by more than 1/9."""
    rows = [*worse()]
    if len(rows) != 2 or [len(row) for row in rows] != [2, 2]:
        return f"return p and q, two numbers each; yours is {rows}"
    if not all(isinstance(x, int) and x > 0 for row in rows for x in row):
        return f"whole numbers above 0, so that every token can be drafted and written; yours are {rows}"
    p, q = ([F(x, sum(row)) for x in row] for row in rows)
    if p == q:
        return "p equals q: every guess is kept, and no cap ever bites"
    off = released_bias(p, q)
    if off == F(1, 9):
        return "off by 1/9, as on the page; make it more"
    up = max((0, 1), key=lambda x: p[x] / q[x])
    ratios = p[up] / q[up], p[1 - up] / q[1 - up]
    if off < F(1, 9) and p[up] <= F(1, 2):
        why = "the favourite of the draft is the target's, too: few drafts have a p/q above 1, then one below"
    elif ratios[0] * ratios[1] > 1:
        why = f"the product of both ratios is {ratios[0] * ratios[1]}: above 1 it buys nothing more"
    else:
        why = f"a surplus of {ratios[0]}, then {ratios[1]}; such a draft comes with {q[up] * q[1 - up]}"
    return None if off > F(1, 9) else f"off by {off}, that is {float(off):.4f}, less than 1/9 = 0.1111: {why}"
