"""Memory: a cache is as large as its formula says, to the byte, and a finished generation leaves nothing behind."""

import gc
import os
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers as hf
from transformers import T5Config, T5ForConditionalGeneration

import specdec_lite as sd
import tiny

HEADS, D_KV, LAYERS = 4, 8, 2  # the shapes that tiny.py gives its target in both families
STATM = Path("/proc/self/statm")
families = pytest.mark.parametrize("family", tiny.FAMILIES)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def per_token(dtype: torch.dtype) -> int:
    """Chapter 1's formula: a key and a value of heads × d_kv numbers, in each layer."""
    return 2 * LAYERS * HEADS * D_KV * dtype.itemsize


def held_bytes(cache) -> int:
    """What lies in memory, spare room behind a view included: a storage is counted once."""
    storages = [t.untyped_storage() for layer in cache.layers for t in (layer.keys, layer.values)]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


@families
@dtypes
@torch.inference_mode()
def test_the_cache_grows_by_the_formulas_bytes_a_token_and_only_on_the_targets_side(family, dtype):
    target, source = tiny.tiny_pair(family, dtype=dtype).target, tiny.sources(1)[0]
    cursor = target.cursor()
    cursor.start(target.encode(source))
    for n in (1, 1, 4, 1, 2, 9):
        cursor.extend([2] * n)
        assert held_bytes(cursor.cache.self_attention_cache) == cursor.length * per_token(dtype)
        assert held_bytes(cursor.cache.cross_attention_cache) == len(source) * per_token(dtype)
    assert cursor.length == 18


@families
@torch.inference_mode()
def test_what_is_rolled_back_is_given_back_by_the_next_token(family):
    target, source = tiny.tiny_pair(family).target, tiny.sources(1)[0]
    cursor = target.cursor()
    cursor.start(target.encode(source))
    cursor.extend([2] * 3)
    for _ in range(20):  # rounds of γ = 4 in which one token is kept
        cursor.extend([2] * 5)
        cursor.rollback(cursor.length - 4)
        assert held_bytes(cursor.cache.self_attention_cache) <= (cursor.length + 4) * per_token(torch.float32)
    cursor.extend([2])
    assert cursor.length == 24
    assert held_bytes(cursor.cache.self_attention_cache) == cursor.length * per_token(torch.float32)


@pytest.mark.parametrize(("family", "dtype"), [("t5", torch.float32), ("bart", torch.float64)])
@torch.inference_mode()
@torch.compiler.set_stance("force_eager")  # what a step does is the same, and nothing is traced
def test_compiled_buffers_have_the_formulas_size_and_never_grow(family, dtype):
    limits = {"gammas": [2, 5], "max_new_tokens": 24, "max_source_tokens": 16}
    pair = sd.compile_pair(
        tiny.tiny_pair(family, dtype=dtype), **limits, backend=lambda graph, _: graph.forward, progress=False
    )
    own, cross = pair.target.cache.self_attention_cache, pair.target.cache.cross_attention_cache
    room = 24 + 6  # the widest step writes γ + 1 positions, also behind the last token

    def sizes():
        return held_bytes(own), held_bytes(cross)

    assert sizes() == (room * per_token(dtype), 16 * per_token(dtype))
    for source in tiny.sources(3):
        sd.speculative_generate(*pair, source, gamma=5, max_new_tokens=24, seed=0)
        assert sizes() == (room * per_token(dtype), 16 * per_token(dtype))


