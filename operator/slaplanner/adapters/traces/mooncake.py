"""Mooncake JSON lines, and what others made of them.

A line is `{"timestamp": ms, "input_length": tokens, "output_length": tokens}`; further keys do not matter
(github.com/kvcache-ai/Mooncake, FAST25-release/traces). Dynamo's replay also takes `created_time` for the
time, and sessions: later turns of a `session_id` have no time but `delay` or `delay_ms`, from the turn before
(docs.nvidia.com/dynamo, DynoSim CLI reference). The time may also be a text in ISO 8601.

Blocks of lines in the plain layout go through numpy, all others through the JSON parser, with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.reader import JsonLines
from slaplanner.adapters.traces.rows import NotARequestError, Rows, number, tokens
from slaplanner.adapters.traces.times import TimeUnit, unix_seconds
from slaplanner.core.arrays import Floats

_LAYOUT = re.compile(rb'\{"timestamp": ?, ?"input_length": ?, ?"output_length": ?\}\r?\n')
"""A line in the plain layout, without its digits."""
_MOST_DIGITS = np.array([15, 9, 9])
"""Of each number: 15 digits fit a double."""
_POWERS = 10.0 ** np.arange(_MOST_DIGITS.max() - 1, -1, -1)
"""Of each digit of the longest number, the first one first."""
_COMMA, _BRACE = np.frombuffer(b",}", dtype=np.uint8)
_ZERO = np.uint8(ord("0"))


class Mooncake(JsonLines):
    """A request in each line."""

    NAME = "mooncake JSON lines"
    UNIT = TimeUnit.MS
    DOCUMENTED = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._last_turns: dict[Hashable, int] = {}

    def feed(self, block: bytes, rows: Rows) -> None:
        table = _plain_rows(block)
        if table is None or rows.iso:
            super().feed(block, rows)
            return
        valid = (table[:, 1:] > 0).all(axis=1)
        bad = len(table) - int(np.count_nonzero(valid))
        if bad:
            for column, what in ((1, "input_length"), (2, "output_length")):
                wrong = (table[:, column] == 0) & ((column == 1) | (table[:, 1] > 0))
                rows.dropped[f"{what} is no whole number from 1 on"] += int(np.count_nonzero(wrong))
            table = table[valid]
        if len(table):
            rows.iso = False
            rows.add_block(table)

    def entry(self, entry: Mapping[str, Any], rows: Rows) -> None:
        isl = tokens(number(entry.get("input_length"), "input_length"), "input_length")
        osl = tokens(number(entry.get("output_length"), "output_length"), "output_length")
        time = entry.get("timestamp", entry.get("created_time"))
        session = entry.get("session_id")
        if not isinstance(session, str | int | None):
            raise NotARequestError("session_id is no text and no number")
        if time is None:
            self._follow(entry, session, isl, osl, rows)
        else:
            rows.add(self._time(time, rows), isl, osl)
        if session is not None:
            self._last_turns[session] = len(rows) - 1

    def _follow(
        self, entry: Mapping[str, Any], session: str | int | None, isl: float, osl: float, rows: Rows
    ) -> None:
        delay = entry.get("delay_ms", entry.get("delay"))
        if delay is None:
            raise NotARequestError("no timestamp")
        delay_ms = number(delay, "delay")
        if session not in self._last_turns:
            raise NotARequestError("a delay, and no earlier turn of its session")
        rows.add_delayed(self._last_turns[session], delay_ms, isl, osl)

    def _time(self, time: object, rows: Rows) -> float:
        is_text = isinstance(time, str)
        seconds = unix_seconds(time) if isinstance(time, str) else number(time, "timestamp")
        if seconds is None or seconds < 0.0:
            raise NotARequestError("timestamp is no number and no ISO time from 1970 on")
        if rows.iso is None:
            rows.iso = is_text
        if rows.iso is not is_text:
            raise TraceError(f"{self.file}: found ISO times and numbers for times, wanted one of the two")
        return seconds


class QwenBailian(Mooncake):
    """Traces of Alibaba's Bailian: the same with `chat_id`, and seconds from the trace's start.

    Source: github.com/alibaba-edu/qwen-bailian-usagetraces-anon.
    """

    NAME = "Qwen-Bailian JSON lines"
    UNIT = TimeUnit.S


def _plain_rows(block: bytes) -> Floats | None:
    """Rows of a block whose lines all have the same plain layout, shape (lines, 3); None for any other.

    Without its digits such a block is one line again and again, and each line has three runs of digits
    that end before a comma or the brace: so they stand where the numbers belong. Digit by digit, all lines
    at once: several times as fast as a pattern and numpy's own parser.
    """
    text = block.translate(None, b"0123456789")
    line = text[: text.find(b"\n") + 1]
    if not _LAYOUT.fullmatch(line) or text != line * (len(text) // len(line)):
        return None
    characters = np.frombuffer(block, dtype=np.uint8)
    digits = characters - _ZERO
    is_digit = digits < 10
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1]) + 1
    if edges.size != 6 * (len(text) // len(line)):
        return None
    # A row for each of the three numbers.
    first, end = np.ascontiguousarray(edges.reshape(-1, 3, 2).T)
    closing, lengths = characters.take(end), end - first
    places = lengths.max(axis=1)
    if not ((closing == _COMMA) | (closing == _BRACE)).all() or (places > _MOST_DIGITS).any():
        return None
    if ((digits.take(first) == 0) & (lengths > 1)).any():
        return None  # JSON knows no leading zeros
    # What stands before a shorter number then counts nothing; names are longer than numbers.
    digits *= is_digit
    return np.array([_numbers(digits, *column) for column in zip(end, places.tolist(), strict=True)]).T


def _numbers(digits: npt.NDArray[np.uint8], end: npt.NDArray[np.intp], places: int) -> Floats:
    """The numbers that stand before each *end*, of so many digits; exact, for 15 of them fit a double."""
    each = digits.take(end + np.arange(-places, 0)[:, None], mode="wrap").astype(np.float64)
    numbers: Floats = _POWERS[-places:] @ each
    return numbers
