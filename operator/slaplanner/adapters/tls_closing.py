"""Waits until TLS connections are closed.

Aiohttp closes a TLS transport a little after its session, and does not wait for connections that it gave up before, such
as an interrupted watch. If the event loop ends in the meantime, sockets stay open.
"""

from __future__ import annotations

import asyncio

TLS_CLOSE_S = 0.25
"""What aiohttp's documentation asks for."""


async def tls_closed() -> None:
    """Wait until what was closed just now is closed; for after the session."""
    await asyncio.sleep(TLS_CLOSE_S)
