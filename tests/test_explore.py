"""The explorables: HTML that needs nothing from elsewhere and lets nothing in, and JavaScript that counts as we do."""

import json
import random
import re
import shutil
import subprocess
from fractions import Fraction

import pytest
import torch

import mutations as lab
import specdec_lite as sd
import tiny
from specdec_lite import explore
from specdec_lite.explore.gamma_map import COLUMNS, ROWS, path, regions, tag
from specdec_lite.explore.page import HERE, STILL, Explorable
from test_display import EVIL

P, Q = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)], [Fraction(1, 3), Fraction(2, 3), Fraction(0)]
MATRIX = {name: [(i + k) % 3 == 1 and i > 0 for k in range(len(lab.TESTS))] for i, name in enumerate(lab.MUTATIONS)}
C, V = 0.3, 1.53


@pytest.fixture(scope="module")
def noted(t5_pair):
    notes = explore.Notes(seed=3)
    parts = {"draws": notes.draws, "verification": notes.rule}
    return sd.speculative_generate(*t5_pair, tiny.sources(1)[0], gamma=3, max_new_tokens=24, **parts), notes


@pytest.fixture(scope="module")
def shown(noted):
    return [
        explore.accept_reject(P, Q, EVIL[:3]),
        explore.rounds(*noted, c=C, v=V),
        explore.rounds(noted[0], c=C, v=V),
        explore.gamma_map(marks={EVIL[0]: (0.83, 0.3)}),
        explore.gamma_map({1: 1.2, 2: 1.3, 4: 1.5, 8: 1.9}),
        explore.mutation_matrix(MATRIX, lab.TESTS, explore.changed_lines(lab.MUTATIONS)),
    ]


@pytest.fixture(scope="module")
def js():
    """Evaluate an expression for each state, with the functions of an explorable's own page at hand."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so the JavaScript of the explorables cannot be run")

    def evaluate(shown: Explorable, expression: str, states: list):
        program = (
            f"{shown.script()}\nconst data = {shown.json()};\n"
            f"console.log(JSON.stringify({json.dumps(states)}.map((s) => {expression})));"
        )
        result = subprocess.run([node, "-"], input=program, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return evaluate


# The HTML


def test_nothing_comes_from_elsewhere(shown):
    for each in shown:
        html = each._repr_html_()
        assert not re.search(r"""https?:|//cdn|\bsrc=|\bhref=|url\(|@import|\bfetch\(|\bimport\b\s*[({"']""", html)


def test_every_explorable_has_an_id_of_its_own_and_no_other(shown):
    twice = [explore.accept_reject(P, Q, "abc") for _ in range(2)]
    found = [re.findall(r'\sid="([^"]+)"', each._repr_html_()) for each in [*shown, *twice]]
    assert all(len(ids) == 1 for ids in found)
    assert len({ids[0] for ids in found}) == len(found)
    for each, ids in zip([*shown, *twice], found):
        assert f'start("{ids[0]}", mount)' in each._repr_html_()


def test_shown_twice_it_says_the_same(shown):
    assert all(each._repr_html_() == each._repr_html_() for each in shown)


def test_first_frame_and_a_sentence_are_there_without_a_script(shown):
    for each in shown:
        still = re.sub(r"<(script|style)\b.*?</\1>", "", each._repr_html_(), flags=re.DOTALL)
        assert STILL in still and re.search(r'data-show="say">[^<]{20,}<', still)
        assert 40 < len(repr(each)) < 300 and "\x1b" not in repr(each)


def test_what_a_model_writes_is_text(shown):
    for each in shown:
        html = each._repr_html_()
        assert "<script>alert" not in html and "<script" not in each.body
        assert all(c.isprintable() for c in each.body.replace("\n", ""))
    assert "&lt;script&gt;" in shown[0]._repr_html_() and "\\u003cscript>" in shown[0].json()


def test_a_lone_surrogate_and_a_turned_line_are_shown_and_encode():
    html = explore.accept_reject([0.5, 0.5], [0.5, 0.5], ["\ud800", "a\u202eb"])._repr_html_()
    assert "\\ud800" in html and "a\\u202eb" in html
    html.encode("utf-8")


def test_every_control_has_a_name(shown):
    for each in shown:
        for button in re.findall(r"<button[^>]*>(.*?)</button>", each.body):
            assert button.strip()
        for knob in re.findall(r'<b class="knob[^>]*>', each.body):
            assert all(f"aria-{name}=" in knob for name in ("label", "valuenow", "valuetext"))
        assert each.body.count("<input") == len(
            re.findall(r'<label class="slider"><span>[^<]+</span><input', each.body)
        )


def test_a_refusal_says_what_came_instead(noted, shown):
    refusals = sum(r.source == "residual" for r in noted[0].rounds)
    unused = sum(max(len(r.drafted) - r.n_accepted - 1, 0) for r in noted[0].rounds)
    assert refusals and unused
    for each in shown[1:3]:
        assert len(re.findall("<td>refused: “[^”]+” came instead</td>", each.body)) == refusals
        assert each.body.count("<td>scored, not used</td>") == unused
    assert "from the residual" in shown[1].body and "the target’s correction" in shown[2].body


