"""Chapter 7's laboratory: one small speculative loop with hooks, sixteen wrong versions, and six tests.

Everything is in fractions. A model is a function of (source, text, position) that gives three probabilities;
a cursor remembers what it was fed, as a cache does. A mutation is a subclass that overrides a hook or two.
"""

from fractions import Fraction as F
from functools import cache
from itertools import accumulate, pairwise
from math import prod
from random import Random
from typing import NamedTuple

P0, Q0, Q1 = ([F(n, 10) for n in row] for row in ((5, 3, 2), (2, 1, 7), (6, 2, 2)))
SOURCE = (2, 1, 2, 1)
START, PAD = 0, 2  # every text begins with the one; the other is a token like any other, but see PadUncounted


def turned(row, source, text, position):
    """The row, rotated by a number that depends on every token: a context-dependent model in one line."""
    shift = (sum(source) + sum(text) + (len(text) - 1 if position is None else position)) % 3
    return [row[(i - shift) % 3] for i in range(3)]


@cache
def target(source, text, position=None):
    return turned(P0, source, text, position)


@cache
def draft(source, text, position=None):
    """Poor behind a token 0, and so at the start; else good."""
    return turned(Q1 if text[-1] else Q0, source, text, position)


@cache
def greedy(model):
    """The same model at temperature 0: one-hot on its likeliest token."""
    return cache(lambda *seen: [F(i == max(range(3), key=model(*seen).__getitem__)) for i in range(3)])


class Cursor:
    """A model and its cache. `length` is what the loop believes to be in there."""

    def __init__(self, model):
        self.model, self.source, self.fed, self.length = model, SOURCE, (), 0

    def feed(self, tokens):
        """One pass over new tokens: for each the row that says what follows it."""
        rows = []
        for i, token in enumerate(tokens):
            self.fed += (token,)
            rows.append(self.model(self.source, self.fed, self.position(tokens, i)))
        self.length += len(tokens)
        return rows

    def position(self, tokens, i):
        return self.length + i

    def rollback(self, length):
        """Forget the last tokens: as many as `length` goes down."""
        self.fed = self.fed[: len(self.fed) - (self.length - length)]
        self.length = length


class Round(NamedTuple):
    text: tuple  # at its beginning
    guesses: tuple
    q: list  # the draft's rows, as its cache gave them
    p: list  # the target's: one more
    n: int  # kept

    @property
    def examined(self):
        """The drafted positions that were looked at."""
        return min(self.n + 1, len(self.guesses))


class Run(NamedTuple):
    tokens: tuple
    rounds: list  # each is one target pass


class Right:
    """Leviathan et al. (2023), Algorithm 1. Each method is a hook that a mutation overrides."""

    cursor = Cursor  # the target's

    def run(self, p_model, q_model, gamma, length, draws, most=None):
        """Write `length` tokens, or as many as `most` target passes give."""
        text, rounds, end = (START,), [], length + 1
        big, small = self.cursor(p_model), Cursor(q_model)
        while len(text) < end and len(rounds) != most:
            ahead = min(gamma, end - len(text))
            guesses, seen = self.propose(small, text, ahead, draws)
            p = big.feed(text[big.length :] + guesses)  # the wide pass
            q = [self.claims(row) for row in seen]
            n = self.cut(p, q, guesses, draws)
            rounds.append(Round(text, guesses, seen, p, n))
            text += guesses[:n]
            if len(text) < end and self.adds_own(n, guesses):
                text += (draws.token(self.after(p, q, guesses, n)),)
            for cursor in (big, small):
                cursor.rollback(min(cursor.length, len(text) - 1))
        return Run(text[1:], rounds)

    def propose(self, small, text, ahead, draws):
        """Guesses, and the row that each was drawn from."""
        guesses, rows = (), []
        while len(guesses) < ahead:
            q = small.feed((text + guesses)[small.length :])[-1]
            x = draws.token(self.drawn_from(q))
            if self.drops(q, x):
                break
            guesses, rows = (*guesses, x), [*rows, q]
        return guesses, rows

    def cut(self, p, q, guesses, draws):
        """How many guesses stay: the heads before the first tails."""
        n = 0
        while n < len(guesses):
            if not self.coin(draws, self.accept(p[n], q[n], guesses[n])):
                break
            n += 1
        return n

    def accept(self, p, q, x):
        return min(F(1), p[x] / q[x]) if q[x] else F(0)

    def after(self, p, q, guesses, n):
        """The bonus, or the residual."""
        if n == len(guesses):
            return p[n]
        return self.after_refusal(p[n], q[n], guesses[n])

    def after_refusal(self, p, q, x):
        return normalised([max(a - b, F(0)) for a, b in zip(p, q)], p)

    def drawn_from(self, q):
        return q

    def claims(self, q):
        return q

    def drops(self, q, x):
        return False

    def adds_own(self, n, guesses):
        return True

    def coin(self, draws, heads):
        return draws.coin(heads)


def normalised(row, otherwise):
    return [x / sum(row) for x in row] if sum(row) else otherwise


