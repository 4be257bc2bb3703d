"""A list of sources: every row gets what it would get alone, whatever its neighbours do."""

import pytest
import torch

import specdec_lite as sd
import tiny
from parity import same_logits

SOURCES, LENGTH = tiny.sources(8, seed=2), 20
ENDS = {"eos_token_id": [tiny.EOS, 2, 9, 17, 20, 26]}  # several, so that texts differ in length
SEEDS = [sd.row_seed(3, i) for i in range(8)]
families = pytest.mark.parametrize("family", [*tiny.FAMILIES, "whisper"])
temperatures = pytest.mark.parametrize("temperature", [0.0, 1.0])


def sources(family: str) -> list:
    if family != "whisper":
        return SOURCES
    generator = torch.Generator().manual_seed(1)
    return [{"input_features": torch.randn(1, 8, 40, generator=generator, dtype=torch.float64)} for _ in SOURCES]


def facts(run: sd.Generation) -> tuple:
    return run.token_ids, [(r.drafted, r.n_accepted, r.next_token, r.source, r.examined) for r in run.rounds], run.text


@families
@temperatures
@pytest.mark.parametrize("gamma", [0, 1, 3, 8])
def test_every_row_is_what_it_is_alone(family, temperature, gamma):
    pair = tiny.tiny_pair(family, dtype=torch.float64, **ENDS)
    options = {"temperature": temperature, "max_new_tokens": LENGTH}
    given = sources(family)
    many = sd.speculative_generate(*pair, given, gamma=gamma, seed=3, **options)
    alone = [
        sd.speculative_generate(*pair, source, gamma=gamma, seed=seed, **options) for source, seed in zip(given, SEEDS)
    ]
    assert list(map(facts, many)) == list(map(facts, alone))
    for row, single in zip(many, alone):
        assert row.overlap_sum == pytest.approx(single.overlap_sum, abs=1e-9) and row.batch_size == 8
    assert len({len(run.token_ids) for run in many}) > 1  # they leave at different times


@families
@pytest.mark.parametrize("rule", [sd.BlockRule(), sd.TokenRule(lenience=0.5), sd.CoupledRule()], ids=repr)
def test_every_row_is_what_it_is_alone_under_every_rule(family, rule):
    pair = tiny.tiny_pair(family, dtype=torch.float64, **ENDS)
    options, given = {"gamma": 3, "max_new_tokens": LENGTH, "verification": rule}, sources(family)
    many = sd.speculative_generate(*pair, given, seed=3, **options)
    alone = [sd.speculative_generate(*pair, source, seed=seed, **options) for source, seed in zip(given, SEEDS)]
    assert list(map(facts, many)) == list(map(facts, alone))


@families
@temperatures
def test_plain_rows_are_what_they_are_alone(family, temperature):
    pair = tiny.tiny_pair(family, dtype=torch.float64, **ENDS)
    options = {"temperature": temperature, "max_new_tokens": LENGTH}
    given = sources(family)
    many = sd.autoregressive_generate(pair.target, given, seed=3, **options)
    alone = [sd.autoregressive_generate(pair.target, s, seed=seed, **options) for s, seed in zip(given, SEEDS)]
    assert list(map(facts, many)) == list(map(facts, alone))
    assert [run.target_passes for run in many] == [len(run.token_ids) for run in many]


def test_a_row_that_is_far_ahead_sits_out_and_its_text_is_the_same():
    pair = tiny.tiny_pair("t5", dtype=torch.float64)
    # With the target as its own draft nothing is refused; a poor draft for one row would hold all others up.
    many = sd.speculative_generate(*pair, SOURCES, gamma=1, max_new_tokens=40, seed=3)
    waited = [run.target_passes - len(run.rounds) for run in many]
    assert min(waited) == 0 < max(waited)


def test_a_row_depends_on_its_seed_and_not_on_its_neighbours(pair):
    options = {"gamma": 3, "max_new_tokens": LENGTH}
    first = sd.speculative_generate(*pair, SOURCES[:4], seed=[11, 12, 13, 14], **options)
    other = sd.speculative_generate(*pair, [SOURCES[7], SOURCES[2], SOURCES[6]], seed=[5, 13, 9], **options)
    assert first[2].token_ids == other[1].token_ids
    assert first[2].token_ids == sd.speculative_generate(*pair, SOURCES[2], seed=13, **options).token_ids


def test_the_seeds_of_rows_are_public():
    assert sd.row_seed(7, 0) == 7 and len({sd.row_seed(7, i) for i in range(1000)}) == 1000


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_recorded_probs_are_the_targets_in_every_row(pair, temperature):
    rule = sd.SamplingRule(temperature)
    options = {"temperature": temperature, "max_new_tokens": LENGTH, "record_probs": True, "seed": 3}
    for runs in (
        sd.speculative_generate(*pair, SOURCES[:4], gamma=3, **options),
        sd.autoregressive_generate(pair.target, SOURCES[:4], **options),
    ):
        for source, run in zip(SOURCES, runs):
            logits = tiny.fresh_logits(pair.target, source, [*pair.target.prompt, *run.token_ids[:-1]])
            assert run.target_probs.shape == (len(run.token_ids), tiny.VOCAB)
            assert torch.allclose(run.target_probs, rule.probs(logits), atol=1e-5)


