"""A rule: one pure function that the plain engine, the paper broker and the compiled engine share, so that there is only one of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


class Rule:
    """Plain when called from Python; a kernel (data/kernel.py) that calls it has it compiled in.

    The compiler keeps finished kernels on disk and watches only the kernel's own file for changes, so that file must hold a
    digest of the files its rules come from (core/backtest/kernel.py does).
    """

    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain = plain
        functools.update_wrapper(self, plain)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.plain(*args, **named)

    @functools.cached_property
    def compiled(self) -> Any:
        """Without the counting of references to arrays: a rule allocates none, and counting took half of a backtest's time."""
        import numba

        return numba.njit(nogil=True, _nrt=False)(self.plain)  # type: ignore[call-overload]

    @property
    def _numba_type_(self) -> Any:
        """How the compiler sees it: as the function it compiles on demand."""
        import numba

        return numba.types.Dispatcher(self.compiled)


def rule(plain: Function) -> Function:
    """Decorator for a pure function of numbers (or of arrays it changes in place) that kernels may call."""
    return cast(Function, Rule(plain))
