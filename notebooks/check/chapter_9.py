"""Checkers of chapter 9. Each prints what is right, or what is likely wrong, and never raises."""

from functools import cache

from . import checker

GAMMAS = range(1, 11)
CASES = [  # drafts by name, v
    ({"large": (0.95, 0.5), "middle": (0.8, 0.15), "small": (0.5, 0.02)}, lambda gamma: 1.0 + 0.02 * gamma**2),
    ({"large": (0.95, 0.1), "middle": (0.9, 0.09), "small": (0.4, 0.01)}, lambda gamma: 1.0),
    ({"one": (0.9, 0.08), "free": (0.8, 0.0)}, lambda gamma: 1.8 if gamma < 3 else 2.2),
    ({"near": (0.9, 0.3), "far": (0.3, 0.01)}, lambda gamma: 1.0),
]
LOST = {"slow": (0.9, 0.8), "poor": (0.2, 0.2)}, lambda gamma: 1.2


def tokens(alpha: float, gamma: int) -> float:
    return sum(alpha**i for i in range(gamma + 1))


def best_ways(tokens=tokens, time=lambda c, gamma, v: gamma * c + v(gamma), gammas=GAMMAS):
    """The best (name, γ) of each case, with a part of the formula exchanged."""

    def best(drafts, v):
        ways = [(name, gamma) for name in drafts for gamma in gammas]
        return max(ways, key=lambda way: tokens(drafts[way[0]][0], way[1]) / time(drafts[way[0]][1], way[1], v))

    return [best(*case) for case in CASES]


def name_by(key):
    return [max(drafts, key=lambda name: key(*drafts[name])) for drafts, _ in CASES]


@checker
def ex_9_1(choose) -> str | None:
    """The draft and the γ with the largest speed-up, or None."""
    found = [choose(drafts, v, GAMMAS) for drafts, v in CASES]
    wanted = best_ways()
    if not all(isinstance(way, tuple) and len(way) == 2 for way in found):
        return (
            f"expected a pair of a name and a γ for these drafts, found {next(w for w in found if w not in wanted)!r}"
        )
    if found == best_ways(time=lambda c, gamma, v: gamma * c + 1):
        return "you take v = 1; here the target's pass takes v(γ)"
    if found == best_ways(time=lambda c, gamma, v: gamma * c + v(1)):
        return "you take v at one γ only; ask v(γ) anew for every γ"
    if found == best_ways(time=lambda c, gamma, v: c + v(gamma)):
        return "a round drafts γ times: it takes γc + v(γ)"
    if found == best_ways(tokens=lambda alpha, gamma: 1 + gamma * alpha):
        return "a refusal ends the round, so guess 3 counts only after 1 and 2: the tokens are 1 + α + … + α^γ"
    if found == best_ways(tokens=lambda alpha, gamma: tokens(alpha, gamma) - 1):
        return "these are the accepted guesses; each round emits one token of the target's own, too"
    if any(found == best_ways(gammas=[gamma]) for gamma in GAMMAS):
        return f"you compare all drafts at γ = {found[0][1]}; each draft has a best γ of its own: try all pairs"
    names = [name for name, _ in found]
    if names == name_by(lambda alpha, c: alpha):
        return "this is the draft that is most often right; divide its tokens by the time of its rounds"
    if names == name_by(lambda alpha, c: -c):
        return "this is the cheapest draft; but a guess helps only if it is accepted: divide tokens by time"
    if found != wanted:
        return f"in four cases you choose {found}, right is {wanted}; print the speed-up of every pair"
    lost = choose(*LOST, GAMMAS)
    if lost is not None:
        return f"for {LOST[0]} and v = 1.2 every γ is slower than plain decoding: the answer is None, not {lost!r}"
    return None


class Script:
    """A draft that says what is written here; it notes what it was asked."""

    def __init__(self, *said: tuple[int, float]):
        self.said, self.asked = said, []

    def __call__(self, tokens) -> tuple[int, float]:
        self.asked.append(list(tokens))
        if len(self.asked) > len(self.said):
            raise RuntimeError(f"step was called {len(self.asked)} times")
        return self.said[len(self.asked) - 1]


