"""Draw the book's pictures, as SVG, from data.

    python tools/draw.py             # writes book/assets/drawings/*.svg
    python tools/draw.py --embed     # prints, for each of them, what to paste into a page or a notebook

One file serves light and dark: the page that shows it tells it which of the two to be.
"""

import argparse
import json
import math
from fractions import Fraction
from html import escape
from itertools import accumulate, pairwise
from pathlib import Path

from specdec_lite.display import COLOURS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "book" / "assets" / "drawings"

# ---- What is drawn: a number in a picture is one of these, or computed from them ----

# Chapter 4's text, greedy, γ = 4: its second round and its first one. (A test runs the pocket pair on it again.)
TEXT = "My brother lives in a small house near the station. He works in Boston. Every day he reads a book on the train."
ROUND = {"before": "einem", "drafted": ["kleinen", "Haus", "in", "der"], "kept": 2, "added": "nahe"}
FULL_ROUND = {"before": "start", "drafted": ["Mein", "Bruder", "lebt", "in"], "kept": 4, "added": "einem"}

# The pocket pair's target, from its configuration, in float32; and a source of three words and EOS.
TARGET = {"num_decoder_layers": 12, "num_heads": 4, "d_kv": 64, "bytes": 4}
SOURCE = ["My", "brother", "lives", "</s>"]

# Chapter 0's text: its tokens, and what each round drafted; c and v(4) as recorded for chapter 12, without compiling.
RECORDED = json.loads((ROOT / "notebooks" / "recorded" / "fast_path.json").read_text(encoding="utf8"))["costs"]["eager"]
BILL = {"tokens": 39, "drafted": [4] * 9, "c": RECORDED["c"], "v": RECORDED["v"]["4"]}

# One position, the same at every place of a round: three tokens, and a residual with two of them.
TOKENS = ["und", "aber", "oder"]
P = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
Q = [Fraction(1, 3), Fraction(2, 3), Fraction(0)]

# Passes of the pocket pair's target over n positions, as stored in chapter 2: two CPU cores, float32.
PASSES = {
    "ms": {1: 17.9, 2: 23.8, 3: 25.3, 5: 22.1, 9: 24.0, 17: 27.3, 33: 31.7},
    "weights": 13.1e6,
    "bytes": 4,
    "read": 16e9,  # bytes per second
    "compute": 136e9,  # FLOP per second
}

# A batch after a round: how many guesses each row kept, and what the target added (None: a kept EOS ended the row).
BATCH = {"before": 3, "gamma": 4, "rows": {"A": (4, "bonus"), "B": (0, "residual"), "C": (2, None)}}

