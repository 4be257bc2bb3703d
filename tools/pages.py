"""What the book's pages have beyond their theme; a Sphinx extension, named in _config.yml.

Chapter numbers (the file's) over the title, in the sidebar and in the footer; a link at every mention of a chapter; the
setup of a chapter folded into one line; formulas by KaTeX; a description and a card for those who share a page; search
that works from disk; and, until the repository has an address, no button that would lead nowhere.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import icons
import pydata_sphinx_theme
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)
FILE = re.compile(r"(?:^|/)(0\d|[1-9]\d|[A-Z]\d)_\w+$")
ONE = r"(?:\d{1,2}|[A-Z]\d)\b"
MENTION = re.compile(rf"\b([Cc]hapters?)[ \n\u00a0]({ONE}(?:(?:, and |, | and | or | to |–){ONE})*)")
SKIPPED = (nodes.literal, nodes.literal_block, nodes.reference, nodes.title, nodes.raw, nodes.math, nodes.math_block)


def number_of(docname: str) -> str:
    """A chapter has the number of its file: notebooks/03_… is 3, A1_… is A1. Other pages have none."""
    found = FILE.search(docname)
    return found[1].removeprefix("0") if found else ""


def chapters(env) -> dict[str, str]:
    return {number_of(name): name for name in sorted(env.found_docs) if number_of(name)}


def label_of(docname: str) -> str:
    number = number_of(docname)
    return "" if not number else f"{'Chapter' if number.isdigit() else 'Appendix'} {number}"


# -- Links ------------------------------------------------------------------------------------------------------------


class LinkChapters(SphinxPostTransform):
    """“chapter 4” leads to chapter 4, and “chapters 4 and 7” to both, wherever prose mentions them."""

    default_priority = 700

    def run(self, **_) -> None:
        if self.app.builder.format != "html":
            return
        known = chapters(self.env)
        for text in list(self.document.findall(nodes.Text)):
            if not self.inside_prose(text) or not MENTION.search(text):
                continue
            text.parent.replace(text, self.linked(str(text), known))

    @staticmethod
    def inside_prose(node: nodes.Node) -> bool:
        while node := node.parent:
            if isinstance(node, SKIPPED):
                return False
        return True

    def linked(self, text: str, known: dict[str, str]) -> list[nodes.Node]:
        parts, end = [], 0
        for mention in MENTION.finditer(text):
            single = re.fullmatch(ONE, mention[2])
            for number in re.finditer(ONE, mention[2]):
                docname = known.get(number[0])
                if docname is None or docname == self.env.docname:
                    continue
                start = mention.start() if single else mention.start(2) + number.start()
                stop = mention.start(2) + number.end()
                parts += [nodes.Text(text[end:start]), self.link(text[start:stop], docname)]
                end = stop
        return [part for part in [*parts, nodes.Text(text[end:])] if not isinstance(part, nodes.Text) or part]

    def link(self, words: str, docname: str) -> nodes.reference:
        address = self.app.builder.get_relative_uri(self.env.docname, docname)
        title = self.env.titles[docname].astext()
        return nodes.reference("", words, internal=True, refuri=address, reftitle=title, classes=["chapter-link"])


# -- Folded cells -----------------------------------------------------------------------------------------------------


class FoldSetup(SphinxTransform):
    """Folded cells that follow each other become one line, not one line each."""

    default_priority = 400

    def apply(self, **_) -> None:
        for cell in self.document.findall(lambda node: isinstance(node, nodes.container) and "prompt_show" in node):
            self.name(cell)
        for cell in list(self.document.findall(self.is_folded)):
            if cell.parent is None or self.is_folded(self.neighbour(cell, -1)):
                continue
            run = [cell]
            while self.is_folded(after := self.neighbour(run[-1], 1)):
                run.append(after)
            if len(run) > 1:
                self.join(run)

    @staticmethod
    def name(cell: nodes.container) -> None:
        """The line says what is behind it, unless the notebook does (`mystnb: {code_prompt_show: …}`)."""
        if "code_prompt_show" in cell["cell_metadata"].get("mystnb", {}):
            return
        solution = any(tag.endswith("-solution") for tag in cell["cell_metadata"].get("tags", []))
        what = "a solution" if solution else "the output" if cell["hide_mode"] == "output" else "the code"
        cell["prompt_show"], cell["prompt_hide"] = f"Show {what}", f"Hide {what}"

    @staticmethod
    def is_folded(node) -> bool:
        folded = isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"
        return folded and node.get("hide_mode") in ("all", "input", "input+output") and not FoldSetup.shows(node)

    @staticmethod
    def shows(cell: nodes.container) -> bool:
        """Only the code is folded, and there is an output to look at."""
        output = any(child.get("nb_element") == "cell_code_output" for child in cell.children)
        return cell["hide_mode"] == "input" and output

    @staticmethod
    def neighbour(cell: nodes.Node, step: int) -> nodes.Node | None:
        place = cell.parent.index(cell) + step
        return cell.parent[place] if 0 <= place < len(cell.parent) else None

    @staticmethod
    def join(run: list[nodes.container]) -> None:
        setup = any("parameters" in cell["cell_metadata"].get("tags", []) for cell in run)
        said = [cell["cell_metadata"].get("mystnb", {}).get("code_prompt_show") for cell in run]
        line = next(filter(None, said), "Setup: install, parameters, imports" if setup else "Show the code")
        parent, place = run[0].parent, run[0].parent.index(run[0])
        for cell in run:
            for name in ("hide_mode", "prompt_show", "prompt_hide"):
                cell.attributes.pop(name, None)
        opening = nodes.raw("", f'<details class="folded"><summary>{html.escape(line)}</summary>', format="html")
        closing = nodes.raw("", "</details>", format="html")
        parent[place : place + len(run)] = [opening, *run, closing]


class CaptionDrawings(SphinxTransform):
    """A drawing in a notebook is an image, and its caption the paragraph in italics below: both make a figure."""

    default_priority = 402

    def apply(self, **_) -> None:
        for image in list(self.document.findall(nodes.image)):
            alone = isinstance(image.parent, nodes.paragraph) and len(image.parent) == 1
            below = image.parent.next_node(descend=False, siblings=True) if alone else None
            if not isinstance(below, nodes.paragraph) or below.parent is not image.parent.parent:
                continue
            if len(below) == 1 and isinstance(below[0], nodes.emphasis):
                figure = nodes.figure("", image.deepcopy(), nodes.caption("", "", *below[0].children))
                self.document.note_explicit_target(figure)
                below.parent.remove(below)
                image.parent.replace_self(figure)


class NameWidgets(SphinxTransform):
    """A widget is drawn by a script. Where scripts are off, a sentence stands in its place."""

    default_priority = 401

    def apply(self, **_) -> None:
        for raw in list(self.document.findall(nodes.raw)):
            if "application/vnd.jupyter.widget-view+json" in raw.astext():
                words = (
                    "Something to play with belongs here. It needs JavaScript, which is switched off in this browser."
                )
                note = f'<noscript><p class="needs-script">{words}</p></noscript>'
                raw.parent.insert(raw.parent.index(raw) + 1, nodes.raw("", note, format="html"))


# -- Formulas ---------------------------------------------------------------------------------------------------------

FONT_AWESOME = "_static/vendor/fontawesome/6.5.2"
KATEX = Path(__file__).parents[1] / "book/assets/vendor/katex/katex.min.js"
RENDER = """
const katex = require(process.argv[1]);
const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(formulas.map(([tex, displayMode]) => katex.renderToString(tex, { displayMode }))));
"""
drawn: dict[tuple[str, bool], str] = {}


def formula(node: nodes.Node) -> tuple[str, bool]:
    return node.astext(), isinstance(node, nodes.math_block)


def formulas(doctree: nodes.document | None) -> list[tuple[str, bool]]:
    found = doctree.findall(lambda node: isinstance(node, nodes.math | nodes.math_block)) if doctree else ()
    return [formula(node) for node in found]


def draw_formulas(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """With node at hand a page brings its formulas drawn; otherwise a script draws them when it is read."""
    new = [one for one in dict.fromkeys(formulas(doctree)) if one not in drawn]
    if not new or not shutil.which("node") or not KATEX.with_name("LICENSE").exists():
        return
    command = ["node", "-e", RENDER, str(KATEX)]
    said = subprocess.run(command, input=json.dumps(new), capture_output=True, text=True, timeout=120)
    if said.returncode:
        problem = next((line for line in said.stderr.splitlines() if "Error" in line), said.stderr[-200:])
        logger.warning("a formula cannot be drawn: %s", problem, location=docname)
    else:
        drawn.update(zip(new, json.loads(said.stdout), strict=True))


def inline_formula(self, node: nodes.math) -> None:
    shown = drawn.get(formula(node)) or html.escape(node.astext())
    self.body.append(f'<span class="math notranslate nohighlight">{shown}</span>')
    raise nodes.SkipNode


def displayed_formula(self, node: nodes.math_block) -> None:
    anchor = f' id="equation-{html.escape(node["label"])}"' if node.get("label") else ""
    shown = drawn.get(formula(node)) or html.escape(node.astext())
    self.body.append(f'<div class="math notranslate nohighlight"{anchor}>{shown}</div>\n')
    raise nodes.SkipNode


# -- Pages ------------------------------------------------------------------------------------------------------------


def has_address(config) -> bool:
    return "/OWNER/" not in config.html_theme_options.get("repository_url", "/OWNER/")


def hide_dead_buttons(app: Sphinx, config) -> None:
    """`make repository` sets the address; until then no button and no paragraph may need it."""
    if has_address(config):
        app.tags.add("published")
        owner, name = config.html_theme_options["repository_url"].split("/")[-2:]
        if not config.html_baseurl:
            config.html_baseurl = f"https://{owner.lower()}.github.io/{name}/"
        return
    options = config.html_theme_options
    for button in ("use_repository_button", "use_issues_button", "use_source_button", "use_edit_page_button"):
        options[button] = False
    options["launch_buttons"] = {}


def describe(doctree: nodes.document | None) -> str:
    """The first paragraph, as long as a search engine shows it."""
    if doctree is None:
        return ""
    for paragraph in doctree.findall(nodes.paragraph):
        words = " ".join(paragraph.astext().split())
        if len(words) >= 60 and isinstance(paragraph.parent, nodes.section | nodes.document):
            return words if len(words) <= 160 else words[:157].rsplit(" ", 1)[0].rstrip(" ,;:.") + " …"
    return ""


def dress(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    label = label_of(pagename)
    title = app.env.titles[pagename].astext() if pagename in app.env.titles else context.get("title", "")
    if label and context.get("body"):
        eyebrow = f'<p class="eyebrow">{label}</p>'
        how = app.builder.get_relative_uri(pagename, "book/how_to_read") + "#run-it"
        run = f'<p class="run-line"><a href="{how}">Run this page</a> in a clone of the repository: '
        run += f"<code>python -m specdec_lite run {number_of(pagename)}</code></p>"
        context["body"] = re.sub(
            r"<h1>.*?</h1>", lambda h1: eyebrow + h1[0] + run, context["body"], count=1, flags=re.DOTALL
        )
    # A folded cell's line has words, so it needs no other name.
    context["body"] = context.get("body", "").replace(' aria-label="Toggle hidden content"', "")
    # The bibliography is announced as a list, and its anchors are no items of one.
    if "citation-list" in context.get("body", ""):
        context["body"] = re.sub(r' role="list"(?= class="citation-list")| role="doc-biblioentry"', "", context["body"])
    if label:
        context["title"] = f"{number_of(pagename)}. {title}"
    for way in ("prev", "next"):
        if page := context.get(way):
            there = docname_of(app, pagename, page["link"])
            if said := label_of(there):
                context[way] = {**page, "title": f"{said}: {page['title']}"}
    toctree = context.get("generate_toctree_html")
    if toctree:
        context["generate_toctree_html"] = lambda *args, **kwargs: numbered(app, pagename, toctree(*args, **kwargs))
    context["description"] = describe(doctree)
    context["card"] = (app.config.html_baseurl or "") and app.config.html_baseurl + "_static/card.png"
    context["page_title"] = title
    # Only the pages that have a thing pay for it.
    if on_page := formulas(doctree):
        app.add_css_file("vendor/katex/katex.min.css")
        if not all(one in drawn for one in on_page):
            app.add_js_file("vendor/katex/katex.min.js", loading_method="defer")
            app.add_js_file("formulas.js", loading_method="defer")
    if templatename == "search.html":
        app.add_js_file("search_texts.js", priority=100)
        app.add_js_file("search_from_disk.js", priority=101)
    dropped = [] if re.search(r'class="sd-(?!page|explore|token)', context["body"]) else ["design"]
    # A notebook can keep the state of widgets that it no longer shows.
    dropped += [] if "jupyter.widget-view+json" in context["body"] else ["embed.js", "widgets.js", "widget-state"]
    for kind in ("css_files", "script_files"):
        context[kind] = [file for file in context[kind] if not any(word in name_of(file) for word in dropped)]


def name_of(file) -> str:
    """Of a style sheet or script its address, of a script in the page its type."""
    return f"{getattr(file, 'filename', '') or ''} {getattr(file, 'attributes', {}).get('type', '')}"


def trim_icons(app: Sphinx, failed: Exception | None) -> None:
    """Of the theme's icons, keep those that pages can show."""
    folder = Path(app.outdir) / FONT_AWESOME
    if failed or not folder.exists():
        return
    pages = "".join(path.read_text(encoding="utf-8") for path in Path(app.outdir).glob("**/*.html"))
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static"
    for name in icons.trim(theme / FONT_AWESOME.removeprefix("_static/"), folder, pages):
        logger.warning("the icon fa-%s is on a page and not in the list of tools/icons.py", name)


