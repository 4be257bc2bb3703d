"""The fast path gives what the plain one gives, compiles each step once, and says clearly what it cannot do."""

import functools
import math
import random
from collections import Counter, defaultdict
from contextlib import contextmanager, nullcontext
from itertools import product

import pytest
import torch
import transformers as hf

import specdec_lite as sd
import tiny
from enumerate_law import Case, distance, joint, target_law
from families import speech_to_bert
from specdec_lite.drafting import as_proposer
from specdec_lite.fast import CompiledSeq2Seq, NarrowLinear, StaticDecoder, has_compiler
from specdec_lite.fast.rounds import adjusted
from specdec_lite.generation import rounds

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


@pytest.fixture(scope="module", autouse=True)
def all_classes():
    """When transformers meets a class of models for the first time, all that was traced before is traced once more."""
    for build in (*tiny.BUILD.values(), *(build for build, _ in UNSERVED.values())):
        build()


@functools.cache
def served(family, **generation):
    """A pair, the same with compiled calls, and what compiled them: tracing takes seconds, so tests share it."""
    pair, backend = tiny.tiny_pair(family, **generation), CountingBackend()
    return pair, fast(pair, backend), backend


@functools.cache
def served_by_law(family):
    """Few tokens in float64, with compiled calls, and a source: what can be enumerated."""
    pair = tiny.tiny_pair(family, vocab=4, dtype=torch.float64)
    return pair, fast(pair, gammas=2, max_new_tokens=4), tiny.sources(1, vocab=4)[0]


def not_traced():
    """The same calls as they are: for what tracing cannot change, or has been seen not to change for another case."""
    return torch.compiler.set_stance("force_eager")


@families
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_same_tokens_and_counts_and_no_further_graph(family, temperature):
    pair, quick, backend = served(family)
    assert backend.graphs == 7  # reading a source, twice; checks of 1 and 4, of 1 and 2; a block of 3
    for seed, source in enumerate(tiny.sources(8)):
        for gamma in (0, 1, 3):
            options = {"gamma": gamma, "max_new_tokens": 24, "temperature": temperature, "seed": seed}
            slow, got = (sd.speculative_generate(*p, source, **options) for p in (pair, quick))
            assert got.token_ids == slow.token_ids and got.target_passes == slow.target_passes
            assert [r.overlaps for r in got.rounds] == [pytest.approx(r.overlaps, abs=1e-5) for r in slow.rounds]
            assert slow.draft_passes <= got.draft_passes < slow.draft_passes + max(1, gamma)  # the last block is whole
        options = {"max_new_tokens": 24, "temperature": temperature, "seed": seed}
        slow, got = (sd.autoregressive_generate(p.target, source, **options) for p in (pair, quick))
        assert got.token_ids == slow.token_ids
    assert backend.graphs == 7


def test_every_rule_works_on_compiled_steps():
    pair, quick, _ = served("t5")
    for rule in (sd.TokenRule(lenience=0.5), sd.BlockRule(), sd.CoupledRule()):
        for seed, source in enumerate(tiny.sources(3)):
            options = {"max_new_tokens": 24, "seed": seed, "verification": rule}
            slow, got = (sd.speculative_generate(*p, source, gamma=3, **options) for p in (pair, quick))
            assert got.token_ids == slow.token_ids and got.accepted == slow.accepted
            slow, got = (sd.autoregressive_generate(p.target, source, **options) for p in (pair, quick))
            assert got.token_ids == slow.token_ids


@families
def test_same_law(family):
    with nullcontext() if family == "t5" else not_traced():
        pair, quick, source = served_by_law(family)
        ours = Case(*quick, [source], sd.SamplingRule(1.0), 3, gamma=2).law()
    assert distance(ours, joint(target_law(pair.target, source, sd.SamplingRule(1.0), 3))) < 1e-12


class Uniforms(sd.Draws):
    """Numbers that a test has chosen. The compiled calls are given them as they are."""

    def __init__(self, numbers):
        super().__init__(0)
        self.numbers = torch.tensor([numbers], dtype=torch.float64)

    def uniforms(self, texts, n):
        return self.numbers


