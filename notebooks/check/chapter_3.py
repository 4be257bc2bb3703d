"""Checkers of chapter 3. Each prints what is right, or what is likely wrong, and never raises."""

from fractions import Fraction

from . import checker

P = [Fraction(5, 10), Fraction(3, 10), Fraction(2, 10)]
Q = [Fraction(2, 10), Fraction(5, 10), Fraction(3, 10)]
SHARED = [min(a, b) for a, b in zip(P, Q, strict=True)]
REFUSED = 1 - sum(SHARED)
DRAWN_FROM_P = [s + REFUSED * a for s, a in zip(SHARED, P, strict=True)]  # the law if a refusal draws from p


@checker
def ex_3_1(emitted) -> str | None:
    """The law that accept-reject emits, from p and q."""
    law = list(emitted(P, Q))
    if law == SHARED:
        return f"this is the accepted part only, and sums to {sum(SHARED)}: where does a refused draft's mass go?"
    if law == DRAWN_FROM_P:
        return "after a refusal you draw from p; the refusal says where q was too eager: draw from max(p - q, 0)"
    if sum(law) != 1:
        return f"the probabilities sum to {sum(law)}: divide the residual by its sum, and weigh it by the refusals"
    if law != P:
        return "it sums to 1 but is not p: print the accepted and the corrected part of each token side by side"
    if list(emitted(P, P)) != P:
        return "wrong where q equals p: then nothing is refused, and the residual must not be asked for"
    return None


@checker
def ex_3_2(verify) -> str | None:
    """One position of the rule, with its uniforms given."""
    p, q = [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]
    if verify([0.4, 0.4, 0.2], [0.2, 0.3, 0.5], 1, 0.99, 0.1) != 1:
        return "a token with p > q is always accepted; is your ratio q/p?"
    if verify(p, q, 1, 0.3, 0.1) != 1:
        return "token 1 has p/q = 0.6, so u = 0.3 accepts it: compare u with the ratio, do not ask for p >= q"
    after_refusal = [verify(p, q, 1, 0.9, v) for v in (0.1, 0.95)]
    if after_refusal == [1, 1]:
        return "token 1 has p/q = 0.6, so u = 0.9 refuses it"
    if after_refusal == [0, 2]:
        return "after a refusal you draw from p; only token 0 has p > q, so only token 0 can come"
    if after_refusal != [0, 0]:
        return f"after this refusal only token 0 has p > q, but {max(after_refusal)} came: is your residual q - p?"
    if verify([0.0, 1.0], [0.5, 0.5], 0, 0.0, 0.5) == 0:
        return "u can be exactly 0, and then a token with p = 0 passes: the comparison must be strict"
    return None


@checker
def ex_3_3(tokens_per_round) -> str | None:
    """E[tokens] of a round: Leviathan et al. (2023), equation 1."""
    alpha, gamma = Fraction(7, 10), 3
    wanted, found = sum(alpha**i for i in range(gamma + 1)), tokens_per_round(alpha, gamma)
    if found == gamma * alpha:
        return "a refusal ends the round: guess 3 counts only if guesses 1 and 2 were accepted"
    if found == wanted - 1:
        return "these are the accepted guesses; each round also emits one token of the target's own"
    if found != wanted:
        return f"for alpha = 7/10 and gamma = 3 you say {found}; try gamma = 1 on paper, it is 1 + alpha"
    if tokens_per_round(Fraction(1), 4) != 5:
        return "wrong at alpha = 1, where all 4 guesses and the bonus are emitted: sum the powers of alpha"
    return None
