"""What the loop does besides its output: passes, caches, bookkeeping, limits, seeds."""

import math
import random

import pytest
import torch

import specdec_lite as sd
import tiny
from parity import same_logits
from reference import adjusted

SOURCES, LENGTH = tiny.sources(8, seed=2), 14


def generate(pair, source, **options):
    return sd.speculative_generate(*pair, source, **{"gamma": 3, "max_new_tokens": LENGTH, "seed": 0, **options})


@pytest.fixture
def witness():
    """A kind of cursor that keeps a record, what it had been fed after each extend and the logits it gave; all made."""
    made = []

    class Witness(sd.CachedDecoder):
        def __init__(self, *model, **options):
            super().__init__(*model, **options)
            self.fed, self.record = [], []
            made.append(self)

        def extend(self, token_ids):
            logits = super().extend(token_ids)
            self.fed += token_ids[0].tolist()
            self.record.append((list(self.fed), logits[0]))
            return logits

        def rollback(self, length):
            super().rollback(length)
            del self.fed[length:]

    return Witness, made


def planned(run, gamma: int = 3) -> list[int]:
    """How many tokens each round drafts: gamma, or what fits; also behind an EOS, which nobody reads on the way."""
    plans, written = [], 0
    for this in run.rounds:
        plans.append(min(gamma, LENGTH - written - 1))
        written += len(this.emitted)
    return plans


def what_must_be_fed(pair, run) -> tuple[list[list[int]], list[list[int]]]:
    """By Algorithm 1: before each round all tokens so far; then the draft sees all but the last of what it proposes.

    The record of a round ends at a drafted EOS. What was fed behind it may be anything.
    """
    target, draft, tokens = [], [], [pair.target.start_token]
    for this, n in zip(run.rounds, planned(run)):
        target.append(tokens + list(this.drafted))
        draft += [tokens + list(this.drafted[:i]) for i in range(n)]
        tokens = tokens + list(this.emitted)
    return target, draft


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cached_logits_equal_fresh_ones_for_both_models_in_every_round(family, dtype, temperature, witness):
    pair, (kind, cursors) = tiny.tiny_pair(family, dtype=dtype), witness
    watched = sd.Pair(*(model.with_cursor(kind) for model in pair), pair.name)
    for seed, source in enumerate(SOURCES[:3]):
        cursors.clear()
        run = generate(watched, source, temperature=temperature, seed=seed)
        assert len({cursor.hf_model for cursor in cursors}) == len(cursors) == 2
        for model, wanted in zip(pair, what_must_be_fed(pair, run)):
            (cursor,) = (c for c in cursors if c.hf_model is model.hf_model)
            assert len(cursor.record) == len(wanted)
            assert all(fed[: len(want)] == want for (fed, _), want in zip(cursor.record, wanted))
            for fed, logits in cursor.record:
                assert same_logits(logits, tiny.fresh_logits(model, source, fed)[-len(logits) :])


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_cursor_gives_fresh_logits_after_any_sequence_of_extend_and_rollback(family, dtype):
    model, rng = tiny.tiny_pair(family, dtype=dtype).target, random.Random(0)
    source, cursor, fed = SOURCES[0], model.cursor(), []
    cursor.start(model.encode(source))
    for step in range(40):
        new = [rng.randrange(tiny.VOCAB) for _ in range(rng.randint(1, 4))]
        fed += new
        assert same_logits(cursor.extend(new), tiny.fresh_logits(model, source, fed)[-len(new) :])
        keep = 0 if step % 10 == 9 else rng.randint(max(0, len(fed) - 5), len(fed))
        del fed[keep:]
        cursor.rollback(keep)
        assert cursor.length == len(fed) == cursor.cache.self_attention_cache.get_seq_length()
    assert cursor.passes == 40


@torch.no_grad()
def test_cross_attention_is_computed_once_and_never_cropped(pair):
    cursor = pair.target.cursor()
    cursor.start(pair.target.encode(SOURCES[0]))
    cursor.extend([pair.target.start_token])
    layers = cursor.cache.cross_attention_cache.layers
    first = [(layer.keys, layer.values) for layer in layers]
    assert all(keys.shape[2] == len(SOURCES[0]) for keys, _ in first)
    for keep in (1, 3, 0):
        cursor.extend([4, 5, 6])
        cursor.rollback(keep)
    assert all(layer.keys is keys and layer.values is values for layer, (keys, values) in zip(layers, first))


