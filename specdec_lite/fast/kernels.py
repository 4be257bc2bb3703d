"""Operators of our own for a processor (kernels.cpp), built on the spot where there is a compiler."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

WIDE = 32  # outputs that lie side by side in packed weights
INSTRUCTIONS = {
    "AVX512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}


@cache
def has_kernels() -> bool:
    """Whether the operators are there. The first call builds them, in seconds, or finds them built.

    Without a C++ compiler, or where it refuses, `torch.compile` does all of their work: what is computed is the same,
    and takes longer. ``SPECDEC_LITE_KERNELS=0`` in the environment says to do without.
    """
    if os.environ.get("SPECDEC_LITE_KERNELS") == "0":
        return False
    try:
        torch.ops.load_library(str(build()))
    except (ImportError, OSError, RuntimeError, subprocess.CalledProcessError):
        return False
    fake = torch.library.register_fake  # what the compiler needs to know: the shape of what comes out
    fake("specdec_lite::linear")(lambda x, packed, outputs: x.new_empty(*x.shape[:-1], outputs))
    fake("specdec_lite::run_stack")(lambda stack, hidden, start, mask: hidden.new_empty(hidden.shape))
    return True


def serves(weight: Tensor) -> bool:
    """Whether the operators compute with this weight: it is float32, on a processor, and they are there."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and has_kernels()


def build() -> Path:
    """The library, compiled once for a version of torch, a source and a kind of processor.

    Raises
    ------
    RuntimeError, subprocess.CalledProcessError
        If there is no compiler, or if it refuses.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # the one that compiles the rest, too
    from torch.utils import cpp_extension  # imports setuptools, and is seldom needed

    source = Path(__file__).with_name("kernels.cpp")
    flags = ["-O3", "-ffp-contract=fast", "-fopenmp", "-std=c++20", "-fPIC", "-shared"]
    flags += INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())
    kind = hashlib.sha256(repr((torch.__version__, flags)).encode() + source.read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root())
    library = folder / "specdec_lite" / f"kernels_{kind}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        where = [f"-I{path}" for path in cpp_extension.include_paths()]
        where += [f"-L{path}" for path in cpp_extension.library_paths()]
        with tempfile.TemporaryDirectory(dir=library.parent) as apart:  # so that nobody loads half a library
            made = Path(apart) / library.name
            command = [get_cpp_compiler(), *flags, str(source), "-o", str(made), *where, "-ltorch", "-ltorch_cpu"]
            subprocess.run([*command, "-lc10"], check=True, capture_output=True)
            made.replace(library)
    return library


def pack(weight: Tensor) -> Tensor:
    """Weights ``(outputs, inputs)`` in the order in which they are read, ``(outputs / 32, inputs, 32)``."""
    blocks = pad(weight.detach(), (0, 0, 0, -len(weight) % WIDE)).unflatten(0, (-1, WIDE))
    return blocks.transpose(1, 2).contiguous()
