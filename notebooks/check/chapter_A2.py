"""Checkers of appendix A2. Each prints what is right, or what is likely wrong, and never raises."""

from math import isclose

from . import checker


def tokens(alpha, gamma):
    return sum(alpha**i for i in range(gamma + 1))


CASES = [(0.8, 4, 2.0, 1.2), (0.6, 2, 1.3, 1.0), (0.9, 8, 3.0, 1.5)]  # α, γ, speed, v
TOO_FAST = (0.65, 5, 3.1, 1.0)


@checker
def ex_A2_1(implied) -> str | None:
    """(E / speed - v) / γ, or None where that is negative."""
    found = [implied(*case) for case in CASES]
    if None in found:
        return (
            f"at (α, γ, speed, v) = {CASES[found.index(None)]} a c above 0 gives that speed: solve E = speed · (γc + v)"
        )

    def like(answer):
        return all(isclose(x, answer(*case), rel_tol=1e-6, abs_tol=1e-9) for x, case in zip(found, CASES))

    if like(lambda a, g, s, v: tokens(a, g) / s - v):
        return "this is what all γ guesses of a round cost together; c is the price of one"
    if like(lambda a, g, s, v: (tokens(a, g) / s - 1) / g):
        return "you take v = 1; the wide pass costs v plain steps"
    if like(lambda a, g, s, v: (tokens(a, g) - v) / g):
        return "you forget the speed: a round takes E / speed plain steps, not E"
    if like(lambda a, g, s, v: (s / tokens(a, g) - v) / g):
        return "upside down: a *faster* loop had a *shorter* round, E / speed plain steps long"
    if like(lambda a, g, s, v: ((g + 1) / s - v) / g):
        return "you count γ + 1 tokens a round; with refusals it is E = 1 + α + … + α^γ"
    if like(lambda a, g, s, v: (tokens(a, g) / s - v) / (g + 1)):
        return "a round drafts γ guesses; the (γ + 1)-th token is the target's own"
    if not like(lambda a, g, s, v: (tokens(a, g) / s - v) / g):
        wanted = [round((tokens(a, g) / s - v) / g, 3) for a, g, s, v in CASES]
        return f"for (α, γ, speed, v) = {CASES} you say {found}, right is {wanted}"
    if implied(*TOO_FAST) is not None:
        return f"at (α, γ, speed, v) = {TOO_FAST} even c = 0 is too slow, and yours is negative: return None"
    return None


def count(easy, gamma):
    """Accepted ÷ examined, and tokens per round; as on the page."""
    at = rounds = accepted = refused = 0
    while at < len(easy):
        kept = 0
        while kept < gamma and at + kept < len(easy) and easy[at + kept]:
            kept += 1
        accepted, refused = accepted + kept, refused + (kept < gamma)
        at, rounds = at + kept + 1, rounds + 1
    return accepted / (accepted + refused), at / rounds


@checker
def ex_A2_2(places) -> str | None:
    """α at most 0.9 with γ = 4, and at least 4.5 tokens per round."""
    text = places(6000)
    if not isinstance(text, (list, tuple)) or not all(isinstance(place, bool) for place in text):
        return f"places(n) is a list of True and False; yours is {type(text).__name__}, and begins {str(text)[:40]}"
    if len(text) != 6000:
        return f"places(6000) has {len(text)} places: expected 6000"
    share, tokens_per_round = count(text, 4)
    if share == 1:
        return "no guess is ever refused: that is α = 1; a few of the examined places must be hard"
    if share > 0.9:
        return f"α is {share:.3f}: make more of the *examined* places hard, at most 0.9 may be accepted"
    if tokens_per_round < 4.5:
        return (
            f"α = {share:.2f} and {tokens_per_round:.2f} tokens per round: refuse as late in a round as you can, "
            "at its last guess; the place after a full round is never examined"
        )
    return None
