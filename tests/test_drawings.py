"""The book's pictures are what the script draws, show what the data say, and can be read in light and dark."""

import importlib.util
import json
import re
import xml.etree.ElementTree as ET
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import pytest
import torch
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

import specdec_lite as sd
from specdec_lite.fast.kernels import pack
from specdec_lite.generation import plan_round
from test_pages import MODULES

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"
PHONE = 360  # how wide a drawing is on a phone, in pixels

spec = importlib.util.spec_from_file_location("draw", ROOT / "tools" / "draw.py")
draw = importlib.util.module_from_spec(spec)
spec.loader.exec_module(draw)

DRAWINGS = [make() for make in draw.DRAWINGS]
PALETTE = {
    *draw.COLOURS.values(),
    draw.WHITE,
    draw.BLACK,
    *(c for theme in draw.THEMES.values() for c in theme.values()),
}
each_drawing = pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.name)
each_theme = pytest.mark.parametrize("theme", draw.THEMES)


def root_of(drawing):
    return ET.fromstring((draw.FOLDER / f"{drawing.name}.svg").read_bytes())


def style_of(element, rules) -> dict[str, str]:
    """The declarations that hold for an element: the more specific rule wins, then the later one."""
    classes, found = element.get("class", "").split(), []
    for order, (selectors, body) in enumerate(rules):
        for selector in selectors.split(","):
            tag, *wanted = selector.split(".")
            if tag in ("", element.tag.removeprefix(SVG)) and {*wanted} <= {*classes}:
                found.append((len(wanted), bool(tag), order, body))
    declarations = ";".join(body for *_, body in sorted(found))
    return dict(part.split(":", 1) for part in declarations.split(";") if part)


def rules_of(root, theme: str) -> list[tuple[str, str]]:
    """In their order; what is for dark counts in dark only."""
    before, dark, after = re.fullmatch(
        r"(.*)@media \(prefers-color-scheme:dark\)\{(.*?\})\}(.*)", root.find(f"{SVG}style").text
    ).groups()
    return re.findall(r"([^{}]+)\{([^{}]*)\}", before + (dark if theme == "dark" else "") + after)


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def luminance(colour) -> float:
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one, other) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def pixels(style: dict[str, str]) -> float:
    return float(re.match(r"([\d.]+)px", style.get("font-size", style["font"]))[1])


def box_of(text, style) -> tuple[float, float, float, float]:
    """Where the words are, in DejaVu Sans, which is wider than what most systems have."""
    weight = "bold" if style.get("font-weight") == "600" else "normal"
    path = TextPath((0, 0), text.text, size=pixels(style), prop=FontProperties(family="DejaVu Sans", weight=weight))
    left, low, right, high = path.get_extents().extents
    shift = {"middle": -right / 2, "end": -right}.get(style.get("text-anchor"), 0)
    x, y = float(text.get("x")) + shift, float(text.get("y"))
    return x + left, y - high, x + right, y - low


def rect_of(element) -> tuple[float, float, float, float]:
    x, y, width, height = (float(element.get(name, 0)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def inside(box, frame, margin=0.0) -> bool:
    return (
        box[0] >= frame[0] + margin
        and box[1] >= frame[1] + margin
        and box[2] <= frame[2] - margin
        and box[3] <= frame[3] - margin
    )


def apart(box, other, gap=0.0) -> bool:
    return box[2] + gap <= other[0] or other[2] + gap <= box[0] or box[3] + gap <= other[1] or other[3] + gap <= box[1]


def test_the_script_writes_the_committed_files_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "FOLDER", tmp_path / "drawings")
    monkeypatch.setattr("sys.argv", ["draw.py"])
    draw.main()
    committed = {path.name: path.read_bytes() for path in (ROOT / "book" / "assets" / "drawings").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "drawings").iterdir()} == committed, (
        "run tools/draw.py"
    )
    assert len(committed) == len(DRAWINGS)


@each_drawing
def test_a_drawing_says_what_it_shows_and_needs_nothing_else(drawing):
    root, source = root_of(drawing), (draw.FOLDER / f"{drawing.name}.svg").read_text(encoding="utf8")
    assert root.get("role") == "img"
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("aria-labelledby").split() == [title.get("id"), desc.get("id")]
    assert len(title.text) > 40 and len(desc.text) > 150
    assert source.count("http") == 1  # the namespace
    assert not re.search(r"href|url\(|@import|<image|<script|<foreignObject", source)
    assert not re.search(r"[\[\]*_`<>]", desc.text), "it goes into Markdown as it is"


