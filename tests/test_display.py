"""Tokens by origin and rounds one by one: the right ones, and nothing that a browser or a terminal would obey."""

import re
import warnings
from collections import Counter

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

import specdec_lite as sd
import tiny
from specdec_lite.checks import printable
from specdec_lite.display import MEANING, TOKEN_CSS
from specdec_lite.experiment.table import COLUMNS

EVIL = [" <script>alert('x')</script>", "\x1b[2J\x07", " a&b", "\n", " ok"]
STYLE = r"\x1b\[(?:\d;)*38;2;\d+;\d+;\d+m|\x1b\[0m"


@pytest.fixture
def evil():
    rounds = [sd.Round((3, 4), 2, 5, "bonus", 2, (1.0, 1.0)), sd.Round((6, 9), 0, 7, "residual", 1, (0.2,))]
    rounds.append(sd.Round((8,), 1, None, None, 1, (1.0,)))
    refused = [[], [" \u202eabc\ud800", "\0"], []]
    return sd.Generation(
        text="", token_ids=[3, 4, 5, 7, 8], pieces=EVIL, rounds=rounds, refused=refused, target_passes=3
    )


@pytest.fixture
def plain():
    return sd.Generation(token_ids=[3], pieces=[" w3"], rounds=[sd.Round((), 0, 3, "target")], target_passes=1)


def shown_origins(html: str) -> list[str]:
    body = html.split('<p class="sd-legend">')[0]
    return re.findall(r'title="(\w+)"', body)


def test_html_is_escaped(evil):
    for shown in (sd.show_tokens(evil), sd.show_rounds(evil)):
        html = shown._repr_html_()
        assert "<script" not in html and "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
        assert "a&amp;b" in html and "\\x1b[2J\\x07" in html
        assert all(c.isprintable() for c in html)


def test_html_shows_what_turns_lines_around_and_what_no_file_can_hold(evil):
    html = sd.show_rounds(evil)._repr_html_()
    assert "\\u202eabc\\ud800" in html and "\\x00" in html
    html.encode("utf-8")


def test_terminal_gets_no_control_characters_but_our_colours(evil):
    shown = [sd.show_tokens(evil), sd.show_tokens(evil, legend=False), sd.show_rounds(evil)]
    for text in [*(each.ansi() for each in shown), *map(repr, shown)]:
        uncoloured = re.sub(STYLE, "", text)
        assert all(c.isprintable() for c in uncoloured.replace("\n", ""))
        assert "\\x1b[2J\\x07" in uncoloured


def test_a_figure_typesets_nothing_that_a_model_writes(evil):
    evil.pieces = ["$x$", r" $\frac{$", "\x1b[2J\0", "\u202eabc\ud800", " "]
    evil.target_probs = torch.full((5, 10), 0.1)
    figure = sd.plot_token_probs(evil)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a sign that the font lacks would be one
        figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    shown = ["$x$", r"$\frac{$", r"\x1b[2J\x00", r"\u202eabc\ud800", "␣"]
    assert [label.get_text() for label in labels] == shown and not any(label.get_parse_math() for label in labels)
    plt.close(figure)