@torch.no_grad()
def test_cursor_can_start_over_with_another_source(pair):
    cursor = pair.target.cursor()
    for source in SOURCES[:2]:
        cursor.start(pair.target.encode(source))
        assert same_logits(cursor.extend([3, 4]), tiny.fresh_logits(pair.target, source, [3, 4]))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_encoder_run_a_model_and_one_target_pass_a_round(pair, temperature):
    for seed, source in enumerate(SOURCES):
        with tiny.counted(*pair) as (target, draft):
            run = generate(pair, source, temperature=temperature, seed=seed)
        assert (target["encoder"], draft["encoder"]) == (1, 1)
        assert target["decoder"] == run.target_passes == len(run.rounds)
        assert draft["decoder"] == run.draft_passes == sum(planned(run))


def test_plain_decoding_takes_one_encoder_run_and_one_pass_a_token(pair):
    with tiny.counted(pair.target) as (counts,):
        run = sd.autoregressive_generate(pair.target, SOURCES[0], max_new_tokens=LENGTH, seed=0)
    assert counts == {"encoder": 1, "decoder": len(run.token_ids)} and run.target_passes == len(run.token_ids)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [1, 4])
def test_draft_equal_to_target_is_always_accepted(pair, temperature, gamma):
    for seed, source in enumerate(SOURCES):
        run = sd.speculative_generate(
            pair.target, pair.target, source, gamma=gamma, max_new_tokens=LENGTH, temperature=temperature, seed=seed
        )
        assert run.examined == 0 or run.alpha >= 1 - 1e-5
        assert all(len(r.emitted) == gamma + 1 for r in run.rounds[:-1])


@pytest.mark.parametrize("length", [1, 2, 7, LENGTH])
@pytest.mark.parametrize("gamma", [0, 1, 5, 20])
def test_nothing_follows_eos_and_the_limit_is_never_exceeded(pair, gamma, length):
    for seed, source in enumerate(SOURCES[:4]):
        run = generate(pair, source, gamma=gamma, max_new_tokens=length, seed=seed)
        assert 1 <= len(run.token_ids) <= length
        assert tiny.EOS not in run.token_ids[:-1]
        assert len(run.token_ids) == length or run.token_ids[-1] == tiny.EOS
        assert all(tiny.EOS not in r.drafted[:-1] and len(r.drafted) <= gamma for r in run.rounds)


def test_rounds_add_up_to_the_generation(pair):
    for seed, source in enumerate(SOURCES):
        run = generate(pair, source, seed=seed)
        assert [token for r in run.rounds for token in r.emitted] == run.token_ids
        assert len(run.origins) == len(run.pieces) == len(run.token_ids)
        assert run.accepted == run.origins.count("accepted")
        assert run.tokens_per_target_pass == len(run.token_ids) / len(run.rounds)
        for r in run.rounds:
            refused = r.source == "residual"
            assert r.examined == len(r.overlaps) == r.n_accepted + refused
            assert r.n_accepted < len(r.drafted) if refused else r.n_accepted == len(r.drafted)
            assert all(0 <= overlap <= 1 + 1e-6 for overlap in r.overlaps)


def test_alpha_and_acceptance_rate_of_rounds_made_by_hand():
    rounds = [
        sd.Round((5, 6, 7), 1, 8, "residual", 2, (0.75, 0.25)),  # the third draft was never looked at
        sd.Round((5, 6), 2, 9, "bonus", 2, (1.0, 0.5)),
        sd.Round((5, 1), 2, None, None, 2, (0.5, 1.0)),  # ends in an accepted EOS
    ]
    run = sd.Generation(token_ids=[5, 8, 5, 6, 9, 5, 1], rounds=rounds, target_passes=3)
    assert [r.emitted for r in rounds] == [(5, 8), (5, 6, 9), (5, 1)]
    assert (run.accepted, run.examined, run.overlap_sum) == (5, 6, 4.0)
    assert run.alpha == 4 / 6 and run.acceptance_rate == 5 / 6 and run.tokens_per_target_pass == 7 / 3
    assert run.origins == ["accepted", "residual", "accepted", "accepted", "bonus", "accepted", "accepted"]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_draft_is_held_to_what_the_checkpoint_forces_and_forbids(family):
    """It would be lossless without, but drafts that the target must refuse are wasted."""
    settings = {"forced_bos_token_id": 9, "forced_eos_token_id": tiny.EOS, "suppress_tokens": [10, 11, 12, 13]}
    pair = tiny.tiny_pair(family, **settings)
    runs = [generate(pair, source, seed=seed) for seed, source in enumerate(SOURCES)]
    drafted = [token for run in runs for r in run.rounds for token in r.drafted]
    assert not {10, 11, 12, 13} & set(drafted)
    assert all(run.rounds[0].drafted[0] == 9 and run.rounds[0].n_accepted >= 1 for run in runs)
    assert all(run.token_ids[-1] == tiny.EOS for run in runs)


