"""Self-checks by which an installation, or a port to other hardware, can be trusted: `python -m specdec_lite check`.

What speculative decoding promises is that nothing about the output changes. A mistake in it is silent: texts still read
well. So each check compares with something that the mistake cannot touch: plain decoding's whole distribution, passes
without a cache, Hugging Face's `generate`. The tests break the package in several ways and see which check says so.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product, zip_longest

import torch
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from .drafting.model import DraftModel
from .experiment import load_prompts
from .generation import autoregressive_generate, speculative_generate
from .inputs import Source
from .loading import load_pair, quiet, same_random_state
from .models import Pair, Seq2Seq, check_pair
from .record import Generation
from .sampling import Draws, wide
from .selfcheck import TOLERANCE
from .verification import Verifier, verifier

PAD, EOS = 0, 1
# One at a time, each as a checkpoint may ship it, on models whose texts end at different lengths.
SHIPPED = {"no_repeat_ngram_size": 2, "min_length": 11, "repetition_penalty": 5.0, "suppress_tokens": [7, 13, 20]}
ENDS = [EOS, 4, 14, 23]


@dataclass(frozen=True)
class Outcome:
    """What a check found: `ok`, or what was wrong and what to do."""

    name: str
    ok: bool
    seconds: float
    found: str

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'FAILED':6}  {self.name:27} {self.seconds:5.1f} s  {self.found}"


class Wrong(Exception):
    """A check's finding that something is not as it should be."""


def run_checks(pair: Pair | None = None) -> Iterator[Outcome]:
    """Check this installation, and a pair: the pocket pair if none is given. Each outcome comes as soon as it is known.

    ``for outcome in sd.run_checks(): print(outcome)`` takes less than a minute on two CPU cores. The exact distribution
    and the checkpoint's settings are checked with tiny random models; greedy texts, the cache and the draft's q with
    the pair's. Nothing is downloaded, and no random state is moved.
    """
    pair = load_pair() if pair is None else pair
    check_pair(pair)
    sources = some_sources(pair)  # refuses a pair that reads no text
    for name, (check, advice) in CHECKS.items():
        began = time.perf_counter()
        try:
            with quiet(reports=False):
                ok, found = True, check(pair, sources)
        except Wrong as wrong:
            ok, found = False, f"{wrong}\n        what to do: {advice}"
        except Exception as error:  # an installation can fail in any way, and the other checks still have a say
            ok, found = False, f"{type(error).__name__}: {error}\n        what to do: {advice}"
        yield Outcome(name, ok, time.perf_counter() - began, found)


# ---- The rules: the distribution of whole outputs, exactly ----


class Branching(Draws):
    """Draws nothing at random: takes the outcomes of a script, then each first possible one, and notes the others.

    Running a decoder once for every script so found gives every output that can happen, with its probability.
    """

    def __init__(self, script: tuple[int, ...], device: torch.device, rule: Verifier):
        super().__init__(0, device)
        self.script, self.rule = script, rule
        self.taken, self.others, self.probability = (), [], 1.0

    def take(self, outcomes: Iterable[tuple[object, float]]):
        possible = [(value, probability) for value, probability in outcomes if probability > 0]
        step, choice = len(self.taken), 0
        if step < len(self.script):
            choice = self.script[step]
        else:
            self.others += [(*self.taken, other) for other in range(1, len(possible))]
        self.taken += (choice,)
        value, probability = possible[choice]
        self.probability *= probability
        return value

    def next_tokens(self, p: Tensor, texts) -> Tensor:
        return torch.tensor([self.take(enumerate(row)) for row in p.tolist()], device=self.device)

    def guesses(self, q: Tensor, texts, slot: int) -> Tensor:
        return self.next_tokens(q, texts)

    def coins(self, heads: Tensor, texts) -> Tensor:
        """Coins that give the same cut have the same consequences: one branch for each cut."""
        row, ways = heads[0].tolist(), {}
        for coins in product([True, False], repeat=len(row)):
            probability = math.prod(head if coin else 1 - head for coin, head in zip(coins, row))
            cut = int(self.rule.cut(torch.tensor([coins], dtype=torch.bool)))
            ways[cut] = coins, probability + ways.get(cut, (None, 0.0))[1]
        return torch.tensor([self.take(ways.values())], dtype=torch.bool, device=self.device)


