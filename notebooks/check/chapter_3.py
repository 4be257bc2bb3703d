"""Checkers of chapter 3. Each prints what is right, or what is likely wrong, and never raises."""

import random
from fractions import Fraction
from itertools import product

from . import checker

P = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
Q = [Fraction(1, 6), Fraction(5, 6), Fraction(0)]
SHARED = [min(a, b) for a, b in zip(P, Q, strict=True)]
REFUSED = 1 - sum(SHARED)
DRAWN_FROM_P = [s + REFUSED * a for s, a in zip(SHARED, P, strict=True)]  # the law if a refusal draws from p
MOST = max(a - b for a, b in zip(P, Q, strict=True))
ARGMAX = [s + REFUSED * (a - b == MOST) for s, a, b in zip(SHARED, P, Q, strict=True)]  # the likeliest of the residual


def laws(seed: int, n: int):
    """Pairs of distributions over two to five tokens, some of them 0 in one or the other."""
    chance = random.Random(seed)
    for _ in range(n):
        size = chance.randint(2, 5)
        rows = [[chance.randint(0, 4) for _ in range(size - 1)] + [chance.randint(1, 4)] for _ in range(2)]
        yield [[Fraction(w, sum(row)) for w in row] for row in rows]


@checker
def ex_3_1(emitted) -> str | None:
    """The law that accept-reject emits, from p and q."""
    law = list(emitted(P, Q))
    if len(law) == len(P) and all(x is a for x, a in zip(law, P, strict=True)):
        return "you return p itself: add up the accepted part and the corrected part, and see p come out"
    if law == SHARED:
        return f"this is the accepted part only, and sums to {sum(SHARED)}: where does a refused draft's mass go?"
    if law == DRAWN_FROM_P:
        return "after a refusal you draw from p; the refusal says where q was too eager: draw from max(p - q, 0)"
    if law == ARGMAX:
        return "after a refusal you always take the token that lacks most; draw: the other that q lacks must come, too"
    if sum(law) != 1:
        return f"the probabilities sum to {sum(law)}: divide the residual by its sum, and weigh it by the refusals"
    if law != P:
        return "it sums to 1 but is not p: print the accepted and the corrected part of each token side by side"
    if list(emitted(P, P)) != P:
        return "wrong where q equals p: then nothing is refused, and the residual must not be asked for"
    for p, q in laws(0, 50):
        law = list(emitted(p, q))
        if law != p:
            return f"right for the page's p and q, but for p = {said(p)} and q = {said(q)} you emit {said(law)}"
    return None


def said(row) -> str:
    return f"({', '.join(map(str, row))})"


@checker
def ex_3_2(verify) -> str | None:
    """One position of the rule, with its uniforms given."""
    p, q = [0.2, 0.3, 0.3, 0.2], [0.3, 0.5, 0.1, 0.1]  # the residual is (0, 0, 2/3, 1/3)
    if verify([0.4, 0.4, 0.2], [0.2, 0.3, 0.5], 1, 0.99, 0.1) != 1:
        return "a token with p > q is always accepted; is your ratio q/p?"
    if verify(p, q, 1, 0.3, 0.1) != 1:
        return "token 1 has p/q = 0.6, so u = 0.3 accepts it: compare u with the ratio, do not ask for p >= q"
    after_refusal = [verify(p, q, 1, 0.9, w) for w in (0.1, 0.3, 0.6, 0.95)]
    if after_refusal == [1, 1, 1, 1]:
        return "token 1 has p/q = 0.6, so u = 0.9 refuses it"
    if after_refusal == [0, 1, 2, 3]:
        return "after a refusal you draw from p; only tokens 2 and 3 have p > q, so only they can come"
    if not {*after_refusal} <= {2, 3}:
        came = min({*after_refusal} - {2, 3})
        return f"after this refusal only tokens 2 and 3 have p > q, but {came} came: is your residual q - p?"
    if after_refusal == [2, 2, 2, 2]:
        return "you always take the token that lacks most; the residual is (0, 0, 2/3, 1/3), and w = 0.95 picks token 3"
    if after_refusal != [2, 2, 2, 3]:
        return f"for w = 0.1, 0.3, 0.6, 0.95 you pick {after_refusal}: divide max(p - q, 0) by its sum, add up, compare"
    if verify(p, q, 1, 0.9, 0.0) != 2:
        return "w can be exactly 0: the first token whose sum *exceeds* w, so never one that the residual gives 0"
    if verify([0.0, 1.0], [0.5, 0.5], 0, 0.0, 0.5) == 0:
        return "u can be exactly 0, and then a token with p = 0 passes: the comparison must be strict"
    if verify(p, p, 1, 0.999, 0.5) != 1:
        return "where q equals p nothing is refused: the residual must not be asked for"
    if verify(*SHORT, 3, 0.999, 1 - 2**-53) != LAST:
        return "rounding can leave the last sum at w or below it: then take the last token that has p > q"
    for p, q in laws(1, 100):
        guesses = [x for x in range(len(p)) if q[x]]
        for x, u, w in product(guesses, (0.1517, 0.5531, 0.8513), (0.0503, 0.4937, 0.9311)):  # nowhere near a tie
            if verify([*map(float, p)], [*map(float, q)], x, u, w) != reference(p, q, x, u, w):
                return f"wrong for p = {said(p)}, q = {said(q)}, x = {x}, u = {u}, w = {w}"
    return None


# The sums of this residual, in floats, end below 1: at 1 - 2**-53.
SHORT, LAST = ([0.49, 0.05, 0.17, 0.29], [0.31, 0.03, 0.15, 0.51]), 2


def reference(p, q, x, u, w) -> int:
    if u * q[x] < p[x]:
        return x
    excess, total = [max(a - b, 0) for a, b in zip(p, q, strict=True)], 0
    for i, e in enumerate(excess):
        total += e
        if total > w * sum(excess):
            return i
    return max(i for i, e in enumerate(excess) if e)


@checker
def ex_3_3(tokens_per_round) -> str | None:
    """E[tokens] of a round: Leviathan et al. (2023), equation 1."""
    alpha, gamma = Fraction(7, 10), 3
    wanted, found = sum(alpha**i for i in range(gamma + 1)), tokens_per_round(alpha, gamma)
    if found == gamma * alpha:
        return "a refusal ends the round: guess 3 counts only if guesses 1 and 2 were accepted"
    if found == 1 + gamma * alpha:
        return "the target's own token is there, but a refusal ends the round: guess 3 needs guesses 1 and 2"
    if found == wanted - 1:
        return "these are the accepted guesses; each round also emits one token of the target's own"
    if found != wanted and not (isinstance(found, float) and abs(found - wanted) < 1e-9):
        return f"for alpha = 7/10 and gamma = 3 you say {found}; try gamma = 1 on paper, it is 1 + alpha"
    if isinstance(found, float):
        return "right, but a float: leave alpha a fraction, and the result is one, too"
    if tokens_per_round(Fraction(1), 4) != 5:
        return "wrong at alpha = 1, where all 4 guesses and the bonus are emitted: sum the powers of alpha"
    for alpha in (Fraction(0), Fraction(1, 3), Fraction(9, 10), Fraction(1)):
        for gamma in (0, 1, 2, 8):
            if tokens_per_round(alpha, gamma) != sum(alpha**i for i in range(gamma + 1)):
                return f"right for alpha = 7/10 and gamma = 3, but wrong for alpha = {alpha} and gamma = {gamma}"
    return None
