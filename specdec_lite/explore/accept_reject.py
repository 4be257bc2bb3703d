"""Drag p and q, sample, and watch what comes out settle on p."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..checks import check_number, printable
from ..verification import overlap
from .page import Explorable, button, escape

RULES = {
    "residual": "from the residual (the rule)",
    "p": "from p (a tempting bug)",
    "nothing": "nothing (thrown away)",
}
READOUTS = {
    "alpha": "α, what p and q share",
    "accepted": "accepted",
    "residual": "after a refusal",
    "gone": "thrown away",
    "gap": "largest distance from p",
}


def accept_reject(p: Sequence[float], q: Sequence[float], tokens: Sequence[str], seed: int = 1) -> Explorable:
    """Bars of p and q to drag, and the histogram of the tokens that the rule lets out.

    Parameters
    ----------
    p, q : sequence of float
        Two distributions over the same two to six tokens; fractions will do.
    tokens : sequence of str
        What they are called.
    seed : int
        Of the dice in the page, so that every reader begins with the same ones.
    """
    tokens = [printable(str(token)) for token in tokens]
    if not 2 <= len(tokens) <= 6:
        raise ValueError(f"tokens={tokens!r}: expected two to six")
    p, q = (check_distribution(name, row, len(tokens)) for name, row in (("p", p), ("q", q)))
    alpha = float(overlap(torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)))
    say = (
        "Nothing is sampled yet. Predict first: what will have come out after a hundred samples? And what would come "
        "out if q were quite another?"
    )
    least = min(range(len(p)), key=p.__getitem__)
    bad = [0.8 if x == least else 0.2 / (len(p) - 1) for x in range(len(p))]
    data = {"p": p, "q": q, "tokens": tokens, "seed": seed, "presets": {"own": q, "bad": bad}, "say": say}
    shown = "; ".join(f"{t}: p = {a:.2f}, q = {b:.2f}" for t, a, b in zip(tokens, p, q))
    words = f"Two distributions to drag ({shown}) and the tokens that accept–reject lets out: α = {alpha:.2f}."
    return Explorable("accept_reject", "Accept or reject", body(p, q, tokens, alpha, say), data, words)


def check_distribution(name: str, row: Sequence[float], size: int) -> list[float]:
    try:
        row = [float(x) for x in row]
    except (TypeError, ValueError):
        raise TypeError(f"{name}={row!r}: expected {size} probabilities that sum to 1") from None
    row = [check_number(name, x, "probabilities in [0, 1]", lambda x: 0 <= x <= 1) for x in row]
    if len(row) != size or abs(sum(row) - 1) > 1e-6:
        raise ValueError(f"{name}={row!r}: expected {size} probabilities that sum to 1")
    return row


def body(p: list[float], q: list[float], tokens: list[str], alpha: float, say: str) -> str:
    rules = "".join(f'<option value="{name}">{text}</option>' for name, text in RULES.items())
    values = {"alpha": f"{alpha:.2f}", "accepted": "0", "residual": "0", "gone": "0", "gap": "–"}
    readouts = "".join(
        f'<div><dt>{t}</dt><dd data-show="{name}">{values[name]}</dd></div>' for name, t in READOUTS.items()
    )
    opinions = "".join(opinion(x, *each) for x, each in enumerate(zip(tokens, p, q)))
    outcomes = "".join(outcome(x, *each) for x, each in enumerate(zip(tokens, p, q)))
    return f"""
<div class="two">
<figure><figcaption>Two opinions: drag p or q</figcaption><div class="bars scale">{opinions}</div>
<p class="key"><span><i class="goal"></i>p</span> <span><i class="over"></i>q</span>
<span><i class="accepted"></i>shared: kept</span> <span><i class="residual"></i>p over q: missing</span>
<span>q over p: refused</span></p>
</figure><figure><figcaption>What comes out</figcaption><div class="bars scale">{outcomes}</div>
<p class="key"><span><i class="accepted"></i>accepted</span> <span><i class="residual"></i>after a refusal</span>
<span><i class="goal"></i>p, the goal</span></p></figure>
</div>
<div class="controls">{button("one", "sample 1")}{button("many", "sample 100")}
<label>after a refusal draw <select data-set="rule">{rules}</select></label></div>
<div class="controls">{button("preset:p", "q = p")}{button("preset:bad", "a bad draft")}
{button("preset:own", "the page’s q")}{button("reset", "start again")}</div>
<p class="say" role="status" data-show="say">{escape(say)}</p>
<dl class="readouts">{readouts}</dl>"""


def opinion(x: int, token: str, p: float, q: float) -> str:
    knobs = "".join(
        f'<b class="knob {row}" role="slider" tabindex="0" data-row="{row}" data-at="{x}" aria-orientation="vertical" '
        f'aria-label="{row} of {escape(token)}" aria-valuemin="0" aria-valuemax="1" aria-valuenow="{value:g}" '
        f'aria-valuetext="{value:.2f}">{row}</b>'
        for row, value in (("p", p), ("q", q))
    )
    return (
        f'<div class="bar"><div class="column" data-token="{x}" style="--p:{p:g};--q:{q:g}"><i class="shared"></i>'
        f'<i class="left"></i><i class="over"></i><i class="outline p"></i><i class="outline q"></i>{knobs}</div>'
        f'<b>{escape(token)}</b><span>p <span data-show="p{x}">{p:.2f}</span></span>'
        f'<span>q <span data-show="q{x}">{q:.2f}</span></span></div>'
    )


def outcome(x: int, token: str, p: float, q: float) -> str:
    return (
        f'<div class="bar"><div class="column" data-token="{x}" style="--p:{p:g};--q:{q:g};--a:0;--r:0">'
        f'<i class="came accepted"></i><i class="came residual"></i><i class="outline p"></i></div>'
        f'<b>{escape(token)}</b><span data-show="out{x}">–</span><span>&nbsp;</span></div>'
    )
