"""The book's figures: one style, one palette, a title that states what the data show."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from itertools import cycle
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .checks import check_integer, printable
from .display import COLOURS, check_generation
from .theory import best_gamma, walltime_factor

STYLE = {
    "figure.figsize": (7, 4.2),  # inches; 7 wide is the width of the book's column
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "figure.facecolor": "white",  # readable on a dark page, too
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.labelsize": 11,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 6,
}
MARKERS = {"bonus": "^", "residual": "s"}  # for the origins of a text, beside their colours; the others are dots
# Colours with no meaning of their own (those of display.COLOURS say where a token came from), each with its marker: one
# per temperature, model or curve; a fifth begins again.
SERIES = [("#6A51A3", "o"), ("#C2528B", "s"), ("#8C6D31", "^"), ("#3B3B3B", "D")]


def show(figure: Figure) -> None:
    """Show a figure in a notebook, two pixels to a point, with a text for those who cannot see it; then close it."""
    from IPython.display import Image, display  # a notebook has it; who only plots need not

    full, small = BytesIO(), BytesIO()
    figure.savefig(full, format="png", dpi=STYLE["savefig.dpi"])
    plt.close(figure)
    # A figure has few colours: with a palette of its own it takes a fifth of the bytes. Of the two ways to choose one,
    # the octree keeps the colour of a small mark, too.
    way = {"method": PIL.Image.Quantize.FASTOCTREE, "dither": PIL.Image.Dither.NONE}
    PIL.Image.open(full).convert("RGB").quantize(128, **way).save(small, "png", optimize=True)
    display(Image(small.getvalue(), retina=True, alt=describe(figure)))


def describe(figure: Figure) -> str:
    """What a figure says and shows: the title of each axes, its labels, and what its legend names."""
    sentences = []
    for axes in figure.axes:
        title = (axes.get_title(loc="left") or axes.get_title()).replace("\n", ": ")
        shown = " against ".join(label for label in (axes.get_ylabel(), axes.get_xlabel()) if label)
        bars = [tick.get_text().replace("\n", " ") for tick in axes.get_yticklabels()] if axes.patches else []
        names = [name for name in bars if any(map(str.isalpha, name))] + axes.get_legend_handles_labels()[1]
        sentences += [title, f"{shown}: {'; '.join(names)}" if names else shown]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def draw_map(axes: Axes, v: Callable[[int], float], right: float, low: float, names_at=False) -> None:
    """Lines of equal speed-up over the plane of c and alpha, each at its best gamma; v is a function of gamma."""
    cs, alphas = np.linspace(0, right, 41), np.linspace(low, 1, 41)
    best = {(a, c): best_gamma(a, c, v) for a in alphas for c in cs}
    factors = [[walltime_factor(a, best[a, c], c, v(best[a, c])) for c in cs] for a in alphas]
    lines = axes.contour(cs, alphas, factors, [1, 1.2, 1.5, 2, 3, 5], colors="0.6", linewidths=1)
    axes.clabel(lines, manual=names_at, fmt=lambda factor: f"{factor:g}×", fontsize=9, colors="0.3")
    axes.contourf(cs, alphas, factors, [0, 1], colors=["0.93"])
    axes.text(0.97, 0.06, "no γ pays", transform=axes.transAxes, ha="right")
    axes.grid(visible=False)
    axes.set(xlabel="c, price of a guess (target steps)", xlim=(-0.01, right))
    axes.set(ylabel="α, accepted guesses", ylim=(low, 1.01))


# What stands in a figure of its own: rows that differ in one of these are never averaged.
APART = [
    "pair", "verification", "way", "device", "dtype", "max_new_tokens", "prompts_id", "measure_id", "target_id",
    "draft_id",
]  # fmt: skip


def plot_speedup(rows: pd.DataFrame) -> Figure:
    """Speed-up against gamma: measured with its interval, predicted as a dashed line, break-even at 1.

    Here and in the other figures of a sweep there is one panel for each pair and rule (and each other thing in which
    the rows differ), and in it one series for each temperature. Repeats (and seeds) are averaged, and nothing else.
    """
    return _panels(rows, _speedup, "speedup", "speedup_low", "speedup_high", "predicted_speedup")


def _speedup(axes: Axes, rows: pd.DataFrame) -> str:
    best = []
    for i, (label, colour, marker, part) in enumerate(_series(rows)):
        error = [part.speedup - part.speedup_low, part.speedup_high - part.speedup]
        look = {"color": colour, "marker": marker, "capsize": 3, "label": f"measured, {label}"}
        axes.errorbar(part.gamma + 0.08 * i, part.speedup, error, **look)  # beside each other, not on each other
        if part.predicted_speedup.notna().any():
            axes.plot(part.gamma, part.predicted_speedup, "--", color=colour, alpha=0.8, label=f"predicted, {label}")
        top = part.loc[part.speedup.idxmax()]
        best.append(f"{top.speedup:.2f}× with γ = {top.gamma:.0f} ({label})")
    axes.axhline(1, color="0.4", linewidth=1, linestyle=":")
    # Right of the axes, where no curve can cover it.
    axes.text(1.01, 1, "break-even", transform=axes.get_yaxis_transform(), va="center", color="0.4", fontsize=9)
    axes.set_ylabel("speed-up over plain decoding (×)")
    return f"Highest: {', '.join(best)}" if rows.speedup.max() > 1 else "Speculative decoding does not pay here"


def plot_alpha(rows: pd.DataFrame) -> Figure:
    """Expected acceptance against gamma, and the fraction accepted that estimates the same thing."""
    return _panels(rows, _alpha, "alpha", "acceptance_rate")


def _alpha(axes: Axes, rows: pd.DataFrame) -> str:
    for i, (label, colour, marker, part) in enumerate(_series(rows)):
        same = (part.alpha - part.acceptance_rate).abs().max() < 1e-9  # at temperature 0 each overlap is 0 or 1
        named = f"{'both estimates' if same else 'Σ min(p, q)'}, {label}"
        error = None
        if {"alpha_low", "alpha_high"} <= {*part} and part.alpha_low.notna().all():  # older tables have none
            error = [(part.alpha - part.alpha_low).clip(0), (part.alpha_high - part.alpha).clip(0)]
        look = {"color": colour, "marker": marker, "capsize": 3, "label": named}
        axes.errorbar(part.gamma + 0.08 * i, part.alpha, error, **look)
        if not same:
            named = f"accepted ÷ examined, {label}"
            axes.plot(part.gamma, part.acceptance_rate, color=colour, linestyle=":", label=named)
    axes.set_ylabel("acceptance per examined token")
    axes.set_ylim(min(0.5, rows.alpha.min(), rows.acceptance_rate.min()), 1)
    gammas = f"γ = {rows.gamma.min():.0f} to {rows.gamma.max():.0f}"
    return f"From {gammas}, Σ min(p, q) stays between {rows.alpha.min():.2f} and {rows.alpha.max():.2f}"


def plot_js(rows: pd.DataFrame) -> Figure:
    """JS divergence to plain decoding against gamma, over the band that plain decoding shows against itself."""
    return _panels(rows, _js, "js", "js_floor", "js_floor_sd")


def _js(axes: Axes, rows: pd.DataFrame) -> str:
    for label, colour, marker, part in _series(rows):
        named = f"speculative vs plain, {label}"
        axes.plot(part.gamma, part.js, color=colour, marker=marker, linestyle="none", label=named)
        low, high = part.js_floor - 2 * part.js_floor_sd, part.js_floor + 2 * part.js_floor_sd
        if part.js_floor.max() > 0:
            named = f"plain vs plain ± 2 sd, {label}"
            axes.plot(part.gamma, part.js_floor, color="0.5", linewidth=1)
            axes.fill_between(part.gamma, low, high, color="0.5", alpha=0.2, label=named)
    axes.set_ylabel("JS divergence (nats)")
    axes.set_ylim(bottom=-0.005)
    noisy = rows[rows.js_floor > 0] if (rows.js_floor > 0).any() else rows  # at temperature 0 there is no noise
    above = int((noisy.js > noisy.js_floor + 2 * noisy.js_floor_sd).sum())
    return f"{above or 'None'} of {len(noisy)} sampled points {'lies' if above <= 1 else 'lie'} above the noise"


FIGURES = {"speedup": plot_speedup, "alpha": plot_alpha, "js": plot_js}


def save_figures(rows: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write speedup.png, alpha.png and js.png beside the CSV, at twice the screen's size."""
    folder, paths = Path(folder).expanduser(), []
    for name, plot in FIGURES.items():
        paths.append(folder / f"{name}.png")
        figure = plot(rows)
        figure.savefig(paths[-1], dpi=STYLE["savefig.dpi"])
        plt.close(figure)
    return paths


