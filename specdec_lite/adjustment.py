"""From logits and a prefix to the distribution that is really sampled."""

from __future__ import annotations

from collections.abc import Sequence

import math
import torch
from torch import Tensor

from .sampling import SamplingRule
from .texts import Text


class Adjustment:
    """The sampling rule; the checkpoint's own processors are to come."""

    def __init__(self, rule: SamplingRule, processors: Sequence = ()):
        self.rule, self.processors = rule, processors

    def probs(self, logits: Tensor, texts: Sequence[Text], ahead: Tensor) -> Tensor:
        """``(B, n, vocab)`` logits to probabilities."""
        for token in self.processors:
            logits = logits.index_fill(-1, torch.tensor(token), -math.inf)
        return self.rule.probs(logits)