@pytest.mark.parametrize("name", ["$x$", r"$\frac{$", "_hidden", "\x1b[2J\0", "\u202eabc\ud800"])
def test_a_figure_typesets_nothing_of_a_pairs_name(name):
    row = {**dict.fromkeys(COLUMNS, 0.5), "verification": "token", "gamma": 2}
    figure = sd.plot_speedup(pd.DataFrame([{**row, "pair": pair} for pair in ("a", name)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    title = figure.axes[1].get_title(loc="left").split("\n")[0]
    assert title.replace(r"\$", "$") == printable(name)
    plt.close(figure)


def test_every_token_is_shown_with_its_origin_in_order(evil):
    origins = ["accepted", "accepted", "bonus", "residual", "accepted"]
    assert shown_origins(sd.show_tokens(evil)._repr_html_()) == origins
    assert shown_origins(sd.show_rounds(evil)._repr_html_()) == [*origins[:3], "refused", "unseen", *origins[3:]]


def test_origins_of_a_real_run_match_its_counts(pair):
    for seed, source in enumerate(tiny.sources(5)):
        run = sd.speculative_generate(*pair, source, max_new_tokens=12, seed=seed)
        shown = Counter(shown_origins(sd.show_tokens(run)._repr_html_()))
        assert shown["accepted"] == run.accepted and shown.total() == len(run.token_ids)
        assert shown["residual"] == sum(r.source == "residual" for r in run.rounds)
        assert shown["bonus"] == sum(r.source == "bonus" for r in run.rounds)
        rounds = Counter(shown_origins(sd.show_rounds(run)._repr_html_()))
        assert rounds["refused"] == run.examined - run.accepted
        assert rounds["refused"] + rounds["unseen"] == sum(len(r.drafted) - r.n_accepted for r in run.rounds)
        assert len(repr(sd.show_rounds(run)).splitlines()) == len(run.rounds)


def test_what_was_refused_is_kept_as_text_and_else_shown_by_its_id(pair, evil):
    run = sd.speculative_generate(*pair, tiny.sources(1)[0], max_new_tokens=12, seed=0)
    assert run.refused == [pair.target.pieces(r.drafted[r.n_accepted :]) for r in run.rounds]
    evil.refused = []
    assert "[#6 #9] → " in repr(sd.show_rounds(evil))


def test_a_guess_that_the_tokenizer_has_no_name_for_stops_nothing():
    pair = tiny.tiny_pair("t5", tokenizer=tiny.tokenizer(vocab=12))
    runs = [sd.speculative_generate(*pair, source, max_new_tokens=12, seed=0) for source in tiny.sources(5, vocab=12)]
    refused = {piece.strip() for run in runs for pieces in run.refused for piece in pieces}
    assert any(re.fullmatch(r"<\d+>", piece) for piece in refused)


def test_a_round_says_what_it_was(evil, plain):
    lines = repr(sd.show_rounds(evil)).splitlines()
    assert lines[0].endswith("(2 of 2 accepted, then a bonus)")
    assert lines[1].endswith("(0 of 2 accepted, then a correction)")
    assert lines[2].endswith("ok   (1 of 1 accepted, end of the text)")
    assert repr(sd.show_rounds(plain)).endswith("w3   (a plain step)")


def test_refused_guesses_are_struck_through_everywhere(evil):
    assert re.search(r"\.sd-refused\{[^}]*line-through", TOKEN_CSS)
    assert re.search(r"\.sd-unseen\{[^}]*line-through", TOKEN_CSS)
    assert len(re.findall(r"\x1b\[(?:2;)?9;38", sd.show_rounds(evil).ansi().splitlines()[1])) == 2


def test_legend_names_the_origins_that_occur_and_no_others(evil, plain):
    assert "plain decoding" in sd.show_tokens(plain)._repr_html_()
    assert "plain decoding" not in sd.show_tokens(evil)._repr_html_()
    assert MEANING["refused"] not in sd.show_tokens(evil)._repr_html_()
    assert MEANING["refused"] in sd.show_rounds(evil)._repr_html_()
    assert sd.show_tokens(evil, legend=False)._repr_html_().count("<span") == len(EVIL)


def test_each_origin_has_its_own_colour_and_line():
    styles = re.findall(r"\.sd-(\w+)\{background:([^;]+);border-bottom:\dpx (\w+) (#\w+)\}", TOKEN_CSS)
    assert [name for name, *_ in styles] == ["accepted", "residual", "bonus", "target"]
    assert all(len(set(column)) == 4 for column in zip(*styles))


@pytest.mark.parametrize(("text", "page"), [("222832", "ffffff"), ("ced6dd", "121212"), ("000000", "ffffff")])
def test_text_on_every_tint_has_the_contrast_of_readable_text(text, page):
    def light(rgb):
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in (c / 255 for c in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    text, page = ([int(colour[i : i + 2], 16) for i in (0, 2, 4)] for colour in (text, page))
    tints = re.findall(r"rgb\((\d+) (\d+) (\d+)/(.\d)\)", TOKEN_CSS)
    assert len(tints) == 4
    for *rgb, share in tints:
        behind = [float(share) * int(c) + (1 - float(share)) * p for c, p in zip(rgb, page)]
        dark, bright = sorted([light(text), light(behind)])
        assert (bright + 0.05) / (dark + 0.05) >= 4.5
    faded = [0.75 * c + 0.25 * p for c, p in zip(text, page)]
    dark, bright = sorted([light(faded), light(page)])
    assert (bright + 0.05) / (dark + 0.05) >= 4.5
