"""Checkers of appendix A6. Each prints what is right, or what is likely wrong, and never raises."""

from copy import deepcopy

from . import checker

SAFE, SHARDS = ["config.json", "model.safetensors"], ["config.json", "model-00001-of-00002.safetensors"]
PICKLE = ["config.json", "pytorch_model.bin"]
TO_GERMAN, SUMMARIES = "translate English to German: ", "summarize: "
PREFIXES = {"translation_en_to_de": TO_GERMAN, "summarization": SUMMARIES}
CODES = ["eng_Latn", "deu_Latn", "fra_Latn"]
BRANCHES = {"flax": ["config.json", "flax_model.msgpack"], "refs/pr/7": SAFE}


def facts(files=SAFE, branches=None, prefixes=None, task="translation_en_to_de", languages=(), language="deu_Latn"):
    found = {"files": files, "branches": branches or {}, "prefixes": prefixes or {}, "task": task}
    return found | {"languages": list(languages), "language": language}


FAMILIES = {
    "a family that needs nothing": facts(),
    "prefixes for its tasks, and you want English to German": facts(prefixes=PREFIXES),
    "prefixes for its tasks, and you want a summary": facts(prefixes=PREFIXES, task="summarization"),
    "prefixes for its tasks, and none for yours": facts(prefixes=PREFIXES, task="paraphrase"),
    "three languages": facts(languages=CODES),
    "three languages, and you want French": facts(languages=CODES, language="fra_Latn"),
    "a pickle on main, safetensors on another branch": facts(files=PICKLE, branches=BRANCHES),
    "safetensors on main, and other branches": facts(branches=BRANCHES),
    "weights in two safetensors files": facts(files=SHARDS, branches=BRANCHES),
    "a pickle, and a branch with two safetensors files": facts(files=PICKLE, branches={"main-safe": SHARDS}),
    "a pickle everywhere": facts(files=PICKLE, branches={"old": PICKLE}),
    "a pickle and no other branch": facts(files=PICKLE, languages=CODES),
    "a bit of all": facts(PICKLE, BRANCHES, PREFIXES, "summarization", CODES),
}


def safe(files):
    return any(name.endswith(".safetensors") for name in files)


def arguments(facts, safe=safe, silent=("translation_en_to_de",), codes=None, branch=None, convert=None):
    """The right answer, or one with a rule exchanged: whether weights are safe, which task is found, …"""
    found, task = {}, facts["task"]
    if not safe(facts["files"]):
        named = [name for name, files in facts["branches"].items() if (branch or safe)(files)]
        if not named:
            return convert
        found["revision"] = named[0]
    if task in facts["prefixes"] and task not in silent:
        found["prefix"] = facts["prefixes"][task]
    if facts["languages"] if codes is None else codes:
        found["language"] = facts["language"]
    return found


MISTAKES = [  # which rule is exchanged, and what to say
    ({"silent": ()}, "English to German needs nothing: the package finds that prefix in the checkpoint by itself"),
    ({"codes": True}, "a checkpoint that knows no languages refuses language=: say it only where there are codes"),
    ({"codes": False}, "a checkpoint that knows several languages must be told which one to write: language="),
    ({"branch": lambda files: True}, 'a branch helps only if *it* has safetensors: "flax" has none'),
    (
        {"safe": lambda files: "model.safetensors" in files},
        "model-00001-of-00002.safetensors is safetensors, too: large weights come in several files",
    ),
    ({"convert": {}}, "no safetensors on any branch: return None, this one has to be converted first"),
    (
        {"safe": lambda files: True},
        "a pickle is never opened: look at the files, and name a branch that has safetensors",
    ),
]


@checker
def ex_A6_1(answer) -> str | None:
    """The arguments of load_pair by a family's files, or None where it has to be converted."""
    found = [answer(deepcopy(case)) for case in FAMILIES.values()]
    right = [arguments(case) for case in FAMILIES.values()]
    if found == right:
        return None
    if len({str(each) for each in found}) == 1:
        return f"you say {found[0]} for every family: look at its facts"
    if any(each is not None and not isinstance(each, dict) for each in found):
        return "return a dictionary of arguments, or None"
    if any(each and None in each.values() for each in found):
        return 'only what is needed: leave an argument out, don\'t say {"prefix": None}'
    if unknown := {name for each in found for name in each or ()} - {"prefix", "language", "revision"}:
        return f"{sorted(unknown)[0]!r}: the arguments here are prefix, language and revision"

    for changed, said in MISTAKES:
        if found == [arguments(case, **changed) for case in FAMILIES.values()]:
            return said
    name, said, wanted = next((n, f, r) for n, f, r in zip(FAMILIES, found, right) if f != r)
    return f"{name}: you say {said}, right is {wanted}"


