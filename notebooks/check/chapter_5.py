"""Checkers of chapter 5. Each prints what is right, or what is likely wrong, and never raises."""

import random
import statistics
from math import isclose

from . import checker

ROUNDS = [(4, 4), (4, 1), (4, 0), (4, 2), (2, 2)]  # drafted, accepted: 18 drafted, 12 examined, 9 accepted


@checker
def ex_5_1(acceptance_rate) -> str | None:
    """Accepted ÷ examined, from (drafted, accepted) of each round."""
    found = acceptance_rate(ROUNDS)
    if isclose(found, 9 / 18):
        return "this divides by all that was drafted; after a refusal nobody looks: divide by the examined positions"
    if isclose(found, 9 / 14):
        return "you count a refusal in every round; where all guesses were accepted there was none"
    if isclose(found, 9 / 13):
        return "the last round drafted 2, not 4: compare what was accepted with that round's own number"
    if isclose(found, 14 / 5):
        return "these are tokens per target pass, a number of at least 1; α is a share of the examined guesses"
    if any(isclose(found, statistics.mean(a / n for a, n in pairs)) for pairs in (by_drafted(), by_examined())):
        return "you average the ratios of rounds, so a round of one examined guess weighs like one of four: divide sums"
    if not isclose(found, 9 / 12):
        return f"for {ROUNDS} you say {found:.2f}; 9 were accepted, and what was examined can be counted by hand"
    return None


def by_drafted():
    return [(accepted, drafted) for drafted, accepted in ROUNDS]


def by_examined():
    return [(accepted, min(accepted + 1, drafted)) for drafted, accepted in ROUNDS]


GAMMAS = range(1, 11)
CASES = [  # α, c, v; in the last one no γ pays
    (0.9, 0.3, lambda gamma: 1.0),
    (0.8, 0.1, lambda gamma: 1.4 + 0.1 * gamma if gamma else 1.0),
    (0.8, 0.05, lambda gamma: 1.0 if gamma < 4 else 3.0),
    (0.3, 0.5, lambda gamma: 1.0),
]


def choices(tokens=lambda alpha, gamma: sum(alpha**i for i in range(gamma + 1)), v=lambda v, gamma: v(gamma)):
    """The best γ of each case, with a part of the wall-time factor exchanged."""

    def factor(gamma, alpha, c, width):
        return tokens(alpha, gamma) / (gamma * c + v(width, gamma))

    return [max(GAMMAS, key=lambda gamma: factor(gamma, *case)) for case in CASES[:-1]]


@checker
def ex_5_2(best) -> str | None:
    """The γ with the largest wall-time factor, or 0."""
    *found, lost = (best(*case, GAMMAS) for case in CASES)
    if found == [max(GAMMAS)] * len(found):
        return "more guesses always emit more tokens, and take more time: divide the tokens by γc + v(γ)"
    if found == choices(tokens=lambda alpha, gamma: 1 + gamma * alpha):
        return "a refusal ends the round, so guess 3 counts only after 1 and 2: the tokens are 1 + α + … + α^γ"
    if found == choices(tokens=lambda alpha, gamma: sum(alpha**i for i in range(1, gamma + 1))):
        return "these are the accepted guesses; each round emits one token of the target's own, too"
    if found == choices(v=lambda v, gamma: 1):
        return "you take v = 1, as the paper does; here a target pass over γ + 1 positions takes v(γ)"
    if found == choices(v=lambda v, gamma: v(1)):
        return "you take v at one γ only; ask v(γ) anew for every γ"
    if found != choices():
        return f"in three cases you choose γ = {found}, right is {choices()}; print the factor for every γ"
    if lost != 0:
        return "at α = 0.3, c = 0.5, v = 1 every γ is slower than plain decoding: the answer is 0"
    return None


BASE = [2.1, 0.9, 3.4, 1.6, 1.2, 2.8, 0.5, 6.2]  # seconds of eight paragraphs
SPEC = [1.8, 0.5, 2.5, 1.7, 0.8, 2.1, 0.2, 6.0]
PICKS = [random.Random(i).choices(range(8), k=8) for i in range(1000)]


def of_sums(pick):
    return sum(BASE[i] for i in pick) / sum(SPEC[i] for i in pick)


def ends(ratio, share=0.025):
    """Both ends of the sorted ratios, less this share at each."""
    ratios = sorted(ratio(pick) for pick in PICKS)
    cut = round(share * len(ratios))
    return ratios[cut], ratios[-1 - cut]


@checker
def ex_5_3(interval) -> str | None:
    """The paired bootstrap's 95 % interval of a ratio of sums."""
    found = tuple(interval(BASE, SPEC, PICKS))

    def close(wanted):
        return all(isclose(a, b, rel_tol=0.005) for a, b in zip(found, wanted, strict=True))

    single = [b / s for b, s in zip(BASE, SPEC, strict=True)]
    if close((min(single), max(single))):
        return "this is the spread of single paragraphs; asked is that of the ratio of all: sum over each pick first"
    if close(ends(lambda pick: statistics.mean(single[i] for i in pick))):
        return "you average ratios, so a short paragraph weighs like a long one: divide the sums"
    if close(ends(lambda pick: 1 / of_sums(pick))):
        return "upside down: a speed-up is plain seconds over speculative seconds"
    if close(ends(lambda pick: of_sums({*pick}))):
        return "a paragraph that a pick names twice counts twice: sum over the pick, not over its set"
    if close(ends(lambda pick: sum(BASE[i] for i in pick) / sum(SPEC))):
        return "not paired: a paragraph that is drawn comes with its plain *and* its speculative seconds"
    if close(ends(of_sums, 0)):
        return "these are the extremes, which widen with every further pick: leave 2.5 % out at each end"
    if close(ends(of_sums, 0.05)):
        return "you leave 5 % out at each end, which is a 90 % interval: leave 2.5 %"
    if not close(ends(of_sums)):
        low, high = ends(of_sums)
        return f"you say {found[0]:.2f} to {found[1]:.2f}, right is {low:.2f} to {high:.2f}: print the sorted ratios"
    return None
