"""Checkers of appendix A5. Each prints what is right, or what is likely wrong, and never raises."""

from math import ceil

from . import checker

# bytes: one row, two rows, card
CARDS = [(5000, 5400, 6000), (5000, 5400, 5799), (5000, 5400, 5800), (700, 900, 6000), (6000, 6100, 6000)]
TOO_LARGE = (6500, 6600, 6000)


def rows(one, two, card):
    return (card - (2 * one - two)) // (two - one)


@checker
def ex_A5_1(most_rows) -> str | None:
    """(card - fixed) // (two - one), and never below 0."""
    found = [most_rows(*case) for case in CARDS]

    def like(answer):
        return found == [answer(*case) for case in CARDS]

    if like(lambda one, two, card: card // one):
        return "the weights are paid once; only what each row brings with it grows: what does the second row add?"
    if like(lambda one, two, card: (card - one) // (two - one)):
        return "one row short: in `one` the first row is already in; subtract only what is fixed"
    if like(lambda one, two, card: card // (two - one)):
        return "you forget what is fixed: the weights are there, too"
    if like(lambda one, two, card: 2 * card // two):
        return "two rows have one set of weights, not two: they don't scale with the rows"
    if like(lambda one, two, card: ceil((card - (2 * one - two)) / (two - one))):
        return "round down: the row that fits only in part doesn't fit"
    if any(isinstance(x, float) and not x.is_integer() for x in found):
        return f"rows are whole: for (one, two, card) = {CARDS[0]} you say {found[0]}"
    if not like(rows):
        return f"for (one, two, card) = {CARDS} you say {found}, right is {[rows(*case) for case in CARDS]}"
    if most_rows(*TOO_LARGE) != 0:
        return f"for (one, two, card) = {TOO_LARGE} not even one row fits: return 0, not {most_rows(*TOO_LARGE)}"
    return None


# queue of (source positions, new tokens), room, bytes for a position and for a token
QUEUES = [
    ([(3, 6), (4, 4), (3, 8), (3, 3), (3, 4), (1, 7)], 30, 2, 2),
    ([(8, 6), (4, 9), (7, 8), (6, 7)], 32, 2, 1),
    ([(2, 5), (2, 8), (8, 8), (7, 4)], 24, 1, 2),
    ([(1, 4)], 9, 1, 2),
    ([], 10, 1, 1),
]


def later(rows, position, token, stay=0):
    """What is needed in each later pass by the rows that are still there in it."""
    last = max(new - now for _, new, now in rows) + max(stay, 0)
    return [
        sum(position * s + token * min(now + t, new) for s, new, now in rows if now + t <= new + stay)
        for t in range(1, last + 1)
    ]


def at_the_end(rows, position, token):
    """Every row at its longest, all at once."""
    return [sum(position * s + token * new for s, new, _ in rows)]


def at_once(rows, position, token):
    return [sum(position * s + token * now for s, _, now in rows)]


def served(queue, room, position, token, need=later, skip=False, refill=True, last=1, strict=False):
    """Passes for the queue: by the right rule, or with what it looks at, or whom it lets in, exchanged."""
    queue, rows, done = list(queue), [], 0
    while queue or rows:
        free = refill or not rows
        for text in list(queue):
            most = max(need([*rows, (*text, 0)], position, token), default=0)
            if not free or most > room or (strict and most == room and rows):
                if skip:
                    continue
                break
            queue.remove(text)
            rows.append((*text, 0))
        done += 1
        rows = [(s, new, now + 1) for s, new, now in rows if new - now > last]
        if done > 1000:
            return None  # nobody can be let in
    return done


def of_sources(rows, position, token):
    return [sum(position * s for s, _, _ in rows)]


def of_texts(rows, position, token):
    return later([(0, new, now) for _, new, now in rows], position, token)


def next_pass(rows, position, token):
    return later(rows, position, token)[:1]


def one_token_less(rows, position, token):
    return later(rows, position, token, stay=-1) or [0]


def one_pass_more(rows, position, token):
    return later(rows, position, token, stay=1)


MISTAKES = [  # what is exchanged in the right rule, and what to say
    ({"need": at_once}, "it fits when it is let in, but caches grow: look at the passes to come"),
    (
        {"need": next_pass},
        "that looks one pass ahead: the rows grow until their last token, so look at all passes to come",
    ),
    (
        {"need": at_the_end},
        "safe, but too careful: a short text leaves before a long one is at its longest, so not all peak at once",
    ),
    ({"need": of_sources}, "the texts take memory, too: `token` bytes for each token that is written"),
    ({"need": of_texts}, "the sources take memory, too, from the moment that a text is let in"),
    ({"need": one_token_less}, "the last token counts: in the pass that writes it, its row is still there"),
    ({"need": one_pass_more}, "a row that has all its tokens is gone before the next pass"),
    ({"last": 0}, "one pass too many for each row: it leaves after the pass that writes its last token"),
    ({"skip": True}, "in the order of the queue: nobody may overtake the first one who waits"),
    ({"refill": False}, "you wait until all rows have left: let texts in before *every* pass"),
    ({"strict": True}, "rows that need just `room` bytes fit"),
]


@checker
def ex_A5_2(passes) -> str | None:
    """Let a text in if all rows fit in every later pass, with those that are still there in it."""
    given = [list(queue) for queue, *_ in QUEUES]
    found = [passes(queue, *rest) for queue, (_, *rest) in zip(given, QUEUES)]

    for changed, said in MISTAKES:
        if found == [served(*case, **changed) for case in QUEUES]:
            return said
    if found == [sum(new for _, new in queue) for queue, *_ in QUEUES]:
        return "that is one text after the other; a pass writes a token in every row"
    right = [served(*case) for case in QUEUES]
    if found != right:
        i = next(i for i, passes_ in enumerate(right) if found[i] != passes_)
        queue, room, position, token = QUEUES[i]
        shown = f"queue {queue}, room {room}, position {position}, token {token}"
        return f"for {shown} you say {found[i]}, right is {right[i]}"
    if given != [queue for queue, *_ in QUEUES]:
        return "the count is right, but your function changes the list that it is given: copy it first"
    return None
