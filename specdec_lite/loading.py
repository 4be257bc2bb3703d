"""Checkpoints from a folder or from the Hub, and the pair that ships with the package."""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.utils import cached_file, logging

from .models import Pair, Seq2Seq, check_same_vocabulary

POCKET_PAIR = Path(__file__).parent / "data" / "pocket_pair"
FAMILIES = AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq, AutoModelForImageTextToText


def load_pair(
    target: str | Path | None = None,
    draft: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    *,
    revision: str | tuple[str | None, str | None] | None = None,
    share: bool = True,
    **options,
) -> Pair:
    """Load a target and its draft; without names, the pocket pair that ships with the package (no download).

    What is equal in both is held in memory once (`share_weights`): to train one of them sets the other's weights, too.
    With ``share=False`` they are kept apart.

    Parameters
    ----------
    target, draft : str or Path, optional
        Hugging Face names ("google-t5/t5-large", "google-t5/t5-small") or folders. Both or neither.
    device, dtype : str or torch type
        For instance "cuda" and "bfloat16".
    revision : str or (str, str), optional
        A branch, tag or commit on the Hub; one for both, or the target's and the draft's.
    share : bool
        Whether equal weights are held once.
    **options
        prefix, prompt, language, task, self_check: as `Seq2Seq` takes them, for both models.

    Raises
    ------
    ValueError
        Unknown device or dtype, only one of the two names, a decoder-only checkpoint, two different vocabularies,
        weights that a checkpoint lacks, a tokenizer without its files, weights that are not safetensors.
    """
    if (target is None) != (draft is None) or "" in (target, draft):
        raise ValueError(f"target={target!r}, draft={draft!r}: expected both names, or neither for the pocket pair")
    device, dtype = parse_device(device), parse_dtype(dtype)
    name = "pocket" if target is None else f"{target} + {draft}"
    target, draft = target or POCKET_PAIR / "target", draft or POCKET_PAIR / "draft"
    theirs, mine = (revision, revision) if revision is None or isinstance(revision, str) else revision
    for argument, path, at in (("target", target, theirs), ("draft", draft, mine)):
        if not AutoConfig.from_pretrained(path, revision=at, trust_remote_code=False).is_encoder_decoder:
            expected = "expected an encoder-decoder checkpoint, this one is decoder-only"
            raise ValueError(f"{argument}={str(path)!r}: {expected}")
    large = load_model(target, device, dtype, revision=theirs, **options)
    pair = Pair(large, load_model(draft, device, dtype, lender=large, revision=mine, **options), name)
    check_same_vocabulary(pair.target, pair.draft)
    if share:
        share_weights(pair.target.hf_model, pair.draft.hf_model)
    return pair


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    lender: Seq2Seq | None = None,
    *,
    revision: str | None = None,
    **options,
) -> Seq2Seq:
    """Load one checkpoint: safetensors only, and never code that comes with it.

    A draft's checkpoint may leave out weights that it has in common with its target, the `lender`. No random state is
    moved. The options are those of `Seq2Seq`.
    """
    where = {"revision": revision, "trust_remote_code": False}
    check_index(path, revision)
    with quiet(reports=False), same_random_state():
        hf_model, info = family(AutoConfig.from_pretrained(path, **where)).from_pretrained(
            path, dtype=parse_dtype(dtype), use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **where,
        )  # fmt: skip
    check_weights(path, info, draft=lender is not None)
    hf_model = hf_model.to(parse_device(device))
    if lender is not None:
        borrow_weights(hf_model, info["missing_keys"], lender.hf_model, path)
    return Seq2Seq(hf_model, load_processor(path, revision), **options)


def family(config):
    """The automatic class that knows this configuration; where several do, the one that its checkpoint names."""
    found = [auto for auto in FAMILIES if type(config) in auto._model_mapping]
    named = [auto for auto in found if auto._model_mapping[type(config)].__name__ in (config.architectures or ())]
    return [*named, *found, AutoModelForSeq2SeqLM][0]


def load_processor(path: str | Path, revision: str | None = None):
    """The checkpoint's processor if it has one (audio, pictures), else its tokenizer.

    Raises a ValueError if the tokenizer's files are missing: transformers would make an empty one up.
    """
    where = {"revision": revision, "trust_remote_code": False}
    reads_more = find_file(path, revision, "processor_config.json", "preprocessor_config.json")
    with quiet(), same_random_state():
        processor = (AutoProcessor if reads_more else AutoTokenizer).from_pretrained(path, **where)
    files = set(getattr(getattr(processor, "tokenizer", processor), "vocab_files_names", {}).values())  # ByT5: none
    if files and not find_file(path, revision, "tokenizer.json", *files):
        raise ValueError(f"{str(path)!r} has no tokenizer: expected one of {', '.join(sorted(files))}")
    return processor


