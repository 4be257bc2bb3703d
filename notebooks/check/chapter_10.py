"""Checkers of chapter 10. Each prints what is right, or what is likely wrong, and never raises."""

from math import ceil, isclose

from . import checker

PACES = [(5.0, 1.0), (3.2, 2.4), (2.5, 2.5), (4.0, 3.0)]


@checker
def ex_10_1(waits) -> str | None:
    """1 - b/a: both rows advance at the slower one's pace."""
    found = [waits(*pace) for pace in PACES]

    def like(answer):
        return all(isclose(x, answer(a, b), abs_tol=1e-9) for x, (a, b) in zip(found, PACES))

    if like(lambda a, b: b / a):
        return "that is the share of the rounds in which A plays; it sits out the others"
    if like(lambda a, b: a / b - 1):
        return "that is how much faster A would be alone; a share of rounds is at most 1: how often must A play?"
    if like(lambda a, b: (a - b) / (a + b)):
        return "B plays in every round: the share is of all rounds, and in each of them B emits b tokens"
    if like(lambda a, b: a - b):
        return "that is how many tokens A gains on B in a round that both play; you are asked for a share of rounds"
    if like(lambda a, b: 0):
        return (
            "A can't run away for ever: its lead is at most γ and one round more, so its pace over a long text is B's"
        )
    if like(lambda a, b: 0.5):
        return "the share depends on the two paces: with a = b nobody ever waits"
    if not like(lambda a, b: 1 - b / a):
        return f"for (a, b) = {PACES} you say {found}, right is {[round(1 - b / a, 3) for a, b in PACES]}"
    return None


QUEUES = [
    ([5, 4, 4, 1, 6], 2), ([3, 3, 3], 3), ([9, 2, 2, 2, 2, 7, 8, 3], 3), ([4], 5), ([1, 6, 2, 2, 2, 5], 2), ([], 2),
]  # fmt: skip


def filled(lengths, places, last=1):
    """Passes, if a free place is filled before every pass; a row with `last` tokens left ends with the pass."""
    queue, batch, done = list(lengths), [], 0
    while queue or batch:
        free = places - len(batch)
        batch, queue = batch + queue[:free], queue[free:]
        done, batch = done + 1, [left - 1 for left in batch if left > last]
    return done


def by_batches(lengths, places):
    return sum(max(lengths[i : i + places]) for i in range(0, len(lengths), places))


@checker
def ex_10_2(passes) -> str | None:
    """A queue, and places that are filled as soon as they are free."""
    given = [list(lengths) for lengths, _ in QUEUES]
    found = [passes(lengths, places) for lengths, (_, places) in zip(given, QUEUES)]

    def like(answer):
        return found == [answer(*queue) for queue in QUEUES]

    if like(by_batches):
        return "that still waits for the longest text of each batch: fill free places before *every* pass"
    if like(lambda lengths, places: ceil(sum(lengths) / places)):
        return "that is the bound with no place ever empty; a long text at the queue's end leaves places empty"
    if like(lambda lengths, places: sum(lengths)):
        return "that is one text after the other; a pass gives a token to every row of the batch"
    if like(lambda lengths, places: max(lengths, default=0)):
        return "that is all texts at once: there are only so many places"
    if like(lambda lengths, places: filled(sorted(lengths, reverse=True), places)):
        return "longest first is clever, but you may not reorder the queue: who came first is served first"
    if like(lambda lengths, places: filled(lengths, places, last=0)):
        return "a row with one token left is finished by the pass: its place is free before the next one"
    if found[-1] != 0:
        return f"an empty queue takes no pass; you say {found[-1]}"
    if not like(filled):
        return f"for (lengths, places) = {QUEUES} you say {found}, right is {[filled(*queue) for queue in QUEUES]}"
    if given != [lengths for lengths, _ in QUEUES]:
        return "the count is right, but your function changes the list that it is given: copy it first"
    return None
