"""A recorded run, round by round, beside plain decoding on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..display import Chip, ShownRound, check_generation, rounds_as_chips
from ..record import Generation, Round
from ..sampling import Draws
from ..texts import Text
from ..theory import check_costs
from ..verification import TokenRule, at_tokens
from .page import Explorable, button, escape, slider


class Guess(NamedTuple):
    """What the rule saw of one drafted token x: p(x), q(x), min(1, p(x)/q(x)), and its uniform number u."""

    p: float
    q: float
    heads: float
    u: float


class Notes:
    """Writes down what the token rule and its coins do to one text, and changes nothing.

    Pass both: ``speculative_generate(..., draws=notes.draws, verification=notes.rule)``.
    """

    def __init__(self, seed: int = 0, device: torch.device | str = "cpu"):
        self.draws, self.rule = NotingDraws(seed, device), NotingRule()

    @property
    def rounds(self) -> list[list[Guess]]:
        """A list for each round, a Guess for each drafted token."""
        return [
            [Guess(*seen, u) for seen, u in zip(rule, coins, strict=True)]
            for rule, coins in zip(self.rule.noted, self.draws.noted, strict=True)
        ]


class NotingRule(TokenRule):
    """The token rule, with p(x), q(x) and the chance of heads of every guess written down."""

    def __init__(self):
        self.noted: list[list[list[float]]] = []

    def heads(self, p: Tensor, q: Tensor, drafted: Tensor) -> Tensor:
        heads = super().heads(p, q, drafted)
        self.noted.append(torch.stack([at_tokens(p, drafted), at_tokens(q, drafted), heads], -1)[0].tolist())
        return heads


class NotingDraws(Draws):
    """The package's coins, with their uniform numbers written down: heads if u < heads."""

    def __init__(self, seed: int = 0, device: torch.device | str = "cpu"):
        super().__init__(seed, device)
        self.noted: list[list[float]] = []

    def coins(self, heads: Tensor, texts: Sequence[Text]) -> Tensor:
        n = heads.shape[1]
        self.noted.append(self.uniforms(texts, n)[0, 2 : 2 + 2 * n : 2].tolist())
        return super().coins(heads, texts)


def rounds(generation: Generation, notes: Notes | None = None, *, c: float, v: float) -> Explorable:
    """A stepper through a run's rounds, above it the text so far and two lanes drawn to scale.

    Parameters
    ----------
    generation : Generation
        Of one text, from `speculative_generate`.
    notes : Notes, optional
        What the rule saw; without it the table has no numbers.
    c, v : float
        Time of a draft step, and of a target pass over gamma + 1 positions, in units of a plain target step. The
        encoders are left out, and a shorter pass lies on the line between 1 and v.
    """
    check_costs(c, v)
    check_generation(generation)
    if not generation.rounds:
        raise ValueError("generation has no rounds: expected one that speculative_generate returned")
    noted = notes.rounds if notes else [[]] * len(generation.rounds)
    if len(noted) != len(generation.rounds):
        raise ValueError(f"notes of {len(noted)} rounds for {len(generation.rounds)}: expected those of this very run")
    gamma = max(len(r.drafted) for r in generation.rounds)
    data = {"c": c, "v": v, "gamma": gamma, "tokens": len(generation.token_ids)}
    data["rounds"] = [
        {"drafted": len(r.drafted), "kept": r.n_accepted, "emitted": len(r.emitted), "source": r.source}
        for r in generation.rounds
    ]
    spent = sum(time_of(r, c, v, gamma) for r in generation.rounds)
    data["total"] = max(spent, data["tokens"])
    words = (
        f"A stepper through {len(generation.rounds)} rounds: {data['tokens']} tokens in {spent:.1f} steps of time, "
        f"c = {c:.2f}, v = {v:.2f}; plain decoding takes {data['tokens']}. In words: show_rounds."
    )
    return Explorable("rounds", "Round by round", body(generation, noted, data), data, words)


def time_of(r: Round, c: float, v: float, gamma: int) -> float:
    """The time of a round, in plain target steps."""
    n = len(r.drafted)
    return n * c + 1 + ((v - 1) * n / gamma if gamma else 0)


