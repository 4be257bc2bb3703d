"""The theme's icons are two thousand, in a style sheet and fonts of 400 kB. A page needs a few dozen: 10 kB."""

import re
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

# What the theme's templates, its boxes and the widgets can show, by both of Font Awesome's names where there are two.
ICONS = """
angle-down angle-left angle-right arrow-up arrow-up-right-from-square backward-step bars bell bug check-circle
chevron-down circle-check circle-exclamation circle-half-stroke circle-info circle-xmark code-fork copy download
exclamation-circle exclamation-triangle expand file file-pdf forward-step github info-circle lightbulb list
magnifying-glass moon outdent pause pen pencil pencil-alt play repeat retweet rocket search share share-from-square
step-backward step-forward stop sun times-circle triangle-exclamation
"""
SIZES = {"solid", "brands", "regular", "lg", "fw", "sm", "xs", "2x"}
FONTS = (
    ("fa-solid-900", "Font Awesome 6 Free", 900, ".fa,.fas,.fa-solid"),
    ("fa-brands-400", "Font Awesome 6 Brands", 400, ".fab,.fa-brands"),
)
STYLE = """/*! Font Awesome Free 6.5.2, CC BY 4.0 and OFL 1.1 (LICENSE.txt): the icons that this book shows */
:root{--fa-font-solid:normal 900 1em/1 "Font Awesome 6 Free";--fa-font-brands:normal 400 1em/1 "Font Awesome 6 Brands"}
.fa,.fas,.fab,.fa-solid,.fa-brands{-webkit-font-smoothing:antialiased;display:inline-block;font-style:normal;
font-variant:normal;line-height:1;text-rendering:auto}
.fa-lg{font-size:1.25em;line-height:.05em;vertical-align:-.075em}
.fa-fw{text-align:center;width:1.25em}"""


def trim(source: Path, folder: Path, pages: str) -> list[str]:
    """Write the used part of `source` to `folder`, in the same places; icons on `pages` that it lacks."""
    wanted, known = ICONS.split(), codes((source / "css/all.min.css").read_text(encoding="utf-8"))
    lines = [STYLE]
    # The theme's boxes name icons by code alone, so every code goes into both fonts that has a shape there.
    for font, family, weight, classes in FONTS:
        subset(source / f"webfonts/{font}.ttf", folder / f"webfonts/{font}.woff", {known[name] for name in wanted})
        face = f'font-family:"{family}";font-weight:{weight};font-style:normal;font-display:block'
        lines.append(f'@font-face{{{face};src:url(../webfonts/{font}.woff) format("woff")}}')
        lines.append(f'{classes}{{font-family:"{family}";font-weight:{weight}}}')
    lines += [f'.fa-{name}:before{{content:"\\{known[name]}"}}' for name in wanted]
    (folder / "css/all.min.css").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for unused in [*folder.glob("webfonts/*.ttf"), *folder.glob("webfonts/*.woff2"), *folder.glob("js/*")]:
        unused.unlink()
    shown = {
        name for classes in re.findall(r'class="([^"]*)"', pages) for name in re.findall(r"\bfa-([\w-]+)", classes)
    }
    return sorted(shown - {*wanted} - SIZES)


def codes(style: str) -> dict[str, str]:
    """Icon to code. A rule can serve several names: `.fa-bars:before,.fa-navicon:before{content:"\f0c9"}`."""
    found = {}
    for names, code in re.findall(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\(\w+)"\}', style):
        found |= dict.fromkeys(re.findall(r"\.fa-([\w-]+):before", names), code)
    return found


def subset(font: Path, out: Path, wanted: set[str]) -> None:
    kept = Subsetter(Options(layout_features=[], notdef_outline=False))
    kept.populate(unicodes=[int(code, 16) for code in wanted])
    with TTFont(font) as read:
        kept.subset(read)
        read.flavor = "woff"
        read.save(out)
