"""A small model drafts token by token, with a cursor of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..adjustment import Adjustment
from ..checks import check_methods
from ..decoder import EncodedSource
from ..models import Seq2Seq, check_model, check_same_vocabulary
from ..sampling import Draws
from ..texts import Text, go_back, unfed
from .base import Proposal, Proposer


class DraftModel:
    """A model as a proposer. If it shares the target's encoder, that is not run again."""

    def __init__(self, model: Seq2Seq):
        check_model("model", model)
        self.model, self.cursor = model, model.cursor()

    @property
    def passes(self) -> int:
        return self.cursor.passes

    def start(self, source: EncodedSource, texts: Sequence[Text]) -> None:
        self.model.check_room(texts)
        mine = self.model.source(source.sources)
        lent = mine.hf_model.get_encoder() is source.hf_model.get_encoder() and mine.same_inputs(source)
        self.cursor.start(source if lent else mine)

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        # Catch-up: after a fully accepted round the cursor lacks the last drafted token too, so this step feeds two.
        # Nothing is read from the device, so this may draft on behind an EOS: the start of an exact text is exact.
        cursor, here = self.cursor, self.cursor.length
        known = [len(text) - here for text in texts]
        fed = unfed(texts, here, max(plan), cursor.filler, cursor.device)
        ends = torch.tensor(known, device=cursor.device)[:, None]
        tokens, probs = fed[:, :0], []
        for slot in range(max(plan)):
            seen = cursor.length - here
            width = max(k for k, n in zip(known, plan) if n > slot) + slot - seen  # of the rows that still draft
            logits = cursor.extend(fed[:, seen : seen + width])
            if width > 1:  # one column in each row: what follows its last token
                last = (ends + slot - 1 - seen).clamp(max=width - 1)
                logits = logits.take_along_dim(last[..., None], 1)
            q = adjustment.probs(logits, texts, tokens)
            guess = draws.guesses(q[:, 0], texts, slot)[:, None]
            fed.scatter_(1, ends + slot, guess)
            tokens, probs = torch.cat([tokens, guess], 1), [*probs, q]
            cursor.rollback(here + min(known) + slot)  # as far as every row has come
        return Proposal(tokens, torch.cat(probs, 1), plan)

    def keep(self, texts: Sequence[Text], cuts: Sequence[int]) -> None:
        go_back(self.cursor, texts)


def as_proposer(draft: Seq2Seq | Proposer, target: Seq2Seq) -> Proposer:
    """Wrap a draft model; let any other proposer pass."""
    if isinstance(draft, Seq2Seq):
        draft = DraftModel(draft)
    check_methods("draft", draft, ("start", "propose", "keep", "passes"), "a Seq2Seq or a Proposer")
    if isinstance(draft, DraftModel):
        check_same_vocabulary(target, draft.model)
        if draft.model.device != target.device:
            raise ValueError(f"draft is on {draft.model.device}: expected the target's device, {target.device}")
    return draft
