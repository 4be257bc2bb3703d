"""Checkers of appendix A1. Each prints what is right, or what is likely wrong, and never raises."""

from math import isclose

from . import checker

KEPT = 2


def lumped(p, q):
    """The overlap if all but the target's likeliest tokens count as one."""
    first = sorted(range(len(p)), key=lambda x: -p[x])[:KEPT]
    others = [1 - sum(row[x] for x in first) for row in (p, q)]
    return sum(min(p[x], q[x]) for x in first) + min(others)


def overlap(p, q):
    return sum(map(min, p, q))


@checker
def ex_A1_1(flattered) -> str | None:
    """Two distributions over five tokens that agree when lumped, and overlap in 0.7 or less."""
    p, q = flattered()
    for name, row in (("p", p), ("q", q)):
        if len(row) != 5:
            return f"{name} has {len(row)} numbers: expected 5, one for each token"
        if min(row) < 0 or not isclose(sum(row), 1, abs_tol=1e-9):
            return f"{name} = {list(row)} is no distribution: its numbers must be at least 0 and sum to 1"
    seen, true = lumped(p, q), overlap(p, q)
    if true > 0.7 + 1e-9 and seen < 1 - 1e-9:
        return f"lumped, they share {seen:.2f}, and really {true:.2f}: expected 1 and at most 0.7"
    if seen < 1 - 1e-9:
        return (
            f"the lumped overlap is {seen:.2f}: p and q must agree on p's {KEPT} likeliest tokens, "
            "and so on what is left for the others together"
        )
    if true > 0.7 + 1e-9:
        most = sum(sorted(p)[-KEPT:])
        if most > 0.7:
            return f"p's {KEPT} likeliest tokens hold {most:.2f}, and all of that is shared: let them hold less"
        return f"the true overlap is {true:.2f}: give q's share of the others to other tokens than p does"
    return None


LAWS = [
    [0.4, 0.3, 0.1, 0.1, 0.05, 0.05],
    [0.05, 0.3, 0.1, 0.05, 0.4, 0.1],
    [0.96, 0.01, 0.01, 0.01, 0.01],
    [0.2, 0.2, 0.2, 0.2, 0.2],
    [0.5, 0.25, 0.125, 0.0625, 0.0625],
    [0.6, 0.4, 0.0, 0.0],
]


def shared(p, k):
    """The overlap of p with a draft that is even over p's k likeliest tokens."""
    return sum(min(x, 1 / k) for x in sorted(p)[-k:])


def best(p):
    return max(range(1, len(p) + 1), key=lambda k: (round(shared(p, k), 12), -k))


@checker
def ex_A1_2(best_k) -> str | None:
    """How many tokens an even draft should cover for the largest overlap."""
    found = [best_k(list(p)) for p in LAWS]
    wanted = [best(p) for p in LAWS]

    def like(answer):
        return found == [answer(p) for p in LAWS]

    if found == wanted:
        return None
    if like(len):
        return "all tokens, always: that is what cross-entropy asks for. Count the overlap of fewer, too"
    if like(lambda p: 1):
        return "one token, always: right for an argmax, but [0.2, 0.2, 0.2, 0.2, 0.2] shares only 0.2 with it"
    if like(lambda p: max(range(1, len(p) + 1), key=lambda k: round(sum(min(x, 1 / k) for x in p[:k]), 12))):
        return "you take the first k tokens of p; take its k likeliest, wherever they are"
    if like(lambda p: max(range(1, len(p) + 1), key=lambda k: round(sum(sorted(p)[-k:]), 12))):
        return "you add up p alone; the even draft gives each of its tokens 1/k, and min(p, 1/k) is shared"
    if like(lambda p: best(p) - 1):
        return "one too few: does your k count from 0?"
    if like(lambda p: max(range(1, len(p)), key=lambda k: (round(shared(p, k), 12), -k))):
        return "k may be as large as the vocabulary: look at [0.2, 0.2, 0.2, 0.2, 0.2]"
    if like(lambda p: max(range(1, len(p) + 1), key=lambda k: (round(shared(p, k), 12), k))):
        return "several k may share equally much; the smallest of them was asked for"
    at = next(i for i, (mine, right) in enumerate(zip(found, wanted)) if mine != right)
    return (
        f"for p = {LAWS[at]} you say k = {found[at]!r}. "
        f"The overlaps of k = 1, 2, … are {[round(shared(LAWS[at], k), 3) for k in range(1, len(LAWS[at]) + 1)]}"
    )


