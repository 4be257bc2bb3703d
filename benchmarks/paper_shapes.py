"""What a step of each of the paper's models takes: T5 1.1 in four sizes, with random weights, in bfloat16.

How long a pass takes does not depend on the values of its weights. `benchmarks/gpu.py` calls it ("paper"): the largest
decoder has 6 billion weights, and needs a GPU of 24 GB or more. Encoders have one layer, for none is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial

import torch
from transformers import T5Config, T5ForConditionalGeneration

import specdec_lite as sd
from specdec_lite.fast import CompiledSeq2Seq
from specdec_lite.models import now

SHAPES = {  # width, feed-forward, heads, decoder layers; T5 1.1, whose smallest has 77 million weights
    "tiny": (64, 128, 2, 2),
    "small": (512, 1024, 6, 8),
    "base": (768, 2048, 12, 12),
    "large": (1024, 2816, 16, 24),
    "xxl": (4096, 10240, 64, 24),
}
WIDTHS = (1, 4, 6, 8)  # positions of the target's passes: the paper's gammas are 3, 5 and 7
LENGTHS = {"max_new_tokens": 48, "max_source_tokens": 32}
BEGIN = 16  # tokens written before each pass
Keep = Callable[[str, object], None]


def random_t5(shape: str, device: str) -> sd.Seq2Seq:
    names = "d_model", "d_ff", "num_heads", "num_decoder_layers"
    sizes = dict(zip(names, SHAPES[shape])) | {"num_layers": 1, "vocab_size": 32128}
    kind = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0}
    with torch.device("meta"):  # no time for an initialisation that is overwritten
        model = T5ForConditionalGeneration(T5Config(**sizes, **kind))
    model = model.to(torch.bfloat16).to_empty(device=device).requires_grad_(False)
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "layer_norm" in name:
            weight.fill_(1.0)
        else:
            weight.normal_(0, 0.5 * weight.shape[-1] ** -0.5)
    return sd.Seq2Seq(model)


def measure(
    keep: Keep, device: str, target: str = "xxl", drafts: Iterable[str] = ("small", "base", "large"),
    repeats: int = 15, backend: str = "inductor", compiled: dict[str, Iterable[int]] | None = None,
) -> None:  # fmt: skip
    """Milliseconds of a step of each model, and of the target's wide passes: as they are, and compiled.

    Compiled are, in this order, the widths named for a model: each takes half a minute for 24 layers.
    """
    models = {name: random_t5(name, device) for name in (*drafts, target)}
    keep("weights of a step", {name: weights_of_a_step(model) for name, model in models.items()})
    widths = {name: WIDTHS if name == target else (1,) for name in models}
    keep(
        "eager, ms",
        milliseconds({name: passes(model, widths[name]) for name, model in models.items()}, repeats, models[target]),
    )
    began, quick = time.perf_counter(), {}
    for name, some in (compiled or {drafts[0]: (1,), target: (1, 8)}).items():
        model = CompiledSeq2Seq(models[name], some, **LENGTHS, backend=backend)
        quick[name] = passes(model, some)
        milliseconds({name: quick[name]}, 1, model)
        keep("compiled, seconds", time.perf_counter() - began)
        keep("compiled, ms", milliseconds(quick, repeats, model))


def weights_of_a_step(model: sd.Seq2Seq) -> int:
    return sum(weight.numel() for weight in sd.step_weights(model, [5] * 32))


Work = Callable[[], object]


def passes(model: sd.Seq2Seq, widths: Iterable[int]) -> dict[int, Work]:
    """A pass over n positions in mid-text, which is then taken back, for each n."""
    with torch.inference_mode():
        cursor = model.cursor()
        cursor.start(model.source([list(range(5, 37))]))
        cursor.extend([5] * BEGIN)

    def work(n: int) -> None:
        cursor.extend([5] * n)
        cursor.rollback(BEGIN)

    return {n: partial(work, n) for n in widths}


@torch.inference_mode()
def milliseconds(models: dict[str, dict[int, Work]], repeats: int, clock: sd.Seq2Seq) -> dict[str, dict[int, float]]:
    """Median milliseconds of each work, in turns, by the clock of the device that a model is on."""
    times = {name: {n: [] for n in works} for name, works in models.items()}
    for _ in range(repeats + 3):  # three to warm up
        for name, works in models.items():
            for n, work in works.items():
                began = now(clock)
                work()
                times[name][n].append(1000 * (now(clock) - began))
    return {name: {n: statistics.median(spent[3:]) for n, spent in each.items()} for name, each in times.items()}