def test_colours_are_those_of_the_book():
    css = (HERE / "explore.css").read_text(encoding="utf-8").lower()
    for name in ("accepted", "residual", "bonus", "target", "draft"):
        assert f"--{name}: {sd.display.COLOURS[name].lower()};" in css


def test_scripts_are_short_enough_to_be_read():
    for script in HERE.glob("*.js"):
        assert len(script.read_text(encoding="utf-8").splitlines()) < 200, script.name


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: explore.accept_reject([0.5, 0.6], [0.5, 0.5], "ab"), "p=.*sum to 1"),
        (lambda: explore.accept_reject([0.5, 0.5], [1.5, -0.5], "ab"), "q=1.5"),
        (lambda: explore.accept_reject([1.0], [1.0], "a"), "two to six"),
        (lambda: explore.gamma_map(point=(1.2, 0.1)), "alpha=1.2"),
        (lambda: explore.gamma_map(v=0), "v=0"),
        (lambda: explore.rounds(sd.Generation(), c=0.3, v=1.5), "no rounds"),
        (lambda: explore.mutation_matrix({"a": [True]}, ["x", "y"], {"a": []}), "'a'.*1 entries"),
        (lambda: explore.mutation_matrix({"a": [True]}, ["x"], {}), "no entry for 'a'"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# What is recorded


def test_notes_change_nothing_and_agree_with_the_record(t5_pair, noted):
    run, notes = noted
    plain = sd.speculative_generate(*t5_pair, tiny.sources(1)[0], gamma=3, max_new_tokens=24, seed=3)
    assert plain.token_ids == run.token_ids and len(notes.rounds) == len(run.rounds)
    for r, guesses in zip(run.rounds, notes.rounds):
        coins = [guess.u < guess.heads for guess in guesses[: r.examined]]
        assert coins == [True] * r.n_accepted + [False] * (r.examined - r.n_accepted)
        assert all(guess.heads == pytest.approx(min(1, guess.p / guess.q)) for guess in guesses)


def test_notes_of_another_run_are_refused(noted):
    run, notes = noted
    other = sd.Generation(rounds=run.rounds[:1], pieces=run.pieces, token_ids=run.token_ids)
    with pytest.raises(ValueError, match="this very run"):
        explore.rounds(other, notes, c=C, v=V)


def test_changed_lines_are_those_of_the_source():
    changes = explore.changed_lines(lab.MUTATIONS)
    assert changes["right"] == []
    assert changes["refusal: draw from p"] == [
        "  def after_refusal(self, p, q, x):",
        "-     return normalised([max(a - b, F(0)) for a, b in zip(p, q)], p)",
        "+     return p",
    ]
    assert changes["bonus token forgotten"] == [
        "  def adds_own(self, n, guesses):",
        "-     return True",
        "+     return n < len(guesses)",
    ]
    assert changes["block rule, last test uncapped"] == [  # compared with the block rule, which is right, too
        "  def last(self, p, q, guesses):",
        "-     return self.weights(p, q, guesses)[-1]",
        "+     return min(F(1), prod(self.ratios(p, q, guesses)))",
    ]
    assert all(any(line.startswith("+ ") for line in lines) for name, lines in changes.items() if name != "right")
    # an inherited change is a change, too
    assert any("index(max(q))" in line for line in changes["one-hot q, refusal from p"])


# The JavaScript against the package


def states(seed: int = 0, n: int = 10) -> list[dict]:
    rng = random.Random(seed)

    def row():
        weights = [rng.choice([0, rng.random()]) for _ in range(3)] + [rng.random() + 0.01]
        return [w / sum(weights) for w in weights]

    pairs = [{"p": row(), "q": row()} for _ in range(n - 1)]
    return [*pairs, {"p": pairs[0]["p"], "q": pairs[0]["p"]}]


def test_accept_reject_counts_as_the_package(js, shown):
    cases = states()
    found = js(
        shown[0],
        "({alpha: overlap(s.p, s.q), residual: residual(s.p, s.q), heads: s.p.map((_, x) => heads(s.p, s.q, x)),"
        " law: law(s.p, s.q, 'residual'), wrong: law(s.p, s.q, 'p'), moved: moved(s.p, 1, 0.4)})",
        cases,
    )
    for case, seen in zip(cases, found, strict=True):
        p, q = (torch.tensor(case[name], dtype=torch.float64) for name in "pq")
        alpha, residual = sd.overlap(p, q), sd.residual(p, q)
        drafted = torch.arange(4)
        heads = sd.TokenRule().heads(p.expand(5, 4), q.expand(5, 4), drafted)
        assert seen["alpha"] == pytest.approx(float(alpha), abs=1e-12)
        assert seen["residual"] == pytest.approx(residual.tolist(), abs=1e-12)
        assert seen["heads"] == pytest.approx(heads.tolist(), abs=1e-12)
        assert seen["law"] == pytest.approx(p.tolist(), abs=1e-12)
        assert seen["wrong"] == pytest.approx((torch.minimum(p, q) + (1 - alpha) * p).tolist(), abs=1e-12)
        assert sum(seen["moved"]) == pytest.approx(1) and seen["moved"][1] == 0.4


def mulberry32(seed: int):
    while True:
        seed = (seed + 0x6D2B79F5) % 2**32
        t = (seed ^ (seed >> 15)) * (seed | 1) % 2**32
        t ^= (t + (t ^ (t >> 7)) * (t | 61)) % 2**32
        yield ((t ^ (t >> 14)) % 2**32) / 2**32


def test_a_hundred_samples_fall_as_the_packages_arithmetic_says(js, shown):
    cases = [{**case, "seed": seed} for seed, case in enumerate(states(1))]
    found = js(shown[0], "tally(s.p, s.q, 'residual', 100, dice(s.seed))", cases)
    for case, seen in zip(cases, found, strict=True):
        p, q = (torch.tensor(case[name], dtype=torch.float64) for name in "pq")
        dice, counts = mulberry32(case["seed"]), {"accepted": [0] * 4, "residual": [0] * 4, "gone": 0}
        for _ in range(100):
            x = int(sd.pick(q, torch.tensor(next(dice), dtype=torch.float64)))
            accepted = next(dice) < min(1, p[x] / q[x])
            if not accepted:
                x = int(sd.pick(sd.residual(p, q), torch.tensor(next(dice), dtype=torch.float64)))
            counts["accepted" if accepted else "residual"][x] += 1
        assert seen == counts


def test_rounds_add_up_as_the_record_does(js, noted, shown):
    run, steps = noted[0], list(range(len(noted[0].rounds)))
    assert len(steps) >= 5
    time, tokens = 0.0, 0
    found = js(shown[1], "({...stand(data, s), words: sentence(data, s)})", steps)
    for i, (r, seen) in enumerate(zip(run.rounds, found, strict=True)):
        n = len(r.drafted)
        time += n * C + 1 + (V - 1) * n / 3
        tokens += len(r.emitted)
        assert seen["time"] == pytest.approx(time) and seen["tokens"] == tokens and seen["passes"] == i + 1
        assert seen["plain"] == min(int(time + 1e-9), len(run.token_ids))
        assert f"{r.n_accepted} of {n} guesses kept" in seen["words"] or not n
    assert found[-1]["tokens"] == len(run.token_ids)
    assert f"{len(run.token_ids) / time:.2f} times as fast" in found[-1]["words"]
    assert found[0]["words"] in shown[1].body


def test_the_map_is_the_formula_of_the_package(js, shown):
    rng = random.Random(2)
    cases = [{"alpha": rng.random(), "c": rng.random() * 0.6, "v": 0.8 + rng.random()} for _ in range(10)]
    gammas = range(1, 17)
    found = js(
        shown[3],
        "({...best(s.alpha, s.c, data.gammas, data.gammas.map(() => s.v)),"
        " all: data.gammas.map((g) => speedup(s.alpha, g, s.c, s.v)), words: expectedTokens(s.alpha, 4)})",
        cases,
    )
    for case, seen in zip(cases, found, strict=True):
        alpha, c, v = case.values()
        assert seen["gamma"] == sd.best_gamma(alpha, c, v, gammas)
        assert seen["all"] == pytest.approx([sd.walltime_factor(alpha, gamma, c, v) for gamma in gammas])
        assert seen["factor"] == pytest.approx(max(seen["all"])) and seen["words"] == pytest.approx(
            sd.expected_tokens(alpha, 4)
        )


def test_the_regions_of_the_map_are_the_same_in_both(js, shown):
    for each in shown[3:5]:
        (found,) = js(
            each,
            "[...regions(data, data.v)].map(([g, runs]) => [g, path(runs, data.rows), tag(runs, data)])",
            [0],
        )
        known = regions(each.data)
        for gamma, drawn, spot in found:
            assert drawn == path(known[gamma])
            assert (spot and (spot["x"], spot["y"])) == tag(known[gamma])
        for gamma, runs in known.items():
            for run in runs[:: max(1, len(runs) // 5)]:
                alpha, c = (run.start + 0.5) / COLUMNS, (run.row + 0.5) / ROWS * each.data["top"]
                price = dict(zip(each.data["gammas"], each.data["v"])).get
                assert sd.best_gamma(alpha, c, price, each.data["gammas"]) == gamma
                assert sd.walltime_factor(alpha, gamma, c, price(gamma)) > 1


def test_the_matrix_is_looked_up_rightly(js, shown):
    rng = random.Random(3)
    cases = [sorted(rng.sample(range(6), rng.randint(0, 6))) for _ in range(10)]
    found = js(shown[5], "({...together(data, s), words: verdict(data, s)})", cases)
    for chosen, seen in zip(cases, found, strict=True):
        escaped = [name for i, (name, row) in enumerate(MATRIX.items()) if i and not any(row[k] for k in chosen)]
        assert seen["escaped"] == escaped and seen["bugs"] == 16 and seen["caught"] == 16 - len(escaped)
        assert f"{16 - len(escaped)} of 16 bugs" in seen["words"]