# (α, MB) of drafts; the target's MB; ms of every pass beside reading; MB read per ms
CASES = [
    ([(0.75, 12.4), (0.85, 16.6), (0.9, 20.8)], 58.5, 0.0, 10.0),
    ([(0.75, 12.4), (0.85, 16.6), (0.9, 20.8)], 58.5, 4.0, 10.0),
    ([(0.6, 5.0), (0.9, 40.0)], 58.5, 1.0, 10.0),
    ([(0.3, 30.0), (0.5, 50.0)], 60.0, 2.0, 10.0),
    ([(0.8, 20.0), (0.8, 10.0)], 100.0, 0.5, 5.0),
]


def tokens(alpha, gamma):
    return sum(alpha**i for i in range(gamma + 1))


def ms_per_token(draft, target_mb, overhead, rate, gamma):
    alpha, mb = draft
    return (gamma * (overhead + mb / rate) + overhead + target_mb / rate) / tokens(alpha, gamma)


def choice(drafts, target_mb, overhead, rate, cost=ms_per_token):
    """The number of the cheapest draft and its γ, or None where plain decoding is cheaper."""
    ways = [
        (cost(draft, target_mb, overhead, rate, gamma), i, gamma)
        for i, draft in enumerate(drafts)
        for gamma in range(1, 17)
    ]
    least, i, gamma = min(ways)
    return (i, gamma) if least < overhead + target_mb / rate else None


@checker
def ex_A1_3(choose) -> str | None:
    """Which draft, and which γ, on a machine whose passes have an overhead."""
    found = [choose(list(drafts), *machine) for drafts, *machine in CASES]
    found = [tuple(each) if isinstance(each, list) else each for each in found]
    wanted = [choice(*case) for case in CASES]

    def like(cost):
        return found == [choice(*case, cost=cost) for case in CASES]

    def without_overhead(draft, target_mb, overhead, rate, gamma):
        return ms_per_token(draft, target_mb, 0, rate, gamma)

    def one_draft_step(draft, target_mb, overhead, rate, gamma):
        return (2 * overhead + (draft[1] + target_mb) / rate) / tokens(draft[0], gamma)

    def overhead_once(draft, target_mb, overhead, rate, gamma):
        return (overhead + (gamma * draft[1] + target_mb) / rate) / tokens(draft[0], gamma)

    def no_bonus(draft, target_mb, overhead, rate, gamma):
        alpha = draft[0]
        return ms_per_token(draft, target_mb, overhead, rate, gamma) * tokens(alpha, gamma) / tokens(alpha, gamma - 1)

    if found == wanted:
        return None
    if [each and each[::-1] for each in found] == wanted:
        return "return (number of the draft, γ), in this order"
    if (
        None in wanted
        and found[wanted.index(None)] is not None
        and all(mine == right for mine, right in zip(found, wanted) if right is not None)
    ):
        return "no draft pays on a machine where every way is slower than plain decoding: return None there"
    if like(without_overhead) or found == [choice(drafts, mb, 0, rate) for drafts, mb, _, rate in CASES]:
        return "you count bytes alone: every pass has its overhead as well, the draft's γ times a round"
    if like(one_draft_step):
        return "a round takes γ draft steps, one for each guess"
    if like(overhead_once):
        return "the overhead is there in every pass: γ times for the draft, once for the target"
    if like(no_bonus):
        return "a round emits 1 + α + … + α^γ tokens: the last one is the target's own"
    if all(each is not None for each in found) and [each[0] for each in found] == [
        max(range(len(drafts)), key=lambda i: drafts[i][0]) for drafts, *_ in CASES
    ]:
        return "you take the draft with the largest α; what counts is the time per token"
    at = next(i for i, (mine, right) in enumerate(zip(found, wanted)) if mine != right)
    return f"for {CASES[at]} you choose {found[at]!r}; the least time per token has {wanted[at]!r}"
