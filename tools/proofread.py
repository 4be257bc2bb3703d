"""Read the book as a strict reader would: words that no dictionary has, and sentences that are hard to say aloud.

    python tools/proofread.py [part of a name ...]      # without names: README, every page, every notebook, docstrings

A report and no verdict: it exits with 0. `make proofread` installs the dictionary (pyspellchecker); without it, words
are not looked at. tools/words.txt has the field's words: add one that is right and that the dictionary lacks.
"""

import ast
import json
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = ROOT / "tools" / "words.txt"
LONG = 25  # words: more are hard to say in one breath
CUT = [  # what is no prose, and what takes its place; a line that begins with | is no sentence
    (r"^(```+)\{(?:glossary|figure|only|admonition)\}[^\n]*\n(.*?)^\1 *$", r"\n\2"),
    (r"^ *(```+).*?^ *\1 *$|^\$\$.*?\$\$", ""),
    (r'<!--.*?-->|<(svg|style|script)\b.*?</\1>|<div class="strip">.*?</div>', ""),
    (r"^(?::::|---)[^\n]*|^\{[\w-]+\}`[^`]*`$", ""),
    (r"^#+ |^ *:alt: ", "| "),
    (r"^ *:[\w-]+:[^\n]*", ""),
    (r"!\[([^\]]*)\]\([^)]*\)", r"| \1"),
    (r"(?:\{[\w:-]+\})?`+[^`]+`+_?", "`…`"),
    (r"\$[^$\n]+\$", "`…`"),
    (r"\[([^\]]*)\](?:\([^)]*\)|\{[^}]*\})", r"\1"),
    (r"https?://\S+|</?[a-zA-Z][^>]*>|&\w+;", ""),
]
SENTENCE = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!et al\.)[\"”’)*_]*\s+(?=[\"“‘(*_`]*(?:[A-Z0-9αγ`]|[b-z] ))")
HABITS = {  # what a sentence should not do, and how it is found
    '"stands" for "is"': r"\bst(?:ands?|ood)\b(?! (?:for|out|in)\b)",
    '"wants" for "needs"': r"\bwants\b",
    '"holds" for "is true"': r"\b(?:holds?|held)(?= ?(?:[.,;:)?]|$)| (?:for|here|only|if|when)\b)",
    '"that of"': r"\b(?:that|those) of\b",
    '"of which"': r"\bof (?:which|whom)\b",
    'a trailing "too"': r"\b(?:too|besides)(?=[.;:!?)]|$)",
    "a word of the workshop": r"\b(?:house|room|rung)s?\b",
    "a word twice": r"\b(\w+) \1\b",
    "If … then": r"^If\b.*\bthen\b",
    "a chain of appositions": r"(?:,(?! and| or| but)(?: [^\s,;:()]+){3,}(?=[,.])){4}",
}