class Block(Right):
    """Sun et al. (2024), Algorithm 2: the guesses are judged together. Right, too."""

    def ratios(self, p, q, guesses):
        return [a[x] / b[x] for a, b, x in zip(p, q, guesses)]

    def weights(self, p, q, guesses):
        """How likely the first i guesses can all be kept."""
        cap = lambda w, ratio: min(F(1), w * ratio)  # noqa: E731
        return [*accumulate(self.ratios(p, q, guesses), cap, initial=F(1))]

    def cut(self, p, q, guesses, draws):
        """The place of the last heads."""
        w, n = self.weights(p, q, guesses), 0
        for i in range(1, len(guesses)):
            z = sum(max(w[i] * a - b, F(0)) for a, b in zip(p[i], q[i]))
            if self.coin(draws, z / (z + 1 - w[i]) if w[i] < 1 else F(1)):
                n = i
        return len(guesses) if self.coin(draws, self.last(p, q, guesses)) else n

    def last(self, p, q, guesses):
        return self.weights(p, q, guesses)[-1]

    def after(self, p, q, guesses, n):
        if n == len(guesses):
            return p[n]
        w = self.weights(p, q, guesses)[n]
        return normalised([max(w * a - b, F(0)) for a, b in zip(p[n], q[n])], p[n])


class ResampleFromP(Right):
    def after_refusal(self, p, q, x):
        return p


class ResidualReversed(Right):
    def after_refusal(self, p, q, x):
        return normalised([max(b - a, F(0)) for a, b in zip(p, q)], p)


class NoiseTwice(Right):
    def after_refusal(self, p, q, x):
        """The uniform that drew x draws here, too: it lies in x's part of [0, 1)."""
        low, high = sum(q[:x]), sum(q[: x + 1])
        ends = accumulate(super().after_refusal(p, q, x), initial=F(0))
        inside = [min(max(end, low), high) for end in ends]
        return [(b - a) / (high - low) for a, b in pairwise(inside)]


class RatioInverted(Right):
    def accept(self, p, q, x):
        return min(F(1), q[x] / p[x]) if p[x] else F(1)


class AcceptIfLikelier(Right):
    def accept(self, p, q, x):
        return F(p[x] >= q[x])


class FirstUnchecked(Right):
    def cut(self, p, q, guesses, draws):
        """How many guesses stay: the heads before the first tails."""
        n = min(1, len(guesses))
        while n < len(guesses):
            if not self.coin(draws, self.accept(p[n], q[n], guesses[n])):
                break
            n += 1
        return n


class UncappedLast(Block):
    def last(self, p, q, guesses):
        return min(F(1), prod(self.ratios(p, q, guesses)))


class ArgmaxDraft(Right):
    def drawn_from(self, q):
        return [F(i == q.index(max(q))) for i in range(3)]


class TruncatedDraft(Right):
    def drawn_from(self, q):
        kept = sorted(range(3), key=lambda i: -q[i])[:2]
        return normalised([q[i] if i in kept else F(0) for i in range(3)], q)


class OneHotThenP(ArgmaxDraft):
    def claims(self, q):
        return self.drawn_from(q)

    def after_refusal(self, p, q, x):
        return p


class DropsUnsure(Right):
    def drops(self, q, x):
        return q[x] < F(3, 10)


class ForgetsBonus(Right):
    def adds_own(self, n, guesses):
        return n < len(guesses)


class DraftHole(Right):
    def propose(self, small, text, ahead, draws):
        small.length = len(text) - 1  # "all but the last token was fed"
        return super().propose(small, text, ahead, draws)


class CropsSource(Right):
    class cursor(Cursor):
        def rollback(self, length):
            super().rollback(length)
            self.source = self.source[:length]


class PadUncounted(Right):
    class cursor(Cursor):
        def position(self, tokens, i):
            return self.length + sum(token != PAD for token in tokens[:i])


class OneSeed(Right):
    low = F(0)  # the one uniform lies between these, as far as the coins have told
    high = F(1)

    def coin(self, draws, heads):
        inside = min(max(heads, self.low), self.high)
        shown = draws.coin((inside - self.low) / (self.high - self.low))
        self.low, self.high = (self.low, inside) if shown else (inside, self.high)
        return shown


MUTATIONS = {
    "right": Right,
    "refusal: draw from p": ResampleFromP,
    "residual q − p": ResidualReversed,
    "noise used twice": NoiseTwice,
    "ratio min(1, q/p)": RatioInverted,
    "accept iff p ≥ q": AcceptIfLikelier,
    "first guess unchecked": FirstUnchecked,
    "block rule, last test uncapped": UncappedLast,
    "argmax draft, softmax q": ArgmaxDraft,
    "top-2 draft, raw q": TruncatedDraft,
    "one-hot q, refusal from p": OneHotThenP,
    "unsure draft token dropped": DropsUnsure,
    "bonus token forgotten": ForgetsBonus,
    "hole in the draft's cache": DraftHole,
    "source cropped on rollback": CropsSource,
    "pad not counted in a block": PadUncounted,
    "one uniform for all coins": OneSeed,
}


