"""The mutation lab: exact biases and costs, and which test catches which bug, in tables and in real caches."""

import json
import math
from collections import defaultdict
from fractions import Fraction as F
from pathlib import Path

import pytest
import torch

import enumerate_law
import mutations as lab
import specdec_lite as sd
import tiny

CHAPTER = Path(__file__).parents[1] / "notebooks" / "07_is_it_lossless.ipynb"

CAUGHT = {  # one step, sequences, greedy, cache, passes, chi-square
    "right": "......",
    "refusal: draw from p": "XX...X",
    "residual q − p": "XXX..X",
    "noise used twice": "XX...X",
    "ratio min(1, q/p)": "XXX..X",
    "accept iff p ≥ q": "XX...X",
    "first guess unchecked": "XXX..X",
    "block rule, last test uncapped": ".X...X",
    "argmax draft, softmax q": "XX...X",
    "top-2 draft, raw q": "XX...X",
    "one-hot q, refusal from p": "XX..XX",
    "unsure draft token dropped": "XX..XX",
    "bonus token forgotten": "....X.",
    "hole in the draft's cache": "...XX.",
    "source cropped on rollback": ".XXXXX",
    "pad not counted in a block": ".X.XXX",
    "one uniform for all coins": ".X...X",
}


@pytest.mark.long  # chapter 7 shows it, and its outputs are compared
def test_matrix():
    found = {name: "".join(".X"[caught] for caught in row) for name, row in lab.matrix().items()}
    assert found == CAUGHT


def test_no_test_catches_the_right_block_rule():
    assert not any(lab.caught(lab.Block))


@pytest.mark.parametrize(
    "name, bias",
    [
        ("right", F(0)),
        ("refusal: draw from p", F(1, 10)),
        ("residual q − p", F(1, 2)),
        ("noise used twice", F(3, 35)),
        ("ratio min(1, q/p)", F(1, 2)),
        ("accept iff p ≥ q", F(1, 5)),
        ("first guess unchecked", F(1, 2)),
        ("block rule, last test uncapped", F(0)),
        ("argmax draft, softmax q", F(3, 35)),
        ("top-2 draft, raw q", F(7, 90)),
        ("one-hot q, refusal from p", F(4, 25)),
        ("unsure draft token dropped", F(3, 50)),
        ("pad not counted in a block", F(0)),
        ("one uniform for all coins", F(0)),
    ],
)
def test_exact_bias_of_one_step(name, bias):
    assert lab.distance(lab.emitted_law(lab.MUTATIONS[name], 1, 1), lab.target_law(1)) == bias


@pytest.mark.parametrize("loop, bias", [(lab.Right, 0), (lab.Block, 0), (lab.UncappedLast, F(1, 9))])
def test_uncapped_last_test_on_a_toy_of_two_tokens(loop, bias):
    toy = (lambda *seen: [F(1, 3), F(2, 3)], lambda *seen: [F(2, 3), F(1, 3)])
    assert lab.emitted_law(loop, 2, 1, toy) == lab.target_law(1, toy[0])
    assert lab.distance(lab.emitted_law(loop, 2, 2, toy), lab.target_law(2, toy[0])) == bias


def test_noise_used_twice_by_integration_over_the_uniform():
    p, q = lab.P0, lab.Q0
    ends = [sum(q[: i + 1]) for i in range(3)]  # the residual is (3/5, 2/5, 0)
    emitted, steps = [F(0)] * 3, 1000
    for step in range(steps):
        u = F(2 * step + 1, 2 * steps)
        x = next(i for i, end in enumerate(ends) if u < end)
        kept = min(F(1), p[x] / q[x])
        emitted[x] += kept / steps
        emitted[0 if u < F(3, 5) else 1] += (1 - kept) / steps
    law = lab.emitted_law(lab.NoiseTwice, 1, 1)
    assert [law[(x,)] for x in range(3)] == emitted


def test_a_pad_shifts_what_follows_it_in_the_same_pass_and_nothing_later():
    right, wrong = lab.Right.cursor(lab.target), lab.PadUncounted.cursor(lab.target)
    block = (lab.START, lab.PAD, 1, 1)
    same = [a == b for a, b in zip(right.feed(block), wrong.feed(block), strict=True)]
    assert same == [True, True, False, False]
    assert right.feed((1,)) == wrong.feed((1,))


