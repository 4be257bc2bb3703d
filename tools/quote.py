"""Put what was measured where pages quote it: what is between marks in README.md and book/*.md, and drawings' words.

    python tools/quote.py            # `make measure` does it, after a session

A mark names a number as `sd.recorded` takes it, with a format if the number alone is wanted, or a table:

    <!-- recorded: speed-up | compiled | 1 -->1.35× [1.31–1.40]<!-- end -->
    <!-- recorded: c | eager | 0 | .2f -->0.30<!-- end -->
    <!-- recorded table: 0 -->…<!-- end -->
"""

import json
import re
from pathlib import Path

import draw

import specdec_lite as sd

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"(<!-- recorded( table)?: (.*?) -->)(.*?)(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(ROOT.glob("book/*.md"))]


def said(table: str | None, what: str) -> str:
    """What belongs between the marks."""
    if table:
        return f"\n{sd.recorded_table(float(what))}\n"
    parts = [part.strip() for part in what.split("|")]
    name, path, temperature, how = [*parts, *["eager", "0", ""][len(parts) - 1 :]]
    return format(sd.recorded(name, path, float(temperature)), how)


def quoted(text: str) -> str:
    return MARK.sub(lambda found: found[1] + said(found[2], found[3]) + found[5], text)


def with_alts(text: str, alts: dict[str, str]) -> str:
    """Drawings with the words that they have now."""
    for name, alt in alts.items():
        here = rf"\S*drawings/{name}\.svg"
        text = re.sub(rf"!\[[^\]]*\]\(({here})\)", lambda found, alt=alt: f"![{alt}]({found[1]})", text)
        figure = rf"(\{{(?:figure|image)\}} {here}\n(?::(?!alt).*\n)*:alt: ).*"
        text = re.sub(figure, lambda found, alt=alt: found[1] + alt, text)
    return text


def main() -> None:
    alts = {drawing.name: drawing.alt for drawing in (make() for make in draw.DRAWINGS)}
    for path in pages():
        old = path.read_text(encoding="utf8")
        if (new := with_alts(quoted(old), alts)) != old:
            path.write_text(new, encoding="utf8", newline="\n")
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        notebook, changed = json.loads(path.read_text(encoding="utf8")), False
        for cell in notebook["cells"]:
            old = "".join(cell["source"])
            if cell["cell_type"] == "markdown" and (new := with_alts(old, alts)) != old:
                cell["source"], changed = new.splitlines(keepends=True), True
        if changed:
            text = json.dumps(notebook, indent=1, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf8", newline="\n")


if __name__ == "__main__":
    main()
