"""What every rule must do: cases with a known answer, rows of unequal length, wide vocabularies, rules of a reader."""

from dataclasses import dataclass

import pytest
import torch

import specdec_lite as sd
import tiny
from enumerate_law import distance
from mutations import chi_square
from specdec_lite.verification import at_cut, at_tokens
from test_exact_law import PLAIN, SOURCE, case, pair_of, wanted
from toy_rounds import emitted_law, plain_law, random_model

RULES = (sd.TokenRule(), sd.TokenRule(lenience=0.5), sd.BlockRule(), sd.CoupledRule())
EXACT = (sd.TokenRule(), sd.BlockRule(), sd.CoupledRule())
every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


@dataclass(frozen=True)
class HalfRule:
    """A reader's rule, written from nothing: accept half as often as the paper's, and make up for it afterwards."""

    def heads(self, p, q, drafted):
        p, q = at_tokens(p, drafted), at_tokens(q, drafted)
        return torch.where(q > 0, (p / q).clamp(max=1) / 2, 0.0)

    def cut(self, coins):
        return coins.long().cumprod(-1).sum(-1)

    def after(self, p, q, drafted, cut):
        p, q = at_cut(p, cut), at_cut(q, cut)
        left = p - torch.minimum(p, q) / 2
        return left / left.sum(-1, keepdim=True)


def judge(rule, p, q, drafted, seed=0, texts=None, draws=None):
    """A round's second half, as the loop has it: what each row gets, and the cuts."""
    draws = draws or getattr(rule, "draws", sd.Draws)(seed)
    texts = texts or [sd.Text([0], frozenset(), 99, row) for row in range(len(p))]
    seen = draws.seen(p, texts)
    cut = rule.cut(draws.coins(rule.heads(seen, q, drafted), texts))
    after = draws.next_tokens(rule.after(seen, q, drafted, cut), texts).tolist()
    return [[*row[:k], x] for row, k, x in zip(drafted.tolist(), cut.tolist(), after)], cut


def greedy(target, draft, vocab=12):
    """One-hot p and q: what the target says at each position, and what was drafted, per row; rows may be short."""
    n = max(map(len, draft))
    drafted = torch.tensor([[*row, *[0] * (n - len(row))] for row in draft], dtype=torch.long).reshape(len(draft), n)
    p = sd.one_hot(torch.tensor([[*row, *[0] * (n + 1 - len(row))] for row in target]), vocab)
    q = torch.cat([sd.one_hot(drafted, vocab), torch.zeros(len(draft), 1, vocab)], 1)
    for row, tokens in zip(q, draft):
        row[len(tokens) :] = 0
    return p, q, drafted


@every_rule
@pytest.mark.parametrize(("target", "draft", "emitted"), [
    ([[4, 5, 6, 7]], [[4, 5, 6]], [[4, 5, 6, 7]]),
    ([[4, 9, 6, 7]], [[4, 5, 6]], [[4, 9]]),
    ([[9, 5, 6, 7]], [[4, 5, 6]], [[9]]),
    ([[4, 5, 9, 7]], [[4, 5, 6]], [[4, 5, 9]]),
    ([[4, 5]], [[4]], [[4, 5]]),
    ([[9, 5]], [[4]], [[9]]),
    ([[8]], [[]], [[8]]),
    ([[4, 5, 9], [6, 7, 0]], [[4, 5], [6]], [[4, 5, 9], [6, 7]]),
    ([[8], [4, 5, 7], [3, 2, 1]], [[], [4, 5], [3, 3]], [[8], [4, 5, 7], [3, 2]]),
    ([[4, 5, 9, 1], [7, 3, 6, 2]], [[4, 5, 6], [7, 5, 6]], [[4, 5, 9], [7, 3]]),
    ([[4, 9], [6, 7]], [[4], [6]], [[4, 9], [6, 7]]),
], ids=["all match", "second differs", "first differs", "last differs", "one match", "one differs", "nothing drafted",
        "rows of unequal length", "an empty row among others", "several rows differ", "two rows of one"])  # fmt: skip
