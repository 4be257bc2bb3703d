"""Draw the book's pictures, as SVG, from data.

    python tools/draw.py             # writes book/assets/drawings/*.svg
    python tools/draw.py --embed     # prints, for each of them, what to paste into a page or a notebook

One file serves light and dark: the page that shows it tells it which of the two to be.
"""

import argparse
import math
import random
from fractions import Fraction
from html import escape
from itertools import accumulate, pairwise, product
from pathlib import Path

from specdec_lite import recorded
from specdec_lite.display import COLOURS
from specdec_lite.fast.kernels import WIDE

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "book" / "assets" / "drawings"

# ---- What is drawn: a number in a picture is one of these, or computed from them ----

# Chapter 4's text, greedy, γ = 4: its second round and its first one. (A test runs the pocket pair on it again.)
TEXT = "My brother lives in a small house near the station. He works in Boston. Every day he reads a book on the train."
ROUND = {"before": "einem", "drafted": ["kleinen", "Haus", "in", "der"], "kept": 2, "added": "nahe"}
FULL_ROUND = {"before": "start", "drafted": ["Mein", "Bruder", "lebt", "in"], "kept": 4, "added": "einem"}

# Chapter 1's text as the target reads it. Chapter 2's wrong guess, the target's second likeliest token at its place.
SOURCE = {"tokens": 17, "words": ["My", "brother", "…", "</s>"]}
WRONG = {"before": "start", "drafted": ["Mein", "Bruder", "wohnt", "in"], "at": 3, "wanted": "lebt"}

# Chapter 0's text: its tokens, and what each round drafted; c and v(4) as recorded, without compiling.
# (Rounded as they are printed, so that a reader can check the sum.)
BILL = {"tokens": 39, "drafted": [4] * 9, "c": round(float(recorded("c")), 2), "v": round(float(recorded("v(4)")), 2)}

# Chapter 3's toy, here the same at every place of a round: three tokens, and a residual with two of them.
TOKENS = ["und", "aber", "oder"]
P = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
Q = [Fraction(1, 6), Fraction(5, 6), Fraction(0)]

# Chapter 8's toy: two tokens, the same p and q at both places of a draft of two.
PAIR = {"A": (Fraction(1, 3), Fraction(2, 3)), "B": (Fraction(2, 3), Fraction(1, 3))}  # p, q

# Appendix A4's two rows and its noise: g = -log(-log u) from the seed and the position, here 11.
COUPLED = {
    "p": [Fraction(5, 10), Fraction(3, 10), Fraction(2, 10)],
    "q": [Fraction(2, 10), Fraction(5, 10), Fraction(3, 10)],
    "seeds": (0, 1),  # the noise of both; other noise for the draft
    "position": 11,
}

# A batch after a round: how many guesses each row kept, and what the target added (None: a kept EOS ended the row).
BATCH = {"before": 3, "gamma": 4, "rows": {"A": (4, "bonus"), "B": (0, "residual"), "C": (2, None)}}

# Two rows whose guesses have opposite luck: of the first all are kept, of the second none. (A test runs the plan.)
LEAD = {"gamma": 4, "kept": {"A": 4, "B": 0}, "rounds": 7}

