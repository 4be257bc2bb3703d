"""Tokens coloured by where they came from: HTML in a notebook, ANSI in a terminal."""

from __future__ import annotations

import html

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
}
# A second sign for each colour, for eyes and printers without any.
UNDERLINE = {"accepted": "solid", "residual": "wavy", "bonus": "double", "target": "dotted"}


class ColouredTokens:
    """Shows itself as HTML in a notebook and as ANSI text in a terminal."""

    def __init__(self, generation: Generation, legend: bool = True):
        self.pieces, self.origins = generation.pieces, generation.origins
        self.present = [origin for origin in MEANING if legend and origin in self.origins]

    def _repr_html_(self) -> str:
        spans = "".join(_span(piece, origin) for piece, origin in zip(self.pieces, self.origins, strict=True))
        legend = " &nbsp; ".join(_span(origin, origin) + ": " + MEANING[origin] for origin in self.present)
        note = f'<div style="font-size:80%;margin-top:.4em">{legend}</div>' if legend else ""
        return f'<div style="line-height:2">{spans}</div>{note}'

    def ansi(self) -> str:
        """The same with terminal colours (24 bit)."""
        text = "".join(_ansi(piece, origin) for piece, origin in zip(self.pieces, self.origins, strict=True)).strip()
        legend = "  ".join(_ansi(origin, origin) for origin in self.present)
        return f"{text}\n{legend}" if legend else text

    def __repr__(self) -> str:
        return "|".join(
            f"{_printable(piece.strip())}:{origin[0]}" for piece, origin in zip(self.pieces, self.origins, strict=True)
        )


def show_tokens(generation: Generation, legend: bool = True) -> ColouredTokens:
    """The tokens of a generation, coloured by origin."""
    return ColouredTokens(generation, legend)


def _span(piece: str, origin: str) -> str:
    style = f"color:{COLOURS[origin]};text-decoration:underline {UNDERLINE[origin]};text-underline-offset:.25em"
    text = html.escape(piece).replace(" ", "&nbsp;", 1) if piece.startswith(" ") else html.escape(piece)
    return f'<span style="{style}" title="{origin}">{text}</span><wbr>'


def _ansi(piece: str, origin: str) -> str:
    red, green, blue = (int(COLOURS[origin][i : i + 2], 16) for i in (1, 3, 5))
    return f"\x1b[38;2;{red};{green};{blue}m{_printable(piece)}\x1b[0m"


def _printable(piece: str) -> str:
    """A model can emit any character: what a terminal would obey is shown, not sent."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in piece)
