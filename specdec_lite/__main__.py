"""`python -m specdec_lite "Where is the station?"` translates and shows what speculation did; `sweep` experiments, and
`run` runs a chapter with other parameters."""

from __future__ import annotations

import argparse
import sys

from . import load_pair, run_gamma_sweep, save_figures, show_tokens
from .checks import check_integer
from .generation import autoregressive_generate, speculative_generate
from .metrics import paired_bootstrap
from .run import run


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    command = {("sweep",): sweep, ("run",): run}.get(tuple(arguments[:1]), translate)
    try:
        command(arguments if command is translate else arguments[1:])
    except (ValueError, TypeError, OSError) as error:
        print(f"specdec_lite: {error}", file=sys.stderr)
        return 2
    return 0


def translate(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("specdec_lite", description='Translate; or "sweep --help", or "run --help".')
    parser.add_argument("source", help="an English text")
    parser.add_argument("--gamma", type=int, default=4, help="drafted tokens per round")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-new-tokens", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each kind")
    add_pair(parser)
    args = parser.parse_args(arguments)
    check_integer("repeats", args.repeats, minimum=0)
    pair = pair_of(args)
    common = {"max_new_tokens": args.max_new_tokens, "temperature": args.temperature}

    def runs(seed):
        spec = speculative_generate(*pair, args.source, gamma=args.gamma, seed=seed, **common)
        return autoregressive_generate(pair.target, args.source, seed=seed, **common), spec

    (_, spec), *timed = [runs(args.seed + i) for i in range(args.repeats + 1)]  # the first one warms up
    print(show_tokens(spec).ansi(), end="\n\n")
    print(f"alpha {spec.alpha:.2f}   tokens per target pass {spec.tokens_per_target_pass:.2f}")
    if timed:
        times = [[g.seconds / len(g.token_ids) for g in kind] for kind in zip(*timed, strict=True)]
        ratio, low, high = paired_bootstrap(lambda base, fast: base / fast, *times)
        print(f"speed-up {ratio:.2f} ({low:.2f} to {high:.2f}) over plain decoding, {len(timed)} runs of each in turn")


def sweep(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "specdec_lite sweep", description="The gamma experiment: results.csv and three figures."
    )
    parser.add_argument("--gammas", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--max-new-tokens", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results-dir", default="results")
    add_pair(parser)
    args = parser.parse_args(arguments)
    rows = run_gamma_sweep(
        pair_of(args), gammas=args.gammas, temperatures=args.temperatures, max_new_tokens=args.max_new_tokens,
        repeats=args.repeats, results_dir=args.results_dir, seed=args.seed,
    )  # fmt: skip
    print(
        rows[["temperature", "gamma", "speedup", "predicted_speedup", "alpha", "js", "js_floor"]]
        .round(3)
        .to_string(index=False)
    )
    print(*save_figures(rows, args.results_dir), sep="\n")


def add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", help="a Hugging Face name or a folder; default: the pocket pair")
    parser.add_argument("--draft")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")


def pair_of(args):
    return load_pair(args.target, args.draft, device=args.device, dtype=args.dtype)


if __name__ == "__main__":
    sys.exit(main())
