"""Side-by-side speed: this package and Hugging Face, with the same models, the same gamma and the same sampling.

    python benchmarks/bench.py [--prompts 8] [--pairs pocket t5-small-base] [--out results]

Within a table every way decodes every paragraph, in turns, forwards and backwards. Each way runs once beforehand, to
warm up. Equal outputs at temperature 0 are asserted; times are only reported.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import transformers
from transformers import (
    T5Config,
    T5ForConditionalGeneration,
    T5GemmaConfig,
    T5GemmaForConditionalGeneration,
    T5GemmaModuleConfig,
)

import specdec_lite as sd
from specdec_lite.costs import Costs, now
from specdec_lite.experiment import counts, peak_memory_mb, per_token_ratio
from specdec_lite.fast import has_compiler

GAMMAS = (1, 2, 4, 6)  # from these every pair's best gamma is chosen, on paragraphs that are not measured
SHAPES = {  # T5's published shapes, and one for tests; weights are random, since time does not depend on them
    "tiny": {"d_model": 32, "d_ff": 64, "num_layers": 1, "num_heads": 4, "d_kv": 8},
    "small": {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    "large": {"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16},
}
GEMMA_SHAPES = {  # T5Gemma's for the same names: width, feed-forward, layers, heads
    "tiny": (32, 64, 2, 4), "small": (512, 1024, 8, 8), "base": (768, 2048, 12, 12), "large": (1024, 2816, 24, 16),
}  # fmt: skip
Way = Callable[[object, int], sd.Generation]


def load(name: str, device: str = "cpu") -> sd.Pair:
    """The pocket pair, or random weights: "t5-small-base" and "t5gemma-small-base" draft with small for base."""
    if name == "pocket":
        return sd.load_pair(device=device)
    family, draft, target = name.split("-")
    return sd.Pair(random_model(family, target, device), random_model(family, draft, device), name)


def random_model(family: str, shape: str, device: str = "cpu") -> sd.Seq2Seq:
    torch.manual_seed(0)
    with torch.device(device):
        if family == "t5gemma":
            return sd.Seq2Seq(T5GemmaForConditionalGeneration(t5gemma_config(shape)))
        return sd.Seq2Seq(T5ForConditionalGeneration(t5_config(shape)))


def t5_config(shape: str) -> T5Config:
    return T5Config(vocab_size=32128, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0, **SHAPES[shape])


def t5gemma_config(shape: str) -> T5GemmaConfig:
    width, inner, layers, heads = GEMMA_SHAPES[shape]
    sides = [
        T5GemmaModuleConfig(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=width // heads,
            query_pre_attn_scalar=width // heads,
        )
        for _ in range(2)
    ]
    return T5GemmaConfig(encoder=sides[0], decoder=sides[1], vocab_size=sides[0].vocab_size)


def sources(pair: sd.Pair, n: int) -> tuple[list, list]:
    """Paragraphs to measure on, and others to choose gamma by."""
    prompts = sd.load_prompts()
    if pair.target.tokenizer is not None:
        return prompts["sweep"][:n], prompts["measure"][:3]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, pair.target.vocab_size, (n + 3, 30), generator=generator).tolist()
    return ids[:n], ids[n:]


class HuggingFace:
    """`generate`, plain or assisted, with the settings under which it samples from the same law as we do."""

    def __init__(self, pair: sd.Pair, temperature: float, max_new_tokens: int, gamma: int | None = None):
        self.pair, self.gamma = pair, gamma
        self.options = {"max_new_tokens": max_new_tokens, "num_beams": 1, "do_sample": temperature > 0}
        if temperature > 0:
            self.options |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}

    def __call__(self, source, seed: int) -> sd.Generation:
        target, draft = (model.hf_model for model in self.pair)
        inputs, options = self.pair.target.encode(source), dict(self.options)
        if self.gamma is not None:
            draft.generation_config.update(
                num_assistant_tokens=self.gamma,
                num_assistant_tokens_schedule="constant",
                assistant_confidence_threshold=0.0,
            )
            options["assistant_model"] = draft
        torch.manual_seed(seed)
        began = time.perf_counter()
        tokens = target.generate(**inputs, **options)[0, 1:].tolist()
        return sd.Generation(token_ids=tokens, seconds=time.perf_counter() - began)


def plain(pair: sd.Pair, options: dict) -> Way:
    return lambda source, seed: sd.autoregressive_generate(pair.target, source, seed=seed, **options)


def speculative(pair: sd.Pair, gamma: int, options: dict) -> Way:
    return lambda source, seed: sd.speculative_generate(*pair, source, gamma=gamma, seed=seed, **options)


def best_gamma(pair: sd.Pair, prompts: list, options: dict, gammas: tuple[int, ...] = GAMMAS) -> tuple[int, Costs]:
    """The gamma with the best prediction, and the costs that it rests on."""
    runs = [speculative(pair, 4, options)(source, i) for i, source in enumerate(prompts)]
    alpha = min(1.0, counts(runs)["alpha"])
    shorter = options | {"max_new_tokens": min(32, options["max_new_tokens"])}
    costs = sd.measure_costs(pair, prompts, gammas, **shorter)
    lengths, limit = [len(run.token_ids) for run in runs], options["max_new_tokens"]
    return max(gammas, key=lambda gamma: costs.predict(alpha, gamma, lengths, limit)), costs


def in_turns(ways: dict[str, Way], prompts: list) -> dict[str, list[sd.Generation]]:
    """Every way decodes every paragraph, A B C … C B A."""
    for way in ways.values():
        way(prompts[0], 0)
    runs = {name: [] for name in ways}
    for i, source in enumerate(prompts):
        for name in list(ways)[:: 1 if i % 2 == 0 else -1]:
            runs[name].append(ways[name](source, i))
    return runs


def works(name: str, way: Way, source) -> bool:
    """Whether it does; if not, it says why: assisted generation refuses some families."""
    try:
        way(source, 0)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
        return False
    return True


def outside_share(make_way: Callable[[sd.Pair], Way], pair: sd.Pair, prompts: list) -> float:
    """Share of a loop's time that passes outside the encoders' and decoders' forward passes."""
    laps = []
    models = (model.with_cursor(timed(model.cursor_kind, laps)) for model in pair)
    way = make_way(sd.Pair(*models, pair.name))
    total = sum(way(source, i).seconds for i, source in enumerate(prompts))
    return 1 - sum(laps) / total


