"""Checkers of chapter 11. Each prints what is right, or what is likely wrong, and never raises."""

from math import floor, log2

from . import checker


def step(x, bits):
    return 2.0 ** (floor(log2(abs(x))) - bits)


# Two scores and the bits of their format; the comment says what each one is for.
TIES = [
    (9.0, 9.0625, 7),  # one bfloat16 step
    (9.0, 9.125, 7),  # two
    (9.0, 9.0625, 10),  # eight float16 steps
    (0.5, 0.508, 7),  # three steps, less than 0.01 apart
    (-9.0, -9.0625, 7),  # one step, negative
    (9.0, 9.0, 7),  # the same
    (15.9375, 16.0, 7),  # one step below 16, half a step at 16
    (15.875, 16.0, 7),  # two below, one at 16: the larger size counts
    (63.5, 63.75, 7),  # one step; 63.75 · 2^-7 is almost two
    (63.25, 63.7, 7),  # nearly two steps, less than 63.7 · 2^-7
]


@checker
def ex_11_1(near_tie) -> str | None:
    """abs(x - y) at most one step at the larger size."""
    found = [bool(near_tie(*case)) for case in TIES]

    def right(x, y, bits):
        return abs(x - y) <= step(max(abs(x), abs(y)), bits)

    def like(answer):
        return found == [answer(*case) for case in TIES]

    if like(right):
        return None
    if found == [found[0]] * len(found):
        return f"you say {found[0]} for every pair of scores"
    if like(lambda x, y, bits: not right(x, y, bits)):
        return "the other way round: True is for scores that are at most one step apart"
    if like(lambda x, y, bits: x == y):
        return "neighbours count, too: one step apart is a near-tie, not only equal"
    if found[3]:
        return "0.5 and 0.508 are three bfloat16 steps apart: a step grows with the size, a fixed limit won't do"
    if found[0] != right(*TIES[0]) and found[5]:
        return "9 and 9.0625 are exactly one bfloat16 step apart, and one step is still a near-tie: ≤, or a larger step"
    if found[2] and not found[1]:
        return "the same scores are near in bfloat16 and far in float16: use bits"
    if not found[4]:
        return "scores can be negative: take the size |x|, and the size of the difference"
    if not found[5]:
        return "equal scores are the nearest tie of all"
    if not found[7]:
        return "15.875 and 16: the step at the *larger* size is 1/8, so they are one step apart"
    if found[9]:
        return "between 32 and 64 all steps are 2^(5 - bits): round log2 down before you take the power"
    case = next(case for case, said in zip(TIES, found) if said != right(*case))
    return f"near_tie{case} is {right(*case)}, you say {not right(*case)}"


NAMES = ("alpha", "c", "v", "gamma", "speedup", "pays")


@checker
def ex_11_2(my_numbers) -> str | None:
    """Numbers of a reader's own machine that can all be true."""
    numbers = my_numbers()
    if not isinstance(numbers, dict) or [name for name in NAMES if name not in numbers]:
        return f"return a dictionary with {', '.join(NAMES)}"
    alpha, c, v, gamma, speedup = (numbers[name] for name in NAMES[:5])
    if not 0 <= alpha <= 1:
        return f"alpha={alpha:.2f}: it is a share of the examined positions, between 0 and 1"
    if gamma < 1 or gamma != int(gamma):
        return f"gamma={gamma}: guesses a round, a whole number of at least 1"
    if c <= 0:
        return f"c={c}: a draft step takes time, too; sd.measure_costs measures it on your machine"
    if v < 0.5:
        return f"v={v:.2f}: a wide pass is hardly cheaper than a narrow one; v is wide ÷ narrow, not narrow ÷ wide"
    if speedup <= 0:
        return f"speedup={speedup}: plain seconds ÷ speculative seconds"
    tokens = sum(alpha**i for i in range(int(gamma) + 1))
    predicted = tokens / (gamma * c + v)
    if speedup > gamma + 1:
        return f"speedup={speedup:.2f}: a round emits at most γ + 1 = {gamma + 1:.0f} tokens in one pass"
    off = max(speedup / predicted, predicted / speedup)
    if abs(speedup - tokens) < 0.02 * tokens and off > 1.15:
        return f"{speedup:.2f} is the tokens per target pass, E = 1 + α + … + α^γ; the clock also counts drafting"
    if off > 1.5 and abs(speedup * predicted - 1) < 0.1:
        return "upside down: plain seconds ÷ speculative seconds"
    if off > 3:
        return (
            f"the formula says {predicted:.2f}×, your clock {speedup:.2f}×: warm up, use the same texts and γ for all "
            "numbers, and give plain decoding its cache"
        )
    if bool(numbers["pays"]) != (speedup > 1):
        return f"speedup={speedup:.2f} and pays={numbers['pays']}: it pays if the clock says more than 1"
    return None
