"""A checkpoint's own settings: greedy decoding through `Adjustment` gives what `generate` gives, or says why not."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, MarianConfig, MarianMTModel
from transformers import WatermarkingConfig as Watermark

import specdec_lite as sd
import tiny
from specdec_lite import settings
from specdec_lite.adjustment import Adjustment
from specdec_lite.sampling import SamplingRule
from specdec_lite.settings import overridden, processors_for
from specdec_lite.texts import Text

SEEDS = {"t5": 0, "bart": 1, "marian": 1, "whisper": 2}  # with these, every setting below shows
NEW = 16
GREEDY = SamplingRule(temperature=0.0)
LIKE_T5 = "bart", "marian"  # for the loops: text in, text out

SETTINGS = {
    "sequence_bias": {"sequence_bias": [[[9], 2.5], [[12, 4], -6.0], [[7, 3, 5], 8.0]]},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.8},
    "repetition_penalty": {"repetition_penalty": 1.9},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "no_repeat_unigram": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "bad_words_ids": {"bad_words_ids": [[i] for i in range(3, 12)] + [[tiny.EOS]]},
    "bad_words_long": {"bad_words_ids": [[a, b] for a in range(2, 32) for b in range(2, 20)] + [[5, 6, 7]]},
    "min_length": {"min_length": 9},
    "min_new_tokens": {"min_new_tokens": 9},
    "min_new_tokens_wins": {"min_length": 15, "min_new_tokens": 9},
    "forced_bos_token_id": {"forced_bos_token_id": 6},
    "forced_eos_token_id": {"forced_eos_token_id": [tiny.EOS, 8]},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (3, 1.4)},
    "suppress_tokens": {"suppress_tokens": [-1, 4, *range(10, 20), 99]},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(2, 31))},
    "begin_suppress_behind_forced": {"begin_suppress_tokens": list(range(2, 31)), "forced_bos_token_id": 6},
    "several_eos": {"eos_token_id": [tiny.EOS, 5, 15, 22], "min_length": 4},
    "no_eos": {"eos_token_id": None, "min_length": 4},
    "renormalize_logits": {"renormalize_logits": True, "repetition_penalty": 1.5},
    # What well-known checkpoints ship, in a small vocabulary.
    "bart-large-cnn": {
        "min_length": 11, "no_repeat_ngram_size": 3, "forced_bos_token_id": 3, "forced_eos_token_id": 1,
        "num_beams": 4, "length_penalty": 2.0, "early_stopping": True,
    },
    "blenderbot": {
        "encoder_no_repeat_ngram_size": 3, "no_repeat_ngram_size": 3, "min_length": 9, "forced_eos_token_id": 1,
        "num_beams": 10, "length_penalty": 0.65,
    },
    "nllb": {"forced_bos_token_id": 21, "num_beams": 5},
    "marian": {"bad_words_ids": [[0]], "forced_eos_token_id": 1, "num_beams": 6},
    "whisper": {"suppress_tokens": [2, 7, 8, 9, 10, 14, 25, 26, 27, 28], "begin_suppress_tokens": [22, 1]},
}  # fmt: skip
NEEDS_TOKEN_IDS = {"encoder_repetition_penalty", "encoder_no_repeat_ngram_size"}


def marian_model():
    return MarianMTModel(
        MarianConfig(
            vocab_size=tiny.VOCAB, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64, dropout=0.0,
            tie_word_embeddings=False, forced_eos_token_id=None, pad_token_id=tiny.PAD, eos_token_id=tiny.EOS,
            decoder_start_token_id=tiny.PAD,
        )
    )  # fmt: skip


@cache
def model_of(family: str):
    build = marian_model if family == "marian" else lambda: tiny.BUILD[family](2, tiny.VOCAB)
    model = tiny.shake(tiny.untie(build()), SEEDS[family], 3.0).eval()
    # A least length and its like show only where a text ends: a token from the middle of the first becomes the EOS.
    outputs = [generate(model, inputs, eos_token_id=None) for inputs in inputs_of(family)]
    late = max(outputs[0][4:9], key=lambda token: min([*output, token].index(token) for output in outputs))
    head = model.get_output_embeddings().weight.data
    head[[late, tiny.EOS]] = head[[tiny.EOS, late]]
    return model


@contextmanager
def shipped(model, **setting):
    """The model with these settings in its generation config."""
    before = model.generation_config
    model.generation_config = GenerationConfig.from_dict(before.to_dict())
    for name, value in setting.items():  # not `update`, which would check: a file is not checked either
        setattr(model.generation_config, name, value)
    yield
    model.generation_config = before


@cache
def draft_of(family: str):
    """Like the model, but noisy: some of what it drafts is refused."""
    draft = tiny.untie(marian_model() if family == "marian" else tiny.BUILD[family](2, tiny.VOCAB))
    tiny.resemble(draft, model_of(family), seed=5, noise=0.1)
    return draft.eval()


@cache
def inputs_of(family: str) -> list[dict]:
    if family == "whisper":
        generator = torch.Generator().manual_seed(5)
        return [{"input_features": 3 * torch.randn(1, 8, 40, generator=generator)} for _ in range(3)]
    return [{"input_ids": torch.tensor([source])} for source in tiny.sources(3, seed=2)]


def text(tokens, row=0) -> Text:
    return Text(tokens, frozenset(), NEW, row)


def adjustment(model, *inputs, prompt_length=1, max_new_tokens=NEW, rule=GREEDY) -> Adjustment:
    options = {"prompt_length": prompt_length, "max_new_tokens": max_new_tokens, "vocab_size": tiny.VOCAB}
    config = model.generation_config
    return Adjustment(rule, [processors_for(config, encoder_input_ids=i.get("input_ids"), **options) for i in inputs])


@torch.no_grad()
def fresh(model, inputs, tokens) -> torch.Tensor:
    """Logits ``(1, len(tokens), V)`` of a pass without a cache."""
    return model(**inputs, decoder_input_ids=torch.tensor([tokens]), use_cache=False).logits


def eos_of(model) -> set:
    eos = model.generation_config.eos_token_id
    return set() if eos is None else set(eos) if isinstance(eos, list) else {eos}


def greedy(model, inputs, prompt=None) -> list[int]:
    """A decoding loop in the open, one fresh pass a token."""
    prompt = prompt or [model.generation_config.decoder_start_token_id]
    adjust = adjustment(model, inputs, prompt_length=len(prompt))
    tokens, nothing = list(prompt), torch.empty(1, 0, dtype=torch.long)
    while len(tokens) < len(prompt) + NEW and not (len(tokens) > len(prompt) and tokens[-1] in eos_of(model)):
        probs = adjust.probs(fresh(model, inputs, tokens)[:, -1:], [text(tokens)], nothing)
        tokens.append(int(probs.argmax()))
    return tokens[len(prompt) :]


def generate(model, inputs, prompt=None, **options) -> list[int]:
    if prompt:
        options["decoder_input_ids"] = torch.tensor([prompt])
    options = {"max_new_tokens": NEW, "num_beams": 1, "do_sample": False, **options}
    return GenerationMixin.generate(model, **inputs, **options)[0, len(prompt or [0]) :].tolist()


@cache
def unadjusted(family: str) -> list:
    return [generate(model_of(family), inputs) for inputs in inputs_of(family)]


@pytest.mark.filterwarnings("ignore:Passing `encoder_")
@pytest.mark.parametrize("family", ["t5", "bart", "whisper", pytest.param("marian", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", SETTINGS)
def test_greedy_equals_generate(family, name):
    model = model_of(family)
    with shipped(model, **SETTINGS[name]):
        expected = [generate(model, inputs) for inputs in inputs_of(family)]
        assert [greedy(model, inputs) for inputs in inputs_of(family)] == expected
        check_blocks(model, inputs_of(family), expected)
    idle = family == "whisper" and name in NEEDS_TOKEN_IDS  # as in `generate`: a spectrogram has no token ids
    assert (expected == unadjusted(family)) == idle, "the setting shows nothing"


def check_blocks(model, inputs, outputs) -> None:
    """Columns of a block, two rows of different lengths, one of them alone: equal to one column at a time."""
    start, nothing = model.generation_config.decoder_start_token_id, torch.empty(1, 0, dtype=torch.long)
    adjust = adjustment(model, *inputs[:2])
    sequences = [[start, *output, *[9] * 8] for output in outputs[:2]]  # texts may end early: drafts go on behind EOS
    logits = [fresh(model, *pair)[0] for pair in zip(inputs, sequences)]
    lengths, n = (1, 3), 4
    texts = [text(s[:length], row) for row, (s, length) in enumerate(zip(sequences, lengths))]
    ahead = torch.tensor([s[length : length + n] for s, length in zip(sequences, lengths)])
    block = torch.stack([row[length - 1 : length + n] for row, length in zip(logits, lengths)])
    both = adjust.scores(block, texts, ahead)
    for row, length in enumerate(lengths):
        alone = adjustment(model, inputs[row])
        single = [
            alone.scores(logits[row][None, k - 1 : k], [text(sequences[row][:k])], nothing)[0]
            for k in range(length, length + n + 1)
        ]
        assert torch.equal(both[row], torch.cat(single))
        assert torch.equal(adjust.scores(block[row:][:1], texts[row:][:1], ahead[row:][:1])[0], both[row])
        draft_step = adjust.scores(block[row:][:1, 2:3], texts[row:][:1], ahead[row:][:1, :2])
        assert torch.equal(draft_step[0, 0], both[row, 2])


@pytest.mark.filterwarnings("ignore:Passing `encoder_")
@pytest.mark.parametrize("family", ["t5", "whisper", *(pytest.param(each, marks=pytest.mark.long) for each in LIKE_T5)])
@pytest.mark.parametrize("name", ["bart-large-cnn", "blenderbot", "nllb", "marian", "whisper"])
def test_the_loops_obey_in_a_batch(family, name):
    model, sources = model_of(family), inputs_of(family)
    with shipped(model, **SETTINGS[name]):
        expected = [generate(model, inputs) for inputs in sources]
        target, draft, options = sd.Seq2Seq(model), sd.Seq2Seq(draft_of(family)), {"max_new_tokens": NEW}
        plain = sd.autoregressive_generate(target, sources, temperature=0.0, **options)
        assert [row.token_ids for row in plain] == expected
        for gamma in (1, 8):
            rows = sd.speculative_generate(target, draft, sources, gamma=gamma, temperature=0.0, **options)
            assert [row.token_ids for row in rows] == expected


@pytest.mark.parametrize("name", ["bart-large-cnn", "begin_suppress_behind_forced", "exponential_decay_length_penalty"])
def test_a_prompt_of_several_tokens(name):
    """Lengths count from the prompt's end where `generate` counts so; a first token is then not forced any more."""
    model, prompt = model_of("bart"), [tiny.EOS, 5, 6]
    with shipped(model, **SETTINGS[name]):
        expected = [generate(model, inputs, prompt) for inputs in inputs_of("bart")]
        assert [greedy(model, inputs, prompt) for inputs in inputs_of("bart")] == expected
    assert expected != [generate(model, inputs, prompt) for inputs in inputs_of("bart")]