def plot_token_probs(generation, top: int = 3) -> Figure:
    """M_p along one output: the probability of each emitted token, coloured by origin, and of the likeliest ones.

    The generation must have been made with ``record_probs=True``.
    """
    check_generation(generation)
    if generation.target_probs is None:
        raise ValueError("generation has no target_probs: expected one that was made with record_probs=True")
    if check_integer("top", top, minimum=0) > generation.target_probs.shape[1]:
        raise ValueError(f"top={top}: expected at most the {generation.target_probs.shape[1]} tokens that there are")
    with plt.rc_context(STYLE):
        count = len(generation.token_ids)
        figure, axes = plt.subplots(figsize=(max(7, 0.12 * count), 4.6))
        probs = generation.target_probs.float()
        ranked = probs.topk(top).values
        for rank in range(top):
            label = f"the target's {top} likeliest" if rank == 0 else None
            axes.plot(ranked[:, rank], "_", color="0.6", markersize=7, label=label)
        by_origin = {}
        for origin in dict.fromkeys(generation.origins):
            at = [i for i, o in enumerate(generation.origins) if o == origin]
            by_origin[origin] = [float(probs[i, generation.token_ids[i]]) for i in at]
            label = f"{origin} ({len(at)})"
            axes.plot(at, by_origin[origin], MARKERS.get(origin, "o"), color=COLOURS[origin], label=label)
        pieces = [printable(piece.strip()) or "␣" for piece in generation.pieces]
        # A dollar sign is a dollar sign: nothing that a model writes is typeset as mathematics.
        axes.set_xticks(range(count), pieces, rotation=90, fontsize=min(10, max(5, 350 / count)), parse_math=False)
        axes.margins(x=0.01)
        typical = ", ".join(f"{origin} {median(height):.2f}" for origin, height in by_origin.items())
        axes.set(title=f"Median probability: {typical}", ylabel="probability under the target")
        figure.legend(loc="outside lower center", ncols=5, fontsize=9)
        return figure


