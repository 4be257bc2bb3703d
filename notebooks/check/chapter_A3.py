"""Checkers of appendix A3. Each prints what is right, or what is likely wrong, and never raises."""

from . import checker

GOOD, BAD, AWFUL = (9.0, 10), (5.0, 10), (0.0, 40)
STREAMS = [
    ([GOOD] * 3 + [BAD] * 6 + [GOOD] * 6, 0.7, 2, 2),
    ([GOOD, BAD, GOOD, BAD, BAD, GOOD, GOOD, GOOD], 0.7, 1, 2),  # single bad calls
    ([(1.0, 2), (36.0, 40), (1.0, 2), (36.0, 40)], 0.8, 2, 1),  # short calls weigh little
    ([GOOD] * 6 + [AWFUL] + [GOOD] * 6, 0.8, 3, 1),  # a window that forgets
    ([(7.0, 10)] * 3, 0.7, 2, 1),  # at the limit
]


def states(calls, limit, window, patience, mean=None, back=None, rising=None):
    """The right loop, with its mean, its patience to switch off, or its counting exchanged."""
    on, streak, found = False, 0, []
    back = patience if back is None else back
    for i in range(len(calls)):
        last = calls[max(0, i + 1 - window) : i + 1]
        below = (mean or ratio)(last) < limit
        streak = streak + 1 if below != on else rising * streak if rising else 0
        if streak >= (back if on else patience):
            on, streak = below, 0
        found.append(on)
    return found


def ratio(calls):
    return sum(s for s, _ in calls) / sum(e for _, e in calls)


def mean_of_ratios(calls):
    return sum(s / e for s, e in calls) / len(calls)


@checker
def ex_A3_1(switch) -> str | None:
    """States of an alarm with a window and patience both ways."""
    found = [list(switch(list(calls), *rest)) for calls, *rest in STREAMS]
    lengths = [len(calls) for calls, *_ in STREAMS]
    if [len(each) for each in found] != lengths:
        return f"one state for each call: you return {[len(each) for each in found]} states for {lengths} calls"

    def like(answer):
        return found == [answer(*stream) for stream in STREAMS]

    if like(states):
        return None
    if like(lambda calls, limit, *_: [s / e < limit for s, e in calls]):
        return "this looks at each call alone: take α over the last `window` calls, and wait for `patience` of them"
    if like(lambda calls, limit, window, patience: states(calls, limit, window, 1)):
        return "no patience: one call must not switch it; count how many in a row say so"
    if like(lambda calls, limit, window, patience: states(calls, limit, window, patience, back=1)):
        return "it takes patience to switch off, too: `patience` calls in a row at the limit or above"
    if like(lambda calls, limit, window, patience: states(calls, limit, window, patience, back=10**9)):
        return "it never goes off again"
    if like(lambda calls, limit, window, patience: states(calls, limit, window, patience, rising=1)):
        return "calls *in a row*: a call that disagrees must set the count back to 0"
    if like(lambda calls, limit, window, patience: states(calls, limit, 1, patience)):
        return "you judge each call alone: α is over the last `window` calls"
    if like(lambda calls, limit, window, patience: states(calls, limit, 10**9, patience)):
        return "you never forget: only the last `window` calls count"
    if like(lambda *stream: states(*stream, mean=mean_of_ratios)):
        return "a call of 40 positions tells more than one of 2: divide sums, don't average ratios"
    if like(lambda calls, limit, *rest: states(calls, limit + 1e-9, *rest)):
        return "α equal to the limit is not below it"
    if like(lambda *stream: [not on for on in states(*stream)]):
        return "the alarm is on while α is *below* the limit"
    i = next(i for i, stream in enumerate(STREAMS) if found[i] != states(*stream))
    calls, limit, window, patience = STREAMS[i]
    shown = f"calls {calls}, limit {limit}, window {window}, patience {patience}"
    return f"for {shown} you say {found[i]}, right is {states(*STREAMS[i])}"


# c and v by γ of some machines; from the last, speculation never pays.
MACHINES = [
    (0.3, {1: 1.35, 2: 1.4, 3: 1.45, 4: 1.5, 6: 1.65, 8: 1.8}),
    (0.1, {1: 1.05, 2: 1.1, 4: 1.2, 8: 1.5}),
    (0.05, {2: 1.02, 4: 1.6, 8: 1.7}),
    (0.9, {1: 1.5, 2: 1.7, 4: 2.0}),
]


def tokens(alpha, gamma):
    return sum(alpha**i for i in range(gamma + 1))


def table(c, v, speed=None, plain=True, choose=None, start=0):
    """The right table, or one with its speed, its plain row or its choice exchanged."""
    speed = speed or (lambda alpha, g, c, v: tokens(alpha, g) / (g * c + v[g]))
    choose = choose or (lambda speeds: max(speeds, key=lambda g: (round(speeds[g], 12), -g)))
    found = []
    for i in range(start, 101):
        speeds = {0: 1.0} if plain else {}
        best = choose(speeds | {g: speed(i / 100, g, c, v) for g in v})
        if not found or found[-1][1] != best:
            found.append((i / 100, best))
    return found


def largest_that_pays(speeds):
    return max(g for g, speed in speeds.items() if speed > 1 or g == 0)


@checker
def ex_A3_2(steps) -> str | None:
    """The α at which another γ is the fastest, from plain decoding on."""
    found = [[(round(float(a), 2), int(g)) for a, g in steps(c, dict(v))] for c, v in MACHINES]

    def like(**changed):
        return found == [table(c, v, **changed) for c, v in MACHINES]

    if like():
        return None
    if len({str(each) for each in found}) == 1:
        return f"you say {found[0]} for every machine: use c and v"
    if any(len(each) > 100 for each in found):
        return "only the changes: a pair where the best γ differs from that of the α before"
    if any(a > 1 for each in found for a, _ in each):
        return "the α first, then the γ"
    if like(plain=False):
        return "plain decoding is a way, too: γ = 0 where no speed-up is above 1"
    if like(speed=lambda alpha, g, c, v: tokens(alpha, g)):
        return "you count tokens; a longer round also costs more: divide by γc + v(γ)"
    if like(speed=lambda alpha, g, c, v: tokens(alpha, g) / (g * c + 1)):
        return "you take v = 1: a wide pass costs v(γ) of a narrow one"
    if like(speed=lambda alpha, g, c, v: tokens(alpha, g) / v[g]):
        return "drafting is not free: γ draft steps cost γc"
    if like(speed=lambda alpha, g, c, v: tokens(alpha, g) / (c + v[g])):
        return "a round has γ draft steps, not one: γc"
    if like(speed=lambda alpha, g, c, v: (tokens(alpha, g) - 1) / (g * c + v[g])):
        return "E[tokens] counts the target's own token, too: 1 + α + … + α^γ"
    if like(speed=lambda alpha, g, c, v: (1 + g * alpha) / (g * c + v[g])):
        return "1 + γα is too many: a refusal drops all guesses behind it, so E = 1 + α + … + α^γ"
    if like(choose=largest_that_pays):
        return "you take the largest γ that pays; of those that pay, take the fastest"
    if like(start=1) or any(each[0][0] > 0 for each in found if each):
        return "begin at α = 0"
    i = next(i for i, machine in enumerate(MACHINES) if found[i] != table(*machine))
    return f"for c, v = {MACHINES[i]} you say {found[i]}, right is {table(*MACHINES[i])}"