def pages() -> dict[str, Path]:
    found = [ROOT / "README.md", *sorted(ROOT.glob("book/*.md")), *sorted(ROOT.glob("notebooks/*.ipynb"))]
    return {path.stem: path for path in found if path.stem not in ("api", "references")}


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Markdown and where it is: of a notebook its prose, what its cells show as Markdown, and captions."""
    if path.suffix != ".ipynb":
        yield "line", path.read_text(encoding="utf8")
        return
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf8"))["cells"]):
        if cell["cell_type"] == "markdown":
            yield f"cell {number}", "".join(cell["source"])
        for output in cell.get("outputs", []):
            yield f"output of cell {number}", "".join(output.get("data", {}).get("text/markdown", ""))
        yield f"caption of cell {number}", cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")


def prose(text: str) -> str:
    """The text without code, formulas, and marks, every line where it was."""
    for pattern, instead in CUT:

        def cut(found, instead=instead):
            left = found.expand(instead)
            return left + "\n" * (found[0].count("\n") - left.count("\n"))

        text = re.sub(pattern, cut, text, flags=re.DOTALL | re.MULTILINE)
    return text


def paragraphs(path: Path) -> Iterator[tuple[str, str]]:
    """A paragraph, an item of a list, or a row of a table at a time."""
    for place, text in texts(path):
        block, first = [], 0
        for number, line in enumerate([*prose(text).splitlines(), ""], 1):
            if block and (not line.strip() or block[0][0] == "|" or re.match(r"\s*(?:[-*:|]|\d+\.) |\|", line)):
                yield f"line {first}" if place == "line" else place, " ".join(block)
                block = []
            if line.strip():
                first = first if block else number
                block.append(re.sub(r"^(?:[-*>:]|\d+\.)\s+", "", line.strip()))


def sentences(path: Path) -> list[tuple[str, str]]:
    found = [(place, each) for place, text in paragraphs(path) if text[0] != "|" for each in SENTENCE.split(text)]
    return [(place, each) for place, each in found if len(words(each)) > 2 and re.search(r"[.!?:][*_\"”’)]*$", each)]


def words(text: str) -> list[str]:
    return re.findall(r"`…`|[^\W_]+(?:['’.,][^\W_]+)*", text)


def dictionary():
    """What knows words; None if the library is not installed."""
    try:
        from spellchecker import SpellChecker
    except ImportError:
        return None
    known = SpellChecker()
    known.word_frequency.load_words(WORDS.read_text(encoding="utf8").split())
    return known


def unknown(text: str, known) -> list[str]:
    """Words that neither the dictionary nor words.txt has; what looks like a name in code is none."""
    plain = re.sub(r"\*|\b_|_\b", "", text).replace("’", "'")
    found = re.findall(r"(?<![\w.'/@])[A-Za-z][a-z]+(?:'[a-z]+)?(?![\w/@(=]|\.\w)", plain)
    return [word for word in found if known.unknown([re.sub(r"(?:n't|'[a-z]*)$", "", word)])]


def habits(sentence: str) -> Iterator[tuple[str, str]]:
    for name, pattern in HABITS.items():
        if seen := re.search(pattern, sentence):
            yield name, f"…{sentence[max(0, seen.start() - 50) : seen.end() + 30]}…"


def report(path: Path, known) -> str:
    """A page: unknown words, habits, and its five longest sentences."""
    found = sentences(path)
    lengths = [len(words(sentence)) for _, sentence in found]
    middle, share = (statistics.median(lengths), sum(n > LONG for n in lengths) / len(lengths)) if found else (0, 0)
    lines = [f"== {path.stem}: {len(found)} sentences, median {middle:g} words, {share:.0%} over {LONG}"]
    if known is not None:
        lines += [f"  unknown, {place}: {word}" for place, text in paragraphs(path) for word in unknown(text, known)]
    lines += [f"  {name}, {place}: {said}" for place, sentence in found for name, said in habits(sentence)]
    longest = sorted(zip(lengths, found), key=lambda pair: -pair[0])[:5]
    return "\n".join([*lines, *(f"  {n} words, {place}: {said}" for n, (place, said) in longest if n > LONG)])


def docstrings(known) -> Iterator[str]:
    """Unknown words in what the package says of itself."""
    for path in sorted(ROOT.glob("specdec_lite/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                said = re.sub(r"`+[^`]*`+|^[\w, *]+ : .*$|^\s*>>>.*$", "", ast.get_docstring(node) or "", flags=re.M)
                at = f"{path.relative_to(ROOT)}, {getattr(node, 'name', 'the module')}"
                yield from (f"  unknown, {at}: {word}" for word in unknown(said, known))


def main() -> None:
    known, asked = dictionary(), sys.argv[1:]
    if known is None:
        print("pyspellchecker is not installed, so words are not looked at; make proofread installs it")
    for name, path in pages().items():
        if not asked or any(part in name for part in asked):
            print(report(path, known))
    if known is not None and not asked:
        print("== docstrings", *docstrings(known), sep="\n")


if __name__ == "__main__":
    main()