def test_whispers_own_generate():
    """It makes prompt and processors itself, and leaves out an EOS at the end."""
    model, prompt = model_of("whisper"), [3, 4, 5, 31]
    setting = {
        "lang_to_id": {"<|en|>": 4}, "task_to_id": {"transcribe": 5}, "no_timestamps_token_id": 31,
        "language": "en", "task": "transcribe", "is_multilingual": True, "no_repeat_ngram_size": 2,
        "suppress_tokens": [2, 7, 8, 9, 27, 28], "begin_suppress_tokens": [24, tiny.EOS, 31],
    }  # fmt: skip
    with shipped(model, **setting):
        options = {"max_new_tokens": NEW, "num_beams": 1, "do_sample": False}
        expected = [model.generate(**inputs, **options)[0].tolist() for inputs in inputs_of("whisper")]
        got = [greedy(model, inputs, prompt) for inputs in inputs_of("whisper")]
    assert [[token for token in tokens if token != tiny.EOS] for tokens in got] == expected
    assert expected != [generate(model, inputs, prompt) for inputs in inputs_of("whisper")]


def test_not_a_number_is_removed_where_asked():
    model = model_of("t5")
    head = model.get_output_embeddings().weight.data
    row, head[7] = head[7].clone(), float("nan")
    try:
        with shipped(model, remove_invalid_values=True):
            expected = [generate(model, inputs) for inputs in inputs_of("t5")]
            assert [greedy(model, inputs) for inputs in inputs_of("t5")] == expected
        assert all(set(generate(model, inputs)) == {7} for inputs in inputs_of("t5"))
    finally:
        head[7] = row