def timed(kind: type[sd.CachedDecoder], laps: list[float]) -> type[sd.CachedDecoder]:
    """Cursors of this kind that note how long each start, with its encoder, and each pass or compiled call took."""

    def noted(method: Callable) -> Callable:
        def call(cursor, *args):
            began = now(cursor)
            result = method(cursor, *args)
            laps.append(now(cursor) - began)
            return result

        return call

    calls = "start", "forward", "check", "draft"  # the last two are a compiled cursor's
    return type("Timed", (kind,), {name: noted(getattr(kind, name)) for name in calls if hasattr(kind, name)})


@torch.inference_mode()
def machine_rates(device: torch.device | str = "cpu") -> dict[str, float]:
    """Bytes read and floating-point operations done per second: the best of a few large sums and products."""
    n = 1024 if torch.device(device).type == "cpu" else 8192
    large, square = torch.ones(n * 62_500, device=device), torch.ones(n, n, device=device)
    read_rate = large.nbytes / best_seconds(lambda: large.sum().item())
    return {"read_rate": read_rate, "flop_rate": 2 * n**3 / best_seconds(lambda: (square @ square)[0, 0].item())}


def best_seconds(work: Callable, times: int = 8) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(times))


def floor_ms_per_token(
    runs: list[sd.Generation], weights: list[int], gamma: int, draft_bytes: int, rates: dict[str, float]
) -> float:
    """What the matrix products of these runs' decoder passes need at least; weights of a target and a draft step."""
    target, draft = weights
    seconds = sum(run.target_passes for run in runs) * sd.floor_seconds(target, gamma + 1, 4, **rates)
    seconds += sum(run.draft_passes for run in runs) * sd.floor_seconds(draft, 1, draft_bytes, **rates)
    return 1000 * seconds / sum(len(run.token_ids) for run in runs)


