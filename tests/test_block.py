"""Block verification: exact on whole texts, keeps more than the token rule, and what a small mistake in it costs."""

from fractions import Fraction as F

import pytest
import torch

import specdec_lite as sd
from enumerate_law import distance
from specdec_lite.verification import at_tokens
from toy_rounds import always, emitted_law, plain_law, random_model, rows_of

TOY = always(F(1, 3), F(2, 3)), always(F(2, 3), F(1, 3))
TOKEN, BLOCK = sd.TokenRule(), sd.BlockRule()


class StopsAtTheFirstTails(sd.BlockRule):
    """Wrong: cuts as the token rule does."""

    def cut(self, coins):
        return TOKEN.cut(coins)


class LastTestUncapped(sd.BlockRule):
    """Wrong: the last coin gets the product of all ratios, which was never capped on the way."""

    def heads(self, p, q, drafted):
        heads, product = super().heads(p, q, drafted), at_tokens(p, drafted) / at_tokens(q, drafted)
        heads[..., -1:] = product.prod(-1, keepdim=True).clamp(max=1)[..., : heads.shape[-1]]
        return heads


class ResidualOfTheTokenRule(sd.BlockRule):
    """Wrong: forgets the weight at the cut."""

    def after(self, p, q, drafted, cut):
        return TOKEN.after(p, q, drafted, cut)


class WeightAsHeads(sd.BlockRule):
    """Wrong: every coin is as likely as the last one would be."""

    def heads(self, p, q, drafted):
        return self.weights(p, q, drafted)[..., 1:]


WRONG = (StopsAtTheFirstTails(), LastTestUncapped(), ResidualOfTheTokenRule(), WeightAsHeads())


def heads_in_fractions(p, q, drafted):
    """The paper's formulas for one row, one number after the other: weights w_0 ... w_n and heads h_1 ... h_n."""
    w, heads = [F(1)], []
    for i, x in enumerate(drafted):
        w.append(min(F(1), w[-1] * p[i][x] / q[i][x]))
    for i in range(1, len(drafted)):
        z = sum(max(w[i] * a - b, F(0)) for a, b in zip(p[i], q[i]))
        heads.append(z / (z + 1 - w[i]) if z + 1 - w[i] else F(1))
    return w, [*heads, w[-1]]


def rows_in_fractions(n, vocab, seed):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 20, (n, vocab), generator=generator).tolist()
    return [[F(x, sum(row)) for x in row] for row in counts]


@pytest.mark.parametrize("seed", range(10))
def test_heads_and_residual_are_the_papers(seed):
    n, vocab = 4, 5
    p, q = rows_in_fractions(n + 1, vocab, seed), rows_in_fractions(n, vocab, seed + 50)
    drafted = [(seed + 3 * i) % vocab for i in range(n)]
    w, heads = heads_in_fractions(p, q, drafted)
    floats = [torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64) for rows in (p, q)]
    given = floats[0], torch.cat([floats[1], torch.zeros(1, vocab)]), torch.tensor(drafted)
    assert BLOCK.heads(*given).tolist() == pytest.approx([float(h) for h in heads], abs=1e-14)
    for cut in range(n + 1):
        left = [max(w[cut] * a - b, F(0)) for a, b in zip(p[cut], q[cut])] if cut < n else p[n]
        if sum(left):
            wanted = [float(x / sum(left)) for x in left]
            assert BLOCK.after(*given, torch.tensor(cut)).tolist() == pytest.approx(wanted, abs=1e-14)


@pytest.mark.parametrize(("coins", "cut"), [([], 0), ([0, 0], 0), ([1, 0, 0], 1), ([0, 1, 0], 2), ([0, 0, 1], 3)])
def test_cut_is_at_the_last_heads(coins, cut):
    assert int(BLOCK.cut(torch.tensor(coins, dtype=torch.bool))) == cut
    assert BLOCK.cut(torch.tensor([coins] * 2, dtype=torch.bool)).tolist() == [cut] * 2


@pytest.mark.parametrize(("gamma", "token", "block", "bound"), [
    (1, F(2, 3), F(2, 3), F(2, 3)), (2, F(10, 9), F(11, 9), F(12, 9)), (3, F(38, 27), F(45, 27), F(50, 27)),
])  # fmt: skip
def test_accepted_tokens_on_the_toy(gamma, token, block, bound):
    assert sd.expected_accepted(TOKEN, *TOY, gamma) == pytest.approx(float(token), abs=1e-15)
    assert sd.expected_accepted(BLOCK, *TOY, gamma) == pytest.approx(float(block), abs=1e-15)
    assert sd.accepted_bound(*TOY, gamma) == pytest.approx(float(bound), abs=1e-15)


def test_with_one_guess_block_and_token_rule_are_the_same():
    p, q, drafted = torch.tensor([[0.5, 0.5], [0.1, 0.9]]), torch.tensor([[0.2, 0.8], [0, 0]]), torch.tensor([1])
    assert BLOCK.heads(p, q, drafted).tolist() == pytest.approx(TOKEN.heads(p, q, drafted).tolist())
    for cut in (0, 1):
        both = [rule.after(p, q, drafted, torch.tensor(cut)) for rule in (BLOCK, TOKEN)]
        assert torch.allclose(*both)


@pytest.mark.parametrize("rule", [TOKEN, BLOCK], ids=repr)
@pytest.mark.parametrize(("gamma", "length"), [(1, 4), (2, 4), (3, 5)])
@pytest.mark.parametrize("whole", [False, True], ids=["rounds as planned", "rounds cut off by the end"])
def test_law_of_texts_is_the_targets_with_context_dependent_models(rule, gamma, length, whole):
    for seed in range(2):
        p, q = random_model(seed), random_model(seed + 1000)
        assert distance(emitted_law(rule, p, q, gamma, length, whole), plain_law(p, length)) < 1e-12