def test_ngrams_of_the_source_and_of_the_prefix():
    """Which tokens may follow, said by hand; the n-gram lies across the text and what is ahead of it."""
    logits, ahead = torch.zeros(1, 2, tiny.VOCAB), torch.tensor([[6, 5]])
    config = GenerationConfig(eos_token_id=tiny.EOS, encoder_no_repeat_ngram_size=3, no_repeat_ngram_size=2)
    options = {"prompt_length": 1, "max_new_tokens": 9, "vocab_size": tiny.VOCAB}
    made = processors_for(config, encoder_input_ids=torch.tensor([[5, 6, 7, 6, 5, 8]]), **options)
    adjust = Adjustment(SamplingRule(), [made])
    behind_six, behind_five = adjust.probs(logits, [text([0, 5, 9, 5])], ahead)[0]
    assert (behind_six == 0).nonzero().flatten().tolist() == [7]  # 5 6 7 stands in the source
    assert (behind_five == 0).nonzero().flatten().tolist() == [6, 8, 9]  # 5 6 and 5 9 are said, 6 5 8 is in the source


@pytest.mark.parametrize("name, value", [
    ("guidance_scale", 2.0), ("watermarking_config", Watermark()), ("token_healing", True), ("stop_strings", ["w5"]),
    ("max_time", 3.0), ("is_assistant", True), ("dola_layers", "low"), ("constraints", [object()]),
    ("force_words_ids", [[5]]), ("penalty_alpha", 0.6), ("return_timestamps", True), ("no_speech_threshold", 0.6),
])  # fmt: skip
def test_refused_by_name(name, value):
    model = model_of("t5")
    with shipped(model, **{name: value}), pytest.raises(ValueError, match=rf"generation_config\.{name}=.*: expected"):
        adjustment(model, inputs_of("t5")[0])