# The modules, from the ground up, as the page about them lists them (a test compares): boxes side by side, each with a
# title and rows of modules. Those of CORE carry the ideas; the Makefile counts their lines.
MODULES = [
    [("numbers and rules, no model", [["checks", "texts", "sampling", "verification"], ["theory", "metrics"]])],
    [
        (
            "a model and what it reads",
            [["decoder", "settings", "adjustment", "selfcheck"], ["inputs", "prompts", "models", "loading"]],
        )
    ],
    [("drafting/", [["base", "model"]]), ("fast/", [["narrow", "buffers", "compile"]])],
    [("the loops and their record", [["record", "generation"]])],
    [("measured", [["costs"]]), ("experiment/", [["table", "bench", "workers", "sweep"]])],
    [("shown", [["display", "plotting"]])],
    [("explore/", [["page", "accept_reject", "gamma_map"], ["mutation_matrix", "rounds"]]), ("chapters", [["run"]])],
]
CORE = ["texts", "sampling", "verification", "decoder", "adjustment", "base", "record", "generation"]

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
        if kind == "residual":
            waves = max(2, round((x1 - x0) / 9))
            half = (x1 - x0) / waves / 2
            d = along((x0, y)) + f"q{number(half / 2)} -4 {number(half)} 0" + f"t{number(half)} 0" * (2 * waves - 1)
        else:
            levels = (y - 1.5, y + 2.0) if kind == "bonus" else (y,)
            d = "".join(along((x0, level), (x1, level)) for level in levels)
        self.path(d, f"{kind}-edge" + " dots" * (kind == "target"))

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
    per_token = 2 * math.prod(TARGET.values())  # a key and a value in every layer
    grows = f"{number(per_token / 1024)} KiB"
    d = Drawing(
        "two_caches",
        332,
        f"The encoder runs once. The decoder runs for every token, and only its own cache grows: {grows} per token in "
        "the pocket pair’s target.",
        "Of the two KV caches only the decoder’s own grows. Left: the encoder runs once. It reads the source, and the "
        "keys and values made from its output fill a cache that never changes. Right: the decoder runs for every "
        f"token. It is fed the newest token, reads both caches, adds one entry of {grows} to its own, and gives the "
        "next token, which is fed next.",
    )
    side, right, cell = 232, RIGHT - 232, 55
    widths = [38, 76, 52, 50]
    lefts = [LEFT + sum(widths[:i]) + 5 * i for i in range(4)]
    d.text(LEFT, 30, "the source", "small soft")
    for x, width, word in zip(lefts, widths, SOURCE):
        d.chip(x, 42, width, word, "settled", 36, "small")
        d.arrow((x + width / 2, 82), (x + width / 2, 102))
        d.arrow((x + width / 2, 170), (x + width / 2, 206))
        d.rect(x, 210, width, 40, "wash line", r=4)
        d.text(x + width / 2, 236, "K V", "small soft middle")
    for x, name, runs in ((LEFT, "encoder", "runs once"), (right, "decoder", "runs for every token")):
        d.rect(x, 106, side, 60, "target full", r=9)
        d.text(x + side / 2, 131, name, "middle white bold")
        d.text(x + side / 2, 154, runs, "middle white small")
    d.chip(right, 42, 100, "Bruder", "settled", 36)
    d.chip(RIGHT - 100, 42, 100, "lebt", "target", 36)
    d.arrow((right + 50, 82), (right + 50, 102))
    d.arrow((RIGHT - 50, 102), (RIGHT - 50, 82))
    d.arrow((RIGHT - 104, 60), (right + 104, 60))
    d.text(right + side / 2, 30, "fed next", "small soft middle")
    for i, look in enumerate(("wash line", "wash line", "wash ink thick", "bare line dash")):
        x = right + 59 * i
        d.rect(x, 210, cell, 40, look, r=4)
        if look.startswith("wash"):
            d.text(x + cell / 2, 236, "K V", "small middle" + " soft" * (look == "wash line"))
        if look == "wash line":
            d.arrow((x + cell / 2, 206), (x + cell / 2, 170))
        if look == "wash ink thick":
            d.arrow((x + cell / 2, 170), (x + cell / 2, 206))
            d.text(x + cell / 2 + 10, 194, "adds", "small")
    d.arrow((lefts[-1] + widths[-1] + 4, 230), (280, 230), (280, 136), (right - 4, 136))
    d.text(280, 122, "reads", "small middle")
    for x, name, fate in (
        (LEFT, "KV cache of the source", "never changes"),
        (right, "KV cache of the text", f"+ {grows} per token"),
    ):
        d.text(x, 284, name, "small")
        d.text(x, 310, fate, "bold")
    return d


