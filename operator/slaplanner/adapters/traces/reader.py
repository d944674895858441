"""How a format is read: block by block of whole lines, into `Rows`."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.rows import NotARequestError, Rows
from slaplanner.adapters.traces.times import TimeUnit


class Reader(ABC):
    """Reads one file."""

    NAME: ClassVar[str]
    UNIT: ClassVar[TimeUnit]
    DOCUMENTED: ClassVar[bool] = True
    """The unit is part of the format; else it is looked at, and users may say another."""
    MOST_LINE_BYTES: ClassVar[int | None] = None
    """Where it is more than lines of requests have."""

    def __init__(self, name: str) -> None:
        self.file = name

    @abstractmethod
    def feed(self, block: bytes, rows: Rows) -> None:
        """Read a block of whole lines.

        Raises:
            TraceError: the file cannot be used.
        """

    def finish(self, rows: Rows) -> None:  # noqa: B027 - most have read everything by then
        """The file has ended.

        Raises:
            TraceError: the file cannot be used.
        """


class JsonLines(Reader):
    """A JSON object in each line."""

    def feed(self, block: bytes, rows: Rows) -> None:
        for line in block.splitlines():
            if not line.strip():
                continue
            try:
                self.entry(_object(line), rows)
            except NotARequestError as error:
                rows.refuse(error)

    @abstractmethod
    def entry(self, entry: Mapping[str, Any], rows: Rows) -> None:
        """Read a line.

        Raises:
            NotARequestError: it is no request.
        """


class Csv(Reader):
    """A header, and a request in each row."""

    COLUMNS: ClassVar[tuple[str, ...]]

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._places: list[int] | None = None
        self._delimiter = ","

    def feed(self, block: bytes, rows: Rows) -> None:
        text = block.decode("utf-8", errors="replace").splitlines()
        if self._places is None:
            at = next(at for at, line in enumerate(text) if line.strip())
            header, self._delimiter = columns_of(text[at])
            self._places = [header.index(column) for column in self.COLUMNS]
            text = text[at + 1 :]
        reader = csv.reader(text, delimiter=self._delimiter)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:
                rows.refuse(NotARequestError("not CSV"))
                continue
            if not row:
                continue
            try:
                self.row([row[place] for place in self._places], rows)
            except IndexError:
                rows.refuse(NotARequestError("too few columns"))
            except NotARequestError as error:
                rows.refuse(error)

    @abstractmethod
    def row(self, values: Sequence[str], rows: Rows) -> None:
        """Read a row; *values* as `COLUMNS`.

        Raises:
            NotARequestError: it is no request.
        """


def columns_of(line: str) -> tuple[list[str], str]:
    """The names in a header, and what stands between them.

    >>> columns_of('TIMESTAMP;ContextTokens;"GeneratedTokens"')
    (['TIMESTAMP', 'ContextTokens', 'GeneratedTokens'], ';')
    """
    delimiter = max(",;\t", key=line.count)
    try:
        names = next(csv.reader([line.removeprefix("\ufeff")], delimiter=delimiter), [])
    except csv.Error:
        names = []
    return [name.strip() for name in names], delimiter


def parsed_document(text: bytes, *, name: str) -> Any:
    """A whole file as JSON.

    Raises:
        TraceError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{name}: found JSON that ends early or is broken ({error})") from error


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotARequestError("not JSON") from error
    if not isinstance(entry, dict):
        raise NotARequestError("no JSON object")
    return entry