def remove_old_pages(app: Sphinx, failed: Exception | None) -> None:
    """A page that has left the contents leaves the built book, too."""
    for path in Path(app.outdir).glob("*/*.html"):
        name = path.relative_to(app.outdir).with_suffix("").as_posix()
        if not failed and name.split("/")[0] in ("book", "notebooks") and name not in app.env.found_docs:
            path.unlink()


def docname_of(app: Sphinx, pagename: str, link: str) -> str:
    same = (name for name in app.env.titles if app.builder.get_relative_uri(pagename, name) == link)
    return next(same, "")


def numbered(app: Sphinx, pagename: str, toctree) -> str:
    """The sidebar's entries with their chapter's number in front, as far as they have one."""
    addresses = {app.builder.get_relative_uri(pagename, name): name for name in app.env.found_docs}

    def entry(found: re.Match) -> str:
        docname = pagename if found[2] == "#" else addresses.get(found[2], "")
        number = number_of(docname)
        if not number:
            return found[0]
        return f'{found[1]}<span class="chapter-number">{number}</span><span>{found[3]}</span></a>'

    return re.sub(
        r'(<a class="[^"]*reference internal[^"]*" href="([^"]*)">)(.*?)</a>', entry, str(toctree), flags=re.S
    )


# -- Search -----------------------------------------------------------------------------------------------------------