class Branching:
    """Draws that follow a script, note the roads not taken, and multiply up the probability."""

    def __init__(self, script=()):
        self.script, self.taken, self.unexplored, self.probability = script, (), [], F(1)

    def take(self, outcomes):
        """One of the (outcome, probability) that can happen."""
        possible = [(outcome, probability) for outcome, probability in outcomes if probability]
        here = len(self.taken)
        if here < len(self.script):
            choice = self.script[here]
        else:
            choice = 0
            self.unexplored += [(*self.taken, other) for other in range(1, len(possible))]
        self.taken += (choice,)
        outcome, probability = possible[choice]
        self.probability *= probability
        return outcome

    def token(self, row):
        return self.take(enumerate(row))

    def coin(self, heads):
        return self.token([1 - heads, heads]) == 1


class Sampling:
    """Draws from a seeded generator."""

    def __init__(self, seed):
        self.random = Random(seed)

    def token(self, row):
        return self.random.choices(range(len(row)), [float(x) for x in row])[0]

    def coin(self, heads):
        return self.random.random() < heads


def every_path(run, branching=Branching):
    """All results that run(draws) can have, each with its probability."""
    scripts = [()]
    while scripts:
        draws = branching(scripts.pop())
        yield run(draws), draws.probability
        scripts += draws.unexplored


@cache
def emitted_law(loop, gamma=2, length=2, models=(target, draft)):
    """The exact law of the emitted tokens: {text: Fraction}."""
    law = {}
    for run, probability in every_path(lambda draws: loop().run(*models, gamma, length, draws)):
        law[run.tokens] = law.get(run.tokens, 0) + probability
    return law


def costs(loop, q_model=draft, passes=2):
    """Accepted per examined position and tokens per target pass, at gamma = 2, expected over a run's first passes."""
    accepted = examined = tokens = F(0)
    longest = 3 * passes
    for run, probability in every_path(lambda draws: loop().run(target, q_model, 2, longest, draws, passes)):
        accepted += probability * sum(each.n for each in run.rounds)
        examined += probability * sum(each.examined for each in run.rounds)
        tokens += probability * len(run.tokens)
    return accepted / examined, tokens / passes


def target_law(length=2, model=target):
    """The exact law of plain decoding."""
    law = {(): F(1)}
    for _ in range(length):
        law = {(*c, x): w * p for c, w in law.items() for x, p in enumerate(model(SOURCE, (START, *c)))}
    return law


def distance(a, b):
    """Total variation, a Fraction."""
    return sum(abs(a.get(x, F(0)) - b.get(x, F(0))) for x in {*a, *b}) / 2


def one_step(loop):
    return distance(emitted_law(loop, 1, 1), target_law(1)) == 0


def sequences(loop):
    return distance(emitted_law(loop, 2, 4), target_law(4)) == 0


def greedy_parity(loop):
    plain = ()
    for _ in range(12):
        plain += (greedy(target)(SOURCE, (START, *plain)).index(1),)
    return loop().run(greedy(target), greedy(draft), 2, 12, Sampling(0)).tokens == plain


def is_fresh(each, p_model=target, q_model=draft):
    """Does each row of a round equal that of a pass without a cache?"""
    texts = [each.text + each.guesses[:i] for i in range(len(each.guesses) + 1)]
    fresh = [[model(SOURCE, text) for text in texts] for model in (p_model, q_model)]
    return each.p == fresh[0] and each.q == fresh[1][: len(each.q)]


def cache_is_fresh(loop):
    runs = (loop().run(target, draft, 2, 12, Sampling(seed)) for seed in range(20))
    return all(is_fresh(each) for run in runs for each in run.rounds)


def passes_when_equal(loop):
    """With draft = target nothing is refused: 12 tokens at gamma = 2 are 4 passes."""
    return all(len(loop().run(target, target, 2, 12, Sampling(seed)).rounds) == 4 for seed in range(20))


def chi_square(counts, law):
    """Pearson's statistic of counts against an exact law, and its limit at one in 100,000 (Wilson & Hilferty)."""
    n, freedom = sum(counts.values()), len(law) - 1
    statistic = sum((counts.get(x, 0) - n * float(w)) ** 2 / (n * float(w)) for x, w in law.items())
    return statistic, freedom * (1 - 2 / (9 * freedom) + 4.265 * (2 / (9 * freedom)) ** 0.5) ** 3


def chi_square_test(loop, samples=3000):
    counts, draws = {}, Sampling(1)
    for _ in range(samples):
        tokens = loop().run(target, draft, 2, 3, draws).tokens
        counts[tokens] = counts.get(tokens, 0) + 1
    statistic, limit = chi_square(counts, target_law(3))
    return statistic < limit


TESTS = {
    "exact law,\none step": one_step,
    "exact law,\nsequences": sequences,
    "greedy\nparity": greedy_parity,
    "cache =\nfresh pass": cache_is_fresh,
    "passes when\ndraft = target": passes_when_equal,
    "χ² test,\n3,000 samples": chi_square_test,
}


def caught(loop):
    """By each test?"""
    return [not test(loop) for test in TESTS.values()]


def matrix():
    """{mutation: [caught by each test?]}"""
    return {name: caught(loop) for name, loop in MUTATIONS.items()}
