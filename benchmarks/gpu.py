"""What a GPU makes of it, in one file: the tests that need one, then every table, in under nine minutes.

    PYTHONPATH=. python benchmarks/gpu.py [--out results/gpu.json] [--seconds 520]     `make gpu`

It needs torch and transformers as they are there, and no installation. Each part is a process of its own with a
share of the time; what an earlier part leaves goes to the later ones. A part that fails, or takes too long, says so
in the file and keeps what it had measured. The file is written after each part. Weights are the pocket pair's, or
random in the shapes of T5 and T5Gemma: there texts mean nothing, and α is not what trained models have. So what is
predicted for the α of trained pairs stands beside what was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import torch

import bench
import paper_shapes
import specdec_lite as sd
from batches import rounded
from measure import cost_values
from specdec_lite.costs import Costs

ROOT = Path(__file__).resolve().parents[1]
SHARES = {  # seconds of each part, if all of them need theirs
    "tests": 115, "pocket": 130, "paper": 60, "t5-small-large": 50, "t5-small-base": 100, "t5gemma-small-base": 60,
}  # fmt: skip
QUICK = {"tests": 60, "t5-tiny-tiny": 60, "t5gemma-tiny-tiny": 60, "paper": 60}
COMPILED = {"pocket": (4,), "t5-small-base": (4,), "t5-tiny-tiny": (2,)}  # the gammas
EAGER = (1, 2, 4)
ALPHAS = (0.6, 0.7, 0.8)  # what the paper reports for trained T5 pairs lies between
CUDA_TESTS = ("tests/test_gpu.py", "tests/test_memory.py")
LONGEST = 6000  # characters of an error or of a test's output
Keep = Callable[[str, object], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--seconds", type=float, default=520, help="for everything")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it works")
    parser.add_argument("--parts", nargs="+", help="some of: " + ", ".join(SHARES))
    parser.add_argument("--part", help=argparse.SUPPRESS)  # what a process of its own is asked for
    asked = parser.parse_args()
    if asked.quick:
        asked.prompts, asked.max_new_tokens = 2, 6
    if asked.part:
        work(asked.part, Pages(asked.out), asked)
        return
    shares = QUICK if asked.quick else SHARES
    if asked.parts:
        shares = {name: shares.get(name, 60) for name in asked.parts}
    passed = [f"--{name}={getattr(asked, name.replace('-', '_'))}" for name in ("device", "prompts", "max-new-tokens")]
    command = [sys.executable, str(Path(__file__).resolve()), *passed, *["--quick"] * asked.quick]
    content = run(shares, command, asked.out, asked.seconds, facts(asked.device))
    print(summary(content))
    print(f"{asked.out}: {asked.out.stat().st_size / 1000:.0f} kB")


def run(shares: dict[str, float], command: list[str], out: Path, seconds: float, machine: dict) -> dict:
    """Every part in a process of its own; the file is written after each."""
    began, page, parts = time.perf_counter(), Pages(out), {}
    page("began", stamp()), page("machine", machine), page("parts", parts)
    for i, (name, share) in enumerate(shares.items()):
        left = seconds - (time.perf_counter() - began)
        limit = left - sum(list(shares.values())[i + 1 :])  # what is left, but for the shares of those that follow
        limit = max(limit, min(share, left))
        print(f"{time.perf_counter() - began:4.0f} s  {name}: at most {limit:.0f} s", flush=True)
        parts[name] = one_part([*command, "--part", name], limit)
        page("parts", parts), page("finished", stamp())
    return page.content


def one_part(command: list[str], limit: float) -> dict:
    """What a process measures and writes, and how it ended."""
    said, began = {"began": stamp()}, time.perf_counter()
    if limit < 5:
        return said | {"error": "no time was left for it"}
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "part.json", Path(folder) / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [*command, "--out", str(file)], cwd=ROOT, stdout=out, stderr=out, start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            )  # fmt: skip
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = f"it took longer than {limit:.0f} s"
                kill(process)
            except BaseException:
                kill(process)
                raise
        said["seconds"] = time.perf_counter() - began
        if file.exists():
            said |= json.loads(file.read_text(encoding="utf8"))
        if code:
            said.setdefault(
                "error", f"{code if isinstance(code, str) else f'exit {code}'}: {tail(log.read_text(errors='replace'))}"
            )
    return rounded(said)


def kill(process: subprocess.Popen) -> None:
    """The process and those it has started: a compiler's workers, too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9) if hasattr(os, "killpg") else process.kill()
    process.wait()


class Pages:
    """A file that is written whole each time something is noted in it."""

    def __init__(self, file: Path):
        self.file, self.content = file, {}

    def __call__(self, name: str, value: object) -> None:
        self.content[name] = value
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_name(f".{self.file.name}.new")
        new.write_text(as_text(self.content), encoding="utf8")
        new.replace(self.file)


