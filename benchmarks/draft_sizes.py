"""Train drafts for the shipped target: how deep should a draft be, and what is each part of its recipe worth?

    python benchmarks/draft_sizes.py DATA          a folder with {train,validation}.tsv.gz; hours on two CPU cores
    python benchmarks/draft_sizes.py DATA --only layers_1 layers_2       some; several processes may share the work

The functions are appendix A1's: what the notebook defines is read from it and run here. The target stays as it ships.
It writes its texts once, and every draft learns from equally many tokens. A run that was stopped goes on at its last
checkpoint. Each finished draft is in OUT/<name>, for `sd.load_pair(target, OUT/<name>)`, and the record is new.
Two small targets are trained as well, with equal arithmetic: one that grows, and one that is deep from the start.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch.nn.functional import nll_loss

import specdec_lite as sd
from bench import machine
from specdec_lite.loading import POCKET_PAIR

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "A1_train_the_pocket_pair.ipynb"
RECORD = ROOT / "notebooks" / "recorded" / "draft_sizes.json"
PARAMETERS = {"seed": 0, "device": "cpu", "padded_tokens": 800, "most_pairs": 6, "growth": 3}
BOTH, HUMAN = "target's own + human", "human only"
# Decoder layers; the losses in turn, with their parts of the tokens; the texts.
DISTILLED, OVERLAP = {"distilled": 0.6}, {"overlap": 0.4}
DRAFTS = {f"layers_{n}": (n, DISTILLED | OVERLAP, BOTH) for n in (1, 2, 3, 4)} | {
    "no_overlap": (2, {"distilled": 1.0}, BOTH),
    "human_texts": (2, DISTILLED | OVERLAP, HUMAN),
    "human_words": (2, {"cross-entropy": 1.0}, HUMAN),
}
# The learning rate at first, and the part of it that is left at last.
RATES = {"distilled": (1.5e-3, 0.15), "cross-entropy": (1.5e-3, 0.15), "overlap": (5e-4, 0.03)}
TARGETS = ("grown", "deep")  # deep: from the start
SHARES = {"short": 0.17, "shallow": 0.53, "deep": 0.30}  # of the grown target's tokens, as in the shipped one's


def recipe(path: Path, **names) -> dict:
    """What a notebook imports and defines: functions, classes, constants. `names` are the globals that they use."""
    sys.path.append(str(path.parent))  # its checkers
    for cell in json.loads(path.read_text(encoding="utf8"))["cells"]:
        if cell["cell_type"] == "code" and "%pip" not in "".join(cell["source"]):
            tree = ast.parse("".join(cell["source"]))
            tree.body = [node for node in tree.body if defines(node)]
            exec(compile(tree, path.name, "exec"), names)
    return names


def defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        names = [name for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        return all(name.id.isupper() for name in names)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


def prepare(data: Path, out: Path, half_precision: bool) -> dict:
    """The notebook's functions, with the shipped target and tokenizer, and the sentences."""
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    target = sd.load_pair().target
    names = {"tokenizer": target.tokenizer, "target": target.hf_model.requires_grad_(False)}
    names |= {"checkpoint_folder": out / "checkpoints", "half_precision": half_precision}
    a1 = recipe(NOTEBOOK, **PARAMETERS, **names)
    for split in ("train", "validation"):
        a1[split] = a1["encode_pairs"](a1["read_pairs"](data / f"{split}.tsv.gz"))
    return a1


def once(files: dict[Path, Callable]) -> list:
    """What each function returns, from its file if there is one; processes beside each other share the work."""
    for timeout in (0, -1):  # first what nobody else is at, then wait for the others
        for path, make in files.items():
            with suppress(Timeout), FileLock(f"{path}.lock", timeout=timeout):
                if not path.exists():
                    part = path.with_suffix(".part")
                    torch.save(make(), part)
                    part.replace(path)
    return [torch.load(path, weights_only=True) for path in files]


