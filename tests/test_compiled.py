"""The fast path gives what the plain one gives, compiles each step once, and says clearly what it cannot do."""

import pytest
import torch

import specdec_lite as sd
import tiny
from enumerate_law import Case, distance, joint, target_law
from specdec_lite import compiled
from test_pocket_pair import LENGTH, SENTENCES

families = pytest.mark.parametrize("family", tiny.FAMILIES)


class CountingBackend:
    """Compiles to the graph itself, and counts how often it is asked to."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def fast(pair, backend=None, **options):
    options = {"gammas": 3, "max_new_tokens": 24, "max_source_tokens": 16, "progress": False, **options}
    return sd.compile_pair(pair, backend=backend or CountingBackend(), **options)


@families
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_same_tokens_and_counts_and_no_further_graph(family, temperature):
    pair, backend = tiny.tiny_pair(family), CountingBackend()
    quick = fast(pair, backend)
    assert backend.graphs == 6
    for seed, source in enumerate(tiny.sources(8)):
        for gamma in (0, 1, 3):
            options = {"gamma": gamma, "max_new_tokens": 24, "temperature": temperature, "seed": seed}
            slow, got = (sd.speculative_generate(*p, source, **options) for p in (pair, quick))
            assert got.token_ids == slow.token_ids
            assert (got.target_passes, got.draft_passes) == (slow.target_passes, slow.draft_passes)
        options = {"max_new_tokens": 24, "temperature": temperature, "seed": seed}
        slow, got = (sd.autoregressive_generate(p.target, source, **options) for p in (pair, quick))
        assert got.token_ids == slow.token_ids
    assert backend.graphs == 6


@families
def test_same_law(family):
    pair = tiny.tiny_pair(family, vocab=4, dtype=torch.float64)
    quick = fast(pair, gammas=2, max_new_tokens=3)
    source = tiny.sources(1, vocab=4)[0]
    ours = Case(*quick, [source], sd.SamplingRule(1.0), 3, gamma=2).law()
    assert distance(ours, joint(target_law(pair.target, source, sd.SamplingRule(1.0), 3))) < 1e-12


@pytest.mark.parametrize("rounded", ["bfloat16", "int8"])
def test_same_law_with_a_rounded_draft(rounded):
    pair = tiny.tiny_pair(vocab=4, dtype=torch.float64)
    quick = fast(pair, gammas=2, max_new_tokens=3, draft_weights=rounded)
    source = tiny.sources(1, vocab=4)[0]
    ours, exact = (Case(*each, [source], sd.SamplingRule(1.0), 3, gamma=2) for each in (quick, pair))
    assert distance(ours.law(), joint(target_law(pair.target, source, sd.SamplingRule(1.0), 3))) < 1e-12
    assert exact.law() and any(a.overlaps != b.overlaps for a, b in zip(ours.seen, exact.seen))  # q did change


def test_a_rounded_weight_is_off_by_half_a_step_at_most():
    linear = torch.nn.Linear(16, 24, dtype=torch.float64)
    narrow = compiled.NarrowLinear(linear, torch.int8)
    off = (narrow.weight * narrow.scale[:, None] - linear.weight).abs()
    assert narrow.weight.dtype == torch.int8
    assert (off <= narrow.scale[:, None] * (0.5 + 1e-9)).all() and off.max() > 0


@pytest.mark.parametrize("positions", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_the_linear_layers(positions, bias):
    linear = torch.nn.Linear(16, 24, bias=bias, dtype=torch.float64)
    narrow = compiled.NarrowLinear(linear)
    x = torch.randn(1, positions, 16, dtype=torch.float64)
    quick = torch.compile(narrow, backend=CountingBackend(), dynamic=False)
    with torch.inference_mode():
        for layer in (narrow, quick):
            assert torch.allclose(layer(x), linear(x), rtol=0, atol=1e-12)


def test_weights_are_shared_not_copied():
    pair = tiny.tiny_pair()
    quick = fast(pair)
    held = {p.data_ptr() for p in pair.target.hf_model.parameters()}
    assert {p.data_ptr() for p in quick.target.hf_model.parameters()} == held
    assert isinstance(pair.target.hf_model.get_output_embeddings(), torch.nn.Linear)  # and the pair itself is untouched


@families
def test_logits_equal_fresh_ones_after_any_moves(family):
    pair = tiny.tiny_pair(family, dtype=torch.float64)
    target, source = fast(pair).target, tiny.sources(1)[0]
    cursor, fed = target.cursor(), [target.start_token]
    generator = torch.Generator().manual_seed(0)

    def pick(low, high):
        return int(torch.randint(low, high + 1, (), generator=generator))

    with torch.inference_mode():
        cursor.start(target.encode(source))
        cursor.extend(fed)
        for _ in range(40):
            new = torch.randint(
                2, tiny.VOCAB, (int(torch.randint(1, 5, (), generator=generator)),), generator=generator
            )
            logits, fed = cursor.extend(new), fed + new.tolist()
            fresh = tiny.fresh_logits(pair.target, source, fed)[-len(new) :]
            assert torch.allclose(logits, fresh, rtol=0, atol=1e-9)
            kept = pick(max(1, len(fed) - 5), min(len(fed), 18))
            fed = fed[:kept]
            cursor.rollback(kept)


def test_rollback_copies_nothing():
    target = fast(tiny.tiny_pair()).target
    cursor = target.cursor()
    where = [layer.keys.data_ptr() for layer in target.cache.self_attention_cache.layers]
    with torch.inference_mode():
        cursor.start(target.encode(tiny.sources(1)[0]))
        for tokens in ([0], [3, 4, 5, 6], [7]):
            cursor.extend(tokens)
            keys = target.cache.self_attention_cache.layers[0].keys.clone()
            cursor.rollback(1)
            assert torch.equal(keys, target.cache.self_attention_cache.layers[0].keys)
    assert where == [layer.keys.data_ptr() for layer in target.cache.self_attention_cache.layers]


@pytest.mark.skipif(not compiled.has_compiler(torch.device("cpu")), reason="no C++ compiler")
def test_two_hundred_sentences_compiled_for_real():
    pair = sd.load_pair()
    # Chapter 12's widths and buffers: torch keeps what it compiled, and the notebook's test finds it.
    quick = sd.compile_pair(pair, gammas=[1, 4], max_new_tokens=64, max_source_tokens=64, progress=False)
    for sentence in SENTENCES:
        plain = sd.autoregressive_generate(pair.target, sentence, max_new_tokens=LENGTH, temperature=0.0)
        got = sd.speculative_generate(*quick, sentence, gamma=4, max_new_tokens=LENGTH, temperature=0.0)
        assert got.token_ids == plain.token_ids, sentence


def test_without_a_compiler_the_message_says_so(monkeypatch):
    monkeypatch.setattr(compiled, "has_compiler", lambda device: False)
    with pytest.raises(RuntimeError, match=r"needs a C\+\+ compiler and found none; the pair works without it"):
        sd.compile_pair(tiny.tiny_pair())


def test_an_old_torch_is_told(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, backend=None, options=None: model)
    with pytest.raises(RuntimeError, match=r"needs a torch .* as 2\.13 does, not .*; the pair works without it"):
        sd.compile_pair(tiny.tiny_pair())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"gammas": -1}, "gammas=-1: expected an integer >= 0"),
        ({"gammas": [2, True]}, "gammas=True: expected an integer"),
        ({"gammas": []}, r"gammas=\[\]: expected at least one"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_source_tokens": 0}, "max_source_tokens=0"),
        ({"draft_weights": "int4"}, "draft_weights='int4': expected None, 'bfloat16' or 'int8'"),
        ({"backend": "nonsense"}, "backend='nonsense'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fast(tiny.tiny_pair(), **options)


def test_speech_is_refused():
    with pytest.raises(TypeError, match=r"pair.*expected models that read text"):
        fast(tiny.tiny_pair("whisper"))


def test_limits_are_told_before_any_pass():
    quick, long = fast(tiny.tiny_pair()), [5] * 17
    with pytest.raises(ValueError, match=r"max_new_tokens=25: expected at most the model's 24 positions"):
        sd.speculative_generate(*quick, [5, 6], max_new_tokens=25)
    with pytest.raises(ValueError, match=r"source has (17|18) tokens: expected at most 16"):
        sd.speculative_generate(*quick, long, max_new_tokens=24)
    padded = {"input_ids": torch.tensor([[5, 6, 0]]), "attention_mask": torch.tensor([[1, 1, 0]])}
    with pytest.raises(ValueError, match=r"attention_mask.*expected a source without padding"):
        sd.speculative_generate(*quick, padded, max_new_tokens=24)


def test_buffers_serve_one_generation_at_a_time():
    target = fast(tiny.tiny_pair()).target
    first, second = target.cursor(), target.cursor()
    with torch.inference_mode():
        first.start(target.encode([5, 6]))
        first.extend([0])
        second.start(target.encode([7, 8]))
        with pytest.raises(RuntimeError, match="another cursor has started"):
            first.extend([3])


def test_target_may_draft_for_itself():
    pair = tiny.tiny_pair()
    twins = fast(sd.Pair(pair.target, pair.target, "twins"))
    out = sd.speculative_generate(*twins, [5, 6, 7], gamma=3, max_new_tokens=20, temperature=0.0)
    assert out.alpha == 1.0
