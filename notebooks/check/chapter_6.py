"""Checkers of chapter 6. Each prints what is right, or what is likely wrong, and never raises."""

from math import isclose, prod
from statistics import mean

from . import checker


def tokens(alpha, gamma):
    return sum(alpha**i for i in range(gamma + 1))


def crossing(rising, level):
    """The α in [0, 1] at which a rising function of α reaches the level."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return high


CASES = [(1, 0.2, 1.3), (4, 0.2, 1.4), (8, 0.1, 1.7)]  # γ, c, v
HOPELESS = (4, 1.0, 1.2)


@checker
def ex_6_1(break_even) -> str | None:
    """The α at which 1 + α + … + α^γ = γc + v, or None."""
    found = [break_even(*case) for case in CASES]

    def like(answer):
        return all(x is not None and isclose(x, answer(*case), abs_tol=2e-3) for x, case in zip(found, CASES))

    right = [crossing(lambda a, g=g: tokens(a, g), g * c + v) for g, c, v in CASES]
    if None in found:
        return f"at (γ, c, v) = {CASES[found.index(None)]} a good enough draft does pay: α = 1 emits γ + 1 tokens"
    if like(lambda g, c, v: c):
        return "α > c tells whether *some* γ pays at v = 1; asked is this γ and this v: solve 1 + α + … + α^γ = γc + v"
    if like(lambda g, c, v: c + v - 1):
        return "c + v - 1 is the answer for γ = 1 only; a longer round emits 1 + α + … + α^γ and takes γc + v"
    if like(lambda g, c, v: crossing(lambda a: tokens(a, g), g * c + 1)):
        return "you take v = 1, as the paper does; the target's pass takes v"
    if like(lambda g, c, v: crossing(lambda a: tokens(a, g), c + v)):
        return "you pay for one draft step; a round takes γ of them"
    if like(lambda g, c, v: crossing(lambda a: 1 + g * a, g * c + v)):
        return "a refusal ends the round, so guess 3 counts only after 1 and 2: the tokens are 1 + α + … + α^γ"
    if like(lambda g, c, v: crossing(lambda a: tokens(a, g) - 1, g * c + v)):
        return "these are the accepted guesses; each round emits one token of the target's own, too"
    if not like(lambda g, c, v: right[CASES.index((g, c, v))]):
        said, wanted = ([f"{x:.3f}" for x in xs] for xs in (found, right))
        return f"for (γ, c, v) = {CASES} you say {said}, right is {wanted}: print tokens and time at your α"
    if break_even(*HOPELESS) is not None:
        return f"at (γ, c, v) = {HOPELESS} even α = 1 emits 5 tokens in the time of 5.2: the answer is None"
    return None


ROUNDS = [(0.7, 4, 0.2, 1.3), (0.9, 2, 0.1, 1.1)]  # α, γ, c, v


@checker
def ex_6_2(per_token) -> str | None:
    """γc and v, divided by the tokens of a round."""
    found = [tuple(per_token(*case)) for case in ROUNDS]

    def like(draft, target):
        wanted = [(draft(*case), target(*case)) for case in ROUNDS]
        return all(isclose(x, y, rel_tol=1e-6) for pair, right in zip(found, wanted) for x, y in zip(pair, right))

    def drafting(a, g, c, v):
        return g * c / tokens(a, g)

    def checking(a, g, c, v):
        return v / tokens(a, g)

    if like(lambda a, g, c, v: g * c, lambda a, g, c, v: v):
        return "this is the time of a round; a round emits 1 + α + … + α^γ tokens: divide by them"
    if like(lambda a, g, c, v: g * c / (g * c + v), lambda a, g, c, v: v / (g * c + v)):
        return "these are shares, which add up to 1; asked is the time per emitted token"
    if like(lambda a, g, c, v: g * c / (g + 1), lambda a, g, c, v: v / (g + 1)):
        return "you divide by γ + 1, as if all guesses were accepted"
    if like(lambda a, g, c, v: g * c / (tokens(a, g) - 1), lambda a, g, c, v: v / (tokens(a, g) - 1)):
        return "you divide by the accepted guesses; each round emits one token of the target's own, too"
    if like(lambda a, g, c, v: c / tokens(a, g), checking):
        return "a round has γ draft steps, not one"
    if like(drafting, lambda a, g, c, v: 1 / tokens(a, g)):
        return "the target's pass is over γ + 1 positions and takes v, not 1"
    if like(checking, drafting):
        return "first the draft's time, then the target's"
    if not like(drafting, checking):
        right = tuple(round(f(*ROUNDS[0]), 3) for f in (drafting, checking))
        return f"for (α, γ, c, v) = {ROUNDS[0]} you say {found[0]}, right is {right}"
    return None


PLACES = [[0.9, 0.5, 0.2], [0.3, 0.3, 0.9, 0.9]]


@checker
def ex_6_3(tokens_of) -> str | None:
    """1 + β₁ + β₁β₂ + …"""
    found = [tokens_of(list(betas)) for betas in PLACES]

    def like(answer):
        return all(isclose(x, answer(betas), rel_tol=1e-6) for x, betas in zip(found, PLACES))

    def right(betas):
        return sum(prod(betas[:i]) for i in range(len(betas) + 1))

    if like(lambda betas: tokens(mean(betas), len(betas))):
        return "the mean forgets the order; the first place decides whether the others are reached at all"
    if like(lambda betas: 1 + sum(betas)):
        return "a refusal ends the round: the second guess counts only if the first was accepted, so multiply"
    if like(lambda betas: right(betas) - 1):
        return "these are the accepted guesses; the round emits one token of the target's own, too"
    if like(lambda betas: right(betas[::-1])):
        return "you begin at the far end; the first guess comes first"
    if like(lambda betas: 1 + prod(betas) * len(betas)):
        return "a round need not accept all guesses to be worth something: add the chance of reaching each one"
    if not like(right):
        return f"for {PLACES[0]} you say {found[0]:.3f}, right is {right(PLACES[0]):.3f}: 1 + 0.9 + 0.9 · 0.5 + …"
    if not isclose(tokens_of([]), 1):
        return "without guesses a round is plain decoding: 1 token"
    return None
