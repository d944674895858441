"""Where tables go: as wide as the terminal, or wide enough where nobody looks at one."""

from __future__ import annotations

from rich.console import Console

WIDTH_WHEN_PIPED = 140
"""Rich would fold to 80 columns, and a script or a log has no edge."""


def console_for_tables(console: Console | None = None) -> Console:
    """*console*, else standard output; where that is no terminal, of a width that folds nothing."""
    out = console or Console()
    return out if out.is_terminal else Console(width=WIDTH_WHEN_PIPED, file=out.file)
