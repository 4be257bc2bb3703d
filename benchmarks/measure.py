"""The pocket pair's numbers, measured once more: `make measure` appends a session to the table that the pages quote.

    python benchmarks/measure.py [--prompts 10] [--gammas 1 2 3 4 6 8] [--compiled-gammas 1 2 4 8]

In one process, warmed up and in turns (A B C … C B A): what the machine reads and computes; c, v and the plain step;
then every way to decode, on paragraphs of their own. Each part is on file as soon as it is finished. Times depend on
the hour as well as on the machine, so a number that goes into prose needs several sessions, at different hours.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from filelock import FileLock

import specdec_lite as sd
from bench import HuggingFace, check_equal, in_turns, machine, machine_rates
from specdec_lite.costs import Costs, Stopwatch
from specdec_lite.experiment import per_token_ratio
from specdec_lite.fast import has_compiler
from specdec_lite.measured import FILE, read_sessions, same_machine

Values = dict[str, tuple[float, float, float]]
OTHERS = 5  # paragraphs that costs and gammas come from
ABOUT = """About five minutes on two quiet cores, half of them to compile; each part is kept as it finishes.
Leave the machine alone meanwhile: other work shows in every number."""


class Watched:
    """A way to decode that notes the seconds of each of its phases, run by run."""

    def __init__(self, decode: Callable, target: sd.Seq2Seq):
        self.decode, self.target, self.laps = decode, target, []

    def __call__(self, source, seed: int) -> sd.Generation:
        watch = Stopwatch(self.target)
        run = self.decode(source, seed=seed, observer=watch)
        self.laps.append(watch)
        return run


class Session:
    """A session on file: every part is there as soon as it is known, and others' sessions are left as they are."""

    def __init__(self, file: Path, options: dict):
        self.file = file
        facts = machine() | {"dtype": "float32", "specdec-lite": sd.versions()["specdec-lite"]}
        facts["processor"] = " ".join(facts["processor"].replace("(R)", "").replace("(TM)", "").split())
        began = datetime.now().isoformat(timespec="seconds")
        self.content = {"began": began, "machine": facts, "options": options, "values": {}}
        others = [each for each in read_sessions(file) if not same_machine(each, self.content)]
        if others:
            names = "; ".join(sorted({f"{e['machine']['processor']}, torch {e['machine']['torch']}" for e in others}))
            print(f"{len(others)} sessions on file are of another machine ({names}). They stay, and are not mixed in:")
            print("from now on pages quote this machine's.")

    def keep(self, name: str, values: Values) -> None:
        self.content["values"].setdefault(name, {}).update({key: round_off(value) for key, value in values.items()})
        self.content["finished"] = datetime.now().isoformat(timespec="seconds")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_of(self.file)):
            sessions = read_sessions(self.file)
            kept = [each for each in sessions if each["began"] != self.content["began"]]
            new = self.file.with_name(f".{self.file.name}.new")
            with new.open("w", encoding="utf8") as out:
                out.write(as_text([*kept, self.content]))
                out.flush()
                os.fsync(out.fileno())
            new.replace(self.file)


def lock_of(file: Path) -> Path:
    """Not beside the file: what lies there is packed."""
    name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"specdec_lite_{name}.lock"


