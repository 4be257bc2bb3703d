"""Several proposers, one after the other: the first that has something to say is heard."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import pad

from ..adjustment import Adjustment
from ..decoder import EncodedSource
from ..models import Seq2Seq
from ..sampling import Draws
from ..texts import Text
from .base import Proposal, Proposer
from .wrapper import Wrapper


class Chain(Wrapper):
    """For each row the first proposer with at least one token: a copy, say, and else the draft model.

    A later one is asked only if some row has nothing yet. So while copies go well a draft model rests. It reads what it
    has missed in a single pass when it is asked again.
    """

    def __init__(self, *proposers: Seq2Seq | Proposer):
        if not proposers:
            raise ValueError("proposers: expected at least one proposer")
        super().__init__(*proposers)

    def start(self, source: EncodedSource, texts: Sequence[Text]) -> None:
        super().start(source, texts)
        self.speakers = {}  # by row: which proposer is heard in this round

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        left, answers = list(plan), []
        for which in range(len(self.inner)):
            answers.append(self.ask(which, texts, left, adjustment, draws))
            for i, count in enumerate(answers[-1].counts):
                if count:
                    left[i], self.speakers[texts[i].row] = 0, which
            if not any(left):
                break
        return self.merge(answers, [self.speakers.get(text.row) for text in texts])

    def merge(self, answers: Sequence[Proposal], speakers: Sequence[int | None]) -> Proposal:
        """Each row from the one who speaks for it; None: nobody does."""
        counts = [0 if who is None else answers[who].counts[i] for i, who in enumerate(speakers)]
        first, *others = sorted({who for who in speakers if who is not None}) or [0]
        tokens, probs, _ = answers[first]
        for who in others:  # a batch of which some rows were copied
            mine = torch.tensor([each == who for each in speakers], device=tokens.device)
            longest = max(tokens.shape[1], answers[who].tokens.shape[1])
            (tokens, probs), (its_tokens, its_probs) = (
                (pad(given, (0, longest - given.shape[1])), pad(q, (0, 0, 0, longest - q.shape[1])))
                for given, q in ((tokens, probs), answers[who][:2])
            )
            tokens = torch.where(mine[:, None], its_tokens, tokens)
            probs = torch.where(mine[:, None, None], its_probs, probs)
        return Proposal(tokens, probs, counts)

    def keep(self, texts: Sequence[Text], cuts: Sequence[int]) -> None:
        """To each, how many of its own tokens were kept."""
        speakers = [self.speakers.pop(text.row, None) for text in texts]
        for which, each in enumerate(self.inner):
            each.keep(texts, [cut if who == which else 0 for cut, who in zip(cuts, speakers)])