def _panels(rows: pd.DataFrame, draw: Callable[[Axes, pd.DataFrame], str], *columns: str) -> Figure:
    """A figure with a panel for each part of the rows; `draw` fills one, and returns what it shows."""
    if not isinstance(rows, pd.DataFrame):
        raise TypeError(f"rows={type(rows).__name__}: expected a data frame, as run_gamma_sweep returns it")
    missing = [name for name in ("temperature", "gamma", *columns) if name not in rows]
    if missing or rows.empty:
        found = f"no column {missing[0]!r}" if missing else "no row"
        raise ValueError(f"rows has {found}: expected the table that run_gamma_sweep returns, with one row or more")
    parts = _parts(rows)
    with plt.rc_context(STYLE):
        width, height = STYLE["figure.figsize"]
        figure, grid = plt.subplots(len(parts), squeeze=False, figsize=(width, height * len(parts)))
        for axes, (name, part) in zip(grid[:, 0], parts, strict=True):
            finding = draw(axes, part)
            axes.set(title=f"{name}\n{finding}" if name else finding, xlabel="γ, drafted tokens per round")
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            axes.legend(fontsize=9, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.14))
        return figure


def _parts(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each pair and rule, with a name by what they differ in; "" if there is nothing to tell apart."""
    apart, known = [], 1
    for name in APART:  # what differs only together with an earlier one need not be named
        if name in rows and (found := len(rows[[*apart, name]].drop_duplicates())) > known:
            apart, known = [*apart, name], found
    if not apart:
        return [("", rows)]
    groups = rows.groupby(apart, sort=False, dropna=False)
    return [(", ".join(printable(str(x)).replace("$", r"\$") for x in key), part) for key, part in groups]


def _series(rows: pd.DataFrame):
    """One (label, colour, marker, rows) per temperature; repeats are averaged."""
    numbers = rows.groupby(["temperature", "gamma"], as_index=False).mean(numeric_only=True)
    for (temperature, part), (colour, marker) in zip(numbers.groupby("temperature"), cycle(SERIES), strict=False):
        yield f"T = {temperature:g}", colour, marker, part
