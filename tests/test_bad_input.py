"""Bad input: an error that names the argument, its value and what was expected, before any forward pass."""

import math
import re

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import specdec_lite as sd
import tiny
from specdec_lite.experiment import ResultsTable

SOURCE = [5, 6, 7]
FEW = {"prompts": [SOURCE], "measure_prompts": [SOURCE], "max_new_tokens": 8, "progress": False}
BAD_OPTIONS = [
    ("gamma", -1, ValueError),
    ("gamma", 2.0, TypeError),
    ("gamma", "4", TypeError),
    ("gamma", True, TypeError),
    ("gamma", None, TypeError),
    ("temperature", -0.5, ValueError),
    ("temperature", math.nan, ValueError),
    ("temperature", math.inf, ValueError),
    ("temperature", "hot", TypeError),
    ("temperature", None, TypeError),
    ("top_p", 0, ValueError),
    ("top_p", 0.0, ValueError),
    ("top_p", 1.1, ValueError),
    ("top_p", math.nan, ValueError),
    ("top_p", "0.9", TypeError),
    ("top_k", -1, ValueError),
    ("top_k", 2.5, TypeError),
    ("max_new_tokens", 0, ValueError),
    ("max_new_tokens", -3, ValueError),
    ("max_new_tokens", 4.0, TypeError),
    ("seed", -1, ValueError),
    ("seed", 1.5, TypeError),
    ("verification", "tokens", ValueError),
    ("verification", 3, TypeError),
]
BAD_SOURCES = [
    ([], ValueError, "empty"),
    ([5, tiny.VOCAB], ValueError, str(tiny.VOCAB)),
    ([-1], ValueError, "-1"),
    ([5, 1.5], TypeError, "1.5"),
    (["a", "b"], TypeError, "'a'"),
    (None, TypeError, "None"),
    (7, TypeError, "7"),
    (torch.tensor([[5, 6]]), TypeError, "5, 6"),
    ("a text", TypeError, "a text"),  # there is no tokenizer
    ([5] * 65, ValueError, "65"),  # the tiny BART has 64 positions
    ({"ids": [[5]]}, ValueError, "ids"),
    ({"input_ids": torch.tensor([[5], [6]])}, ValueError, "batch of 2"),
    ({"input_ids": torch.tensor([[5, 99]])}, ValueError, "99"),
    ({"input_ids": torch.full((1, 65), 5)}, ValueError, "65"),
]


@pytest.fixture
def bart(bart_pair):
    """The tiny BART pair, with the promise that no test of this file makes it compute."""
    with tiny.counted(*bart_pair) as counts:
        yield bart_pair
    assert [dict(count) for count in counts] == [{}, {}], "a forward pass ran before the input was refused"


def refuses(error, *said):
    """An error whose message holds all that is said."""
    return pytest.raises(error, match="(?s)" + "".join(f"(?=.*{re.escape(part)})" for part in said) + ".*expected")


@pytest.mark.parametrize(("name", "value", "error"), BAD_OPTIONS)
def test_speculative_decoding_refuses(bart, name, value, error):
    with refuses(error, f"{name}={value!r}"):
        sd.speculative_generate(*bart, SOURCE, **{name: value})


@pytest.mark.parametrize(("name", "value", "error"), [o for o in BAD_OPTIONS if o[0] not in ("gamma", "verification")])
def test_plain_decoding_refuses(bart, name, value, error):
    with refuses(error, f"{name}={value!r}"):
        sd.autoregressive_generate(bart.target, SOURCE, **{name: value})


@pytest.mark.parametrize(("source", "error", "found"), BAD_SOURCES, ids=lambda x: repr(x)[:24])
def test_a_bad_source_is_refused_by_both_loops(bart, source, error, found):
    with refuses(error, "source", found):
        sd.autoregressive_generate(bart.target, source)
    with refuses(error, "source", found):
        sd.speculative_generate(*bart, source)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(text):
    pair = tiny.tiny_pair(tokenizer=tiny.tokenizer())
    with tiny.counted(*pair) as counts, refuses(ValueError, f"source={text!r}"):
        sd.speculative_generate(*pair, text)
    assert not any(counts)


def test_a_text_over_the_tokenizers_limit_is_refused():
    model = tiny.tiny_pair(tokenizer=tiny.tokenizer(model_max_length=4)).target
    assert model.encode("w5 w6 w7 w8")["input_ids"].tolist() == [[5, 6, 7, 8]]
    with refuses(ValueError, "source", "5 tokens", "at most 4"):
        sd.autoregressive_generate(model, "w5 w6 w7 w8 w9")


def test_more_tokens_than_the_model_has_positions_are_refused(bart):
    with refuses(ValueError, "max_new_tokens=65", "64"):
        sd.speculative_generate(*bart, SOURCE, max_new_tokens=65)


def test_a_draft_with_fewer_positions_is_told_before_the_target_runs(bart):
    short = sd.Seq2Seq(tiny.bart_model(1, positions=8))
    for draft in (short, sd.DraftModel(short)):
        with refuses(ValueError, "max_new_tokens=9", "8"):
            sd.speculative_generate(bart.target, draft, SOURCE, max_new_tokens=9)
        with refuses(ValueError, "source", "10 tokens", "at most 8"):
            sd.speculative_generate(bart.target, draft, [5] * 10, max_new_tokens=8)


def test_a_draft_with_another_vocabulary_is_refused(bart):
    with refuses(ValueError, "draft", "31", "32"):
        sd.speculative_generate(bart.target, sd.Seq2Seq(tiny.bart_model(1, vocab=31)), SOURCE)


