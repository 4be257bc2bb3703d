"""What one row of the table holds: both ways to decode, measured in turns, and the prediction beside them."""

from __future__ import annotations

import hashlib
import math
import platform
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
import transformers

from ..about import __version__
from ..costs import measure_costs
from ..generation import autoregressive_generate, speculative_generate
from ..metrics import js_between_samples, js_noise_floor, paired_bootstrap
from ..models import Seq2Seq
from ..record import Generation
from ..verification import Verifier, verifier


class Bench:
    """All measurements at one temperature: what rows share is measured once, here."""

    def __init__(
        self, pair, temperature, max_new_tokens, prompts, measure_prompts, gammas, seed,
        rules: Mapping[str, str | Verifier] | None = None,
    ):  # fmt: skip
        self.pair, self.temperature, self.prompts, self.seed = pair, temperature, prompts, seed
        self.rules = rules or {}
        self.options = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        self.measured = [self.plain(text, "measure", i) for i, text in enumerate(measure_prompts)]  # warms up, too
        spec = [self.speculative(text, 4, "token", "measure", i) for i, text in enumerate(measure_prompts)]
        self.alpha = min(counts(spec)["alpha"], 1.0)  # sums of float32 probabilities round, sometimes up; NaN stays
        shorter = {"max_new_tokens": min(32, max_new_tokens), "temperature": temperature}  # a model may end before 32
        try:
            self.costs = measure_costs(pair, measure_prompts, gammas, seed=seed, **shorter)
        except ValueError as error:  # outputs of a single token have no costs; the rows can be measured all the same
            warnings.warn(f"the rows have no prediction: {error}", stacklevel=2)
            self.costs = None
        # Plain decoding, used by no row: with a row's own baseline these samples make the six pairs of its noise floor.
        self.references = [
            [self.plain(text, "reference", k, i).token_ids for i, text in enumerate(prompts)]
            for k in range(3 if temperature > 0 else 0)
        ]

    def plain(self, text: str, *label) -> Generation:
        return autoregressive_generate(self.pair.target, text, seed=self.seed_for("plain", *label), **self.options)

    def speculative(self, text: str, gamma: int, verification: str, *label) -> Generation:
        return speculative_generate(
            *self.pair, text, gamma=gamma, verification=self.rules.get(verification, verification),
            seed=self.seed_for("speculative", gamma, verification, *label), **self.options,
        )  # fmt: skip

    def seed_for(self, *label) -> int:
        """An independent seed for every run, the same on every machine."""
        text = repr((self.seed, self.temperature, *label))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")

    def row(self, gamma: int, repeat: int, verification: str) -> dict:
        """Run every prompt both ways and reduce to the columns of one row."""
        reset_peak_memory(self.pair.target)
        base, spec = [], []
        for i, text in enumerate(self.prompts):
            for kind in ("plain", "speculative") if i % 2 == 0 else ("speculative", "plain"):
                if kind == "plain":
                    base.append(self.plain(text, gamma, repeat, verification, i))
                else:
                    spec.append(self.speculative(text, gamma, verification, repeat, i))
        seconds, tokens = [g.seconds for g in spec], [len(g.token_ids) for g in spec]
        base_seconds, base_tokens = [g.seconds for g in base], [len(g.token_ids) for g in base]
        speedup, low, high = paired_bootstrap(per_token_ratio, base_seconds, base_tokens, seconds, tokens)
        c, v = (self.costs.c, self.costs.v[gamma]) if self.costs else (math.nan, math.nan)
        return {
            **counts(spec), **alpha_interval(spec),
            "seconds": sum(seconds), "baseline_tokens": sum(base_tokens), "baseline_seconds": sum(base_seconds),
            "speedup": speedup, "speedup_low": low, "speedup_high": high,
            "predicted_speedup": self.predict(gamma, verification), "c": c, "v": v,
            **self.divergence(base, spec),
            "identical": sum(a.token_ids == b.token_ids for a, b in zip(base, spec, strict=True)),
            "peak_memory_mb": peak_memory_mb(self.pair.target), "threads": torch.get_num_threads(),
            "specdec_lite": __version__, "torch": torch.__version__,
            "transformers": transformers.__version__,
        }  # fmt: skip

    def predict(self, gamma: int, verification: str) -> float:
        """Speed-up from alpha, c, v and the output lengths of the measure prompts; the theory is the token rule's."""
        rule = verifier(self.rules.get(verification, verification))
        if rule != verifier("token") or not self.costs:
            return math.nan
        lengths = [len(g.token_ids) for g in self.measured]
        return self.costs.predict(self.alpha, gamma, lengths, self.options["max_new_tokens"])

    def divergence(self, base: list[Generation], spec: list[Generation]) -> dict[str, float]:
        """JS between the two samplers' outputs, and between plain samples alone; both 0 when nothing is random."""
        vocab = self.pair.target.vocab_size
        base, spec = [g.token_ids for g in base], [g.token_ids for g in spec]
        floor, spread = js_noise_floor([base, *self.references], vocab) if self.references else (0.0, 0.0)
        return {"js": js_between_samples(base, spec, vocab), "js_floor": floor, "js_floor_sd": spread}


def counts(runs: list[Generation]) -> dict:
    """Counts summed over prompts, and the ratios of the sums."""
    total = {
        "tokens": sum(len(g.token_ids) for g in runs),
        "target_passes": sum(g.target_passes for g in runs),
        "draft_passes": sum(g.draft_passes for g in runs),
        "accepted": sum(g.accepted for g in runs),
        "examined": sum(g.examined for g in runs),
    }
    examined = total["examined"] or math.nan  # with one token an output, nothing was drafted
    return total | {
        "alpha": sum(g.overlap_sum for g in runs) / examined,
        "acceptance_rate": total["accepted"] / examined,
        "tokens_per_target_pass": total["tokens"] / total["target_passes"],
    }


def alpha_interval(runs: list[Generation]) -> dict[str, float]:
    """Alpha's 95 % interval over prompts; NaN if one of them had nothing to examine."""
    overlaps, examined = [g.overlap_sum for g in runs], [g.examined for g in runs]
    if not all(examined):
        return {"alpha_low": math.nan, "alpha_high": math.nan}
    _, low, high = paired_bootstrap(lambda a, b: a / b, overlaps, examined)
    return {"alpha_low": low, "alpha_high": high}


def per_token_ratio(baseline_seconds, baseline_tokens, seconds, tokens):
    """Speed-up in time per token: sampled outputs of the two loops differ in length."""
    return (baseline_seconds / baseline_tokens) / (seconds / tokens)


def reset_peak_memory(model: Seq2Seq) -> None:
    """Let the peak begin anew: on a GPU, and on Linux that of the process. Elsewhere a process has one peak."""
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    elif sys.platform == "linux":
        with suppress(OSError):  # some containers keep this file to themselves
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(model: Seq2Seq) -> float:
    """Peak since `reset_peak_memory` in MB: of the GPU's allocations; on a CPU of all that the process has in memory,
    Python and the libraries included (off Linux since the process began; NaN where the system cannot tell)."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device) / 1e6
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if platform.system() == "Darwin" else peak * 1024 / 1e6
