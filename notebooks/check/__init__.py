"""Checkers for the exercises: `check.ex_3_1(your_function)` says whether it is right, or what is likely wrong."""

from functools import wraps


def checker(find_mistake):
    """Print what `find_mistake` returns (None: all is right), and tell an exception instead of raising it."""

    @wraps(find_mistake)
    def check(function) -> None:
        try:
            mistake = find_mistake(function)
        except Exception as error:
            mistake = f"your function raised {type(error).__name__}: {error}"
        print(f"✗ {mistake}" if mistake else "✓ right")

    return check
