"""Bad input: an error that names the argument, its value and what was expected, before any forward pass.

The table holds one line for each thing that can be wrong: a call, one argument of it, a value, and what is raised. All
other arguments are those of `calls.py`, with which the call succeeds.
"""

import inspect
import math
import re
import traceback
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import GPT2Config, GPT2LMHeadModel

import specdec_lite as sd
import tiny
from calls import SOURCE, World
from specdec_lite.experiment import ResultsTable

NAN, INF = math.nan, math.inf
V, T = ValueError, TypeError
OURS = Path(sd.__file__).parent
FEW = {"prompts": [SOURCE], "measure_prompts": [SOURCE], "max_new_tokens": 8, "progress": False}


class Of:
    """A value that the test's world has, and how to call it."""

    def __init__(self, name: str, make):
        self.name, self.make = name, make

    def __repr__(self) -> str:
        return self.name


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=8))


A_PAIR = Of("a pair", lambda w: w.pair)
A_MODEL = Of("a Hugging Face model", lambda w: w.pair.draft.hf_model)
A_FILE = Of("a file", lambda w: w.folder / "file")
AN_EMPTY_FOLDER = Of("an empty folder", lambda w: w.folder / "empty")
NO_FOLDER = Of("no folder", lambda w: w.folder / "none")
RUNS = Of("a list of runs", lambda w: [w.run, w.run])
OTHER_VOCABULARY = Of("31 tokens", lambda w: sd.Seq2Seq(tiny.bart_model(1, vocab=31)))
FEW_POSITIONS = Of("4 positions", lambda w: sd.Seq2Seq(tiny.bart_model(1, positions=4)))
ELSEWHERE = Of("on meta", lambda w: sd.Seq2Seq(tiny.bart_model(1).to("meta"), self_check=False))
TWO_SEEDS = Of("two seeds", lambda w: sd.Draws([1, 2]))
NO_TABLE = Of("no columns", lambda w: pd.DataFrame({"gamma": [1]}))
NO_ROWS = Of("no rows", lambda w: w.rows[:0])

