"""The coupled rule: for one seed one text, whatever drafts; and each token has the target's distribution."""

import math

import pytest
import torch

import specdec_lite as sd
import tiny
from mutations import chi_square
from test_drafts import DRAFTS
from test_proposers import Uniform
from test_rules import judge

LENGTH, SOURCE = 14, [5, 6, 7]
P, Q = (torch.tensor(row, dtype=torch.float64) for row in ((0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4)))
SAMPLES = 10_000


class Stubborn(Uniform):
    """Proposes with random numbers of its own."""

    def propose(self, texts, plan, adjustment, draws):
        return super().propose(texts, plan, adjustment, sd.Draws(99))


class NoiseTwice(sd.CoupledDraws):
    """Wrong: guess and residual token are drawn with the same noise, and a coin stands between them."""

    def seen(self, p, texts):
        return p


def check_grid(family, seeds, gammas, batch, **sampling):
    """Plain and speculative texts are equal for every seed, draft and gamma, in a batch or one by one."""
    pair = tiny.tiny_pair(family, dtype=torch.float64)
    other = tiny.tiny_pair("bart" if family == "t5" else "t5", seed=9, dtype=torch.float64).draft
    options = {"max_new_tokens": LENGTH, "verification": "coupled", **sampling}
    calls = [([SOURCE] * len(seeds), list(seeds))] if batch else [(SOURCE, seed) for seed in seeds]
    accepted, texts = dict.fromkeys(("draft", "other", "stubborn"), 0), set()
    for source, seed in calls:
        plain = sd.autoregressive_generate(pair.target, source, seed=seed, **options)
        wanted = [run.token_ids for run in (plain if batch else [plain])]
        texts |= {*map(tuple, wanted)}
        for name, draft in zip(accepted, (pair.draft, other, Stubborn())):
            for gamma in gammas:
                runs = sd.speculative_generate(pair.target, draft, source, gamma=gamma, seed=seed, **options)
                runs = runs if batch else [runs]
                assert [run.token_ids for run in runs] == wanted, (name, gamma)
                accepted[name] += sum(run.accepted for run in runs)
    assert accepted["draft"] > 2 * accepted["other"]
    if batch:
        assert min(accepted.values()) > 0 and len(texts) > 0.9 * len(seeds)


@pytest.mark.parametrize(("family", "batch"), [("t5", False), ("bart", True)], ids=["t5-alone", "bart-batch"])
def test_one_seed_one_text(family, batch):
    check_grid(family, range(40) if batch else range(4), (1, 3, 7), batch)


@pytest.mark.long
@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("batch", [False, True], ids=["alone", "batch"])
def test_one_seed_one_text_for_200_seeds(family, batch):
    check_grid(family, range(200), (1, 3, 7), batch)


def test_one_seed_one_text_with_temperature_top_k_and_top_p():
    check_grid("t5", range(20), (3,), True, temperature=1.3, top_k=20, top_p=0.95)


@pytest.mark.parametrize("name", DRAFTS)
def test_one_seed_one_text_whatever_kind_of_draft(name):
    pair = tiny.tiny_pair(dtype=torch.float64)
    options = {"max_new_tokens": LENGTH, "verification": "coupled", "seed": [4, 5]}
    plain = sd.autoregressive_generate(pair.target, [SOURCE] * 2, **options)
    references = [[*SOURCE, *run.token_ids[3:10]] for run in plain]
    runs = sd.speculative_generate(pair.target, DRAFTS[name](pair.draft, references), [SOURCE] * 2, **options)
    assert [run.token_ids for run in runs] == [run.token_ids for run in plain]
    assert any(r.drafted for run in runs for r in run.rounds)


def test_a_row_is_what_it_is_alone_and_rows_differ():
    pair, options = tiny.tiny_pair(dtype=torch.float64), {"max_new_tokens": LENGTH, "verification": "coupled"}
    many = sd.speculative_generate(*pair, [SOURCE] * 5, seed=3, **options)
    for row, run in enumerate(many):
        alone = sd.speculative_generate(*pair, SOURCE, seed=sd.row_seed(3, row), gamma=2, **options)
        assert alone.token_ids == run.token_ids
    assert len({tuple(run.token_ids) for run in many}) == 5