def row(runs: list[sd.Generation], against: dict[str, list[sd.Generation]]) -> dict:
    """Milliseconds per token, and how many times faster than each of the others, with a 95 % interval."""
    seconds, tokens = [run.seconds for run in runs], [len(run.token_ids) for run in runs]
    out = {"ms_per_token": 1000 * sum(seconds) / sum(tokens), "tokens": sum(tokens)}
    for name, others in against.items():
        ratio = sd.paired_bootstrap(
            per_token_ratio, [run.seconds for run in others], [len(run.token_ids) for run in others], seconds, tokens
        )
        out |= dict(zip((f"× {name}", f"× {name}, low", f"× {name}, high"), ratio))
    return out


def both_paths(name: str, max_new_tokens: int) -> dict[str, sd.Pair]:
    """The pair as it is and, where there is a compiler, on the fast path with the draft's weights in 16 bits."""
    pairs = {"eager": load(name)}
    if has_compiler(pairs["eager"].target.device):
        pairs["compiled"] = on_fast_path(pairs["eager"], max_new_tokens)
    return pairs


def on_fast_path(pair: sd.Pair, max_new_tokens: int, gammas: tuple[int, ...] = GAMMAS, **options) -> sd.Pair:
    options = {"max_new_tokens": max_new_tokens, "max_source_tokens": 64, "draft_weights": "bfloat16"} | options
    return sd.compile_pair(pair, gammas=gammas, **options)


