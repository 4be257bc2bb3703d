"""What drafts cost: the shapes that are timed, and the record that chapter 9 reads."""

import json

import pytest

import draft_costs
import specdec_lite as sd

TEXT = "Tom was late for his train this morning."
OPTIONS = {"temperature": 0.0, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def pocket():
    return sd.load_pair()


@pytest.mark.parametrize("layers", [1, 3])
def test_a_random_draft_has_its_layers_and_the_target_s_encoder(pocket, layers):
    draft = draft_costs.random_draft(pocket.target, layers)
    assert len(draft.hf_model.get_decoder().block) == layers
    assert draft.hf_model.get_encoder() is pocket.target.hf_model.get_encoder()
    run = sd.speculative_generate(pocket.target, draft, TEXT, gamma=2, **OPTIONS)
    assert run.token_ids == sd.autoregressive_generate(pocket.target, TEXT, **OPTIONS).token_ids


def test_an_encoder_of_its_own_changes_the_price_and_no_guess(pocket):
    own = draft_costs.with_own_encoder(pocket.draft)
    assert own.hf_model.get_encoder() is not pocket.target.hf_model.get_encoder()
    assert pocket.draft.hf_model.get_encoder() is pocket.target.hf_model.get_encoder()
    one, other = (sd.speculative_generate(pocket.target, draft, TEXT, **OPTIONS) for draft in (pocket.draft, own))
    assert one.rounds == other.rounds


def test_the_record_has_every_shape_and_prices_that_rise_with_the_work():
    record = json.loads(draft_costs.RECORD.read_text(encoding="utf8"))
    assert {"machine", "date", "step_ms", "c", "own_encoder"} <= {*record}
    assert [*record["v"]] == [str(gamma) for gamma in (0, *draft_costs.GAMMAS)] and record["v"]["0"] == 1
    layers = [record["c_of_layers"][str(n)] for n in draft_costs.LAYERS]
    assert layers == sorted(layers) and 0 < layers[0] < layers[-1] < 1
    assert [*record["c_of_head"]] == [str(n) for n in draft_costs.HEADS]
