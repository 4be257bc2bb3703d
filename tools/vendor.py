"""Fetch the two scripts that the book's pages need, by name and version, so that the book works without a network.

They are third-party files: they are not committed, npm brings them at build time. Where npm fails, a stub in their
place loads the same version from a CDN, and the pages then need a network.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "book/assets/vendor"

# folder: npm package, version, its script. Beside the script come its icon fonts and its licence.
SCRIPTS = {
    "mathjax": ("mathjax", "3.2.2", "es5/tex-svg.js"),
    "widgets": ("@jupyter-widgets/html-manager", "1.0.15", "dist/embed.js"),
}
STUB = """// npm was not at hand when this book was built, so this script comes from the network.
document.head.appendChild(Object.assign(document.createElement("script"), {{
  src: "https://cdn.jsdelivr.net/npm/{name}@{version}/{script}", async: false,
}}));
"""


def pack(name: str, version: str) -> tarfile.TarFile:
    """The package's own archive, without its dependencies and without running anything in it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{name}@{version}"]
        subprocess.run(command, cwd=folder, check=True, timeout=300, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        return tarfile.open(fileobj=io.BytesIO(archive.read_bytes()))


def unpack(archive: tarfile.TarFile, folder: Path, script: str) -> None:
    script = Path("package") / script
    for member in archive:
        path = Path(member.name)
        if path.suffix == ".woff2" or path == script or (path.parent.name == "package" and path.stem == "LICENSE"):
            (folder / path.name).write_bytes(archive.extractfile(member).read())


def main() -> None:
    for key, (name, version, script) in SCRIPTS.items():
        folder, stamp = VENDOR / key, VENDOR / f"{key}.version"
        if stamp.exists() and stamp.read_text() == version:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            unpack(pack(name, version), folder, script)
            stamp.write_text(version)
        except (OSError, subprocess.SubprocessError, tarfile.TarError) as problem:
            print(f"{name}: npm could not bring it ({problem}). The book will load it from a CDN when it is read.")
            stub = STUB.format(name=name, version=version, script=script)
            (folder / Path(script).name).write_text(stub)


if __name__ == "__main__":
    main()
