"""The exact law of the loops: one round enumerated from every reachable text, and the rounds composed.

`Branching` stands in for `specdec_lite.Draws`. The round under test runs as it is, once per path: each run follows a
script of outcomes, takes the first possible one where the script ends, and notes the others for later runs. A round
from a text depends on nothing but the text, so the law of a generation follows by going from text to text.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch

import mutations
import specdec_lite as sd
import tiny
from reference import adjusted
from specdec_lite.checking import Checker
from specdec_lite.drafting import as_proposer
from specdec_lite.generation import rounds


class Branching(mutations.Branching):
    """The laboratory's branching, with the methods of `Draws`: every row goes its own way.

    Of the coins a rule asks nothing but its cut, so ways with the same cut are taken together.
    """

    device = torch.device("cpu")

    def __init__(self, script=(), rule: sd.Verifier = sd.TokenRule()):  # noqa: B008
        super().__init__(script)
        self.rule = rule

    def seen(self, p, texts):
        return p

    def guesses(self, q, texts, slot):
        return self.next_tokens(q, texts)

    def next_tokens(self, p, texts):
        return torch.tensor([self.take(enumerate(row)) for row in p.tolist()])

    def coins(self, heads, texts):
        return torch.tensor([self.take(self.outcomes(row)) for row in heads.tolist()]).reshape(heads.shape).bool()

    def outcomes(self, heads: Sequence[float]) -> Iterator[tuple[tuple[bool, ...], float]]:
        """All cuts that the coins of one row can make: some coins that make it, and the probability of all that do."""
        ways = defaultdict(list)
        for coins, cut in cuts(self.rule, len(heads)):
            ways[cut].append((coins, math.prod(head if coin else 1 - head for coin, head in zip(coins, heads))))
        for same in ways.values():
            yield same[0][0], sum(probability for _, probability in same)


@functools.cache
def cuts(rule: sd.Verifier, n: int) -> list[tuple[tuple[bool, ...], int]]:
    """Every way in which n coins can fall, and where the rule cuts then."""
    ways = list(product([True, False], repeat=n))
    return list(zip(ways, rule.cut(torch.tensor(ways, dtype=torch.bool).reshape(len(ways), n)).tolist()))


def every_path(
    run: Callable[[Branching], object],
    rule: sd.Verifier = sd.TokenRule(),  # noqa: B008
) -> Iterator[tuple[object, float]]:
    """All results that can happen, each with its probability."""
    return mutations.every_path(run, functools.partial(Branching, rule=rule))


Joint = tuple[tuple[int, ...], ...]  # the generated tokens of every row


class Case:
    """A target, a proposer, sources and settings, of which the law is asked."""

    def __init__(self, target: sd.Seq2Seq, draft, sources: Sequence, rule: sd.SamplingRule, length: int, gamma: int):
        self.target, self.draft, self.gamma, self.length = target, draft, gamma, length
        self.sources, self.sampling = list(sources), rule
        self.seen: list[sd.Round] = []

    def texts(self, state: Joint) -> list[sd.Text]:
        texts = self.target.texts(len(self.sources), self.length)
        for text, tokens in zip(texts, state):
            text.write(tokens)
        return texts

    def law(self, verification: sd.Verifier | None = None) -> dict[Joint, float]:
        """The distribution over finished texts, all rows together."""
        start: Joint = tuple(() for _ in self.sources)
        waiting, finished = {start: 1.0}, defaultdict(float)
        while waiting:
            state = min(waiting, key=lambda state: sum(map(len, state)))  # nothing leads back to a shorter one
            probability = waiting.pop(state)
            if not any(text.open for text in self.texts(state)):
                finished[state] += probability
                continue
            for after, step in self.round_from(state, verification or sd.TokenRule()):
                waiting[after] = waiting.get(after, 0.0) + probability * step
        return dict(finished)

    def round_from(self, state: Joint, verification: sd.Verifier) -> Iterator[tuple[Joint, float]]:
        """Where one round of the package's own loop leads, with probabilities."""
        source = self.target.source(self.sources)
        everything = self.texts(state)

        def run(draws: Branching) -> Joint:
            texts = self.texts(state)
            open_rows = [text.row for text in texts if text.open]
            here = sd.EncodedSource(
                self.target.hf_model, [source.inputs[i] for i in open_rows], [self.sources[i] for i in open_rows]
            )
            proposer = as_proposer(self.draft, self.target)
            proposer.start(here, [texts[i] for i in open_rows])
            checker, adjustment = Checker(self.target, here), self.target.adjustment(self.sampling, source, texts)
            step = next(
                rounds(checker, proposer, texts, self.gamma, adjustment, verification, draws, lambda phase: None)
            )
            self.seen += [record for record in step.records if record]
            return tuple(tuple(text.generated) for text in texts)

        assert any(text.open for text in everything)
        with torch.inference_mode():
            yield from every_path(run, verification)


