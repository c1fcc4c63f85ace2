"""Loops over numbers made machine code, which is kept on disk, so that no process waits for a compiler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numba
from numba.core import cgutils
from numba.extending import intrinsic, overload

logger = logging.getLogger(__name__)


def compiled(signature: Any, *, nogil: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Have a function compiled, or its machine code loaded, at once.

    Parameters
    ----------
    signature : numba signature
        Types of what is given back and of the arguments: nothing is ever compiled for others while a batch waits.
    nogil : bool, optional
        Whether other threads go on meanwhile. Not for what takes microseconds: to get the lock back takes longer.
    """

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, cache=True, nogil=nogil)(function)
        except RuntimeError:
            pass  # Nowhere to keep the machine code: a read-only installation without a home.
        except (OSError, EOFError, UnpicklingError) as error:  # a full disk, or empty files after a power failure
            reason = str(error) or type(error).__name__
            logger.warning("every process compiles anew, until numba's cache is emptied or has room: %s", reason)
        return numba.njit(signature, nogil=nogil)(function)

    return compile_it


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a part of a compiled function, which is compiled with it."""
    return numba.njit(nogil=True)(function)


def borrowed(array: Any) -> Any:
    """Give an argument of a compiled function on to its parts as an array whose references are not counted.

    Machine code counts references again and again in a loop over elements, each time in an operation that takes longer
    than the rest. The caller has the array all the while; one that is made within must not be borrowed.
    """
    return array


@overload(borrowed)  # type: ignore[untyped-decorator]
def _compile_borrowed(array: Any) -> Any:  # noqa: ARG001, numba goes by its name
    def compiled_borrowed(array: Any) -> Any:
        return _uncounted(array)

    return compiled_borrowed


@intrinsic  # type: ignore[untyped-decorator]
def _uncounted(_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        copied = context.make_array(array)(context, builder, value=arguments[0])
        copied.meminfo = cgutils.get_null_value(copied.meminfo.type)
        return copied._getvalue()

    return array(array), generate
