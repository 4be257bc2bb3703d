"""What the loop asks of a draft, and what it makes of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..adjustment import Adjustment
from ..decoder import EncodedSource
from ..sampling import Draws
from ..texts import Text
from ..verification import at_tokens


class Proposal(NamedTuple):
    """Drafted tokens ``(B, n)``, the distributions they were *really* drawn from ``(B, n, vocab)``, a count per row.

    What lies behind a row's count is not looked at; without counts every row has proposed all n.
    """

    tokens: Tensor
    probs: Tensor
    counts: Sequence[int] | None = None


class Proposer(Protocol):
    """What the loop asks of a draft. A class that inherits from this one needs to write no more than `propose`.

    The q it reports must be the distribution that the token was drawn from. A poor q costs speed; a wrong q costs
    exactness. It remembers the text that it is at, so it serves one call at a time: each thread needs a proposer of its
    own (a Seq2Seq, which the loop makes a proposer of, may be shared).
    """

    passes: int = 0  # forward passes so far; 0 for a draft without a model

    def start(self, source: EncodedSource, texts: Sequence[Text]) -> None:
        """A new batch begins. `source.sources` is what the caller gave, `source.inputs` what the target's encoder gets.

        A draft that cannot serve them says so here, before any pass.
        """

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        """Up to plan[i] tokens to follow `texts[i].tokens`, for each row; tokens drawn by `draws.guesses`."""

    def keep(self, texts: Sequence[Text], cuts: Sequence[int]) -> None:
        """The round is over: of its proposal cuts[i] tokens were kept, and `texts` have been written.

        Rows whose text is no longer open will not be asked again.
        """


class Block(NamedTuple):
    """A proposal as the rule wants it: tokens ``(B, n)``, q ``(B, n + 1, vocab)``, 0 behind each row's count.

    A count of None says that the row sits this round out.
    """

    tokens: Tensor
    q: Tensor
    counts: list[int | None]
    proposer: str  # its name, for messages
    outside: Tensor  # (B, n): the proposal said a token that the vocabulary has not


def ask(
    proposer: Proposer, texts: Sequence[Text], plan: list[int | None], adjustment: Adjustment, draws: Draws, vocab: int
) -> Block:
    """Ask for plan[i] tokens a row. More than was asked for is cut off."""
    asked = [each or 0 for each in plan]
    counts = asked
    tokens = torch.zeros(len(texts), 0, dtype=torch.long, device=draws.device)
    probs = torch.zeros(len(texts), 0, vocab, device=draws.device)
    if any(asked):
        tokens, probs, counts = listen(proposer, texts, asked, adjustment, draws, vocab)
    inside = tokens.clamp(0, vocab - 1)  # an id outside would break an index before anybody could say so
    q = torch.nn.functional.pad(probs, (0, 0, 0, 1))
    if min(counts) < tokens.shape[1]:
        slots = torch.arange(q.shape[1], device=q.device)
        q = q.masked_fill((slots >= torch.tensor(counts, device=q.device)[:, None])[..., None], 0.0)
    counts = [None if each is None else count for each, count in zip(plan, counts)]
    return Block(inside, q, counts, type(proposer).__name__, inside != tokens)


def listen(
    proposer: Proposer, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws, vocab: int
) -> Proposal:
    """A proposer's answer, its form checked, and cut to what it was asked for; the plan is not all zeros."""
    proposal, n = proposer.propose(texts, plan, adjustment, draws), max(plan)
    tokens, probs = check_shapes(proposer, proposal, len(texts), vocab)
    told = check_counts(proposer, proposal, *tokens.shape)
    return Proposal(tokens[:, :n], probs[:, :n], [min(both) for both in zip(told, plan)])


def check_shapes(proposer: Proposer, proposal: Proposal, rows: int, vocab: int) -> tuple[Tensor, Tensor]:
    """Raise an error that names the proposer, unless it gave tensors of the right shapes."""
    name = type(proposer).__name__
    if not (isinstance(proposal, tuple) and len(proposal) >= 2 and all(torch.is_tensor(x) for x in proposal[:2])):
        raise TypeError(f"{name}.propose returned {proposal!r:.80}: expected a Proposal(tokens, probs)")
    tokens, probs = proposal[:2]
    if tokens.ndim != 2 or len(tokens) != rows or tokens.is_floating_point() or probs.shape != (*tokens.shape, vocab):
        raise ValueError(
            f"{name}.propose returned tokens {tuple(tokens.shape)} of {tokens.dtype} and probs {tuple(probs.shape)}: "
            f"expected whole numbers ({rows}, n) and ({rows}, n, {vocab})"
        )
    return tokens.long(), probs


def check_counts(proposer: Proposer, proposal: Proposal, rows: int, n: int) -> list[int]:
    """How many tokens each row has proposed: all, if nobody says otherwise."""
    counts = proposal[2] if len(proposal) > 2 else None
    if counts is None:
        return [n] * rows
    try:
        told = [index(count) for count in counts]
    except TypeError:  # no list, or no whole numbers
        told = []
    if len(told) != rows or not all(0 <= count <= n for count in told):
        name = type(proposer).__name__
        raise ValueError(f"{name}.propose returned counts={counts!r}: expected {rows} of them, each in 0..{n}")
    return told


def wrong_q(block: Block) -> Tensor:
    """Where q ``(B, n)`` is no distribution, or gives 0 to its token; behind a row's count everywhere."""
    q = block.q[:, :-1]
    fine = ((q.sum(-1) - 1).abs() < 1e-3) & (q.amin(-1) >= 0) & (at_tokens(block.q, block.tokens) > 0)
    return block.outside | ~fine


def explain(block: Block, row: int) -> ValueError:
    """The error for a row of `wrong_q`, which says what is wrong with which q."""
    slot = int(wrong_q(block)[row].nonzero()[0])
    q, token = block.q[row, slot], int(block.tokens[row, slot])
    found = (
        "is for no token of the vocabulary" if block.outside[row, slot]
        else "holds NaN or infinity" if not q.isfinite().all()
        else "has a negative entry" if (q < 0).any()
        else f"sums to {float(q.sum()):.4g}" if abs(float(q.sum()) - 1) >= 1e-3
        else f"gives probability 0 to token {token}, which it proposed"
    )  # fmt: skip
    return ValueError(
        f"{block.proposer}: the q of drafted token {slot} (row {row}) {found}: expected the distribution that the "
        "token was really drawn from"
    )
