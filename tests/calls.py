"""One good call of everything public. The tests of bad input change one argument of it, those of global state none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

import specdec_lite as sd
import tiny
from specdec_lite.experiment.table import COLUMNS

SOURCE = [5, 6, 7]


class World:
    """What the calls need: two tiny pairs, their folders, a finished run, a table."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.pair = tiny.tiny_pair("bart")  # 64 positions, no tokenizer
        self.worded = tiny.tiny_pair(tokenizer=tiny.tokenizer(model_max_length=4))
        for name, model in zip(("target", "draft"), self.worded):
            for part in (model.hf_model, model.tokenizer):
                part.save_pretrained(folder / name)
        (folder / "empty").mkdir()
        (folder / "file").write_text("not a folder")
        self.run = sd.speculative_generate(*self.pair, SOURCE, max_new_tokens=6, seed=0, record_probs=True)
        self.unrecorded = sd.speculative_generate(*self.pair, SOURCE, max_new_tokens=6, seed=0)
        self.rows = pd.DataFrame([{**dict.fromkeys(COLUMNS, 0.5), "pair": "a", "verification": "token", "gamma": 2}])

    def cursor(self) -> sd.CachedDecoder:
        cursor = self.pair.target.cursor()
        cursor.start(self.pair.target.encode(SOURCE))
        return cursor

    def calls(self) -> dict[str, tuple]:
        """From a name to the callable and arguments that it takes."""
        pair, p, q = self.pair, [0.5, 0.5], [0.25, 0.75]
        loop = {"source": SOURCE, "max_new_tokens": 6, "seed": 0}
        few = {"prompts": [SOURCE], "measure_prompts": [SOURCE], "max_new_tokens": 4, "progress": False}
        rows, hf_model, encoded = torch.tensor([p, p]), pair.target.hf_model, pair.target.encode(SOURCE)
        return {
            "autoregressive_generate": (sd.autoregressive_generate, {"target": pair.target, **loop}),
            "speculative_generate": (
                sd.speculative_generate,
                {"target": pair.target, "draft": pair.draft, "gamma": 2, **loop},
            ),
            "load_pair": (
                sd.load_pair,
                {"target": self.folder / "target", "draft": self.folder / "draft", "device": "cpu", "dtype": "float32"},
            ),
            "load_model": (sd.load_model, {"path": self.folder / "target", "device": "cpu", "dtype": "float32"}),
            "Pair": (sd.Pair, {"target": pair.target, "draft": pair.draft, "name": "a pair"}),
            "Seq2Seq": (sd.Seq2Seq, {"hf_model": hf_model}),
            "Seq2Seq.encode": (pair.target.encode, {"source": SOURCE}),
            "Seq2Seq.source": (pair.target.source, {"sources": [SOURCE]}),
            "Seq2Seq.texts": (pair.target.texts, {"rows": 1, "max_new_tokens": 4}),
            "Text": (sd.Text, {"prompt": [0], "eos_tokens": frozenset([1]), "max_new_tokens": 4}),
            "EncodedSource": (sd.EncodedSource, {"hf_model": hf_model, "inputs": [encoded]}),
            "CachedDecoder.start": (self.cursor().start, {"source": encoded}),
            "CachedDecoder.extend": (self.cursor().extend, {"token_ids": [5]}),
            "CachedDecoder.rollback": (self.cursor().rollback, {"length": 0}),
            "DraftModel": (sd.DraftModel, {"model": pair.draft}),
            "CopyDraft": (sd.CopyDraft, {"references": [5, 6]}),
            "Chain": (lambda proposer: sd.Chain(proposer, pair.draft), {"proposer": sd.CopyDraft([5, 6])}),
            "AtMost": (sd.AtMost, {"proposer": pair.draft, "gamma": 2}),
            "HeuristicGamma": (sd.HeuristicGamma, {"proposer": pair.draft, "gamma": 2}),
            "AdaptiveGamma": (sd.AdaptiveGamma, {"proposer": pair.draft, "c": 0.1, "v": 1.2}),
            "ConfidenceStop": (sd.ConfidenceStop, {"proposer": pair.draft}),
            "EntropyStop": (sd.EntropyStop, {"proposer": pair.draft}),
            "truncate_head": (sd.truncate_head, {"model": pair.draft, "tokens": [1, 5]}),
            "common_tokens": (sd.common_tokens, {"model": pair.draft, "texts": [[5, 6]], "n": 2}),
            "memory_budget": (sd.memory_budget, {"target": pair.target, "source_length": 4}),
            "run_checks": (lambda pair: next(sd.run_checks(pair)), {"pair": self.worded}),
            "TokenRule": (sd.TokenRule, {"lenience": 0.5}),
            "lenient_probs": (sd.lenient_probs, {"p": rows, "q": rows, "lenience": 0.5}),
            "expected_accepted": (
                sd.expected_accepted,
                {"rule": sd.BlockRule(), "p": lambda x: rows[0], "q": lambda x: rows[0], "gamma": 2},
            ),
            "accepted_bound": (sd.accepted_bound, {"p": lambda x: rows[0], "q": lambda x: rows[0], "gamma": 2}),
            "SamplingRule": (sd.SamplingRule, {"temperature": 1.0}),
            "Draws": (sd.Draws, {"seed": 0}),
            "row_seed": (sd.row_seed, {"seed": 0, "row": 1}),
            "nucleus": (sd.nucleus, {"probs": torch.tensor(p), "top_p": 0.9}),
            "one_hot": (sd.one_hot, {"tokens": torch.tensor([1]), "vocab": 2}),
            "pick": (sd.pick, {"probs": rows, "uniforms": torch.tensor([0.1, 0.9])}),
            "overlap": (sd.overlap, {"p": rows, "q": rows}),
            "residual": (sd.residual, {"p": rows, "q": rows}),
            "expected_tokens": (sd.expected_tokens, {"alpha": 0.5, "gamma": 2}),
            "walltime_factor": (sd.walltime_factor, {"alpha": 0.5, "gamma": 2, "c": 0.1, "v": 1.0}),
            "finite_walltime_factor": (
                sd.finite_walltime_factor,
                {"alpha": 0.5, "gamma": 2, "c": 0.1, "v": 1.0, "length": 9, "limit": 12},
            ),
            "best_gamma": (sd.best_gamma, {"alpha": 0.5, "c": 0.1}),
            "floor_seconds": (
                sd.floor_seconds,
                {"weights": 9, "n": 1, "bytes_per_weight": 4, "read_rate": 1e9, "flop_rate": 1e9},
            ),
            "total_variation": (sd.total_variation, {"p": p, "q": q}),
            "js_divergence": (sd.js_divergence, {"p": p, "q": q}),
            "token_histogram": (sd.token_histogram, {"sequences": [[0, 1]], "vocab": 2}),
            "js_between_samples": (sd.js_between_samples, {"first": [[0, 1]], "second": [[1]], "vocab": 2}),
            "js_noise_floor": (sd.js_noise_floor, {"samples": [[[0, 1]], [[1]]], "vocab": 2}),
            "paired_bootstrap": (paired_bootstrap, {"statistic": lambda a: a, "columns": [[1.0, 2.0]]}),
            "show_tokens": (sd.show_tokens, {"generation": self.run}),
            "show_rounds": (sd.show_rounds, {"generation": self.run}),
            "plot_token_probs": (sd.plot_token_probs, {"generation": self.run}),
            "plot_speedup": (sd.plot_speedup, {"rows": self.rows}),
            "plot_alpha": (sd.plot_alpha, {"rows": self.rows}),
            "plot_js": (sd.plot_js, {"rows": self.rows}),
            "save_figures": (sd.save_figures, {"rows": self.rows, "folder": self.folder}),
            "measure_costs": (
                sd.measure_costs,
                {"pair": pair, "prompts": [SOURCE], "gammas": [1], "repeats": 1, "max_new_tokens": 4},
            ),
            "speculative_generate, in words": (
                sd.speculative_generate,
                {"target": self.worded.target, "draft": self.worded.draft, **loop, "source": "w5 w6"},
            ),
            "step_weights": (sd.step_weights, {"model": pair.target, "source": SOURCE}),
            "load_prompts": (sd.load_prompts, {}),
            "run_gamma_sweep": (
                sd.run_gamma_sweep,
                {"pair": pair, "gammas": [1], "temperatures": [0.7], "results_dir": self.folder / "results", **few},
            ),
            "compile_pair": (
                sd.compile_pair,
                {
                    "pair": pair, "gammas": 0, "max_new_tokens": 4, "max_source_tokens": 8,
                    "backend": lambda graph, _: graph.forward, "progress": False,
                },
            ),
            "recorded": (sd.recorded, {"name": "c", "path": "eager", "temperature": 0}),
            "recorded_table": (sd.recorded_table, {"temperature": 0}),
            "versions": (sd.versions, {}),
            "explore.accept_reject": (sd.explore.accept_reject, {"p": p, "q": q, "tokens": ["a", "b"]}),
            "explore.gamma_map": (sd.explore.gamma_map, {"v": 1.0}),
            "explore.rounds": (sd.explore.rounds, {"generation": self.run, "c": 0.2, "v": 1.1}),
            "explore.mutation_matrix": (
                sd.explore.mutation_matrix,
                {"matrix": {"right": [False]}, "tests": ["a test"], "changes": {"right": []}},
            ),
        }  # fmt: skip


def paired_bootstrap(statistic, columns, **options):
    """With its columns by name, as the others have their arguments."""
    return sd.paired_bootstrap(statistic, *columns, **options)
