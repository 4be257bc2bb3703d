"""Fetch the two packages that the book's pages need, by name and version, so that the book works without a network.

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

# folder: npm package, version, the folder in it that the pages need a part of, and its files. Fonts come along.
PACKAGES = {
    "katex": ("katex", "0.16.22", "dist", ("katex.min.js", "katex.min.css")),
    "widgets": ("@jupyter-widgets/html-manager", "1.0.15", "dist", ("embed.js",)),
}
CDN = "https://cdn.jsdelivr.net/npm/{name}@{version}/{folder}/{file}"
STUBS = {
    ".css": '@import url("{address}"); /* npm was not at hand when this book was built: it comes from the network */\n',
    ".js": """// npm was not at hand when this book was built, so this script comes from the network.
document.head.appendChild(Object.assign(document.createElement("script"), {{ src: "{address}", async: false }}));
""",
}


def pack(name: str, version: str) -> tarfile.TarFile:
    """The package's own archive, without its dependencies and without running anything in it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{name}@{version}"]
        subprocess.run(command, cwd=folder, check=True, timeout=300, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        return tarfile.open(fileobj=io.BytesIO(archive.read_bytes()))


def unpack(archive: tarfile.TarFile, folder: Path, part: str, files: tuple[str, ...]) -> None:
    inside = Path("package") / part
    for member in archive:
        path = Path(member.name)
        licence = path.parent.name == "package" and path.stem == "LICENSE"
        wanted = path.is_relative_to(inside) and (path.suffix == ".woff2" or str(path.relative_to(inside)) in files)
        if licence or wanted:
            place = folder / (path.name if licence else path.relative_to(inside))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.extractfile(member).read())


def main() -> None:
    for key, (name, version, part, files) in PACKAGES.items():
        folder, stamp = VENDOR / key, VENDOR / f"{key}.version"
        if stamp.exists() and stamp.read_text() == version:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            unpack(pack(name, version), folder, part, files)
            stamp.write_text(version)
        except (OSError, subprocess.SubprocessError, tarfile.TarError) as problem:
            print(f"{name}: npm could not bring it ({problem}). The book will load it from a CDN when it is read.")
            for file in files:
                address = CDN.format(name=name, version=version, folder=part, file=file)
                (folder / file).write_text(STUBS[Path(file).suffix].format(address=address))


if __name__ == "__main__":
    main()