def as_text(sessions: list[dict]) -> str:
    """JSON with a line for each number, so that a change of one shows as one."""
    text = json.dumps(sessions, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([^\[\]{}]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    return text + "\n"


def round_off(value: tuple[float, float, float]) -> list[float]:
    return [float(f"{x:.5g}") for x in value]


def exactly(value: float) -> tuple[float, float, float]:
    return value, value, value


def middle(values: np.ndarray | list[float], value: float) -> tuple[float, float, float]:
    """A value between the ends of the middle 95 % of its resamples."""
    values = np.asarray(values, float)
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return value, min(low, value), max(high, value)


def rates(times: int = 5) -> Values:
    found = [machine_rates() for _ in range(times)]
    return {
        name.replace("_", " "): (max(values), min(values), max(values))
        for name in found[0]
        for values in [[each[name] / 1e9 for each in found]]
    }


def costs_of(pair: sd.Pair, prompts: list, gammas: list[int], options: dict) -> tuple[Costs, Values]:
    shorter = options | {"max_new_tokens": min(32, options["max_new_tokens"])}
    costs = sd.measure_costs(pair, prompts, gammas, repeats=3, **shorter)
    return costs, cost_values(costs)


def cost_values(costs: Costs) -> Values:
    again = costs.resampled(400)
    named = {
        "plain step": lambda costs: 1000 * costs.step_seconds,
        "encoder": lambda costs: 1000 * costs.step_seconds * costs.target_start,
        "c": lambda costs: costs.c,
        "catch-up": lambda costs: costs.catch_up,
        "draft start": lambda costs: costs.draft_start,
        **{f"v({gamma})": lambda costs, gamma=gamma: costs.v[gamma] for gamma in costs.v},
    }
    return {name: middle([of(each) for each in again], of(costs)) for name, of in named.items()}


def predictions(costs: Costs, runs: list[sd.Generation], limit: int) -> Values:
    """Speed-up and seconds of a round for every gamma, with the spread of alpha and of the costs in their intervals."""
    again, rng = costs.resampled(400), np.random.default_rng(0)
    picks = rng.integers(len(runs), size=(len(again), len(runs)))
    alphas = [alpha_of([runs[i] for i in pick]) for pick in picks]
    lengths = [[len(runs[i].token_ids) for i in pick] for pick in picks]
    alpha, all_lengths, found = alpha_of(runs), [len(run.token_ids) for run in runs], {}
    found["alpha, others"] = middle(alphas, alpha)
    for gamma in costs.v:
        value = costs.predict(alpha, gamma, all_lengths, limit)
        resampled = [each.predict(a, gamma, n, limit) for each, a, n in zip(again, alphas, lengths)]
        found[f"predicted({gamma})"] = middle(resampled, value)
        rounds = [round_of(each, a, gamma) for each, a in zip(again, alphas)]
        found[f"predicted round({gamma})"] = middle(rounds, round_of(costs, alpha, gamma))
    return found


def round_of(costs: Costs, alpha: float, gamma: int) -> float:
    """γc + v, and the catch-up that a share alpha^gamma of the rounds begins with; in plain steps."""
    return gamma * costs.c + costs.v[gamma] + alpha**gamma * costs.catch_up


def alpha_of(runs: list[sd.Generation]) -> float:
    return min(1.0, sum(run.overlap_sum for run in runs) / sum(run.examined for run in runs))


def best(costs: Costs, runs: list[sd.Generation], limit: int) -> int:
    lengths = [len(run.token_ids) for run in runs]
    return max(costs.v, key=lambda gamma: costs.predict(alpha_of(runs), gamma, lengths, limit))


def columns(runs: list[sd.Generation]) -> tuple[list[float], list[int]]:
    return [run.seconds for run in runs], [len(run.token_ids) for run in runs]


def ratio(base: list[sd.Generation], runs: list[sd.Generation]) -> tuple[float, float, float]:
    return sd.paired_bootstrap(per_token_ratio, *columns(base), *columns(runs))


def divided(above: list[float], below: list[float], scale: float = 1.0) -> tuple[float, float, float]:
    return sd.paired_bootstrap(lambda a, b: scale * a / b, above, below)


def round_seconds(plain: Watched, ours: Watched) -> tuple[float, float, float]:
    """A round's draft and check, in plain steps: the first round and step, which read the source, are left out."""
    rounds = [[a + b for a, b in zip(lap["draft"], lap["check"])][1:] for lap in ours.laps]
    steps = [lap["step"][1:] for lap in plain.laps]
    sums = [[*map(sum, rounds)], [*map(len, rounds)], [*map(sum, steps)], [*map(len, steps)]]
    return sd.paired_bootstrap(lambda a, n, b, m: (a / n) / (b / m), *sums)


def race(
    pairs: dict[str, sd.Pair], chosen: dict[str, int], also: dict[str, list[int]], prompts: list, options: dict,
    repeats: int,
) -> dict[str, Values]:  # fmt: skip
    """Values by path: every way decodes every paragraph, in turns, with the chosen gammas and these other ones."""
    temperature, gammas = options["temperature"], {}
    ways: dict[str, Callable] = {"generate": HuggingFace(pairs["eager"], temperature, options["max_new_tokens"])}
    for path, pair in pairs.items():
        gammas[path] = sorted({chosen[path], *also[path]})
        ways[f"plain, {path}"] = Watched(
            lambda source, pair=pair, **how: sd.autoregressive_generate(pair.target, source, **options, **how),
            pair.target,
        )
        for gamma in gammas[path]:
            ways[f"{gamma}, {path}"] = Watched(
                lambda source, pair=pair, gamma=gamma, **how: sd.speculative_generate(
                    *pair, source, gamma=gamma, **options, **how
                ),
                pair.target,
            )
        gamma = chosen[path]
        ways[f"assisted, {gamma}"] = HuggingFace(pairs["eager"], temperature, options["max_new_tokens"], gamma)
    runs = in_turns(ways, prompts * repeats)
    for way in ways.values():
        if isinstance(way, Watched):
            del way.laps[0]  # the warm-up
    if temperature == 0:
        check_equal({"Hugging Face generate": runs["generate"]} | runs)
    return {path: path_values(path, gammas[path], chosen[path], ways, runs) for path in pairs}


def path_values(path: str, gammas: list[int], gamma: int, ways: dict, runs: dict) -> Values:
    """One path's numbers: milliseconds, ratios, counts, and the same for every gamma that was raced."""
    plain, ours = runs[f"plain, {path}"], runs[f"{gamma}, {path}"]
    named = {"generate": runs["generate"], "assisted": runs[f"assisted, {gamma}"], "plain": plain, "speculative": ours}
    found = {"gamma": exactly(gamma)}
    found |= {f"ms per token, {name}": divided(*columns(each), 1000) for name, each in named.items()}
    found |= {"speed-up": ratio(plain, ours)}
    found |= {f"speed-up over {name}": ratio(named[name], ours) for name in ("generate", "assisted")}
    found |= {f"{name} over generate": ratio(runs["generate"], named[name]) for name in ("plain", "assisted")}
    if path != "eager":
        base = runs["plain, eager"]
        found |= {f"{name} over plain eager": ratio(base, named[name]) for name in ("plain", "speculative")}
    found["alpha"] = divided([run.overlap_sum for run in ours], [run.examined for run in ours])
    for each in gammas:
        drafted = runs[f"{each}, {path}"]
        passes = [run.target_passes for run in drafted]
        tokens = divided([len(run.token_ids) for run in drafted], passes)
        found |= {f"tokens per pass({each})": tokens, f"speed-up({each})": ratio(plain, drafted)}
        found[f"round({each})"] = round_seconds(ways[f"plain, {path}"], ways[f"{each}, {path}"])
        if each == gamma:
            found["tokens per pass"] = tokens
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=10, help="paragraphs that are decoded, at most 30")
    parser.add_argument("--gammas", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--compiled-gammas", type=int, nargs="+", default=[1, 2, 4, 8], help="each is compiled")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--out", type=Path, default=FILE)
    chosen = parser.parse_args()
    print(ABOUT, flush=True)
    measure(chosen)


def measure(asked: argparse.Namespace, pair: sd.Pair | None = None, prompts: dict | None = None) -> dict:
    """The whole session; returns what is on file of it."""
    began = time.perf_counter()
    prompts, pair = prompts or sd.load_prompts(), pair or sd.load_pair()
    others, ours = prompts["measure"][:OTHERS], prompts["sweep"][: asked.prompts]
    said = {name: value for name, value in vars(asked).items() if name != "out"}
    session = Session(asked.out, said | {"others": len(others)})

    def tell(what: str) -> None:
        print(f"{time.perf_counter() - began:4.0f} s  {what}", flush=True)

    session.keep("machine", rates())
    tell("what the machine reads and computes")
    pairs = {"eager": pair}
    if asked.compiled_gammas and has_compiler(pair.target.device):
        how = {"max_new_tokens": asked.max_new_tokens, "max_source_tokens": 64, "draft_weights": "bfloat16"}
        pairs["compiled"] = sd.compile_pair(pair, gammas=asked.compiled_gammas, progress=False, **how)
        tell("compiled")
    gammas = {"eager": asked.gammas, "compiled": asked.compiled_gammas}
    for temperature in (0, 1):
        options, chosen = {"temperature": float(temperature), "max_new_tokens": asked.max_new_tokens}, {}
        for path, each in pairs.items():
            runs = [
                sd.speculative_generate(*each, source, gamma=4, seed=i, **options)
                for i, source in enumerate(prompts["measure"])
            ]
            costs, values = costs_of(each, others, gammas[path], options)
            session.keep(f"{path}, T = {temperature}", values | predictions(costs, runs, asked.max_new_tokens))
            chosen[path] = best(costs, runs, asked.max_new_tokens)
            tell(f"c and v, {path}, T = {temperature}: γ = {chosen[path]} is predicted to be the best")
        raced = gammas if temperature == 0 else {path: [] for path in pairs}
        found = race(pairs, chosen, raced, ours, options, repeats=1 if temperature == 0 else 2)
        for path, values in found.items():
            session.keep(f"{path}, T = {temperature}", values)
        tell(f"every way to decode, T = {temperature}")
    return session.content


if __name__ == "__main__":
    main()
