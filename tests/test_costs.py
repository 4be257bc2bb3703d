"""What the steps cost: the prediction that rests on it, and the measurement."""

import math
import time
from dataclasses import replace

import pytest

import specdec_lite as sd
import tiny
from specdec_lite.costs import Costs

COSTS = Costs(c=0.2, catch_up=0.0, v={0: 1.0, 1: 1.1, 4: 1.3}, target_start=0.0, draft_start=0.0, step_seconds=0.01)


def test_step_weights_are_those_of_the_decoder_and_its_head():
    """Per layer: four square matrices, cross-attention's two, and two of the feed-forward part."""
    model = tiny.tiny_pair("t5").target
    layer = 6 * tiny.WIDTH**2 + 2 * tiny.WIDTH * 2 * tiny.WIDTH
    matrices = sd.step_weights(model, tiny.sources(1)[0])
    assert sum(matrix.numel() for matrix in matrices) == 2 * layer + tiny.VOCAB * tiny.WIDTH


def test_a_prediction_sums_the_times_of_all_texts():
    seconds = [n / sd.finite_walltime_factor(0.8, 4, 0.2, 1.3, n) for n in (3, 20)]
    assert COSTS.predict(0.8, 4, [3, 20]) == pytest.approx(23 / sum(seconds))
    assert COSTS.predict(0.8, 0, [3, 20]) == pytest.approx(1.0)
    assert COSTS.predict(0.8, 4, [3, 20], limit=20) > COSTS.predict(0.8, 4, [3, 20], limit=64)  # one knows its end
    assert COSTS.predict(0.8, 4, [3, 20], limit=64) == COSTS.predict(0.8, 4, [3, 20])


def test_catching_up_costs_where_rounds_are_fully_accepted():
    slow = replace(COSTS, catch_up=0.12)
    assert slow.predict(1.0, 4, [40]) == pytest.approx(replace(COSTS, c=0.23).predict(1.0, 4, [40]))
    assert slow.predict(0.5, 1, [40]) == pytest.approx(replace(COSTS, c=0.26).predict(0.5, 1, [40]))
    assert slow.predict(0.0, 4, [40]) == COSTS.predict(0.0, 4, [40])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_cost_is_measured(family):
    costs = sd.measure_costs(tiny.tiny_pair(family), tiny.sources(2), [0, 1, 4], repeats=2)
    assert costs.v[0] == 1.0 and set(costs.v) == {0, 1, 4}
    assert min(costs.c, *costs.v.values(), costs.step_seconds) > 0
    assert min(costs.catch_up, costs.target_start, costs.draft_start) >= 0


def test_a_slow_draft_shows_in_c_and_a_slow_wide_pass_in_v():
    pair = tiny.tiny_pair()

    class Slow(sd.CachedDecoder):
        def forward(self, rows):
            if self.hf_model is pair.draft.hf_model or rows.shape[1] == 5:
                time.sleep(0.1)
            return super().forward(rows)

    slow = sd.Pair(*(model.with_cursor(Slow) for model in pair), pair.name)
    costs = sd.measure_costs(slow, tiny.sources(1), [1, 4], repeats=1)
    assert costs.c > 2 and costs.v[4] > 2 * costs.v[1]


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"pair": "pocket"}, TypeError, "pair=str: expected a Pair"),
        ({"prompts": "a text"}, ValueError, "prompts='a text': expected a list"),
        ({"prompts": []}, ValueError, r"prompts=\[\]: expected a list"),
        ({"gammas": 4}, ValueError, "gammas=4: expected a list"),
        ({"gammas": []}, ValueError, r"gammas=\[\]: expected a list"),
        ({"gammas": [1, -1]}, ValueError, "gammas=-1: expected an integer >= 0"),
        ({"gammas": [2.5]}, TypeError, "gammas=2.5: expected an integer"),
        ({"repeats": 0}, ValueError, "repeats=0: expected an integer >= 1"),
        ({"temperature": -1}, ValueError, "temperature=-1"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens=0"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"max_new_tokens": 1}, ValueError, "prompts=.*expected some whose outputs have two tokens or more"),
    ],
)
def test_a_wrong_argument_is_named(t5_pair, wrong, error, said):
    given = {"pair": t5_pair, "prompts": tiny.sources(1), "gammas": [2]} | wrong
    with pytest.raises(error, match=f"^{said}"):
        sd.measure_costs(**given)


@pytest.mark.parametrize("missing", [{"alpha": float("nan")}, {"c": float("nan")}, {"v": {4: float("nan")}}])
def test_a_prediction_without_its_numbers_is_none(missing):
    alpha = missing.pop("alpha", 0.8)
    assert math.isnan(replace(COSTS, **missing).predict(alpha, 4, [20]))


def test_gamma_has_no_end_but_that_of_the_text(t5_pair):
    """A gamma of a hundred thousand drafts what still fits, and is timed as such."""
    costs = sd.measure_costs(t5_pair, tiny.sources(1), [100_000], repeats=1, max_new_tokens=6, temperature=0.0)
    assert costs.v[100_000] > 0
