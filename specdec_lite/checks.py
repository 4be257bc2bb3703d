"""Checks of arguments: an error that names the argument, its value and what was expected; text made fit to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real

from torch import OutOfMemoryError


def check_integer(name: str, value, minimum: int) -> int:
    """Return value if it is an integer >= minimum (True and False are not), else raise an error that says so."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r}: expected an integer >= {minimum}")
    if value < minimum:
        raise ValueError(f"{name}={value!r}: expected an integer >= {minimum}")
    return int(value)


def check_number(name: str, value, expected: str, legal) -> float:
    """Return value if it is a real number that `legal` admits, else raise an error that says what was expected."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r}: expected {expected}")
    if not legal(value):  # NaN fails every comparison
        raise ValueError(f"{name}={value!r}: expected {expected}")
    return float(value)


def check_list(name: str, values, what: str) -> list:
    """Return what is in a list, a range, an array, a generator ... as a list, if there is anything in it."""
    listed = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
    made = list(values) if listed else []
    if not made:
        raise ValueError(f"{name}={values!r}: expected a list of one or more {what}")
    return made


def check_methods(name: str, value, methods: tuple[str, ...], kind: str) -> None:
    """Raise a TypeError unless value has all these methods, and is no class that was meant to be called first."""
    if isinstance(value, type):
        raise TypeError(f"{name}={value.__name__}: expected an object, {value.__name__}(…), not the class")
    missing = [method for method in methods if not hasattr(value, method)]
    if missing:
        shown = repr(value) if len(repr(value)) < 80 else f"a {type(value).__name__}"  # a model's repr fills pages
        raise TypeError(f"{name}={shown}: expected {kind}, but it has no {', '.join(missing)}")


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Where the device's memory gives out, say what needs less of it; the original error is kept behind this one."""
    try:
        yield
    except OutOfMemoryError as error:
        raise OutOfMemoryError(f"the device has no memory left: {advice} ({error})") from error


def printable(text: str) -> str:
    """A model can emit any character: what a terminal or a browser would obey is shown, not sent."""
    return "".join(c if c.isprintable() else _code(ord(c)) for c in text)


def _code(point: int) -> str:
    return f"\\x{point:02x}" if point < 256 else f"\\u{point:04x}" if point < 65536 else f"\\U{point:08x}"