def test_nothing_is_refused_if_the_target_is_its_own_draft():
    target = tiny.tiny_pair(dtype=torch.float64).target
    runs = sd.speculative_generate(target, target, [SOURCE] * 4, gamma=3, verification="coupled", seed=1)
    assert all(r.n_accepted == len(r.drafted) for run in runs for r in run.rounds)


def test_at_temperature_0_it_is_greedy(pair):
    for source in tiny.sources(4):
        options = {"temperature": 0.0, "max_new_tokens": LENGTH}
        greedy = sd.autoregressive_generate(pair.target, source, **options)
        for seed in (0, 1):
            run = sd.speculative_generate(*pair, source, verification="coupled", seed=seed, **options)
            assert run.token_ids == greedy.token_ids


def test_alpha_and_recorded_probs_are_of_p_and_q_as_they_were():
    """Not of the one-hots that the rule compares."""
    pair = tiny.tiny_pair(dtype=torch.float64)
    run = sd.speculative_generate(
        *pair, SOURCE, gamma=3, verification="coupled", record_probs=True, max_new_tokens=LENGTH, seed=1
    )
    rows = [
        sd.SamplingRule().probs(tiny.fresh_logits(m, SOURCE, [*m.prompt, *run.token_ids[:-1]])) for m in pair
    ]  # p and q behind every emitted token
    assert torch.allclose(run.target_probs, rows[0], atol=1e-9)
    overlaps, here = sd.overlap(*rows).tolist(), 0
    for r in run.rounds:
        assert r.overlaps == pytest.approx(overlaps[here : here + r.examined], abs=1e-9)
        here += len(r.emitted)
    assert 0.1 < run.alpha < 0.99


def drawn(draws, p=P, q=Q, rule=None):
    """What one guess and its check emit, in as many rows as there are samples, and how often the guess was kept."""
    texts = [sd.Text([0], frozenset(), 9, row) for row in range(SAMPLES)]
    drafted = draws.guesses(q.expand(SAMPLES, -1), texts, 0)[:, None]
    q_rows = torch.stack([q, torch.zeros_like(q)]).expand(SAMPLES, -1, -1)
    p_rows = p.expand(SAMPLES, 2, -1)
    out, cut = judge(rule or sd.TokenRule(), p_rows, q_rows, drafted, texts=texts, draws=draws)
    counts = torch.tensor([tokens[0] for tokens in out]).bincount(minlength=len(p))
    return dict(enumerate(counts.tolist())), float(cut.double().mean())


def agreement(p, q):
    """How often two draws with the same noise agree: the sum over x of 1/sum_y max(p_y/p_x, q_y/q_x)."""
    p, q = p.tolist(), q.tolist()
    return sum(1 / sum(max(a / p_x, b / q_x) for a, b in zip(p, q)) for p_x, q_x in zip(p, q))


def power(law, wrong, samples, freedom):
    """How likely Pearson's test (limit as in `chi_square`) catches samples of a wrong law: a noncentral chi-square.

    That is a mixture over k of central ones with freedom + 2 k degrees, k being Poisson of mean lambda/2.
    """
    half = samples * sum((wrong[x] - law[x]) ** 2 / law[x] for x in law) / 2
    limit = chi_square({0: 1}, law)[1]
    below = 0.0
    for k in range(int(half + 20 * math.sqrt(half) + 50)):
        weight = math.exp(k * math.log(half) - half - math.lgamma(k + 1))
        below += weight * float(
            torch.special.gammainc(torch.tensor(freedom / 2 + k).double(), torch.tensor(limit / 2).double())
        )
    return 1 - below


def test_one_step_has_the_targets_distribution_and_noise_used_twice_has_not():
    """The wrong one is off by a total variation of 0.033, all of it between the first two tokens.

    With 10,000 samples a limit that right samples exceed once in 100,000 misses it twice in 1,000.
    """
    law, biased = dict(enumerate(P.tolist())), {0: 0.433, 1: 0.267, 2: 0.2, 3: 0.1}
    assert power(law, biased, SAMPLES, freedom=3) > 0.998
    counts, kept = drawn(sd.CoupledDraws(1))
    statistic, limit = chi_square(counts, law)
    assert statistic < limit
    assert kept == pytest.approx(agreement(P, Q), abs=4 * math.sqrt(0.25 / SAMPLES))
    counts, _ = drawn(NoiseTwice(1))
    statistic, limit = chi_square(counts, law)
    assert statistic > limit
    assert chi_square(counts, biased)[0] < limit  # it is wrong as foreseen