def as_text(content: dict) -> str:
    """JSON with a line for each row of a table."""
    text = json.dumps(finite(rounded(content)), indent=1, ensure_ascii=False)
    inner = r"([\[{])\n\s+([^\[\]{}]+?)\n\s+([\]}])"  # no line ends inside a string, so none is changed
    return re.sub(inner, lambda found: found[1] + re.sub(r"\n\s+", " ", found[2]) + found[3], text) + "\n"


def finite(thing):
    """JSON knows no NaN."""
    if isinstance(thing, dict):
        return {str(key): finite(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [finite(value) for value in thing]
    return None if isinstance(thing, float) and not math.isfinite(thing) else thing


def stamp() -> str:
    return datetime.now().isoformat(timespec="seconds")


def tail(text: str) -> str:
    return text if len(text) <= LONGEST else f"… {text[-LONGEST:]}"


def facts(device: str) -> dict:
    """The machine, its GPU, and the versions of what runs there."""
    found = bench.machine() | {"specdec-lite": sd.versions()["specdec-lite"], "device": device}
    with contextlib.suppress(ImportError):
        import triton

        found["triton"] = triton.__version__
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found |= {"gpu": card.name, "gpu_memory_gb": card.total_memory / 1e9, "cuda": torch.version.cuda}
        found |= {"gpu_processors": card.multi_processor_count}
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            found["driver"] = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.split("\n")[0]
    return found


# ---- The parts ----


def work(name: str, keep: Keep, asked: argparse.Namespace) -> None:
    """A part, in this process. What it keeps is on file at once."""
    if name == "tests":
        tests(keep)
    elif name == "paper":
        tiny = {"target": "tiny", "drafts": (), "compiled": {"tiny": (1, 8)}, "repeats": 1, "backend": "eager"}
        paper_shapes.measure(keep, asked.device, **tiny if asked.quick else {})
    else:
        measure_pair(name, keep, asked)


def tests(keep: Keep) -> None:
    """The tests that need CUDA."""
    command = [sys.executable, "-m", "pytest", "-v", "-rfE", "-p", "no:cacheprovider", "-o", "addopts="]
    command += ["-k", "gpu or cuda", *CUDA_TESTS]
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)  # on file, should this take too long
            lines.append(line)
    said = "".join(lines)
    keep("counts", {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", said[-300:])})
    keep("output", tail(said))
    if process.returncode:
        keep("error", f"pytest ended with {process.returncode}")


def measure_pair(name: str, keep: Keep, asked: argparse.Namespace) -> None:
    """A pair as it is; then, compiled beside it. Every table is kept as soon as it is there."""
    pairs = {"eager": bench.load(name, asked.device)}
    sizes = [model.hf_model.num_parameters() for model in pairs["eager"]]
    keep("parameters", dict(zip(("target", "draft"), sizes)))
    keep("rates", bench.machine_rates(asked.device))
    if name not in COMPILED:
        a_table(pairs, "eager", 0.0, keep, asked, {"eager": EAGER})
        return
    began, options = time.perf_counter(), {"backend": "eager"} if asked.quick else {}
    try:
        pairs["compiled"] = bench.on_fast_path(pairs["eager"], asked.max_new_tokens, COMPILED[name], **options)
    except Exception:
        keep("error", f"compiling: {tail(traceback.format_exc())}")
    keep("compile_seconds", time.perf_counter() - began)
    for temperature in (0.0, 1.0) if name == "pocket" else (0.0,):
        a_table(pairs, "all", temperature, keep, asked, {"eager": EAGER, "compiled": COMPILED[name]})
    keep("graphs", graph_counts())


def a_table(pairs: dict, name: str, temperature: float, keep: Keep, asked: argparse.Namespace, gammas: dict) -> None:
    """Every way to decode at one temperature; c and v of each path at its gammas, and the speed-ups they predict."""
    name = f"{name}, T = {temperature:g}"
    table = bench.measure(pairs, temperature, asked.prompts, asked.max_new_tokens, gammas, exact=False)
    keep(name, table.drop(columns=["pair", "temperature"]).to_dict("records"))
    keep(f"{name}, costs", {path: with_predictions(costs, asked.max_new_tokens) for path, costs in table.attrs.items()})


def with_predictions(costs: Costs, length: int) -> dict:
    values = cost_values(costs)
    for alpha in ALPHAS:
        values[f"predicted, α = {alpha}"] = {gamma: costs.predict(alpha, gamma, [length], length) for gamma in costs.v}
    return values


def graph_counts() -> dict:
    """What torch counted of its CUDA graphs: calls that it could not record would be among them."""
    from torch._dynamo.utils import counters

    return {name: n for name, n in counters["inductor"].items() if "cudagraph" in name}


def summary(content: dict) -> str:
    """A line for every part, and for every way of its last tables."""
    lines = [", ".join(f"{name} {value}" for name, value in content["machine"].items())]
    for name, part in content["parts"].items():
        lines.append(f"{name}: {part.get('counts', '')} {part.get('error', '')[:200]}".rstrip())
        for key, rows in part.items():
            if key.endswith(", ms"):
                lines.append(f"  {key}: {rows}")
            if isinstance(rows, list):
                lines += [f"  {key}: {row['way']}: {row['ms_per_token']:.2f} ms per token" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
