"""What goes to a terminal: the width of tables on standard output, and a progress bar on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDTH_WHEN_PIPED = 140
"""Rich would fold to 80 columns, and a script or a log has no edge."""


def compact_table(title: str, *, caption: str | None = None) -> Table:
    """A table without frames, so that most fit a terminal of 80 columns."""
    return Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def console_for_tables(console: Console | None = None) -> Console:
    """*console*, else standard output; where that is no terminal, of a width that folds nothing."""
    out = console or Console()
    return out if out.is_terminal else Console(width=WIDTH_WHEN_PIPED, file=out.file)


class Bar:
    """Shows how far a long computation is.

    Args:
        words: what is being done.
        total: how many `step`s make the whole; 1 for shares by `to`.
    """

    def __init__(self, words: str, *, total: float = 1.0) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(words, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def to(self, share: float) -> None:
        """So much of the whole is done."""
        self._progress.update(self._task, completed=share)

    def step(self) -> None:
        """One more part is done."""
        self._progress.advance(self._task)
