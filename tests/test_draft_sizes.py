"""The experiments behind appendix A1: they run its own functions, and its record is of them."""

import json
from types import FunctionType

import pytest
import torch

import draft_sizes
import specdec_lite as sd
from test_drawings import draw


@pytest.fixture(scope="module")
def a1(tmp_path_factory):
    pair = sd.load_pair()
    names = {"tokenizer": pair.target.tokenizer, "target": pair.target.hf_model.requires_grad_(False)}
    names |= {"checkpoint_folder": tmp_path_factory.mktemp("checkpoints"), "half_precision": False}
    a1 = draft_sizes.recipe(draft_sizes.NOTEBOOK, **draft_sizes.PARAMETERS, **names)
    pairs = a1["read_pairs"](draft_sizes.POCKET_PAIR / "toy_pairs.tsv.gz")[:40]
    return a1 | {"pairs": a1["encode_pairs"](pairs)}


def test_the_notebook_is_read_and_nothing_of_it_is_run(a1):
    assert isinstance(a1["fit"], FunctionType) and a1["TOP"] == 64
    assert not {"train_pairs", "draft", "log", "data"} & {*a1}


@pytest.mark.parametrize("name", ["layers_1", "human_words"])
def test_a_trained_draft_is_a_draft_of_the_shipped_target(a1, name, tmp_path):
    taught = a1["taught"](a1["pairs"], 2, 300)
    lessons = {draft_sizes.BOTH: taught, draft_sizes.HUMAN: taught, "held human": taught[:1]}
    a1["fit"].__globals__["checkpoint_folder"] = tmp_path
    trained = draft_sizes.train_draft(a1, name, lessons, 100)
    a1["save_model"](trained, tmp_path / name, a1["own"](trained))
    pair = sd.load_pair(draft_sizes.POCKET_PAIR / "target", tmp_path / name)
    assert pair.draft.hf_model.config.num_decoder_layers == draft_sizes.DRAFTS[name][0]
    assert pair.draft.hf_model.get_encoder() is pair.target.hf_model.get_encoder()
    run = sd.speculative_generate(*pair, "Where is the station?", gamma=2, max_new_tokens=12, temperature=0.0)
    plain = sd.autoregressive_generate(pair.target, "Where is the station?", max_new_tokens=12, temperature=0.0)
    assert run.token_ids == plain.token_ids


def test_a_grown_layer_is_drawn_as_it_is_grown(a1):
    copies, shallow = draw.GROWN["copies"], a1["build_t5"](16, 2, 2)
    grown = a1["grow"](shallow, copies)
    for half in ("encoder", "decoder"):
        old, new = (getattr(model, half).block for model in (shallow, grown))
        assert len(new) == copies * len(old)
        for i, block in enumerate(new):
            written, before = (each.layer[-1].DenseReluDense.wo.weight for each in (block, old[i // copies]))
            assert torch.allclose(copies * written, before)


def test_what_the_drawn_draft_borrows_is_what_the_notebook_takes(a1):
    shallow, copies, layers = draw.GROWN.values()
    target, draft = a1["target"], a1["draft_of"](a1["target"], layers)
    assert target.config.num_layers == target.config.num_decoder_layers == shallow * copies
    assert copies == draft_sizes.PARAMETERS["growth"]
    own = {name for name, weight in draft.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in own} == {"decoder"}
    for name, weight in draft.named_parameters():
        assert name in own or torch.equal(weight, target.get_parameter(name))
    for block, n in zip(draft.decoder.block, draw.TAKEN, strict=True):
        mine, theirs = (each.layer[-1].DenseReluDense.wo.weight for each in (block, target.decoder.block[n - 1]))
        assert torch.allclose(mine, copies * theirs)


def test_work_is_done_once_and_shared(tmp_path):
    made = []
    files = {tmp_path / "x.pt": lambda: made.append(1) or [1]}
    assert draft_sizes.once(files) == draft_sizes.once(files) == [[1]] and made == [1]


def test_the_record_is_of_these_drafts():
    record = json.loads(draft_sizes.RECORD.read_text(encoding="utf8"))
    assert [draft["name"] for draft in record["drafts"]] == [*draft_sizes.DRAFTS]
    for draft in record["drafts"]:
        layers, losses, texts = draft_sizes.DRAFTS[draft["name"]]
        assert (draft["decoder_layers"], draft["loss"], draft["texts"]) == (layers, "+".join(losses), texts)
        assert draft["parameters_m"] == pytest.approx(1.05 * layers, abs=0.02)
        assert 0 < draft["alpha_t1"] < 1 and 0 < draft["missed_overlap_own"] < 1