def live_tensors() -> int:
    """Tensors that Python still holds."""
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def resident_mb() -> float:
    """The process's memory, or 0 where the system does not tell: there only tensors are counted."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if STATM.exists() else 0.0


def generate(pair, numbers) -> None:
    """Both loops in turn, hot and cold, over sources of different lengths."""
    sources = tiny.sources(20)
    for i in numbers:
        options = {"max_new_tokens": 3, "temperature": float(i % 3 > 0), "seed": i}
        if i % 2:
            sd.autoregressive_generate(pair.target, sources[i % 20], **options)
        else:
            sd.speculative_generate(*pair, sources[i % 20], gamma=2, **options)


@pytest.mark.parametrize("many", [100, pytest.param(400, marks=pytest.mark.long)])
def test_many_generations_leave_no_tensor_and_no_memory_behind(t5_pair, many):
    generate(t5_pair, range(many))  # what is made once
    tensors, resident = live_tensors(), [resident_mb()]
    for first in range(many, 5 * many, many):
        generate(t5_pair, range(first, first + many))
        assert live_tensors() == tensors
        resident.append(resident_mb())
    # The allocator takes memory from the system in steps, at moments of its own; a leak grows in every stretch.
    growth = [after - before for before, after in pairwise(resident)]
    assert min(growth) < 0.4 and sum(growth) < 8, growth  # 0.4 MB are 1 kB for each of 400


def interrupt(phase: str) -> None:
    """An observer that does what Ctrl-C does, in the middle of a round."""
    if phase in ("step", "draft"):
        raise KeyboardInterrupt


def mix(pairs, numbers) -> None:
    """All kinds of calls in turn: both families, both loops, one source or three, recorded, interrupted."""
    sources = tiny.sources(20)
    for i in numbers:
        pair, source = pairs[i % 2], sources[i % 17 : i % 17 + 3] if i % 3 == 0 else sources[i % 20]
        options = {"max_new_tokens": 4, "temperature": float(i % 5 > 0), "seed": i, "record_probs": i % 7 == 0}
        options["observer"] = interrupt if i % 11 == 0 else None
        with suppress(KeyboardInterrupt):
            if i % 4 == 0:
                sd.autoregressive_generate(pair.target, source, **options)
            else:
                sd.speculative_generate(*pair, source, gamma=1 + i % 3, **options)


def test_fifty_calls_of_all_kinds_leave_no_tensor_behind(t5_pair, bart_pair):
    mix((t5_pair, bart_pair), range(20))
    tensors = live_tensors()
    mix((t5_pair, bart_pair), range(20, 70))
    assert live_tensors() == tensors


@pytest.mark.long
def test_a_thousand_calls_of_all_kinds_leave_no_tensor_and_no_memory_behind(t5_pair, bart_pair):
    mix((t5_pair, bart_pair), range(200))
    tensors, resident = live_tensors(), resident_mb()
    mix((t5_pair, bart_pair), range(200, 1200))
    grown = resident_mb() - resident
    print(f"{grown:.1f} MB")
    assert live_tensors() == tensors and grown < 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@families
@torch.inference_mode()
def test_rounds_on_a_gpu_need_no_more_memory_than_the_longest_cache(family):
    pair = tiny.tiny_pair(family)
    target = sd.Seq2Seq(pair.target.hf_model.cuda())
    cursor = target.cursor()
    cursor.start(target.encode(tiny.sources(1)[0]))
    cursor.extend([2] * 40)

    def peak(rounds: int) -> int:
        torch.cuda.reset_peak_memory_stats()
        for _ in range(rounds):
            cursor.extend([2] * 5)
            cursor.rollback(40)
        return torch.cuda.max_memory_allocated()

    peak(5)
    few = peak(5)
    assert peak(200) == few


# ---- The budget ----

LONG, NEW, GAMMA = 20, 24, 4  # positions of each source (all of tiny Whisper's window), tokens, guesses
shapes = pytest.mark.parametrize("family", [*tiny.FAMILIES, "whisper"])


def sources_of(family: str, rows: int) -> list:
    if family == "whisper":
        return [{"input_features": torch.zeros(1, 8, 2 * LONG)} for _ in range(rows)]
    return [[2 + (i + k) % 30 for k in range(LONG)] for i in range(rows)]


def budget_of(models, rows: int, **options) -> sd.MemoryBudget:
    lengths = {"source_length": LONG, "max_new_tokens": NEW, "batch_size": rows, "gamma": GAMMA}
    return sd.memory_budget(*models, **lengths | options)


@shapes
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_the_budget_of_weights_and_caches_is_what_is_held(family, rows, dtype):
    pair = tiny.tiny_pair(family, dtype=dtype)
    for models in ([pair.target], [*pair]):
        budget, own, cross, states = budget_of(models, rows), 0, 0, 0
        for model in models:
            source, cursor = model.source(sources_of(family, rows)), model.cursor()
            cursor.start(source)
            cursor.extend(torch.full((rows, NEW), 2))  # the start token, and all but the last one
            own += held_bytes(cursor.cache.self_attention_cache)
            cross += held_bytes(cursor.cache.cross_attention_cache)
            states += sum(each.last_hidden_state.nbytes for each in (source.outputs, cursor.encoder_outputs))
        assert (budget.self_cache, budget.cross_cache, budget.states) == (own, cross, states)
        tensors = [t for model in models for t in (*model.hf_model.parameters(), *model.hf_model.buffers())]
        assert budget.weights == sum({t.data_ptr(): t.nbytes for t in tensors}.values())


def live_storages() -> dict[int, int]:
    kinds = torch.Tensor, torch.nn.Parameter  # a compiler leaves stand-ins behind that have no memory
    found = [thing.untyped_storage() for thing in gc.get_objects() if type(thing) in kinds]
    return {storage.data_ptr(): storage.nbytes() for storage in found}


@shapes
@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.long), 4])
def test_the_budget_is_within_five_percent_of_all_tensors_alive_in_a_call(family, rows):
    gc.collect()
    before, alive = live_storages(), []
    pair = tiny.tiny_pair(family, eos_token_id=None)  # every row goes to the limit

    def look(phase):
        if phase == "check":
            alive.append(sum(size for where, size in live_storages().items() if where not in before))

    options = {"gamma": GAMMA, "max_new_tokens": NEW, "seed": 0, "observer": look}
    sd.speculative_generate(*pair, sources_of(family, rows), **options)
    assert 0.95 <= max(alive) / budget_of(pair, rows).total <= 1.05


def test_the_budget_of_models_without_weights():
    """T5-small's published shape: 60,506,624 weights, and 6 layers of 8 heads of 64 numbers."""
    shape = {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "d_kv": 64}
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(vocab_size=32128, decoder_start_token_id=0, **shape))
    full = sd.memory_budget(model, source_length=100, max_new_tokens=50, batch_size=2, gamma=0)
    assert full.weights == 4 * 60_506_624
    assert (full.self_cache, full.cross_cache) == (2 * 50 * 2 * 6 * 512 * 4, 2 * 100 * 2 * 6 * 512 * 4)
    half = sd.memory_budget(model, source_length=100, max_new_tokens=50, batch_size=2, gamma=0, dtype="bfloat16")
    assert (2 * half.weights, 2 * half.self_cache) == (full.weights, full.self_cache)
    assert full.probabilities == 2 * 32128 * 4 * 4 and half.probabilities == 2 * 32128 * (2 + 3 * 4)