def find_file(path: str | Path, revision: str | None, *names: str) -> str | None:
    """The first of these files that a folder or a repository on the Hub has."""
    errors = "_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors"
    options = {"revision": revision, **dict.fromkeys(errors, False)}
    return next((found for name in names if (found := cached_file(str(path), name, **options))), None)


def check_index(path: str | Path, revision: str | None = None) -> None:
    """Raise a ValueError if the list of a checkpoint's parts names one that is not safetensors: it could run code."""
    found = find_file(path, revision, "model.safetensors.index.json")
    parts = set(json.loads(Path(found).read_text())["weight_map"].values()) if found else ()
    wrong = sorted(part for part in parts if not str(part).endswith(".safetensors"))
    if wrong:
        raise ValueError(f"{str(path)!r} holds weights in {wrong[0]!r}: expected safetensors only")


def check_weights(path: str | Path, info: dict, draft: bool) -> None:
    """Raise a ValueError if weights are of another shape, or missing: transformers has drawn them at random."""
    argument = f"{'draft' if draft else 'target'}={str(path)!r}"
    if info["mismatched_keys"]:
        name, there, here = sorted(info["mismatched_keys"])[0]
        raise ValueError(
            f"{argument} holds {name} of shape {tuple(there)}: expected {tuple(here)} by its configuration"
        )
    if info["missing_keys"] and not draft:
        names = sorted(info["missing_keys"])
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise ValueError(f"{argument} leaves out {listed}: expected all weights")


def borrow_weights(draft, missing: set[str], target, path: str | Path) -> None:
    """Copy from one Hugging Face model to the other what the other's checkpoint left out."""
    mine, theirs = draft.state_dict(), target.state_dict()
    for name in sorted(missing):
        if name not in theirs or mine[name].shape != theirs[name].shape:
            raise ValueError(
                f"draft={str(path)!r} leaves out {name}, and the target has none like it: expected it here"
            )
        mine[name].copy_(theirs[name])
    tied = [name for name in sorted(missing) if not torch.equal(mine[name], theirs[name])]
    if tied:
        raise ValueError(
            f"draft={str(path)!r} ties {', '.join(tied)} to others, which the target does not: expected both"
        )


def share_weights(target, draft) -> None:
    """Hold in memory once what is equal in both Hugging Face models: the draft takes the target's tensors.

    From then on, to change such a tensor of one model (by training it, say) changes the other model as well.

    A draft that kept its teacher's encoder, as distil-Whisper and the pocket pair's draft do, gets the very module. So
    it runs once per source (`same_encoder`).
    """
    tensors = dict(target.named_parameters())
    for name, parameter in draft.named_parameters():
        if name in tensors and torch.equal(parameter, tensors[name]):
            parameter.data = tensors[name].data
    encoders = target.get_encoder(), draft.get_encoder()
    kinds = [type(encoder) for encoder in encoders]
    places = [{name: tensor.data_ptr() for name, tensor in encoder.named_parameters()} for encoder in encoders]
    if kinds[0] is kinds[1] and places[0] == places[1]:
        draft.set_encoder(target.get_encoder())


@contextmanager
def quiet(reports: bool = True):
    """No progress bars: a page or a terminal that loads a local folder has nothing to show. Or no reports either."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if not reports:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


@contextmanager
def same_random_state():
    """Leave torch's, NumPy's and Python's random state as it was: a model is initialised before its weights come."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def parse_device(device: str | torch.device) -> torch.device:
    """A device that exists here, or a ValueError that says which do."""
    present = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        parsed = None
    if parsed is None or parsed.type not in present or (parsed.index or 0) >= _count(parsed.type):
        raise ValueError(f"device={str(device)!r}: expected one that is present here: {', '.join(present)}")
    return parsed


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """float64, float32, bfloat16 or float16, by name or as torch's type."""
    names = ("float64", "float32", "bfloat16", "float16")
    for name in names:
        if dtype in (name, getattr(torch, name)):
            return getattr(torch, name)
    raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(names)}")


def _count(device_type: str) -> int:
    return torch.cuda.device_count() if device_type == "cuda" else 1