def write_search_texts(app: Sphinx, failed: Exception | None) -> None:
    """A page opened from disk may not read its neighbours: excerpts under search results get a copy of the text."""
    if failed or app.builder.format != "html":
        return
    texts = {}
    for docname in sorted(app.env.found_docs):
        texts[app.builder.get_target_uri(docname)] = sections(app.env.get_doctree(docname))
    script = f"const SEARCH_TEXTS = {json.dumps(texts, ensure_ascii=False)};\n"
    (Path(app.outdir) / "_static" / "search_texts.js").write_text(script, encoding="utf-8")


def sections(node: nodes.Node) -> str:
    """Text alone, in <section id=…>, which is how the search finds the part that it names."""
    parts = []
    for child in node.children:
        if isinstance(child, nodes.section):
            ids = child["ids"]
            anchors = "".join(f'<span id="{html.escape(i)}"></span>' for i in ids[1:])
            parts.append(f'<section id="{html.escape(ids[0])}">{anchors}{sections(child)}</section>')
        elif isinstance(child, addnodes.desc | addnodes.desc_content | addnodes.desc_signature | addnodes.index):
            parts.append(sections(child))
        elif not isinstance(child, nodes.raw | nodes.comment | addnodes.desc_parameterlist | addnodes.desc_returns):
            parts.append(html.escape(" ".join(child.astext().split())))
    return " ".join(parts)


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("katex", (inline_formula, None), (displayed_formula, None))
    app.add_post_transform(LinkChapters)
    app.add_transform(FoldSetup)
    app.add_transform(CaptionDrawings)
    app.add_transform(NameWidgets)
    app.connect("config-inited", hide_dead_buttons, priority=100)
    app.connect("html-page-context", dress, priority=900)
    app.connect("doctree-resolved", draw_formulas)
    app.connect("build-finished", remove_old_pages)
    app.connect("build-finished", write_search_texts)
    app.connect("build-finished", trim_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
