"""What drafts of several shapes cost beside the pocket pair's target: the c and v that chapter 9 shows as recorded.

    python benchmarks/draft_costs.py            a minute on two quiet cores; writes notebooks/recorded/draft_costs.json

Time does not depend on what the weights are, so a draft of k layers needs no training: its decoder is random. All is
timed inside the loops, by `sd.measure_costs`, at temperature 0.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import specdec_lite as sd
from bench import machine

RECORD = Path(__file__).parents[1] / "notebooks" / "recorded" / "draft_costs.json"
GAMMAS = (1, 2, 3, 4, 6, 8, 12, 16)
LAYERS = (1, 2, 3, 4, 6, 8)
HEADS = (500, 1000, 2000, 4000)


def random_draft(target: sd.Seq2Seq, layers: int) -> sd.Seq2Seq:
    """The target's encoder, and a random decoder of so many layers of the target's width."""
    config = copy.deepcopy(target.hf_model.config)
    config.num_layers, config.num_decoder_layers = 1, layers
    torch.manual_seed(0)
    model = type(target.hf_model)(config)
    model.encoder = target.hf_model.get_encoder()
    model.generation_config = copy.deepcopy(target.hf_model.generation_config)
    return sd.Seq2Seq(model, target.tokenizer)


def with_own_encoder(draft: sd.Seq2Seq) -> sd.Seq2Seq:
    """The same draft with a copy of the encoder, which has to be run for itself."""
    own = copy.copy(draft)
    own.hf_model = copy.deepcopy(draft.hf_model)
    return own


def measure(pair: sd.Pair, texts: Sequence[str], repeats: int) -> dict:
    """c, v and the price of an encoder, in plain steps of the target."""

    def costs(draft: sd.Seq2Seq, gammas=(4,)):
        options = {"temperature": 0.0, "repeats": repeats, "max_new_tokens": 32}
        return sd.measure_costs(sd.Pair(pair.target, draft, pair.name), texts, gammas, **options)

    pocket, own = costs(pair.draft, GAMMAS), costs(with_own_encoder(pair.draft))
    layers = {n: costs(random_draft(pair.target, n)).c for n in LAYERS}
    heads = {n: costs(sd.truncate_head(pair.draft, range(n))).c for n in HEADS}
    found = {"step_ms": 1000 * pocket.step_seconds, "c": pocket.c, "own_encoder": own.draft_start - pocket.draft_start}
    found |= {"v": {0: 1.0, **pocket.v}, "c_of_layers": layers, "c_of_head": heads}
    return json.loads(json.dumps(found), parse_float=lambda number: round(float(number), 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RECORD)
    chosen = parser.parse_args()
    about = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    found = about | measure(sd.load_pair(), sd.load_prompts()["measure"][: chosen.texts], chosen.repeats)
    chosen.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    print(chosen.out.read_text(encoding="utf8"))


if __name__ == "__main__":
    main()
