"""The end of connections with TLS.

Aiohttp closes the transport of one a little after its session, and does not wait for those that it had
given up before, as a watch does that is left in the middle. A loop that ends meanwhile leaves sockets open.
"""

from __future__ import annotations

import asyncio

TLS_CLOSE_S = 0.25
"""What aiohttp's documentation asks for."""


async def tls_closed() -> None:
    """Wait until what was closed just now is closed; for after the session."""
    await asyncio.sleep(TLS_CLOSE_S)
