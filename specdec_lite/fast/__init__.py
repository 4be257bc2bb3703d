"""The fast path: the same cursor on buffers of fixed size, so that each kind of step is compiled once.

Nothing about the output changes. A step is spared most of Python's time, all memory allocation, and matrix products
that were made for larger shapes.
"""

from .buffers import CompiledSeq2Seq, StaticDecoder
from .compile import compile_pair, has_compiler
from .narrow import NARROW, NarrowLinear
