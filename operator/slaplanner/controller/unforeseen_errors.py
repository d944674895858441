"""Logging what nobody foresaw, once: a defect that every plan meets must not fill the log."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

MOST_REMEMBERED = 1000
"""Kinds of defects, by policy; beyond this they are told again."""


@dataclass(slots=True)
class DefectLog:
    """Tells the traceback of each kind of defect once per policy."""

    _told: set[tuple[str, str, str]] = field(default_factory=set)

    def tell(self, error: BaseException, *, policy: str, doing: str) -> None:
        """Log *error*, which happened to *policy* while it was *doing* something.

        Two errors are of one kind when their type and the line that raised them are the same.
        """
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        kind = (policy, type(error).__name__, place)
        if kind in self._told:
            return
        if len(self._told) >= MOST_REMEMBERED:
            self._told.clear()
        self._told.add(kind)
        logger.error("defect, told once", exc_info=error, extra={"policy": policy, "doing": doing})
