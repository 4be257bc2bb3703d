"""Checkers of chapter 1."""

from . import checker


@checker
def ex_1_1(kv_bytes) -> str | None:
    """Bytes of the self- and cross-attention caches."""
    shape = {"layers": 12, "heads": 4, "d_kv": 64, "source": 7, "written": 20, "bytes_per_number": 4}
    found, numbers = kv_bytes(**shape), 12 * 4 * 64 * 4
    if found == numbers * 20:
        return "each position leaves a key and a value, and the source's positions have theirs, too"
    if found == numbers * 27:
        return "half of it: a position leaves a key and a value in every layer"
    if found == 2 * numbers * 20:
        return "the cross-attention's part is missing: keys and values of the source's 7 tokens"
    if found != 2 * numbers * 27:
        return f"for {shape} you say {found}; the formula is a plain product, with (source + written) in it"
    if kv_bytes(**shape | {"bytes_per_number": 2}) != numbers * 27:
        return "right for float32 only: use bytes_per_number"
    return None


@checker
def ex_1_2(draw) -> str | None:
    """A token by inverting the cumulative sum."""
    p = [0.2, 0.5, 0.3]
    if all(draw(p, u) == 1 for u in (0.1, 0.4, 0.8)):
        return "the likeliest token comes whatever u is: compare u with the cumulative sum"
    if [draw(p, u) for u in (0.1, 0.4, 0.8)] != [0, 1, 2]:
        return "for p = (.2, .5, .3) the darts 0.1, 0.4, 0.8 hit 0, 1, 2: the first whose cumulative sum exceeds u"
    if draw([0.0, 1.0], 0.0) != 1:
        return "the dart u = 0 hit a token of probability 0: the sum must exceed u, strictly"
    if draw([0.1] * 10, 0.9999999999999999) != 9:
        return "ten times 0.1 sums to a little less than 1 in floating point: what does a dart beyond that return?"
    if draw([0.1] * 10 + [0.0], 0.9999999999999999) != 9:
        return "a dart beyond the last sum hit a token of probability 0: take the last one that can be hit"
    return None
