"""Tokens coloured by origin: the right ones, and nothing that a browser or a terminal would obey."""

import re
from collections import Counter

import pytest

import specdec_lite as sd
import tiny

EVIL = [" <script>alert('x')</script>", "\x1b[2J\x07", " a&b", "\n", " ok"]


@pytest.fixture
def evil():
    rounds = [sd.Round((3, 4), 2, 5, "bonus", 2, (1.0, 1.0)), sd.Round((6,), 0, 7, "residual", 1, (0.2,))]
    rounds.append(sd.Round((8,), 1, None, None, 1, (1.0,)))
    return sd.Generation(text="", token_ids=[3, 4, 5, 7, 8], pieces=EVIL, rounds=rounds, target_passes=3)


def shown_origins(html: str) -> list[str]:
    body = html.split("</div>")[0]
    return re.findall(r'title="(\w+)"', body)


def test_html_is_escaped(evil):
    html = sd.show_tokens(evil)._repr_html_()
    assert "<script" not in html and "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html and "a&amp;b" in html


def test_terminal_gets_no_control_characters_but_our_colours(evil):
    for text in (sd.show_tokens(evil).ansi(), sd.show_tokens(evil, legend=False).ansi(), repr(sd.show_tokens(evil))):
        uncoloured = re.sub(r"\x1b\[38;2;\d+;\d+;\d+m|\x1b\[0m", "", text)
        assert all(c.isprintable() for c in uncoloured.replace("\n", ""))
        assert "\\x1b[2J\\x07" in uncoloured


def test_every_token_is_shown_with_its_origin_in_order(evil):
    assert shown_origins(sd.show_tokens(evil)._repr_html_()) == [
        "accepted",
        "accepted",
        "bonus",
        "residual",
        "accepted",
    ]


def test_origins_of_a_real_run_match_its_counts(pair):
    for seed, source in enumerate(tiny.sources(5)):
        run = sd.speculative_generate(*pair, source, max_new_tokens=12, seed=seed)
        shown = Counter(shown_origins(sd.show_tokens(run)._repr_html_()))
        assert shown["accepted"] == run.accepted and shown.total() == len(run.token_ids)
        assert shown["residual"] == sum(r.source == "residual" for r in run.rounds)
        assert shown["bonus"] == sum(r.source == "bonus" for r in run.rounds)


def test_legend_names_the_origins_that_occur_and_no_others(evil):
    plain = sd.Generation(token_ids=[3], pieces=[" w3"], rounds=[sd.Round((), 0, 3, "target")], target_passes=1)
    assert "plain decoding" in sd.show_tokens(plain)._repr_html_()
    assert "plain decoding" not in sd.show_tokens(evil)._repr_html_()
    assert sd.show_tokens(evil, legend=False)._repr_html_().count("<span") == len(EVIL)


def test_each_origin_has_its_own_colour_and_underline(evil):
    styles = re.findall(
        r'style="color:(#\w+);text-decoration:underline (\w+)[^"]*" title="(\w+)"', sd.show_tokens(evil)._repr_html_()
    )
    assert len(set(styles)) == len({colour for colour, _, _ in styles}) == len({line for _, line, _ in styles}) == 3
