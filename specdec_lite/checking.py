"""The target's side of a round: judge what was drafted, and say what follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .adjustment import Adjustment
from .decoder import EncodedSource
from .drafting.base import Block, explain, wrong_q
from .models import Seq2Seq
from .record import Round
from .sampling import Draws, wide
from .texts import Text, go_back, unfed
from .verification import Verifier, overlap


class Checker:
    """The target's part of the loops. A compiled model brings its own kind (``checker_kind``)."""

    def __init__(self, target: Seq2Seq, source: EncodedSource):
        self.target, self.vocab, self.cursor = target, target.vocab_size, target.cursor()
        self.cursor.start(source)

    def next_tokens(self, texts: Sequence[Text], adjustment: Adjustment, draws: Draws) -> tuple[Tensor, Sequence[int]]:
        """A plain step: p ``(B, 1, vocab)``, and a token drawn from it for each row."""
        fed = unfed(texts, self.cursor.length, 0, self.cursor.filler, self.cursor.device)
        p = adjustment.probs(self.cursor.extend(fed)[:, -1:], texts, fed[:, :0])
        return p, draws.next_tokens(p[:, 0], texts).tolist()

    def check(
        self, texts: Sequence[Text], block: Block, adjustment: Adjustment, rule: Verifier, draws: Draws
    ) -> Verdict:
        """A round's verdict: one pass over what was drafted, the rule, and one read from the device."""
        p = adjustment.probs(self.logits(texts, block), texts, block.tokens)
        return Verdict.read(block, decide(p, block, rule, draws, texts), p)

    def logits(self, texts: Sequence[Text], block: Block) -> Tensor:
        """``(B, n + 1, vocab)``: what follows each text, and each of its drafted tokens."""
        cursor, n = self.cursor, block.tokens.shape[1]
        known = [len(text) - cursor.length for text in texts]
        fed = unfed(texts, cursor.length, n, cursor.filler, cursor.device)
        slots = torch.tensor(known, device=cursor.device)[:, None] + torch.arange(n + 1, device=cursor.device)
        fed.scatter_(1, slots[:, :n], block.tokens)
        width = max(k + count for k, count in zip(known, block.counts) if count is not None)
        logits = cursor.extend(fed[:, :width])
        if max(known) == 1 and width == n + 1:  # nobody is ahead: the columns are in their places
            return logits
        return logits.take_along_dim((slots - 1).clamp(max=width - 1)[..., None], 1)

    def keep(self, texts: Sequence[Text]) -> None:
        go_back(self.cursor, texts)


def decide(p: Tensor, block: Block, rule: Verifier, draws: Draws, texts: Sequence[Text]) -> Tensor:
    """The cut, the token after it, the drafted ones, which q is wrong, the overlaps: ``(B, 2 + 3 n)`` on the device."""
    # float64 holds token ids exactly (and float32 those below 16 million)
    seen = draws.seen(p, texts)
    cut = rule.cut(draws.coins(rule.heads(seen, block.q, block.tokens), texts))
    next_token = draws.next_tokens(rule.after(seen, block.q, block.tokens, cut), texts)
    columns = [cut[:, None], next_token[:, None], block.tokens, wrong_q(block), overlap(p, block.q)[:, :-1]]
    return torch.cat([column.to(wide(p.device)) for column in columns], 1)


class Verdict(NamedTuple):
    """What a check decided, on the host, row by row; and p ``(B, n + 1, vocab)`` on the device."""

    block: Block
    drafted: list[list[int]]
    cuts: list[int]
    next_tokens: list[int]  # -1: there was no distribution to draw from
    wrong_q: list[list[bool]]
    overlaps: list[list[float]]
    p: Tensor

    @classmethod
    def read(cls, block: Block, decided: Tensor, p: Tensor) -> Verdict:
        """What `decide` has written, in one transfer from the device."""
        n, rows = decided.shape[1] // 3, decided.tolist()
        ints = [list(map(int, row[: 2 + 2 * n])) for row in rows]
        drafted = [row[2 : 2 + (count or 0)] for row, count in zip(ints, block.counts)]
        cuts, next_tokens = [row[0] for row in ints], [row[1] for row in ints]
        return cls(block, drafted, cuts, next_tokens, [row[2 + n :] for row in ints], [r[2 + 2 * n :] for r in rows], p)

    def write(self, i: int, text: Text) -> Round | None:
        """Write into row i's text what the round has given it. What was drafted behind an EOS counts for nothing."""
        if self.block.counts[i] is None:
            return None
        cut, drafted = self.cuts[i], text.until_eos(self.drafted[i])
        if any(self.wrong_q[i][: len(drafted)]):
            raise explain(self.block, i)
        source = "bonus" if cut == len(self.drafted[i]) else "residual"
        return write(text, drafted, cut, self.next_tokens[i], source, self.overlaps[i])


def write(text: Text, drafted: list[int], cut: int, next_token: int, source: str, overlaps: Sequence[float]) -> Round:
    """Write the kept tokens and, unless an EOS is among them, the one after them; return the record."""
    kept = text.write(drafted[:cut])
    if goes_on := text.open:
        if next_token < 0:
            raise ValueError(
                f"nothing can follow token {len(text)} of row {text.row}: the target's logits hold NaN or infinity, or "
                "its checkpoint's settings forbid every token; expected at least one that is possible"
            )
        text.write([next_token])
    after = (next_token, source) if goes_on else (None, None)
    examined = min(cut + 1, len(drafted))
    return Round(tuple(drafted), len(kept), *after, examined, tuple(overlaps[:examined]))
