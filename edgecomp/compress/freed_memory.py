"""Memory that freed tensors held goes back to the system.

glibc keeps what is freed in pieces of up to 32 MB for whoever asks next. After a wide layer was
solved that is some hundred megabytes, which lie beside the next layer's Hessian and serve nobody.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache


def return_freed_memory() -> None:
    """Does nothing where the C library is not glibc."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@lru_cache
def _malloc_trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