def test_every_refused_field_is_tried():
    tried = {case[0] for case in test_refused_by_name.pytestmark[0].args[1]}
    assert tried == set(settings.REFUSED)


@pytest.mark.parametrize("setting", [
    {"forced_bos_token_id": -1}, {"forced_eos_token_id": 32}, {"bad_words_ids": [[5, 99]]}, {"bad_words_ids": []},
    {"sequence_bias": [[[99], 1.0]]}, {"repetition_penalty": 2}, {"repetition_penalty": -1.0}, {"min_length": 2.5},
    {"exponential_decay_length_penalty": (2, 1.5), "eos_token_id": None}, {"no_repeat_ngram_size": "3"},
    {"forced_eos_token_id": 1, "suppress_tokens": [1]}, {"encoder_repetition_penalty": "1.5"},
])  # fmt: skip
def test_what_cannot_be_is_named_before_any_pass(setting):
    model, name = model_of("t5"), next(iter(setting))
    with shipped(model, **setting), pytest.raises(ValueError, match=rf"generation_config\.{name}=.*: expected"):
        adjustment(model, inputs_of("t5")[0])


def test_a_source_of_another_vocabulary_is_named():
    config = GenerationConfig(encoder_repetition_penalty=1.5)
    options = {"prompt_length": 1, "max_new_tokens": 9, "vocab_size": 32}
    with pytest.raises(ValueError, match=r"encoder_repetition_penalty=1.5: .*token id 40 is not in 0..31"):
        processors_for(config, encoder_input_ids=torch.tensor([[5, 40]]), **options)


def test_every_field_has_its_place():
    tables = [set(table) for table in (settings.HONOURED, settings.REFUSED, settings.OVERRIDDEN, settings.IGNORED)]
    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert fields - set.union(*tables) == set(settings.UNKNOWN) == set()
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_a_field_of_a_later_transformers_is_refused_when_set(monkeypatch):
    monkeypatch.setitem(settings.UNKNOWN, "think_twice", (None,))
    model = model_of("t5")
    adjustment(model, inputs_of("t5")[0])
    with shipped(model, think_twice=True), pytest.raises(ValueError, match="think_twice=True: expected None"):
        adjustment(model, inputs_of("t5")[0])


IDLE = {
    "temperature": 0.3, "top_k": 3, "top_p": 0.4, "min_p": 0.2, "typical_p": 0.3, "epsilon_cutoff": 0.2, "top_h": 0.3,
    "eta_cutoff": 0.2, "num_beam_groups": 2, "diversity_penalty": 0.5, "length_penalty": 3.0, "early_stopping": True,
    "low_memory": True, "prompt_lookup_num_tokens": 3, "max_length": 3, "assistant_ensemble_weight": 0.5,
    "assistant_confidence_threshold": 0.9, "prefill_chunk_size": 2, "use_cache": False, "output_scores": True,
}  # fmt: skip