def test_greedy_vectors(rule, target, draft, emitted):
    p, q, drafted = greedy(target, draft)
    assert judge(rule, p, q, drafted)[0] == emitted


@every_rule
def test_what_stands_behind_the_count_is_never_looked_at(rule):
    """Neither the tokens there, nor what p says about them."""
    generator = torch.Generator().manual_seed(3)
    p, q = (torch.rand(6, 5, 9, generator=generator).softmax(-1) for _ in range(2))
    drafted = torch.randint(0, 9, (6, 4), generator=generator)
    for row, count in enumerate((4, 3, 2, 1, 0, 2)):
        q[row, count:] = 0
    out, cut = judge(rule, p, q, drafted)
    assert (cut <= torch.tensor([4, 3, 2, 1, 0, 2])).all()
    others, rubbish = drafted.clone(), p.clone()
    for row, count in enumerate((4, 3, 2, 1, 0, 2)):
        others[row, count:] = 8
        rubbish[row, count + 1 :] = torch.nan
    assert judge(rule, rubbish, q, others)[0] == out
    for row, count in enumerate((4, 3, 2, 1, 0, 2)):  # and the row alone, with no column too many
        text = [sd.Text([0], frozenset(), 99, row)]
        alone = p[row : row + 1, : count + 1], q[row : row + 1, : count + 1], drafted[row : row + 1, :count]
        assert judge(rule, *alone, texts=text)[0] == [out[row]]


@every_rule
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_a_nan_row_gives_no_token_if_the_cut_is_there_and_harms_nobody_else(rule, bad):
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(40, 4, 9, generator=generator, dtype=torch.float64).softmax(-1)
    q = torch.cat([p[:, :3], torch.zeros(40, 1, 9)], 1)  # what is drafted is accepted, so every cut is at the bad row
    texts = [sd.Text([0], frozenset(), 99, row) for row in range(40)]
    draws = getattr(rule, "draws", sd.Draws)(0)
    drafted = torch.stack([draws.guesses(q[:, slot], texts, slot) for slot in range(3)], 1)
    right = judge(rule, p, q, drafted)[0]
    p[::2, bad] = torch.nan
    out, _ = judge(rule, p, q, drafted)
    assert out[1::2] == right[1::2]
    assert out[::2] == [[*tokens[:bad], -1] for tokens in right[::2]]


@every_rule
def test_a_vocabulary_of_32000(rule):
    generator = torch.Generator().manual_seed(0)
    p, q = ((4 * torch.randn(3, 6, 32_000, generator=generator)).softmax(-1) for _ in range(2))
    q[0] = p[0]  # accepted to the last
    q[:, 5], q[2, 2:] = 0, 0
    drafted = torch.multinomial(q[:, :5].clamp(min=1e-12).reshape(-1, 32_000), 1, generator=generator).reshape(3, 5)
    heads = rule.heads(p, q, drafted)
    assert ((heads >= 0) & (heads <= 1)).all() and (heads[2, 2:] == 0).all()
    for cut in range(6):
        after = rule.after(p, q, drafted, torch.tensor([cut] * 3))
        assert torch.allclose(after.sum(-1), torch.ones(3), atol=1e-4) and (after >= 0).all()
    out, cut = judge(rule, p, q, drafted)
    assert all(0 <= token < 32_000 for row in out for token in row)
    if not hasattr(rule, "draws"):
        assert int(cut[0]) == 5


