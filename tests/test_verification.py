"""The accept-reject rule as arithmetic, against the law it must keep."""

from fractions import Fraction

import pytest
import torch

import specdec_lite as sd

P, Q = (0.5, 0.3, 0.2), (0.2, 0.5, 0.3)


def random_rows(n, vocab, seed, zeros=False):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(n, vocab, generator=generator, dtype=torch.float64) ** 3
    if zeros:
        rows[torch.rand(n, vocab, generator=generator) < 0.4] = 0
        rows[:, seed % vocab] += 0.1
    return rows / rows.sum(-1, keepdim=True)


def behind(q):
    """q as the rules want it: a row of 0 behind the proposal."""
    return torch.cat([q, torch.zeros_like(q[:1])]) if len(q) else torch.zeros(1, 6, dtype=torch.float64)


def law_of_first_token(rule, p, q):
    """Draft one token from q, verify it, and see which token comes first: by going through all outcomes."""
    q = behind(q)
    law = torch.zeros(p.shape[-1], dtype=torch.float64)
    for token in q[0].nonzero()[:, 0]:
        drafted = token[None]
        refused, kept = sd.cut_probs(rule, p, q, drafted)
        law[token] += q[0, token] * kept
        law += q[0, token] * refused * rule.after(p, q, drafted, torch.tensor(0))
    return law


def law_in_fractions(accept, correct):
    """The same by hand for P and Q, exactly."""
    p, q = ([Fraction(str(x)) for x in row] for row in (P, Q))
    refused = sum(q[x] * (1 - accept(p[x], q[x])) for x in range(3))
    correction = correct(p, q)
    mass = sum(correction)
    return [q[x] * accept(p[x], q[x]) + refused * correction[x] / mass for x in range(3)]


def distance_in_fractions(law):
    return sum(abs(a - Fraction(str(b))) for a, b in zip(law, P)) / 2


def ratio(p, q):
    return min(Fraction(1), p / q)


def residual_of(p, q):
    return [max(a - b, Fraction(0)) for a, b in zip(p, q)]


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_first_token_has_the_targets_law_exactly(seed, zeros):
    p, q = random_rows(2, 7, seed, zeros), random_rows(1, 7, seed + 100, zeros)
    assert (law_of_first_token(sd.TokenRule(), p, q) - p[0]).abs().max() < 1e-14


def test_the_rule_is_exact_in_fractions_and_its_two_mutants_are_off_by_these():
    assert distance_in_fractions(law_in_fractions(ratio, residual_of)) == 0
    assert distance_in_fractions(law_in_fractions(ratio, lambda p, q: p)) == Fraction(3, 20)
    assert distance_in_fractions(law_in_fractions(lambda p, q: ratio(q, p), residual_of)) == Fraction(3, 10)


def test_mutants_of_the_package_are_off_by_the_same():
    class ResamplesFromP(sd.TokenRule):
        def after(self, p, q, drafted, cut):
            return p[cut]

    class InvertedRatio(sd.TokenRule):
        def heads(self, p, q, drafted):
            return (q[0, drafted] / p[0, drafted]).clamp(max=1)

    p, q = torch.tensor([P, P], dtype=torch.float64), torch.tensor([Q], dtype=torch.float64)
    distances = [sd.total_variation(law_of_first_token(rule(), p, q), p[0]) for rule in (ResamplesFromP, InvertedRatio)]
    assert distances == pytest.approx([3 / 20, 3 / 10], abs=1e-15)