def test_acceptance_on_the_books_toy():
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    assert agreement(p, q) == pytest.approx(0.694, abs=5e-4)  # the token rule keeps 0.700
    assert float(sd.overlap(p, q)) == pytest.approx(0.7)
    tv = float(sd.total_variation(p, q))
    assert (1 - tv) / (1 + tv) == pytest.approx(0.538, abs=5e-4)  # what is guaranteed
    assert drawn(sd.CoupledDraws(2), p, q)[1] == pytest.approx(0.694, abs=4 * math.sqrt(0.21 / SAMPLES))


def test_neighbouring_positions_and_rows_have_noise_of_their_own():
    draws, text = sd.CoupledDraws(3), sd.Text([0] * 5, frozenset(), 9)
    assert (draws.noise(text, 2, 50) == draws.noise(sd.Text([0] * 7, frozenset(), 9), 0, 50)).all()
    others = [
        draws.noise(text, 3, 50), draws.noise(sd.Text([0] * 5, frozenset(), 9, row=1), 2, 50),
        sd.CoupledDraws(4).noise(text, 2, 50),
    ]  # fmt: skip
    for other in others:
        assert (draws.noise(text, 2, 50) != other).all()
    assert (others[1] == sd.CoupledDraws(sd.row_seed(3, 1)).noise(text, 2, 50)).all()
    tokens = draws.choose(P.expand(1, 8000, 4), [text])[0].tolist()
    pairs = {}
    for pair in zip(tokens[::2], tokens[1::2]):
        pairs[pair] = pairs.get(pair, 0) + 1
    law = {(a, b): float(P[a] * P[b]) for a in range(4) for b in range(4)}
    statistic, limit = chi_square(pairs, law)
    assert statistic < limit


def test_noise_is_exponential_and_never_0():
    noise = torch.tensor(sd.CoupledDraws(0).noise(sd.Text([0], frozenset(), 9), 0, 200_000))
    assert noise.min() > 0 and noise.isfinite().all()
    assert float(noise.mean()) == pytest.approx(1, abs=4 / 200_000**0.5)
    counts = torch.histc((-noise).exp(), bins=20, min=0, max=1)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 43.8  # 0.1 % exceed it, 19 degrees


@pytest.mark.parametrize("probs", [[0.0, 0.0, 1.0], [0.0, 0.5, 0.5]])
def test_what_is_impossible_is_never_drawn(probs):
    draws, p = sd.CoupledDraws(0), torch.tensor([probs])
    tokens = {int(draws.next_tokens(p, [sd.Text([0] * n, frozenset(), 9)])[0]) for n in range(1, 200)}
    assert tokens == {x for x, each in enumerate(probs) if each}


def test_other_draws_than_the_rules_are_refused(pair):
    with tiny.counted(*pair) as counts:
        for call in (
            lambda **o: sd.speculative_generate(*pair, SOURCE, **o),
            lambda **o: sd.autoregressive_generate(pair.target, SOURCE, **o),
        ):
            with pytest.raises(TypeError, match=r"draws=<.*expected CoupledDraws, the kind that CoupledRule\(\) needs"):
                call(verification="coupled", draws=sd.Draws(0))
    assert not any(counts)
    given = sd.speculative_generate(*pair, SOURCE, verification="coupled", draws=sd.CoupledDraws(5), max_new_tokens=6)
    assert (
        given.token_ids
        == sd.speculative_generate(*pair, SOURCE, verification="coupled", seed=5, max_new_tokens=6).token_ids
    )


def test_nothing_else_moves_a_global_state(pair):
    before = torch.get_rng_state()
    sd.speculative_generate(*pair, SOURCE, verification="coupled", seed=5, max_new_tokens=6)
    assert torch.equal(before, torch.get_rng_state())
