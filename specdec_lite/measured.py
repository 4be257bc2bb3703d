"""What was measured of the pocket pair, with a machine and a date: one table, which every page quotes.

`make measure` appends a session to `data/measured.json`. Quoted is the median over the sessions of the newest machine,
then in square brackets the smallest and the largest of them: "1.35× [1.25–1.35]". A single session is quoted with its
own 95 % interval, in round ones: "1.35× (1.28 to 1.42)".
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from .checks import check_number

FILE = Path(__file__).parent / "data" / "measured.json"
PATHS = ("eager", "compiled")
TEMPERATURES = (0, 1)
SAME = ("processor", "cores", "threads", "torch", "transformers")  # in this a machine's sessions agree
UNITS = {
    "read rate": " GB/s", "flop rate": " GFLOP/s", "plain step": " ms", "encoder": " ms", "ms per token": " ms",
    "speed-up": "×", "predicted(": "×", "plain over": "×", "speculative over": "×",
}  # fmt: skip
WAYS = {
    "generate": "Hugging Face `generate`", "assisted": "Hugging Face assisted", "plain": "plain",
    "speculative": "speculative",
}  # fmt: skip


class Recorded(float):
    """A number from the record: the median over sessions, to compute with; printed, it says its spread and its unit.

    Attributes
    ----------
    name : str
    low, high : float
        The smallest and the largest session; of a single session its 95 % interval.
    unit : str
        As it is printed, with a space where one belongs.
    machine, date : str
        What it was measured on, and when: a day, or the first and the last one.
    sessions : tuple of (value, low, high)
        What each session found.
    """

    def __new__(cls, name: str, found: Sequence[tuple[float, float, float]], machine: str, date: str) -> Recorded:
        values = [value for value, _, _ in found]
        middle = statistics.median_low if name == "gamma" else statistics.median
        self = super().__new__(cls, middle(values))
        self.name, self.sessions, self.machine, self.date = name, tuple(map(tuple, found)), machine, date
        self.low, self.high = (min(values), max(values)) if len(found) > 1 else found[0][1:]
        self.unit = next((unit for start, unit in UNITS.items() if name.startswith(start)), "")
        return self

    def __str__(self) -> str:
        digits = 0 if self.name == "gamma" else 1 if self.unit.startswith(" ") else 2
        between = " [{}–{}]" if len(self.sessions) > 1 else " ({} to {})"  # round ones are a 95 % interval's
        spread = between.format(f"{self.low:.{digits}f}", f"{self.high:.{digits}f}") if self.low < self.high else ""
        return f"{float(self):.{digits}f}{self.unit}{spread}"

    __repr__ = __str__

    def __format__(self, how: str) -> str:
        return format(float(self), how) if how else str(self)

    def __reduce__(self):
        return Recorded, (self.name, self.sessions, self.machine, self.date)


def recorded(name: str, path: str = "eager", temperature: float = 0) -> Recorded:
    """A number of the pocket pair as the newest machine has it, for instance ``recorded("v(4)", "compiled")``.

    Parameters
    ----------
    name : str
        What: "plain step", "encoder", "c", "v(4)", "alpha", "gamma", "tokens per pass", "speed-up" (over plain decoding
        of the same path), "speed-up over generate", "speed-up over assisted", "speed-up(4)", "read rate" … An unknown
        one raises an error that lists those that there are.
    path : str
        "eager", or "compiled": with compiled steps, and the draft's weights in 16 bits.
    temperature : float
        0 or 1.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected.
    """
    sessions = newest_machine(read_sessions())
    there = names(sessions, path, temperature)
    if name not in there:
        known = ", ".join(dict.fromkeys(repr(re.sub(r"\(\d+\)", "(γ)", each)) for each in there))
        gammas = ", ".join(sorted({gamma for each in there for gamma in re.findall(r"\((\d+)\)", each)}, key=int))
        raise ValueError(f"name={name!r}: expected one of {known}, γ one of {gammas} ({path}, T = {temperature:g})")
    found = [(each, values[name]) for each in sessions if name in (values := group(each, name, path, temperature))]
    return Recorded(name, [value for _, value in found], machine_of(sessions[-1]), dates([each for each, _ in found]))


def recorded_table(temperature: float = 0) -> str:
    """Every way to decode in a Markdown table: ms per token, and how many times faster than three others.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected.
    """
    sessions = newest_machine(read_sessions())
    names(sessions, "eager", temperature)
    rows = [f"| {way} | {' | '.join(cells)} |" for way, *cells in table_rows(sessions, temperature)]
    head = ["way", "ms per token", "× its own plain", "× `generate`", "× assisted"]
    said = recorded("ms per token, plain", "eager", temperature)
    count = len(said.sessions)
    many = "one session, with its 95 % interval"
    if count > 1:
        many = f"median of {count} sessions [the smallest–the largest]"
    foot = f"T = {temperature:g}, {many}. {said.machine}, {said.date}."
    return "\n".join([f"| {' | '.join(head)} |", "|---" + 4 * "|---:" + "|", *rows, "", foot])


def table_rows(sessions: list[dict], temperature: float) -> Iterator[list[str]]:
    """The cells of each row: its way, milliseconds, and ratios, empty where there is none."""
    for path in PATHS:
        there = names(sessions, path, temperature, [])
        for way, label in WAYS.items():
            name = f"ms per token, {way}"
            if name not in there or (way in ("generate", "assisted") and path != "eager"):
                continue
            gamma = f", γ = {recorded('gamma', path, temperature)}" if way in ("assisted", "speculative") else ""
            ratios = ["speed-up", "speed-up over generate", "speed-up over assisted"]
            ratios = ratios if way == "speculative" else ["", f"{way} over generate", ""]
            kind = f", {path}" if way in ("plain", "speculative") else ""
            cells = [bare(recorded(each, path, temperature)) if each in there else "" for each in [name, *ratios]]
            yield [f"{label}{kind}{gamma}", *cells]


def bare(value: Recorded) -> str:
    """Without its unit, which the head of the column says."""
    return str(value).replace(value.unit, "")


def names(sessions: list[dict], path: str, temperature: float, otherwise=None) -> list[str]:
    """What is recorded for a path and a temperature, in the order of measuring; both are checked."""
    if path not in PATHS:
        raise ValueError(f"path={path!r}: expected {' or '.join(map(repr, PATHS))}")
    check_number("temperature", temperature, "0 or 1", lambda x: x in TEMPERATURES)
    there = {name: None for each in sessions for name in group(each, "", path, temperature)}
    if not there and otherwise is None:
        raise ValueError(f"path={path!r}: expected one that was measured at T = {temperature:g}; run `make measure`")
    return [*there, *{name: None for each in sessions for name in each["values"].get("machine", {})}]


def group(session: dict, name: str, path: str, temperature: float) -> dict[str, tuple[float, float, float]]:
    """The part of a session that has a name: of the machine, or of a path at a temperature."""
    values = session["values"]
    of_machine = values.get("machine", {})
    return of_machine if name in of_machine else values.get(f"{path}, T = {temperature:g}", {})


def read_sessions(file: Path = FILE) -> list[dict]:
    """Every session on file, in the order of measuring."""
    return json.loads(file.read_text(encoding="utf8")) if file.exists() else []


def newest_machine(sessions: list[dict]) -> list[dict]:
    """The sessions of the machine that was measured last; those of others are never mixed with them."""
    if not sessions:
        raise ValueError("nothing is recorded: expected a session or more in data/measured.json; run `make measure`")
    return [each for each in sessions if same_machine(each, sessions[-1])]


def same_machine(one: dict, other: dict) -> bool:
    return all(one["machine"].get(fact) == other["machine"].get(fact) for fact in SAME)


def machine_of(session: dict) -> str:
    """In words: "Intel Xeon Processor, 2 cores, torch 2.13.0, transformers 5.23.0"."""
    facts = session["machine"]
    versions = ", ".join(f"{name} {facts[name].split('+')[0]}" for name in ("torch", "transformers"))
    return f"{facts['processor']}, {facts['cores']} cores, {versions}, {facts['dtype']}"


def dates(sessions: list[dict]) -> str:
    """The day, or the first and the last one."""
    days = sorted({session["began"][:10] for session in sessions})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
