"""From logits and a prefix to the distribution that is really sampled: what the checkpoint ships, then the call's rule.

A checkpoint's generation config can forbid n-grams, force tokens, ask for a least length ... `generate` obeys it by
Hugging Face's logits processors. We use the same ones in the same order (`settings.py`), one list per row, and the same
list for target and draft: p and q are then distributions over the same texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from .sampling import SamplingRule
from .texts import Text


class Adjustment:
    """The processors of each row, then the sampling rule.

    Parameters
    ----------
    rule : SamplingRule
        Temperature, top-k and top-p of the call.
    processors : sequence of transformers.LogitsProcessorList
        One list per row, found by ``text.row``; none at all, or empty ones, if the checkpoint ships nothing.
    """

    def __init__(self, rule: SamplingRule, processors: Sequence[LogitsProcessorList] = ()):
        self.rule = rule
        self.processors = list(processors) if any(processors) else []

    def probs(self, logits: Tensor, texts: Sequence[Text], ahead: Tensor) -> Tensor:
        """Probabilities ``(B, n, V)`` from logits ``(B, n, V)``, one text per row, and ahead ``(B, m)``, m + 1 >= n.

        ``ahead`` holds tokens behind each text. The last column of logits scores what follows all of them, the column
        before it what follows all but one, and so on.
        """
        return self.rule.probs(self.scores(logits, texts, ahead))

    def scores(self, logits: Tensor, texts: Sequence[Text], ahead: Tensor) -> Tensor:
        """The logits as the processors leave them, same shape; those that were given are never written to."""
        if not self.processors:
            return logits
        logits = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32, copy=True)
        return torch.stack([self._row(*row) for row in zip(logits, texts, ahead, strict=True)])

    def _row(self, logits: Tensor, text: Text, ahead: Tensor) -> Tensor:
        written = torch.tensor(text.tokens).to(logits.device, non_blocking=True)  # the host does not wait here
        prefix = torch.cat([written, ahead])[None]
        shortest = prefix.shape[1] + 1 - len(logits)
        columns = list(logits.split(1))
        for k in range(len(columns)):
            for processor in self.processors[text.row]:
                columns[k] = processor(prefix[:, : shortest + k], columns[k])
        return torch.cat(columns)