def distribution(decode: Callable[..., Generation], *models: Seq2Seq, **options) -> dict[tuple[int, ...], float]:
    """The probability of every output of one of the two loops."""
    total, scripts = defaultdict(float), [()]
    while scripts:
        draws = Branching(scripts.pop(), models[0].device, verifier(options.get("verification", "token")))
        total[tuple(decode(*models, [2, 3, EOS], draws=draws, **options).token_ids)] += draws.probability
        scripts += draws.others
    return total


def exact_distribution(pair: Pair, sources: list[Source]) -> str:
    """Every output of three tokens: speculative decoding gives it the probability that plain decoding gives it."""
    device, far, found = pair.target.device, [], []
    for family, rule in product(FAMILIES, ("token", "block")):
        tiny = tiny_pair(family, 4, device, suppress_tokens=[PAD])
        options = {"max_new_tokens": 3, "temperature": 2.0}  # flatter: every text matters
        plain = distribution(autoregressive_generate, tiny.target, **options)
        spec = distribution(speculative_generate, *tiny, gamma=2, verification=rule, **options)
        far.append(sum(abs(plain.get(text, 0.0) - spec.get(text, 0.0)) for text in plain | spec) / 2)
        found.append(f"{family}, {rule} rule: {far[-1]:.0e}")
    said = f"distance from plain decoding, over all texts of 3 tokens: {'; '.join(found)}"
    return confirm(all_below(1e-9 if wide(device) == torch.float64 else 1e-4, far), said)


def coupled_texts(pair: Pair, sources: list[Source]) -> str:
    """Under the coupled rule a seed gives one text, whatever gamma is, and with plain decoding, too."""
    seeds, gammas, source = range(6), (1, 3), [2, 3, 4, EOS]
    for family, seed in product(FAMILIES, seeds):
        tiny = tiny_pair(family, 24, pair.target.device)
        options = {"max_new_tokens": 12, "verification": "coupled", "seed": seed}
        plain = autoregressive_generate(tiny.target, source, **options).token_ids
        for gamma in gammas:
            spec = speculative_generate(*tiny, source, gamma=gamma, **options).token_ids
            confirm(spec == plain, f"{family}, seed={seed}, gamma={gamma}: another text than plain decoding's")
    return f"{len(seeds) * len(FAMILIES)} texts, gamma {', '.join(map(str, gammas))}: the tokens of plain decoding"


# ---- A checkpoint's own settings ----


def settings_obeyed(pair: Pair, sources: list[Source]) -> str:
    """With a setting that a checkpoint ships, both loops write at temperature 0 what `generate` writes."""
    rng, greedy = random.Random(0), {"max_new_tokens": 12, "temperature": 0.0, "seed": 0}
    texts = [[*(rng.randrange(2, 24) for _ in range(6)), EOS] for _ in range(4)]
    for family, (name, value) in product(FAMILIES, SHIPPED.items()):
        given, device = {"eos_token_id": ENDS}, pair.target.device
        bare, tiny = (tiny_pair(family, 24, device, **each) for each in (given, given | {name: value}))
        wanted, free = ([by_generate(each.target, text, 12) for text in texts] for each in (tiny, bare))
        ways = {
            "plain": [autoregressive_generate(tiny.target, text, **greedy).token_ids for text in texts],
            "speculative": [speculative_generate(*tiny, text, gamma=3, **greedy).token_ids for text in texts],
        }
        for way, written in ways.items():
            confirm(written == wanted, f"{family}, {name}={value}: {way} decoding differs from `generate`")
        confirm(wanted != free, f"{family}, {name}={value} changes nothing in `generate`")
    return f"{', '.join(SHIPPED)}: as `generate`"


