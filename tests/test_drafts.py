"""Copies, chains, schedules, stops, a truncated head: whatever is proposed, the output is the target's."""

import inspect
import math

import pytest
import torch

import specdec_lite as sd
import tiny
from enumerate_law import Case, distance, every_path, remembering
from specdec_lite.fast.narrow import NarrowLinear, narrow_twin
from test_batches import ENDS, Witness
from test_exact_law import CUT, OTHER, PLAIN, SOURCE, families, pair_of, wanted

REFERENCES = [2, 3, 2, 1], [3, 3, 2, 3, 1]  # what may be copied, for SOURCE and for OTHER
SOURCES, LENGTH = tiny.sources(4, seed=2), 18


class Copies(sd.CopyDraft):
    """With a reference per row, also when it begins with the rows that are still open, as an enumeration does."""

    def __init__(self, references, **options):
        super().__init__(references, **options)
        self.of_rows = self.references

    def start(self, source, texts):
        self.references = [self.of_rows[text.row] for text in texts]
        super().start(source, texts)


class ByLength(sd.AtMost):
    """A schedule whose state is a function of the text: so its rounds can be enumerated one by one."""

    def start(self, source, texts):
        super().start(source, texts)
        self.gammas = {text.row: 1 + len(text) % 3 for text in texts}


DRAFTS = {
    "copy": lambda draft, references=REFERENCES: Copies(references),
    "copy of all": lambda draft, references=REFERENCES: Copies(references, source=True, own_text=True, longest=2),
    "chain": lambda draft, references=REFERENCES: sd.Chain(Copies(references, longest=2), draft),
    "chain of three": lambda draft, references=REFERENCES: sd.Chain(
        Copies(references), sd.CopyDraft(own_text=True, longest=2), sd.AtMost(draft, 1)
    ),
    "at most 1": lambda draft, references=None: sd.AtMost(draft, 1),
    "by length": lambda draft, references=None: ByLength(draft, 1),
    "heuristic": lambda draft, references=None: sd.HeuristicGamma(draft, 1),
    "adaptive": lambda draft, references=None: sd.AdaptiveGamma(
        draft, 0.1, {1: 1.0, 2: 1.05, 3: 1.1}, alpha=0.5, memory=0.1
    ),
    "confidence": lambda draft, references=None: sd.ConfidenceStop(draft, 0.5),
    "entropy": lambda draft, references=None: sd.EntropyStop(draft, 0.8),
    "stop in a chain": lambda draft, references=REFERENCES: sd.Chain(
        Copies(references), sd.HeuristicGamma(sd.ConfidenceStop(draft, 0.5), 1)
    ),
    "head": lambda draft, references=None: sd.truncate_head(draft, range(1, 1 + draft.vocab_size // 2)),
    "head of an EOS": lambda draft, references=None: sd.truncate_head(draft, [tiny.EOS]),
}
each_draft = pytest.mark.parametrize("name", DRAFTS)


def law_of(pair, setting, make, gamma=3, length=4, sources=(SOURCE,)):
    quick = remembering(pair)
    case = Case(quick.target, make(quick.draft), sources, setting["rule"], length, gamma)
    return case.law(), case.seen


# ---- The exact law ----


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        ("t5", PLAIN),
        ("bart", CUT),
        pytest.param("t5", CUT, marks=pytest.mark.long),
        pytest.param("bart", PLAIN, marks=pytest.mark.long),
    ],
    ids=["t5-softmax", "bart-temperature-topk-topp", "t5-temperature-topk-topp", "bart-softmax"],
)
@each_draft
def test_law_of_every_draft_equals_the_targets_exactly(family, setting, name):
    pair = pair_of(family, setting)
    law, seen = law_of(pair, setting, DRAFTS[name])
    assert distance(law, wanted(pair, SOURCE, setting)) < 1e-12
    assert any(r.n_accepted for r in seen) or setting is not PLAIN
    assert any(r.source == "residual" for r in seen)


