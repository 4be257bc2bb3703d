"""Tokens by where they came from, a text or its rounds: chips in a notebook, colours in a terminal."""

from __future__ import annotations

import html
from typing import NamedTuple

from .checks import printable
from .record import Generation

# Okabe & Ito's colour-blind safe palette; one meaning everywhere in the book.
COLOURS = {
    "accepted": "#009E73",
    "residual": "#D55E00",
    "bonus": "#0072B2",
    "target": "#666666",
    "draft": "#E69F00",
}
MEANING = {
    "accepted": "drafted and accepted",
    "residual": "the target's correction after a refusal",
    "bonus": "the target's extra token after full acceptance",
    "target": "plain decoding",
    "refused": "drafted and refused",
    "unseen": "drafted behind it, scored but not used",
}
# A second sign for each colour, for eyes and printers without any: the line under a chip; in a terminal, a style.
LINE = {"accepted": "2px solid", "residual": "2px dashed", "bonus": "4px double", "target": "2px dotted"}
ANSI = {"accepted": "", "residual": "4;", "bonus": "1;", "target": "", "refused": "9;", "unseen": "2;9;"}


def _tint(colour: str) -> str:
    """Light enough for the text on it, whatever the page behind: the text keeps the page's colour."""
    return "rgb({} {} {}/.2)".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))


TOKEN_CSS = "".join(
    [
        ".sd-tokens{line-height:2.1;overflow-wrap:anywhere;padding-right:.6em}",
        ".sd-token{display:inline-block;line-height:1.35;padding:0 .22em;margin:0 1px;border-radius:.25em .25em 0 0}",
        ".sd-word{margin-left:.4em}",
        *(
            f".sd-{origin}{{background:{_tint(COLOURS[origin])};border-bottom:{LINE[origin]} {COLOURS[origin]}}}"
            for origin in LINE
        ),
        ".sd-refused{border:1px dashed #7d8691;border-radius:.25em;text-decoration:line-through 2px}",
        ".sd-unseen{border:1px dotted;border-radius:.25em;text-decoration:line-through;opacity:.75}",
        ".sd-legend{font-size:85%;line-height:1.9;margin:.5em 0 0}.sd-legend>span{margin-right:1.1em}",
        "ol.sd-rounds{margin:0;padding-left:2.2em}ol.sd-rounds>li{margin:0;padding:0}",
        ".sd-rounds small{display:inline-block;margin-left:.8em;line-height:1.4}",
        # The book's theme puts every output on a light card when the page is dark: not this one.
        "html[data-theme=dark] .bd-content div.cell_output .text_html.text_html:has(.sd-page)"
        "{background:none;color:var(--pst-color-text-base);padding:0}",
    ]
)


class Chip(NamedTuple):
    """A token's text and what became of it: a key of MEANING."""

    piece: str
    origin: str

    def html(self, also: str = "", attributes: str = "") -> str:
        """A span, with further classes and attributes if it needs any."""
        classes = ["sd-token", f"sd-{self.origin}", *["sd-word"] * self.piece.startswith(" "), *also.split()]
        text = html.escape(printable(self.piece.strip(" "))) or "&nbsp;"
        return f'<span class="{" ".join(classes)}" title="{self.origin}"{attributes}>{text}</span><wbr>'

    def ansi(self) -> str:
        colour = COLOURS.get(self.origin, COLOURS["residual"])
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        space = " " if self.piece.startswith(" ") else ""
        text = printable(self.piece.removeprefix(" "))
        return f"{space}\x1b[{ANSI[self.origin]}38;2;{red};{green};{blue}m{text}\x1b[0m"


class ShownRound(NamedTuple):
    """A round as it is shown: what was drafted, what the target added (nothing after an accepted EOS), a few words."""

    drafted: list[Chip]
    added: list[Chip]
    words: str


class ShownTokens:
    """Shows itself as HTML in a notebook and as ANSI text in a terminal."""

    def __init__(self, generation: Generation, legend: bool = True):
        self.chips = [Chip(*each) for each in zip(generation.pieces, generation.origins, strict=True)]
        self.present = _present(self.chips) if legend else []

    def _repr_html_(self) -> str:
        return _page(f'<div class="sd-tokens">{_html(self.chips)}</div>{_legend(self.present)}')

    def ansi(self) -> str:
        """The same with terminal colours (24 bit)."""
        return "\n".join([_ansi(self.chips).strip(), *_ansi_legend(self.present)])

    def __repr__(self) -> str:
        return "|".join(f"{printable(chip.piece.strip())}:{chip.origin[0]}" for chip in self.chips)


