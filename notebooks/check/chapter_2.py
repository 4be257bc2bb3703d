"""Checkers of chapter 2."""

from . import checker


@checker
def ex_2_1(price) -> str | None:
    """r(n) from lists of seconds: medians, divided by the median of one position."""
    times = {1: [2.0, 2.0, 2.0, 2.0, 12.0], 5: [3.0, 3.0, 3.0, 3.0, 3.0], 9: [4.0, 4.0, 1.0, 5.0, 4.0]}
    found = dict(price({n: list(seconds) for n, seconds in times.items()}))
    if sorted(found) != [1, 5, 9]:
        return f"you return values for n = {sorted(found)}; one is wanted for each n in times: 1, 5, 9"
    close = {n: round(value, 6) for n, value in found.items()}
    if close in ({1: 4.0, 5: 3.0, 9: 3.6}, {1: 2.0, 5: 3.0, 9: 4.0}):
        return "these are seconds; r(n) is a ratio: divide by the time of one position"
    if close == {1: 1.0, 5: 0.75, 9: 0.9}:
        return "one disturbed measurement moves your mean (r(5) = 0.75 here): take the median"
    if close == {1: 1.0, 5: 1.5, 9: 0.5}:
        return "the minimum trusts a single lucky measurement: take the median"
    if close == {1: 1.0, 5: round(2 / 3, 6), 9: 0.5}:
        return "the ratio is upside down: the time of n positions goes on top"
    if close == {1: 1.0, 5: 0.3, 9: round(2 / 9, 6)}:
        return "this is the price per position: r(n) is the price of the whole pass, do not divide by n"
    if close != {1: 1.0, 5: 1.5, 9: 2.0}:
        return f"for medians of 2, 3 and 4 seconds r is 1, 1.5 and 2; you say {close}"
    return None


@checker
def ex_2_2(free_guesses) -> str | None:
    """The largest gamma whose gamma + 1 positions are not beyond the ridge."""
    found = free_guesses(200e9, 10e9, 4)  # ridge 20 FLOP per byte, 40 positions
    if found == 20:
        return "20 is the ridge in FLOP per byte; n positions have intensity 2n / bytes_per_weight: solve for n"
    if found == 40:
        return "40 positions is right, but one of them is the settled token: γ is one less"
    if found in (9, 10):
        return "a weight's bytes divide the intensity, so they multiply n: n = ridge * bytes_per_weight / 2"
    if found in (79, 80):
        return "each weight does a multiplication and an addition: 2 FLOP per position"
    if found != 39:
        return f"for 200 GFLOP/s, 10 GB/s and 4 bytes you say {found}; the ridge is 20 FLOP per byte"
    if free_guesses(200e9, 10e9, 2) != 19:
        return "right for float32 only: use bytes_per_weight"
    if free_guesses(1e9, 10e9, 4) != 0:
        return "a machine whose ridge is below one position checks no guess for nothing: return 0, not less"
    return None