class ByIntervals:
    """The law of one row's loop, its random numbers chosen from every interval that makes a difference.

    Where the intervals end follows from passes without a cache. A number is taken near one end, or from the middle.
    """

    def __init__(self, pair, quick, source, temperature, gamma, length):
        self.quick, self.source, self.gamma, self.length = quick, source, gamma, length
        self.temperature, self.random = temperature, random.Random(0)
        self.fresh = [functools.cache(functools.partial(self.probs, model)) for model in pair]

    def probs(self, model, tokens):
        logits = tiny.fresh_logits(model, self.source, (model.start_token, *tokens))[-1]
        return (logits / self.temperature).softmax(-1).tolist()

    def tokens(self, probs):
        """Each token, its probability, and a number that should draw it: they lie from 1 downwards."""
        high = 1.0
        for token, p in enumerate(probs):
            if p > 0:
                yield token, p, high - p * self.random.choice([1e-6, 0.5, 1 - 1e-6])
            high -= p

    def scripts(self, state, n):
        """Numbers of one round and the probability of the intervals they stand for."""
        p, q = self.fresh
        for guesses in product(*[range(len(p(state)))] * n):
            before = [state + guesses[:i] for i in range(n)]
            drawn = [{token: rest for token, *rest in self.tokens(q(prefix))}[x] for prefix, x in zip(before, guesses)]
            heads = [min(1.0, p(prefix)[x] / q(prefix)[x]) for prefix, x in zip(before, guesses)]
            for cut in range(n + 1):
                coins = [0.5] * n
                for i in range(min(cut + 1, n)):
                    low, high = (0.0, heads[i]) if i < cut else (heads[i], 1.0)
                    coins[i] = low + (high - low) * self.random.choice([1e-6, 0.5, 1 - 1e-6])
                here, after = state + guesses[:cut], None
                after = p(here) if cut == n else [max(a - b, 0.0) for a, b in zip(p(here), q(here))]
                weight = math.prod(each[0] for each in drawn) * math.prod(heads[:cut])
                weight *= 1.0 if cut == n else 1 - heads[cut]
                if weight > 1e-15:
                    for _, chance, number in self.tokens([x / sum(after) for x in after]):
                        yield (
                            [number, *(x for pair in zip([u for _, u in drawn], coins) for x in pair)],
                            weight * chance,
                        )

    def after(self, state, numbers):
        """The package's own round from a text, with these numbers."""
        target, draft = self.quick
        texts, source = target.texts(1, self.length), target.source([self.source])
        texts[0].write(state)
        proposer, checker = as_proposer(draft, target), target.checker_kind(target, source)
        proposer.start(source, texts)
        adjustment = target.adjustment(sd.SamplingRule(self.temperature), source, texts)
        loop = rounds(checker, proposer, texts, self.gamma, adjustment, sd.TokenRule(), Uniforms(numbers), id)
        next(loop)
        return tuple(texts[0].generated)

    @torch.inference_mode()
    def law(self):
        waiting, finished = {(): 1.0}, defaultdict(float)
        while waiting:
            state = min(waiting, key=len)
            probability = waiting.pop(state)
            if len(state) == self.length or tiny.EOS in state:
                finished[(state,)] += probability
                continue
            n = min(self.gamma, self.length - len(state) - 1)
            for numbers, weight in self.scripts(state, n):
                padded = [*numbers, *[0.5] * (2 * self.gamma - 2 * n)]
                after = self.after(state, padded)
                waiting[after] = waiting.get(after, 0.0) + probability * weight
        return dict(finished)


@families
def test_the_law_of_whole_calls(family):
    with nullcontext() if family == "t5" else not_traced():
        (pair, quick, source), temperature = served_by_law(family), 0.8
        with counted_calls(quick) as calls:
            ours = ByIntervals(pair, quick, source, temperature, gamma=2, length=4).law()
    assert calls["block"] > 100 and calls["check"] > 100
    assert distance(ours, joint(target_law(pair.target, source, sd.SamplingRule(temperature), 4))) < 1e-12