QUICK = "copy", "copy of all", "chain", "confidence"


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(family, name, marks=() if family == "t5" and name in QUICK else pytest.mark.long)
        for family in tiny.FAMILIES
        for name in DRAFTS
    ],
)
def test_two_rows_have_the_product_of_their_laws_exactly(family, name):
    pair, rows = pair_of(family, PLAIN), (SOURCE, OTHER)
    law, seen = law_of(pair, PLAIN, DRAFTS[name], gamma=2, length=3, sources=rows)
    alone = [wanted(pair, source, PLAIN, 3) for source in rows]
    product = {(*a, *b): x * y for a, x in alone[0].items() for b, y in alone[1].items()}
    assert distance(law, product) < 1e-12
    assert any(r.n_accepted for r in seen)


@pytest.mark.parametrize("family", ["t5", pytest.param("bart", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["heuristic", "adaptive", "stop in a chain"])
def test_law_of_whole_texts_whose_schedule_learns(family, name):
    """Not round by round: what the schedule has learned in one round counts in the next."""
    pair, total, plans = pair_of(family, PLAIN), {}, set()
    quick = remembering(pair)
    draft = DRAFTS[name](quick.draft, REFERENCES[:1])

    def run(draws):
        return sd.speculative_generate(quick.target, draft, SOURCE, gamma=3, max_new_tokens=5, draws=draws)

    for generation, probability in every_path(run):
        tokens = (tuple(generation.token_ids),)
        total[tokens] = total.get(tokens, 0.0) + probability
        plans.add(tuple(len(r.drafted) for r in generation.rounds))
    assert distance(total, wanted(pair, SOURCE, PLAIN, 5)) < 1e-12
    assert len({plan[1] for plan in plans if len(plan) > 1}) > 1  # the second round differs by what the first one gave


class DropsTheUnsure(sd.ConfidenceStop):
    """Wrong: does not propose the token that it stopped at."""

    def read(self, answer, listener):
        tokens, stop = super().read(answer, listener)
        for i, unsure in enumerate(stop):
            answer.counts[i] *= not unsure
        return tokens, stop


class LiesAboutQ(Copies):
    """Wrong: is less certain than it is."""

    def propose(self, *given):
        tokens, q, counts = super().propose(*given)
        return sd.Proposal(tokens, 0.6 * q + 0.4 / q.shape[-1], counts)


class TellsTheWholeHeadsQ(sd.DraftModel):
    """Wrong: draws from a truncated head, and reports what the whole head would have said."""

    def propose(self, texts, plan, adjustment, draws):
        class Truncated:
            def guesses(self, q, texts, slot):
                q = q.clone()
                q[:, 2] = 0
                return draws.guesses(q / q.sum(1, keepdim=True), texts, slot)

        return super().propose(texts, plan, adjustment, Truncated())


@families
@pytest.mark.parametrize(
    "wrong",
    [lambda draft: DropsTheUnsure(draft, 0.5), lambda draft: LiesAboutQ(REFERENCES), TellsTheWholeHeadsQ],
    ids=["drops the unsure token", "lies about q", "the whole head's q"],
)
def test_the_same_enumeration_sees_what_is_wrong(family, wrong):
    pair = pair_of(family, PLAIN)
    assert distance(law_of(pair, PLAIN, wrong, gamma=2)[0], wanted(pair, SOURCE, PLAIN)) > 0.01


# ---- Greedy texts, and rows ----


def facts(run):
    return run.token_ids, [(r.drafted, r.n_accepted, r.next_token, r.source) for r in run.rounds]


@pytest.mark.parametrize(
    ("family", "temperature"),
    [
        ("t5", 1.0),
        ("bart", 0.0),
        pytest.param("t5", 0.0, marks=pytest.mark.long),
        pytest.param("bart", 1.0, marks=pytest.mark.long),
    ],
)
@each_draft
def test_every_row_is_what_it_is_alone_and_greedy_texts_are_the_targets(family, temperature, name):
    pair = tiny.tiny_pair(family, dtype=torch.float64, **ENDS)
    options = {"temperature": temperature, "max_new_tokens": LENGTH}
    plain = sd.autoregressive_generate(pair.target, SOURCES, **options | {"temperature": 0.0})
    references = [[*run.token_ids[:4], 5, *run.token_ids[5:]] for run in plain]  # with a token changed
    many = sd.speculative_generate(
        pair.target, DRAFTS[name](pair.draft, references), SOURCES, gamma=5, seed=3, **options
    )
    for i, source in enumerate(SOURCES):
        draft = DRAFTS[name](pair.draft, references[i : i + 1])
        alone = sd.speculative_generate(pair.target, draft, source, gamma=5, seed=sd.row_seed(3, i), **options)
        assert facts(many[i]) == facts(alone)
    if temperature == 0:
        assert [run.token_ids for run in many] == [run.token_ids for run in plain]
    assert any(run.accepted for run in many) or name == "head of an EOS"
    assert len({len(run.token_ids) for run in many}) > 1


# ---- What each of them does ----


def test_copies_are_the_longest_match_and_the_nearest(pair):
    copy = sd.CopyDraft([5, 6, 7, 8, 9, 6, 7, 4, 4, 5, 6, 7, 3, 6, 7, 2], longest=3)
    source = pair.target.source([SOURCES[0]])

    def follows(*written, n=2):
        (text,) = pair.target.texts(1, 20)
        text.write(written)
        copy.start(source, [text])
        tokens, q, counts = copy.propose([text], [n], None, sd.Draws(0))
        assert torch.equal(q, sd.one_hot(tokens, tiny.VOCAB))
        return tokens[0, : counts[0]].tolist()

    assert follows() == [5, 6]  # it begins as the reference does
    assert follows(5, 6, 7) == [8, 9] and follows(9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 5, 6, 7) == [3, 6]  # the nearest
    assert follows(2, 6, 7) == [8, 9] and follows(2, 2, 2, 2, 6, 7) == [4, 4]  # two tokens match
    assert follows(3, 6, 7, n=9) == [2]  # three tokens before two; and then the reference ends
    assert follows(20) == [] and follows(2) == []


def test_the_text_so_far_is_copied_from_its_latest_match(pair):
    copy, source = sd.CopyDraft(own_text=True), pair.target.source([SOURCES[0]])
    (text,) = pair.target.texts(1, 20)
    text.write([5, 6, 9, 6, 8, 4, 6])
    copy.start(source, [text])
    assert copy.copy(text, 3) == (8, 4, 6)


def test_copies_alone_write_the_references_text_in_few_passes(pair):
    plain = sd.autoregressive_generate(pair.target, SOURCES[:3], temperature=0.0, max_new_tokens=LENGTH)
    references = [run.token_ids for run in plain]
    with tiny.counted(*pair) as (target, draft):
        runs = sd.speculative_generate(
            pair.target, sd.CopyDraft(references), SOURCES[:3], gamma=LENGTH, temperature=0.0, max_new_tokens=LENGTH
        )
    assert [run.token_ids for run in runs] == references and target["decoder"] == 1 and not draft["decoder"]
    assert runs[0].draft_passes == 0


class Knows(sd.Proposer):
    """Knows how the text begins."""

    def __init__(self, beginning):
        self.beginning = beginning

    def propose(self, texts, plan, adjustment, draws):
        (text,) = texts
        tokens = torch.tensor([self.beginning[len(text.generated) :][: plan[0]]], dtype=torch.long)
        return sd.Proposal(tokens, sd.one_hot(tokens, tiny.VOCAB))


def test_the_draft_model_rests_while_copies_go_well_and_then_reads_on_in_one_pass(pair):
    options = {"gamma": 4, "temperature": 0.0, "max_new_tokens": LENGTH}
    plain = sd.autoregressive_generate(pair.target, SOURCES[1], temperature=0.0, max_new_tokens=LENGTH)
    assert len(plain.token_ids) == LENGTH
    Witness.made.clear()
    draft = sd.Chain(Knows(plain.token_ids[:15]), sd.AtMost(pair.draft.with_cursor(Witness), 2))
    run = sd.speculative_generate(pair.target, draft, SOURCES[1], **options)
    (cursor,) = Witness.made
    assert run.token_ids == plain.token_ids
    copied = [len(r.drafted) for r in run.rounds].index(2)  # from then on the model drafts two
    assert copied >= 3 and cursor.widths[0] == 1 + sum(len(r.emitted) for r in run.rounds[:copied]) == 16
    assert max(cursor.widths[1:]) <= 2 and run.draft_passes == len(cursor.widths)


def noting(draft, plans):
    """The draft, as a proposer that notes how many tokens it was asked for; the last rounds are cut short."""

    class Noting(sd.DraftModel if isinstance(draft, sd.Seq2Seq) else draft):
        def propose(self, texts, plan, adjustment, draws):
            plans.append(plan[0])
            return super().propose(texts, plan, adjustment, draws)

    return Noting(draft) if isinstance(draft, sd.Seq2Seq) else Noting()


def test_the_heuristic_goes_up_by_two_and_down_by_one_and_begins_anew_with_every_call(pair):
    options, plans = {"gamma": 9, "temperature": 0.0, "max_new_tokens": 40}, []
    sure, wrong = (sd.HeuristicGamma(noting(draft, plans), 4) for draft in (pair.target, Successor))
    for _ in range(2):
        plans.clear()
        sd.speculative_generate(pair.target, sure, SOURCES[0], **options)
        assert plans[:4] == [4, 6, 8, 9]
        plans.clear()
        run = sd.speculative_generate(pair.target, wrong, SOURCES[0], **options)
        expected = [4]
        for plan, r in zip(plans, run.rounds):
            expected.append(plan + 2 if r.n_accepted == plan else max(1, plan - 1))
        assert plans[:-2] == expected[: len(plans[:-2])] and 1 in plans[:-2]


def test_the_adaptive_schedule_takes_the_formulas_gamma(pair):
    costs = {"c": 0.1, "v": {1: 1.2, 2: 1.2, 4: 1.2, 8: 1.4}}
    options = {"gamma": 8, "temperature": 0.0, "max_new_tokens": 60}
    falls, rises = [], []
    for draft, plans in ((Successor, falls), (pair.target, rises)):
        schedule = sd.AdaptiveGamma(noting(draft, plans), **costs, alpha=0.5, memory=0.5)
        sd.speculative_generate(pair.target, schedule, SOURCES[0], **options)
        del plans[-2:]
    assert falls[0] == rises[0] == sd.best_gamma(0.5, 0.1, costs["v"].get, [1, 2, 4, 8]) == 2
    assert falls[-1] == 1 and rises[-1] == 8 and rises == sorted(rises)
    fixed = sd.AdaptiveGamma(pair.draft, 0.3, lambda gamma: 1 + 0.02 * gamma, alpha=0.8)
    assert fixed.first == sd.best_gamma(0.8, 0.3, lambda gamma: 1 + 0.02 * gamma)


def entropy(q):
    return -sum(x * math.log(x) for x in q.tolist() if x > 0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("make", "unsure"),
    [
        (lambda draft: sd.ConfidenceStop(draft, 0.3), lambda q, token: float(q[token]) < 0.3),
        (lambda draft: sd.EntropyStop(draft, 2.0), lambda q, token: entropy(q) > 2.0),
    ],
    ids=["confidence", "entropy"],
)
def test_a_stop_is_behind_the_first_unsure_token_which_is_kept(pair, temperature, make, unsure):
    options = {"gamma": 6, "temperature": temperature, "max_new_tokens": 30, "seed": 0}
    run = sd.speculative_generate(pair.target, make(pair.draft), SOURCES[1], **options)
    written, lengths = [pair.draft.start_token], set()
    for r in run.rounds:
        logits = tiny.fresh_logits(pair.draft, SOURCES[1], [*written, *r.drafted])
        doubts = [
            unsure(logits[len(written) - 1 + i].softmax(-1), token) or token == tiny.EOS
            for i, token in enumerate(r.drafted)
        ]
        assert not any(doubts[:-1])
        most = min(6, 30 - len(written))
        assert len(r.drafted) == most or doubts[-1]
        lengths.add(len(r.drafted))
        written += r.emitted
    assert len(lengths) > 2
    assert run.draft_passes == sum(len(r.drafted) for r in run.rounds)  # nothing is drafted behind a stop


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_schedule_that_never_interferes_changes_no_round(pair, temperature):
    """So one token at a time is drafted with the random numbers that the model alone would have drawn with."""
    options = {"gamma": 4, "temperature": temperature, "max_new_tokens": LENGTH, "seed": 3}
    alone = sd.speculative_generate(*pair, SOURCES, **options)
    for draft in (sd.ConfidenceStop(pair.draft, 0.0), sd.AtMost(pair.draft, 9), sd.Chain(pair.draft, Successor())):
        runs = sd.speculative_generate(pair.target, draft, SOURCES, **options)
        assert [facts(run) for run in runs] == [facts(run) for run in alone]


def test_stops_hear_through_each_other(pair):
    options = {"gamma": 6, "temperature": 0.0, "max_new_tokens": 30}
    alone, inside = (
        sd.speculative_generate(pair.target, draft, SOURCES[1], **options)
        for draft in (sd.ConfidenceStop(pair.draft, 0.5), sd.ConfidenceStop(sd.EntropyStop(pair.draft, 99), 0.5))
    )
    assert facts(alone) == facts(inside)


class Successor(sd.Proposer):
    """What a reader writes in ten lines: after each token comes the next one of the vocabulary."""

    def propose(self, texts, plan, adjustment, draws):
        last = torch.tensor([text.tokens[-1:] for text in texts])
        tokens = (last + 1 + torch.arange(max(plan))) % tiny.VOCAB
        return sd.Proposal(tokens, sd.one_hot(tokens, tiny.VOCAB), plan)


@pytest.mark.parametrize("sources", [SOURCES[0], SOURCES])
def test_a_proposer_of_ten_lines(pair, sources):
    assert len(inspect.getsource(Successor).splitlines()) <= 10
    options = {"temperature": 0.0, "max_new_tokens": LENGTH}
    plain = sd.autoregressive_generate(pair.target, sources, **options)
    run = sd.speculative_generate(pair.target, Successor(), sources, **options)
    plain, run = ([x] if isinstance(x, sd.Generation) else x for x in (plain, run))
    assert [each.token_ids for each in run] == [each.token_ids for each in plain]


# ---- A truncated head ----


@pytest.mark.parametrize("family", [*tiny.FAMILIES, "whisper"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@torch.no_grad()
def test_a_truncated_head_says_the_same_of_its_tokens_and_nothing_of_others(family, dtype):
    draft, known = tiny.tiny_pair(family, dtype=dtype).draft, [1, 4, 9, 30]
    small = sd.truncate_head(draft, [30, 9, 4, 1, 4])
    cursors, source = [model.cursor() for model in (draft, small)], SOURCES[0]
    if family == "whisper":
        source = {"input_features": torch.randn(1, 8, 40, generator=torch.Generator().manual_seed(0))}
    for cursor in cursors:
        cursor.start(draft.source([source]))
    whole, cut = (cursor.extend([3, 5, 9]) for cursor in cursors)
    assert cut.shape == whole.shape
    assert torch.allclose(cut[:, known], whole[:, known].to(cut.dtype), atol=0.1 if dtype == torch.bfloat16 else 1e-5)
    q = sd.SamplingRule(2.0).probs(cut)
    assert torch.allclose(q[:, known].sum(1), torch.ones(3, dtype=q.dtype)) and (q > 0).sum() == 3 * len(known)
    assert small.hf_model.get_output_embeddings().weight.shape == (4, tiny.WIDTH)


def test_all_but_the_heads_rows_is_shared_and_the_model_stays_as_it_was(pair):
    before = [tensor.data_ptr() for tensor in pair.draft.hf_model.parameters()]
    small = sd.truncate_head(pair.draft, [tiny.EOS, 5])
    assert [tensor.data_ptr() for tensor in pair.draft.hf_model.parameters()] == before
    own = {tensor.data_ptr() for tensor in small.hf_model.parameters()} - set(before)
    assert own == {small.hf_model.get_output_embeddings().weight.data_ptr()}
    assert small.hf_model.get_encoder() is pair.draft.hf_model.get_encoder()
    assert small.vocab_size == tiny.VOCAB


@families
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_where_settings_forbid_all_of_the_head_it_proposes_evenly_from_the_others(family, temperature):
    """Behind a least length only the EOS is left of this head; before it, nothing."""
    pair = tiny.tiny_pair(family, min_length=4, suppress_tokens=[6, 7])
    small = sd.truncate_head(pair.draft, [tiny.EOS, 6, 7])
    options = {"temperature": temperature, "max_new_tokens": 8, "seed": 0}
    run = sd.speculative_generate(pair.target, small, SOURCES[0], gamma=2, **options)
    assert run.rounds[0].drafted and not {tiny.EOS, 6, 7} & set(run.rounds[0].drafted)
    assert tiny.EOS in run.rounds[-1].drafted or len(run.token_ids) == 8
    if temperature == 0:
        assert run.token_ids == sd.autoregressive_generate(pair.target, SOURCES[0], **options).token_ids


@families
@pytest.mark.parametrize("gamma", [1, 2])
def test_the_law_holds_where_settings_forbid_all_of_the_head(family, gamma):
    from test_exact_law import joint, shipping, target_law

    pair, edit = shipping(family, "min_length", 4)
    law = joint(target_law(pair.target, SOURCE, PLAIN["rule"], 4, edit))
    found, seen = law_of(pair, PLAIN, lambda draft: sd.truncate_head(draft, [tiny.EOS]), gamma)
    assert distance(found, law) < 1e-12 and any(r.n_accepted for r in seen)


@pytest.mark.parametrize("rounded", [None, torch.bfloat16])
@torch.no_grad()
def test_a_truncated_head_is_made_narrow_like_any_other(pair, rounded):
    small = sd.truncate_head(pair.draft, [tiny.EOS, 4, 9])
    twin = narrow_twin(small.hf_model, rounded)
    given = {"input_ids": torch.tensor([SOURCES[0]]), "decoder_input_ids": torch.tensor([[3, 5, 9]])}
    cut, narrow = (model(**given).logits for model in (small.hf_model, twin))
    assert torch.allclose(cut, narrow, atol=0.3 if rounded else 1e-4) and torch.equal(cut < -1e29, narrow < -1e29)
    head = twin.get_output_embeddings().linear
    assert isinstance(head, NarrowLinear) and head.weight.shape == (3, tiny.WIDTH)
    assert isinstance(small.hf_model.get_output_embeddings().linear, torch.nn.Linear)


@pytest.mark.long
def test_a_truncated_draft_can_be_compiled():
    pair = tiny.tiny_pair("t5")
    small = sd.Pair(pair.target, sd.truncate_head(pair.draft, range(1, 20)), "truncated")
    limits = {"gammas": 3, "max_new_tokens": 12, "max_source_tokens": 16}
    fast = sd.compile_pair(small, **limits, backend=lambda graph, _: graph.forward, progress=False)
    for temperature in (0.0, 1.0):
        options = {"gamma": 3, "max_new_tokens": 12, "temperature": temperature, "seed": 1}
        eager, compiled = (sd.speculative_generate(*each, SOURCES[0], **options) for each in (small, fast))
        assert facts(eager) == facts(compiled)
        assert all(token < 20 for r in compiled.rounds for token in r.drafted)


def test_the_commonest_tokens_of_texts():
    model = tiny.tiny_pair(tokenizer=tiny.tokenizer()).draft
    assert sd.common_tokens(model, ["w5 w6 w5", "w7 w5 w7"], 3) == [tiny.EOS, 5, 7]
    assert sd.common_tokens(model, [[9, 8, 9, tiny.EOS], [8, 9]], 9) == [tiny.EOS, 9, 8]
    assert sd.common_tokens(model, [[9]], 1) == [tiny.EOS]


# ---- What is refused ----


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda pair: sd.CopyDraft(), ValueError, "references=None: expected some"),
        (lambda pair: sd.CopyDraft(["Guten Tag"]), TypeError, "references=.'Guten Tag'.: expected lists of token ids"),
        (lambda pair: sd.CopyDraft("Guten Tag"), TypeError, "references=.*expected lists of token ids"),
        (lambda pair: sd.CopyDraft([3.5]), TypeError, "references=.*expected lists of token ids"),
        (lambda pair: sd.CopyDraft([5], longest=0), ValueError, "longest=0: expected an integer >= 1"),
        (lambda pair: sd.AtMost(pair.draft, 0), ValueError, "gamma=0: expected an integer >= 1"),
        (
            lambda pair: sd.HeuristicGamma(3),
            TypeError,
            "proposer=3: expected a Seq2Seq or a Proposer, but it has no st",
        ),
        (lambda pair: sd.Chain(pair.draft, "copy"), TypeError, "proposer='copy': expected a Seq2Seq or a Proposer"),
        (lambda pair: sd.Chain(), ValueError, "expected at least one proposer"),
        (lambda pair: sd.ConfidenceStop(Successor), TypeError, "proposer=Successor: expected an object"),
        (lambda pair: sd.ConfidenceStop(pair.draft, 1.5), ValueError, r"threshold=1.5: expected a number in \[0, 1\]"),
        (lambda pair: sd.EntropyStop(sd.Chain(pair.draft)), ValueError, "proposer=a chain: expected the stop inside"),
        (lambda pair: sd.EntropyStop(pair.draft, -1), ValueError, "limit=-1: expected a number >= 0"),
        (lambda pair: sd.AdaptiveGamma(pair.draft, -0.1), ValueError, "c=-0.1: expected a number >= 0"),
        (lambda pair: sd.AdaptiveGamma(pair.draft, 0.1, {}), ValueError, "v={}: expected the cost of at least one"),
        (lambda pair: sd.AdaptiveGamma(pair.draft, 0.1, {2: 0}), ValueError, "v=0: expected a number > 0"),
        (lambda pair: sd.AdaptiveGamma(pair.draft, 0.1, alpha=2), ValueError, "alpha=2: expected a number in"),
        (lambda pair: sd.truncate_head(pair.draft, []), ValueError, "tokens holds no token: expected some"),
        (lambda pair: sd.truncate_head(pair.draft, [4, 5]), ValueError, r"tokens holds no EOS: .* one of \[1\]"),
        (lambda pair: sd.truncate_head(pair.draft, [1, 99]), ValueError, r"tokens holds 99: expected ids in 0\.\.31"),
        (lambda pair: sd.truncate_head(pair.draft, [1, 2.5]), ValueError, "tokens holds 2.5: expected ids"),
        (lambda pair: sd.truncate_head(pair, [1]), TypeError, "model=Pair: expected a Seq2Seq"),
        (lambda pair: sd.common_tokens(pair.draft, [], 4), ValueError, "texts: expected at least one"),
        (lambda pair: sd.common_tokens(pair.draft, ["Ja."], 4), TypeError, "texts holds 'Ja.': expected token ids"),
        (lambda pair: sd.common_tokens(pair.draft, [[1]], 0), ValueError, "n=0: expected an integer >= 1"),
    ],
)
def test_what_cannot_draft_is_refused_when_it_is_made(t5_pair, make, error, said):
    with pytest.raises(error, match=said):
        make(t5_pair)


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (lambda pair: sd.CopyDraft([5, 99]), r"a reference holds token id 99: expected ids in 0\.\.31"),
        (lambda pair: sd.CopyDraft([-1]), "a reference holds token id -1"),
        (
            lambda pair: sd.Chain(sd.CopyDraft([[5], [99]]), pair.draft),
            "references has 2 lists: expected one for each of 1",
        ),
        (
            lambda pair: sd.AtMost(sd.Seq2Seq(tiny.t5_model(1, vocab=31)), 2),
            "draft has 31 tokens: expected the target's",
        ),
        (
            lambda pair: sd.Chain(sd.CopyDraft([5]), sd.Seq2Seq(tiny.t5_model(1).to("meta"), self_check=False)),
            "draft is on meta: expected the target's device, cpu",
        ),
    ],
)
def test_what_cannot_draft_for_this_target_is_refused_before_any_pass(t5_pair, draft, said):
    given = draft(t5_pair)
    with tiny.counted(*t5_pair) as counts, pytest.raises(ValueError, match=said):
        sd.speculative_generate(t5_pair.target, given, SOURCES[0])
    assert not any(counts)


def test_a_source_without_token_ids_cannot_be_copied():
    pair = tiny.tiny_pair("whisper")
    features = {"input_features": torch.zeros(1, 8, 40)}
    with pytest.raises(ValueError, match="source=True: expected sources of token ids, this one has input_features"):
        sd.speculative_generate(pair.target, sd.CopyDraft(source=True), features)


def test_what_is_inside_a_wrapper_is_checked_by_its_own_name(t5_pair):
    class Odd(Successor):
        def propose(self, texts, plan, adjustment, draws):
            return None

    with pytest.raises(TypeError, match=r"Odd\.propose returned None: expected a Proposal"):
        sd.speculative_generate(t5_pair.target, sd.HeuristicGamma(Odd()), SOURCES[0])