EOS = 1
GUESSES = ((11, 0.9), (12, 0.8), (13, 0.5), (14, 0.9), (15, 0.7), (16, 0.3))  # products .9, .72, .36, .324, .2268, …


@checker
def ex_9_2(draft) -> str | None:
    """Draft until the product of the probabilities falls below least; the last guess is handed over."""
    script = Script(*GUESSES)
    found = list(draft(script, 6, 0.4, EOS))
    if found == [11, 12]:
        return "the guess that ended the round is missing: whether it is handed over must not depend on what it is"
    if found == [11, 12, 13, 14]:
        return "one guess too many: stop behind the guess that takes the product below `least`, before the next step"
    if found in ([11, 12, 13, 14, 15], [11, 12, 13, 14, 15, 16]):
        return "you look at one guess at a time (0.9, 0.8, 0.5, …); multiply: 0.9, 0.72, 0.36, and 0.36 is below 0.4"
    if found != [11, 12, 13]:
        return f"for probabilities 0.9, 0.8, 0.5, 0.9, … and least = 0.4 expected [11, 12, 13], found {found}"
    if script.asked != [[], [11], [11, 12]]:
        return f"step is to be told the guesses so far; you told it {script.asked}"
    if (found := list(draft(Script(*GUESSES), 6, 0.95, EOS))) != [11]:
        return f"if already the first guess is below least, it alone is handed over; found {found}"
    if (found := list(draft(Script(*GUESSES), 2, 0.4, EOS))) != [11, 12]:
        return f"at most n = 2 guesses were asked for, found {found}"
    if (found := list(draft(Script(*GUESSES), 6, 0.72 * 0.5, EOS))) not in ([11, 12, 13, 14], [11, 12, 13]):
        return f"least = 0.36 stops at the third or the fourth guess, found {found}"
    if (found := list(draft(Script((11, 0.9), (EOS, 0.9), (13, 0.9)), 3, 0.1, EOS))) != [11, EOS]:
        return f"nothing may follow an EOS: expected [11, {EOS}], found {found}"
    if (found := list(draft(Script(*GUESSES), 0, 0.4, EOS))) != []:
        return f"with n = 0 nothing is drafted, found {found}"
    if (found := list(draft(Script(*GUESSES[:3]), 3, 0.0, EOS))) != [11, 12, 13]:
        return f"with least = 0 the round is full, found {found}"
    return None


@cache
def pocket_pair():
    import specdec_lite as sd

    return sd.load_pair()


def copied(before: str, after: str) -> float:
    """Tokens per target pass of the copy of an earlier translation."""
    import specdec_lite as sd

    target, options = pocket_pair().target, {"temperature": 0.0, "max_new_tokens": 60}
    earlier = sd.autoregressive_generate(target, before, **options).token_ids
    run = sd.speculative_generate(target, sd.CopyDraft(earlier), after, gamma=16, **options)
    return run.tokens_per_target_pass


@checker
def ex_9_3(edit) -> str | None:
    """A sentence, and another with one word exchanged, so that the copy gets fewer than 1.5 tokens per pass."""
    found = edit()
    if not (isinstance(found, (tuple, list)) and len(found) == 2 and all(isinstance(each, str) for each in found)):
        return f"expected two sentences, found {found!r:.60}"
    before, after = (each.split() for each in found)
    if min(len(before), len(after)) < 8:
        return f"a sentence has {min(len(before), len(after))} words; at least eight, or there is nothing to copy"
    if len(before) != len(after):
        return f"{len(before)} words became {len(after)}: exchange a word, and leave the others where they are"
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    if len(changed) != 1:
        return f"{len(changed)} words differ: exchange exactly one"
    got = copied(*found)
    if got >= 1.5:
        return f"“{changed[0]}”: {got:.2f} tokens per target pass, so much was copied; which word decides more?"
    return None