@pytest.mark.parametrize("family", [*tiny.FAMILIES, "whisper"])
def test_the_budget_of_a_family_is_the_same_without_weights(family):
    model = tiny.tiny_pair(family).target.hf_model
    lengths = {"source_length": 9, "max_new_tokens": 5, "batch_size": 3}
    with torch.device("meta"):
        bare = type(model)(model.config).eval()
    told, held = (replace(sd.memory_budget(each, **lengths), weights=0) for each in (bare, model))
    assert told == held  # weights may differ: some tiny models have an output matrix of their own


def shape_of(kind: str, layers: int = 4, width: int = 64):
    """A model of a few layers without weights, in training mode, as its class makes it."""
    sizes = {"layers": layers, "attention_heads": 4, "ffn_dim": 2 * width, "layerdrop": 0.9}
    shapes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in sizes.items()}
    with torch.device("meta"):
        return getattr(hf, f"{kind}ForConditionalGeneration")(getattr(hf, f"{kind}Config")(d_model=width, **shapes))


@pytest.mark.parametrize("kind", ["Bart", "M2M100", "Whisper"])
def test_the_budget_of_families_that_drop_layers_or_look_at_their_mask(kind):
    model = shape_of(kind).train()
    budget = sd.memory_budget(model, source_length=10, max_new_tokens=6)
    assert (budget.self_cache, budget.cross_cache) == (6 * 2 * 4 * 64 * 4, 10 * 2 * 4 * 64 * 4)
    assert model.training and model.config._attn_implementation == "sdpa"


def test_what_two_models_share_is_counted_once():
    pair = sd.load_pair()
    target, draft = (sd.memory_budget(model, source_length=9).weights for model in pair)
    assert target < sd.memory_budget(*pair, source_length=9).weights < target + 0.4 * draft  # one encoder


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"batch_size": 0}, ValueError, "batch_size=0: expected an integer >= 1"),
        ({"gamma": -1}, ValueError, "gamma=-1: expected an integer >= 0"),
        ({"source_length": 2.5}, TypeError, "source_length=2.5: expected an integer"),
        ({"dtype": "int3"}, ValueError, "dtype='int3': expected one of"),
    ],
)
def test_a_wrong_question_about_memory_is_refused(t5_pair, change, error, said):
    with pytest.raises(error, match=said):
        budget_of(t5_pair, 1, **change)
    with pytest.raises(TypeError, match="'t5-small': expected a Seq2Seq, or an encoder-decoder model"):
        budget_of(["t5-small"], 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_the_budget_is_within_five_percent_of_what_a_gpu_allocates():
    square = torch.ones(64, 64, device="cuda")
    square = square @ square  # a library's workspace is made for the first product, and kept
    before = torch.cuda.memory_allocated()
    shape = {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "d_kv": 64}
    config = T5Config(vocab_size=32128, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, **shape)
    target, draft = (sd.Seq2Seq(T5ForConditionalGeneration(config).cuda()) for _ in range(2))
    for model in (target, draft):
        model.hf_model.generation_config.eos_token_id = None
    torch.cuda.reset_peak_memory_stats()
    sources = [[5 + i] * LONG for i in range(8)]
    sd.speculative_generate(target, draft, sources, gamma=GAMMA, max_new_tokens=NEW, seed=0)
    assert 0.95 <= (torch.cuda.max_memory_allocated() - before) / budget_of([target, draft], 8).total <= 1.05
