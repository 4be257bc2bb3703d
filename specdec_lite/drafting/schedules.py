"""How many tokens to draft, decided anew in every round. The loop's gamma is the most that may be asked for.

What a schedule learns it keeps per row, and forgets when a call begins. With a stop it goes around the stop, which asks
for one token at a time: ``HeuristicGamma(ConfidenceStop(draft))``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..adjustment import Adjustment
from ..checks import check_integer, check_number
from ..decoder import EncodedSource
from ..models import Seq2Seq
from ..sampling import Draws
from ..texts import Text
from ..theory import best_gamma, check_costs
from .base import Proposal, Proposer
from .wrapper import Wrapper

WEIGHT = 20.0  # for so many examined tokens counts the alpha that an adaptive schedule begins with


class AtMost(Wrapper):
    """Asks for `gamma` tokens at most. The other schedules change this number, `self.gammas[row]`, as they learn."""

    def __init__(self, proposer: Seq2Seq | Proposer, gamma: int):
        super().__init__(proposer)
        self.first = check_integer("gamma", gamma, minimum=1)

    def start(self, source: EncodedSource, texts: Sequence[Text]) -> None:
        super().start(source, texts)
        self.gammas, self.counts = {text.row: self.first for text in texts}, {}

    def propose(self, texts: Sequence[Text], plan: Sequence[int], adjustment: Adjustment, draws: Draws) -> Proposal:
        asked = [min(n, self.gammas[text.row]) for n, text in zip(plan, texts)]
        answer = self.ask(0, texts, asked, adjustment, draws)
        self.counts = {text.row: count for text, count in zip(texts, answer.counts)}
        return answer

    def keep(self, texts: Sequence[Text], cuts: Sequence[int]) -> None:
        super().keep(texts, cuts)
        for text, cut in zip(texts, cuts):
            if count := self.counts.pop(text.row, 0):
                self.learn(text.row, count, min(cut, count))

    def learn(self, row: int, count: int, cut: int) -> None:
        """Of `count` tokens that the row proposed, `cut` were kept."""


class HeuristicGamma(AtMost):
    """Two more after a round that kept all, one fewer after any other: what Hugging Face's assisted generation does."""

    def __init__(self, proposer: Seq2Seq | Proposer, gamma: int = 5):
        super().__init__(proposer, gamma)

    def learn(self, row: int, count: int, cut: int) -> None:
        self.gammas[row] = self.gammas[row] + 2 if cut == count else max(1, self.gammas[row] - 1)


class AdaptiveGamma(AtMost):
    """The gamma that the theory calls best for the acceptance seen so far in this row, and for these costs.

    It maximises Leviathan et al. (2023), Theorem 3.8, with the measured v, as `best_gamma` does. The acceptance is
    kept tokens over examined ones, both faded by `memory` with every round, so that it follows the text.

    Parameters
    ----------
    c : float
        Time of a draft step in units of a plain target pass; 0 for copies. `measure_costs` measures c and v.
    v : float, dict or function
        The target's pass over gamma + 1 positions in the same units. Of a dict only its gammas are chosen.
    alpha : float
        The acceptance to begin with.
    memory : float
        How much of what is known stays with each round, in [0, 1].
    """

    def __init__(
        self,
        proposer: Seq2Seq | Proposer,
        c: float,
        v: float | Mapping[int, float] | Callable[[int], float] = 1.0,
        *,
        alpha: float = 0.8,
        memory: float = 0.95,
    ):
        self.among = sorted(gamma for gamma in v if gamma) if isinstance(v, Mapping) else range(1, 17)
        if not self.among:
            raise ValueError(f"v={v!r}: expected the cost of at least one gamma >= 1")
        self.c, self.v = c, v.__getitem__ if isinstance(v, Mapping) else v
        for gamma in self.among:
            check_costs(c, self.v(gamma) if callable(self.v) else self.v)
        share = "a number in [0, 1]"
        self.alpha = check_number("alpha", alpha, share, lambda x: 0 <= x <= 1)
        self.memory = check_number("memory", memory, share, lambda x: 0 <= x <= 1)
        super().__init__(proposer, self.best(self.alpha))

    def start(self, source: EncodedSource, texts: Sequence[Text]) -> None:
        super().start(source, texts)
        self.seen = {text.row: (self.alpha * WEIGHT, WEIGHT) for text in texts}  # kept, examined

    def learn(self, row: int, count: int, cut: int) -> None:
        kept, examined = (self.memory * number for number in self.seen[row])
        self.seen[row] = kept + cut, examined + min(cut + 1, count)
        self.gammas[row] = self.best(self.seen[row][0] / self.seen[row][1])

    def best(self, alpha: float) -> int:
        return best_gamma(alpha, self.c, self.v, self.among)
