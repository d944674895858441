"""What the readers of all formats collect: requests, and what was no request with its reason."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from slaplanner.core.arrays import Floats

MAX_TOKENS = 10**9


class NotARequestError(Exception):
    """A line is no request; the message is the reason, in words that fit behind a count."""


class LeftOutError(NotARequestError):
    """A line is something else that the format has, as it should be: a failed request, a tool's event."""


class Rows:
    """Requests in the order of the file; times as they stand there."""

    def __init__(self) -> None:
        self._blocks: list[Floats] = []
        self._single: list[tuple[float, float, float]] = []
        self.dropped: Counter[str] = Counter()
        """Lines that should be requests and are none, by reason."""
        self.left_out: Counter[str] = Counter()
        """Lines of other kinds that the format has, by kind."""
        self.delayed: list[tuple[int, int, float]] = []
        """Requests without a time of their own: the row, the row that it follows, and after how many ms."""
        self.iso: bool | None = None
        """Whether times were ISO 8601, and are seconds since 1970."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, time: float, isl: float, osl: float) -> None:
        self._single.append((time, isl, osl))
        self._count += 1

    def add_delayed(self, after: int, delay_ms: float, isl: float, osl: float) -> None:
        """A request that comes so much later than that of row *after*."""
        self.delayed.append((len(self), after, delay_ms))
        self.add(math.nan, isl, osl)

    def add_block(self, rows: Floats) -> None:
        """Rows of (time, ISL, OSL); shape (requests, 3)."""
        self._flush()
        self._blocks.append(rows)
        self._count += len(rows)

    def refuse(self, error: NotARequestError) -> None:
        (self.left_out if isinstance(error, LeftOutError) else self.dropped)[str(error)] += 1

    def table(self) -> Floats:
        """All of them; shape (requests, 3)."""
        self._flush()
        return np.concatenate(self._blocks) if self._blocks else np.empty((0, 3))

    def _flush(self) -> None:
        if self._single:
            self._blocks.append(np.array(self._single, dtype=np.float64))
            self._single = []


def number(value: object, what: str) -> float:
    """A finite number from 0 on.

    Raises:
        NotARequestError: it is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise NotARequestError(f"no {what}" if value is None else f"{what} is no number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not 0.0 <= result < math.inf:
        raise NotARequestError(f"{what} is no finite number from 0 on")
    return result


def written_number(text: str, what: str) -> float:
    """The same of a text.

    Raises:
        NotARequestError: it is none.
    """
    try:
        return number(float(text), what)
    except ValueError as error:
        raise NotARequestError(f"{what} is no number") from error


def tokens(value: float, what: str) -> float:
    """A whole number of tokens, at least 1.

    Raises:
        NotARequestError: it is none.
    """
    if not (1.0 <= value <= MAX_TOKENS and value.is_integer()):
        raise NotARequestError(f"{what} is no whole number from 1 on")
    return value