def causal_mask() -> Drawing:
    words = [FULL_ROUND["before"], *FULL_ROUND["drafted"]]
    old, newest = len(words) - 1, words[-1]
    d = Drawing(
        "causal_mask",
        298,
        "A new token adds one row. No earlier row looks at it, so what the cache holds of them stays right.",
        f"No earlier row looks at the new token. The causal mask has a row and a column for each of "
        f"{spelled(len(words))} tokens, and a row may look at its own token and at earlier ones: the lower left "
        f"triangle. The new token, “{newest}”, adds a row that looks at everything, and a column that is empty above "
        "it. So nothing that was computed for the earlier rows changes, and their keys and values stay in the cache.",
    )
    x0, y0, w, h = 90, 68, 60, 42
    d.text(x0 + 4, 26, "each row may look at", "small soft")
    for i, word in enumerate(words):
        look = "bold" if i == old else ""
        d.text(x0 + w * i + w / 2, y0 - 12, word, f"small middle {look}".strip())
        d.text(x0 - 10, y0 + h * i + h / 2 + 6, word, f"small end {look}".strip())
        for j in range(len(words)):
            edge = ("ink" if j == old else "line") + " dash" if j > i else "ink thick" if i == old else "line"
            d.rect(x0 + w * j + 3, y0 + h * i + 3, w - 6, h - 6, ("bare " if j > i else "wash ") + edge, r=4)
    x, end = x0 + w * len(words) + 6, y0 + h * old
    d.brace(x, y0 + 4, end - 6)
    lines = ("in the cache:", "they don’t", f"look at “{newest}”,", "so they stay")
    for i, line in enumerate(lines):
        d.text(x + 20, y0 + h * old / 2 - 28 + 24 * i, line, "small")
    d.text(x + 20, end + h / 2 + 6, "new row", "small bold")
    return d


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
    width, step = 82, 89
    x = [LEFT + step * i for i in range(gamma + 2)]
    mid = [left + width / 2 for left in x]
    d.text(LEFT, 30, "last token so far", "small soft")
    d.text((x[2] + x[gamma] + width) / 2, 30, f"{spelled(gamma)} guesses", "middle")
    d.chip(x[0], 44, width, before, "settled")
    for i, word in enumerate(drafted, 1):
        d.chip(x[i], 44, width, word, "draft")
    d.rect(x[0], 112, x[gamma] + width - x[0], 64, "target full", r=9)
    d.text((x[0] + x[gamma] + width) / 2, 138, "one pass of the target", "middle white")
    for i in range(gamma + 1):
        d.arrow((mid[i], 88), (mid[i], 108))
        d.text(mid[i], 164, f"row {i}", "middle white small")
        d.arrow((mid[i], 180), (mid[i + 1] - 8, 240))
    d.text(mid[0], 272, "judges", "small soft middle")
    for i, word in enumerate(drafted, 1):
        d.chip(x[i], 246, width, word, "accepted")
        d.text(mid[i], 308, f"guess {i}", "middle small")
    d.chip(x[-1], 246, width, bonus, "bonus")
    d.text(mid[-1], 308, "bonus", "middle small bold")
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
        f"On the machine recorded in chapter 12, a guess takes {c:.2f} of a plain step, and a wide pass {v:.2f}.",
        f"{fewer:.1f} times fewer passes make this text only {faster:.1f} times faster. A time line in plain steps, "
        f"the encoders left out: plain decoding takes {tokens}. Speculative decoding takes {rounds}, {c:.2f} for a "
        f"draft step and {v:.2f} for a wide pass, {time:.1f} in all. Sorted, that is {passes} for the passes, "
        f"{sum(wide) - passes:.1f} because they are wide, and {guesses * c:.1f} for the guesses. "
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
        (sum(wide) - passes, "target target-edge", "", "", (f"extra: {spelled(gamma + 1)}", "places wide")),
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
        "All ways in which a round of two guesses can go. Those that begin with the same word add up to p: "
        f"{fractions(sums.values())}.",
        f"The chances of a round’s ends add up to p. p is ({fractions(P)}), q is ({fractions(Q)}), and the tree has "
        f"{spelled(len(ends))} ends. A guess is kept with the chance min(p, q). It is corrected to a word where p is "
        "above q, with the chance p − q, and then the round is over. After two kept guesses a bonus follows. "
        f"All ends together have the chance {sum(sums.values())}; those that begin with the same word have "
        f"p’s: {fractions(sums.values())}.",
    )
    first, second, bonus, wide, row, small = 82, 232, 334, 84, 36, 30
    d.text(LEFT, 28, f"p: {fractions(P)}")
    d.text(LEFT, 54, f"q: {fractions(Q)}")
    for x, words, look in (
        (first + wide / 2, "token 1", "middle"),
        (second + wide / 2, "token 2", "middle"),
        (462, "chance", "end"),
        (RIGHT, "sum = p", "end"),
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
                d.path(f"M{second + wide + 8} {y}H402", "line dash")
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
    kept, left = [min(p, q) for p, q in zip(P, Q)], [max(p - q, Fraction(0)) for p, q in zip(P, Q)]

    def total(values) -> str:
        return " + ".join(str(value) for value in values if value) + f" = {sum(values)}"

    d = Drawing(
        "overlap",
        414,
        f"What p and q share is kept: α = {sum(kept)}. What is left of p is the residual: a refused guess is replaced "
        "from there.",
        f"What p and q share is α = {sum(kept)}. Two outlines over three words: p is ({fractions(P)}), q is "
        f"({fractions(Q)}). The area under both is kept: {total(kept)}. Where q rises above p, guesses are refused. "
        f"Where p rises above q, something is left of p, the residual: {total(left)}, as much as was refused.",
    )
    base, scale, wide, step = 290, 378, 112, 176
    for i, (word, p, q, both, more) in enumerate(zip(TOKENS, P, Q, kept, left)):
        x, top_p, top_q = 20 + step * i, base - int(scale * p), base - int(scale * q)
        middle, low = x + wide / 2, base - int(scale * both)
        areas = [("kept", both, low, base, "accepted"), ("left of p", more, top_p, low, "residual")]
        areas += [("refused", max(q - p, Fraction(0)), top_q, low, "bare")]
        for words, share, top, bottom, look in areas:
            if share:
                d.rect(x, top, wide, bottom - top, look)
                d.text(middle, (top + bottom) / 2 - 4, words, "small middle")
                d.text(middle, (top + bottom) / 2 + 19, str(share), "middle")
        d.path(f"M{x} {base}V{top_p}H{x + wide}V{base}", "target-edge thick")
        sides = f"V{top_q}H{x + wide - 5}V{base}" if q else f"H{x + wide - 5}"
        d.path(f"M{x + 5} {base}{sides}", "draft-edge thick")
        d.text(x + wide + 8, top_p + 6, f"p {p}", "small")
        d.text(x + wide + 8, top_q + 6, f"q {q}", "small")
        d.text(middle, base + 30, word, "middle bold")
    d.text(LEFT, base + 76, f"kept: {total(kept)} = α")
    d.text(LEFT, base + 104, f"left of p: {total(left)}, the residual")
    return d


def roofline() -> Drawing:
    ms, weights = PASSES["ms"], PASSES["weights"]
    reading = 1e3 * weights * PASSES["bytes"] / PASSES["read"]
    arithmetic = {n: 1e3 * 2 * weights * n / PASSES["compute"] for n in ms}
    one, few, most = min(ms), 5, max(ms)
    shares = {n: (reading / ms[n], arithmetic[n] / ms[n], 1 - (reading + arithmetic[n]) / ms[n]) for n in (one, few)}
    price = f"{ms[few] / ms[one]:.2f}"

    def split(n) -> str:
        read, work, rest = map(percent, shares[n])
        return f"n = {n}: reading {read}, arithmetic {work}, everything else {rest}"

    d = Drawing(
        "roofline",
        526,
        f"On two CPU cores, {spelled(few)} positions cost {price} times as much as one: they share the reading, and "
        "everything else, which is most of the time here.",
        f"{spelled(few).capitalize()} positions cost {price} times as much as one. Above, the time of a pass over n "
        f"positions, both axes logarithmic. Free extra positions would keep it at {ms[one]} ms; at full price it would "
        f"be n times that. Measured, it is {ms[few]} ms at n = {few} and {ms[most]} at n = {most}, near the free line. "
        f"The roofline, the larger of reading and arithmetic, lies far below, at {reading:.1f} ms, and rises from n = "
        f"{math.ceil(reading / arithmetic[one])} on. Below, two bars split the time, as if reading and "
        f"arithmetic took turns. {split(one)}. {split(few)}.",
    )
    x0, x1, low, high = 64, RIGHT, 280, 38

    def at(n, time) -> tuple[float, float]:
        rise = math.log(time / 2) / math.log(700 / 2)
        return x0 + 10 + (x1 - x0 - 24) * math.log(n) / math.log(most), low - (low - high) * rise

    d.path(along((x0, high), (x0, low), (x1, low)))
    d.text(x0 - 8, 28, "ms", "small soft end")
    for tick in (3, 10, 30, 100, 300):
        _, y = at(one, tick)
        d.path(along((x0, y), (x0 + 6, y)))
        d.text(x0 - 8, y + 6, str(tick), "small soft end")
    for n in ms:
        x, _ = at(n, 2)
        d.path(along((x, low), (x, low - 6)))
        d.text(x, low + 22, str(n), "small soft middle")
    d.text(x1, low + 48, "n, positions in one pass", "small soft end")
    d.path(along(at(one, ms[one]), at(most, ms[one])), "line dash")
    d.path(along(at(one, ms[one]), at(most, ms[one] * most)), "line dash")
    ridge = reading / arithmetic[one]
    d.path(along(at(one, reading), at(ridge, reading), at(most, arithmetic[most])))
    d.path(along(*(at(n, time) for n, time in ms.items())), "ink thick")
    for n, time in ms.items():
        x, y = at(n, time)
        d.add("circle", "dot", cx=x, cy=y, r=5)
    for n, time, dx, dy, words, look in (
        (few, few * ms[one], -14, 0, "full price: n times", "end"),
        (most, ms[one], 0, 23, "free", "end"),
        (9, ms[9], 0, -16, "measured", "bold middle"),
        (one, reading, 4, -10, "roofline", "soft"),
    ):
        x, y = at(n, time)
        d.text(x + dx, y + dy, words, look)
    unit, deep = (RIGHT - LEFT) / ms[few], 46
    for n, words, y in ((one, "one position", 376), (few, f"{spelled(few)} positions", 462)):
        d.text(RIGHT, y - 10, f"{words}: {ms[n]} ms", "small end")
        ends = list(accumulate((unit * ms[n] * share for share in shares[n]), initial=float(LEFT)))
        for (start, end), look in zip(pairwise(ends), ("wash line", "dot", "bare line")):
            d.rect(start, y, end - start, deep, look)
        for i, name in ((0, "reading"), (2, "everything else")):
            middle = (ends[i] + ends[i + 1]) / 2
            d.text(middle, y + 20, name, "small middle")
            d.text(middle, y + 40, percent(shares[n][i]), "small middle")
        x = (ends[1] + ends[2]) / 2
        d.path(along((x, y - 4), (x, y - 16), (x + 8, y - 16)))
        d.text(x + 14, y - 10, f"arithmetic {percent(shares[n][1])}", "small")
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


DRAWINGS = [a_round, two_caches, causal_mask, rows_and_guesses, bill, tree, overlap, roofline, ragged_rows, modules]


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
