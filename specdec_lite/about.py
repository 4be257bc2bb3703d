"""The versions that results depend on."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("specdec-lite")
except PackageNotFoundError:  # a clone that is on the path
    __version__ = "not installed"


def versions() -> dict[str, str]:
    """The versions that results depend on."""
    return {"specdec-lite": __version__} | {name: version(name) for name in ("torch", "transformers", "numpy")}