@pytest.mark.parametrize("rule", EXACT, ids=repr)
def test_sampled_positions_have_the_targets_distribution(rule):
    """Rounds with the package's own random numbers until each of 4,000 rows has three tokens."""
    rows, vocab, n = 4000, 6, 2
    p, q = (random_model(seed, vocab)(()) for seed in (11, 12))
    draws = getattr(rule, "draws", sd.Draws)(7)
    texts = [sd.Text([0], frozenset(), 3, row) for row in range(rows)]
    while open_texts := [text for text in texts if text.open]:
        count = len(open_texts)
        drafted = torch.stack([draws.guesses(q.expand(count, -1), open_texts, slot) for slot in range(n)], 1)
        q_rows = torch.cat([q.expand(count, n, -1), torch.zeros(count, 1, vocab, dtype=q.dtype)], 1)
        out, _ = judge(rule, p.expand(count, n + 1, -1), q_rows, drafted, texts=open_texts, draws=draws)
        for text, tokens in zip(open_texts, out):
            text.write(tokens)
    law = dict(enumerate(p.tolist()))
    for position in range(3):
        counts = torch.tensor([text.generated[position] for text in texts]).bincount(minlength=vocab)
        statistic, limit = chi_square(dict(enumerate(counts.tolist())), law)
        assert statistic < limit
    pairs = {(a, b): law[a] * law[b] for a in law for b in law}
    seen = {}
    for text in texts:
        seen[tuple(text.generated[:2])] = seen.get(tuple(text.generated[:2]), 0) + 1
    statistic, limit = chi_square(seen, pairs)
    assert statistic < limit


def test_a_readers_rule_plugs_in():
    rule, pair = HalfRule(), pair_of("t5", PLAIN)
    p, q = random_model(1), random_model(2)
    assert distance(emitted_law(rule, p, q, 3, 4), plain_law(p, 4)) < 1e-12
    half, whole = (sd.expected_accepted(r, p, q, 1) for r in (rule, sd.TokenRule()))
    assert half == pytest.approx(whole / 2)
    assert distance(case(pair, PLAIN, 2).law(rule), wanted(pair, SOURCE, PLAIN)) < 1e-12
    runs = sd.speculative_generate(*tiny.tiny_pair(), tiny.sources(3), verification=rule, max_new_tokens=8, seed=1)
    assert any(run.accepted for run in runs)


def test_a_readers_rule_can_bring_its_own_kind_of_draws():
    class Backwards(sd.Draws):
        """The same numbers, from the other end."""

        def uniforms(self, texts, n):
            return 1 - super().uniforms(texts, n) - 2.0**-53

    class WithDraws(sd.TokenRule):
        draws = Backwards

    pair, options = tiny.tiny_pair(), {"max_new_tokens": 12, "seed": 5}
    source = tiny.sources(1)[0]
    mine = sd.speculative_generate(*pair, source, verification=WithDraws(), **options)
    assert mine.token_ids == sd.speculative_generate(*pair, source, draws=Backwards(5), **options).token_ids
    assert mine.token_ids != sd.speculative_generate(*pair, source, **options).token_ids
    with tiny.counted(*pair) as counts, pytest.raises(TypeError, match=r"draws=<.*: expected Backwards, the kind that"):
        sd.speculative_generate(*pair, source, verification=WithDraws(), draws=sd.Draws(5))
    assert not any(counts)


def test_rules_have_short_names_and_are_found_by_theirs(pair):
    assert [repr(rule) for rule in RULES] == [
        "TokenRule(lenience=1.0)", "TokenRule(lenience=0.5)", "BlockRule()", "CoupledRule()",
    ]  # fmt: skip
    assert {name: repr(rule) for name, rule in sd.verification.RULES.items()} == {
        "token": "TokenRule(lenience=1.0)", "block": "BlockRule()", "coupled": "CoupledRule()",
    }  # fmt: skip
    with pytest.raises(TypeError):
        sd.CoupledRule(0.5)
    for call in (
        lambda **o: sd.speculative_generate(*pair, [5], **o),
        lambda **o: sd.autoregressive_generate(pair.target, [5], **o),
    ):
        with pytest.raises(ValueError, match=r"verification='tokens': expected one of \['block', 'coupled', 'token'\]"):
            call(verification="tokens")