def by_generate(model: Seq2Seq, source: Source, max_new_tokens: int) -> list[int]:
    options = {"num_beams": 1, "do_sample": False, "max_new_tokens": max_new_tokens}
    return model.hf_model.generate(**model.encode(source), **options)[0, len(model.prompt) :].tolist()


# ---- The pair's own texts, cache and q ----


def greedy_texts(pair: Pair, sources: list[Source]) -> str:
    """At temperature 0 speculative decoding writes the tokens of plain decoding, for every gamma."""
    options, gammas, ties = {"max_new_tokens": length(pair), "temperature": 0.0, "seed": 0}, (1, 4, 7), []
    for source in sources:
        plain = autoregressive_generate(pair.target, source, **options).token_ids
        for gamma in gammas:
            spec = speculative_generate(*pair, source, gamma=gamma, **options).token_ids
            for i, (a, b) in enumerate(zip_longest(plain, spec)):
                if a != b:
                    margin = tie_margin(pair.target, source, plain[:i], a, b)
                    said = f"gamma={gamma}: token {i} is {b} instead of {a}"
                    confirm(margin < tolerance(pair.target), f"{said}, and no near-tie (margin {margin:.2g})")
                    ties.append(margin)
                    break  # what follows may differ now
    near = f"; {len(ties)} parted at a near-tie, margins up to {max(ties):.1g} of a standard deviation" if ties else ""
    return f"{len(sources)} texts, gamma {', '.join(map(str, gammas))}: the tokens of plain decoding{near}"


def tie_margin(model: Seq2Seq, source: Source, before: list[int], a: int | None, b: int | None) -> float:
    """How far apart the logits of two tokens are, in standard deviations of all logits; infinite if a text ended."""
    if a is None or b is None:
        return float("inf")
    logits = fresh_logits(model, source, [*model.prompt, *before])[-1].double()
    return float((logits[a] - logits[b]).abs() / logits[logits.isfinite()].std())


@torch.inference_mode()
def cache_against_fresh(pair: Pair, sources: list[Source]) -> str:
    """Whatever was fed and taken back, the cursor's logits are those of a pass without a cache."""
    rng, far = random.Random(0), []
    tiny = tiny_pair(list(FAMILIES)[-1], 24, pair.target.device)
    cases = [(model, [2, 3, 4, EOS]) for model in tiny] + [(model, sources[0]) for model in pair]
    for model, source in cases:
        cursor, fed = model.cursor(), []
        cursor.start(model.source([source]))
        for _ in range(10):
            block = [*([] if fed else model.prompt), *(rng.randrange(2, model.vocab_size) for _ in range(3))]
            fed += block
            fresh = fresh_logits(model, source, fed)[-len(block) :].double()
            off = (cursor.extend(block).double() - fresh).norm(dim=-1) / (fresh - fresh.mean(-1, True)).norm(dim=-1)
            far.append(float(off.max()) / tolerance(model))
            fed = fed[: rng.randint(len(model.prompt), min(len(fed), length(pair) - 3))]
            cursor.rollback(len(fed))
    return confirm(all_below(1, far), f"largest distance of logits from a fresh pass: {max(far):.1g} of the tolerance")


class Audited(DraftModel):
    """A draft that computes each q again, without a cache, and notes how far it is from the reported one."""

    def __init__(self, model: Seq2Seq):
        super().__init__(model)
        self.far: list[float] = []

    def start(self, source, texts):
        self.asked = source.sources[0]
        super().start(source, texts)

    def propose(self, texts, plan, adjustment, draws):
        proposal = super().propose(texts, plan, adjustment, draws)
        tokens = proposal.tokens
        ahead = [*texts[0].tokens, *tokens[0].tolist()][:-1]
        logits = fresh_logits(self.model, self.asked, ahead)[-tokens.shape[1] :]
        again = adjustment.probs(logits[None], texts, tokens[:, :-1])
        self.far.append(float((again - proposal.probs).abs().sum(-1).max()) / 2)
        return proposal


