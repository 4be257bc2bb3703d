"""`python -m specdec_lite "Where is the station?"` translates and shows what speculation did. Other commands: `sweep`
experiments, `check` says whether this installation can be trusted, `run` runs a chapter with other parameters."""

from __future__ import annotations

import argparse
import sys

from . import load_pair, run_checks, run_gamma_sweep, save_figures, show_tokens
from .checks import check_integer
from .display import printable
from .generation import autoregressive_generate, speculative_generate
from .metrics import paired_bootstrap
from .run import add_run

EXAMPLES = """\
examples:
  python -m specdec_lite "Where is the station?" --gamma 4
  python -m specdec_lite sweep --gammas 2 4 8 --temperatures 0 --results-dir results
  python -m specdec_lite check
  python -m specdec_lite run 5 -p gammas "[2, 4]"
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "specdec_lite", description="Speculative decoding for encoder-decoder transformers.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (add_translate, add_sweep, add_check, add_run):
        add(commands)
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] not in (*commands.choices, "-h", "--help"):
        arguments = ["translate", *arguments]  # a text, or an option of translate
    args = parser.parse_args(arguments)
    try:
        return args.command(args) or 0
    except (ValueError, TypeError, OSError) as error:
        say(error)
        return 2
    except KeyboardInterrupt as error:
        say(str(error) or "interrupted")
        return 130


def say(what) -> None:
    """On the error stream, without what a terminal would obey: an error may quote what it was given."""
    print("specdec_lite:", "\n".join(map(printable, str(what).split("\n"))), file=sys.stderr)


def add_translate(commands) -> None:
    parser = commands.add_parser(
        "translate", help="translate a text (the default: the word itself may be left out)",
        description="Translate, and colour each token by who wrote it; then alpha, tokens per pass, and the speed-up.",
    )  # fmt: skip
    parser.add_argument("source", help="an English text")
    parser.add_argument("--gamma", type=int, default=4, help="tokens drafted per round (default %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy decoding (default %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=80, help="at most so many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="for temperatures above 0 (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each kind (default %(default)s)")
    add_pair(parser)
    parser.set_defaults(command=translate)


def translate(args) -> None:
    check_integer("repeats", args.repeats, minimum=0)
    pair = pair_of(args)
    common = {"max_new_tokens": args.max_new_tokens, "temperature": args.temperature}

    def runs(seed):
        spec = speculative_generate(*pair, args.source, gamma=args.gamma, seed=seed, **common)
        return autoregressive_generate(pair.target, args.source, seed=seed, **common), spec

    _, spec = runs(args.seed)  # it warms both up
    print(show_tokens(spec).ansi(), end="\n\n")
    print(f"alpha {spec.alpha:.2f}   tokens per target pass {spec.tokens_per_target_pass:.2f}", flush=True)
    timed = [runs(args.seed + 1 + i) for i in range(args.repeats)]
    if timed:
        times = [[g.seconds / len(g.token_ids) for g in kind] for kind in zip(*timed, strict=True)]
        ratio, low, high = paired_bootstrap(lambda base, fast: base / fast, *times)
        print(f"speed-up {ratio:.2f} ({low:.2f} to {high:.2f}) over plain decoding, {len(timed)} runs of each in turn")


def add_sweep(commands) -> None:
    parser = commands.add_parser(
        "sweep", help="the gamma experiment: results.csv and three figures",
        description="Measure speed-up, alpha and JS divergence for every gamma and temperature. Writes results.csv, a "
        "row as soon as it is measured, and three figures. Interrupted, the same command goes on where it stopped.",
    )  # fmt: skip
    parser.add_argument(
        "--gammas", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8], metavar="N",
        help="tokens drafted per round (default 1 to 8)",
    )  # fmt: skip
    parser.add_argument(
        "--temperatures", type=float, nargs="+", default=[0.0, 1.0], metavar="T", help="(default 0 and 1)"
    )
    parser.add_argument("--verification", nargs="+", default=["token"], metavar="RULE", help="by name (default token)")
    parser.add_argument("--max-new-tokens", type=int, default=80, help="per text (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=1, help="rows for each gamma and temperature (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="for all texts (default %(default)s)")
    parser.add_argument("--results-dir", default="results", help="the folder (default %(default)s)")
    add_pair(parser)
    parser.set_defaults(command=sweep)


def sweep(args) -> None:
    rows = run_gamma_sweep(
        pair_of(args), gammas=args.gammas, temperatures=args.temperatures, max_new_tokens=args.max_new_tokens,
        repeats=args.repeats, verification=args.verification, results_dir=args.results_dir, seed=args.seed,
    )  # fmt: skip
    shown = ["verification", "temperature", "gamma", "speedup", "predicted_speedup", "alpha", "js", "js_floor"]
    print(rows[shown].round(3).to_string(index=False))
    print(*save_figures(rows, args.results_dir), sep="\n")


def add_check(commands) -> None:
    parser = commands.add_parser(
        "check", help="can this installation be trusted? or: can my pair?",
        description="Check that decoding does here what the book says, in less than a minute: the exact distribution "
        "of the output on tiny models, greedy texts, the cache, what a checkpoint's settings ask for. The exit status "
        "is 1 if anything fails.",
    )  # fmt: skip
    add_pair(parser, "check this pair in place of the pocket pair: ")
    parser.set_defaults(command=check)


def check(args) -> int:
    failed = 0
    for outcome in run_checks(pair_of(args)):
        print(outcome, flush=True)
        failed += not outcome.ok
    print(f"{failed} failed: do not trust what this installation writes" if failed else "all is well")
    return int(failed > 0)


def add_pair(parser: argparse.ArgumentParser, why: str = "") -> None:
    parser.add_argument("--target", help=f"{why}a Hugging Face name or a folder (default the pocket pair)")
    parser.add_argument("--draft", help="its draft")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 ... (default %(default)s)")


def pair_of(args):
    return load_pair(args.target, args.draft, device=args.device, dtype=args.dtype)


if __name__ == "__main__":
    sys.exit(main())
