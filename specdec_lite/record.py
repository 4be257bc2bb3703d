"""What a call gives back: the text, and how it came about, round by round."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Round:
    """What one target pass gave to one row.

    Attributes
    ----------
    drafted : tuple of int
        The proposal, in order; nothing behind an EOS.
    n_accepted : int
        How many of them were emitted.
    next_token : int or None
        The token that the target added; None when an accepted EOS had ended the text.
    source : str or None
        Where next_token came from: "residual" after a refusal, "bonus" after full acceptance, "target" in plain
        decoding.
    examined : int
        How many drafted positions were looked at: the kept ones and the first refused one.
    overlaps : tuple of float
        sum(min(p, q)) at each examined position.
    """

    drafted: tuple[int, ...]
    n_accepted: int
    next_token: int | None
    source: str | None
    examined: int = 0
    overlaps: tuple[float, ...] = ()

    @property
    def emitted(self) -> tuple[int, ...]:
        end = () if self.next_token is None else (self.next_token,)
        return self.drafted[: self.n_accepted] + end

    @property
    def origins(self) -> tuple[str, ...]:
        return ("accepted",) * self.n_accepted + (() if self.next_token is None else (self.source,))


@dataclass
class Generation:
    """A finished text and how it came about. `token_ids` holds generated tokens only, EOS included when reached.

    `pieces` says what each token adds to the text; `refused` the same, round by round, of the guesses not kept.
    In a batch, passes are counted while the row was open, and `seconds` is the time of the whole batch.
    """

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    refused: list[list[str]] = field(default_factory=list)
    target_passes: int = 0
    draft_passes: int = 0
    seconds: float = 0.0
    batch_size: int = 1
    target_probs: Tensor | None = field(default=None, repr=False)  # (tokens, vocab) with record_probs=True

    @property
    def origins(self) -> list[str]:
        """For each token: "accepted", "residual", "bonus", or "target" in plain decoding."""
        return [origin for r in self.rounds for origin in r.origins]

    @property
    def accepted(self) -> int:
        return sum(r.n_accepted for r in self.rounds)

    @property
    def examined(self) -> int:
        return sum(r.examined for r in self.rounds)

    @property
    def overlap_sum(self) -> float:
        return sum(sum(r.overlaps) for r in self.rounds)

    @property
    def alpha(self) -> float:
        """Mean of sum(min(p, q)) over the examined positions; NaN if there was none."""
        return self.overlap_sum / self.examined if self.examined else float("nan")

    @property
    def acceptance_rate(self) -> float:
        """Accepted / examined, with the token rule the other estimate of alpha; NaN if nothing was examined."""
        return self.accepted / self.examined if self.examined else float("nan")

    @property
    def tokens_per_target_pass(self) -> float:
        return len(self.token_ids) / self.target_passes