def target_law(
    model: sd.Seq2Seq, source, rule: sd.SamplingRule, max_new_tokens: int,
    edit: Callable[[tuple[int, ...], list[float]], None] = lambda prefix, logits: None,
) -> dict[tuple[int, ...], float]:  # fmt: skip
    """What the target alone would emit, from passes without a cache and plain-Python sampling arithmetic.

    `edit` changes the logits that follow a prefix as the test thinks that the checkpoint's settings should.
    """
    total = {}

    def extend(tokens: tuple[int, ...], probability: float) -> None:
        if len(tokens) == max_new_tokens or (tokens and tokens[-1] == tiny.EOS):
            total[tokens] = probability
            return
        logits = tiny.fresh_logits(model, source, (model.start_token, *tokens))[-1].tolist()
        edit(tokens, logits)
        for token, p in enumerate(adjusted(logits, rule)):
            if p > 0:
                extend((*tokens, token), probability * p)

    extend((), 1.0)
    return total


def joint(*laws: dict) -> dict[Joint, float]:
    """The law of several rows that have nothing to do with each other."""
    return {
        tuple(tokens for tokens, _ in rows): math.prod(probability for _, probability in rows)
        for rows in product(*(law.items() for law in laws))
    }


def distance(p: dict, q: dict) -> float:
    """Total variation between two laws."""
    return sum(abs(p.get(outcome, 0.0) - q.get(outcome, 0.0)) for outcome in p.keys() | q.keys()) / 2


def remembering_cursor() -> type[sd.CachedDecoder]:
    """A cursor that computes the logits of each context once, without a cache, for thousands of runs.

    It gives what `CachedDecoder` promises: the logits of the tokens that were really fed, less those rolled back.
    """
    rows: dict[tuple, torch.Tensor] = {}

    class RememberingCursor(sd.CachedDecoder):
        def start(self, source):
            self.sources = [inputs["input_ids"][0].tolist() for inputs in source.inputs]
            self.fed, self.length = [()] * len(self.sources), 0

        def extend(self, token_ids):
            logits = []
            for i, tokens in enumerate(token_ids.tolist()):
                contexts = [(*self.fed[i], *tokens[: n + 1]) for n in range(len(tokens))]
                self.fed[i] = contexts[-1]
                logits.append(torch.stack([self._row(self.sources[i], context) for context in contexts]))
            self.length += token_ids.shape[1]
            self.passes += 1
            return torch.stack(logits)

        def rollback(self, length):
            assert 0 <= length <= self.length
            self.fed, self.length = [fed[:length] for fed in self.fed], length

        def select(self, indices):
            self.sources, self.fed = [self.sources[i] for i in indices], [self.fed[i] for i in indices]

        def _row(self, source, context):
            key = (id(self.hf_model), *source, None, *context)
            if key not in rows:
                ids = [torch.tensor([x]) for x in (source, context)]
                rows[key] = self.hf_model(input_ids=ids[0], decoder_input_ids=ids[1], use_cache=False).logits[0, -1]
            return rows[key]

    return RememberingCursor


def remembering(pair: sd.Pair) -> sd.Pair:
    """The pair, with cursors that remember logits."""
    kind = remembering_cursor()
    return sd.Pair(*(model.with_cursor(kind) for model in pair), pair.name)
