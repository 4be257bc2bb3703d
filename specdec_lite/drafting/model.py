"""A small model drafts token by token, with a cursor of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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


def proposer_from(draft: Seq2Seq | Proposer, name: str = "draft") -> Proposer:
    """Wrap a draft model (a compiled one brings its own kind); let any other proposer pass; refuse what is neither."""
    if isinstance(draft, Seq2Seq):
        draft = getattr(draft, "proposer_kind", DraftModel)(draft)
    check_methods(name, draft, ("start", "propose", "keep", "passes"), "a Seq2Seq or a Proposer")
    return draft


def as_proposer(draft: Seq2Seq | Proposer, target: Seq2Seq) -> Proposer:
    """The draft as a proposer, and every model in it one that can draft for this target."""
    proposer = proposer_from(draft)
    for model in models_in(proposer):
        check_same_vocabulary(target, model)
        if model.device != target.device:
            raise ValueError(f"draft is on {model.device}: expected the target's device, {target.device}")
    return proposer


def models_in(proposer: Proposer) -> Iterator[Seq2Seq]:
    """The draft models of a proposer, and of those inside it."""
    if isinstance(proposer, DraftModel):
        yield proposer.model
    for inner in getattr(proposer, "inner", ()):
        yield from models_in(inner)
