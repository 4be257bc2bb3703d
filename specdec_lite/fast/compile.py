"""A pair with compiled steps, or the reason why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch

from ..checks import check_integer
from ..models import Pair
from .buffers import CompiledSeq2Seq
from .narrow import ROUNDED


def compile_pair(
    pair: Pair,
    *,
    gammas: int | Iterable[int] = 4,
    max_new_tokens: int = 64,
    max_source_tokens: int = 128,
    draft_weights: str | None = None,
    backend="inductor",
    progress: bool = True,
) -> Pair:
    """The same pair with compiled steps: pass it to the loops in place of the other.

    The target is compiled for one position (plain decoding) and for gamma + 1, the draft for one and, to catch up, two.
    What each of them makes of a new source, its keys and values, is compiled as well.
    Compiling takes from seconds to minutes; it happens here, once, and not in the first generation.

    Parameters
    ----------
    gammas : int or several
        The values of gamma that will be used. With another one the next larger step is used, if there is one.
    max_new_tokens, max_source_tokens : int
        What the buffers hold. Longer requests are refused.
    draft_weights : str, optional
        "bfloat16" or "int8": round the weights of the draft's decoder, so that a step reads half or a quarter of
        float32's bytes. q becomes that of the rounded draft, and stays the distribution that is really drawn from, so
        the output keeps the target's law. Measure "int8": some processors are slow to turn small integers into floats.
    backend : str or callable
        As in `torch.compile`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and what was expected.
    RuntimeError
        There is no C++ compiler (CPU), or no Triton (GPU), or torch is too old.
    """
    gammas = [gammas] if isinstance(gammas, int) else list(gammas)
    if not gammas:
        raise ValueError("gammas=[]: expected at least one integer >= 0")
    for gamma in gammas:
        check_integer("gammas", gamma, minimum=0)
    check_integer("max_new_tokens", max_new_tokens, minimum=1)
    check_integer("max_source_tokens", max_source_tokens, minimum=1)
    if draft_weights not in (None, *ROUNDED):
        raise ValueError(f"draft_weights={draft_weights!r}: expected None, {' or '.join(map(repr, ROUNDED))}")
    check_can_compile(pair, backend)
    options = {"max_new_tokens": max_new_tokens, "max_source_tokens": max_source_tokens, "backend": backend}
    target = CompiledSeq2Seq(pair.target, {1, *(gamma + 1 for gamma in gammas)}, **options)
    draft = CompiledSeq2Seq(pair.draft, {1, 2}, rounded=ROUNDED.get(draft_weights), lean_calls=True, **options)
    seconds = target.warm_up() + draft.warm_up()
    if progress:
        print(f"compiled {len(target.steps) + len(draft.steps) + 2} steps in {seconds:.0f} s")
    return Pair(target, draft, pair.name)


def check_can_compile(pair: Pair, backend) -> None:
    """Raise an error that says what is missing: a backend, models that read text, a newer torch, a compiler."""
    if not callable(backend) and backend not in torch.compiler.list_backends(exclude_tags=()):
        raise ValueError(f"backend={backend!r}: expected a callable or one of {torch.compiler.list_backends()}")
    if any(model.hf_model.main_input_name != "input_ids" for model in pair):
        raise TypeError(f"pair={pair.name}: expected models that read text")
    if "isolate_recompiles" not in inspect.signature(torch.compile).parameters:
        needed = f"compile_pair needs a torch that compiles each width by itself, as 2.13 does, not {torch.__version__}"
        raise RuntimeError(f"{needed}; the pair works without it, as it is")
    if backend == "inductor" and not has_compiler(pair.target.device):
        needed = "Triton" if pair.target.device.type == "cuda" else "a C++ compiler"
        raise RuntimeError(f"compile_pair needs {needed} and found none; the pair works without it, as it is")


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
