"""From eager decoding to the fast path, one step at a time: the times that chapter 12 shows as recorded.

    python benchmarks/ladder.py         some minutes on two quiet cores; writes notebooks/recorded/fast_path.json

A step is the pair as `compile_pair` makes it, with all later steps taken back. All steps decode the same paragraphs in
turns. Compiling is not in these times.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.profiler import profile, record_function

import specdec_lite as sd
from bench import machine
from specdec_lite.checking import Checker
from specdec_lite.drafting.model import DraftModel
from specdec_lite.fast import CompiledSeq2Seq, NarrowLinear, narrow
from specdec_lite.fast.buffers import compiled
from specdec_lite.fast.kernels import pack

RECORD = Path(__file__).parents[1] / "notebooks" / "recorded" / "fast_path.json"
STEPS = (
    "eager", "fixed buffers", "compiled", "guards off", "one loop over the weights", "packed weights",
    "all layers in one call", "drawing inside", "a block in one call", "source in one call", "16-bit draft",
    "truncated head",
)  # fmt: skip
EXTRA = "8-bit draft"  # in place of 16 bits: tried, and not taken
HEAD = 2000  # tokens; the pocket pair's tokenizer has the commonest first
GAMMA = 4
SIZES = {"max_new_tokens": 64, "max_source_tokens": 64}


class Partly(CompiledSeq2Seq):
    """A compiled model on which later steps are taken back: from "fixed buffers" to "all layers in one call"."""

    def __init__(self, model: sd.Seq2Seq, widths: set[int], step: str):
        super().__init__(model, widths, **SIZES)

        def after(other: str) -> bool:
            return STEPS.index(step) < STEPS.index(other)

        call = partial(compiled, backend="inductor", device=self.device)
        self.checker_kind, self.proposer_kind = Checker, DraftModel  # which draw outside
        self.encoder = self.hf_model.get_encoder()
        if after("all layers in one call"):
            with patch.object(narrow, "serves", lambda weight: False):
                self.hf_model = self.passes = narrow.narrow_twin(model.hf_model, None)
            for layer in self.hf_model.modules() if step == "packed weights" else ():
                if isinstance(layer, NarrowLinear):
                    layer.packed = pack(layer.stored)
        if after("one loop over the weights"):
            self.hf_model = self.passes = model.hf_model
            options = None if after("guards off") else {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
            call = partial(torch.compile, dynamic=False, fullgraph=True, isolate_recompiles=True, options=options)
        self.checks = {n: logits_alone(call(self.feed)) for n in widths}
        self.read = call(self.make_source_keys)
        if after("compiled"):
            self.checks, self.read = {}, self.forget_source

    def feed(self, fed: Tensor, start: Tensor) -> Tensor:
        self.set_length(start)
        return self.step(fed)

    def forget_source(self) -> None:
        """Let the first step make the source's keys and values, as it does with a growing cache."""
        self.cache.is_updated = dict.fromkeys(self.cache.is_updated, False)


def logits_alone(call: Callable) -> Callable:
    """In place of `check`, which also decides."""
    return lambda fed, q, uniforms, temperature, start: (None, None, call(fed, start))


def with_slow_source(model: CompiledSeq2Seq) -> CompiledSeq2Seq:
    """The same buffers and calls, but a source is read layer by layer."""
    twin = copy.copy(model)
    twin.encoder = model.hf_model.get_encoder()
    twin.read = compiled(twin.make_source_keys, "inductor", model.device)
    return twin


def steps(pair: sd.Pair) -> dict[str, sd.Pair]:
    """The pair at every step, warmed up."""
    pairs, widths = {STEPS[0]: pair}, {1, GAMMA + 1}
    for name in STEPS[1:-5]:
        pairs[name] = sd.Pair(Partly(pair.target, widths, name), Partly(pair.draft, {1, 2}, name), name)

    def quick(draft: sd.Seq2Seq, rounded: torch.dtype | None = None) -> CompiledSeq2Seq:
        return CompiledSeq2Seq(draft, {2}, [GAMMA], rounded=rounded, **SIZES)

    target, draft = CompiledSeq2Seq(pair.target, widths, **SIZES), quick(pair.draft)
    slow = [with_slow_source(model) for model in (target, draft)]
    drafts = [pairs[STEPS[-6]].draft, slow[1], draft, quick(pair.draft, torch.bfloat16)]
    drafts.append(quick(sd.truncate_head(pair.draft, range(HEAD)), torch.bfloat16))
    drafts.append(quick(pair.draft, torch.int8))
    for name, each in zip([*STEPS[-5:], EXTRA], drafts):
        pairs[name] = sd.Pair(slow[0] if name in STEPS[-5:-3] else target, each, name)
    for name in [*pairs][1:]:
        print(f"{name}: {sum(model.warm_up() for model in pairs[name]):.0f} s", flush=True)
    return pairs