class ShownRounds:
    """Shows itself as HTML in a notebook and as ANSI text in a terminal, one line a round."""

    def __init__(self, generation: Generation):
        self.rounds = rounds_as_chips(generation)
        self.present = _present([chip for each in self.rounds for chip in (*each.drafted, *each.added)])

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<li>{_html(r.drafted)}{_arrow(r)}{_html(r.added)}<small>{r.words}</small>" for r in self.rounds
        )
        return _page(f'<ol class="sd-tokens sd-rounds">{lines}</ol>{_legend(self.present)}')

    def ansi(self) -> str:
        """The same with terminal colours (24 bit); what was refused is struck through."""
        lines = [
            f"{i:3}  {_ansi(r.drafted).strip()}{_arrow(r)}{_ansi(r.added).strip()}   ({r.words})"
            for i, r in enumerate(self.rounds, 1)
        ]
        return "\n".join([*lines, *_ansi_legend(self.present)])

    def __repr__(self) -> str:
        return "\n".join(f"{i:3}  {_plain(r)}" for i, r in enumerate(self.rounds, 1))


def show_tokens(generation: Generation, legend: bool = True) -> ShownTokens:
    """The tokens of a generation, each with its origin."""
    check_generation(generation)
    return ShownTokens(generation, legend)


def show_rounds(generation: Generation) -> ShownRounds:
    """A generation round by round: what was drafted, what of it was refused, and what the target added."""
    check_generation(generation)
    return ShownRounds(generation)


def check_generation(generation) -> None:
    """Raise a TypeError unless it is what the loops return for one source."""
    if not isinstance(generation, Generation):
        hint = ": one of the list" if isinstance(generation, list) else ""
        raise TypeError(f"generation={type(generation).__name__}: expected a Generation{hint}")


def rounds_as_chips(generation: Generation) -> list[ShownRound]:
    """The rounds of a generation; a refused token whose text was not kept is shown by its id."""
    shown, here = [], 0
    refused = generation.refused or [[f" #{x}" for x in r.drafted[r.n_accepted :]] for r in generation.rounds]
    for r, others in zip(generation.rounds, refused, strict=True):
        kept, here = generation.pieces[here : here + len(r.emitted)], here + len(r.emitted)
        drafted = [Chip(piece, "accepted") for piece in kept[: r.n_accepted]]
        drafted += [Chip(piece, "unseen" if i else "refused") for i, piece in enumerate(others)]
        added = [Chip(piece, r.source) for piece in kept[r.n_accepted :]]
        end = {"residual": "then a correction", "bonus": "then a bonus", None: "end of the text"}
        words = f"{r.n_accepted} of {len(r.drafted)} accepted, {end[r.source]}" if r.drafted else "a plain step"
        shown.append(ShownRound(drafted, added, words))
    return shown


def _present(chips: list[Chip]) -> list[str]:
    seen = {chip.origin for chip in chips}
    return [origin for origin in MEANING if origin in seen]


def _page(body: str) -> str:
    return f'<style>{TOKEN_CSS}</style><div class="sd-page tex2jax_ignore mathjax_ignore">{body}</div>'


def _html(chips: list[Chip]) -> str:
    return "".join(chip.html() for chip in chips)


def _arrow(shown: ShownRound) -> str:
    return " → " if shown.drafted and shown.added else ""


def _legend(origins: list[str]) -> str:
    entries = "".join(f"<span>{Chip(origin, origin).html()} {MEANING[origin]}</span> " for origin in origins)
    return f'<p class="sd-legend">{entries}</p>' if origins else ""


def _ansi(chips: list[Chip]) -> str:
    return "".join(chip.ansi() for chip in chips)


def _ansi_legend(origins: list[str]) -> list[str]:
    return ["  ".join(Chip(origin, origin).ansi() for origin in origins)] if origins else []


def _plain(shown: ShownRound) -> str:
    kept, lost = ([c for c in shown.drafted if (c.origin == "accepted") == yes] for yes in (True, False))
    words = ["".join(printable(chip.piece) for chip in chips).strip() for chips in (kept, lost, shown.added)]
    struck = f" [{words[1]}]" if lost else ""
    return f"{words[0]}{struck}{_arrow(shown)}{words[2]}   ({shown.words})".strip()