def test_passes_are_counted_while_a_row_is_open(pair):
    with tiny.counted(*pair) as (target, draft):
        runs = sd.speculative_generate(*pair, SOURCES, gamma=3, max_new_tokens=LENGTH, seed=3)
    assert max(run.target_passes for run in runs) == target["decoder"]
    assert max(run.draft_passes for run in runs) == draft["decoder"]
    assert len({run.target_passes for run in runs}) > 1
    assert target["encoder"] == len({len(source) for source in SOURCES})  # rows of one length are read together
    assert len({run.seconds for run in runs}) == 1


class Witness(sd.CachedDecoder):
    """Remembers which rows it was asked to keep."""

    made: list = []  # noqa: RUF012

    def __init__(self, *model, **options):
        super().__init__(*model, **options)
        self.selected, self.widths = [], []
        self.made.append(self)

    def select(self, rows):
        super().select(rows)
        self.selected.append(len(rows))

    def extend(self, token_ids):
        self.widths.append(token_ids.shape[1])
        return super().extend(token_ids)


def test_finished_rows_leave_and_no_pass_is_wider_than_two_gamma_and_one(pair):
    Witness.made.clear()
    watched = sd.Pair(*(model.with_cursor(Witness) for model in pair), pair.name)
    sd.speculative_generate(*watched, SOURCES, gamma=2, max_new_tokens=30, seed=3)
    for cursor in Witness.made:
        assert cursor.selected and cursor.selected == sorted(set(cursor.selected), reverse=True)
        assert max(cursor.widths) <= 2 * 2 + 1


@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.no_grad()
def test_a_cursor_of_many_rows_gives_fresh_logits_in_each(family):
    model = tiny.tiny_pair(family, dtype=torch.float64).target
    cursor, tokens = model.cursor(), torch.tensor([[0, 4, 5, 6], [0, 9, 8, 7], [0, 3, 3, 4]])
    cursor.start(model.source(SOURCES[:3]))
    cursor.extend(tokens[:, :2])
    cursor.extend(tokens[:, [3, 3]])
    cursor.rollback(2)
    cursor.select([2, 0])
    logits = cursor.extend(tokens[[2, 0], 2:])
    for row, i in enumerate([2, 0]):
        assert same_logits(logits[row], tiny.fresh_logits(model, SOURCES[i], tokens[i])[2:])


def test_masked_rows_and_others_go_together():
    pair, options = tiny.tiny_pair("bart", dtype=torch.float64), {"temperature": 0.0, "max_new_tokens": LENGTH}
    masked = {"input_ids": torch.tensor([[5, 6, 7, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}
    many = sd.speculative_generate(*pair, [masked, [5, 6, 7], SOURCES[0]], **options)
    assert many[0].token_ids == many[1].token_ids
    assert many[2].token_ids == sd.speculative_generate(*pair, SOURCES[0], **options).token_ids


def test_texts_are_a_batch_and_one_source_may_be_alone_in_its_list():
    pair = tiny.tiny_pair(tokenizer=tiny.tokenizer())
    options = {"temperature": 0.0, "max_new_tokens": 8}
    alone = sd.speculative_generate(*pair, "w5 w6", **options)
    for batch in (["w5 w6"], ("w5 w6",)):
        (run,) = sd.speculative_generate(*pair, batch, **options)
        assert run.token_ids == alone.token_ids


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("settings", [{}, {"min_length": 9, "suppress_tokens": [5], "forced_bos_token_id": 7}])
@pytest.mark.parametrize("verification", ["token", "block", "coupled"])
def test_two_reads_from_the_device_a_round_at_most(reads, rows, settings, verification):
    """Of our own: where a batch hides padding of its sources, transformers looks at the mask in every pass, too."""
    pair, counts = tiny.tiny_pair("t5", **settings), {}
    same_length = [source[:3] for source in SOURCES[:rows]]
    for length in (6, 26):
        reads.clear()
        options = {"gamma": 4, "max_new_tokens": length, "seed": 0, "verification": verification}
        runs = sd.speculative_generate(*pair, same_length, **options)
        counts[length] = len(reads), max(run.target_passes for run in runs)
    (few, some), (many, more) = counts.values()
    assert more > some and many - few <= 2 * (more - some), counts


@pytest.mark.parametrize(
    ("source", "said"),
    [([], "empty list"), ([[5, 6], []], "empty list"), ([[5], [6, 99]], "99"), ([[5], 3], "3"), ([[5], None], "None")],
)
def test_a_bad_batch_is_refused(pair, source, said):
    with tiny.counted(*pair) as counts, pytest.raises((ValueError, TypeError), match=f"source.*{said}.*expected"):
        sd.speculative_generate(*pair, source)
    assert not any(counts)


def test_seeds_must_be_as_many_as_rows(pair):
    with pytest.raises(ValueError, match=r"seed=\[1, 2\]: expected one integer, or a list of 3"):
        sd.speculative_generate(*pair, SOURCES[:3], seed=[1, 2])
