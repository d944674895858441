"""Compile the kernels when numba is there; run the same code as plain Python when it is not.

The extra `simulate` brings numba. Both ways compute the same numbers, one of them a hundred times
slower, so nothing else in the package needs to know which one runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

numba: Any
try:
    import numba
except ModuleNotFoundError:  # pragma: no cover - the other half runs where numba is absent
    numba = None

P = ParamSpec("P")
R = TypeVar("R")

COMPILED = numba is not None
"""Whether the kernels are machine code here."""


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile *function* at its first call and keep the machine code for the next process.

    Where no directory for the machine code can be written (a read-only image), every process
    compiles anew.
    """
    if numba is None:
        return function
    # `_nrt` has no public name, yet numba's own sorts are compiled with it. Without it every access to a
    # field of a record counts references, though nothing is allocated here: ten times the time (3.1 s
    # instead of 0.3 s for six hours of 480,000 requests). A numba that dropped it would say so here.
    options = {"_nrt": False, "error_model": "numpy"}
    try:
        return cast("Callable[P, R]", numba.njit(cache=True, **options)(function))
    except RuntimeError:
        return cast("Callable[P, R]", numba.njit(**options)(function))
