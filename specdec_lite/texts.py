"""A text while it is being written. The one place that knows where a text ends: behind an EOS, or at its limit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import check_integer


class Text:
    """The tokens of one row, on the host: the decoder's prompt, then what was generated.

    Parameters
    ----------
    prompt : sequence of int
        What the decoder is given to begin with; most models want one start token.
    eos_tokens : frozenset of int
        Each of them ends the text.
    max_new_tokens : int
        So many tokens are generated at most, the prompt not counted.
    row : int
        The text's number in its batch. It stays when other rows finish and leave.
    """

    def __init__(self, prompt: Sequence[int], eos_tokens: frozenset[int], max_new_tokens: int, row: int = 0):
        if not len(prompt):
            raise ValueError(f"prompt={prompt!r}: expected one token or more to begin with")
        check_integer("max_new_tokens", max_new_tokens, minimum=1)
        self.row, self.eos_tokens, self.prompt_length = row, eos_tokens, len(prompt)
        self.limit = len(prompt) + max_new_tokens
        self._tokens = list(prompt)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Prompt and generated tokens: a copy, so that nobody can write but `write`."""
        return tuple(self._tokens)

    @property
    def generated(self) -> list[int]:
        return self._tokens[self.prompt_length :]

    @property
    def remaining(self) -> int:
        """How many tokens still fit."""
        return self.limit - len(self._tokens)

    @property
    def open(self) -> bool:
        ended = len(self._tokens) > self.prompt_length and self._tokens[-1] in self.eos_tokens
        return self.remaining > 0 and not ended

    def until_eos(self, tokens: Sequence[int]) -> Sequence[int]:
        """The tokens up to the first EOS, that one included."""
        ends = (i + 1 for i, token in enumerate(tokens) if token in self.eos_tokens)
        return tokens[: next(ends, len(tokens))]

    def write(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Append tokens, stop behind an EOS and at the limit; return what was written."""
        written = tuple(self.until_eos(tokens)[: self.remaining])
        self._tokens += written
        return written


def unfed(texts: Sequence[Text], start: int, room: int, filler: int, device: torch.device) -> Tensor:
    """What a cursor at position `start` has not seen of each text, ``(B, longest + room)``.

    Rows begin at the left; behind a row's end stands `filler`, until somebody writes there.
    """
    width = max(len(text) for text in texts) - start + room
    rows = [text.tokens[start:] for text in texts]
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], dtype=torch.long, device=device)


def go_back(cursor, texts: Sequence[Text]) -> None:
    """After a round: a cursor drops the rows that have finished, and forgets what not all others have in common.

    The last token of a text has been fed to nobody yet. So the cursor stands before the last token of the shortest
    text; rows that are ahead are fed again.
    """
    open_rows = [i for i, text in enumerate(texts) if text.open]
    if not open_rows:
        return
    if len(open_rows) < len(texts):
        cursor.select(open_rows)
    cursor.rollback(min(cursor.length, *(len(texts[i]) - 1 for i in open_rows)))
