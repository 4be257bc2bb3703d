"""What the paper predicts: tokens per round, wall-time factor, best gamma; and the same for outputs of finite length.

Where a function takes alpha, the expected acceptance E[sum(min(p, q))], it treats the acceptances of different
positions as independent: the one idealisation of this file. c is the time of a draft step and v that of a target pass
over gamma + 1 positions, both in units of a target pass over one position. Leviathan et al. (2023) assume v = 1; here
it is measured. `floor_seconds` says what a pass needs at least. The last four functions know nothing of alpha: they go
through everything that a rule may do with small models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

import torch
from torch import Tensor

from .checks import check_integer, check_number
from .verification import Verifier, at_tokens, residual

Model = Callable[[tuple[int, ...]], Tensor]  # from the tokens so far to the distribution of the next one, ``(vocab,)``


def expected_tokens(alpha: float, gamma: int) -> float:
    """Tokens per target pass, (1 - alpha^(gamma + 1)) / (1 - alpha): Leviathan et al. (2023), equation 1."""
    alpha, gamma = _check_alpha(alpha), check_integer("gamma", gamma, 0)
    return sum(alpha**i for i in range(gamma + 1))


def walltime_factor(alpha: float, gamma: int, c: float, v: float = 1.0) -> float:
    """Speed-up over plain decoding of an endless text, E[tokens] / (gamma c + v): Theorem 3.8, which has v = 1."""
    check_costs(c, v)
    return expected_tokens(alpha, gamma) / (gamma * c + v)


def finite_walltime_factor(
    alpha: float, gamma: int, c: float, v: float, length: int, target_start: float = 0.0, draft_start: float = 0.0,
    limit: int | None = None,
) -> float:  # fmt: skip
    """Speed-up for an output of `length` tokens: what the last round drafts behind the end is paid for and brings none.

    The loop doesn't know where a text ends, only its limit: with r tokens to it a round drafts at most r - 1, because
    the target's own token comes last. The time of a pass over fewer positions lies on the line between 1 and v.

    Parameters
    ----------
    limit : int, optional
        The maximal length, `length` or more. None: it is never near.
    target_start, draft_start : float
        Time to read the source, in units of a target pass: encoders, and keys and values made from their output. Plain
        decoding pays the first one too.
    """
    alpha, gamma = _check_alpha(alpha), check_integer("gamma", gamma, 0)
    check_costs(c, v)
    check_integer("length", length, 1)
    behind = gamma if limit is None else check_integer("limit", limit, length) - length
    seconds = [0.0]  # expected time to produce the last r tokens
    for r in range(1, length + 1):
        n = min(gamma, r - 1)  # guesses that can bring a token
        drafted = min(gamma, r - 1 + behind)
        cost = drafted * c + 1 + (v - 1) * (drafted / gamma if gamma else 0)
        cut = [alpha**k * (1 - alpha) for k in range(n)] + [alpha**n]
        seconds.append(cost + sum(probability * seconds[r - k - 1] for k, probability in enumerate(cut)))
    return (target_start + length) / (target_start + draft_start + seconds[length])


def best_gamma(alpha: float, c: float, v=1.0, gammas: Iterable[int] = range(1, 17)) -> int:
    """The gamma with the largest wall-time factor. `v` is a number or a function of gamma."""
    gammas = list(gammas)
    if not gammas:
        raise ValueError("gammas=[]: expected one or more to choose from")
    return max(gammas, key=lambda gamma: walltime_factor(alpha, gamma, c, v(gamma) if callable(v) else v))


def floor_seconds(weights: int, n: int, bytes_per_weight: float, read_rate: float, flop_rate: float) -> float:
    """Least time of a pass over n positions: its matrix products alone, on the roofline of Williams et al. (2009).

    Each weight is read once and used in two floating-point operations per position; the slower of the two counts.
    Weights that stay in the processor's own cache are read faster than `read_rate`, if that is the memory's.

    Parameters
    ----------
    weights : int
        How many a pass uses.
    n : int
        Positions, gamma + 1 in a round.
    bytes_per_weight : float
        4 in float32, 2 in bfloat16.
    read_rate, flop_rate : float
        Bytes and floating-point operations per second that the machine reaches, measured.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected.
    """
    weights, n = check_integer("weights", weights, 1), check_integer("n", n, 1)
    positive = {"bytes_per_weight": bytes_per_weight, "read_rate": read_rate, "flop_rate": flop_rate}
    for name, value in positive.items():
        check_number(name, value, "a number > 0", lambda x: x > 0)
    return max(weights * bytes_per_weight / read_rate, 2 * weights * n / flop_rate)


def _check_alpha(alpha: float) -> float:
    return check_number("alpha", alpha, "a number in [0, 1]", lambda x: 0 <= x <= 1)


def check_costs(c: float, v: float) -> None:
    check_number("c", c, "a number >= 0", lambda x: x >= 0)
    check_number("v", v, "a number > 0", lambda x: x > 0)


def cut_probs(rule: Verifier, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
    """The distribution of the cut, ``(n + 1,)``, of one row, by going through all 2^n outcomes of the coins."""
    heads = rule.heads(p, q, drafted)
    law = heads.new_zeros(len(heads) + 1)
    for outcome in product([False, True], repeat=len(heads)):
        coins = torch.tensor(outcome, dtype=torch.bool, device=heads.device)
        law[rule.cut(coins)] += torch.where(coins, heads, 1 - heads).prod()
    return law


def expected_accepted(rule: Verifier, p: Model, q: Model, gamma: int) -> float:
    """How many of gamma drafted tokens a rule keeps, on average over all drafts and all outcomes of the coins.

    There are (2 vocab)^gamma of them, so the models must be small. A model is a function from the tokens so far, a
    tuple, to the distribution ``(vocab,)`` of the next one.
    """
    check_integer("gamma", gamma, 0)
    total = 0.0
    for draft in product(range(len(q(()))), repeat=gamma):
        p_rows, q_rows = (torch.stack([model(draft[:i]) for i in range(gamma + 1)]) for model in (p, q))
        q_rows[-1], drafted = 0, torch.tensor(draft, dtype=torch.long)
        kept = (cut_probs(rule, p_rows, q_rows, drafted) * torch.arange(gamma + 1)).sum()
        total += float(at_tokens(q_rows, drafted).prod() * kept)
    return total


def accepted_bound(p: Model, q: Model, gamma: int) -> float:
    """What no exact rule can exceed: the sum of min(P, Q) over all beginnings of a draft, long and short.

    P and Q are the two models' probabilities of a whole beginning x_1 ... x_i. It is drafted with probability Q, and it
    may be emitted with probability P, so it is kept with min(P, Q) at most.
    """
    check_integer("gamma", gamma, 0)
    total, paths = 0.0, [((), 1.0, 1.0)]
    for _ in range(gamma):
        rows = [(x, *weights, p(x).tolist(), q(x).tolist()) for x, *weights in paths]
        paths = [((*x, y), P * p_x[y], Q * q_x[y]) for x, P, Q, p_x, q_x in rows for y in range(len(p_x))]
        total += sum(min(P, Q) for _, P, Q in paths)
    return total


def lenient_probs(p: Tensor, q: Tensor, lenience: float) -> Tensor:
    """What `TokenRule(lenience)` emits at a drafted position, ``(..., vocab)``; the bonus token still follows p.

    A token is drafted and accepted with probability min(q, p/l); all that is refused goes to the residual.
    """
    kept = torch.minimum(q, p / check_number("lenience", lenience, "a number in (0, 1]", lambda x: 0 < x <= 1))
    return kept + (1 - kept.sum(-1, keepdim=True)) * residual(p, q)