def accounts_of_q(pair: Pair, sources: list[Source]) -> str:
    """The q that comes with a drafted token is the draft's own distribution after the tokens before it."""
    draft = Audited(pair.draft)
    for i, source in enumerate(sources):
        speculative_generate(pair.target, draft, source, gamma=4, max_new_tokens=length(pair), seed=i)
    said = f"largest total variation of a reported q from a fresh pass: {max(draft.far):.1g}"
    return confirm(all_below(tolerance(pair.draft), draft.far), said)


# ---- What they share ----


def confirm(fine: bool, said: str) -> str:
    if not fine:
        raise Wrong(said)
    return said


def all_below(limit: float, distances: list[float]) -> bool:
    """Whether all are small; a NaN is not."""
    return all(distance < limit for distance in distances)


def tolerance(model: Seq2Seq) -> float:
    return TOLERANCE.get(model.dtype, 0.2)


def length(pair: Pair) -> int:
    """Long enough for many rounds, and no longer than the models go."""
    return min(40, *(model.max_target_length or 40 for model in pair))


def some_sources(pair: Pair) -> list[Source]:
    if pair.target.reader.name != "input_ids":
        raise ValueError(f"pair={pair.name!r} reads {pair.target.reader.name}: expected one that reads text")
    return load_prompts()["measure"][:3] if pair.target.tokenizer else [[5, 4, 3, 2], [2, 3, 4]]


@torch.inference_mode()
def fresh_logits(model: Seq2Seq, source: Source, tokens: list[int]) -> Tensor:
    """``(len(tokens), vocab)``: logits of one pass without any cache."""
    ids = torch.tensor([tokens], device=model.device)
    return model.hf_model(**model.encode(source), decoder_input_ids=ids, use_cache=False).logits[0]


def t5(vocab: int) -> T5ForConditionalGeneration:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    sizes |= {"tie_word_embeddings": False}
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    return T5ForConditionalGeneration(T5Config(vocab_size=vocab, **sizes, **ids))


def bart(vocab: int) -> BartForConditionalGeneration:
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder")
             for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    ids = {"pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": EOS, "decoder_start_token_id": EOS}
    ids |= {"forced_eos_token_id": None}
    return BartForConditionalGeneration(
        BartConfig(vocab_size=vocab, d_model=16, max_position_embeddings=64, dropout=0.0, **sizes, **ids)
    )


FAMILIES = {"T5": t5, "BART": bart}


def tiny_pair(family: str, vocab: int, device: torch.device, **settings) -> Pair:
    """Random models, in float64 where the device has it, with weights so large that every token counts."""
    made, generator = [], torch.Generator().manual_seed(0)
    for _ in ("target", "draft"):
        with same_random_state():
            hf_model = FAMILIES[family](vocab)
        head = hf_model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())  # tied, it would repeat the token before
        for weight in hf_model.parameters():
            if weight.ndim == 2:
                weight.data = torch.randn(weight.shape, generator=generator) * 2 * weight.shape[1] ** -0.5
        hf_model.generation_config.update(**settings)
        made.append(Seq2Seq(hf_model.to(device, wide(device))))
    return Pair(*made, f"tiny {family}")


CHECKS = {
    "exact distribution": (
        exact_distribution,
        "the acceptance rule or the loop is not the book's: `git status`, or install the package again",
    ),
    "coupled texts": (
        coupled_texts,
        "random numbers by position differ between the two loops: `git status`, or install the package again",
    ),
    "settings of a checkpoint": (
        settings_obeyed,
        "this transformers works in another way: install the versions in constraints.txt",
    ),
    "greedy texts": (
        greedy_texts,
        "at temperature 0 this pair writes other texts than its target: do not use it; try dtype float32",
    ),
    "cache against a fresh pass": (
        cache_against_fresh,
        "what the cache holds is not what was fed: install the versions of torch and transformers in constraints.txt",
    ),
    "accounts of q": (
        accounts_of_q,
        "the draft reports other distributions than it draws from, so the output is not the target's: do not use it",
    ),
}