@each_drawing
def test_only_the_palettes_colours_are_used(drawing):
    source = (draw.FOLDER / f"{drawing.name}.svg").read_text(encoding="utf8")
    assert {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{3,8}\b", source)} <= {c.lower() for c in PALETTE}
    assert not re.search(r"\b(rgb|hsl)a?\(|(fill|stroke):(?!none|#)\w", source)
    rules = rules_of(root_of(drawing), "light")
    for element in root_of(drawing).iter():
        if element.tag.removeprefix(SVG) in ("rect", "circle", "text"):
            assert "fill" in style_of(element, rules), element.attrib  # else it would be black


@each_drawing
@each_theme
def test_words_stand_out_from_what_is_under_them(drawing, theme):
    root = root_of(drawing)
    rules, rects = rules_of(root, theme), []
    for element in root.iter():
        style = style_of(element, rules)
        if element.tag == f"{SVG}rect" and style["fill"] != "none":
            rects.append((rect_of(element), style))
        if element.tag == f"{SVG}text":
            left, top, right, bottom = box_of(element, style)
            under = rgb("#000000")
            for (x0, y0, x1, y1), fill in rects:
                if x0 <= (left + right) / 2 <= x1 and y0 <= (top + bottom) / 2 <= y1:
                    share = float(fill.get("fill-opacity", 1))
                    under = tuple(share * a + (1 - share) * b for a, b in zip(rgb(fill["fill"]), under))
            assert contrast(rgb(style["fill"]), under) >= 4.5, element.text


@each_drawing
def test_words_are_large_enough_also_on_a_phone(drawing):
    root = root_of(drawing)
    rules, width = rules_of(root, "light"), float(root.get("width"))
    assert width == draw.WIDTH <= 760
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    sizes = {pixels(style_of(text, rules)) for text in root.iter(f"{SVG}text")}
    assert min(sizes) >= 12
    assert min(sizes) * PHONE / width >= 10.5


@each_drawing
def test_words_neither_touch_each_other_nor_leave_their_place(drawing):
    root = root_of(drawing)
    rules = rules_of(root, "light")
    texts = [(text.text, box_of(text, style_of(text, rules))) for text in root.iter(f"{SVG}text")]
    page, *rects = [rect_of(rect) for rect in root.iter(f"{SVG}rect")]
    assert [words for words, box in texts if not inside(box, page, 8)] == []
    assert [(a, b) for (a, one), (b, other) in combinations(texts, 2) if not apart(one, other, 2)] == []
    for words, box in texts:
        assert all(apart(box, rect) or inside(box, rect, 2) for rect in rects), words


def test_the_trees_ends_add_up_to_one_and_to_p_by_their_first_word():
    (tree,) = (drawing for drawing in DRAWINGS if drawing.name == "tree")
    sums = dict.fromkeys(draw.TOKENS, Fraction(0))
    for text in root_of(tree).iter(f"{SVG}text"):
        kind, *words = text.get("class", "").split()[:2] or [""]
        if kind == "leaf":
            sums[words[0]] += Fraction(text.text)
    assert sum(sums.values()) == 1
    assert list(sums.values()) == draw.P
    assert sum(p > q for p, q in zip(draw.P, draw.Q)) == 2  # a residual with two words
    assert sum(draw.P) == sum(draw.Q) == 1


def test_the_block_rule_drawn_is_the_packages():
    p, q = (torch.tensor([float(pair[i]) for pair in draw.PAIR.values()]).double() for i in (0, 1))
    rows = torch.stack([p] * 3), torch.stack([q, q, 0 * q])
    for draft in product(range(2), repeat=2):
        drawn = [float(after) for _, after in draw.weights("".join("AB"[x] for x in draft))]
        found = sd.BlockRule().weights(*rows, torch.tensor(draft))
        assert torch.allclose(found[1:], torch.tensor(drawn).double())
        assert float(sd.BlockRule().heads(*rows, torch.tensor(draft))[-1]) == pytest.approx(drawn[-1])  # both are kept


def test_the_order_drawn_is_that_of_packed_weights():
    inputs, outputs = draw.PRODUCT.values()
    weight = torch.arange(2.0 * outputs * inputs).view(2 * outputs, inputs)
    assert torch.equal(pack(weight).flatten()[: 2 * outputs], weight[:outputs, :2].T.flatten())  # input 0, then input 1


def test_the_coins_drawn_are_the_packages():
    p, q = (torch.tensor([float(pair[i]) for pair in draw.PAIR.values()]).double() for i in (0, 1))
    rows = torch.stack([p] * 3), torch.stack([q, q, 0 * q])
    for name in map("".join, product("AB", repeat=2)):
        found = sd.BlockRule().heads(*rows, torch.tensor(["AB".index(word) for word in name]))
        assert torch.allclose(found, torch.tensor([float(h) for h in draw.heads(name)]).double())
        cuts = sd.cut_probs(sd.BlockRule(), *rows, torch.tensor(["AB".index(word) for word in name]))
        drawn = [sum(chance for _, chance, n in draw.throws(name) if n == cut) for cut in range(3)]
        assert cuts.tolist() == pytest.approx([float(x) for x in drawn])


def test_with_the_same_noise_both_choose_the_same_and_with_other_noise_they_dont():
    (one, x, same, y), (again, z, other, other_y) = draw.choices()
    assert one == same == again and other != one and x == y == z != other_y
    assert min(*one, *other) > 0  # a bar stands on its lower part
    page = next(ROOT.glob("notebooks/A4_*.ipynb")).read_text(encoding="utf8")
    drawn = (f"noise({seed}, {draw.COUPLED['position']}, 3)" for seed in draw.COUPLED["seeds"])
    assert ", ".join(drawn) in page


def test_the_rounds_drawn_are_the_pocket_pairs():
    pair = sd.load_pair()
    run = sd.speculative_generate(*pair, draw.TEXT, gamma=4, temperature=0.0, max_new_tokens=20)
    before = draw.FULL_ROUND["before"]
    for drawn, r in zip((draw.FULL_ROUND, draw.ROUND), run.rounds):
        drafted, (added,) = pair.target.pieces(r.drafted), pair.target.pieces([r.next_token])
        words = {"before": before, "drafted": [word.strip() for word in drafted], "kept": r.n_accepted}
        assert drawn == {**words, "added": added.strip()}
        before = added.strip()


def test_the_row_that_is_ahead_sits_out_when_the_loops_plan_says_so():
    gamma, kept = draw.LEAD["gamma"], [*draw.LEAD["kept"].values()]
    texts = [sd.Text([0], frozenset(), 1000, row) for row in range(len(kept))]
    for lead, waits in draw.leads():
        plan = plan_round(texts, gamma)
        assert (len(texts[0]) - len(texts[1]), plan[0] is None) == (lead, waits) and plan[1] == gamma
        for text, n, count in zip(texts, plan, kept):
            text.write([7] * (0 if n is None else count + 1))


def test_the_words_of_chapters_1_and_2_are_the_pocket_targets():
    target = sd.load_pair().target
    source = target.encode("My brother lives in a small house near the station. He works in Boston.")["input_ids"][0]
    pieces = [piece.strip() for piece in target.pieces(source.tolist())]
    assert (len(pieces), [*pieces[:2], "…", pieces[-1]]) == tuple(draw.SOURCE.values())

    before, drafted, at, wanted = draw.WRONG.values()
    cursor = target.cursor()
    with torch.inference_mode():
        cursor.start(target.encode("My brother lives in a small house near the station."))
        rows = cursor.extend([target.start_token, *target.tokenizer("Mein Bruder")["input_ids"][:2]])
    likeliest = [piece.strip() for piece in target.pieces(rows[-1].topk(2).indices.tolist())]
    assert (before, at, likeliest) == (draw.FULL_ROUND["before"], len(rows), [wanted, drafted[at - 1]])


def test_the_bill_counts_what_chapter_0_counts():
    cells = json.loads((ROOT / "notebooks" / "00_quickstart.ipynb").read_text(encoding="utf8"))["cells"]
    printed = "".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))
    counts = re.search(r"(\d+) tokens, (\d+) target passes, (\d+) draft passes", printed)
    drawn = [draw.BILL["tokens"], len(draw.BILL["drafted"]), sum(draw.BILL["drafted"])]
    assert [*map(int, counts.groups())] == drawn, "change BILL in tools/draw.py, and draw again"


