"""Look at the built book in a browser: `make look`.

Needs Chromium and npm, which no other command of the book needs. npm brings two packages, playwright-core and axe-core,
into a folder under _build. Where one of the tools is missing this says so and ends well; with CI=look it fails.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "_build" / "look"
PACKAGES = {"playwright-core": "1.65.1", "axe-core": "4.14.1"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def give_up(problem: str) -> None:
    """Say what is missing; only a machine whose job it is to look fails over it."""
    print(f"Nobody looked: {problem}")
    sys.exit(1 if os.environ.get("CI") == "look" else 0)


def browser() -> str:
    found = [os.environ.get("CHROMIUM"), *map(shutil.which, BROWSERS)]
    return next((path for path in found if path), "")


def install() -> None:
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    stamp = CACHE / "installed.txt"
    if stamp.exists() and stamp.read_text() == " ".join(wanted):
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "package.json").write_text("{}")
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    try:
        subprocess.run(["npm", "install", *quiet, *wanted], cwd=CACHE, check=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as problem:
        give_up(f"npm could not bring {' and '.join(PACKAGES)} ({problem}).")
    stamp.write_text(" ".join(wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description="Look at every built page in a browser.")
    parser.add_argument("--shots", action="store_true", help="keep screenshots in _build/look/shots")
    parser.add_argument("--pages", default="", help="only pages whose path matches this expression")
    args = parser.parse_args()
    html = ROOT / "_build" / "html"
    if not (html / "index.html").exists():
        give_up("there is no built book yet; `make book` makes it.")
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            give_up(f"{tool} is missing; install Node.js, for instance with `apt-get install nodejs npm`.")
    if not browser():
        give_up("Chromium is missing; `apt-get install chromium`, or say where one is: CHROMIUM=path make look.")
    install()
    command = ["node", ROOT / "tools/look.mjs", html, CACHE, browser(), CACHE / "shots" if args.shots else ""]
    sys.exit(subprocess.run(command, env={**os.environ, "PAGES": args.pages}).returncode)


if __name__ == "__main__":
    main()
