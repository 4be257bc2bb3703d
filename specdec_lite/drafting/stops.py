"""When to stop drafting: behind the first token that the draft itself is unsure of.

That token is *kept*. To drop it would be wrong: which tokens reach the target would then depend on what they are, and
the q of those that do would no longer be what they were drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor

from ..adjustment import Adjustment
from ..checks import check_number
from ..models import Seq2Seq
from ..sampling import Draws, SamplingRule
from ..texts import Text
from .base import Proposal, Proposer
from .chain import Chain
from .wrapper import Wrapper


class Stop(Wrapper):
    """Asks for one token at a time, and for none behind an EOS or behind a token of which `unsure` says so.

    What it judges by is the draft's distribution before temperature, top-k and top-p: at temperature 0 q is certain of
    everything. A proposer without a model is taken to be sure. In a chain it goes around the draft model: of a row that
    was copied a model has no opinion.
    """

    def __init__(self, proposer: Seq2Seq | Proposer):
        super().__init__(proposer)
        if isinstance(self.inner[0], Chain):
            raise ValueError("proposer=a chain: expected the stop inside of it, around the draft model")

    def unsure(self, probs: Tensor, tokens: Tensor) -> Tensor:
        """Whether to stop behind these tokens ``(B,)``, drawn after ``probs`` ``(B, vocab)``: ``(B,)``, True or not."""
        raise NotImplementedError

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        ahead = deepcopy(list(texts))  # the texts as they would be if all was kept
        answers, counts, going = [], [0] * len(texts), [n > 0 for n in plan]
        while any(going):
            slot, listener = len(answers), Listener(adjustment)
            asked = [int(n > slot) for n in plan]  # rows that have stopped go along, so that all stay in step
            answer = self.ask(0, ahead, asked, listener, LaterDraws(draws, texts, slot))
            if not any(answer.counts):
                break
            answers.append(answer)
            tokens, stop = self.read(answer, listener)
            for i, text in enumerate(ahead):
                going[i] &= answer.counts[i] > 0
                counts[i] += going[i]
                going[i] &= not stop[i] and plan[i] > slot + 1 and tokens[i] not in text.eos_tokens
                text.write(tokens[i : i + 1] if answer.counts[i] else ())
        if not answers:
            return answer
        return Proposal(torch.cat([a.tokens for a in answers], 1), torch.cat([a.probs for a in answers], 1), counts)

    def read(self, answer: Proposal, listener: Listener) -> tuple[list[int], list[int]]:
        """The tokens and the verdicts on them, in one transfer from the device."""
        tokens = answer.tokens[:, 0]
        stop = torch.zeros_like(tokens) if listener.heard is None else self.unsure(listener.heard, tokens).long()
        return tuple(torch.stack([tokens, stop]).tolist())


class ConfidenceStop(Stop):
    """Stops behind a token that the draft gave less than `threshold`, as Hugging Face's assisted generation does."""

    def __init__(self, proposer: Seq2Seq | Proposer, threshold: float = 0.4):
        super().__init__(proposer)
        self.threshold = check_number("threshold", threshold, "a number in [0, 1]", lambda x: 0 <= x <= 1)

    def unsure(self, probs: Tensor, tokens: Tensor) -> Tensor:
        return probs.gather(1, tokens[:, None])[:, 0] < self.threshold


class EntropyStop(Stop):
    """Stops behind a token whose distribution had more entropy than `limit` nats.

    AdaEDL (Agrawal et al. 2024) stops by entropy as well, by way of a bound on the acceptance.
    """

    def __init__(self, proposer: Seq2Seq | Proposer, limit: float = 2.0):
        super().__init__(proposer)
        self.limit = check_number("limit", limit, "a number >= 0, in nats", lambda x: x >= 0)

    def unsure(self, probs: Tensor, tokens: Tensor) -> Tensor:
        return -torch.xlogy(probs, probs).sum(1) > self.limit


class Listener:
    """An adjustment that remembers the last distribution before temperature, top-k and top-p: None, if none came."""

    def __init__(self, adjustment: Adjustment):
        self.adjustment, self.heard = adjustment, None

    def probs(self, logits: Tensor, texts: Sequence[Text], ahead: Tensor) -> Tensor:
        self.heard = SamplingRule().probs(self.adjustment.scores(logits, texts, ahead)[:, -1])
        return self.adjustment.probs(logits, texts, ahead)

    def __getattr__(self, name: str):
        return getattr(self.adjustment, name)


class LaterDraws:
    """A round's random numbers from one slot on, for a proposer that takes this slot for its first."""

    def __init__(self, draws: Draws, texts: Sequence[Text], slot: int):
        self.draws, self.texts, self.slot = draws, texts, slot

    def guesses(self, q: Tensor, texts: Sequence[Text], slot: int) -> Tensor:
        return self.draws.guesses(q, self.texts, self.slot + slot)

    def __getattr__(self, name: str):
        return getattr(self.draws, name)