def race(pairs: dict[str, sd.Pair], texts: Sequence[str], turns: int = 1) -> dict[str, dict[str, list[float]]]:
    """Milliseconds a token of every paragraph at temperature 0, plain and speculative: the mean over turns."""
    options = {"max_new_tokens": SIZES["max_new_tokens"], "temperature": 0.0}
    times = {name: {"plain": {}, "speculative": {}} for name in pairs}
    for turn, text in [(0, texts[0]), *((turn, text) for turn in range(1, turns + 1) for text in texts)]:
        for name, models in pairs.items():
            runs = {
                "plain": sd.autoregressive_generate(models.target, text, **options),
                "speculative": sd.speculative_generate(*models, text, gamma=GAMMA, **options),
            }
            for way, run in runs.items() if turn else ():  # the first only warms up
                times[name][way].setdefault(text, []).append(1000 * run.seconds / len(run.token_ids))
    return {
        name: {way: [mean(ms) for ms in of_text.values()] for way, of_text in ways.items()}
        for name, ways in times.items()
    }


def counts(pairs: dict[str, sd.Pair], texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """α, tokens per target pass and tokens per text with the drafts that differ, at temperature 0."""
    found = {}
    for name in (STEPS[0], *STEPS[-2:], EXTRA):
        runs = [sd.speculative_generate(*pairs[name], text, gamma=GAMMA, temperature=0.0) for text in texts]
        written = sum(len(run.token_ids) for run in runs)
        found[name] = {
            "alpha": sum(run.overlap_sum for run in runs) / sum(run.examined for run in runs),
            "tokens": written / sum(run.target_passes for run in runs),
            "length": written / len(runs),
        }
    return found


@torch.inference_mode()
def milliseconds(work: Callable, times: int = 25) -> float:
    """The median; the first three only warm up."""
    seconds = []
    for _ in range(times + 3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1000 * median(seconds[3:])


def products() -> dict[str, dict[int, float]]:
    """Milliseconds of a product of 4096 × 4096 weights with one position and with five, in three ways."""
    weight, found = torch.randn(4096, 4096), {}
    packed, ours = pack(weight), torch.ops.specdec_lite.linear
    loop = torch.compile(lambda W, x: torch.stack([(W * row).sum(-1) for row in x]), dynamic=False)
    ways = {
        "library": lambda x: nn.functional.linear(x, weight),
        "compiled loop": lambda x: loop(weight, x),
        "packed": lambda x: ours(x, packed, 4096),
    }
    for name, way in ways.items():
        rows = {n: torch.randn(n, 4096) for n in (1, 5)}
        found[name] = {n: milliseconds(lambda way=way, x=x: way(x), 15) for n, x in rows.items()}
    return found


def trace(pair: sd.Pair, text: str) -> list[tuple[str, float, float]]:
    """The third round from a profiler: of its outermost operations the phase, start and length in ms."""

    def mark(phase: str) -> None:
        with record_function(f"end of {phase}"):
            pass

    def decode(observer=None) -> None:
        sd.speculative_generate(*pair, text, gamma=GAMMA, temperature=0.0, max_new_tokens=24, observer=observer)

    for _ in range(3):
        decode()
    with profile() as seen:
        decode(mark)
    spans = [(e.time_range.start, e.time_range.elapsed_us(), e.name) for e in seen.events() if e.cpu_parent is None]
    spans.sort()
    _, first, last, *_ = (i for i, (*_, name) in enumerate(spans) if name == "end of check")
    began, phase, found = spans[first][0], "draft", []
    for start, length, name in spans[first + 1 : last]:
        if name == "end of draft":
            phase = "check"
        else:
            found.append((phase, round((start - began) / 1000, 4), round(length / 1000, 4)))
    return found


def measure(pair: sd.Pair, texts: Sequence[str], turns: int) -> Iterator[tuple[str, object]]:
    """All that chapter 12 quotes, name by name."""
    pairs, measured = steps(pair), sd.load_prompts()["measure"][:3]
    models = {"target": pair.target, "draft": pair.draft, "head": sd.truncate_head(pair.draft, range(HEAD))}
    weights = {name: sum(w.numel() for w in sd.step_weights(model, measured[0])) for name, model in models.items()}
    yield "weights", weights
    yield "products", products()
    yield "counts", counts(pairs, texts)
    yield "T0", race(pairs, texts, turns)
    yield "round", {name: trace(pairs[name], measured[0]) for name in (STEPS[0], STEPS[-2])}


def written(found: dict) -> str:
    """As JSON: a line for each thing."""
    short = json.loads(json.dumps(found), parse_float=lambda number: float(f"{float(number):.5g}"))
    rows = [f"{json.dumps(name)}: {json.dumps(each, ensure_ascii=False)}" for name, each in short.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RECORD)
    chosen = parser.parse_args()
    about = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    began = time.perf_counter()
    for name, value in measure(sd.load_pair(), sd.load_prompts()["sweep"][: chosen.texts], chosen.turns):
        about[name] = value
        print(f"{name}: after {time.perf_counter() - began:.0f} s", flush=True)
        chosen.out.write_text(written(about), encoding="utf8")


if __name__ == "__main__":
    main()
