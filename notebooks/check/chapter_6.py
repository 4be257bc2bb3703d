"""Checkers of chapter 6. Each prints what is right, or what is likely wrong, and never raises."""

import random
from itertools import accumulate
from math import isclose
from operator import mul
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


PLACES = 4


def of_rounds(betas):
    """α as a loop measures it, accepted ÷ examined, and the tokens of a round."""
    reached = [1.0, *accumulate(betas, mul)]  # the chance to come to place 1, 2, …, and past the last one
    return sum(reached[1:]) / sum(reached[:-1]), sum(reached)


@checker
def ex_6_2(chances) -> str | None:
    """Four chances whose measured α is 0.8 and whose rounds give 3.05 tokens or fewer."""
    betas = [float(beta) for beta in chances()]
    if len(betas) != PLACES:
        return f"a round has four guesses; you return {len(betas)} chances"
    if not all(0 <= beta <= 1 for beta in betas):
        return f"{betas}: a chance lies between 0 and 1"
    alpha, emitted = of_rounds(betas)
    if isclose(min(betas), max(betas)) and isclose(alpha, 0.8, abs_tol=0.005):
        return "these are independent guesses, and the formula is right about them: let the places differ"
    if not isclose(alpha, 0.8, abs_tol=0.005):
        why = f"accepted ÷ examined is {alpha:.3f} on these rounds, not 0.8"
        if isclose(mean(betas), 0.8, abs_tol=0.005):
            return f"{why}: you made the plain mean 0.8, but guess 2 is examined only where guess 1 was accepted"
        return f"{why}; guess i is examined with the product of all chances before it"
    if emitted > tokens(0.8, PLACES):
        return f"α is 0.8, and a round gives {emitted:.2f} tokens, *more* than 3.36: put the hard guess elsewhere"
    if emitted > 3.05:
        return f"α is 0.8, but a round gives {emitted:.2f} tokens: make the hard place harder and the others surer"
    return None


GAMMAS = (1, 2, 4, 8)


def versions(alpha, spread, c, v, seed, outliers=0.0):
    """Draws around a truth; a share of outliers has a dear draft."""
    rng = random.Random(seed)
    found = []
    for _ in range(400):
        chance = min(1.0, max(0.0, rng.gauss(alpha, spread)))
        dear = 3.0 if rng.random() < outliers else 1.0
        found.append((chance, c * dear * rng.uniform(0.9, 1.1), {g: v(g) * rng.uniform(0.95, 1.05) for g in GAMMAS}))
    return found


TRUTHS = [
    versions(0.8, 0.12, 0.15, lambda g: 1 + 0.04 * g, 1),  # the mean likes a longer γ than caution does
    versions(0.85, 0.05, 0.12, lambda g: 1.1, 2, outliers=0.08),
    [(0.9, 0.05, {1: 1.0, 2: 1.0, 4: 1.6, 8: 2.4}), *versions(0.9, 0.03, 0.05, lambda g: 1.0 if g < 8 else 1.9, 3)],
]
LOST = versions(0.55, 0.1, 0.3, lambda g: 1.2, 4)  # on average a little faster than plain, in many draws slower


def factors(draws, gamma):
    return sorted(tokens(alpha, gamma) / (gamma * c + v[gamma]) for alpha, c, v in draws)


def chosen(score):
    return [max(GAMMAS, key=lambda gamma: score(draws, gamma)) for draws in TRUTHS]


def fifth(draws, gamma):
    found = factors(draws, gamma)
    return found[len(found) // 20]


def of_means(draws, gamma):
    alpha, c, v = mean(d[0] for d in draws), mean(d[1] for d in draws), mean(d[2][gamma] for d in draws)
    return tokens(alpha, gamma) / (gamma * c + v)


@checker
def ex_6_3(cautious) -> str | None:
    """The γ with the highest fifth percentile of its factor, or 0."""
    found = [cautious([*draws], [*GAMMAS]) for draws in TRUTHS]
    right = chosen(fifth)
    if found != right:
        if found == chosen(lambda draws, gamma: factors(draws[:1], gamma)[0]):
            return "you look at one draw; the others are as likely: take the factor of each of them"
        if found in (chosen(of_means), chosen(lambda draws, gamma: mean(factors(draws, gamma)))):
            return "this is the best γ on average; cautious is who asks for a low percentile of the factors"
        if found == chosen(lambda draws, gamma: factors(draws, gamma)[-1 - len(draws) // 20]):
            return "you take the lucky end: sort the factors from small to large, with five of 100 below"
        if found == chosen(lambda draws, gamma: factors(draws, gamma)[0]):
            return "this is the worst draw of all, and it gets worse with every further draw: leave five of 100 below"
        if found == chosen(
            lambda draws, gamma: fifth([(a, c, dict.fromkeys(GAMMAS, 1.0)) for a, c, v in draws], gamma)
        ):
            return "you take v = 1; each draw has a v for each γ"
        return f"on three sets of draws you choose γ = {found}, right is {right}: print the fifth percentile of every γ"
    lost = cautious([*LOST], [*GAMMAS])
    if lost != 0:
        return f"here even the best γ has a fifth percentile below 1, and you choose γ = {lost}: the answer is 0"
    if cautious([(1.0, 0.1, {1: 1.0})], [1]) != 1:
        return "a single draw, α = 1 and c = 0.1: γ = 1 is certainly faster, the answer is 1"
    return None