@pytest.mark.parametrize("name", ["right", "bonus token forgotten", "hole in the draft's cache"])
def test_bugs_without_bias_keep_the_law_beyond_a_fully_accepted_round(name):
    # At gamma = 2 full acceptance emits up to three tokens; what the hole does to the draft shows in the fourth.
    loop = lab.MUTATIONS[name]
    assert lab.emitted_law(loop, 1, 4) == lab.emitted_law(loop, 2, 4) == lab.target_law(4)


def overlap(text):
    return F(9, 10) if text[-1] else F(1, 2)


def test_costs_of_the_right_loop_by_hand():
    # The draft's overlap is 1/2 behind a token 0, the start token included, and 9/10 behind the others.
    accepted, examined = F(0), F(0)
    for x in range(3):
        kept = min(lab.P0[x], lab.Q0[x])
        accepted += kept * (1 + overlap((x,)))
        examined += kept
    assert lab.costs(lab.Right, passes=1) == (accepted / (1 + examined), 1 + accepted)


def test_speed_is_no_sign_of_the_law():
    _, right = lab.costs(lab.Right)
    faster = [name for name, loop in lab.MUTATIONS.items() if lab.costs(loop)[1] > right]
    assert len(faster) == 8 and "refusal: draw from p" in faster
    assert all(lab.emitted_law(lab.MUTATIONS[name], 2, 4) != lab.target_law(4) for name in faster)
    assert lab.costs(lab.AcceptIfLikelier)[1] < right


def test_bugs_without_bias_cost_speed_with_the_target_as_its_own_draft():
    assert lab.costs(lab.Right, lab.target) == lab.costs(lab.Block, lab.target) == (1, 3)
    assert lab.costs(lab.ForgetsBonus, lab.target) == (1, 2)
    assert lab.costs(lab.DraftHole, lab.target, passes=1) == (1, 3)  # the first round makes the hole
    assert all(hole < right for hole, right in zip(lab.costs(lab.DraftHole, lab.target), (1, 3), strict=True))
    assert all(hole < right for hole, right in zip(lab.costs(lab.DraftHole), lab.costs(lab.Right), strict=True))


@pytest.mark.parametrize("name", lab.MUTATIONS)
def test_costs_agree_with_counts_of_sampled_runs(name):
    draws, runs = lab.Sampling(0), 2000
    sampled = [lab.MUTATIONS[name]().run(lab.target, lab.draft, 2, 6, draws, 2) for _ in range(runs)]
    rounds = [each for run in sampled for each in run.rounds]
    rate, tokens = lab.costs(lab.MUTATIONS[name])
    assert sum(r.n for r in rounds) / sum(r.examined for r in rounds) == pytest.approx(float(rate), abs=0.03)
    assert sum(len(r.tokens) for r in sampled) / len(rounds) == pytest.approx(float(tokens), abs=0.06)


def test_what_the_hole_hides_is_one_token_and_nothing_else():
    class Stop(Exception):
        pass

    class Draws:
        def token(self, row):
            raise Stop  # at the first guess: the catch-up has been fed

    small = lab.Cursor(lab.target)
    small.feed((lab.START, 0, 1))  # of three drafted tokens 0, 1, 2 the last is never fed; the bonus is 1
    with pytest.raises(Stop):
        lab.DraftHole().propose(small, (lab.START, 0, 1, 2, 1), 2, Draws())
    assert (small.fed, small.length) == ((lab.START, 0, 1, 1), 5)
    small.feed((2, 2))
    small.rollback(6)
    assert (small.fed, small.length) == ((lab.START, 0, 1, 1, 2), 6)


def test_chi_square():
    law = {"a": F(1, 2), "b": F(1, 4), "c": F(1, 4)}
    assert lab.chi_square({"a": 50, "b": 25, "c": 25}, law)[0] == 0
    assert lab.chi_square({"a": 60, "b": 40}, law)[0] == pytest.approx(100 / 50 + 225 / 25 + 625 / 25)


