"""Text as a draft: what followed the last tokens elsewhere is proposed to follow them here. No model, and no pass.

The idea: Yang et al. (2023), "Inference with Reference", and Saxena (2023), "Prompt Lookup Decoding".
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch

from ..adjustment import Adjustment
from ..checks import check_integer
from ..decoder import EncodedSource
from ..sampling import Draws, one_hot
from ..texts import Text
from .base import Proposal, Proposer


class CopyDraft(Proposer):
    """Looks for the last tokens of the text, and copies what came after them. It is certain of it: q is one-hot.

    The longest match counts. Of several, the one in the reference counts before one in the source or in the text
    itself; then the one nearest to where the text stands. Without a match the row proposes nothing.

    Parameters
    ----------
    references : list of int, or list of such, optional
        Token ids of what may be said again: an earlier translation, or several one after the other. One list for all
        rows, or a list that has one for each.
    source : bool
        Copy from the source, too. It must be token ids that mean the same to the decoder.
    own_text : bool
        Copy from the text so far, too.
    longest : int
        How many tokens a match has at most.

    Raises
    ------
    ValueError, TypeError
        References that are no token ids; and at the start of a call, before any pass: ids outside the vocabulary, not
        one reference for each row, a source without token ids.
    """

    def __init__(
        self,
        references: Sequence[int] | Sequence[Sequence[int]] | None = None,
        *,
        source: bool = False,
        own_text: bool = False,
        longest: int = 3,
    ):
        if references is None and not source and not own_text:
            raise ValueError("references=None: expected some, or source=True, or own_text=True to copy from")
        self.many = isinstance(references, (list, tuple)) and any(isinstance(ids, (list, tuple)) for ids in references)
        given = () if references is None else references if self.many else [references]
        self.references = [_token_ids(ids) for ids in given]
        self.source, self.own_text = source, own_text
        self.longest = check_integer("longest", longest, minimum=1)

    def start(self, source: EncodedSource, texts: Sequence[Text]) -> None:
        self.vocab = source.hf_model.get_output_embeddings().weight.shape[0]
        if self.many and len(self.references) != len(texts):
            raise ValueError(f"references has {len(self.references)} lists: expected one for each of {len(texts)} rows")
        self.places = {text.row: [] for text in texts}  # by row, what is looked through
        for i, (text, inputs) in enumerate(zip(texts, source.inputs)):
            found = self.references[i : i + 1] if self.many else list(self.references)
            if self.source:
                if "input_ids" not in inputs:
                    raise ValueError(f"source=True: expected sources of token ids, this one has {', '.join(inputs)}")
                found.append(tuple(inputs["input_ids"][0].tolist()))
            prompt = text.tokens[: text.prompt_length]  # in front of each, so that a text can begin as they do
            self.places[text.row] = [prompt + self._inside(ids) for ids in found]

    def _inside(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        outside = [token for token in ids if not 0 <= token < self.vocab]
        if outside:
            raise ValueError(f"a reference holds token id {outside[0]}: expected ids in 0..{self.vocab - 1}")
        return ids

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        rows = [self.copy(text, n) for text, n in zip(texts, plan)]
        counts = [len(row) for row in rows]
        padded = [[*row, *[0] * (max(counts) - len(row))] for row in rows]
        tokens = torch.tensor(padded, dtype=torch.long, device=draws.device)
        return Proposal(tokens, one_hot(tokens, self.vocab), counts)

    def copy(self, text: Text, n: int) -> tuple[int, ...]:
        """Up to n tokens that may follow the text."""
        written, here = text.tokens, len(text)
        places = [*self.places[text.row], *([written] if self.own_text else [])]
        for k in range(min(self.longest, here), 0, -1):
            for place in places:
                ends = [end for end in range(k, len(place)) if place[end - k : end] == written[-k:]]
                if ends:
                    nearest = min(ends, key=lambda end: abs(end - here))
                    return place[nearest : nearest + n]
        return ()


def _token_ids(ids) -> tuple[int, ...]:
    if not isinstance(ids, (list, tuple)) or not all(isinstance(i, Integral) and not isinstance(i, bool) for i in ids):
        raise TypeError(f"references={ids!r:.80}: expected lists of token ids, such as an earlier run's `token_ids`")
    return tuple(map(int, ids))
