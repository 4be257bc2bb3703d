"""By how many points of BLEU is the pocket target better than its draft alone? With an interval, by paired bootstrap.

    python benchmarks/bleu_gap.py DATA          a folder with validation.tsv.gz, as appendix A1 makes it; two minutes

Both translate the held-out sentences greedily. Then 1,000 times as many sentences are drawn with replacement, the same
ones for both, and the two BLEUs are taken of these.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from sacrebleu.metrics import BLEU

import specdec_lite as sd
from draft_sizes import NOTEBOOK, recipe

RECORD = Path(__file__).parents[1] / "notebooks" / "recorded" / "bleu_gap.json"
DRAWS, SEED = 1000, 0


def statistics(model, references: dict[str, list[str]], greedy) -> np.ndarray:
    """For each sentence the counts that BLEU adds up."""
    sources, texts = list(references), []
    with torch.inference_mode():
        for start in range(0, len(sources), 64):
            texts += greedy(model, sources[start : start + 64])
    streams = [list(each) for each in zip_longest(*references.values())]
    metric = BLEU()
    return np.array(metric._extract_corpus_statistics(texts, streams))


def bleu(counts: np.ndarray) -> float:
    return BLEU()._compute_score_from_stats([int(count) for count in counts]).score


def main() -> None:
    pair = sd.load_pair()
    a1 = recipe(NOTEBOOK, tokenizer=pair.target.tokenizer, device="cpu")
    references: dict[str, list[str]] = {}
    for english, german in a1["read_pairs"](Path(sys.argv[1]) / "validation.tsv.gz"):
        references.setdefault(english, []).append(german)
    references = {source: references[source] for source in sorted(references, key=len)}
    big, small = (statistics(model.hf_model, references, a1["greedy"]) for model in pair)
    random, gaps = np.random.default_rng(SEED), []
    for _ in range(DRAWS):
        drawn = random.integers(len(big), size=len(big))
        gaps += [bleu(big[drawn].sum(0)) - bleu(small[drawn].sum(0))]
    found = {"sentences": len(big), "draws": DRAWS, "date": time.strftime("%Y-%m-%d")}
    found |= {"target": round(bleu(big.sum(0)), 2), "draft": round(bleu(small.sum(0)), 2)}
    found |= {"gap_95": [round(each, 2) for each in np.percentile(gaps, [2.5, 97.5])]}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    print(found)


if __name__ == "__main__":
    main()