def test_alpha_is_nan_when_nothing_was_examined(pair):
    run = generate(pair, SOURCES[0], gamma=0)
    assert math.isnan(run.alpha) and math.isnan(run.acceptance_rate) and set(run.origins) == {"bonus"}


def test_overlaps_are_those_of_the_adjusted_distributions(pair):
    rule = sd.SamplingRule(temperature=0.7, top_k=8, top_p=0.9)
    run = generate(pair, SOURCES[1], temperature=0.7, top_k=8, top_p=0.9)
    tokens = [pair.target.start_token]
    for r in run.rounds:
        context = [*tokens, *r.drafted]
        rows = [tiny.fresh_logits(model, SOURCES[1], context)[len(tokens) - 1 :].tolist() for model in pair]
        for i, overlap in enumerate(r.overlaps):
            p, q = (adjusted(logits[i], rule) for logits in rows)
            assert overlap == pytest.approx(sum(map(min, p, q)), abs=1e-4)
        tokens += r.emitted


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_recorded_probs_are_the_targets_in_the_emitted_context(pair, temperature):
    rule = sd.SamplingRule(temperature)
    run = generate(pair, SOURCES[2], temperature=temperature, record_probs=True)
    logits = tiny.fresh_logits(pair.target, SOURCES[2], [pair.target.start_token, *run.token_ids[:-1]])
    assert run.target_probs.shape == (len(run.token_ids), tiny.VOCAB)
    assert torch.allclose(run.target_probs, rule.probs(logits), atol=1e-5)
    assert generate(pair, SOURCES[2], temperature=temperature).target_probs is None


def test_an_integer_seed_reproduces_the_output_and_leaves_torch_alone(pair):
    before = torch.get_rng_state()
    runs = [generate(pair, SOURCES[0], seed=7).token_ids for _ in range(2)]
    sd.autoregressive_generate(pair.target, SOURCES[0], max_new_tokens=LENGTH, seed=7)
    assert runs[0] == runs[1] and torch.equal(torch.get_rng_state(), before)
    assert len({tuple(generate(pair, SOURCES[0], seed=seed).token_ids) for seed in range(8)}) > 4


def test_no_seed_goes_on_from_the_state_of_torch_and_never_resets_it(pair):
    def three():
        torch.manual_seed(11)
        return [generate(pair, SOURCES[0], seed=None).token_ids for _ in range(3)], torch.get_rng_state()

    (first, after), (second, _) = three(), three()
    assert first == second, "not reproducible from torch's own state"
    assert len(set(map(tuple, first))) > 1, "each call gives the same"
    torch.manual_seed(11)
    for _ in range(3):
        torch.randint(2**62, ())  # all that a call takes
    assert torch.equal(torch.get_rng_state(), after)


def test_a_proposer_can_serve_many_sequences(pair):
    drafter = sd.DraftModel(pair.draft)
    for source in SOURCES[:3]:
        again = sd.speculative_generate(pair.target, drafter, source, gamma=3, max_new_tokens=LENGTH, seed=0)
        once = generate(pair, source)
        assert again.token_ids == once.token_ids and again.draft_passes == once.draft_passes


def test_recorded_probabilities_can_be_computed_with_like_any_tensor(pair):
    for run in (
        sd.autoregressive_generate(pair.target, tiny.sources(1)[0], max_new_tokens=4, seed=0, record_probs=True),
        sd.speculative_generate(*pair, tiny.sources(1)[0], max_new_tokens=4, seed=0, record_probs=True),
    ):
        weights = torch.ones(tiny.VOCAB, requires_grad=True)
        (run.target_probs @ weights).sum().backward()
        assert torch.allclose(weights.grad, run.target_probs.sum(0)) and not run.target_probs.is_inference()