def test_a_draft_whose_tokenizer_gives_other_ids_is_refused():
    target = tiny.tiny_pair(tokenizer=tiny.tokenizer()).target
    draft = sd.Seq2Seq(tiny.t5_model(1), tiny.tokenizer(swap=True))
    with tiny.counted(target) as counts, refuses(ValueError, "draft"):
        sd.speculative_generate(target, draft, "w5 w6")
    assert not any(counts)
    same = sd.Seq2Seq(draft.hf_model, tiny.tokenizer())
    assert sd.speculative_generate(target, same, "w5 w6", max_new_tokens=3, seed=0).text


def test_a_draft_that_cannot_propose_is_refused(bart):
    with refuses(TypeError, "draft", "propose"):
        sd.speculative_generate(bart.target, bart.draft.hf_model, SOURCE)


def test_a_decoder_only_model_is_refused(tmp_path):
    config = GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=8)
    with refuses(TypeError, "hf_model=GPT2LMHeadModel", "encoder-decoder"):
        sd.Seq2Seq(GPT2LMHeadModel(config))
    config.save_pretrained(tmp_path)
    with refuses(ValueError, f"target={str(tmp_path)!r}", "encoder-decoder"):
        sd.load_pair(tmp_path, tmp_path)


def test_something_that_is_no_model_is_refused():
    with refuses(TypeError, "hf_model=str"):
        sd.Seq2Seq("google-t5/t5-small")


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:1", "meta", "", None, 3.5])
def test_an_unknown_device_is_refused(device):
    with refuses(ValueError, f"device={str(device)!r}", "cpu"):
        sd.load_pair(device=device)


@pytest.mark.parametrize("dtype", ["int8", "float", torch.int64, None, 32])
def test_an_unknown_dtype_is_refused(dtype):
    with refuses(ValueError, f"dtype={dtype!r}", "float32"):
        sd.load_pair(dtype=dtype)


@pytest.mark.parametrize("names", [{"target": "a/b"}, {"draft": "a/b"}])
def test_half_a_pair_is_refused(names):
    with refuses(ValueError, "'a/b'", "both"):
        sd.load_pair(**names)


def test_a_pair_loads_from_two_folders(tmp_path):
    made = tiny.tiny_pair(tokenizer=tiny.tokenizer())
    for name, model in (("target", made.target), ("draft", made.draft)):
        for part in (model.hf_model, model.tokenizer):
            part.save_pretrained(tmp_path / name)
    loaded = sd.load_pair(tmp_path / "target", tmp_path / "draft", dtype="float64")
    assert loaded.target.dtype == loaded.draft.dtype == torch.float64
    options = {"max_new_tokens": 8, "temperature": 0.0}
    runs = [sd.speculative_generate(*pair, "w5 w6 w7", **options) for pair in (made, loaded)]
    assert runs[0].token_ids == runs[1].token_ids and runs[0].rounds == pytest.approx(runs[1].rounds)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("gammas", [], ValueError),
        ("gammas", 4, ValueError),
        ("gammas", [2, 2], ValueError),
        ("gammas", [2, -1], ValueError),
        ("gammas", [2.5], TypeError),
        ("temperatures", [], ValueError),
        ("temperatures", [-1.0], ValueError),
        ("temperatures", [math.nan], ValueError),
        ("max_new_tokens", 0, ValueError),
        ("max_new_tokens", 65, ValueError),
        ("repeats", 0, ValueError),
        ("repeats", 1.5, TypeError),
        ("seed", -1, ValueError),
        ("verification", "tokens", ValueError),
        ("verification", 3, TypeError),
        ("prompts", [], ValueError),
        ("measure_prompts", [], ValueError),
        ("prompts", "one text", ValueError),
        ("prompts", [SOURCE, [5] * 65], ValueError),
        ("measure_prompts", [[]], ValueError),
    ],
)
def test_a_sweep_refuses_before_it_works_or_writes(bart, tmp_path, name, value, error):
    options = {**FEW, "results_dir": tmp_path / "new"}
    bad = value[-1] if isinstance(value, list) and value else value
    named = "source" if name.endswith("prompts") and bad is not value else name.rstrip("s")
    with refuses(error, named, "" if named == "source" else str(bad)[:20]):
        sd.run_gamma_sweep(bart, **(options | {name: value}))
    assert not (tmp_path / "new" / "results.csv").exists()


def test_a_results_folder_that_cannot_be_written_is_refused(bart, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with refuses(ValueError, f"results_dir={str(folder)!r}"):
            sd.run_gamma_sweep(bart, results_dir=folder, **FEW)


@pytest.mark.parametrize("text", ["gamma,alpha\n4,0.8\n", "", "gamma\n", "\x00\x01"])
def test_a_csv_with_other_columns_is_refused_and_left_alone(bart, tmp_path, text):
    (tmp_path / "results.csv").write_text(text)
    with refuses(ValueError, f"results_dir={str(tmp_path)!r}", "columns"):
        sd.run_gamma_sweep(bart, results_dir=tmp_path, **FEW)
    with refuses(ValueError, "columns"):
        ResultsTable(tmp_path)
    assert (tmp_path / "results.csv").read_text() == text


def test_a_cursor_says_what_it_cannot_do(bart_pair):
    cursor = bart_pair.target.cursor()
    with pytest.raises(RuntimeError, match="start"):
        cursor.extend([1])
    cursor.start(bart_pair.target.encode(SOURCE))
    with refuses(ValueError, "token_ids", "(0,)"):
        cursor.extend([])
    with refuses(ValueError, "token_ids", "(2, 1)", "(1, n)"):
        cursor.extend(torch.tensor([[1], [2]]))
    with refuses(ValueError, "length=3", "at most the 0"):
        cursor.rollback(3)
    with refuses(ValueError, "length=-1"):
        cursor.rollback(-1)