def test_acceptance_probability_is_the_overlap():
    p, q = random_rows(2, 9, 1), random_rows(1, 9, 2)
    accepted = sum(q[0, x] * sd.TokenRule().heads(p, behind(q), torch.tensor([x]))[0] for x in range(9))
    assert accepted == pytest.approx(float(sd.overlap(p[0], q[0])), abs=1e-15)
    assert float(sd.overlap(p[0], q[0])) == pytest.approx(1 - sd.total_variation(p[0], q[0]), abs=1e-15)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_cut_probs_are_those_of_the_first_refusal(n):
    p, q, drafted = random_rows(n + 1, 6, 3), random_rows(n, 6, 4), torch.arange(n)
    law = sd.cut_probs(sd.TokenRule(), p, behind(q), drafted)
    heads = [min(1.0, float(p[i, i] / q[i, i])) for i in range(n)]
    reached = [1.0]
    for head in heads:
        reached.append(reached[-1] * head)
    assert law.tolist() == pytest.approx([r * (1 - h) for r, h in zip(reached, heads)] + [reached[-1]], abs=1e-15)
    assert float(law.sum()) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(("coins", "cut"), [([], 0), ([0, 1, 1], 0), ([1, 0, 1], 1), ([1, 1, 0], 2), ([1, 1, 1], 3)])
def test_cut_is_at_the_first_tails(coins, cut):
    assert int(sd.TokenRule().cut(torch.tensor(coins, dtype=torch.bool))) == cut


def test_a_token_the_target_forbids_is_never_kept_and_one_it_prefers_always():
    p, q = torch.tensor([[0.0, 1.0], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    assert [float(sd.TokenRule().heads(p, q, torch.tensor([x]))) for x in (0, 1)] == [0.0, 1.0]


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.0, 1.0]], ids=["p > 0", "p = q = 0"])
def test_where_nothing_was_proposed_the_refusal_is_certain(p):
    """q = 0 there. The old quotient said 1 where p > 0, and NaN where p = q = 0."""
    rows, q = torch.tensor([p, [0.5, 0.5]]), torch.zeros(2, 2)
    assert sd.TokenRule().heads(rows, q, torch.tensor([0])).tolist() == [0.0]
    assert torch.equal(sd.TokenRule().after(rows, q, torch.tensor([0]), torch.tensor(0)), rows[0])


def test_rows_of_a_batch_are_judged_each_for_itself():
    p, q = random_rows(12, 6, 5).reshape(3, 4, 6), random_rows(12, 6, 6).reshape(3, 4, 6)
    q[0, 2:], q[1, 3:], q[2, 0:] = 0, 0, 0  # three, and two, and nothing proposed
    drafted, rule = torch.tensor([[1, 2, 0], [3, 4, 5], [0, 0, 0]]), sd.TokenRule()
    heads, cut = rule.heads(p, q, drafted), torch.tensor([2, 1, 0])
    for i in range(3):
        assert torch.equal(heads[i], rule.heads(p[i], q[i], drafted[i]))
        assert torch.equal(rule.after(p, q, drafted, cut)[i], rule.after(p[i], q[i], drafted[i], cut[i]))
    assert torch.allclose(rule.after(p, q, drafted, cut)[0], p[0, 2], atol=1e-15)  # the bonus


def test_next_token_is_from_the_residual_after_a_refusal_and_from_p_as_a_bonus():
    p, q, drafted = random_rows(3, 6, 5), behind(random_rows(2, 6, 6)), torch.tensor([1, 2])
    rule = sd.TokenRule()
    for cut in (0, 1):
        excess = (p[cut] - q[cut]).clamp(min=0)
        assert torch.allclose(rule.after(p, q, drafted, torch.tensor(cut)), excess / excess.sum(), atol=1e-15)
    assert torch.allclose(rule.after(p, q, drafted, torch.tensor(2)), p[2], atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residual_of_equals_is_p_and_never_nan(dtype):
    p = random_rows(1, 50, 7)[0].to(dtype)
    assert torch.equal(sd.residual(p, p), p)
    for scale in (1e-8, 1e-30):
        nearly = p + scale * torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=dtype)
        assert float(sd.residual(p, nearly).sum()) == pytest.approx(1, abs=1e-5)


def test_residual_excludes_what_the_draft_overrates():
    p, q = torch.tensor(P, dtype=torch.float64), torch.tensor(Q, dtype=torch.float64)
    assert sd.residual(p, q).tolist() == pytest.approx([1, 0, 0])