def body(generation: Generation, noted: list[list[Guess]], data: dict) -> str:
    shown, total = rounds_as_chips(generation), len(generation.rounds)
    text = "".join(chip.html(state(i), f' data-round="{i}"') for i, each in enumerate(shown) for chip in kept(each))
    tables = "".join(table(i, each, noted[i]) for i, each in enumerate(shown))
    first = generation.rounds[0]
    time = time_of(first, data["c"], data["v"], data["gamma"])
    number = slider("round", "round", 1, total, 1, 1, f"1 of {total}")
    return f"""
<div class="controls">{button("first", "|◀", "first round")}{button("back", "◀ back", "back one round")}
{button("next", "next ▶", "next round")}{button("last", "▶|", "last round")}{number}</div>
<div class="sd-tokens text">{text}</div>
{lanes(generation, data, time)}
<div class="stack">{tables}</div>
<p class="say" role="status" data-show="say">{sentence(first, total, data, time)}</p>"""


def kept(shown: ShownRound) -> list[Chip]:
    return [chip for chip in shown.drafted if chip.origin == "accepted"] + shown.added


def state(i: int) -> str:
    """The class of what belongs to round i, in the first frame."""
    return "later" if i else "now"


def sentence(r: Round, total: int, data: dict, time: float) -> str:
    """What is said of the first round, as in the script."""
    end = {"residual": " and one correction", "bonus": " and a bonus", None: ", and the text ends"}
    made = f"{r.n_accepted} of {len(r.drafted)} guesses kept{end[r.source]}." if r.drafted else "a plain step."
    tokens = len(r.emitted)
    if total > 1:
        return (
            f"Round 1: {made} So far {tokens} token{'s' * (tokens != 1)} in {time:.1f} steps of time; "
            f"plain decoding has {min(int(time), data['tokens'])}."
        )
    return (
        f"Round 1: {made} The whole text took {time:.1f} steps of time instead of {tokens}: "
        f"{tokens / time:.2f} times as fast."
    )


def lanes(generation: Generation, data: dict, time: float) -> str:
    """Two rows of blocks, to scale: one target step a token; and draft steps with a wide pass behind them."""
    c, v, gamma, total = data["c"], data["v"], data["gamma"], data["total"]
    plain = '<i class="target" style="--t:1"></i>' * data["tokens"]
    spec = "".join(
        f'<i class="draft" style="--t:{c:.6g}"></i>' * len(r.drafted)
        + f'<i class="target" style="--t:{time_of(r, c, v, gamma) - len(r.drafted) * c:.6g}"></i>'
        for r in generation.rounds
    )
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if total / step <= 8)
    ticks = "".join(f'<span style="--x:{t / total:.6g}">{t}</span>' for t in range(0, int(total) + 1, step))
    return f"""<div class="lanes" style="--now:{time / total:.6g};--total:{total:.6g}">
<p>plain, one target step a token: <b data-show="plain">{min(int(time), data["tokens"])}</b> tokens finished</p>
<div class="lane">{plain}</div>
<p>speculative, <i class="draft"></i>&nbsp;draft steps and <i class="target"></i>&nbsp;one wide pass a round:
<b data-show="tokens">{len(generation.rounds[0].emitted)}</b> tokens finished</p><div class="lane">{spec}</div>
<div class="ticks">{ticks}</div><p class="unit">time, in plain target steps (c = {c:.2f}, v = {v:.2f}).
<span><i class="now"></i>now; pale: still to come</span></p></div>"""


def table(i: int, shown: ShownRound, noted: list[Guess]) -> str:
    """What the rule looked at: a line for each guess, and one for the target's own token."""
    came = f": “{escape(shown.added[0].piece.strip())}” came instead" if shown.added else ""
    verdict = {"accepted": "accepted", "refused": f"refused{came}", "unseen": "scored, not used"}
    source = {"residual": "from the residual", "bonus": "from p, a bonus", "target": "from p"}
    if not noted:
        source |= {"residual": "the target’s correction", "bonus": "the target’s extra token"}
    numbers = [[*map("{:.3f}".format, guess)] for guess in noted]
    lines = []
    for k, chip in enumerate(shown.drafted):
        cells = numbers[k] if numbers else []
        if cells and chip.origin == "unseen":
            cells = ["", "", "", ""]
        lines.append((chip, cells, verdict[chip.origin]))
    lines += [(chip, [""] * (4 if numbers else 0), source[chip.origin]) for chip in shown.added]
    head = ["token", *(["p", "q", "min(1, p/q)", "u"] if numbers else []), "verdict"]
    rows = "".join(
        f'<tr><th scope="row">{chip.html()}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}<td>{said}</td></tr>'
        for chip, cells, said in lines
    )
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'<table data-round="{i}" class="{state(i)}"><caption>round {i + 1}</caption>'
        f"<thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>"
    )