def lessons(a1: dict, out: Path, tokens: int) -> dict[str, list]:
    """Two sets of lessons with about equally many tokens: half of the first are the target's own words."""

    def written(pairs, n):
        return lambda: a1["taught"](a1["write_with_target"](pairs, n), 1, 10**9)

    files = {out / "human.pt": lambda: a1["taught"](a1["train"], PARAMETERS["most_pairs"], tokens)}
    files[out / "own.pt"] = written(a1["train"], tokens // 2)
    files[out / "held_own.pt"] = written(a1["validation"], 8000)
    human, own, held_own = once(files)
    held_human = [a1["teach"](batch) for batch in a1["held_out_batches"](a1["validation"])]
    return {BOTH: own + human[: len(human) // 2], HUMAN: human, "held own": held_own, "held human": held_human}


def label_loss(a1: dict, model, batch):
    """Cross-entropy on a text's own words; what the target would say does not matter."""
    return nll_loss(a1["log_probabilities"](model, batch), batch["labels"]), len(batch["labels"])


def train_draft(a1: dict, name: str, taught: dict, tokens: int):
    layers, losses, texts = DRAFTS[name]
    torch.manual_seed(0)
    draft = a1["draft_of"](a1["target"], layers)
    functions = {"distilled": a1["distillation_loss"], "overlap": a1["missed_overlap"]}
    functions["cross-entropy"] = partial(label_loss, a1)
    adam = partial(torch.optim.AdamW, betas=(0.9, 0.98), weight_decay=0.0)
    for loss, part in losses.items():
        a1["fit"](
            draft, f"{name}-{loss}", a1["in_random_order"](taught[texts]), functions[loss], part * tokens, *RATES[loss],
            lambda model: a1["mean_loss"](model, a1["missed_overlap"], taught["held human"]), optimizer_of=adam,
            every=300,
        )  # fmt: skip
    return draft


def measure(a1: dict, folder: Path, taught: dict, validation: list) -> dict:
    """Size; acceptance on the book's paragraphs for measuring; missed overlap on held-out texts; BLEU."""
    pair, prompts = sd.load_pair(POCKET_PAIR / "target", folder), sd.load_prompts()["measure"]
    draft = pair.draft.hf_model
    own = [weight for key, weight in draft.named_parameters() if key.startswith("decoder.") and "embed" not in key]
    size = sum(weight.numel() for weight in own)
    facts = {"parameters_m": round(size / 1e6, 2), "weights_mb": round(4 * size / 1e6, 1)}
    for key, temperature, seeds in (("alpha_t0", 0.0, [0]), ("alpha_t1", 1.0, range(4))):
        options = {"gamma": 4, "temperature": temperature, "max_new_tokens": 100}
        runs = [run for seed in seeds for run in sd.speculative_generate(*pair, prompts, seed=seed, **options)]
        facts[key] = round(sum(run.overlap_sum for run in runs) / sum(run.examined for run in runs), 4)
    for key in ("own", "human"):
        missed = a1["mean_loss"](draft, a1["missed_overlap"], taught[f"held {key}"])
        facts[f"missed_overlap_{key}"] = round(missed, 4)
    return facts | {"bleu": round(a1["bleu"](draft, validation), 1)}


def untrained(a1: dict, texts: list) -> dict[int, float]:
    """What drafts of 1, 2, ... layers miss before they have learned anything."""
    drafts = {n: a1["draft_of"](a1["target"], n) for n in (1, 2, 3, 4, 6)}
    return {n: round(a1["mean_loss"](draft, a1["missed_overlap"], texts), 4) for n, draft in drafts.items()}


def train_target(a1: dict, name: str, tokens: int, width: int = 128, layers: int = 4) -> dict:
    """A small target's held-out loss. Both do the same arithmetic: weights times tokens."""
    growth, n = PARAMETERS["growth"], {stage: share * tokens for stage, share in SHARES.items()}
    torch.manual_seed(0)
    model, deep = (a1["build_t5"](width, size, size) for size in (layers, growth * layers))
    work = {"shallow": model.num_parameters(), "deep": deep.num_parameters()}
    if name != "grown":
        lighter = work["shallow"] / work["deep"]
        model, n = deep, {"short": n["short"] * lighter, "shallow": n["shallow"] * lighter + n["deep"]}
    began, total, held_out = time.process_time(), 0, a1["held_out_batches"](a1["validation"])
    stages = {"short": (2, 1e-2, 1.0), "shallow": (6, 1e-2, 0.5 if name == "grown" else 0.01), "deep": (6, 5e-3, 0.02)}
    for stage, budget in n.items():
        most, lr, floor = stages[stage]
        model = a1["grow"](model, growth) if stage == "deep" else model
        log = a1["fit"](
            model, f"{name}-{stage}", a1["stream"](a1["train"], most), a1["translation_loss"], budget, lr, floor,
            lambda model: a1["mean_loss"](model, a1["translation_loss"], held_out),
        )  # fmt: skip
        total += log[-1]["tokens"] * model.num_parameters()
    facts = {"name": name, "width": width, "layers": growth * layers, "tokens": {s: round(t) for s, t in n.items()}}
    facts |= {"weights_times_tokens": float(f"{total:.3g}"), "cpu_seconds": round(time.process_time() - began)}
    return facts | {"held_out_loss": log[-1]["validation"]}


def write_record(out: Path, about: dict) -> None:
    def found(names):
        files = [out / name / "facts.json" for name in names]
        return [json.loads(file.read_text()) for file in files if file.exists()]

    record = about | {"drafts": found(DRAFTS), "shipped": [*found(["shipped"]), None][0], "targets": found(TARGETS)}
    part = RECORD.with_suffix(f".{time.monotonic_ns()}")
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    part.replace(RECORD)


def main() -> None:
    names = ["shipped", *DRAFTS, *TARGETS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache" / "specdec-lite" / "drafts")
    parser.add_argument("--only", nargs="*", default=names, choices=names, metavar="NAME")
    parser.add_argument("--tokens", type=int, default=300_000, help="that each draft learns from, with repetition")
    parser.add_argument("--taught", type=int, default=200_000, help="different tokens in a set of lessons")
    parser.add_argument("--target-tokens", type=int, default=800_000, help="that the grown target learns from")
    parser.add_argument("--half", action="store_true", help="multiply in bfloat16: appendix A1 says where it is faster")
    parser.add_argument("--note", help="ignored: a word to find the process by")
    chosen = parser.parse_args()
    a1 = prepare(chosen.data, chosen.out, chosen.half)
    taught = lessons(a1, chosen.out, chosen.taught)
    validation = a1["read_pairs"](chosen.data / "validation.tsv.gz")[::20]
    made_on = machine()
    about = {
        "machine": f"{made_on['processor'].replace('(R)', '')}, {made_on['cores']} cores, torch {made_on['torch']}"
    }
    about |= {"date": time.strftime("%Y-%m-%d"), "tokens_trained": chosen.tokens, "lessons_tokens": chosen.taught}
    about |= {"alpha_on": "the 10 paragraphs to measure on, gamma 4, 4 seeds at T = 1", "bleu_of": len(validation)}
    for name in chosen.only:
        folder = chosen.out / name
        folder.mkdir(parents=True, exist_ok=True)
        facts = folder / "facts.json"
        if not facts.exists():
            found = {"name": name}
            if name in DRAFTS:
                draft = train_draft(a1, name, taught, chosen.tokens)
                a1["save_model"](draft, folder, a1["own"](draft))
                layers, losses, texts = DRAFTS[name]
                found |= {"decoder_layers": layers, "loss": "+".join(losses), "texts": texts}
            if name in TARGETS:
                found = train_target(a1, name, chosen.target_tokens)
            else:
                found |= measure(a1, POCKET_PAIR / "draft" if name == "shipped" else folder, taught, validation)
            if name == "shipped":
                found["bleu_target"] = round(a1["bleu"](a1["target"], validation), 1)
                found["missed_overlap_untrained"] = untrained(a1, taught["held own"])
            facts.write_text(json.dumps(found))
        write_record(chosen.out, about)


if __name__ == "__main__":
    main()
