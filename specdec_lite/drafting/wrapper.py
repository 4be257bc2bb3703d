"""A proposer around others: what it does not change, it passes on."""

from __future__ import annotations

from collections.abc import Sequence

from ..adjustment import Adjustment
from ..decoder import EncodedSource
from ..models import Seq2Seq
from ..sampling import Draws
from ..texts import Text
from .base import Proposal, Proposer, listen
from .model import proposer_from


class Wrapper(Proposer):
    """Holds one proposer or several, each a draft model or any other; `inner` lists them."""

    def __init__(self, *proposers: Seq2Seq | Proposer):
        self.inner = [proposer_from(each, "proposer") for each in proposers]

    @property
    def passes(self) -> int:
        return sum(each.passes for each in self.inner)

    def start(self, source: EncodedSource, texts: Sequence[Text]) -> None:
        self.vocab = source.hf_model.get_output_embeddings().weight.shape[0]
        for each in self.inner:
            each.start(source, texts)

    def ask(self, which: int, texts: Sequence[Text], plan: Sequence[int], adjustment, draws) -> Proposal:
        """The answer of one of them, checked and cut to the plan."""
        return listen(self.inner[which], texts, plan, adjustment, draws, self.vocab)

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        return self.ask(0, texts, plan, adjustment, draws)

    def keep(self, texts: Sequence[Text], cuts: Sequence[int]) -> None:
        for each in self.inner:
            each.keep(texts, cuts)
