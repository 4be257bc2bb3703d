"""Chapter 7's laboratory: one small speculative loop with hooks, twelve wrong versions, and six tests.

Everything is in fractions. A model is a function of (source, context) that gives three probabilities;
a cursor remembers what it was fed, as a cache does. A mutation is a subclass that overrides one hook.
"""

from fractions import Fraction as F
from math import log
from random import Random
from typing import NamedTuple

P0, Q0, Q1 = ([F(n, 10) for n in row] for row in ((5, 3, 2), (2, 5, 3), (6, 2, 2)))
SOURCE = (2, 1, 2, 1)


def turned(row, source, context):
    """The row, rotated by a number that depends on every token: a context-dependent model in one line."""
    shift = (sum(source) + sum(context) + len(context)) % 3
    return [row[(i - shift) % 3] for i in range(3)]


def target(source, context):
    return turned(P0, source, context)


def draft(source, context):
    return turned(Q1 if context else Q0, source, context)


def greedy(model):
    """The same model at temperature 0: one-hot on its likeliest token."""
    return lambda *seen: [F(i == max(range(3), key=model(*seen).__getitem__)) for i in range(3)]


class Cursor:
    """Feeds new tokens, gives one row per position, and can forget the last ones."""

    def __init__(self, model, source):
        self.model, self.source, self.fed = model, source, ()
        self.length = 0  # what the loop believes to be fed; rollback forgets the difference, as a cache does

    def row(self):
        return self.model(self.source, self.fed)

    def feed(self, tokens):
        self.fed += tuple(tokens)
        self.length += len(tokens)

    def rollback(self, length):
        self.fed = self.fed[: len(self.fed) - (self.length - length)]
        self.length = length


class Run(NamedTuple):
    tokens: tuple
    passes: int  # of the target
    fresh: bool  # did every row equal a fresh one?
    accepted: int
    examined: int  # drafted positions that the rule looked at


class Right:
    """Leviathan et al. (2023), Algorithm 1. Each method is a hook that a mutation overrides."""

    cursor = Cursor

    def run(self, p_model, q_model, gamma, length, draws, most=None):
        """Emit `length` tokens, or what `most` target passes give."""
        big, small = self.cursor(p_model, SOURCE), Cursor(q_model, SOURCE)
        out, passes, fresh, accepted, examined = (), 0, True, 0, 0
        self.begin()
        while len(out) < length and passes != most:
            drafted, claimed = (), []
            self.before_drafting(small, out)
            small.feed(out[small.length :])  # after full acceptance two: the last drafted token and the bonus
            ahead = min(gamma, length - len(out))
            for _ in range(ahead):
                q = small.row()
                fresh &= q == q_model(SOURCE, out + drafted)
                x = draws.token(self.drawn_from(q))
                if self.drops(q, x):
                    break
                drafted, claimed = (*drafted, x), [*claimed, self.claims(q)]
                if len(drafted) < ahead:
                    small.feed([x])  # the last one is fed when it is known to stand
            rows = []
            for i in range(len(drafted) + 1):
                rows.append(big.row())
                fresh &= rows[-1] == p_model(SOURCE, out + drafted[:i])
                big.feed(drafted[i : i + 1])
            passes += 1
            n = 0
            while n < len(drafted) and self.coin(draws, self.accept(rows[n], claimed[n], drafted[n])):
                n += 1
            kept, full = drafted[:n], n == len(drafted)
            accepted, examined = accepted + n, examined + n + (not full)
            big.rollback(len(out) + n)
            small.rollback(min(len(out) + n, small.length))
            after = rows[n] if full else self.after_refusal(rows[n], claimed[n])
            ends = len(out) + n == length or (full and n and self.forgets_bonus)
            new = () if ends else (draws.token(after),)
            out += kept + new
            big.feed(new)
        return Run(out, passes, fresh, accepted, examined)

    forgets_bonus = False

    def begin(self):
        pass

    def before_drafting(self, small, out):
        pass

    def drawn_from(self, q):
        return q

    def claims(self, q):
        return q

    def drops(self, q, x):
        return False

    def accept(self, p, q, x):
        return min(F(1), p[x] / q[x]) if q[x] else F(1)

    def after_refusal(self, p, q):
        return normalised([max(a - b, F(0)) for a, b in zip(p, q)], p)

    def coin(self, draws, heads):
        return draws.coin(heads)


def normalised(row, otherwise):
    return [x / sum(row) for x in row] if sum(row) else otherwise


class ResampleFromP(Right):
    def after_refusal(self, p, q):
        return p


