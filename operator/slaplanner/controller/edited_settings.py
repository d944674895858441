"""Noticing that the administrator edited the settings, so that an edit of the ConfigMap acts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from slaplanner.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
"""Seconds between two looks. The kubelet itself takes up to a minute to update a mounted ConfigMap."""


async def edited(current: Settings, load: Callable[[], Settings], *, every_s: float = LOOK_EVERY_S) -> None:
    """Return when *load* gives other settings than *current*.

    Settings that cannot be read are logged once per message, and the operator keeps those that it has:
    a slip of the editor must not stop a running operator.
    """
    refused = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            loaded = await asyncio.to_thread(load)
        except SettingsError as error:
            if str(error) != refused:
                refused = str(error)
                logger.exception("edited settings are refused, those from the start stay in force")
            continue
        refused = ""
        if loaded != current:
            logger.info("settings were edited, the operator restarts with them")
            return
