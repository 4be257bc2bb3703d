"""Set the repository's address: the one constant in _config.yml, and the notebooks' install cells that quote it.

Use: python tools/repository.py https://github.com/you/specdec-lite
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def address() -> str:
    return re.search(r"^repository:\n  url: (\S+)$", (ROOT / "_config.yml").read_text(), re.MULTILINE)[1]


def main() -> None:
    new = sys.argv[1].removesuffix("/").removesuffix(".git") if len(sys.argv) == 2 else ""
    if not re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2,}", new):
        sys.exit(f"URL={new!r}: expected an address like https://github.com/you/specdec-lite")
    old = address()
    for path in [ROOT / "_config.yml", *sorted(ROOT.glob("notebooks/*.ipynb"))]:
        text = path.read_text()
        # The address ends there: https://…/specdec-lite must not match inside https://…/specdec-lite-fork.
        path.write_text(re.sub(re.escape(old) + r"(?![\w.-])", new, text))
    print(f"{old} → {new}")


if __name__ == "__main__":
    main()
