"""Checkers of chapter 4."""

from . import checker


@checker
def ex_4_1(lengths_after) -> str | None:
    """Lengths of both caches after the rollback."""
    refused, full = tuple(lengths_after(10, 4, 2)), tuple(lengths_after(10, 4, 4))
    if refused == (13, 13):
        return "the round's last token was drawn after the pass: it is in the text, and in neither cache"
    if refused == (11, 11) or refused == (2, 2):
        return "the text's last token is fed at the beginning of the round, and stays: L + k, not L + k - 1 or k"
    if refused == (14, 13):
        return "these are the lengths before the rollback: refused guesses must go"
    if refused != (12, 12):
        return f"for L = 10, n = 4, k = 2 you say {refused}: both keep L + k tokens"
    if full == (14, 14):
        return "right after a refusal; after full acceptance the draft has never been fed its own last guess"
    if full != (14, 13):
        return f"for L = 10, n = 4, k = 4 you say {full}: the target has all, the draft lacks one"
    return None


@checker
def ex_4_2(emit) -> str | None:
    """The tokens that a round adds to the text."""
    if list(emit([5, 6, 7], 2, 9, 1)) == [5, 6, 7, 9]:
        return "the third guess was refused: only the first n_accepted stand"
    if list(emit([5, 6, 7], 2, 9, 1)) != [5, 6, 9]:
        return "two of 5, 6, 7 are accepted and 9 follows: the round adds 5, 6, 9"
    end = list(emit([5, 1], 2, 9, 1))
    if end == [5, 1, 9]:
        return "an accepted EOS ends the text: nothing follows it, no bonus token either"
    if end == [5]:
        return "the EOS itself is part of the text: keep it, and stop behind it"
    if end != [5, 1]:
        return f"for the guesses 5, EOS, both accepted, you emit {end}: expected 5 and the EOS"
    if list(emit([5, 1], 1, 9, 1)) != [5, 9]:
        return "here the EOS was a guess that was refused: look for it among the accepted ones only"
    if list(emit([], 0, 1, 1)) != [1]:
        return "a round without guesses emits the target's own token, be it the EOS"
    return None


@checker
def ex_4_3(times) -> str | None:
    """Total time, one at a time and in one pass."""
    one, whole = (round(x, 9) for x in times([4, 0, 2], 4, 0.1, 1.3))
    if (one, whole) == (9, 3.9):
        return "guessing is not free: every round makes γ draft steps at c each"
    if one == 7.2:
        return "each round emits one token more than it accepts, and that one costs a pass, too"
    if one == 16.2:
        return "the check stops at the first refusal: k + 1 passes, not γ + 1"
    if one != 10.2:
        return f"one at a time: 12 draft steps and 5 + 1 + 3 passes make 10.2, you say {one}"
    if whole == 4.2:
        return "a pass over γ + 1 positions costs v, not 1"
    if whole != 5.1:
        return f"in one pass: 12 draft steps and 3 passes at v make 5.1, you say {whole}"
    return None
