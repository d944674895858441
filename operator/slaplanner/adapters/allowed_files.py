"""Files below the directories that the administrator allows, symbolic links followed first.

Users name these paths in their policies, so nothing else of the operator's file system may be
reached through them, and nothing that blocks or never ends is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path


class FileRefusedError(Exception):
    """A path that may not be read, or cannot be."""

    def __init__(self, message: str, *, outside: bool = False, no_file: bool = False) -> None:
        super().__init__(message)
        self.outside = outside
        """It lies below none of the allowed directories."""
        self.no_file = no_file
        """Something is there that is no file."""


def resolved(path: Path, roots: Sequence[Path] | None, *, shown: str) -> Path:
    """*path* with all symbolic links followed.

    Args:
        path: what a user named.
        roots: allowed directories, already resolved; None allows all.
        shown: how messages call the path.

    Raises:
        FileRefusedError: it lies below none of *roots*, or its links go round.
    """
    try:
        found = path.resolve()
    except (OSError, RuntimeError, ValueError) as exc:
        raise FileRefusedError(f"{shown}: cannot be resolved: {exc}") from exc
    if roots is not None and not any(found.is_relative_to(root) for root in roots):
        permitted = ", ".join(str(root) for root in roots) or "none"
        raise FileRefusedError(
            f"{shown}: lies at {found}, wanted a path below an allowed profile directory ({permitted})",
            outside=True,
        )
    return found


def read_bytes(path: Path, *, most: int, shown: str) -> bytes | None:
    """The first *most* + 1 bytes of a resolved path; None when nothing is there.

    Raises:
        FileRefusedError: it is no file, or cannot be read.
    """
    try:
        # A FIFO or a device of that name must not block or feed the reader without end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise FileRefusedError(f"{shown}: cannot be read: {exc.strerror or exc}") from exc
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileRefusedError(f"{shown}: found something other than a file, wanted a file", no_file=True)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)
