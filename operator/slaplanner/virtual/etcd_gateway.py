"""etcd over its own JSON gateway, which every member serves on its client port.

Four requests are all that is needed (range, txn, watch, authenticate), so this stands on aiohttp,
which the operator has anyway: of the clients on PyPI, etcd3gw is synchronous, aetcd has no TLS, and
both know one endpoint and one password for the whole life of a process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import aiohttp

from slaplanner.adapters.tls_closing import tls_closed
from slaplanner.core.reasons import Reason
from slaplanner.settings import EtcdConnection
from slaplanner.virtual.channel import ChannelError
from slaplanner.virtual.etcd_json import (
    KeyValue,
    document_of,
    encoded,
    entries_of,
    range_end,
    unwritten,
)
from slaplanner.virtual.etcd_tls import EtcdTls

REQUEST_TIMEOUT_S = 4.0
"""Of one request, all endpoints together: below the 5 s that remain after SIGTERM."""

WATCH_LASTS_S = 240.0
"""Then a watch is begun anew, so that a connection that died unnoticed is replaced."""

LARGEST_ANSWER_BYTES = 10_000_000
"""Ours has four values of ten digits. etcd takes values of up to 1.5 MiB, so strangers can make it four of
those, in Base64; then it is still read, and told."""

_UNAUTHENTICATED = 16
_REFUSALS = frozenset({3, 7, 9, _UNAUTHENTICATED})
"""gRPC codes by which etcd says no for good: INVALID_ARGUMENT (a wrong password, too), PERMISSION_DENIED,
FAILED_PRECONDITION, UNAUTHENTICATED. The others mean that a member cannot answer now."""


class EtcdGateway:
    """One connection's etcd. Asynchronous context manager; of one event loop."""

    def __init__(
        self,
        connection: EtcdConnection,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        watch_lasts_s: float = WATCH_LASTS_S,
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._watch_lasts_s = watch_lasts_s
        self._session: aiohttp.ClientSession | None = None
        self._tls = EtcdTls(connection)
        self._token: str | None = None
        self._first = 0

    async def __aenter__(self) -> Self:
        self._tls.context()
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            if self._tls.spoken:
                await tls_closed()

    async def get(self, keys: Sequence[str]) -> dict[str, KeyValue]:
        """Those of *keys* that are there, all as of one revision, read through the quorum.

        Raises:
            ChannelError: etcd does not answer, or refuses.
        """
        reads = [{"request_range": {"key": encoded(key)}} for key in keys]
        answer = await self._call("kv/txn", {"success": reads})
        return entries_of(answer)

    async def put_if(self, values: Mapping[str, str], *, unchanged: Mapping[str, KeyValue | None]) -> bool:
        """Put all *values* in one transaction, if nobody has written any key of *unchanged* since it was read.

        None stands for a key that must be absent. A connection that dies is tried again, so False can
        also mean that the first try was carried out and nobody heard of it.

        Raises:
            ChannelError: etcd does not answer (the transaction may have happened), or refuses.
        """
        body = {
            "compare": [unwritten(key, entry) for key, entry in unchanged.items()],
            "success": [
                {"request_put": {"key": encoded(key), "value": encoded(value)}}
                for key, value in values.items()
            ],
        }
        answer = await self._call("kv/txn", body)
        return answer.get("succeeded") is True

    async def changes(self, prefix: str) -> AsyncIterator[None]:
        """One item once the watch of *prefix* stands, and one for every change after.

        Ends when etcd ends the watch, and when it has lasted for long.

        Raises:
            ChannelError: there is no connection, or etcd refuses.
        """
        body = {"create_request": {"key": encoded(prefix), "range_end": range_end(prefix)}}
        endpoint = self._connection.endpoints[self._first]
        try:
            async with self._post(
                endpoint, "watch", body, await self._authorization(), timeout_s=self._watch_lasts_s
            ) as response:
                if response.status != 200:
                    _raise_refusal(response.status, await response.read(), endpoint)
                async with aclosing(_lines(response)) as lines:
                    async for line in lines:
                        result = document_of(line).get("result")
                        if not isinstance(result, dict) or result.get("canceled"):
                            return
                        yield
        except _TokenExpiredError as error:
            self._token = None
            raise ChannelError(str(error), reason=Reason.ETCD_REFUSED) from error
        except TimeoutError:
            self._rotate()
        except (aiohttp.ClientError, OSError, ValueError, _MemberError) as error:
            self._rotate()
            raise ChannelError(f"etcd at {endpoint} does not answer: {_words(error)}") from error

    async def _call(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask, and once more with a fresh token when the old one has expired."""
        try:
            return await self._ask(path, body, await self._authorization())
        except _TokenExpiredError:
            self._token = None
        try:
            return await self._ask(path, body, await self._authorization())
        except _TokenExpiredError as error:
            raise ChannelError(str(error), reason=Reason.ETCD_REFUSED) from error

    async def _authorization(self) -> str | None:
        """The token of the connection's user; the files are read anew for every login."""
        login = self._connection.basic_auth
        if login is None or self._token is not None:
            return self._token
        try:
            name = await asyncio.to_thread(login.username_file.read_text)
            password = await asyncio.to_thread(login.password_file.read_text)
        except (OSError, UnicodeDecodeError) as error:
            raise ChannelError(f"etcd: its credentials cannot be read: {error}") from error
        try:
            answer = await self._ask(
                "auth/authenticate", {"name": name.strip(), "password": password.strip()}, None
            )
        except _TokenExpiredError as error:
            raise ChannelError(str(error), reason=Reason.ETCD_REFUSED) from error
        self._token = str(answer.get("token") or "")
        return self._token

    async def _ask(self, path: str, body: Mapping[str, Any], token: str | None) -> Mapping[str, Any]:
        """Ask the endpoints in turn, beginning with the one that answered last.

        That one is asked again in the end: its connection may have died unnoticed, and nothing that is
        asked does harm when it is asked twice (transactions are guarded by what was read).
        """
        endpoints = self._connection.endpoints
        attempts = len(endpoints) + 1
        troubles: list[str] = []
        for _ in range(attempts):
            endpoint = endpoints[self._first]
            try:
                async with self._post(
                    endpoint, path, body, token, timeout_s=self._timeout_s / attempts
                ) as response:
                    content = await response.content.read(LARGEST_ANSWER_BYTES + 1)
                    if response.status == 200 and len(content) <= LARGEST_ANSWER_BYTES:
                        # A chunked answer may come in pieces; what is short is not JSON yet.
                        while not response.content.at_eof() and len(content) <= LARGEST_ANSWER_BYTES:
                            content += await response.content.read(LARGEST_ANSWER_BYTES)
                        return document_of(content)
                    _raise_refusal(response.status, content, endpoint)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, _MemberError) as error:
                troubles.append(f"{endpoint}: {_words(error)}")
                self._rotate()
        raise ChannelError(f"etcd does not answer ({'; '.join(dict.fromkeys(troubles))})")

    def _post(
        self, endpoint: str, path: str, body: Mapping[str, Any], token: str | None, *, timeout_s: float
    ) -> Any:
        if self._session is None:
            raise RuntimeError("an EtcdGateway is used inside `async with`")
        return self._session.post(
            f"{endpoint.rstrip('/')}/v3/{path}",
            data=json.dumps(body),
            ssl=self._tls.context(),
            headers={"Authorization": token} if token else {},
            # A redirect would carry the password and the token to whatever place it names.
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s, connect=self._timeout_s, sock_read=timeout_s),
        )

    def _rotate(self) -> None:
        self._first = (self._first + 1) % len(self._connection.endpoints)


class _TokenExpiredError(Exception):
    """etcd does not know the token (any more)."""


class _MemberError(Exception):
    """This member cannot answer now; another may."""


def _raise_refusal(status: int, content: bytes, endpoint: str) -> None:
    try:
        document = document_of(content)
    except ValueError:
        document = {}
    code = document.get("code")
    message = str(document.get("message") or document.get("error") or f"status {status}")[:500]
    if code == _UNAUTHENTICATED:
        raise _TokenExpiredError(f"etcd at {endpoint} refuses: {message}")
    if code in _REFUSALS or status in {401, 403}:
        raise ChannelError(f"etcd at {endpoint} refuses: {message}", reason=Reason.ETCD_REFUSED)
    raise _MemberError(message)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > LARGEST_ANSWER_BYTES:
            return