def model(ids, rows=None, encoder_decoder=True):
    return {"encoder_decoder": encoder_decoder, "rows": rows or len(ids), "ids": ids}


IDS = {"</s>": 0, "a": 1, "book": 2, "train": 3}
PAIRS = [
    (model(IDS), model(dict(IDS))),  # they fit
    (model(IDS), model(dict(reversed(IDS.items())))),  # the same, listed in another order
    (model(IDS, 8), model(dict(IDS), 8)),  # both padded
    (model(IDS, 8), model(dict(IDS))),  # one padded
    (model(IDS), model({**IDS, "red": 4})),  # one piece more
    (model(IDS, 8), model({**IDS, "red": 4}, 8)),  # the same, padded
    (model({**IDS, "red": 4}, 8), model(IDS, 8)),
    (model(IDS), model({"</s>": 0, "a": 1, "book": 3, "train": 2})),  # two exchanged
    (model(IDS), model({"</s>": 0, "a": 1, "book": 2, "Zug": 3})),  # another piece
    (model(IDS), model(dict(IDS), encoder_decoder=False)),
    (model({**IDS, "red": 4}, encoder_decoder=False), model(IDS)),
]


def why_not(target, draft, kind=True, rows="rows", same=None):
    """What is wrong first; None if nothing is."""
    if kind and not (target["encoder_decoder"] and draft["encoder_decoder"]):
        return "decoder-only"
    sizes = [len(each["ids"]) if rows == "ids" else each["rows"] for each in (target, draft)]
    if rows and sizes[0] != sizes[1]:
        return "size"
    return next(iter(disagreed(target["ids"], draft["ids"])), None) if same is None else same(target, draft)


def disagreed(a, b):
    return [piece for piece in {**a, **b} if a.get(piece) != b.get(piece)]


def right_about(said, target, draft):
    wanted = why_not(target, draft)
    if wanted in (None, "size", "decoder-only"):
        return said == wanted
    return said in disagreed(target["ids"], draft["ids"])


@checker
def ex_A6_2(answer) -> str | None:
    """Why two models can't be a pair: decoder-only, size, or a piece with another id."""
    found = [answer(*map(deepcopy, pair)) for pair in PAIRS]
    if all(right_about(said, *pair) for said, pair in zip(found, PAIRS)):
        return None
    if any(said is not None and not isinstance(said, str) for said in found):
        return 'return None, "decoder-only", "size" or a piece, a string'
    if len({*found}) == 1:
        return f"you say {found[0]} for every two models"
    if any(said not in (None, "size", "decoder-only", *a["ids"], *b["ids"]) for said, (a, b) in zip(found, PAIRS)):
        return "return a piece that one of the tokenizers has, not its id and no sentence"
    if any(found[i] is not None for i in (0, 1, 2)):
        i = next(i for i in (0, 1, 2) if found[i] is not None)
        reason = (
            "the two are equal",
            "the order in which pieces are listed means nothing",
            "both padded alike is fine",
        )
        return f"you say {found[i]!r} where nothing is wrong: {reason[i]}"
    if found[9] != "decoder-only" or found[10] != "decoder-only":
        return "one without an encoder can't be in a pair, be it the target or the draft, whatever its vocabulary"
    if found[3] != "size":
        return "the same pieces, 8 rows against 4: p and q have other lengths, so compare the rows, not the pieces"
    if found[5] == "size":
        return 'both give 8 scores, so the size is the same, and "red" is the trouble: compare the rows'
    if found[7] is None:
        return "the same pieces with other ids: compare ids, not names"
    if found[5] is None or found[6] is None:
        return "a piece that only one of them has is wrong, too, in the target and in the draft"
    i = next(i for i, said in enumerate(found) if not right_about(said, *PAIRS[i]))
    return f"for {PAIRS[i]} you say {found[i]!r}"
