"""Checkers of chapter 12. Each prints what is right, or what is likely wrong, and never raises."""

from math import isclose

from . import checker

ROUND = (12_000_000, 2_000_000, 32, 8, 3, 0.8, 20e9)


@checker
def ex_12_1(floor) -> str | None:
    """Seconds per token that reading alone takes in a round."""
    target, draft, target_bits, draft_bits, gamma, alpha, rate = ROUND
    found, emitted = floor(*ROUND), sum(alpha**i for i in range(gamma + 1))
    whole = (target * target_bits + gamma * draft * draft_bits) / 8 / rate  # seconds of a round
    if isclose(found, 8 * whole) or isclose(found, 8 * whole / emitted):
        return "a weight is given in bits and the read rate in bytes: divide by 8"
    if isclose(found, whole):
        return "this is the time of a round; a round emits 1 + α + … + α^γ tokens: divide by them"
    if isclose(found, whole / (gamma + 1)):
        return "you divide by γ + 1 tokens, as if all guesses were accepted"
    if isclose(found, (target * target_bits + draft * draft_bits) / 8 / rate / emitted):
        return "the draft is read once for each of its γ steps"
    if isclose(found, ((gamma + 1) * target * target_bits + gamma * draft * draft_bits) / 8 / rate / emitted):
        return "one pass checks all guesses, and reads the target once, not γ + 1 times"
    if isclose(found, (target + gamma * draft) * target_bits / 8 / rate / emitted):
        return "the draft's weights have bits of their own"
    if not isclose(found, whole / emitted):
        return f"for {ROUND} you say {found:.3g} s, right is {whole / emitted:.3g} s per token"
    return None


STEPS = (12.0, 13.0, 2.4, 9.0, 1.8)  # ms: v rises from 1.08 to 1.33
HOPELESS = (10.0, 13.0, 3.0, 8.0, 2.0)  # 0.6 before; after, v alone is more than two tokens are worth


@checker
def ex_12_2(break_even) -> str | None:
    """The α that γ = 1 needs, before and after an overhead goes."""
    one, two, draft, saved, draft_saved = STEPS
    before, after = break_even(*STEPS)
    right = (draft + two) / one - 1, (draft - draft_saved + two - saved) / (one - saved) - 1
    if None in (before, after):
        return f"for {STEPS} some α below 1 pays before and after, and you return None"

    def close(*wanted):
        return isclose(before, wanted[0], abs_tol=1e-9) and isclose(after, wanted[1], abs_tol=1e-9)

    if close(draft / one, (draft - draft_saved) / (one - saved)):
        return "α > c holds for v = 1; here the wider pass costs v = two / one: solve 1 + α = c + v"
    if close(right[0] + 1, right[1] + 1):
        return "this is the time of a round in target steps; it emits 1 + α tokens: subtract 1"
    if close(right[0], (draft - draft_saved) / one + (two - saved) / one - 1):
        return "after compiling the unit is the *new* target step: divide by one - saved"
    if close(right[0], (draft - draft_saved) / (one - saved) + two / one - 1):
        return "v changes, too: both of its passes lose `saved`"
    if close(right[0], (draft - draft_saved + two) / (one - saved) - 1):
        return "the wide pass loses `saved` as well"
    if close(*right[::-1]):
        return "the other way round: first before compiling, then after"
    if not close(*right):
        return f"for {STEPS} you say {before:.3f} and {after:.3f}, right is {right[0]:.3f} and {right[1]:.3f}"
    before, after = break_even(*HOPELESS)
    if before is None or not isclose(before, 0.6, abs_tol=1e-9):
        return f"for {HOPELESS} α = 0.6 pays before compiling, and you say {before}"
    if after is not None and isclose(after, 2.0, abs_tol=1e-9):
        return "an α of 2? No guess is right more often than always: where even α = 1 loses, return None"
    if after is not None:
        return f"for {HOPELESS} no α pays after compiling: return None, and you say {after:.3f}"
    return None


ROWS = [[0.5, -1.0, 0.26], [0.01, 0.02, -0.013], [-3.0, 1.0, 2.99]]


@checker
def ex_12_3(to_8_bits) -> str | None:
    """Rows of floats as a scale and integers from -127 to 127."""
    found = [(scale, [*integers]) for scale, integers in to_8_bits([[*row] for row in ROWS])]
    if len(found) != len(ROWS):
        return f"there are {len(ROWS)} rows, and you return {len(found)} pairs: one for each row"
    scales, integers = zip(*found, strict=True)
    if any(i != round(i) for row in integers for i in row):
        return "the numbers must be whole: round them"
    if any(abs(i) > 127 for row in integers for i in row):
        return "a number is beyond ±127: the scale must come from the largest *absolute* value of the row"
    if len({round(scale, 12) for scale in scales}) == 1:
        return "one scale for all rows wastes most of the 8 bits on small rows: give each row its own"
    if not all(max(map(abs, row)) == 127 for row in integers):
        largest = [max(map(abs, row)) for row in integers]
        return f"the largest absolute value of a row should become ±127, yours become {largest}"
    off = [abs(s * i - x) / s for (s, row), xs in zip(found, ROWS, strict=True) for i, x in zip(row, xs, strict=True)]
    if max(off) > 0.501:
        return f"a number is off by {max(off):.2f} steps; half a step is possible: round to the nearest, do not cut off"
    ((_, zeros),) = to_8_bits([[0.0, 0.0]])
    if any(zeros):
        return "a row of zeros should stay zeros"
    return None