def test_law_of_texts_with_four_guesses():
    p, q = random_model(7), random_model(8)
    assert distance(emitted_law(BLOCK, p, q, 4, 5), plain_law(p, 5)) < 1e-12


@pytest.mark.parametrize("gamma", [1, 3])
@pytest.mark.parametrize("rule", [TOKEN, BLOCK], ids=repr)
def test_law_is_the_same_where_rows_have_more_slots_than_guesses(rule, gamma):
    p, q = random_model(5), random_model(6)
    assert distance(emitted_law(rule, p, q, gamma, 4, padding=2), plain_law(p, 4)) < 1e-12


@pytest.mark.parametrize("rule", [TOKEN, BLOCK], ids=repr)
def test_law_is_the_same_where_a_proposal_ends_by_what_it_has_proposed(rule):
    """An unsure draft stops, and rows of one batch have different counts; the token it stopped at stays."""
    p, q = random_model(5), random_model(6)
    unsure = emitted_law(rule, p, q, 4, 5, ends=lambda text: text[-1] == 2 or float(q(text).max()) < 0.6)
    assert distance(unsure, plain_law(p, 5)) < 1e-12


@pytest.mark.parametrize("wrong", WRONG, ids=lambda rule: type(rule).__name__)
def test_a_wrong_block_rule_is_seen(wrong):
    p, q = random_model(0), random_model(1000)
    assert distance(emitted_law(wrong, p, q, 3, 5), plain_law(p, 5)) > 0.005


def test_what_an_uncapped_last_test_costs_and_that_the_first_token_does_not_show_it():
    wrong, (p, q) = LastTestUncapped(), TOY
    assert sd.expected_accepted(wrong, p, q, 2) == pytest.approx(12 / 9, abs=1e-15)  # as good as the bound
    law = emitted_law(wrong, p, q, 2, 3)
    assert distance(law, plain_law(p, 3)) == pytest.approx(1 / 9, abs=1e-15)
    for shown, wanted in ((1, 0), (2, 1 / 9)):
        first = {}
        for text, weight in law.items():
            first[text[:shown]] = first.get(text[:shown], 0.0) + weight
        assert distance(first, plain_law(p, shown)) == pytest.approx(wanted, abs=1e-15)


def test_block_keeps_no_fewer_than_token_and_no_more_than_the_bound():
    better = 0
    for seed in range(100):
        models = random_model(seed), random_model(seed + 1000)
        token, block = (sd.expected_accepted(rule, *models, 3) for rule in (TOKEN, BLOCK))
        assert token <= block + 1e-12 and block <= sd.accepted_bound(*models, 3) + 1e-12
        better += block > 1.01 * token
    assert better > 50


def test_equal_coins_keep_more_on_average_but_not_in_every_row():
    """The same uniform numbers for both rules: the mean is larger, single rows may keep fewer."""
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.rand(10_000, 6, 8, generator=generator, dtype=torch.float64) ** 2 for _ in range(2))
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    drafted = torch.multinomial(q[:, :5].reshape(-1, 8), 1, generator=generator).reshape(10_000, 5)
    q[:, 5] = 0
    uniforms = torch.rand(10_000, 5, generator=generator, dtype=torch.float64)
    token, block = (rule.cut(uniforms < rule.heads(p, q, drafted)).double() for rule in (TOKEN, BLOCK))
    difference = block - token
    assert difference.mean() > 5 * difference.std() / 10_000**0.5
    assert (difference < 0).any()


def test_a_row_that_is_no_distribution_ends_the_block_there():
    """As if nothing had been proposed behind it. So it matters if the cut is there, and then there is no token."""
    p, q = (rows_of(random_model(seed), (), [(0, 1, 2)]) for seed in (2, 1))
    drafted = torch.tensor([[0, 1, 2]])
    q[:, -1] = 0
    for bad in (torch.full((3,), torch.nan), torch.tensor([0.0, torch.nan, 0.0])):
        broken, short = p.clone(), q.clone()
        broken[0, 2], short[0, 2:] = bad, 0
        assert torch.allclose(BLOCK.heads(broken, q, drafted), BLOCK.heads(p, short, drafted), atol=1e-14)
        draws, texts = sd.Draws(0), [sd.Text([0], frozenset(), 9)]
        afters = [BLOCK.after(broken, q, drafted, torch.tensor([cut])) for cut in range(4)]
        assert [int(draws.next_tokens(after, texts)[0]) < 0 for after in afters[:3]] == [False, False, True]
        assert float(BLOCK.heads(broken, q, drafted)[0, 2]) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heads_are_probabilities_where_ratios_overflow_or_vanish(dtype):
    tiny = torch.finfo(dtype).tiny
    p = torch.tensor([[1 - tiny, tiny], [tiny, 1 - tiny], [0.5, 0.5]], dtype=dtype)
    q = torch.tensor([[tiny / 4, 1 - tiny], [1 - tiny, tiny / 4], [0, 0]], dtype=dtype)
    for drafted in ([0, 0], [0, 1], [1, 0], [1, 1]):
        heads = BLOCK.heads(p, q, torch.tensor(drafted))
        assert ((heads >= 0) & (heads <= 1)).all()
        for cut in range(3):
            assert float(BLOCK.after(p, q, torch.tensor(drafted), torch.tensor(cut)).sum()) == pytest.approx(1)