class ResidualReversed(Right):
    def after_refusal(self, p, q):
        return normalised([max(b - a, F(0)) for a, b in zip(p, q)], p)


class RatioInverted(Right):
    def accept(self, p, q, x):
        return min(F(1), q[x] / p[x]) if p[x] else F(1)


class AcceptIfLikelier(Right):
    def accept(self, p, q, x):
        return F(p[x] >= q[x])


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

    def after_refusal(self, p, q):
        return p


class DropsUnsure(Right):
    def drops(self, q, x):
        return q[x] < F(3, 10)


class ForgetsBonus(Right):
    forgets_bonus = True


class DraftHole(Right):
    def before_drafting(self, small, out):
        small.length = max(len(out) - 1, 0)  # "all but the last token was fed"


class CropsSource(Right):
    class cursor(Cursor):
        def rollback(self, length):
            super().rollback(length)
            self.source = self.source[: length + 1]  # the start token, which a real cache holds too, counts


class OneSeed(Right):
    """One uniform u for all coins: each coin narrows the interval in which u must lie."""

    def begin(self):
        self.low, self.high = F(0), F(1)

    def coin(self, draws, heads):
        inside = min(max(heads, self.low), self.high)
        shown = draws.coin((inside - self.low) / (self.high - self.low))
        self.low, self.high = (self.low, inside) if shown else (inside, self.high)
        return shown


MUTATIONS = {
    "right": Right,
    "refusal: draw from p": ResampleFromP,
    "residual q − p": ResidualReversed,
    "ratio min(1, q/p)": RatioInverted,
    "accept iff p ≥ q": AcceptIfLikelier,
    "argmax draft, softmax q": ArgmaxDraft,
    "top-2 draft, raw q": TruncatedDraft,
    "one-hot q, refusal from p": OneHotThenP,
    "unsure draft token dropped": DropsUnsure,
    "bonus token forgotten": ForgetsBonus,
    "hole in the draft's cache": DraftHole,
    "source cropped on rollback": CropsSource,
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


def emitted_law(loop, gamma=2, length=2):
    """The exact law of the emitted tokens: {sequence: Fraction}."""
    law = {}
    for run, probability in every_path(lambda draws: loop().run(target, draft, gamma, length, draws)):
        law[run.tokens] = law.get(run.tokens, 0) + probability
    return law


def costs(loop, q_model=draft, passes=2):
    """Accepted per examined position and tokens per target pass, at gamma = 2, expected over a run's first passes."""
    accepted = examined = tokens = F(0)
    longest = 3 * passes
    for run, probability in every_path(lambda draws: loop().run(target, q_model, 2, longest, draws, passes)):
        accepted += probability * run.accepted
        examined += probability * run.examined
        tokens += probability * len(run.tokens)
    return accepted / examined, tokens / passes


def target_law(length=2):
    """The exact law of plain decoding."""
    law = {(): F(1)}
    for _ in range(length):
        law = {(*c, x): w * p for c, w in law.items() for x, p in enumerate(target(SOURCE, c))}
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
        plain += (greedy(target)(SOURCE, plain).index(1),)
    return loop().run(greedy(target), greedy(draft), 2, 12, Sampling(0)).tokens == plain


def cache_is_fresh(loop):
    return all(loop().run(target, draft, 2, 12, Sampling(seed)).fresh for seed in range(20))


def passes_when_equal(loop):
    """With draft = target nothing is refused: 12 tokens at gamma = 2 are 4 passes."""
    return all(loop().run(target, target, 2, 12, Sampling(seed)).passes == 4 for seed in range(20))


def chi_square(counts, law):
    """Pearson's statistic of counts against an exact law, and its limit at one in 100,000 (Wilson & Hilferty)."""
    n, freedom = sum(counts.values()), len(law) - 1
    statistic = sum((counts.get(x, 0) - n * float(w)) ** 2 / (n * float(w)) for x, w in law.items())
    return statistic, freedom * (1 - 2 / (9 * freedom) + 4.265 * (2 / (9 * freedom)) ** 0.5) ** 3


def g_statistic(counts, law):
    """2 Σ observed · ln(observed/expected), for which the limit of `chi_square` holds, too."""
    n = sum(counts.values())
    return 2 * sum(k * log(k / (n * float(law[x]))) for x, k in counts.items() if k)


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


def matrix():
    """{mutation: [caught by each test?]}"""
    return {name: [not test(loop) for test in TESTS.values()] for name, loop in MUTATIONS.items()}
