"""What all explorables are: HTML with its style, its data and its script inside, and nothing from elsewhere."""

from __future__ import annotations

import hashlib
import html
import json
from collections import Counter
from pathlib import Path

from ..checks import printable
from ..display import TOKEN_CSS

HERE = Path(__file__).parent
STILL = "This is a still picture. It moves where the page may run JavaScript; in Jupyter, trust the notebook first."
_used: Counter = Counter()  # how often this session has made an explorable with the same contents


class Explorable:
    """Shows itself as HTML where there is a browser, and as a few words where there is none.

    Parameters
    ----------
    name : str
        Its script is ``<name>.js``, with a function ``mount(root, data)``.
    label : str
        Its name for a reader who hears the page.
    body : str
        The first frame, HTML, as the script finds it.
    data : dict
        What the script needs, as JSON.
    words : str
        The text that stands in for it.
    """

    def __init__(self, name: str, label: str, body: str, data: dict, words: str):
        self.name, self.label, self.body, self.data, self.words = name, label, body, data, words
        contents = hashlib.sha256(f"{name}{body}{self.json()}".encode()).hexdigest()[:8]
        _used[contents] += 1
        again = f"-{_used[contents]}" if _used[contents] > 1 else ""
        self.id = f"explore-{name.replace('_', '-')}-{contents}{again}"

    def json(self) -> str:
        """The data, in ASCII, and with nothing in it that could end a script element."""
        return json.dumps(self.data).replace("<", "\\u003c")

    def script(self) -> str:
        """The code of the page: what the explorables share, and its own."""
        return "".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in ("shared", self.name))

    def _repr_html_(self) -> str:
        css = (HERE / "explore.css").read_text(encoding="utf-8")
        return (
            f"<style>{TOKEN_CSS}{css}</style>"
            f'<div class="sd-page sd-explore tex2jax_ignore mathjax_ignore" id="{self.id}" role="group" '
            f'aria-label="{escape(self.label)}">{self.body}<p class="still">{STILL}</p>'
            f'<script type="application/json">{self.json()}</script></div>'
            f'<script>(() => {{\n{self.script()}\nstart("{self.id}", mount);\n}})();</script>'
        )

    def __repr__(self) -> str:
        return self.words


def escape(text: str) -> str:
    return html.escape(printable(str(text)))


def button(action: str, text: str, label: str = "") -> str:
    spoken = f' aria-label="{escape(label)}"' if label else ""
    return f'<button type="button" data-do="{escape(action)}"{spoken}>{escape(text)}</button>'


def slider(name: str, text: str, low: float, high: float, step: float, value: float, shown: str) -> str:
    """A labelled range input with its value in words beside it."""
    return (
        f'<label class="slider"><span>{escape(text)}</span>'
        f'<input type="range" data-set="{name}" min="{low:g}" max="{high:g}" step="{step:g}" value="{value:g}" '
        f'aria-valuetext="{escape(shown)}"><output data-show="{name}">{escape(shown)}</output></label>'
    )
