"""The plane of all drafts, (alpha, c), coloured by the best gamma; and the speed-up of the chosen one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..checks import check_number
from ..theory import best_gamma, check_costs, expected_tokens, walltime_factor
from .page import Explorable, button, escape, slider

COLUMNS, ROWS = 80, 60
FACTORS = (0.5, 0.7, 1, 1.4, 2, 3, 4, 6, 8, 12, 16)  # that the curve's axis can name


class Run(NamedTuple):
    """Neighbouring cells of one row of the map in which the same gamma is best."""

    row: int
    start: int
    length: int


def gamma_map(
    v: float | Mapping[int, float] = 1.0,
    *,
    point: tuple[float, float] = (0.7, 0.2),
    marks: Mapping[str, tuple[float, float]] | None = None,
    gammas: Iterable[int] = range(1, 17),
    top: float = 0.6,
) -> Explorable:
    """The best gamma for every (alpha, c) by the formula of `theory`, a point to move, and its speed-up by gamma.

    Parameters
    ----------
    v : float or dict of int to float
        Time of a target pass over gamma + 1 positions in plain steps. One number: a third slider moves it. A dict, as
        in ``costs.v``, has a price for each gamma, and its keys are the gammas.
    point : (float, float)
        The alpha and c to begin with.
    marks : dict of str to (float, float), optional
        Names of measured pairs, with their alpha and c: places on the map, and buttons that bring the point there.
    gammas : iterable of int
    top : float
        The largest c of the map.
    """
    prices = {int(g): float(x) for g, x in v.items()} if isinstance(v, Mapping) else dict.fromkeys(gammas, float(v))
    gammas, marks = sorted(prices), dict(marks or {})
    check_number("top", top, "a number > 0", lambda x: x > 0)
    for alpha, c in (point, *marks.values()):
        for gamma in gammas:
            walltime_factor(alpha, gamma, c, prices[gamma])  # says what is wrong with alpha, c or v
        check_costs(min(c, top), 1.0)
    one_price = not isinstance(v, Mapping)
    data = {
        "columns": COLUMNS, "rows": ROWS, "top": top, "gammas": gammas, "v": [prices[g] for g in gammas],
        "point": {"alpha": point[0], "c": min(point[1], top)} | ({"v": float(v)} if one_price else {}),
        "marks": [{"alpha": alpha, "c": min(c, top)} for alpha, c in marks.values()],
    }  # fmt: skip
    words = f"The best γ for every draft. {finding(data)}"
    return Explorable("gamma_map", "The best γ for every draft", body(data, [*marks]), data, words)


def finding(data: dict) -> str:
    """What is said of the chosen point, as in the script."""
    alpha, c, prices = data["point"]["alpha"], data["point"]["c"], dict(zip(data["gammas"], data["v"]))
    gamma = best_gamma(alpha, c, prices.get, data["gammas"])
    factor = walltime_factor(alpha, gamma, c, prices[gamma])
    v = f", v = {data['point']['v']:.2f}" if "v" in data["point"] else ""
    here = f"α = {alpha:.2f}, c = {c:.2f}{v}: "
    if factor > 1:
        return f"{here}the best γ is {gamma}, {factor:.2f} times as fast as plain decoding."
    return f"{here}no γ pays. The best of them, {gamma}, reaches {factor:.2f} times plain decoding’s speed."


def regions(data: dict) -> dict[int, list[Run]]:
    """For each gamma the runs of cells where it is best and faster than plain decoding."""
    gammas, v = np.array(data["gammas"]), np.array(data["v"])
    alphas = (np.arange(COLUMNS) + 0.5) / COLUMNS
    tokens = np.array([[expected_tokens(alpha, int(gamma)) for gamma in gammas] for alpha in alphas])
    found = {int(gamma): [] for gamma in gammas}
    for row in range(ROWS):
        factors = tokens / (gammas * ((row + 0.5) / ROWS) * data["top"] + v)
        best = np.where(factors.max(1) > 1, gammas[factors.argmax(1)], 0)
        edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), COLUMNS]
        for start, end in pairwise(edges):
            if best[start]:
                found[int(best[start])].append(Run(row, start, end - start))
    return found


def path(runs: list[Run]) -> str:
    return "".join(f"M{start} {ROWS - 1 - row}h{length}v1h-{length}z" for row, start, length in runs)


def tag(runs: list[Run]) -> tuple[float, float] | None:
    """Where a region's number stands, as shares of the map: half-way up, where there is room; None if there is none."""
    roomy = [run for run in runs if run.length >= 0.04 * COLUMNS]
    if len(roomy) < 0.08 * ROWS:
        return None
    row, start, length = roomy[len(roomy) // 2]
    return (start + length / 2) / COLUMNS, (row + 0.5) / ROWS


def octaves(factors: list[float]) -> int:
    """How many doublings above 1 the curve's axis needs."""
    return max(1, math.ceil(math.log2(max(factors))))


def height(factor: float, above: int) -> float:
    """On the curve's axis: 1/2 at 0 and 2^above at 1, each doubling the same distance."""
    return min(max((math.log2(factor) + 1) / (above + 1), 0.0), 1.0)


def body(data: dict, marks: list[str]) -> str:
    at, gammas, top = data["point"], data["gammas"], data["top"]
    known = regions(data)
    depth = [0.1 + 0.45 * math.log1p(i) / math.log(len(gammas) + 1) for i in range(len(gammas))]
    paths = "".join(
        f'<path data-gamma="{gamma}" fill-opacity="{share:.2f}" d="{path(known[gamma])}"/>'
        for gamma, share in zip(gammas, depth)
    )
    tags = "".join(label(gamma, tag(runs)) for gamma, runs in known.items())
    places = "".join(f'<i class="mark" style="--x:{m["alpha"]:g};--y:{m["c"] / top:g}"></i>' for m in data["marks"])
    measured = '\n<span><i class="diamond"></i>measured</span>' if marks else ""
    sliders = slider("alpha", "α", 0, 1, 0.01, at["alpha"], f"{at['alpha']:.2f}")
    sliders += slider("c", "c", 0, top, 0.01, at["c"], f"{at['c']:.2f}")
    if "v" in at:
        sliders += slider("v", "v", 0.8, 2.5, 0.01, at["v"], f"{at['v']:.2f}")
    known_pairs = "".join(button(f"mark:{i}", f"◆ {name}") for i, name in enumerate(marks))
    return f"""
<div class="two">
<figure class="map"><figcaption>The best γ for every draft</figcaption>
<p class="unit"><b>↑ c</b>: what a guess costs, in plain steps</p>
<div class="axis">{ticks([(y, f"{y * top:.1f}") for y in (1 / 3, 2 / 3, 1)], "side")}
<div class="plane" aria-hidden="true"><svg viewBox="0 0 {COLUMNS} {ROWS}" preserveAspectRatio="none">{paths}</svg>
<span class="tag plain">plain decoding wins</span>{tags}{places}
<span class="point" style="--x:{at["alpha"]:g};--y:{at["c"] / top:g}"></span></div></div>
{ticks([(x, f"{x:g}") for x in (0, 0.25, 0.5, 0.75, 1)], "ticks")}
<p class="unit"><b>→ α</b>: how likely a guess is to be accepted</p></figure>
<figure class="curve"><figcaption>Speed-up of the chosen draft</figcaption>
<p class="unit"><b>↑ speed-up</b> over plain decoding</p>{curve(data)}
<p class="unit"><b>→ γ</b>: guesses per round</p></figure>
</div>
<p class="key"><span><i class="shade"></i>a number is the best γ there; strips too thin for one lie between</span>
<span><i></i>plain decoding wins</span><span><i class="ring"></i>the chosen draft</span>{measured}</p>
<div class="controls">{sliders}{known_pairs}</div>
<p class="say" role="status" data-show="say">{escape(finding(data))}</p>"""


def label(gamma: int, spot: tuple[float, float] | None) -> str:
    x, y = spot or (0, 0)
    hidden = "" if spot else " hidden"
    return f'<span class="tag" data-gamma="{gamma}" style="--x:{x:.4g};--y:{y:.4g}"{hidden}>{gamma}</span>'


def ticks(places: list[tuple[float, str]], kind: str) -> str:
    return f'<div class="{kind}">{"".join(f"<span style=--x:{x:.4g}>{text}</span>" for x, text in places)}</div>'


def curve(data: dict) -> str:
    at, gammas = data["point"], data["gammas"]
    factors = [walltime_factor(at["alpha"], g, at["c"], v) for g, v in zip(gammas, data["v"])]
    best = factors.index(max(factors)) if max(factors) > 1 else None
    above = octaves(factors)
    dots = "".join(
        f'<i class="dot{" best" if i == best else ""}" '
        f'style="--x:{(i + 0.5) / len(gammas):.4g};--y:{height(f, above):.4g}"></i>'
        for i, f in enumerate(factors)
    )
    # Its number is above it: the axis below names every third only, and a number on a dot covers it.
    at_best = f"--x:{((best or 0) + 0.5) / len(gammas):.4g};--y:{height(factors[best or 0], above):.4g}"
    hidden = " hidden" if best is None else ""
    name = f'<span class="name" style="{at_best}"{hidden}>γ = {gammas[best or 0]}</span>'
    points = " ".join(f"{i + 0.5},{1 - height(f, above):.4g}" for i, f in enumerate(factors))
    side = "".join(
        f'<span data-factor="{f}" style="--x:{height(f, above):.4g}"{" hidden" if f > 2**above else ""}>{f:g}×</span>'
        for f in FACTORS
    )
    shown = [((i + 0.5) / len(gammas), f"{g}") for i, g in enumerate(gammas) if len(gammas) <= 8 or i % 3 == 0]
    return f"""<div class="axis"><div class="side">{side}</div><div class="plane" aria-hidden="true">
<span class="slow" style="--y:{height(1, above):.4g}">slower than plain decoding</span>
<svg viewBox="0 0 {len(gammas)} 1" preserveAspectRatio="none"><polyline points="{points}"/></svg>{dots}
{name}</div></div>
{ticks(shown, "ticks")}"""
