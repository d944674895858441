"""A progress bar on standard error; silent where nobody watches."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


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