def test_pages_show_a_drawing_with_its_own_alternative_text():
    alts = {drawing.name: drawing.alt for drawing in DRAWINGS}
    pages = {path: path.read_text(encoding="utf8") for path in [ROOT / "README.md", *ROOT.glob("book/*.md")]}
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf8"))["cells"]
        pages[path] = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for path, text in pages.items():
        shown = re.findall(r"!\[([^\]]*)\]\(\S*drawings/(\w+)\.svg\)", text)
        directives = re.findall(r"\{(?:figure|image)\} \S*drawings/(\w+)\.svg\n((?::.*\n)*)", text)
        for name, options in directives:
            shown += [(alt, name) for alt in re.findall(r"^:alt: (.*)$", options, re.MULTILINE) or [""]]
        for alt, name in shown:
            assert alt == alts[name], f"{path.name}: `python tools/draw.py --embed` prints what belongs there"


def test_the_modules_drawn_are_those_of_the_package_in_their_order():
    boxes = [box for floor in draw.MODULES for box in floor]
    drawn = [(title, name) for title, rows in boxes for row in rows for name in row]
    assert [f"{title}{name}" if title.endswith("/") else name for title, name in drawn] == MODULES
    core = re.search(r"^CORE := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert [name.rpartition("/")[2] for name in core] == draw.CORE
