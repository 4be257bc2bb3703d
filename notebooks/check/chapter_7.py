"""Checkers of chapter 7. Each prints what is right, or what is likely wrong, and never raises."""

from fractions import Fraction as F
from itertools import product

import mutations as lab

from . import checker


@checker
def ex_7_1(blind) -> str | None:
    """p and q for which noise used twice has no bias in one step."""
    p, q = ([F(x).limit_denominator(10**6) for x in row] for row in blind())
    if len(p) != 3 or len(q) != 3:
        return f"three tokens, please: p has {len(p)}, q has {len(q)}"
    for name, row in (("p", p), ("q", q)):
        if sum(row) != 1:
            return f"{name} sums to {sum(row)}: write it in fractions that sum to 1"
        if min(row) <= 0:
            return f"{name} has a token with probability {min(row)}: every one must be above 0"
    refused = 1 - sum(map(min, p, q))
    if refused == 0:
        return "p equals q, so nothing is refused, and no bug of refusals can show"
    if refused < F(1, 4):
        return f"only {refused} of the guesses are refused: 1/4 is the least"
    law, residual = after_noise_twice(p, q)
    if bias := sum(abs(a - b) for a, b in zip(law, p, strict=True)) / 2:
        several = sum(x > 0 for x in residual) > 1
        hint = "; the residual has two tokens to choose from: what if it had one?" if several else ""
        return f"the bug shows: its bias is {bias}{hint}"
    return None


def after_noise_twice(p, q):
    """The law of one step, and the residual."""
    law = [min(a, b) for a, b in zip(p, q, strict=True)]
    for x in range(3):
        refused = max(q[x] - p[x], F(0))
        law = [a + refused * b for a, b in zip(law, lab.NoiseTwice().after_refusal(p, q, x), strict=True)]
    return law, lab.Right().after_refusal(p, q, 0)


@checker
def ex_7_2(loop) -> str | None:
    """A loop that just one test catches, and that is none of the page's."""
    if not (isinstance(loop, type) and issubclass(loop, lab.Right)):
        return "hand in the class itself, a subclass of lab.Right"
    if runs(loop) == runs(lab.ForgetsBonus):
        return "this is the page's forgotten bonus, which one test catches: find another"
    names = [" ".join(name.split()) for name, hit in zip(lab.TESTS, lab.caught(loop), strict=True) if hit]
    if not names and runs(loop) == runs(lab.Right):
        return "no test catches it: it seems to do what the right loop does"
    if not names:
        return "no test catches it, but it differs from the right loop: make it do harm that one test can see"
    if len(names) > 1:
        return f"{len(names)} tests catch it: {'; '.join(names)}. {hint(names)}"
    return None


def hint(names) -> str:
    if "cache = fresh pass" in names:
        return "Leave the caches alone"
    if "exact law, sequences" in names and "χ² test, 3,000 samples" in names:
        return "The law is off early: keep it right, or let it be wrong from the fourth token on only"
    return "Change less"


class Endless(Exception):
    pass


def runs(loop, number=10):
    """What it writes, and in how many passes, for some seeds."""

    class Watched(loop):
        asked = 0

        def propose(self, *args):
            self.asked += 1
            if self.asked > 50:
                raise Endless("50 rounds, and no 12 tokens: every round must write at least one")
            return super().propose(*args)

    found = []
    for seed in range(number):
        run = Watched().run(lab.target, lab.draft, 2, 12, lab.Sampling(seed))
        found.append((run.tokens, len(run.rounds)))
    return found


@checker
def ex_7_3(pieces) -> str | None:
    """A block cut behind its pads, in as few pieces as possible."""
    found = [[*piece] for piece in pieces([5, 9, 6, 7], 9)]
    if found == [[5, 9, 6, 7]]:
        return "6 and 7 are fed in one pass with the pad before them, so their positions are wrong: cut"
    if found == [[5], [9], [6], [7]]:
        return "right positions, but four passes: that gives the speed back; cut behind a pad only"
    if found == [[5], [9, 6, 7]]:
        return "you cut before the pad; it is what comes behind it that counts wrongly"
    if found == [[5], [6, 7]]:
        return "the pad is lost: here it is a token of the text, and must be fed, too"
    if [x for piece in found for x in piece] != [5, 9, 6, 7]:
        return f"[5, 9, 6, 7] with the pad 9 became {found}: no token may be lost or change places"
    for size in range(1, 6):
        for block in product((9, 5), repeat=size):
            for pad in (9, 5):
                if message := wrong(block, pad, [[*piece] for piece in pieces([*block], pad)]):
                    return message
    return None


def wrong(block, pad, found) -> str | None:
    right, piece = [], []
    for i, token in enumerate(block):
        piece.append(token)
        if token == pad or i == len(block) - 1:
            right.append(piece)
            piece = []
    if found == right:
        return None
    if [] in found:
        return f"{[*block]} with the pad {pad}: there is an empty piece in {found}, and a pass over nothing"
    return f"{[*block]} with the pad {pad} became {found}: right is {right}"