# --- The cache bugs, in real caches: the chapter's own classes and tests, on tiny models. ---


def chapter(pair: sd.Pair, text) -> dict:
    """The names that the chapter's cells on real caches define, with these models for the pocket pair."""
    names = {"sd": sd, "torch": torch, "pair": pair, "text": text, "max_new_tokens": 20, "seed": 0}
    for cell in json.loads(CHAPTER.read_text())["cells"]:
        if "real-cache" in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), names)
    return names


def test_real_cache_bugs_and_the_tests_that_see_them(pair, capsys):
    texts = tiny.sources(3, seed=3)
    names = chapter(pair, texts[0])
    capsys.readouterr()
    verdicts = {name: names["verdict"](texts, **parts) for name, parts in names["broken"].items()}
    found = {name: (*row[:3], round(row[3], 3) == 1) for name, row in verdicts.items()}
    assert found == {  # greedy parity, target's rows fresh, draft's rows fresh, alpha = 1 with draft = target
        "right": (True, True, True, True),
        "hole in the draft's cache": (True, True, False, False),
        "source cropped on rollback": (False, False, True, False),
        "refused tokens kept": (False, False, True, True),
    }


def test_hole_in_a_real_cache_costs_passes_and_no_token(pair, capsys):
    names, texts = chapter(pair, tiny.sources(1)[0]), tiny.sources(8, seed=5)
    capsys.readouterr()

    def twins(**parts):
        return [names["generate"](text, pair.target, temperature=0.0, **parts)[0] for text in texts]

    right, hole = twins(), twins(**names["broken"]["hole in the draft's cache"])
    assert [run.token_ids for run in hole] == [run.token_ids for run in right]
    assert all(run.accepted == run.examined for run in right)
    assert sum(run.target_passes for run in hole) > sum(run.target_passes for run in right)


def test_bias_of_a_rule_on_two_rows_by_every_guess():
    names = chapter(None, "")
    p, q = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.2, 0.1, 0.3, 0.4]], dtype=torch.float64)
    for rule in (sd.TokenRule(), sd.BlockRule()):
        assert names["off_by"](rule, p, q) < 1e-12
    assert names["off_by"](names["KeepsAll"](), p, q) == pytest.approx(0.5)  # TV(p, q)
    # kept: (.2, .1, .2, 0); half is refused, and p comes instead of (.6, .4, 0, 0)
    assert names["off_by"](names["FromP"](), p, q) == pytest.approx(0.1)
    assert names["off_by"](sd.TokenRule(lenience=0.5), p, q) == pytest.approx(0.1)  # acceptance goes from .5 to .6


def test_exact_law_of_the_package_with_a_broken_cache(capsys):
    """Whole runs are enumerated, not rounds from fresh caches: what is broken goes from round to round."""
    pair = tiny.tiny_pair(seed=7, vocab=4, dtype=torch.float64, sharpness=1.2, noise=0.3, suppress_tokens=[tiny.PAD])
    source, options = [3, 2, 3], {"gamma": 1, "max_new_tokens": 4}
    right = enumerate_law.target_law(pair.target, source, sd.SamplingRule(), 4, forbid_pad)
    broken, bias, accepted = chapter(pair, source)["broken"], {}, {}
    capsys.readouterr()
    for name, parts in broken.items():
        target = pair.target.with_cursor(parts.get("cursor", sd.CachedDecoder))
        draft, law = parts.get("draft", sd.DraftModel), defaultdict(float)

        def generate(draws, target=target, draft=draft):
            return sd.speculative_generate(target, draft(pair.draft), source, draws=draws, **options)

        accepted[name] = 0.0
        for run, probability in enumerate_law.every_path(generate):
            law[tuple(run.token_ids)] += probability
            accepted[name] += probability * run.accepted
        bias[name] = enumerate_law.distance(law, right)
    assert max(bias["right"], bias["hole in the draft's cache"]) < 1e-12
    assert min(bias["source cropped on rollback"], bias["refused tokens kept"]) > 1e-3
    assert abs(accepted["hole in the draft's cache"] - accepted["right"]) > 1e-3  # the hole was there


def forbid_pad(prefix, logits):
    logits[tiny.PAD] = -math.inf