@contextmanager
def counted_calls(quick):
    """How often the compiled blocks and checks are called."""
    calls, before = Counter(), (dict(quick.draft.blocks), dict(quick.target.checks))

    def counting(name, call):
        def counted(*args):
            calls[name] += 1
            return call(*args)

        return counted

    for name, kind in (("block", quick.draft.blocks), ("check", quick.target.checks)):
        kind.update({n: counting(name, call) for n, call in kind.items()})
    yield calls
    quick.draft.blocks.update(before[0]), quick.target.checks.update(before[1])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_two_calls_and_one_read_a_round(temperature, reads):
    _, quick, _ = served("t5", eos_token_id=None)
    counts = {}
    for length in (12, 24):
        reads.clear()
        options = {"gamma": 3, "max_new_tokens": length, "temperature": temperature, "seed": 0}
        with counted_calls(quick) as calls:
            run = sd.speculative_generate(*quick, tiny.sources(1)[0], **options)
        assert calls["check"] == len(run.rounds) and calls["block"] == sum(len(r.drafted) > 1 for r in run.rounds) > 2
        counts[length] = len(reads), len(run.rounds)
    (few, some), (many, more) = counts.values()
    assert more > some + 2 and many - few == more - some, counts


OTHERS = {"top_k": {"top_k": 5}, "top_p": {"top_p": 0.8}, "block": {"verification": "block"}}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_what_the_calls_do_not_serve_goes_the_usual_way(options):
    pair, quick, _ = served("t5")
    for seed, source in enumerate(tiny.sources(4)):
        same = {"gamma": 3, "max_new_tokens": 24, "seed": seed, "record_probs": True} | options
        slow, got = (sd.speculative_generate(*p, source, **same) for p in (pair, quick))
        assert got.token_ids == slow.token_ids
        assert torch.allclose(got.target_probs, slow.target_probs, atol=1e-5)


def test_recorded_probabilities_are_those_of_the_pair():
    pair, quick, _ = served("t5")
    for source in tiny.sources(3):
        options = {"max_new_tokens": 24, "seed": 1, "record_probs": True}
        slow, got = (sd.speculative_generate(*p, source, gamma=3, **options) for p in (pair, quick))
        assert torch.allclose(got.target_probs, slow.target_probs, atol=1e-5) and len(got.target_probs) > 3


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_temperature_that_is_a_tensor(temperature, dtype):
    logits = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[1, 2, :2] = 9.0  # a tie
    logits[0, 0, 7], logits[0, 1, 8] = math.nan, math.inf
    ours = adjusted(logits, torch.tensor([temperature], dtype=torch.float64))
    theirs = sd.SamplingRule(temperature).probs(logits)
    assert ours.dtype == theirs.dtype and torch.allclose(ours, theirs, rtol=1e-6, atol=0, equal_nan=True)


@not_traced()  # of all that is traced only the product differs: see below
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
    narrow = NarrowLinear(linear, torch.int8)
    off = (narrow.stored * narrow.scale[:, None] - linear.weight).abs()
    assert narrow.stored.dtype == torch.int8
    assert (off <= narrow.scale[:, None] * (0.5 + 1e-9)).all() and off.max() > 0


