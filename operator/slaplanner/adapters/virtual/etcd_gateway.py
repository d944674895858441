"""etcd over its own JSON gateway, which every member serves on its client port.

Four requests are all that is needed (range, txn, watch, authenticate), so this stands on aiohttp,
which the operator has anyway: of the clients on PyPI, etcd3gw is synchronous, aetcd has no TLS, and
both know one endpoint and one password for the whole life of a process.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from slaplanner.adapters.virtual.channel import ChannelError
from slaplanner.core.reasons import Reason
from slaplanner.settings import EtcdConnection

REQUEST_TIMEOUT_S = 4.0
"""Of one request, all endpoints together: below the 5 s that remain after SIGTERM."""

LARGEST_ANSWER_BYTES = 1_000_000
"""etcd itself takes values of up to 1.5 MB; ours have ten digits."""

_UNAUTHENTICATED = 16
_REFUSALS = frozenset({3, 7, 9, _UNAUTHENTICATED})
"""gRPC codes by which etcd says no for good: INVALID_ARGUMENT (a wrong password, too), PERMISSION_DENIED,
FAILED_PRECONDITION, UNAUTHENTICATED. The others mean that a member cannot answer now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key as it stands."""

    value: bytes
    create_revision: int


class EtcdGateway:
    """One connection's etcd. Asynchronous context manager; of one event loop."""

    def __init__(self, connection: EtcdConnection, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._token: str | None = None
        self._first = 0

    async def __aenter__(self) -> Self:
        try:
            context = _tls(self._connection)
        except (OSError, ssl.SSLError) as error:
            raise ChannelError(f"etcd: its certificates cannot be read: {error}") from error
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def range(self, prefix: str) -> dict[str, Entry]:
        """All keys below *prefix*, read through the quorum.

        Raises:
            ChannelError: etcd does not answer, or refuses.
        """
        answer = await self._call("kv/range", {"key": _encoded(prefix), "range_end": _range_end(prefix)})
        entries = {}
        for pair in _items(answer.get("kvs")):
            key = _decoded(pair.get("key")).decode("utf-8", errors="replace")
            entries[key] = Entry(
                value=_decoded(pair.get("value")), create_revision=_number(pair.get("create_revision"))
            )
        return entries

    async def put_if(self, values: Mapping[str, str], *, unchanged: Mapping[str, Entry | None]) -> bool:
        """Put all *values* in one transaction, if all keys of *unchanged* still are as given.

        None stands for a key that must be absent.

        Raises:
            ChannelError: etcd does not answer (the transaction may have happened), or refuses.
        """
        body = {
            "compare": [_comparison(key, entry) for key, entry in unchanged.items()],
            "success": [
                {"request_put": {"key": _encoded(key), "value": _encoded(value)}}
                for key, value in values.items()
            ],
        }
        answer = await self._call("kv/txn", body)
        return answer.get("succeeded") is True

    async def changes(self, prefix: str) -> AsyncIterator[None]:
        """One item once the watch of *prefix* stands, and one for every change after.

        Ends when etcd ends the watch.

        Raises:
            ChannelError: there is no connection, or etcd refuses.
        """
        body = {"create_request": {"key": _encoded(prefix), "range_end": _range_end(prefix)}}
        endpoint = self._connection.endpoints[self._first]
        try:
            # No total time-out: a watch lasts until something ends it. A dead peer is found by the
            # caller, who reads from time to time anyway.
            async with self._post(
                endpoint, "watch", body, await self._authorization(), timeout_s=None
            ) as response:
                if response.status != 200:
                    _raise_refusal(response.status, await response.read(), endpoint)
                async with aclosing(_lines(response)) as lines:
                    async for line in lines:
                        result = _document(line).get("result")
                        if not isinstance(result, dict) or result.get("canceled"):
                            return
                        yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
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
                        return _document(content)
                    _raise_refusal(response.status, content, endpoint)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, _MemberError) as error:
                troubles.append(f"{endpoint}: {_words(error)}")
                self._rotate()
        raise ChannelError(f"etcd does not answer ({'; '.join(troubles)})")

    def _post(
        self, endpoint: str, path: str, body: Mapping[str, Any], token: str | None, *, timeout_s: float | None
    ) -> Any:
        if self._session is None:
            raise RuntimeError("an EtcdGateway is used inside `async with`")
        return self._session.post(
            f"{endpoint.rstrip('/')}/v3/{path}",
            data=json.dumps(body),
            headers={"Authorization": token} if token else {},
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
        document = _document(content)
    except ValueError:
        document = {}
    code = document.get("code")
    message = str(document.get("message") or document.get("error") or f"status {status}")[:500]
    if code == _UNAUTHENTICATED:
        raise _TokenExpiredError(f"etcd at {endpoint} refuses: {message}")
    if code in _REFUSALS or status in {401, 403}:
        raise ChannelError(f"etcd at {endpoint} refuses: {message}", reason=Reason.ETCD_REFUSED)
    raise _MemberError(message)


def _tls(connection: EtcdConnection) -> ssl.SSLContext | bool:
    if not any(endpoint.startswith("https://") for endpoint in connection.endpoints):
        return True
    context = ssl.create_default_context(cafile=str(connection.ca_file) if connection.ca_file else None)
    certificate = connection.client_certificate
    if certificate is not None:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def _comparison(key: str, entry: Entry | None) -> dict[str, Any]:
    if entry is None:
        return {"key": _encoded(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
    value = base64.b64encode(entry.value).decode()
    return {"key": _encoded(key), "target": "VALUE", "result": "EQUAL", "value": value}


def _range_end(prefix: str) -> str:
    raw = prefix.encode()
    return base64.b64encode(raw[:-1] + bytes([raw[-1] + 1])).decode()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(value: object) -> bytes:
    """The bytes; an empty value is left out of etcd's JSON."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except binascii.Error:
        return b""


def _number(value: object) -> int:
    return int(value) if isinstance(value, str | int) and str(value).isdigit() else 0


def _items(value: object) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _document(content: bytes) -> Mapping[str, Any]:
    """The JSON object in *content*. Raises ValueError when there is none."""
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError(f"found {type(document).__name__}, wanted a JSON object")  # noqa: TRY004 - one family for what is no answer
    return document


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > LARGEST_ANSWER_BYTES:
            return


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
