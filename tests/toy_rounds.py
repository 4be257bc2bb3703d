"""A rule alone with small models: its rounds enumerated and composed. Arithmetic, without the package's loop."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import product

import torch

from specdec_lite.theory import Model
from specdec_lite.verification import Verifier, at_tokens


def random_model(seed: int, vocab: int = 3, power: float = 2.0) -> Model:
    """Every context has a distribution of its own."""

    @functools.cache
    def model(text: tuple[int, ...]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(hash((seed, *text)) % 2**32)
        row = torch.rand(vocab, generator=generator, dtype=torch.float64) ** power
        return row / row.sum()

    return model


def always(*row) -> Model:
    """A model without memory."""
    return lambda text: torch.tensor([float(x) for x in row], dtype=torch.float64)


def rows_of(model: Model, text: tuple[int, ...], drafts: list[tuple[int, ...]]) -> torch.Tensor:
    """What the model says behind the text and behind each token of each draft, ``(drafts, n + 1, vocab)``."""
    return torch.stack([torch.stack([model(text + draft[:i]) for i in range(len(draft) + 1)]) for draft in drafts])


Ends = Callable[[tuple[int, ...]], bool]  # whether a proposal ends behind this text and guesses


def round_from(
    rule: Verifier, p: Model, q: Model, n: int, text: tuple[int, ...] = (), padding: int = 0, ends: Ends | None = None
) -> Iterator[tuple[tuple[int, ...], float]]:
    """What a round may emit, with probabilities. Every draft of n tokens is a row of one batch.

    With padding, or with proposals that end early, the rows have more slots than tokens were proposed. There q is 0,
    and the rest must not matter.
    """
    vocab = len(p(()))
    drafts = list(product(range(vocab), repeat=n))
    counts = [next((i for i in range(1, n) if ends and ends(text + draft[:i])), n) for draft in drafts]
    drafts, counts = zip(*[(draft, i) for draft, i in zip(drafts, counts) if not any(draft[i:])])  # tails stand once
    tokens, told = torch.tensor(drafts, dtype=torch.long).reshape(len(drafts), n), torch.tensor(counts)[:, None]
    p_rows, q_rows = (rows_of(model, text, drafts) for model in (p, q))
    q_rows[torch.arange(n + 1) >= told] = 0
    chance = torch.where(torch.arange(n) < told, at_tokens(q_rows, tokens), 1.0).prod(-1)
    if padding:
        tokens = torch.cat([tokens, torch.full((len(drafts), padding), vocab - 1)], 1)
        p_rows = torch.cat([p_rows, p_rows[:, :1].expand(-1, padding, -1)], 1)
        q_rows = torch.cat([q_rows, torch.zeros_like(p_rows[:, :padding])], 1)
    heads = rule.heads(p_rows, q_rows, tokens)
    for fall in product([True, False], repeat=n + padding):
        coins = torch.tensor(fall, dtype=torch.bool).expand(heads.shape)
        cut = rule.cut(coins)
        after = rule.after(p_rows, q_rows, tokens, cut).tolist()
        weights = (chance * torch.where(coins, heads, 1 - heads).prod(-1)).tolist()
        for draft, count, kept, weight, row in zip(drafts, counts, cut.tolist(), weights, after):
            if weight:
                assert kept <= count, "a token that nobody proposed was kept"
                yield from (((*draft[:kept], x), weight * share) for x, share in enumerate(row))


def emitted_law(
    rule: Verifier, p: Model, q: Model, gamma: int, length: int, whole: bool = False, padding: int = 0,
    ends: Ends | None = None,
) -> dict[tuple[int, ...], float]:  # fmt: skip
    """The law of the first `length` tokens. A round never drafts beyond them, as in the loop; `whole` ones do."""
    waiting, finished = {(): 1.0}, defaultdict(float)
    while waiting:
        text = min(waiting, key=len)
        probability = waiting.pop(text)
        if len(text) == length:
            finished[text] += probability
            continue
        n = gamma if whole else min(gamma, length - len(text) - 1)
        for emitted, share in round_from(rule, p, q, n, text, padding, ends):
            after = (text + emitted)[:length]
            waiting[after] = waiting.get(after, 0.0) + probability * share
    return dict(finished)


def plain_law(p: Model, length: int) -> dict[tuple[int, ...], float]:
    """What the target alone emits."""
    law = {(): 1.0}
    for _ in range(length):
        law = {(*text, x): weight * share for text, weight in law.items() for x, share in enumerate(p(text).tolist())}
    return law
