"""Translate again after a small change: what an earlier translation is worth as a draft.

    python benchmarks/retranslate.py [--paragraphs 20]     times: one table, some four minutes on two quiet cores
    python benchmarks/retranslate.py --counts              passes only, priced by --c and --v: schedules, fixed gammas

In each paragraph one word of the source is exchanged, or one sentence. The translation of the paragraph as it was is
known, and the draft copies from it: matches of at most three tokens, the nearest taken. All is greedy, and every way
must write what plain decoding writes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

import specdec_lite as sd
from bench import in_turns, interval, machine, markdown, row

# One word for another that could stand there as well.
SWAPS = {
    "Tom": "John", "Mary": "Anna", "Boston": "London", "Monday": "Friday", "Saturday": "Sunday", "morning": "evening",
    "brother": "uncle", "sister": "aunt", "father": "grandfather", "mother": "grandmother", "dog": "horse",
    "coffee": "tea", "bread": "fish", "train": "bus", "house": "school", "kitchen": "garden", "car": "boat",
    "book": "letter", "three": "four", "Yesterday": "Today", "yesterday": "today", "teacher": "doctor",
    "piano": "violin", "summer": "winter", "village": "town", "week": "month", "friends": "parents",
}  # fmt: skip
V = {1: 1.33, 4: 1.33, 8: 1.34, 16: 1.53, 32: 1.77}  # the pocket target on two cores, as chapter 2 recorded it
C = 0.30
GAMMAS = (1, 2, 3, 4, 6, 8, 16)
Make = Callable[[sd.Seq2Seq, list[int]], object]  # from the draft model and the earlier translation, a draft


def with_another_word(text: str) -> str:
    """Exchange one word, the one nearest to the middle of those that can be."""
    words = [match for match in re.finditer(r"\w+", text) if match[0] in SWAPS]
    word = min(words, key=lambda match: abs(match.start() - len(text) / 2))
    return text[: word.start()] + SWAPS[word[0]] + text[word.end() :]


def with_another_sentence(text: str, other: str) -> str:
    """Exchange the second sentence for that of another paragraph."""
    (first, _, *rest), (_, new, *_) = (re.split(r"(?<=[.?!]) ", each) for each in (text, other))
    return " ".join([first, new, *rest])


def tasks(pair: sd.Pair, n: int, options: dict) -> dict[str, list[tuple[str, list[int]]]]:
    """For each kind of change, sources with the earlier translation."""
    texts = [text for text in sd.load_prompts()["sweep"] if {*re.findall(r"\w+", text)} & {*SWAPS}][:n]
    earlier = [sd.autoregressive_generate(pair.target, text, **options).token_ids for text in texts]
    changed = {
        "a word": [with_another_word(text) for text in texts],
        "a sentence": [with_another_sentence(text, texts[i - 1]) for i, text in enumerate(texts)],
    }
    return {kind: list(zip(sources, earlier)) for kind, sources in changed.items()}


def copy(draft: sd.Seq2Seq, earlier: list[int]) -> sd.CopyDraft:
    return sd.CopyDraft(earlier)


def chain(schedule: Callable = lambda draft: sd.AtMost(draft, 2)) -> Make:
    """Copies, and where there is nothing to copy the draft model under a schedule of its own."""
    return lambda draft, earlier: sd.Chain(sd.CopyDraft(earlier), schedule(draft))


def model(draft: sd.Seq2Seq, earlier: list[int]) -> sd.Seq2Seq:
    return draft


TIMED: dict[str, tuple[Make, int]] = {
    "the draft model, γ = 4": (model, 4),
    "copies, γ = 8": (copy, 8),
    "copies, γ = 16": (copy, 16),
    "copies, then the draft model, γ = 16": (chain(lambda draft: draft), 16),
    "copies, γ = 16, then the draft model, γ = 2": (chain(), 16),
    "copies, γ = 16, then the draft model while it is sure": (chain(sd.ConfidenceStop), 16),
}


def times(pair: sd.Pair, work: dict, options: dict) -> pd.DataFrame:
    """Every way on every paragraph, in turns; against plain decoding, with an interval over paragraphs."""
    rows = []
    for kind, given in work.items():
        ways = {"plain": lambda job, seed: sd.autoregressive_generate(pair.target, job[0], **options)}
        for name, (make, gamma) in TIMED.items():
            ways[name] = lambda job, seed, make=make, gamma=gamma: sd.speculative_generate(
                pair.target, make(pair.draft, job[1]), job[0], gamma=gamma, **options
            )
        runs = in_turns(ways, given)
        for name, each in runs.items():
            check_equal(name, each, runs["plain"])
            facts = row(each, {"plain": runs["plain"]})
            passes = sum(run.target_passes for run in each), sum(run.draft_passes for run in each)
            rows.append(
                {"changed": kind, "way": name, "tokens per target pass": facts["tokens"] / passes[0]}
                | {"draft passes per target pass": passes[1] / passes[0], "ms per token": facts["ms_per_token"]}
                | {"× plain": interval(facts, "× plain")}
            )
    return pd.DataFrame(rows)


def check_equal(name: str, runs: Sequence[sd.Generation], expected: Sequence[sd.Generation]) -> None:
    for i, (run, want) in enumerate(zip(runs, expected, strict=True)):
        assert run.token_ids == want.token_ids, f"{name} differs on paragraph {i}"


def price(widths: Sequence[int], v: Mapping[int, float]) -> float:
    """What passes of these widths cost, in passes over one position; v is joined by straight lines."""
    return float(np.interp(np.array(widths) - 1, [0, *v], [1, *v.values()]).sum())


def count(pair: sd.Pair, make: Make, gamma: int, given: Sequence, options: dict, c: float, v: dict) -> dict:
    """One way on all paragraphs: passes, and what they cost by their widths, per token."""
    target, draft = [], []
    watched = [model.with_cursor(noting(model.cursor_kind, w)) for model, w in zip(pair, (target, draft))]
    runs = [
        sd.speculative_generate(watched[0], make(watched[1], earlier), text, gamma=gamma, **options)
        for text, earlier in given
    ]
    tokens = sum(len(run.token_ids) for run in runs)
    return {
        "tokens per target pass": tokens / len(target),
        "draft passes per target pass": len(draft) / len(target),
        "cost per token": (price(target, v) + c * price(draft, v)) / tokens,
        "runs": runs,
    }


def noting(kind: type[sd.CachedDecoder], widths: list[int]) -> type[sd.CachedDecoder]:
    """Cursors of this kind that note how wide each pass was."""

    class Noting(kind):
        def forward(self, rows):
            widths.append(rows.shape[1])
            return super().forward(rows)

    return Noting


def compared(c: float, v: dict) -> dict[str, dict[str, tuple[Make, int]]]:
    """What schedules there are beside the fixed gammas: for the draft model alone, copies, and both in a chain."""

    among = {gamma: price([gamma + 1], v) for gamma in range(1, 17)}

    def adaptive(draft, c=c):
        return sd.AdaptiveGamma(draft, c, among)

    fixed = {f"γ = {gamma}": (model, gamma) for gamma in GAMMAS}
    copies = {f"γ = {gamma}": (copy, gamma) for gamma in GAMMAS}
    both = {
        f"γ = {gamma}, then {n}": (chain(lambda d, n=n: sd.AtMost(d, n)), gamma) for gamma in (8, 16) for n in (1, 2, 4)
    }
    return {
        "the draft model": fixed
        | {
            "adaptive": (lambda draft, earlier: adaptive(draft), 16),
            "heuristic": (lambda draft, earlier: sd.HeuristicGamma(draft), 16),
            "while it is sure": (lambda draft, earlier: sd.ConfidenceStop(draft), 16),
            "while entropy is low": (lambda draft, earlier: sd.EntropyStop(draft), 16),
        },
        "copies": copies
        | {
            "adaptive": (lambda draft, earlier: adaptive(sd.CopyDraft(earlier), c=0.0), 16),
            "heuristic": (lambda draft, earlier: sd.HeuristicGamma(sd.CopyDraft(earlier)), 16),
        },
        "copies, then the draft model": both
        | {
            "adaptive": (
                lambda draft, earlier: sd.Chain(adaptive(sd.CopyDraft(earlier), c=0.0), adaptive(draft)),
                16,
            ),
            "while it is sure": (chain(sd.ConfidenceStop), 16),
        },
    }


def counts(pair: sd.Pair, work: dict, options: dict, c: float, v: dict) -> pd.DataFrame:
    """Passes of every schedule and every fixed gamma, and their price; against the best fixed gamma."""
    rows = []
    for kind, given in work.items():
        plain = [sd.autoregressive_generate(pair.target, text, **options) for text, _ in given]
        for draft, ways in compared(c, v).items():
            found = {name: count(pair, make, gamma, given, options, c, v) for name, (make, gamma) in ways.items()}
            best = min(each["cost per token"] for name, each in found.items() if name.startswith("γ"))
            for name, each in found.items():
                check_equal(name, each.pop("runs"), plain)
                against = {"against the best fixed": each["cost per token"] / best}
                rows.append({"changed": kind, "draft": draft, "schedule": name} | each | against)
    return pd.DataFrame(rows)


def read_v(text: str) -> tuple[int, float]:
    gamma, cost = text.split(":")
    return int(gamma), float(cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paragraphs", type=int, default=20)
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--counts", action="store_true", help="count passes and price them; no time is measured")
    parser.add_argument("--c", type=float, default=C, help="a draft step, in plain target passes")
    parser.add_argument("--v", nargs="+", type=read_v, default=list(V.items()), help="gamma:cost of a target pass")
    chosen = parser.parse_args()
    pair, options = sd.load_pair(), {"max_new_tokens": chosen.max_new_tokens, "temperature": 0.0}
    work = tasks(pair, chosen.paragraphs, options)
    print(", ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n")
    if chosen.counts:
        v = dict(sorted(chosen.v))
        print(f"c = {chosen.c:g}, v = {v}", end="\n\n")
        table = counts(pair, work, options, chosen.c, v)
    else:
        table = times(pair, work, options)
    print(markdown(table.round(3)))


if __name__ == "__main__":
    main()
