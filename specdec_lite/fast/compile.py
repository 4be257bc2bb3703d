"""A pair with compiled steps, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from textwrap import shorten

import torch

from ..checks import check_integer
from ..decoder import EncoderStates
from ..models import Pair, Seq2Seq, check_pair
from .buffers import CompiledSeq2Seq, made_up_states
from .narrow import ROUNDED
from .padded import PaddedEncoder

USUAL, LONG = {"input_ids": 128}, 1500  # how many states of a source the buffers hold, if nothing else is asked for
AS_IT_IS = "the pair works without it, as it is"


def compile_pair(
    pair: Pair,
    *,
    gammas: int | Iterable[int] = 4,
    max_new_tokens: int = 64,
    max_source_tokens: int | None = None,
    draft_weights: str | None = None,
    backend="inductor",
    progress: bool = True,
) -> Pair:
    """The same pair with compiled calls: pass it to the loops in place of the other.

    The target's check is compiled for one position (plain decoding) and for gamma + 1; the draft's block for gamma
    tokens, and a pass over one and over two, for what is not drafted by the block. What each of them makes of a new
    source, its keys and values, is compiled as well.
    Compiling takes from seconds to minutes; it happens here, once, and not in the first generation.

    On a processor, the layers of a float32 decoder that is built like T5's or BART's run as one operator of our own
    (kernels.cpp), after it has been seen to compute what they do; its weights are stored once more, in its own order.
    All other models keep their layers, and what is compiled is those. On a GPU every call is recorded as a CUDA graph,
    the encoder of a text, too, for sources that are padded to `max_source_tokens`.

    Parameters
    ----------
    gammas : int or several
        The values of gamma that will be used. With another one the next larger check is used, if there is one, and the
        next larger block, if it is less than twice as long.
    max_new_tokens : int
        What the buffers hold. Longer requests are refused.
    max_source_tokens : int, optional
        How many of an encoder's states they hold: as many as a text has tokens, or as a speech encoder leaves of its
        input. A pass takes as long for a short source as for the longest. By default 128 for text, and 1,500 for sound,
        half a minute at 50 states a second. Whisper and encoders of pictures make the same number of states of every
        source: then it is that number, and no less will do.
    draft_weights : str, optional
        "bfloat16" or "int8": round the weights of the draft's decoder, so that a step reads half or a quarter of
        float32's bytes. q becomes that of the rounded draft, and stays the distribution that is really drawn from, so
        the output keeps the target's law. Measure "int8": some processors are slow to turn small integers into floats.
    backend : str or callable
        As in `torch.compile`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected; or the model, and what of it no compiled step serves:
        grouped heads, sliding windows, positions that leave out the pad token, a decoder that cannot be told where a
        source ends, if sources have several lengths.
    RuntimeError
        There is no C++ compiler (CPU), or no Triton (GPU), or torch is too old, or torch cannot compile the model.
    """
    check_pair(pair)
    if not isinstance(gammas, (int, Iterable)):
        raise TypeError(f"gammas={gammas!r}: expected an integer >= 0, or several")
    gammas = [gammas] if isinstance(gammas, int) else list(gammas)
    if not gammas:
        raise ValueError("gammas=[]: expected at least one integer >= 0")
    for gamma in gammas:
        check_integer("gammas", gamma, minimum=0)
    check_integer("max_new_tokens", max_new_tokens, minimum=1)
    if max_source_tokens is not None:
        check_integer("max_source_tokens", max_source_tokens, minimum=1)
    if draft_weights not in (None, *ROUNDED):
        raise ValueError(f"draft_weights={draft_weights!r}: expected None, {' or '.join(map(repr, ROUNDED))}")
    check_can_compile(pair, backend)
    check_models(pair)
    sizes = [buffer_size(role, model, max_source_tokens) for role, model in zip(("target", "draft"), pair)]
    options = {"max_new_tokens": max_new_tokens, "backend": backend}
    with named("pair.target", pair.target):
        target = CompiledSeq2Seq(pair.target, {1, *(gamma + 1 for gamma in gammas)}, **options, **sizes[0])
    with named("pair.draft", pair.draft):
        rounded = ROUNDED.get(draft_weights)
        draft = CompiledSeq2Seq(pair.draft, {1, 2}, gammas, rounded=rounded, **options, **sizes[1])
    seconds = 0.0
    for role, model, quick in (("pair.target", pair.target, target), ("pair.draft", pair.draft, draft)):
        with named(role, model):
            seconds += quick.warm_up()
    if progress:
        calls = len(target.checks) + len(draft.checks) + len(draft.blocks) + 2  # and what reads a source
        calls += sum(isinstance(vars(model).get("encoder"), PaddedEncoder) for model in (target, draft))
        whole = [role for role, model in (("target", target), ("draft", draft)) if model.in_one_call]
        print(f"compiled {calls} calls in {seconds:.0f} s; all layers in one call: {', '.join(whole) or 'none'}")
    return Pair(target, draft, pair.name)


def check_can_compile(pair: Pair, backend) -> None:
    """Raise an error that says what is missing: a backend, a newer torch, a compiler."""
    if not callable(backend) and backend not in torch.compiler.list_backends(exclude_tags=()):
        raise ValueError(f"backend={backend!r}: expected a callable or one of {torch.compiler.list_backends()}")
    if not hasattr(torch.compiler, "skip_all_guards_unsafe"):
        raise RuntimeError(f"compile_pair needs torch 2.11 or newer, not {torch.__version__}; {AS_IT_IS}")
    if backend == "inductor" and not has_compiler(pair.target.device):
        needed = "Triton" if pair.target.device.type == "cuda" else "a C++ compiler"
        raise RuntimeError(f"compile_pair needs {needed} and found none; {AS_IT_IS}")


def check_models(pair: Pair) -> None:
    """Raise a ValueError that names a model, and what of it no compiled step serves."""
    if pair.draft.device != pair.target.device:
        raise ValueError(f"pair.draft is on {pair.draft.device}: expected the target's device, {pair.target.device}")
    for role, model in zip(("target", "draft"), pair):
        for found, expected in unserved(model):
            raise refusal(role, model, found, expected)


def refusal(role: str, model: Seq2Seq, found: str, expected: str) -> ValueError:
    name = type(model.hf_model).__name__
    return ValueError(f"pair.{role}={name} has {found}: compile_pair expects {expected}; {AS_IT_IS}")


def unserved(model: Seq2Seq) -> Iterator[tuple[str, str]]:
    """What a model has that no compiled step serves, and what is expected in its place."""
    config = model.hf_model.get_decoder().config.get_text_config(decoder=True)
    heads, key_heads = (getattr(config, f"num_{kind}_heads", None) for kind in ("attention", "key_value"))
    windows = [kind for kind in getattr(config, "layer_types", None) or () if kind != "full_attention"]
    if key_heads not in (None, heads):
        yield f"grouped heads ({heads}, with keys for {key_heads})", "keys for every head"
    if windows:
        yield f"layers of {windows[0]}", "full attention"
    if model.split_after is not None:
        yield f"positions that leave out its pad token ({model.split_after})", "positions that count every token"


@torch.inference_mode()
def obeys_mask(model: Seq2Seq) -> bool:
    """Whether a decoder sees the states that a mask shows it, and no others.

    This is exact in any precision: what it does not see can change nothing.
    """
    model.evaluate()
    states, mask = made_up_states(model.hf_model, 8), torch.ones(1, 8, dtype=torch.long, device=model.device)
    mask[:, 4:] = 0

    def logits(changed: slice) -> torch.Tensor:
        outputs = EncoderStates(last_hidden_state=states.clone(), attention_mask=mask)
        outputs.last_hidden_state[:, changed] *= -10
        start = torch.tensor([[model.start_token]], device=model.device)
        given = {"encoder_outputs": outputs, "attention_mask": mask, "use_cache": False}
        return model.hf_model(decoder_input_ids=start, **given).logits

    first, hidden, shown = (logits(slice(*changed)) for changed in ((0, 0), (4, 8), (3, 4)))
    return torch.equal(first, hidden) and not torch.equal(first, shown)


@torch.inference_mode()
def states_of_every_source(model: Seq2Seq) -> int | None:
    """How many states an encoder makes of sound in windows of one length, or of pictures of one size."""
    encoder = model.hf_model.get_encoder()
    if model.hf_model.config.model_type == "whisper":
        return encoder.config.max_source_positions
    if model.reader.name == "pixel_values":
        size, channels = getattr(encoder.config, "image_size", None), getattr(encoder.config, "num_channels", 3)
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        picture = torch.zeros(1, channels, height, width, dtype=model.dtype, device=model.device)
        return encoder(pixel_values=picture).last_hidden_state.shape[1]
    return None


def buffer_size(role: str, model: Seq2Seq, asked: int | None) -> dict:
    """What a `CompiledSeq2Seq` is told of its sources; or a ValueError, if nothing can be told."""
    if obeys_mask(model):
        numbered = getattr(model.hf_model.get_decoder(), "pos_emb", None)  # Moonshine's streaming kind numbers states
        longest = numbered.num_embeddings if isinstance(numbered, torch.nn.Embedding) else math.inf
        return {"max_source_tokens": min(asked or USUAL.get(model.reader.name, LONG), longest)}
    needed = states_of_every_source(model)
    if needed is None:
        expected = "a mask over its encoder's states, or sources of one size"
        raise refusal(role, model, "a decoder that cannot be told where a source ends", expected)
    if asked is not None and asked < needed:
        made = f"the states that the encoder of pair.{role}={type(model.hf_model).__name__} makes of every source"
        raise ValueError(f"max_source_tokens={asked}: expected at least {needed}, {made}, or None")
    return {"max_source_tokens": needed, "whole": True}


@contextmanager
def named(role: str, model: Seq2Seq):
    """Whatever torch or transformers raises on the way, say for which model, and that decoding needs none of it."""
    try:
        yield
    except Exception as error:
        name, why = type(model.hf_model).__name__, shorten(f"{type(error).__name__}: {error}", 200, placeholder=" …")
        raise RuntimeError(f"{role}={name} cannot be compiled ({why}); {AS_IT_IS}") from error


def has_compiler(device: torch.device) -> bool:
    """Whether `torch.compile` finds what it needs on this machine."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # a second to import, and seldom needed
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    if device.type == "cuda":
        return has_triton()
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True
