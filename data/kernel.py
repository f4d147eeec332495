"""Loops that must be fast: written once in plain Python, compiled by numba when that pays.

A kernel holds only additions, multiplications, divisions, comparisons and square roots, which IEEE 754 rounds the same way
everywhere, so the compiled and the plain form give identical bits; logarithms and exponentials are taken with numpy outside.

Short inputs run plain until `compile_all` has finished in the background after the first paint: a user never waits for a
compiler to see a page. A long input (`LONG` or more) compiles its kernel at once, since the plain loop would take longer.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

LONG = 20_000  # bars; the plain loop then takes about as long as one compilation

_KERNELS: list[Kernel] = []
_COMPILING = threading.Lock()


class Kernel:
    """A loop over arrays. Call it like the function it wraps; `plain` is that function."""

    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain = plain
        self.compiled: Callable[..., Any] | None = None
        self.example: Callable[[], tuple[Any, ...]] | None = None
        functools.update_wrapper(self, plain)
        _KERNELS.append(self)

    def __call__(self, *args: Any) -> Any:
        if self.compiled is None and any(isinstance(a, np.ndarray) and len(a) >= LONG for a in args):
            self.compile()
        return (self.compiled or self.plain)(*args)

    def compile(self) -> None:
        """Build the machine code (cached on disk between processes). Safe to call from several threads."""
        with _COMPILING:
            if self.compiled is None:
                import numba

                self.compiled = numba.njit(cache=True, nogil=True)(self.plain)

    def warm_with(self, example: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
        """Decorator: arguments of the usual types, used to compile ahead of the first real call."""
        self.example = example
        return example


def kernel(plain: Callable[..., Any]) -> Kernel:
    """Decorator for a loop that numba can compile."""
    return Kernel(plain)


def compile_all() -> None:
    """Compile every kernel that has an example; called once in the background after the first paint."""
    for each in _KERNELS:
        if each.example is not None and each.compiled is None:
            import numba

            ready = numba.njit(cache=True, nogil=True)(each.plain)
            ready(*each.example())
            each.compiled = ready  # only now: until then callers keep the plain form instead of waiting


def use_cache_folder(folder: str) -> None:
    """Where compiled kernels are kept; must be called before numba is imported."""
    os.environ.setdefault("NUMBA_CACHE_DIR", folder)


def kernels() -> tuple[Kernel, ...]:
    return tuple(_KERNELS)