def measure(
    pairs: dict[str, sd.Pair], temperature: float, n_prompts: int, max_new_tokens: int,
    gammas: dict[str, tuple[int, ...]] | None = None, exact: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """One table: every way to decode with one pair at one temperature; gammas to choose from, by path.

    Its `attrs` hold the costs that were measured for the choice, by path.
    Not exact: a text that differs from `generate`'s at temperature 0 is counted, and assisted generation may fail.
    """
    options, pair = {"max_new_tokens": max_new_tokens, "temperature": temperature}, pairs["eager"]
    (prompts, others), rates = sources(pair, n_prompts), machine_rates(pair.target.device)
    weights = [sum(matrix.numel() for matrix in sd.step_weights(model, prompts[0])) for model in pair]
    gammas = dict.fromkeys(pairs, GAMMAS) | (gammas or {})
    chosen = {path: best_gamma(each, others, options, gammas[path]) for path, each in pairs.items()}
    ways = {"Hugging Face generate": HuggingFace(pair, temperature, max_new_tokens)}
    for path, each in pairs.items():
        gamma, _ = chosen[path]
        ways[f"plain, {path}"] = plain(each, options)
        ways[f"speculative, {path}"] = speculative(each, gamma, options)
        ways[f"Hugging Face assisted, γ = {gamma}"] = HuggingFace(pair, temperature, max_new_tokens, gamma)
    if not exact:
        ways = {name: way for name, way in ways.items() if "assisted" not in name or works(name, way, prompts[0])}
    runs = in_turns(ways, prompts)
    if temperature == 0 and exact:
        check_equal(runs)
    rows, expected = [], [run.token_ids for run in runs["Hugging Face generate"]]
    for way, each in runs.items():
        path = way.rpartition(", ")[2]
        gamma, costs = chosen[path] if way.startswith("speculative") else (None, None)
        against = {"Hugging Face generate": runs["Hugging Face generate"]}
        if path in pairs:
            against |= {"its plain": runs[f"plain, {path}"]}
        if gamma and (assisted := runs.get(f"Hugging Face assisted, γ = {gamma}")):
            against |= {"assisted": assisted}
        facts = {"pair": pair.name, "temperature": temperature, "way": way, "gamma": gamma} | row(each, against)
        if not exact:
            facts |= {"texts": len(each), "same": sum(run.token_ids == want for run, want in zip(each, expected))}
        if gamma:
            total = counts(each)
            facts |= {"alpha": total["alpha"], "c": costs.c, "v": costs.v[gamma]}
            facts |= {"tokens_per_pass": total["tokens_per_target_pass"]}
        if path in pairs:
            make_way = partial(speculative, gamma=gamma, options=options) if gamma else partial(plain, options=options)
            facts |= {"outside_forwards": outside_share(make_way, pairs[path], prompts[:3])}
            draft_bytes = pairs[path].draft.hf_model.get_output_embeddings().weight.itemsize
            floor = floor_ms_per_token(each, weights, gamma or 0, draft_bytes, rates)
            facts |= {"floor_ms": floor, "× floor": facts["ms_per_token"] / floor}
        rows.append(facts | {"peak_memory_mb": peak_memory_mb(pair.target)})
    table = pd.DataFrame(rows)
    table.attrs = {path: costs for path, (_, costs) in chosen.items()}
    return table


def check_equal(runs: dict[str, list[sd.Generation]]) -> None:
    """At temperature 0 every way must write what Hugging Face's `generate` writes."""
    expected = [run.token_ids for run in runs["Hugging Face generate"]]
    for way, each in runs.items():
        for i, (run, want) in enumerate(zip(each, expected, strict=True)):
            assert run.token_ids == want, f"{way} differs on paragraph {i}: {run.token_ids} instead of {want}"


def machine() -> dict:
    """What the numbers were measured on."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if info.exists() and names else platform.processor(),
        "cores": os.cpu_count(), "threads": torch.get_num_threads(), "python": platform.python_version(),
        "torch": torch.__version__, "transformers": transformers.__version__,
    }  # fmt: skip


def write(table: pd.DataFrame, folder: Path) -> None:
    """bench.csv with every number, bench.md to read."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "bench.csv", index=False)
    facts = machine() | {"peak memory": f"{table.peak_memory_mb.max():.0f} MB"}
    lines = ["# Benchmark", "", ", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    for (pair, temperature), rows in table.groupby(["pair", "temperature"], sort=False):
        said = ["pair", "temperature", "peak_memory_mb", *[name for name in rows if name.endswith(("low", "high"))]]
        shown = rows.drop(columns=said)
        for name in [name for name in shown if f"{name}, low" in rows]:
            shown[name] = [interval(r, name) for _, r in rows.iterrows()]
        shown = shown.round(2).astype(object).where(shown.notna(), "")
        lines += [f"## {pair}, temperature {temperature:g}", "", markdown(shown), ""]
    (folder / "bench.md").write_text("\n".join(lines), encoding="utf8")


def interval(row: pd.Series, name: str) -> str:
    value, low, high = row[name], row[f"{name}, low"], row[f"{name}, high"]
    return f"{value:.2f} ({low:.2f}–{high:.2f})" if value == value else ""


def markdown(table: pd.DataFrame) -> str:
    head = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    return "\n".join(head + ["| " + " | ".join(map(str, cells)) + " |" for cells in table.values.tolist()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=["pocket", "t5-small-base"])
    parser.add_argument("--temperatures", nargs="+", type=float, default=[0.0, 1.0])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("results"))
    chosen = parser.parse_args()
    tables = []
    for name in chosen.pairs:
        pairs = both_paths(name, chosen.max_new_tokens)
        for temperature in chosen.temperatures:
            tables.append(measure(pairs, temperature, chosen.prompts, chosen.max_new_tokens))
            write(pd.concat(tables), chosen.out)  # after each table, so that an interruption loses none
    print((chosen.out / "bench.md").read_text(encoding="utf8"))


if __name__ == "__main__":
    main()
