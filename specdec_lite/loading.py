"""Checkpoints from a folder or from the Hub, and the pair that ships with the package."""

from __future__ import annotations

import random
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.utils import logging

from .checkpoint import Checkpoint
from .checks import memory_advice
from .models import Pair, Seq2Seq, check_model, check_same_vocabulary

POCKET_PAIR = Path(__file__).parent / "data" / "pocket_pair"
OPTIONS = "prefix", "prompt", "language", "task", "self_check"
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
        For instance "cuda" and "bfloat16". In half precision scores are rounded so far that two can be tied. Then, at
        temperature 0, a pass over several positions may pick another one than a pass over one: near-ties apart, the
        text is plain decoding's.
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
        weights that a checkpoint lacks, a tokenizer without its files, weights that are not safetensors; a folder that
        is not there, a name that the Hub does not give, a file that is damaged.
    """
    if (target is None) != (draft is None) or "" in (target, draft):
        raise ValueError(f"target={target!r}, draft={draft!r}: expected both names, or neither for the pocket pair")
    device, dtype = parse_device(device), parse_dtype(dtype)
    check_options(options)
    revisions = revision if isinstance(revision, (tuple, list)) else (revision, revision)
    if len(revisions) != 2:
        raise ValueError(f"revision={revision!r}: expected one, or a pair: the target's and the draft's")
    name = "pocket" if target is None else f"{target} + {draft}"
    paths = (POCKET_PAIR / "target", POCKET_PAIR / "draft") if target is None else (target, draft)
    theirs, mine = (Checkpoint(*each) for each in zip(("target", "draft"), paths, revisions))
    for checkpoint in (theirs, mine):  # the second one, too, before the first is loaded
        checkpoint.check()
    large = read_model(theirs, device, dtype, None, options)
    pair = Pair(large, read_model(mine, device, dtype, large, options), name)
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
    device, dtype = parse_device(device), parse_dtype(dtype)
    check_options(options)
    if lender is not None:
        check_model("lender", lender)
    checkpoint = Checkpoint("path", path, revision)
    checkpoint.check()
    return read_model(checkpoint, device, dtype, lender, options)


@memory_advice("dtype='bfloat16' needs half of float32's memory, device='cpu' needs none of the GPU's")
def read_model(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, lender: Seq2Seq | None, options: dict
) -> Seq2Seq:
    """Load a checkpoint that has been checked."""
    config = checkpoint.config()
    with quiet(reports=False), same_random_state(), checkpoint.named("its model"):
        hf_model, info = family(config).from_pretrained(
            checkpoint.path, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **checkpoint.where,
        )  # fmt: skip
    check_weights(checkpoint, info, may_borrow=lender is not None)
    hf_model = hf_model.to(device)
    if lender is not None:
        borrow_weights(checkpoint, hf_model, info["missing_keys"], lender.hf_model)
    return Seq2Seq(hf_model, load_processor(checkpoint), **options)


def check_options(options: dict) -> None:
    """Raise a TypeError for one that Seq2Seq does not take, before anything is loaded."""
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise TypeError(f"{unknown[0]}={options[unknown[0]]!r}: expected no such argument, only {', '.join(OPTIONS)}")


def family(config):
    """The automatic class that knows this configuration; where several do, the one that its checkpoint names."""
    found = [auto for auto in FAMILIES if type(config) in auto._model_mapping]
    named = [auto for auto in found if auto._model_mapping[type(config)].__name__ in (config.architectures or ())]
    return [*named, *found, AutoModelForSeq2SeqLM][0]


def load_processor(checkpoint: Checkpoint):
    """The checkpoint's processor if it has one (audio, pictures), else its tokenizer.

    Raises a ValueError if the tokenizer's files are missing: transformers would make an empty one up.
    """
    reads_more = checkpoint.file("processor_config.json", "preprocessor_config.json")
    auto, kind = (AutoProcessor, "processor") if reads_more else (AutoTokenizer, "tokenizer")
    with quiet(), same_random_state(), checkpoint.named(f"its {kind}"):
        processor = auto.from_pretrained(checkpoint.path, **checkpoint.where)
    files = set(getattr(getattr(processor, "tokenizer", processor), "vocab_files_names", {}).values())  # ByT5: none
    if files and not checkpoint.file("tokenizer.json", *files):
        raise ValueError(f"{checkpoint} has no tokenizer: expected one of {', '.join(sorted(files))}")
    return processor


def check_weights(checkpoint: Checkpoint, info: dict, may_borrow: bool) -> None:
    """Raise a ValueError if weights are of another shape, or missing: transformers has drawn them at random."""
    if info["mismatched_keys"]:
        name, there, here = sorted(info["mismatched_keys"])[0]
        raise ValueError(
            f"{checkpoint} holds {name} of shape {tuple(there)}: expected {tuple(here)} by its configuration"
        )
    if info["missing_keys"] and not may_borrow:
        names = sorted(info["missing_keys"])
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise ValueError(f"{checkpoint} leaves out {listed}: expected all weights")


def borrow_weights(checkpoint: Checkpoint, draft, missing: set[str], target) -> None:
    """Copy from one Hugging Face model to the other what the other's checkpoint left out."""
    mine, theirs = draft.state_dict(), target.state_dict()
    for name in sorted(missing):
        if name not in theirs or mine[name].shape != theirs[name].shape:
            raise ValueError(f"{checkpoint} leaves out {name}, and the target has none like it: expected it here")
        mine[name].copy_(theirs[name])
    tied = [name for name in sorted(missing) if not torch.equal(mine[name], theirs[name])]
    if tied:
        raise ValueError(f"{checkpoint} ties {', '.join(tied)} to others, which the target does not: expected both")


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