@pytest.mark.parametrize("positions", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_the_linear_layers(positions, bias):
    linear = torch.nn.Linear(16, 24, bias=bias, dtype=torch.float64)
    narrow = NarrowLinear(linear)
    x = torch.randn(1, positions, 16, dtype=torch.float64)
    quick = torch.compile(narrow, backend=CountingBackend(), dynamic=False)
    with torch.inference_mode():
        for layer in (narrow, quick):
            assert torch.allclose(layer(x), linear(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("positions", [1, 7])
@pytest.mark.parametrize("rounded", [torch.bfloat16, torch.int8], ids=str)
def test_compiled_products_of_rounded_weights_are_the_layers(rounded, positions):
    narrow = NarrowLinear(torch.nn.Linear(16, 24, dtype=torch.float64), rounded)
    x = torch.randn(1, positions, 16, dtype=torch.float64)
    quick = torch.compile(narrow, backend=CountingBackend(), dynamic=False)
    with torch.inference_mode():
        assert torch.allclose(quick(x), narrow(x), rtol=0, atol=1e-12)


def test_weights_are_shared_not_copied():
    pair, quick, _ = served("t5")
    held = {p.data_ptr() for p in pair.target.hf_model.parameters()}
    assert {p.data_ptr() for p in quick.target.hf_model.parameters()} == held
    assert isinstance(pair.target.hf_model.get_output_embeddings(), torch.nn.Linear)  # and the pair itself is untouched


@families
def test_logits_equal_fresh_ones_after_any_moves(family):
    pair = tiny.tiny_pair(family, dtype=torch.float64)
    options = {"max_new_tokens": 24, "max_source_tokens": 16, "backend": CountingBackend()}
    target, source = CompiledSeq2Seq(pair.target, [1, 4], **options), tiny.sources(1)[0]
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
    target = served("t5")[1].target
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


def test_without_a_compiler_the_message_says_so(monkeypatch):
    monkeypatch.setattr("specdec_lite.fast.compile.has_compiler", lambda device: False)
    with pytest.raises(RuntimeError, match=r"needs a C\+\+ compiler and found none; the pair works without it"):
        sd.compile_pair(tiny.tiny_pair())


def test_an_old_torch_is_told(monkeypatch):
    monkeypatch.delattr(torch.compiler, "skip_all_guards_unsafe")
    with pytest.raises(
        RuntimeError, match=r"compile_pair needs torch 2\.11 or newer, not .*; the pair works without it"
    ):
        sd.compile_pair(tiny.tiny_pair())


@pytest.fixture
def before_2_13(monkeypatch):
    """`torch.compile` as it was before it could keep two calls of the same code apart; and nothing is checked."""
    newer, unchecked = torch.compile, {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}

    def older(model=None, *, fullgraph=False, dynamic=None, backend="inductor", mode=None, options=None, disable=False):
        how = {"backend": backend, "mode": mode, "options": options or dict(unchecked), "disable": disable}
        return newer(model, fullgraph=fullgraph, dynamic=dynamic, **how)

    monkeypatch.setattr(torch, "compile", older)


def test_a_torch_that_cannot_keep_calls_apart_is_given_apart_ones(before_2_13):
    pair = tiny.tiny_pair()
    backends = CountingBackend(), CountingBackend()
    quick, again = (fast(pair, backend, gammas=gammas) for backend, gammas in zip(backends, ([1, 2], [1])))
    for seed, source in enumerate(tiny.sources(2)):
        for gamma in (0, 1, 2):
            options = {"max_new_tokens": 24, "temperature": seed % 2, "seed": seed}
            slow = sd.speculative_generate(*pair, source, gamma=gamma, **options)
            for each in (quick, again):
                got = sd.speculative_generate(*each, source, gamma=gamma, **options)
                assert got.token_ids == slow.token_ids and got.accepted == slow.accepted
    assert [backend.graphs for backend in backends] == [9, 7]  # each width once, and of each pair


@pytest.mark.long
@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="no C++ compiler")
def test_apart_ones_are_compiled_for_real(before_2_13):
    pair = tiny.tiny_pair()
    quick = fast(pair, "inductor")
    for seed, source in enumerate(tiny.sources(4)):
        options = {"gamma": 3, "max_new_tokens": 24, "temperature": seed % 2, "seed": seed}
        slow, got = (sd.speculative_generate(*each, source, **options) for each in (pair, quick))
        assert got.token_ids == slow.token_ids


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


SMALL = {
    "d_model": 32, "vocab_size": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32,
    "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1, "decoder_start_token_id": 3,
}  # fmt: skip


def gemma(**decoder):
    shape = {
        "vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 8, "bos_token_id": 2, "layer_types": ["full_attention"] * 2,
        "max_position_embeddings": 32, "attn_logit_softcapping": None,
    }  # fmt: skip
    sides = hf.T5GemmaModuleConfig(**shape), hf.T5GemmaModuleConfig(**shape | decoder)
    return hf.T5GemmaForConditionalGeneration(hf.T5GemmaConfig(encoder=sides[0], decoder=sides[1], vocab_size=32))


UNSERVED = {
    "grouped heads": (
        lambda: gemma(num_key_value_heads=2),
        "T5GemmaForConditionalGeneration has grouped heads (4, with keys for 2): compile_pair expects keys for every",
    ),
    "windows": (
        lambda: gemma(layer_types=["full_attention", "sliding_attention"], sliding_window=4),
        "T5GemmaForConditionalGeneration has layers of sliding_attention: compile_pair expects full attention",
    ),
    "positions": (
        lambda: hf.M2M100ForConditionalGeneration(hf.M2M100Config(**SMALL)),
        "M2M100ForConditionalGeneration has positions that leave out its pad token (0): compile_pair expects",
    ),
    "ends": (
        lambda: speech_to_bert(1, 32),
        "SpeechEncoderDecoderModel has a decoder that cannot be told where a source ends: compile_pair expects a mask",
    ),
}


@pytest.mark.parametrize("role", ["target", "draft"])
@pytest.mark.parametrize("build, said", UNSERVED.values(), ids=UNSERVED)
def test_what_no_step_serves_is_told_before_anything_is_compiled(build, said, role):
    backend, models = CountingBackend(), dict(zip(("target", "draft"), tiny.tiny_pair()))
    models[role] = sd.Seq2Seq(build())
    with pytest.raises(ValueError) as raised:
        fast(sd.Pair(**models, name="mixed"), backend)
    assert str(raised.value).startswith(f"pair.{role}={said}")
    assert str(raised.value).endswith("; the pair works without it, as it is") and backend.graphs == 0


def test_a_draft_on_another_device_is_refused():
    pair = tiny.tiny_pair()
    pair.draft.hf_model.to("meta")
    with pytest.raises(ValueError, match=r"pair\.draft is on meta: expected the target's device, cpu"):
        fast(pair)


def test_what_the_compiler_refuses_is_told_for_which_model():
    def broken(graph, inputs):
        raise NotImplementedError("no such instruction")

    with pytest.raises(RuntimeError) as raised:
        fast(tiny.tiny_pair(), broken)
    said = str(raised.value)
    assert (
        said.startswith("pair.target=T5ForConditionalGeneration cannot be compiled") and "no such instruction" in said
    )
    assert said.endswith("the pair works without it, as it is") and "\n" not in said


def test_a_list_of_sources_is_refused_before_any_pass():
    pair, quick, _ = served("t5")
    said = r"source is a list of 2: expected one, .* of T5ForConditionalGeneration serve one row"
    with tiny.counted(quick.target) as (passes,):
        for models in (quick, (pair.target, quick.draft)):
            with pytest.raises(ValueError, match=said):
                sd.speculative_generate(*models, [[5, 6], [7, 8]], max_new_tokens=4)
        with pytest.raises(ValueError, match=said):
            sd.autoregressive_generate(quick.target, [[5, 6], [7, 8]], max_new_tokens=4)
    assert not passes
    assert sd.autoregressive_generate(quick.target, [[5, 6]], max_new_tokens=4)[0].token_ids


@families
def test_a_pair_without_eos_writes_to_the_limit(family):
    with nullcontext() if family == "t5" else not_traced():
        pair, quick, _ = served(family, eos_token_id=None)
        options = {"gamma": 3, "max_new_tokens": 24, "temperature": 0.0}
        slow, got = (sd.speculative_generate(*p, [5, 6, 7], **options) for p in (pair, quick))
    assert got.token_ids == slow.token_ids and len(got.token_ids) == 24


SETTINGS = {
    "length": {"min_length": 20, "no_repeat_ngram_size": 2},
    "forced": {"forced_bos_token_id": 9, "forced_eos_token_id": tiny.EOS, "suppress_tokens": [10, 11, 12, 13]},
}


@pytest.mark.parametrize(("family", "prompt"), [("t5", None), ("t5", [8, 9, 10]), ("bart", [8, 9, 10])])
def test_settings_and_prompts_of_several_tokens_are_those_of_the_pair(family, prompt):
    traced = family == "bart" or not prompt
    with nullcontext() if traced else not_traced():
        texts = texts_of_all_settings(*(prompted(family, prompt) if prompt else served(family)[:2]))
    assert len({*map(tuple, texts)}) == len(texts) == 9  # every setting changes every text


def prompted(family, prompt):
    pair = tiny.tiny_pair(family)
    pair = sd.Pair(*(sd.Seq2Seq(model.hf_model, prompt=prompt) for model in pair), pair.name)
    return pair, fast(pair)


def texts_of_all_settings(pair, quick):
    config, seen = pair.target.hf_model.generation_config, []
    for settings in ({}, *SETTINGS.values()):  # both pairs read them at every call, from one config
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setattr(config, name, value)
            seen += texts_of(pair, quick)
    return seen


def texts_of(pair, quick):
    seen = []
    for seed, source in enumerate(tiny.sources(3)):
        options = {"max_new_tokens": 24, "temperature": seed / 2, "seed": seed}
        slow, got = (sd.speculative_generate(*p, source, gamma=3, **options) for p in (pair, quick))
        plain = sd.autoregressive_generate(quick.target, source, **options)
        assert got.token_ids == slow.token_ids
        assert seed or got.token_ids == plain.token_ids
        seen.append(got.token_ids)
    return seen


def test_cursors_of_another_kind_share_the_buffers_and_their_turns():
    target, fed = served("t5")[1].target, []

    class Noting(StaticDecoder):
        def check(self, rows, *others):
            fed.append(rows.shape[1])
            return super().check(rows, *others)

    noting = target.with_cursor(Noting)
    out = sd.autoregressive_generate(noting, [5, 6], max_new_tokens=4, temperature=0.0)
    assert fed == [1] * len(out.token_ids)
    first, second = noting.cursor(), target.cursor()
    with torch.inference_mode():
        first.start(target.encode([5, 6]))
        second.start(target.encode([7, 8]))
        with pytest.raises(RuntimeError, match="another cursor has started"):
            first.extend([3])


@not_traced()
def test_a_compiled_step_reads_the_same_weights_rounded_or_not():
    pair, source = tiny.tiny_pair(), tiny.sources(1)[0]
    for slow, quick in zip(pair, fast(pair, draft_weights="int8")):
        shapes = [[matrix.shape for matrix in sd.step_weights(model, source)] for model in (slow, quick)]
        assert shapes[0] == shapes[1] and shapes[0]


def test_limits_are_told_before_any_pass():
    (_, quick, _), long = served("t5"), [5] * 17
    with pytest.raises(ValueError, match=r"max_new_tokens=25: expected at most the model's 24 positions"):
        sd.speculative_generate(*quick, [5, 6], max_new_tokens=25)
    with pytest.raises(ValueError, match=r"source has (17|18) tokens: expected at most 16"):
        sd.speculative_generate(*quick, long, max_new_tokens=24)
    padded = {"input_ids": torch.tensor([[5, 6, 0]]), "attention_mask": torch.tensor([[1, 1, 0]])}
    with pytest.raises(ValueError, match=r"attention_mask.*expected a source without padding"):
        sd.speculative_generate(*quick, padded, max_new_tokens=24)


def test_buffers_serve_one_generation_at_a_time():
    target = served("t5")[1].target
    first, second = target.cursor(), target.cursor()
    with torch.inference_mode():
        first.start(target.encode([5, 6]))
        first.extend([0])
        second.start(target.encode([7, 8]))
        with pytest.raises(RuntimeError, match="another cursor has started"):
            first.extend([3])


def test_target_may_draft_for_itself():
    alone = tiny.tiny_pair().draft  # of one layer, which is traced sooner
    twins = fast(sd.Pair(alone, alone, "twins"), gammas=1)
    out = sd.speculative_generate(*twins, [5, 6, 7], gamma=1, max_new_tokens=20, temperature=0.0)
    assert out.alpha == 1.0
