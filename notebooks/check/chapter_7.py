"""Checkers of chapter 7. Each prints what is right, or what is likely wrong, and never raises."""

from fractions import Fraction as F

from . import checker

P, Q = [F(5, 10), F(3, 10), F(2, 10)], [F(2, 10), F(5, 10), F(3, 10)]
SHARED = [min(a, b) for a, b in zip(P, Q, strict=True)]
DRAWN_FROM_P = [s + (1 - sum(SHARED)) * a for s, a in zip(SHARED, P, strict=True)]


@checker
def ex_7_1(emitted) -> str | None:
    """The law of the wrong rule that draws from p after a refusal."""
    law = list(emitted(P, Q))
    if law == P:
        return "this is p, the law of the right rule; the wrong one draws from p, not from the residual, on refusal"
    if sum(law) != 1:
        return f"the probabilities sum to {sum(law)}: each refusal emits a token, too, so add refused · p"
    if law != DRAWN_FROM_P:
        return "it sums to 1, but is not min(p, q) + refused · p: compare token by token"
    return None


@checker
def ex_7_2(samples) -> str | None:
    """Samples until a bias stands z standard errors clear."""
    p, epsilon, z = F(1, 4), F(1, 100), 3
    wanted, found = z**2 * p * (1 - p) / epsilon**2, samples(p, epsilon, z)
    if found == z * p * (1 - p) / epsilon:
        return "the standard error falls with the square root of N: square both sides before you solve for N"
    if found == z**2 * p / epsilon**2:
        return "the variance of one draw is p(1 - p), not p"
    if abs(found - wanted) > 1:
        return f"for p = 1/4, ε = 1/100, z = 3 you say {float(found):g}; solve ε = z · sqrt(p(1 - p)/N) for N"
    return None