# fmt: off
# The call, an argument, its value, the error, and what the message says: by default "argument=value", and always what
# was expected. "loops" are both of them.
TABLE = [
    # the target and the draft
    ("loops", "target", A_PAIR, T, "target=Pair: expected a Seq2Seq, such as pair.target"),
    ("loops", "target", A_MODEL, T, "target=BartForConditionalGeneration"),
    ("loops", "target", "google-t5/t5-small", T),
    ("loops", "target", None, T),
    ("speculative_generate", "draft", A_PAIR, T, "draft=a Pair"),
    ("speculative_generate", "draft", A_MODEL, T, "draft=a BartForConditionalGeneration"),
    ("speculative_generate", "draft", "google-t5/t5-small", T),
    ("speculative_generate", "draft", None, T),
    ("speculative_generate", "draft", 3, T),
    ("speculative_generate", "draft", sd.DraftModel, T, "draft=DraftModel: expected an object"),
    ("speculative_generate", "draft", OTHER_VOCABULARY, V, "draft has 31 tokens: expected the target's 32"),
    ("speculative_generate", "draft", FEW_POSITIONS, V, "max_new_tokens=6: expected at most the model's 4 positions"),
    ("speculative_generate", "draft", ELSEWHERE, V, "draft is on meta"),
    # how to decode
    ("speculative_generate", "gamma", -1, V),
    ("speculative_generate", "gamma", 2.0, T),
    ("speculative_generate", "gamma", "4", T),
    ("speculative_generate", "gamma", True, T),
    ("speculative_generate", "gamma", None, T),
    ("speculative_generate", "gamma", [1, 2], T),
    ("speculative_generate", "verification", "tokens", V),
    ("speculative_generate", "verification", 3, T),
    ("speculative_generate", "verification", None, T),
    ("speculative_generate", "verification", sd.TokenRule, T, "verification=TokenRule: expected an object"),
    ("loops", "max_new_tokens", 0, V),
    ("loops", "max_new_tokens", -3, V),
    ("loops", "max_new_tokens", 4.0, T),
    ("loops", "max_new_tokens", True, T),
    ("loops", "max_new_tokens", None, T),
    ("loops", "max_new_tokens", "8", T),
    ("loops", "max_new_tokens", 65, V, "max_new_tokens=65: expected at most the model's 64 positions"),
    ("loops", "temperature", -0.5, V),
    ("loops", "temperature", NAN, V),
    ("loops", "temperature", INF, V),
    ("loops", "temperature", 1e-40, V, "(0 is argmax; else at least 1e-05)"),
    ("loops", "temperature", "hot", T),
    ("loops", "temperature", None, T),
    ("loops", "temperature", True, T),
    ("loops", "temperature", [0.0, 1.0], T),
    ("loops", "top_k", -1, V),
    ("loops", "top_k", 2.5, T),
    ("loops", "top_k", None, T),
    ("loops", "top_p", 0, V),
    ("loops", "top_p", 1.1, V),
    ("loops", "top_p", NAN, V),
    ("loops", "top_p", "0.9", T),
    ("loops", "seed", -1, V),
    ("loops", "seed", 1.5, T),
    ("loops", "seed", "a", T),
    ("loops", "seed", True, T),
    ("loops", "seed", [1, 2], V, "seed=[1, 2]: expected one integer, or a list of 1"),
    ("loops", "seed", [-1], V, "seed=-1"),
    ("loops", "draws", 3, T),
    ("loops", "draws", 0, T),
    ("loops", "draws", sd.Draws, T, "draws=Draws: expected an object, Draws(…)"),
    ("loops", "draws", TWO_SEEDS, V, "seed=[1, 2]"),
    ("loops", "observer", 3, T),
    ("loops", "observer", "print", T),
    # the source
    ("loops", "source", [], V, "source is an empty list"),
    ("loops", "source", [5, tiny.VOCAB], V, "token id 32: expected one or more ids in 0..31"),
    ("loops", "source", [-1], V, "token id -1"),
    ("loops", "source", [5, 1.5], T, "source=[5, 1.5]"),
    ("loops", "source", [[5], []], V, "source holds an empty list"),
    ("loops", "source", ["a", "b"], T, "source='a': expected token ids, since this model has no tokenizer"),
    ("loops", "source", "a text", T),
    ("loops", "source", "a long text " * 99, T, "source='a long text a long text"),
    ("loops", "source", None, T),
    ("loops", "source", 7, T),
    ("loops", "source", b"567", T),
    ("loops", "source", torch.tensor([[5, 6]]), T, "source=tensor([[5, 6]])"),
    ("loops", "source", [5] * 65, V, "source has 65 tokens: expected at most 64"),
    ("loops", "source", (i for i in SOURCE), T, "source=<generator"),
    ("loops", "source", {}, V, "the keys []: expected input_ids"),
    ("loops", "source", {"ids": [[5]]}, V, "the unknown key 'ids'"),
    ("loops", "source", {"input_ids": [[5]], "labels": [[5]]}, V, "the unknown key 'labels'"),
    ("loops", "source", {"input_ids": [[5]], "attention_masks": [[1]]}, V, "the unknown key 'attention_masks'"),
    ("loops", "source", {"input_ids": "five"}, T, "source['input_ids']='five'"),
    ("loops", "source", {"input_ids": [5, 6]}, V, "source['input_ids'] has shape (2,)"),
    ("loops", "source", {"input_ids": [[5], [6]]}, V, "a batch of 2"),
    ("loops", "source", {"input_ids": [[5, 99]]}, V, "token id 99"),
    ("loops", "source", {"input_ids": [[5] * 65]}, V, "source has 65 tokens"),
    ("loops", "source", {"input_ids": [[5, 6]], "attention_mask": [[1]]}, V, "['attention_mask'] has shape (1, 1)"),
    ("speculative_generate, in words", "source", "", V),
    ("speculative_generate, in words", "source", "  \n", V),
    ("speculative_generate, in words", "source", ["w5", ""], V, "source=''"),
    ("speculative_generate, in words", "source", "w5 w6 w7 w8 w9", V, "source has 5 tokens: expected at most 4"),
    # loading
    ("load_pair", "target", None, V, "expected both names, or neither for the pocket pair"),
    ("load_pair", "target", "", V, "target=''"),
    ("load_pair", "target", 3, T),
    ("load_pair", "target", b"t5", T),
    ("load_pair", "target", NO_FOLDER, V, "there is no such folder"),
    ("load_pair", "target", "~/no/such", V, "target='~/no/such': there is no such folder"),
    ("load_pair", "target", A_FILE, V, "there is no such folder"),
    ("load_pair", "target", AN_EMPTY_FOLDER, V, "has no config.json"),
    ("load_pair", "target", "no-one/t5", V, "target='no-one/t5': there is no such folder, and nothing from the Hub"),
    ("load_pair", "target", "t5\x1b[2J", V, "target='t5\\x1b[2J'"),
    ("load_pair", "target", "t5\u202e", V, "target='t5\\u202e'"),
    ("load_pair", "draft", None, V, "draft=None"),
    ("load_pair", "draft", 3, T),
    ("load_pair", "draft", NO_FOLDER, V, "there is no such folder"),
    ("load_pair", "draft", "no-one/t5", V, "draft='no-one/t5': there is no such folder"),
    ("load_pair", "revision", 3, T),
    ("load_pair", "revision", ("a", "b", "c"), V),
    ("load_pair", "foo", 1, T, "foo=1: expected no such argument, only prefix"),
    ("load_model", "path", None, T),
    ("load_model", "path", "", V),
    ("load_model", "path", NO_FOLDER, V, "path="),
    ("load_model", "path", "no-one/t5", V, "HF_HUB_OFFLINE is set"),
    ("load_model", "revision", 3, T),
    ("load_model", "lender", A_PAIR, T, "lender=Pair"),
    ("load_model", "lender", "t5", T),
    ("load_model", "prompt", [99], V, "prompt=[99]: expected one or more ids in 0..31"),
    ("load_model", "language", "de", V),
    ("load_model", "prefix", 3, T),
    ("load_model", "trust_remote_code", True, T, "trust_remote_code=True: expected no such argument"),
    *((call, "device", value, V, f"device={str(value)!r}: expected one that is present here: cpu")
      for call in ("load_pair", "load_model") for value in ("tpu", "cuda:99", "cpu:1", "meta", "", None, 3.5)),
    *((call, "dtype", value, V, f"dtype={value!r}: expected one of float64, float32")
      for call in ("load_pair", "load_model") for value in ("int8", "float", torch.int64, None, 32)),
    # models and pairs
    ("Pair", "target", A_MODEL, T, "target=BartForConditionalGeneration"),
    ("Pair", "draft", None, T),
    ("Pair", "draft", A_PAIR, T, "draft=Pair"),
    ("Seq2Seq", "hf_model", None, T, "hf_model=NoneType"),
    ("Seq2Seq", "hf_model", "google-t5/t5-small", T, "hf_model=str: expected an encoder-decoder model"),
    ("Seq2Seq", "hf_model", Of("GPT-2", lambda w: gpt2()), T, "hf_model=GPT2LMHeadModel"),
    ("Seq2Seq", "hf_model", A_PAIR, T, "hf_model=Pair"),
    ("Seq2Seq", "tokenizer", 3, T),
    ("Seq2Seq", "tokenizer", "google-t5/t5-small", T),
    ("Seq2Seq", "prefix", 3, T),
    ("Seq2Seq", "prompt", [], V),
    ("Seq2Seq", "prompt", [99], V),
    ("Seq2Seq", "prompt", [1.5], T),
    ("Seq2Seq", "prompt", "de", T),
    ("Seq2Seq", "language", "de", V),
    ("Seq2Seq", "task", "translate", V),
    ("Seq2Seq.encode", "source", [], V, "source holds an empty list"),
    ("Seq2Seq.source", "sources", [], T, "inputs=[]"),
    ("Seq2Seq.source", "sources", [[5], "a"], T, "source='a'"),
    ("Seq2Seq.texts", "rows", 0, V),
    ("Seq2Seq.texts", "max_new_tokens", 0, V),
    ("Seq2Seq.texts", "max_new_tokens", 65, V),
    ("Text", "prompt", [], V),
    ("Text", "max_new_tokens", 0, V),
    ("Text", "max_new_tokens", 4.0, T),
    ("EncodedSource", "inputs", [], T),
    ("EncodedSource", "inputs", [[5, 6]], T),
    ("EncodedSource", "inputs", [{}], T),
    ("CachedDecoder.start", "source", [5, 6], T, "[5, 6]"),
    ("CachedDecoder.extend", "token_ids", [], V, "token_ids has shape (0,): expected (1, n) with n >= 1"),
    ("CachedDecoder.extend", "token_ids", [[1], [2]], V, "token_ids has shape (2, 1)"),
    ("CachedDecoder.extend", "token_ids", [[[1]]], V, "token_ids has shape (1, 1, 1)"),
    ("CachedDecoder.rollback", "length", 3, V, "length=3: expected at least 0 and at most the 0 positions fed"),
    ("CachedDecoder.rollback", "length", -1, V),
    ("DraftModel", "model", A_MODEL, T, "model=BartForConditionalGeneration"),
    ("DraftModel", "model", None, T),
    # other drafts
    ("CopyDraft", "references", None, V, "references=None: expected some"),
    ("CopyDraft", "references", "a text", T),
    ("CopyDraft", "references", [[5], 6], T, "references=6"),
    ("CopyDraft", "references", [1.5], T, "references=[1.5]"),
    ("CopyDraft", "longest", 0, V),
    *((call, "proposer", value, T, "expected") for value in (None, A_PAIR, sd.CopyDraft)
      for call in ("Chain", "AtMost", "HeuristicGamma", "AdaptiveGamma", "ConfidenceStop", "EntropyStop")),
    ("AtMost", "gamma", 0, V),
    ("AtMost", "gamma", 2.0, T),
    ("HeuristicGamma", "gamma", 0, V),
    ("AdaptiveGamma", "c", -1, V),
    ("AdaptiveGamma", "v", 0, V),
    ("AdaptiveGamma", "v", {0: 1.0}, V),
    ("AdaptiveGamma", "alpha", 1.5, V),
    ("AdaptiveGamma", "memory", -0.1, V),
    ("ConfidenceStop", "threshold", 2, V),
    ("EntropyStop", "limit", -1, V),
    ("truncate_head", "model", A_MODEL, T, "model=BartForConditionalGeneration"),
    ("truncate_head", "tokens", [], V, "tokens holds no token"),
    ("truncate_head", "tokens", [5, 6], V, "tokens holds no EOS"),
    ("truncate_head", "tokens", [1, 99], V, "tokens holds 99"),
    ("truncate_head", "tokens", [1, 1.5], V, "tokens holds 1.5"),
    ("common_tokens", "n", 0, V),
    ("common_tokens", "texts", [], V, "texts: expected at least one"),
    ("common_tokens", "texts", ["a text"], T, "texts holds 'a text'"),
    ("memory_budget", "target", None, T, "None: expected a Seq2Seq"),
    ("memory_budget", "source_length", 0, V),
    ("memory_budget", "gamma", -1, V),
    ("memory_budget", "batch_size", 1.5, T),
    ("memory_budget", "dtype", "int8", V),
    ("run_checks", "pair", 3, T, "pair=int"),
    ("run_checks", "pair", A_MODEL, T, "pair=BartForConditionalGeneration"),
    # rules
    ("TokenRule", "lenience", 0, V),
    ("TokenRule", "lenience", 1.5, V),
    ("TokenRule", "lenience", NAN, V),
    ("TokenRule", "lenience", "half", T),
    ("lenient_probs", "lenience", 0, V),
    ("expected_accepted", "gamma", -1, V),
    ("accepted_bound", "gamma", 1.5, T),
    # sampling
    ("SamplingRule", "temperature", -1, V),
    ("SamplingRule", "top_k", -1, V),
    ("SamplingRule", "top_p", 2, V),
    ("Draws", "seed", -1, V),
    ("Draws", "seed", 1.5, T),
    ("Draws", "seed", "a", T),
    ("Draws", "seed", [1, None], T, "seed=None"),
    ("row_seed", "seed", -1, V),
    ("row_seed", "row", -1, V),
    ("row_seed", "row", "a", T),
    ("nucleus", "top_p", 0, V),
    ("nucleus", "top_p", NAN, V),
    # theory
    ("expected_tokens", "alpha", 1.5, V),
    ("expected_tokens", "alpha", NAN, V),
    ("expected_tokens", "alpha", "0.5", T),
    ("expected_tokens", "gamma", -1, V),
    ("expected_tokens", "gamma", 2.5, T),
    ("walltime_factor", "alpha", -0.1, V),
    ("walltime_factor", "c", -1, V),
    ("walltime_factor", "c", NAN, V),
    ("walltime_factor", "v", 0, V),
    ("walltime_factor", "v", None, T),
    ("finite_walltime_factor", "length", 0, V),
    ("finite_walltime_factor", "length", 2.5, T),
    ("finite_walltime_factor", "limit", 8, V, "limit=8: expected an integer >= 9"),
    ("finite_walltime_factor", "c", "0.1", T),
    ("best_gamma", "alpha", 2, V),
    ("best_gamma", "c", -1, V),
    ("best_gamma", "gammas", [], V),
    ("best_gamma", "gammas", [-1], V, "gamma=-1"),
    ("floor_seconds", "weights", 0, V),
    ("floor_seconds", "n", 0, V),
    ("floor_seconds", "bytes_per_weight", -4, V),
    ("floor_seconds", "read_rate", 0, V),
    ("floor_seconds", "flop_rate", NAN, V),
    # distances and intervals
    ("total_variation", "p", [1, 0, 0], V, "p and q have shapes (3,), (2,)"),
    ("total_variation", "p", ["a", "b"], T, "p holds ['a', 'b']"),
    ("total_variation", "p", [NAN, 1.0], V, "p=[nan, 1.0]: expected probabilities that sum to 1"),
    ("total_variation", "q", [2.0, -1.0], V),
    ("total_variation", "q", [0.9, 0.9], V),
    ("total_variation", "p", 0.5, V, "shapes ()"),
    ("js_divergence", "p", [[0.5, 0.5]], V, "shapes (1, 2)"),
    ("js_divergence", "q", [-0.5, 1.5], V),
    ("js_divergence", "q", None, T, "q holds None"),
    ("token_histogram", "sequences", 3, V),
    ("token_histogram", "sequences", "01", V),
    ("token_histogram", "sequences", [0, 1], T, "sequences holds 0"),
    ("token_histogram", "sequences", [[0.5]], T, "sequences holds [0.5]"),
    ("token_histogram", "sequences", [["a"]], T, "sequences holds ['a']"),
    ("token_histogram", "sequences", [[5]], V, "sequences holds token ids from 5 to 5: expected 0 to 1"),
    ("token_histogram", "sequences", [[]], V, "sequences: expected at least one token"),
    ("token_histogram", "vocab", 0, V),
    ("token_histogram", "vocab", 2.5, T),
    ("js_between_samples", "first", [[5]], V, "sequences holds token ids from 5"),
    ("js_between_samples", "vocab", 0, V),
    ("js_noise_floor", "samples", 3, V),
    ("js_noise_floor", "samples", [], V),
    ("js_noise_floor", "samples", [[[0, 1]]], V, "samples has 1 entries"),
    ("paired_bootstrap", "statistic", 3, T),
    ("paired_bootstrap", "level", 95, V, "level=95: expected a number between 0 and 1, such as 0.95"),
    ("paired_bootstrap", "level", 0, V),
    ("paired_bootstrap", "level", NAN, V),
    ("paired_bootstrap", "level", "0.95", T),
    ("paired_bootstrap", "resamples", 0, V),
    ("paired_bootstrap", "seed", -1, V),
    ("paired_bootstrap", "columns", [], V, "columns have shape (0,)"),
    ("paired_bootstrap", "columns", [[]], V, "columns have shape (1, 0)"),
    ("paired_bootstrap", "columns", [[1], [1, 2]], V, "columns=([1], [1, 2])"),
    ("paired_bootstrap", "columns", [["a"]], V, "columns=(['a'],)"),
    ("paired_bootstrap", "columns", [[NAN, 1.0]], V, "columns hold NaN"),
    # what is shown
    ("show_tokens", "generation", RUNS, T, "generation=list: expected a Generation: one of the list"),
    ("show_tokens", "generation", "a text", T, "generation=str"),
    ("show_tokens", "generation", None, T, "generation=NoneType"),
    ("show_rounds", "generation", RUNS, T, "generation=list"),
    ("show_rounds", "generation", None, T, "generation=NoneType"),
    ("plot_token_probs", "generation", Of("unrecorded", lambda w: w.unrecorded), V, "record_probs=True"),
    ("plot_token_probs", "generation", RUNS, T, "generation=list"),
    ("plot_token_probs", "top", -1, V),
    ("plot_token_probs", "top", 99, V, "top=99: expected at most the 32 tokens"),
    *((call, "rows", *row) for call in ("plot_speedup", "plot_alpha", "plot_js", "save_figures")
      for row in ((None, T, "rows=NoneType"), (NO_TABLE, V, "rows has no column"), (NO_ROWS, V, "rows has no row"))),
    # what is measured
    ("measure_costs", "prompts", [], V),
    ("measure_costs", "temperature", -1, V),
    ("recorded", "name", "speed", V, "name='speed': expected one of 'plain step', 'encoder', 'c'"),
    ("recorded", "name", "v(99)", V),
    ("recorded", "name", None, V),
    ("recorded", "path", "fast", V, "path='fast': expected 'eager' or 'compiled'"),
    ("recorded", "path", ["eager"], V),
    ("recorded", "temperature", 0.7, V),
    ("recorded", "temperature", "0", T),
    ("recorded_table", "temperature", 2, V),
    ("recorded_table", "temperature", None, T),
    ("step_weights", "model", A_PAIR, T, "model=Pair"),
    ("step_weights", "model", A_MODEL, T, "model=BartForConditionalGeneration"),
    ("step_weights", "source", [], V, "source holds an empty list"),
    ("compile_pair", "pair", Of("a Seq2Seq", lambda w: w.pair.target), T, "pair=Seq2Seq: expected a Pair"),
    ("compile_pair", "pair", None, T, "pair=NoneType"),
    ("compile_pair", "gammas", [], V),
    ("compile_pair", "gammas", None, T),
    ("compile_pair", "gammas", 2.5, T),
    ("compile_pair", "gammas", "4", T),
    ("compile_pair", "gammas", [1, -1], V, "gammas=-1"),
    ("compile_pair", "max_new_tokens", 0, V),
    ("compile_pair", "max_source_tokens", 2.5, T),
    ("compile_pair", "draft_weights", "int4", V),
    ("compile_pair", "backend", "none", V),
    ("run_gamma_sweep", "pair", None, T, "pair=None"),
    ("run_gamma_sweep", "pair", [], T, "pair=[]"),
    ("run_gamma_sweep", "gammas", [], V),
    ("run_gamma_sweep", "gammas", None, V),
    ("run_gamma_sweep", "gammas", "12", V),
    ("run_gamma_sweep", "gammas", 4, V),
    ("run_gamma_sweep", "gammas", [2, 2], V),
    ("run_gamma_sweep", "gammas", [2, -1], V, "gammas=-1"),
    ("run_gamma_sweep", "gammas", [2.5], T, "gammas=2.5"),
    ("run_gamma_sweep", "temperatures", [], V),
    ("run_gamma_sweep", "temperatures", None, V),
    ("run_gamma_sweep", "temperatures", 1.0, V),
    ("run_gamma_sweep", "temperatures", [-1.0], V, "temperature=-1.0"),
    ("run_gamma_sweep", "temperatures", [NAN], V, "temperature=nan"),
    ("run_gamma_sweep", "max_new_tokens", 0, V),
    ("run_gamma_sweep", "max_new_tokens", 65, V),
    ("run_gamma_sweep", "repeats", 0, V),
    ("run_gamma_sweep", "repeats", 1.5, T),
    ("run_gamma_sweep", "seed", -1, V),
    ("run_gamma_sweep", "seed", None, T),
    ("run_gamma_sweep", "verification", "tokens", V),
    ("run_gamma_sweep", "verification", [], V),
    ("run_gamma_sweep", "verification", None, T),
    ("run_gamma_sweep", "executor", 3, T),
    ("run_gamma_sweep", "prompts", [], V),
    ("run_gamma_sweep", "prompts", 3, V),
    ("run_gamma_sweep", "prompts", "one text", V),
    ("run_gamma_sweep", "prompts", [SOURCE, [5] * 65], V, "source has 65 tokens"),
    ("run_gamma_sweep", "measure_prompts", [], V),
    ("run_gamma_sweep", "measure_prompts", [[]], V, "source holds an empty list"),
    ("run_gamma_sweep", "results_dir", A_FILE, V, "results_dir="),
    ("run_gamma_sweep", "results_dir", 3, T),
    # things to play with
    ("explore.accept_reject", "p", [0.5, 0.6], V, "expected 2 probabilities that sum to 1"),
    ("explore.accept_reject", "q", [1.5, -0.5], V, "q=1.5"),
    ("explore.accept_reject", "p", ["a", "b"], T),
    ("explore.accept_reject", "p", 0.5, T),
    ("explore.accept_reject", "tokens", ["a"], V),
    ("explore.gamma_map", "v", 0.0, V),
    ("explore.gamma_map", "top", 0, V),
    ("explore.gamma_map", "point", (2, 0.1), V, "alpha=2"),
    ("explore.rounds", "generation", RUNS, T, "generation=list"),
    ("explore.rounds", "generation", Of("no rounds", lambda w: sd.Generation()), V, "generation has no rounds"),
    ("explore.rounds", "c", -1, V),
    ("explore.rounds", "v", NAN, V),
    ("explore.mutation_matrix", "matrix", {"right": [False, True]}, V, "matrix['right'] has 2 entries"),
    ("explore.mutation_matrix", "changes", {}, V, "changes has no entry for 'right'"),
]
# fmt: on
LOOPS = ("autoregressive_generate", "speculative_generate")
ROWS = [(call, *row) for names, *row in TABLE for call in (LOOPS if names == "loops" else (names,))]
# Public names without a line of their own, and why.
WITHOUT = {
    "load_prompts": "takes nothing",
    "versions": "takes nothing",
    "Generation": "a record that the loops write",
    "Round": "a record that the loops write",
    "Proposal": "checked where the loop takes it (test_proposers.py)",
    "Proposer": "a protocol",
    "Verifier": "a protocol",
    "Adjustment": "made by Seq2Seq.adjustment from what is checked",
    "BlockRule": "takes nothing",
    "CoupledRule": "takes nothing",
    "CoupledDraws": "takes what Draws takes",
    "MemoryBudget": "a record that memory_budget writes",
    "Recorded": "a number that recorded reads",
    "cut_probs": "arithmetic on tensors",
    "overlap": "arithmetic on tensors",
    "residual": "arithmetic on tensors",
    "one_hot": "arithmetic on tensors",
    "pick": "arithmetic on tensors; NaN is told",
    "explore.changed_lines": "reads Python classes",
    "explore.Notes": "a seed, as Draws takes it",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    assert made.calls().keys() >= {call for call, *_ in ROWS}
    return made


@pytest.fixture
def bart(bart_pair):
    """The tiny BART pair, with the promise that the test does not make it compute."""
    with tiny.counted(*bart_pair) as counts:
        yield bart_pair
    assert [dict(count) for count in counts] == [{}, {}], "a forward pass ran before the input was refused"


def refuses(error, *said):
    """An error whose message holds all that is said."""
    return pytest.raises(error, match="(?s)" + "".join(f"(?=.*{re.escape(part)})" for part in said) + ".*expected")


@pytest.mark.parametrize(
    ("call", "argument", "value", "error", "said"),
    [pytest.param(*row[:4], *(row[4:] or (None,)), id=f"{row[0]}-{row[1]}-{row[2]!r:.24}") for row in ROWS],
)
def test_it_is_refused_by_name_and_before_any_pass(world, call, argument, value, error, said):
    function, given = world.calls()[call]
    value = value.make(world) if isinstance(value, Of) else value
    passes = []
    hook = register_module_forward_pre_hook(lambda module, _: passes.append(module))
    try:
        with pytest.raises(error) as raised:
            function(**(given | {argument: value}))
    finally:
        hook.remove()
    assert not passes, "a forward pass ran before the input was refused"
    message = str(raised.value)
    assert (said or f"{argument}={value!r}") in message and "expected" in message
    assert type(raised.value) is error and len(message) < 700
    where = Path(traceback.extract_tb(raised.tb)[-1].filename)
    assert where.is_relative_to(OURS), f"raised in {where}"
    assert not (world.folder / "results" / "results.csv").exists()


def test_the_table_has_a_line_for_everything_public():
    public = {name for name, thing in vars(sd).items() if not name.startswith("_") and not inspect.ismodule(thing)}
    public |= {f"explore.{name}" for name, thing in vars(sd.explore).items() if callable(thing)}
    tested = {call.split(",")[0] for call, *_ in ROWS}
    tested |= {call.split(".")[0] for call in tested if not call.startswith("explore.")}
    assert public - tested - {*WITHOUT} == set()
    assert {*WITHOUT} <= public and not {*WITHOUT} & tested
    print(f"{len(TABLE)} lines, {len(ROWS)} calls")
    assert len(TABLE) >= 150


@pytest.mark.parametrize("seed", [0, 2**63, 2**64, 10**30])
def test_any_whole_number_is_a_seed(bart_pair, seed):
    runs = [sd.speculative_generate(*bart_pair, SOURCE, max_new_tokens=4, seed=seed).token_ids for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_draft_whose_tokenizer_gives_other_ids_is_refused():
    target = tiny.tiny_pair(tokenizer=tiny.tokenizer()).target
    draft = sd.Seq2Seq(tiny.t5_model(1), tiny.tokenizer(swap=True))
    with tiny.counted(target) as counts, refuses(ValueError, "draft"):
        sd.speculative_generate(target, draft, "w5 w6")
    assert not any(counts)
    same = sd.Seq2Seq(draft.hf_model, tiny.tokenizer())
    assert sd.speculative_generate(target, same, "w5 w6", max_new_tokens=3, seed=0).text


def test_a_hidden_draft_with_fewer_positions_is_told_before_the_target_runs(bart):
    short = sd.DraftModel(sd.Seq2Seq(tiny.bart_model(1, positions=8)))
    with refuses(ValueError, "max_new_tokens=9", "8"):
        sd.speculative_generate(bart.target, short, SOURCE, max_new_tokens=9)
    with refuses(ValueError, "source", "10 tokens", "at most 8"):
        sd.speculative_generate(bart.target, short, [5] * 10, max_new_tokens=8)


def test_a_decoder_only_checkpoint_is_refused(tmp_path):
    GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=8).save_pretrained(tmp_path)
    with refuses(ValueError, f"target={str(tmp_path)!r}", "encoder-decoder"):
        sd.load_pair(tmp_path, tmp_path)


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


def test_a_cursor_must_be_started(bart):
    with pytest.raises(RuntimeError, match="start"):
        bart.target.cursor().extend([1])