def test_the_other_fields_change_nothing_in_generate():
    model = model_of("t5")
    for name, value in IDLE.items():
        with shipped(model, **{name: value}):
            assert [generate(model, inputs) for inputs in inputs_of("t5")] == unadjusted("t5"), name
            assert not adjustment(model, inputs_of("t5")[0]).processors


def test_what_the_call_overrides_is_listed():
    asked = {name: IDLE.get(name, 2) for name in settings.OVERRIDDEN} | {"do_sample": True}
    assert overridden(GenerationConfig(num_beams=4, do_sample=True, top_k=50, repetition_penalty=1.5)) == {
        "num_beams": 4,
        "do_sample": True,
    }
    with shipped(model_of("t5"), **asked):
        assert overridden(model_of("t5").generation_config) == asked
    assert overridden(GenerationConfig()) == {}


def test_the_config_is_read_at_the_call():
    model = model_of("t5")
    before = adjustment(model, inputs_of("t5")[0])
    with shipped(model, min_length=5):
        assert len(adjustment(model, inputs_of("t5")[0]).processors[0]) == 1
    assert before.processors == adjustment(model, inputs_of("t5")[0]).processors == []


COUNTING = [
    "encoder_repetition_penalty", "bad_words_ids", "min_length", "min_new_tokens", "min_new_tokens_wins",
    "forced_bos_token_id", "no_eos", "forced_eos_token_id", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens", "begin_suppress_behind_forced", "several_eos", "nllb", "whisper", "marian",
]  # fmt: skip


class Reads(TorchDispatchMode):
    """Counts what makes the host wait for a GPU: single numbers, and results whose shape depends on values."""

    waiting = ("_local_scalar_dense", "nonzero", "unique", "isin", "masked_select", "equal")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        # Looking a vocabulary up in a short list is a comparison; in a long one it sorts, and waits.
        short = name == "isin" and args[1].numel() <= 10
        if any(part in name for part in self.waiting) and not short:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", SETTINGS)
def test_reads_from_the_device_only_where_tokens_matter(name, monkeypatch):
    model, inputs = model_of("t5"), inputs_of("t5")[0]
    with shipped(model, **SETTINGS[name]):
        adjust = adjustment(model, inputs)
    if name in COUNTING:
        monkeypatch.setattr(torch.Tensor, "tolist", lambda _: pytest.fail("a list was read"))
        for length in range(1, NEW + 1):
            with Reads() as reads:
                adjust.probs(torch.zeros(1, 3, tiny.VOCAB), [text([0] * length)], torch.ones(1, 2, dtype=torch.long))
            assert reads.seen == []


def test_no_processors_cost_nothing():
    logits = torch.randn(2, 3, tiny.VOCAB, dtype=torch.bfloat16)
    for none in ((), [LogitsProcessorList(), LogitsProcessorList()]):
        adjust = Adjustment(SamplingRule(0.7, 5, 0.9), none)
        assert adjust.scores(logits, None, None) is logits
        assert torch.equal(adjust.probs(logits, None, None), adjust.rule.probs(logits))


@pytest.mark.parametrize("dtype, kept", [("float64",) * 2, ("float32",) * 2, ("bfloat16", "float32")])
def test_the_callers_logits_stay_as_they_are(dtype, kept):
    def in_place(_, scores):
        scores[:, 3] = 5.0
        return scores

    logits = torch.randn(2, 3, tiny.VOCAB, dtype=getattr(torch, dtype))
    copy = logits.clone()
    adjust = Adjustment(SamplingRule(), [LogitsProcessorList([in_place])] * 2)
    scores = adjust.scores(logits, [text([0]), text([0], 1)], torch.ones(2, 2, dtype=torch.long))
    assert scores.dtype == getattr(torch, kept) and bool((scores[..., 3] == 5).all())
    assert torch.equal(logits, copy)


def test_the_sampling_rule_comes_last():
    """A forced token has probability 1 at every temperature; a forbidden one is not among the likeliest two."""
    logits, nothing = torch.arange(32.0).expand(1, 1, 32), torch.empty(1, 0, dtype=torch.long)
    config = GenerationConfig(eos_token_id=1, forced_bos_token_id=4, suppress_tokens=[31])
    made = processors_for(config, prompt_length=1, max_new_tokens=9, vocab_size=32)
    adjust = Adjustment(SamplingRule(temperature=2.0, top_k=2), [made])
    assert adjust.probs(logits, [text([0])], nothing)[0, 0, 4] == 1
    assert adjust.probs(logits, [text([0, 4])], nothing)[0, 0].nonzero().flatten().tolist() == [29, 30]