# Appendix A1: the shipped target was grown, each layer into `copies`; from which of its decoder layers the draft's
# begin (from 1). (A test grows a model, and makes a draft, with the notebook's own functions.)
GROWN = {"shallow": 4, "copies": 3, "draft": 2}
TAKEN = [(i + 1) * GROWN["shallow"] * GROWN["copies"] // GROWN["draft"] for i in range(GROWN["draft"])]

# A product of weights with one position: how many numbers one instruction takes, and how many outputs lie side by side
# in packed weights.
PRODUCT = {"at once": 16, "packed": WIDE}

# The modules, from the ground up, as the page about them lists them (a test compares): boxes side by side, each with a
# title and rows of modules. Those of CORE carry the ideas; the Makefile counts their lines.
MODULES = [
    [
        (
            "numbers and rules, no model",
            [["checks", "texts", "sampling", "verification"], ["block", "coupling", "theory", "metrics"]],
        )
    ],
    [
        (
            "a model and what it needs",
            [
                ["decoder", "settings", "adjustment", "selfcheck"],
                ["inputs", "prompts", "models", "checkpoint"],
                ["loading", "memory"],
            ],
        )
    ],
    [
        ("drafting/", [["base", "model", "copies"], ["wrapper", "chain", "stops"], ["schedules", "head"]]),
        ("a round", [["record"], ["checking"]]),
    ],
    [
        ("fast/", [["kernels", "narrow", "layers"], ["padded", "rounds"], ["buffers", "compile"]]),
        ("the loops", [["generation"]]),
    ],
    [("measured", [["costs"], ["measured"], ["about"]]), ("experiment/", [["table", "bench", "workers", "sweep"]])],
    [("shown", [["display", "plotting"]])],
    [
        ("explore/", [["page", "accept_reject", "gamma_map"], ["mutation_matrix", "rounds"]]),
        ("commands", [["audit", "run"]]),
    ],
]
CORE = ["texts", "sampling", "verification", "decoder", "adjustment", "base", "record", "checking", "generation"]

# ---- How it is drawn ----

WIDTH = 560  # so that 17 px of text are still 11 on a phone
LEFT, RIGHT = 16, WIDTH - 16
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Noto Sans',sans-serif"
THEMES = {
    "light": {"page": "#ffffff", "ink": "#222832", "soft": "#56606b", "line": "#7d8691", "wash": "#e9edf1"},
    "dark": {"page": "#121212", "ink": "#ced6dd", "soft": "#a0a9b3", "line": "#7d8691", "wash": "#2b3038"},
}
TINT = {"light": 0.2, "dark": 0.3}  # how much of a token's colour is in its chip
WHITE, BLACK = THEMES["light"]["page"], THEMES["light"]["ink"]  # words on a full grey and on a full amber
SMALL_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def stylesheet() -> str:
    """What all drawings share. A later rule wins."""

    def theme(name: str) -> str:
        t = THEMES[name]
        tinted = ",".join(f".{kind}" for kind in COLOURS)
        return (
            f"text,.dot{{fill:{t['ink']}}}.soft{{fill:{t['soft']}}}.page{{fill:{t['page']}}}.wash{{fill:{t['wash']}}}"
            f".line{{stroke:{t['line']}}}.ink{{stroke:{t['ink']}}}{tinted}{{fill-opacity:{TINT[name]}}}"
        )

    rules = [
        f"text{{font:19px {FONT}}}.small{{font-size:17px}}.bold{{font-weight:600}}",
        ".middle{text-anchor:middle}.end{text-anchor:end}",
        "rect,path{stroke-width:1.5}path,.bare{fill:none}path{stroke-linecap:round;stroke-linejoin:round}",
        ".thick{stroke-width:3}.dash{stroke-dasharray:4 5}.dots{stroke-dasharray:.1 4}",
        *(f".{kind}{{fill:{colour}}}.{kind}-edge{{stroke:{colour}}}" for kind, colour in COLOURS.items()),
        theme("light"),
        f"@media (prefers-color-scheme:dark){{{theme('dark')}}}",
        f".full{{fill-opacity:1}}text.white{{fill:{WHITE}}}text.black{{fill:{BLACK}}}",
    ]
    return "".join(rules)


def number(x) -> str:
    """At most two decimals, and none that is not needed: the same on every machine."""
    return f"{x:.2f}".rstrip("0").rstrip(".") if isinstance(x, float) else str(x)


def spelled(n: int) -> str:
    return SMALL_NUMBERS[n] if n < len(SMALL_NUMBERS) else str(n)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def along(*points) -> str:
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


class Drawing:
    """A picture. Its caption is the finding; its alternative text says what there is to see."""

    def __init__(self, name: str, height: int, caption: str, alt: str):
        self.name, self.height, self.caption, self.alt = name, height, caption, alt
        self.parts = []

    def add(self, tag: str, look: str, words: str | None = None, **where) -> None:
        attributes = {"class": look, **where} if look else where
        start = "".join([f"<{tag}", *(f' {key}="{number(value)}"' for key, value in attributes.items())])
        self.parts.append(f"{start}/>" if words is None else f"{start}>{escape(words, quote=False)}</{tag}>")

    def text(self, x, y, words: str, look="") -> None:
        self.add("text", look, words, x=x, y=y)

    def rect(self, x, y, width, height, look: str, r=0) -> None:
        self.add("rect", look, x=x, y=y, width=width, height=height, **({"rx": r} if r else {}))

    def path(self, d: str, look="line") -> None:
        self.add("path", look, d=d)

    def arrow(self, *points) -> None:
        (x0, y0), (x, y) = points[-2:]
        way = math.atan2(y - y0, x - x0)
        barbs = [(x - 8.0 * math.cos(way + side), y - 8.0 * math.sin(way + side)) for side in (0.6, -0.6)]
        self.path(along(*points) + along(barbs[0], (x, y), barbs[1]))

    def bracket(self, x0, x1, y) -> None:
        """Below what lies between x0 and x1."""
        self.path(f"M{number(x0)} {y}q0 8 8 8H{number(x1 - 8)}q8 0 8 -8")

    def brace(self, x, y0, y1) -> None:
        """To the right of what lies between y0 and y1."""
        self.path(f"M{x} {y0}q8 0 8 8V{y1 - 8}q0 8 -8 8")

    def chip(self, x, y, width, word: str, kind: str, height=40, size="") -> None:
        """A token. The underline is a second sign beside the colour, the same one as in the chapters."""
        look = {"settled": "wash line", "refused": "bare line dash"}.get(kind, f"{kind} {kind}-edge")
        self.rect(x, y, width, height, look, r=9)
        middle, base = x + width / 2, y + height / 2 + 6
        self.text(middle, base, word, f"middle {size}".strip())
        reach = width / 2 - 16
        if kind in ("accepted", "residual", "bonus", "target"):
            self.underline(middle - reach, middle + reach, base + 6, kind)
        if kind == "refused":
            self.path(along((middle - reach, base - 6), (middle + reach, base - 6)), "ink")

    def underline(self, x0: float, x1: float, y: float, kind: str) -> None:
        levels = (y - 1.5, y + 2.0) if kind == "bonus" else (y,)
        d = "".join(along((x0, level), (x1, level)) for level in levels)
        also = {"target": " dots", "residual": " dash"}.get(kind, "")
        self.path(d, f"{kind}-edge{also}")

    def svg(self) -> str:
        title, desc = f"{self.name}-title", f"{self.name}-desc"
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
            f'height="{self.height}" role="img" aria-labelledby="{title} {desc}">',
            f'<title id="{title}">{escape(self.caption, quote=False)}</title>',
            f'<desc id="{desc}">{escape(self.alt, quote=False)}</desc>',
            f"<style>{stylesheet()}</style>",
            f'<rect class="page" width="{WIDTH}" height="{self.height}" rx="9"/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


# ---- The drawings ----


def a_round() -> Drawing:
    before, drafted, kept, added = ROUND.values()
    new = kept + 1
    d = Drawing(
        "round",
        412,
        f"A round: one pass of the target checks {spelled(len(drafted))} guesses, keeps {spelled(kept)} and corrects "
        f"the next. That makes {spelled(new)} tokens. An arrow leads one place to the right: the target reads a token "
        "and judges the guess after it.",
        f"One pass gives {spelled(new)} tokens. After “{before}” the draft guesses {', '.join(drafted)}, one by one. "
        f"The target looks at all of them in one wide pass. It keeps {' and '.join(drafted[:kept])}, strikes out "
        f"“{drafted[kept]}” and writes “{added}” in its place. The guess after it, “{drafted[-1]}”, falls away.",
    )
    width, step = 96, 108
    x = [LEFT + step * i for i in range(len(drafted) + 1)]
    mid = [left + width // 2 for left in x]
    d.text(mid[0], 32, "text so far", "small soft middle")
    guesses = f"the draft guesses {spelled(len(drafted))} tokens, one by one"
    d.text((x[1] + x[-1] + width) / 2, 32, guesses, "middle")
    d.chip(x[0], 46, width, before, "settled")
    for i, word in enumerate(drafted, 1):
        d.chip(x[i], 46, width, word, "draft")
        d.path(f"M{x[i] - 9} 61l5 5l-5 5")
    for middle in mid:
        d.arrow((middle, 90), (middle, 110))
    d.rect(x[0], 114, x[-1] + width - x[0], 66, "target full", r=9)
    d.text(WIDTH / 2, 141, "the target scores all of them in one wide pass", "middle white")
    d.text(WIDTH / 2, 167, "under each token: what should come next?", "middle white small")
    out, low = 224, 294  # where a struck token stands, and where the new text
    for i, word in enumerate(drafted[:kept], 1):
        d.arrow((mid[i - 1], 184), (mid[i] - 8, low - 4))
        d.chip(x[i], low, width, word, "accepted")
    d.chip(x[0], low, width, before, "settled")
    d.arrow((mid[kept], 184), (mid[new] - 8, out - 4))
    d.chip(x[new], out, width, drafted[kept], "refused")
    d.arrow((mid[new], out + 44), (mid[new], low - 4))
    d.chip(x[new], low, width, added, "residual")
    for i, word in enumerate(drafted[new:], new + 1):
        d.parts.append(f'<g transform="rotate(12 {mid[i]} {out + 24})">')
        d.rect(x[i], out + 4, width - 4, 40, "bare line dash", r=9)
        d.text(mid[i] - 2, out + 30, word, "middle soft")
        d.parts.append("</g>")
        d.text(mid[i], low + 18, "falls away,", "small soft middle")
        d.text(mid[i], low + 40, "not used", "small soft middle")
    d.text((mid[1] + mid[kept]) / 2, low + 62, "kept", "small middle")
    d.text(mid[new], low + 62, "corrected", "small middle")
    d.bracket(x[1], x[new] + width, low + 72)
    d.text((x[1] + x[new] + width) / 2, low + 103, f"{spelled(new)} tokens from one pass", "middle bold")
    return d


def two_caches() -> Drawing:
    written, newest = [FULL_ROUND["before"], *FULL_ROUND["drafted"][:1]], FULL_ROUND["drafted"][1]
    comes = FULL_ROUND["drafted"][2]
    d = Drawing(
        "two_caches",
        402,
        "The encoder runs once, the decoder once for every token. Of the decoder’s two caches one grows with the text. "
        "The other is made at the first step and never changes.",
        "Of the two KV caches only that of the text grows. Left: the encoder runs once and gives a vector for each of "
        f"the {SOURCE['tokens']} source tokens. Right: the decoder runs for every token. It is now fed “{newest}” and "
        f"gives “{comes}”, which is fed next. Below it are its two caches, and it reads both at every step. That of "
        f"the text has an entry for {', '.join(written)} and {newest}, the newest, and room for more. That of the "
        "source was made from the encoder’s vectors at the first step, and never changes.",
    )
    left, right, side = 204, 268, RIGHT - 268

    def row_of(x, widths) -> list[tuple[float, int]]:
        return list(zip(accumulate((width + 5 for width in widths), initial=x), widths))

    def cells(x, y, words, widths) -> None:
        for (start, width), word in zip(row_of(x, widths), words):
            look = "wash ink thick" if word == newest else "wash line" if word else "bare line dash"
            d.rect(start, y, width, 36, look, r=4)
            if word:
                d.text(start + width / 2, y + 24, word, "small middle" + " bold" * (word == newest))

    d.text(LEFT, 30, f"the source: {SOURCE['tokens']} tokens", "small")
    for (x, width), word in zip(row_of(LEFT, [38, 74, 26, 51]), SOURCE["words"]):
        d.chip(x, 44, width, word, "settled", 36, "small")
        d.arrow((x + width / 2, 84), (x + width / 2, 104))
        d.arrow((x + width / 2, 172), (x + width / 2, 192))
        d.rect(x, 196, width, 36, "wash line", r=4)
    d.text(LEFT, 258, "a vector for each", "small")
    for x, wide, name, runs in (
        (LEFT, left, "encoder", "runs once"),
        (right, side, "decoder", "runs for every token"),
    ):
        d.rect(x, 108, wide, 60, "target full", r=9)
        d.text(x + wide / 2, 133, name, "middle white bold")
        d.text(x + wide / 2, 156, runs, "middle white small")
    fed, out = right + 60, RIGHT - 60
    d.text(fed, 30, "fed now", "small middle")
    d.text(out, 30, "fed next", "small middle")
    d.chip(fed - 50, 44, 100, newest, "settled", 36)
    d.chip(out - 50, 44, 100, comes, "settled", 36)
    d.arrow((fed, 84), (fed, 104))
    d.arrow((out, 104), (out, 84))
    d.rect(right, 208, side, 180, "bare line", r=9)
    d.arrow((fed, 172), (fed, 204))
    d.text(fed + 10, 194, "adds", "small")
    d.arrow((out, 204), (out, 172))
    d.text(out - 10, 194, "reads all", "small end")
    d.text(right + 12, 232, "KV cache of the text:", "small")
    d.text(RIGHT - 12, 232, "grows", "small bold end")
    cells(right + 12, 244, [*written, newest, ""], [54, 54, 84, 44])
    d.text(right + 12, 318, "KV cache of the source:", "small")
    d.text(RIGHT - 12, 318, "fixed", "small bold end")
    cells(right + 12, 330, SOURCE["words"], [50, 86, 36, 64])
    d.arrow((80, 268), (80, 348), (right + 8, 348))
    d.text(90, 312, "at the first step:", "small")
    d.text(90, 336, "keys and values", "small")
    return d


def causal_mask() -> Drawing:
    words = [FULL_ROUND["before"], *FULL_ROUND["drafted"]]
    old, newest = len(words) - 1, words[-1]
    d = Drawing(
        "causal_mask",
        342,
        "A new token adds one row. No earlier row looks at it, so what the cache holds of them stays right.",
        f"No earlier row looks at the new token. The causal mask has a row and a column for each of "
        f"{spelled(len(words))} tokens, and a row may look at its own token and at earlier ones: the filled cells, the "
        f"lower left triangle. The new token, “{newest}”, adds a row that looks at everything, and a column that is "
        "empty above it. So nothing that was computed for the earlier rows changes, and their keys and values stay in "
        "the cache.",
    )
    x0, y0, w, h = 84, 46, 64, 44
    for i, word in enumerate(words):
        look = "bold" if i == old else ""
        d.text(x0 + w * i + w / 2, y0 - 12, word, f"small middle {look}".strip())
        d.text(x0 - 10, y0 + h * i + h / 2 + 6, word, f"small end {look}".strip())
        for j in range(len(words)):
            seen = "bare line dash" if j > i else "wash ink thick" if i == old else "wash line"
            d.rect(x0 + w * j + 3, y0 + h * i + 3, w - 6, h - 6, seen, r=4)
    x, end = x0 + w * len(words) + 4, y0 + h * old
    d.brace(x, y0 + 4, end - 6)
    for i, line in enumerate(("none of them", f"looks at “{newest}”:", "they stay right")):
        d.text(x + 14, y0 + h * old / 2 - 16 + 24 * i, line, "small")
    d.text(x + 14, end + h / 2 + 6, "the new row", "small bold")
    low = y0 + h * len(words) + 24
    for left, look, says in ((x0 + 3, "wash line", "the row looks here"), (x0 + 243, "bare line dash", "not here")):
        d.rect(left, low, 36, 28, look, r=4)
        d.text(left + 46, low + 20, says, "small")
    return d


def rows_of_a_pass(d: Drawing, fed: list[str]) -> tuple[list[float], list[float], int]:
    """The upper half of a picture: the tokens go in, and a row comes out under each. Where the columns are."""
    width, step, gamma = 82, 89, len(fed) - 1
    x = [LEFT + step * i for i in range(gamma + 2)]
    mid = [left + width / 2 for left in x]
    d.text(LEFT, 30, "last token so far", "small soft")
    d.text((x[2] + x[gamma] + width) / 2, 30, f"{spelled(gamma)} guesses", "middle")
    for i, word in enumerate(fed):
        d.chip(x[i], 44, width, word, "draft" if i else "settled")
        d.arrow((mid[i], 88), (mid[i], 108))
    d.rect(x[0], 112, x[gamma] + width - x[0], 64, "target full", r=9)
    d.text((x[0] + x[gamma] + width) / 2, 138, "one pass of the target", "middle white")
    for i in range(gamma + 1):
        d.text(mid[i], 164, f"row {i}", "middle white small")
    return x, mid, width


def rows_and_guesses() -> Drawing:
    before, drafted, _, bonus = FULL_ROUND.values()
    gamma = len(drafted)
    d = Drawing(
        "rows_and_guesses",
        322,
        f"Row i judges guess i + 1. {spelled(gamma + 1).capitalize()} tokens go in, so the last row has no guess to "
        "judge: it gives the bonus.",
        f"Row i judges guess i + 1, and the last row is the bonus. The target is fed {spelled(gamma + 1)} tokens in "
        f"one pass: the text’s last one, “{before}”, and the guesses {', '.join(drafted)}. It returns a row for each, "
        "and a row says what comes next, so every arrow leads one place to the right. "
        f"Row 0, under “{before}”, judges guess 1, {drafted[0]}, and so on. Row {gamma}, under the last guess, judges "
        f"none and gives the bonus, {bonus}.",
    )
    x, mid, width = rows_of_a_pass(d, [before, *drafted])
    for i in range(gamma + 1):
        d.arrow((mid[i], 180), (mid[i + 1] - 8, 240))
    d.text(mid[0], 272, "judges", "small soft middle")
    for i, word in enumerate(drafted, 1):
        d.chip(x[i], 246, width, word, "accepted")
        d.text(mid[i], 308, f"guess {i}", "middle small")
    d.chip(x[-1], 246, width, bonus, "bonus")
    d.text(mid[-1], 308, "bonus", "middle small bold")
    return d


def caches_all_kept() -> Drawing:
    before, drafted, kept, added = FULL_ROUND.values()
    d = Drawing(
        "caches_all_kept",
        390,
        f"All guesses are kept. The target’s cache holds everything but the newest token, “{added}”. The draft’s lacks "
        f"“{drafted[-1]}”, too: nobody fed it its own last guess.",
        "After full acceptance the draft’s cache is one short. Three strips of the same positions. The target’s cache: "
        f"{before}, {', '.join(drafted)}, all fed in this round, and all stay. The draft’s cache: the same without its "
        f"last guess, “{drafted[-1]}”, which is missing. The new text: the same words and the bonus, {added}, which is "
        f"in neither cache. A line behind “{drafted[-1]}” is where both caches may end.",
    )
    strips(d, [before], 0, 0, drafted, kept, (added, "bonus"), 18 + 75 // 2)
    return d


def caches_refused() -> Drawing:
    _, earlier, _, _ = FULL_ROUND.values()
    last, drafted, kept, added = ROUND.values()
    before = [*earlier[-2:], last]
    d = Drawing(
        "caches_refused",
        390,
        f"A guess is refused. What was fed behind “{drafted[kept - 1]}” is taken back, and both caches end at the same "
        f"place. (“{earlier[-1]}” was the draft’s catch-up.)",
        "After a refusal both caches end at the same place. Three strips of the same positions, the earlier ones left "
        f"out. The target’s cache held {' and '.join(before[:-1])}; fed now are {last} and the guesses "
        f"{', '.join(drafted)}. The last two are struck out and taken back. The draft’s cache held {before[0]}; fed "
        f"now are {', '.join([*before[1:], *drafted[:-1]])}, and the last of them is taken back. The new text ends "
        f"with {', '.join(drafted[:kept])} and the correction, {added}, which is in neither cache.",
    )
    strips(d, before, len(before) - 1, len(before) - 2, drafted, kept, (added, "residual"), 18)
    return d


def strips(d, before, big, small, drafted, kept, added, x0) -> None:
    """Both caches before they go back, `big` and `small` of them filled before the round, and the text it leaves."""
    fed, known, (y0, y1, y2) = [*before, *drafted], len(before) + kept, (44, 132, 256)
    step, width = 75, 71

    def cell(i, y, kind) -> None:
        if kind in ("fed", "missing"):
            x, look = x0 + step * i, "wash ink thick" if kind == "fed" else "bare ink dash"
            d.rect(x, y, width, 40, look, r=9)
            d.text(x + width / 2, y + 26, fed[i] if kind == "fed" else "missing", "small middle")
        else:
            d.chip(x0 + step * i, y, width, fed[i], kind, size="small")

    for y, name, old, end in ((y0, "target", big, len(fed)), (y1, "draft", small, len(fed) - 1)):
        d.text(x0, y - 12, f"the {name}’s cache", "small")
        for i in range(max(end, known)):
            cell(i, y, "missing" if i >= end else "settled" if i < old else "fed" if i < known else "refused")
    d.text(x0, y2 - 12, "the text", "small")
    for i, word in enumerate(fed[:known]):
        d.chip(x0 + step * i, y2, width, word, "settled" if i < len(before) else "accepted", size="small")
    d.chip(x0 + step * known, y2, width, *added, size="small")
    line = x0 + step * known - 2
    d.path(along((line, y0 - 8), (line, y2 + 48)), "ink thick")
    d.text(line - 8, 196, "each keeps what is left of this line:", "small end")
    short = ", or all it has" if known >= len(fed) else ""  # the draft's cache lacks its own last guess
    d.text(line - 8, 218, f"len(text) − 1 positions{short}", "small bold end")
    x, keys = LEFT, [("fed now", "wash ink thick", 138)]
    if big:
        keys = [("there before", "wash line", 180), *keys, ("fed, then taken back", "bare line dash", 0)]
    for name, look, wide in keys:
        d.rect(x, 346, 26, 26, look, r=5)
        if "dash" in look:
            d.path(along((x + 5, 359), (x + 21, 359)), "ink")
        d.text(x + 34, 365, name, "small")
        x += wide


def hole() -> Drawing:
    before, drafted, _, added = FULL_ROUND.values()
    words, lost = [before, *drafted, added], drafted[-1]
    d = Drawing(
        "hole",
        306,
        f"Without the catch-up the draft reads another text: “{lost}” is missing, and “{added}” takes its place.",
        f"Without the catch-up the draft reads another text. Three strips. The text: {', '.join(words)}. The draft’s "
        f"cache with the catch-up: the same words at the same places, the last two fed together. The draft’s cache "
        f"without it: {', '.join(words[:-2])}, and then {added} at the place of “{lost}”. Every later token comes one "
        "place too early.",
    )
    step, width, x0 = 89, 83, 16
    for y, name, shown, new in (
        (44, "the text", words, []),
        (132, "the draft has read, with the catch-up", words, words[-2:]),
        (220, "and without", [*words[:-2], added], [added]),
    ):
        d.text(x0, y - 12, name, "small")
        for i, word in enumerate(shown):
            look = "wash ink thick" if word in new and i >= len(words) - 2 else "wash line"
            d.rect(x0 + step * i, y, width, 40, look, r=9)
            d.text(x0 + step * i + width / 2, y + 26, word, "small middle")
    d.rect(x0 + step * (len(words) - 1), 220, width, 40, "bare ink dash", r=9)
    d.text(x0 + step * (len(words) - 1) + width / 2, 246, "?", "small middle")
    d.text(RIGHT, 290, f"“{lost}” is not in this cache, and it still claims six positions", "small end")
    return d


def wrong_guess() -> Drawing:
    before, drafted, at, wanted = WRONG.values()
    wrong, last, judge = drafted[at - 1], len(drafted), at - 1
    d = Drawing(
        "wrong_guess",
        420,
        f"Guess {at} is wrong. Row {judge} judges it without having seen it, and is good. Rows {at} and later saw it "
        "and are spoiled.",
        "One wrong guess spoils its own row and those after it, but not the row that judges it. The target is fed "
        f"“{before}” and the guesses {', '.join(drafted)}, of which guess {at}, “{wrong}”, is wrong. Rows 0 to {judge} "
        f"did not see it: they keep {' and '.join(drafted[:judge])}, and row {judge} strikes out “{wrong}” and wants "
        f"“{wanted}”. Rows {at} to {last} saw “{wrong}”, and what they say is of no use.",
    )
    x, mid, width = rows_of_a_pass(d, [before, *drafted])
    for i in range(at):
        d.arrow((mid[i], 180), (mid[i + 1] - 8, 240))
    for i, word in enumerate(drafted[:judge], 1):
        d.chip(x[i], 246, width, word, "accepted")
    d.chip(x[at], 246, width, wrong, "refused")
    d.arrow((mid[at], 288), (mid[at], 302))
    d.chip(x[at], 306, width, wanted, "residual")
    for i in range(at, last + 1):
        d.path(along((mid[i], 182), (mid[i + 1] - 8, 240)), "line dash")
        d.text(mid[i + 1], 272, "?", "middle")
    for first, end, lines in (
        (1, at, (f"rows 0 to {judge} did not", f"see “{wrong}”: good")),
        (at + 1, last + 1, (f"rows {at} and {last}", "did: spoiled")),
    ):
        d.bracket(x[first], x[end] + width, 354)
        for y, line in zip((378, 400), lines):
            d.text((x[first] + x[end] + width) / 2, y + 4, line, "small middle")
    return d


def bill() -> Drawing:
    tokens, drafted, c, v = BILL.values()
    passes, guesses, gamma = len(drafted), sum(drafted), max(drafted)
    wide = [1 + (v - 1) * n / gamma for n in drafted]  # a narrower pass costs less, as in chapter 4
    time = guesses * c + sum(wide)
    fewer, faster = tokens / passes, tokens / time
    even = guesses == gamma * passes
    rounds = (
        f"{passes} × ({gamma} draft steps + 1 wide pass)" if even else f"{guesses} draft steps, {passes} wide passes"
    )
    d = Drawing(
        "bill",
        386,
        f"{tokens} tokens, to scale: {fewer:.1f} times fewer passes of the target, but only {faster:.1f} times faster. "
        f"On the machine that was recorded, a guess takes {c:.2f} of a plain step, and a wide pass {v:.2f}.",
        f"{fewer:.1f} times fewer passes make this text only {faster:.1f} times faster. A time line in plain steps, "
        f"the encoders left out: plain decoding takes {tokens}. Speculative decoding takes {rounds}, {c:.2f} for a "
        f"draft step and {v:.2f} for a wide pass, {time:.1f} in all. Sorted, that is {passes} for the passes, "
        f"{sum(wide) - passes:.1f} because a check is wider than a step, and {guesses * c:.1f} for the guesses. "
        f"{tokens - time:.1f} are saved.",
    )
    unit, high = (RIGHT - LEFT) / tokens, 34

    def lane(y, parts, gap) -> list[float]:
        ends = list(accumulate((width for width, _ in parts), initial=0.0))
        for (start, end), (_, look) in zip(pairwise(ends), parts):
            d.rect(LEFT + unit * start, y, unit * (end - start) - gap, high, look)
        return [LEFT + unit * end for end in ends]

    d.text(LEFT, 32, f"{fewer:.1f} times fewer passes, only {faster:.1f} times faster", "bold")
    for x, look, words in (
        (LEFT, "target full", "a pass of the target"),
        (LEFT + 210, "draft full", "a guess of the draft"),
    ):
        d.rect(x, 51, 16, 16, look)
        d.text(x + 24, 65, words, "small")
    d.text(LEFT, 108, f"plain: {tokens} target steps")
    lane(118, [(1.0, "target full")] * tokens, 1.5)
    d.text(LEFT, 184, f"speculative: {rounds}")
    steps = [step for n, pass_ in zip(drafted, wide) for step in [(c, "draft full")] * n + [(pass_, "target full")]]
    *_, end = lane(194, steps, 1.0)
    d.text(end + 12, 217, f"{time:.1f} steps’ time", "small")
    d.text(LEFT, 260, "the same time, sorted")
    parts = [
        (float(passes), "target full", f"{passes} passes", "white", ("one step", "each")),
        (sum(wide) - passes, "target target-edge", "", "", ("wider", "checks")),
        (guesses * c, "draft full", f"{guesses} guesses", "black", (f"{c:.2f} of a", "step each")),
        (tokens - time, "bare line dash", "saved", "", ()),
    ]
    ends = lane(270, [part[:2] for part in parts], 2.0)
    for (x0, x1), (width, _, word, look, why) in zip(pairwise(ends), parts):
        middle = (x0 + x1) / 2
        if word:
            d.text(middle, 293, word, f"middle small {look}".strip())
        d.text(middle, 326, number(round(width, 1)), "middle small bold")
        for i, line in enumerate(why):
            d.text(middle, 348 + 21 * i, line, "middle small soft")
    return d


def fractions(values) -> str:
    return ", ".join(f"{word} {value}" for word, value in zip(TOKENS, values))


def ways() -> list[tuple[str, str, Fraction]]:
    """What can become of a guess: the word that is emitted, where it is from, and the chance of that."""
    found = []
    for word, p, q in zip(TOKENS, P, Q):
        found += [(word, "accepted", min(p, q)), (word, "residual", max(p - q, Fraction(0)))]
    return [way for way in found if way[2]]


def round_of_two() -> list[tuple[tuple[str, str, Fraction], list[tuple[str, str, Fraction]]]]:
    """Each way of the first guess, with those of the second: none after a correction, which ends the round."""
    return [(first, ways() if first[1] == "accepted" else []) for first in ways()]


def tree() -> Drawing:
    ends = [(first[0], first[2] * second[2]) for first, seconds in round_of_two() for second in seconds]
    ends += [(word, chance) for (word, _, chance), seconds in round_of_two() if not seconds]
    sums = {word: sum(chance for first, chance in ends if first == word) for word in TOKENS}
    d = Drawing(
        "tree",
        510,
        "All ways in which a round of two guesses can go, if p and q are the same at both places. Those that begin "
        f"with the same word add up to p: {fractions(sums.values())}. A bonus may be any word.",
        f"The chances of a round’s ends add up to p. p is ({fractions(P)}), q is ({fractions(Q)}), and the tree has "
        f"{spelled(len(ends))} ends. A guess is kept with the chance min(p, q). It is corrected to a word where p is "
        "above q, with the chance p − q, and then the round is over. After two kept guesses a bonus follows. "
        f"All ends together have the chance {sum(sums.values())}; those that begin with the same word have "
        f"p’s: {fractions(sums.values())}.",
    )
    first, second, bonus, wide, row, small = 82, 232, 334, 84, 36, 30
    d.text(LEFT, 28, f"p: {fractions(P)}")
    d.text(LEFT, 54, f"q: {fractions(Q)}")
    d.chip(362, 20, 70, "kept", "accepted", small, "small")
    d.chip(440, 20, 104, "corrected", "residual", small, "small")
    for x, words, look in (
        (first + wide / 2, "token 1", "middle"),
        (second + wide / 2, "token 2", "middle"),
        (462, "chance", "end"),
        (RIGHT, "sum", "end"),
    ):
        d.text(x, 92, words, f"small soft {look}")
    y, heights, spans = 120, [], {}
    for (word, source, chance), seconds in round_of_two():
        y += 14 * (word not in spans and bool(spans))
        top = y
        for after, second_source, second_chance in seconds:
            d.text(second - 8, y - 5, str(second_chance), "small soft end")
            d.chip(second, y - small / 2, wide, after, second_source, small, "small")
            if second_source == "accepted":
                d.path(f"M{second + wide} {y}H{bonus}")
                d.chip(bonus, y - small / 2, 74, "bonus", "bonus", small, "small")
            else:
                d.text(second + wide + 14, y + 6, "over", "small soft")
            d.text(462, y + 6, str(chance * second_chance), f"leaf {word} end")
            y += row
        height = (top + y - row) // 2 if seconds else y
        for end in range(top, y, row):
            d.path(f"M{first + wide} {height}h14V{end}H{second}")
        d.text(first - 8, height - 5, str(chance), "small soft end")
        d.chip(first, height - small / 2, wide, word, source, small, "small")
        if seconds:
            d.text(first + wide / 2, height + 37, "kept", "small soft middle")
        else:
            d.text(first + wide + 14, y + 6, "corrected: round over", "small soft")
            d.text(462, y + 6, str(chance), f"leaf {word} end")
            y += row
        heights.append(height)
        spans.setdefault(word, [top, 0])[1] = y - row
    root = (heights[0] + heights[-1]) // 2
    for height in heights:
        d.path(f"M24 {root}H38V{height}H{first}")
    d.add("circle", "dot", cx=24, cy=root, r=7)
    for word, (top, bottom) in spans.items():
        d.brace(472, top - 14, bottom + 14)
        d.text(RIGHT, (top + bottom) / 2 - 4, word, "small end")
        d.text(RIGHT, (top + bottom) / 2 + 18, str(sums[word]), "bold end")
    return d


def overlap() -> Drawing:
    kept, lacks = [min(p, q) for p, q in zip(P, Q)], [max(p - q, Fraction(0)) for p, q in zip(P, Q)]
    scaled = ", ".join(f"{word} {more / sum(lacks)}" for word, more in zip(TOKENS, lacks) if more)

    def total(values) -> str:
        return " + ".join(str(value) for value in values if value) + f" = {sum(values)}"

    d = Drawing(
        "overlap",
        456,
        f"What p and q share is kept: α = {sum(kept)}. What p has and q lacks is missing. Scaled to sum to 1 it is the "
        "residual, and a refused guess is replaced from there.",
        f"What p and q share is α = {sum(kept)}. A bar for each of three words: grey frames are p ({fractions(P)}), "
        f"amber lines are q ({fractions(Q)}). What is below both is kept: {total(kept)}. Where q rises above p, "
        f"guesses are refused. Where p rises above q, something is missing: {total(lacks)}, as much as was refused. "
        f"Scaled to sum to 1 that is the residual: {scaled}.",
    )
    base, scale, wide, step = 318, 336, 92, 158
    d.text(LEFT, 26, "probability", "small soft")
    d.path(along((62, 40), (62, base), (RIGHT, base)))
    for tick in (Fraction(0), Fraction(1, 3), Fraction(2, 3)):
        y = base - int(scale * tick)
        d.path(along((56, y), (62, y)))
        d.text(48, y + 6, str(tick), "small soft end")
    for i, (word, p, q, both, more) in enumerate(zip(TOKENS, P, Q, kept, lacks)):
        x, top_p, top_q = 76 + step * i, base - int(scale * p), base - int(scale * q)
        middle, low = x + wide / 2, base - int(scale * both)
        areas = [("kept", both, low, base, "accepted"), ("missing", more, top_p, low, "residual")]
        areas += [("refused", max(q - p, Fraction(0)), top_q, low, "bare draft-edge dash")]
        for words, share, top, bottom, look in areas:
            if share:
                d.rect(x, top, wide, bottom - top, look)
                d.text(middle, (top + bottom) / 2 - 4, words, "small middle")
                d.text(middle, (top + bottom) / 2 + 19, str(share), "middle")
        d.path(f"M{x} {base}V{top_p}H{x + wide}V{base}", "target-edge thick")
        d.path(along((x - 6, top_q), (x + wide + 6, top_q)), "draft-edge thick")
        d.text(x + wide + 10, top_p + 6, f"p {p}", "small")
        d.text(x + wide + 10, top_q + (6 if q else -4), f"q {q}", "small")
        d.text(middle, base + 28, word, "middle bold")
    d.text(LEFT, base + 66, f"kept: {total(kept)}, which is α")
    d.text(LEFT, base + 94, f"missing: {total(lacks)}, as much as was refused")
    d.text(LEFT, base + 122, f"the residual is that, scaled: {scaled}")
    return d


def weights(draft: str) -> list[tuple[Fraction, Fraction]]:
    """The block rule's weight after each guess: before the cap, and after it."""
    found, w = [], Fraction(1)
    for word in draft:
        p, q = PAIR[word]
        found.append((w * p / q, w := min(Fraction(1), w * p / q)))
    return found


def block() -> Drawing:
    names = ["".join(pair) for pair in product(PAIR, repeat=2)]
    wanted, drafted = [[math.prod(PAIR[word][i] for word in name) for name in names] for i in (0, 1)]
    ends = [weights(name) for name in names]
    alone = [q * math.prod(min(Fraction(1), PAIR[x][0] / PAIR[x][1]) for x in name) for name, q in zip(names, drafted)]
    kept = [q * end[-1][1] for q, end in zip(drafted, ends)]
    most = [min(p, q) for p, q in zip(wanted, drafted)]
    (gained,) = (i for i in range(4) if kept[i] > alone[i])
    (lost,) = (i for i in range(4) if kept[i] < most[i])

    def ninths(value) -> str:
        return f"{9 * value}/9"

    def listed(values) -> str:
        return ", ".join(f"{name} {ninths(value)}" for name, value in zip(names, values))

    d = Drawing(
        "block",
        452,
        "How often both guesses stay: what is drafted, times the last weight. The block rule keeps all of "
        f"{names[gained]}, where the token rule keeps half. At {names[lost]} the cap cuts the first weight, and that "
        "costs a ninth.",
        f"The block rule keeps both guesses in {ninths(sum(kept))} of all cases, the token rule in "
        f"{ninths(sum(alone))}. A bar for each of four drafts. Amber lines are how often it is drafted "
        f"({listed(drafted)}), grey frames how often the target would write it ({listed(wanted)}). Green is how often "
        f"both guesses are kept ({listed(kept)}): the block rule keeps {ninths(kept[gained] - alone[gained])} more of "
        f"{names[gained]}, and the cap cuts {ninths(most[lost] - kept[lost])} off {names[lost]}.",
    )
    base, unit, wide, step = 300, 54, 86, 112
    d.path(along((LEFT, 22), (LEFT + 34, 22)), "draft-edge thick")
    d.text(LEFT + 44, 28, "drafted", "small")
    d.rect(150, 12, 34, 20, "bare target-edge thick")
    d.text(194, 28, "wanted by the target", "small")
    d.path(along((92, 56), (92, base), (RIGHT, base)))
    for tick in range(5):
        d.path(along((86, base - unit * tick), (92, base - unit * tick)))
        d.text(78, base - unit * tick + 6, f"{tick}/9", "small soft end")
    for i, name in enumerate(names):
        x = 106 + step * i
        middle, low = x + wide / 2, base
        areas = [(("kept",), alone[i], "accepted"), (("block", "only"), kept[i] - alone[i], "accepted accepted-edge")]
        areas += [(("the cap", "cuts"), most[i] - kept[i], "bare ink dash")]
        areas += [(("refused",), drafted[i] - most[i], "bare draft-edge dash")]
        for words, share, look in areas:
            if share:
                height = int(9 * share) * unit
                d.rect(x, low - height, wide, height, look)
                for line, word in enumerate(words):
                    d.text(middle, low - height / 2 + 6 + 22 * line - 11 * (len(words) - 1), word, "small middle")
                low -= height
        top_p, top_q = (base - int(9 * share[i]) * unit for share in (wanted, drafted))
        d.path(f"M{x} {base}V{top_p}H{x + wide}V{base}", "target-edge thick")
        d.path(along((x - 6, top_q), (x + wide + 6, top_q)), "draft-edge thick")
        d.text(middle, base + 28, name, "middle bold")
        for row, (before, after) in enumerate(ends[i]):
            said, look = (str(after), "") if before == after else (f"{before} → {after}", "bold")
            d.text(middle, base + 62 + 28 * row, said, f"middle small {look}".strip())
    for row, said in enumerate(("w₁", "w₂")):
        d.text(78, base + 62 + 28 * row, said, "small soft end")
    said = f"both kept: {ninths(sum(kept))}; by the token rule {ninths(sum(alone))}, at most {ninths(sum(most))}"
    d.text(LEFT, base + 134, said)
    return d


def heads(draft: str) -> list[Fraction]:
    """The chance of heads of each of the block rule's coins."""
    found, ws = [], [after for _, after in weights(draft)]
    for i, w in enumerate(ws):
        behind_all = i == len(ws) - 1  # nothing is proposed there
        z = sum(max(w * p - (0 if behind_all else q), Fraction(0)) for p, q in PAIR.values())
        found.append(z / (z + 1 - w) if w < 1 else Fraction(1))
    return found


def throws(draft: str) -> list[tuple[tuple[bool, ...], Fraction, int]]:
    """What the coins can show: heads or tails, the chance of that, and how many guesses stay."""
    found = []
    for shown in product((True, False), repeat=len(draft)):
        chance = math.prod(h if up else 1 - h for h, up in zip(heads(draft), shown))
        if chance:
            found.append((shown, chance, max((i + 1 for i, up in enumerate(shown) if up), default=0)))
    return found


def coins() -> Drawing:
    drafts = ("AA", "AB", "BA")
    stays = [sum(chance for _, chance, n in throws(name) if n) for name in drafts[:2]]
    parts = [PAIR[name[1]][1] for name in drafts[:2]]  # how often that guess comes second
    average = sum(part * stay for part, stay in zip(parts, stays))
    summed = " + ".join(f"{part} · {stay}" for part, stay in zip(parts, stays)) + f" = {average}"
    first, second, third = ([str(h) for h in heads(name)] for name in drafts)
    d = Drawing(
        "coins",
        468,
        "The coins of three drafts. All are flipped, and the last heads decides. At a first A the coin never shows "
        f"heads. The coin behind it saves this A with {average}: the next guess is A with {parts[0]}, "
        f"B with {parts[1]}.",
        "The last heads decides how many guesses stay. Three drafts, each with two coins and all that they can show. "
        f"AA: heads has the chance {first[0]} at the first coin and {first[1]} at the second. With "
        f"{throws('AA')[0][1]} the second shows heads, and both stay; with {throws('AA')[1][1]} none stays. AB: "
        f"the chances are {second[0]} and {second[1]}, so both always stay. BA: {third[0]} and {third[1]}. With "
        f"{throws('BA')[0][1]} the last heads is the second coin, and both stay; with {throws('BA')[1][1]} it is the "
        f"first, and only B stays. So a first A stays in {summed} of all cases, its weight.",
    )
    x_chance, x_shown, x_kept, x_words, wide = 166, 182, 370, 460, 66
    for x, words, look in (
        (LEFT, "guesses", ""),
        (x_chance, "chance", "end"),
        (x_shown + wide + 3, "the coins show", "middle"),
        (x_kept, "what stays", ""),
    ):
        d.text(x, 30, words, f"small soft {look}".strip())
    y = 48
    for name in drafts:
        for i, (word, chance) in enumerate(zip(name, heads(name))):
            d.chip(LEFT + 48 * i, y, 42, word, "draft", 36)
            d.add("circle", "wash line", cx=LEFT + 21 + 48 * i, cy=y + 64, r=21)
            d.text(LEFT + 21 + 48 * i, y + 70, str(chance), "middle small")
        rows = throws(name)
        for row, (shown, chance, n) in enumerate(rows):
            top = y + 26 if len(rows) == 1 else y + 2 + 48 * row
            d.text(x_chance, top + 23, str(chance), "end")
            for i, up in enumerate(shown):
                decides = up and i == n - 1
                x = x_shown + (wide + 6) * i
                d.rect(x, top, wide, 34, "accepted accepted-edge thick" if decides else "bare line", r=6)
                d.text(x + wide / 2, top + 23, "heads" if up else "tails", f"middle small{' bold' * decides}")
            d.arrow((x_shown + 2 * wide + 12, top + 17), (x_kept - 8, top + 17))
            for i, word in enumerate(name):
                d.chip(x_kept + 44 * i, top - 1, 38, word, "accepted" if i < n else "refused", 36)
            words = {0: "none", len(name): "both"}.get(n, f"only {name[:n]}")
            d.text(x_words, top + 23, words, "small")
        y += 108
        if name == drafts[1]:
            d.text(LEFT, y + 14, f"So the first A stays in {summed} of all cases.", "small")
            y += 44
        if name != drafts[-1]:
            d.path(along((LEFT, y - 8), (RIGHT, y - 8)), "line dots")
            y += 8
    d.text(LEFT, y + 20, "In a circle: the chance of heads. Thick: the last heads.", "small soft")
    return d


def noise(seed: int) -> list[float]:
    """As appendix A4 makes it, one number for each token."""
    rng = random.Random(f"{seed}/{COUPLED['position']}")
    return [-math.log(-math.log(rng.random())) for _ in COUPLED["p"]]


def choices() -> list[tuple[list[float], int, list[float], int]]:
    """With the same noise, then with other noise for the draft: the target's noise and choice, and the draft's."""

    def choose(row, g) -> int:
        scores = [math.log(x) + g_x for x, g_x in zip(row, g)]
        return scores.index(max(scores))

    one, other = map(noise, COUPLED["seeds"])
    return [(one, choose(COUPLED["p"], one), g, choose(COUPLED["q"], g)) for g in (one, other)]


def shared_noise() -> Drawing:
    p, q = COUPLED["p"], COUPLED["q"]
    (one, x, _, _), (_, _, other, y) = choices()
    likes = p.index(max(p)), q.index(max(q))

    def listed(values) -> str:
        return ", ".join(f"{value:.1f}" for value in values)

    d = Drawing(
        "shared_noise",
        416,
        f"Each model takes its highest bar. The same noise lifts the same token for both: here token {x}, which is "
        f"neither model’s favourite. With different noise the draft takes token {y}.",
        f"With the same noise both models choose token {x}; with different noise the draft chooses token {y}. Left: "
        "for each of three tokens a bar for the target and one for the draft. The lower part is log p or log q: the "
        f"target likes token {likes[0]} best and the draft token {likes[1]}. The noise is on top, {listed(one)}, "
        f"the same for both. The highest bar is token {x}, for both. Right: the target has the same noise, the draft "
        f"has {listed(other)}, and its highest bar is token {y}.",
    )
    base, unit, low, wide, step = 370, 74, -2, 32, 74
    legend = [(LEFT, "target full", "log p"), (110, "draft full", "log q")]
    legend += [(204, "bare line", "on top: noise g"), (378, "bare ink thick", "taken")]
    for at, look, words in legend:
        d.rect(at, 14, 24, 18, look, r=3)
        d.text(at + 32, 29, words, "small")
    d.path(along((54, 112), (54, base)))
    for tick in range(low, 2):
        d.path(along((48, base - unit * (tick - low)), (54, base - unit * (tick - low))))
        d.text(42, base - unit * (tick - low) + 6, f"{tick}".replace("-", "−"), "small soft end")
    d.text(LEFT, base + 28, "token", "small soft")
    for left, title, (g, took, draft_g, draft_took) in zip((72, 322), ("the same noise", "different noise"), choices()):
        d.text(left, 68, title, "bold")
        said = f"both take {took}" if took == draft_took else f"target {took}, draft {draft_took}"
        d.text(left, 94, said, "small")
        d.path(along((left - 6, base), (left + 3 * step - 2, base)))
        for i in range(len(p)):
            tops = []
            for at, row, noises, kind, mine in (
                (left + step * i, p, g, "target", took),
                (left + step * i + wide + 2, q, draft_g, "draft", draft_took),
            ):
                middle = base - round(unit * (math.log(row[i]) - low))
                top = base - round(unit * (math.log(row[i]) + noises[i] - low))
                d.rect(at, middle, wide, base - middle, f"{kind} full")
                d.rect(at, top, wide, middle - top, f"{kind} {kind}-edge")
                tops.append((top, mine == i, at))
            for top, chosen, at in tops:
                if chosen:
                    d.rect(at, top, wide, base - top, "bare ink thick")
            names = [name for name, (_, chosen, _) in zip(("target", "draft"), tops) if chosen]
            if names:
                highest = min(top for top, _, _ in tops)
                words = "both" if len(names) == 2 else names[0]
                d.text(left + step * i + wide + 1, highest - 10, words, "small bold middle")
            d.text(left + step * i + wide + 1, base + 28, str(i), "middle bold")
    return d


def ragged_rows() -> Drawing:
    before, gamma, rows = BATCH.values()
    length = {name: before + kept + (added is not None) for name, (kept, added) in rows.items()}
    open_rows = {name: n for name, n in length.items() if rows[name][1]}
    (ended,) = (name for name in rows if name not in open_rows)
    shortest, ahead = min(open_rows, key=length.get), max(open_rows, key=length.get)
    common = length[shortest] - 1  # a row's newest token is in no cache
    again = {name: n - 1 - common for name, n in open_rows.items()}
    d = Drawing(
        "ragged_rows",
        382,
        "Rows of a batch drift apart. The cache goes back to the shortest open row, a row that is ahead is fed again, "
        "and a finished row leaves.",
        "The shortest open row decides how far the cache goes back. Above, a round ends: "
        f"row {ahead} has grown by {spelled(length[ahead] - before)} tokens, row {shortest} by "
        f"{spelled(length[shortest] - before)}, and row {ended} is finished and leaves. Below, the next round: the "
        f"cache goes back to row {shortest} and keeps {spelled(common)} positions. Row {ahead}, which is ahead, is fed "
        f"{spelled(again[ahead])} tokens again, then its newest one and {spelled(gamma)} guesses; row {shortest} its "
        f"newest one, {spelled(gamma)} guesses and padding.",
    )
    x0, step, size = 80, 38, 34

    def cells(row, y, looks) -> None:
        d.text(LEFT, y + 23, f"row {row}", "small")
        for i, look in enumerate(looks):
            d.rect(x0 + step * i, y, size, size, look, r=4)

    def label(y, first, n, words, look="") -> None:
        d.text(x0 + step * (first + n / 2) - 2, y, words, f"small middle {look}".strip())

    d.text(LEFT, 32, "a round ends", "bold")
    for i, (row, (kept, added)) in enumerate(rows.items()):
        y, new = 46 + 42 * i, [f"{added} {added}-edge"] * (added is not None)
        cells(row, y, ["wash line"] * before + ["accepted accepted-edge"] * kept + new)
        if row == ahead:
            label(32, before, kept, "kept")
            label(32, before + kept, 1, added)
        note = {shortest: "corrected: the shortest open row", ended: "finished: leaves the batch"}.get(row)
        if note:
            d.text(x0 + step * length[row] + 6, y + 23, note, "small")
    x = x0 + step * common - 2
    d.path(f"M{x} 40V346", "ink thick")
    d.text(LEFT, 208, "the next round", "bold")
    d.text(x + 12, 208, "the cache goes back to here", "bold")
    for row, y, labels in ((ahead, 260, 248), (shortest, 306, 362)):
        spare = again[ahead] - again[row]
        looks = ["wash line"] * common + ["bare line"] * again[row] + ["wash ink"] + ["draft draft-edge"] * gamma
        cells(row, y, looks + ["bare line dash"] * spare)
        first = common + again[row]
        label(labels, first, 1, "new")
        label(labels, first + 1, gamma, "guesses")
        if again[row]:
            label(labels, 0, common, "cached")
            label(labels, common, again[row], "fed again")
        if spare:
            label(labels, first + 1 + gamma, spare, "padding", "soft")
    return d


def leads() -> list[tuple[int, bool]]:
    """Before each round: how many tokens the lucky row is ahead, and whether it sits the round out."""
    gamma, (lucky, unlucky) = LEAD["gamma"], LEAD["kept"].values()
    found, lead = [], 0
    for _ in range(LEAD["rounds"]):
        waits = lead > gamma
        found.append((lead, waits))
        lead += (0 if waits else lucky + 1) - (unlucky + 1)
    return found


def sits_out() -> Drawing:
    gamma, (lucky, unlucky), found = LEAD["gamma"], LEAD["kept"], leads()
    waiting = [i for i, (_, waits) in enumerate(found, 1) if waits]
    row, top, x0, step, size = 38, 100, 92, 32, 28
    listed = f"{', '.join(map(str, waiting[:-1]))} and {waiting[-1]}"
    d = Drawing(
        "sits_out",
        top + row * len(found) + 50,
        f"Row {lucky} sits out whenever it is more than γ = {gamma} tokens ahead. In the long run it is no faster than "
        f"row {unlucky}.",
        f"A row that is more than γ ahead sits out. Two rows and {spelled(len(found))} rounds with γ = {gamma}. Row "
        f"{lucky}’s guesses are all kept, so it grows by {spelled(gamma + 1)} in every round that it plays. Row "
        f"{unlucky}’s are all refused, so it grows by one. Row {lucky} is ahead by "
        f"{', '.join(str(lead) for lead, _ in found)} tokens as the rounds begin. A line is drawn behind {gamma}. In "
        f"rounds {listed} the lead is beyond it, and row {lucky} sits out until row {unlucky} has caught up.",
    )
    d.text(LEFT, 32, f"How far is row {lucky} ahead of row {unlucky}?", "bold")
    limit = x0 + step * gamma - 2
    d.text(limit, 64, f"γ = {gamma}", "small middle")
    d.text(LEFT, 86, "round", "small soft")
    d.path(f"M{limit} 72V{top + row * len(found)}", "ink thick")
    for i, (lead, waits) in enumerate(found):
        y = top + row * i
        d.text(LEFT + 44, y + 20, str(i + 1), "small end")
        for j in range(lead):
            d.rect(x0 + step * j, y, size, size, "wash ink" if j >= gamma else "wash line", r=4)
        end = max(x0 + step * lead, limit + 6) + 8
        if not lead:
            d.text(limit - 12, y + 20, "even", "small soft end")
        d.text(end, y + 20, "sits out" if waits else "plays", "small bold" if waits else "small")
    d.text(
        LEFT, top + row * len(found) + 30, f"row {lucky} plays: +{gamma + 1}; row {unlucky}: +1 in every round", "small"
    )
    return d


def grow() -> Drawing:
    shallow, copies, _ = GROWN.values()
    part, many = f"1/{copies}", spelled(copies)
    d = Drawing(
        "grow",
        418,
        f"Growing: a layer becomes {many} copies, and each writes {part} of its output. The parts add up to almost "
        "what the one layer wrote.",
        f"A grown model starts almost where the shallow one stopped. Above, one layer: it reads the stream that flows "
        f"past it, and adds all of its output to it. Below, {many} copies of this layer stand one after the other. "
        f"Each reads the stream, and adds {part} of its output. Together that is almost the output of the one layer. "
        "It is not quite the same, because each copy already sees what the one before it wrote. So "
        f"{spelled(shallow)} layers become {shallow * copies}.",
    )

    def layer(x, y, width, words, wrote) -> None:
        """A box above the stream at y: it reads on its left, and writes on its right."""
        left, right, box = x + 26, x + width - 26, y - 106
        d.rect(x, box, width, 44, "target full", r=9)
        d.text(x + width / 2, box + 28, words, "middle white small")
        d.arrow((left, y), (left, box + 48))
        d.arrow((right, box + 44), (right, y - 13))
        d.add("circle", "page ink", cx=right, cy=y, r=11)
        d.path(along((right - 5, y), (right + 5, y)) + along((right, y - 5), (right, y + 5)), "ink")
        d.text(right + 8, box + 76, wrote, "small bold")

    wide, step = 136, 170
    x0, streams = LEFT + 28, (172, 346)
    for y in streams:
        d.path(along((LEFT, y), (RIGHT, y)) + along((RIGHT - 9, y - 7), (RIGHT, y), (RIGHT - 9, y + 7)), "ink thick")
    d.text(LEFT, 32, "before", "bold")
    layer(x0 + step, streams[0], wide, "a layer", "all")
    d.text(LEFT, streams[0] - 14, "what flows past", "small soft")
    d.text(LEFT, 216, "grown", "bold")
    for i in range(copies):
        layer(x0 + step * i, streams[1], wide, f"copy {i + 1}", part)
    parts = " + ".join([part] * copies)
    d.text(LEFT, streams[1] + 34, f"{parts}: almost all of it. Not quite: copy 2 already", "small")
    d.text(LEFT, streams[1] + 58, "sees what copy 1 wrote.", "small")
    return d


def borrows() -> Drawing:
    shallow, copies, own = GROWN.values()
    deep, many = shallow * copies, spelled(own)
    ordinals = " and ".join(f"{n}th" for n in TAKEN)
    d = Drawing(
        "borrows",
        344,
        f"The draft has the target's encoder and embeddings. Its own are {many} decoder layers, which begin as the "
        f"target's {ordinals}, and write {spelled(copies)} times as much.",
        f"Only a draft’s decoder has to be short. On the left is what both models share and the draft’s training "
        f"leaves as it is: the encoder with {deep} layers, and the embeddings, which are also the last layer. "
        f"On the right, above, the target’s decoder: {deep} layers, in {spelled(shallow)} groups of "
        f"{spelled(copies)} copies. Arrows lead from the shared part to both decoders. Others lead from the {ordinals} "
        f"down to the {many} layers of the draft’s decoder, which are its own and are trained. At first each writes "
        f"{spelled(copies)} times as much as there. The other groups have no layer in the draft.",
    )
    d.text(LEFT, 32, "shared by both", "bold")
    frame, x0, step, size, gap = 190, 250, 22, 19, 8
    top, low = 76, 218
    d.rect(LEFT, 46, frame, 232, "bare line dash", r=9)
    for y, words in ((60, ("encoder", f"{deep} layers")), (168, ("embeddings,", "also the", "last layer"))):
        d.rect(LEFT + 12, y, frame - 24, 96, "target full", r=9)
        for line, said in enumerate(words):
            d.text(LEFT + frame / 2, y + 54 + 24 * line - 12 * (len(words) - 1), said, "small middle white")
    edge = LEFT + frame + 4
    d.text(x0, 32, "the target’s decoder", "bold")
    d.text(x0, 58, f"{shallow} layers, each grown into {copies}", "small")
    cells = [x0 + step * i + gap * (i // copies) for i in range(deep)]
    for i, x in enumerate(cells, 1):
        d.rect(x, top, size, 40, "target full" if i in TAKEN else "target target-edge", r=4)
    bus = edge + 14  # one line from the shared part, so that both of its boxes lead to both decoders
    middle = (top + low + 43) / 2
    d.path(along((edge - 4, middle), (bus, middle)) + along((bus, top + 20), (bus, low + 23)))
    d.arrow((bus, top + 20), (x0 - 4, top + 20))
    wide, end = 56, bus
    for n in TAKEN:
        middle = cells[n - 1] + size / 2
        left = min(middle, RIGHT - wide / 2) - wide / 2
        d.rect(left, low, wide, 46, "draft draft-edge", r=6)
        d.arrow((middle, top + 44), (middle, low - 4))
        d.text(middle - 8, (top + low) / 2 + 26, f"{n}th, × {copies}", "small end")
        d.arrow((end, low + 23), (left - 4, low + 23))
        end = left + wide + 2
    d.text(x0, low + 78, "the draft’s decoder", "bold")
    d.text(x0, low + 104, f"{own} layers of its own: these learn", "small")
    return d


def packed() -> Drawing:
    n, wide = PRODUCT.values()
    half, top, high = 256, 84, 192
    sums = top + high + 82
    d = Drawing(
        "packed",
        sums + 142,
        f"The same matrix, read in two orders. In row order {n} partial sums of one output are left to add up. In "
        f"packed order each number belongs to an output of its own.",
        f"Packed weights leave nothing to add up. Two copies of a matrix with {wide} outputs, a row each, and {n} "
        f"inputs, a column each. Left, row order: one row is read, {n} weights of one output, and multiplied by {n} "
        f"inputs. That makes {n} partial sums, and lines run from all of them to a single output. Right, packed order: "
        f"one column is read, the weights of {wide} outputs, and multiplied by one input. That makes {wide} sums, and "
        "each of them is an output.",
    )
    left, right = LEFT, RIGHT - half
    names = {left: "row order", right: "packed order"}
    for x, name in names.items():
        d.text(x, 30, name, "bold")
        d.text(x, 70, "inputs", "small soft")
        d.arrow((x + 70, 64), (x + 100, 64))
        d.text(x + half - 18, 70, "outputs", "small soft end")
        d.arrow((x + half - 6, 54), (x + half - 6, 76))
        d.rect(x, top, half, high, "wash line")
    cell, row = half / n, high / wide
    at = 5  # the output whose row is read, and the input whose column is
    for i in range(n):
        d.rect(left + cell * i + 0.5, top + row * at, cell - 1, row, "target full")
    for j in range(wide):
        d.rect(right + cell * at, top + row * j + 0.5, cell, row - 1, "target full")
    reading = top + row * at + row + 4
    d.arrow((left + 8, reading + 8), (left + 104, reading + 8))
    d.text(left + 8, reading + 36, f"{n} weights of one", "small")
    d.text(left + 8, reading + 60, "output, at once", "small")
    beside = right + cell * (at + 1) + 12
    d.arrow((beside, top + 12), (beside, top + 92))
    d.text(beside + 10, top + 40, "a weight each", "small")
    d.text(beside + 10, top + 64, f"of {wide} outputs", "small")
    for x, times in ((left, f"times {n} inputs"), (right, "times one input")):
        d.arrow((x + 64, top + high + 6), (x + 64, sums - 34))
        d.text(x + 76, top + high + 32, times, "small")
    for x, lanes, said in ((left, n, f"{n} partial sums"), (right, wide, f"{wide} sums, an output each")):
        d.text(x + half / 2, sums - 12, said, "small middle")
        for i in range(lanes):
            d.rect(x + half / lanes * i, sums, half / lanes, 26, "wash line")
    low = sums + 74
    for i in range(n):
        d.path(along((left + cell * (i + 0.5), sums + 30), (left + half / 2, low - 4)))
    d.rect(left + half / 2 - cell / 2, low, cell, 26, "wash ink thick")
    d.text(left + half / 2 + 22, low + 19, "one output", "small bold")
    d.rect(right, sums, half, 26, "bare ink thick")
    d.text(right + half / 2, sums + 52, "nothing to add up", "small bold middle")
    d.text(left, low + 56, f"left to do: add up {n} numbers", "small")
    return d


def modules() -> Drawing:
    names = {title: [spaced(name) for row in rows for name in row] for floor in MODULES for title, rows in floor}
    listed = ". ".join(f"{title.rstrip('/').capitalize()}: {', '.join(held)}" for title, held in names.items())
    high, gap, chip, pad = 40, 20, 34, 10
    heights = [high + (chip + 8) * max(len(rows) for _, rows in floor) + 2 for floor in MODULES]
    top = 20
    d = Drawing(
        "modules",
        top + sum(heights) + gap * (len(MODULES) - 1) + 44,
        "Imports point down only. The rules are at the bottom and know no model; the loops are near the top, and "
        "nothing under them knows them.",
        f"Imports point down only: a module may import only what is below it, or to its left. From the ground up. "
        f"{listed}. {spelled(len(CORE)).capitalize()} of them carry the ideas and have a thick edge: "
        f"{', '.join(CORE)}.",
    )
    y = top
    for floor, height in reversed(list(zip(MODULES, heights))):
        need = [max(sum(chip_width(name) + 8 for name in row) for row in rows) + 2 * pad - 8 for _, rows in floor]
        spare = (RIGHT - LEFT - gap * (len(floor) - 1) - sum(need)) / len(floor)
        x = float(LEFT)
        for (title, rows), width in zip(floor, need):
            d.rect(x, y, width + spare, height, "wash line", r=9)
            d.text(x + pad, y + 26, title, "small soft")
            for i, row in enumerate(rows):
                left = x + pad
                for name in row:
                    look = "page ink thick" if name in CORE else "page line"
                    d.rect(left, y + high + (chip + 8) * i, chip_width(name), chip, look, r=9)
                    d.text(left + chip_width(name) / 2, y + high + (chip + 8) * i + 23, spaced(name), "small middle")
                    left += chip_width(name) + 8
            x += width + spare + gap
        y += height
        if floor is not MODULES[0]:
            d.arrow((WIDTH / 2, y + 2), (WIDTH / 2, y + gap - 2))
        y += gap
    d.text(WIDTH / 2, y + 8, f"thick edge: the {spelled(len(CORE))} that carry the ideas", "small middle")
    return d


def spaced(name: str) -> str:
    """As words: Markdown reads underscores in its own way."""
    return name.replace("_", " ")


def chip_width(word: str) -> float:
    return 11.0 * len(word) + 16


DRAWINGS = [
    *(a_round, two_caches, causal_mask, rows_and_guesses, wrong_guess, bill, tree, overlap, ragged_rows, sits_out),
    *(modules, caches_all_kept, caches_refused, hole, block, coins, shared_noise, packed, grow, borrows),
]


def embed(drawing: Drawing) -> str:
    path = f"assets/drawings/{drawing.name}.svg"
    alt = drawing.alt
    return (
        f"== {drawing.name}\n-- in book/*.md\n```{{figure}} {path}\n:alt: {alt}\n\n{drawing.caption}\n```\n"
        f"-- in a Markdown cell of notebooks/*.ipynb\n![{alt}](../book/{path})\n\n*{drawing.caption}*\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embed", action="store_true", help="print what to paste into pages and notebooks")
    drawings = [draw() for draw in DRAWINGS]
    if parser.parse_args().embed:
        print("\n".join(map(embed, drawings)))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        (FOLDER / f"{drawing.name}.svg").write_text(drawing.svg(), encoding="utf8", newline="\n")


if __name__ == "__main__":
    main()
