"""What pip would install from here works where nothing of the checkout can be seen."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Say where the package comes from, then do what `python -m specdec_lite` does.
RUN = "import runpy, specdec_lite as sd; print(sd.__file__); runpy.run_module('specdec_lite', run_name='__main__')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from links to what a wheel is made of, so that the checkout gets no build folder."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "specdec_lite"):
        (source / name).symlink_to(ROOT / name)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", out, source], check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package(wheel):
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "specdec_lite").rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files and {"specdec_lite/fast/narrow.py", "specdec_lite/data/prompts.json"} <= held


def test_the_command_line_works_from_the_wheel_alone(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)  # all that pip does with a wheel of pure Python
    # -S: no .pth file is read, and so the editable installation does not exist; what it depends on does.
    paths = [str(site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    ask = [sys.executable, "-S", "-c", RUN, "Where is the station?", "--repeats", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(ask, cwd=empty, env=environment, capture_output=True, text=True, encoding="utf8")
    assert said.returncode == 0, said.stderr
    place, *printed = said.stdout.splitlines()
    assert Path(place) == site / "specdec_lite" / "__init__.py"
    assert "Bahnhof" in printed[0] and printed[-1].startswith("alpha ")
    assert not list(empty.iterdir())


def test_a_clone_works_where_it_is_not_installed():
    """As on a machine on which nothing can be installed: benchmarks/gpu.py needs torch and transformers alone."""
    code = """
import importlib.metadata as metadata
known = metadata.version
def version(name):
    if name == "specdec-lite":
        raise metadata.PackageNotFoundError(name)
    return known(name)
metadata.version = version
import specdec_lite as sd
print(sd.versions()["specdec-lite"], sd.versions()["torch"])
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split()[:2] == ["not", "installed"] and len(said.split()) == 3
