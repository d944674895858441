"""An etcd that somebody else plays: every answer is read within bounds, or a ChannelError."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.settings import BasicAuth, EtcdConnection
from slaplanner.virtual.channel import ChannelError
from slaplanner.virtual.etcd_gateway import EtcdGateway
from slaplanner.virtual.etcd_json import document_of, entries_of


@asynccontextmanager
async def playing(answer: web.Response | None = None, heard: list[str] | None = None) -> AsyncIterator[str]:
    """A server that answers everything alike; its url."""

    async def handle(request: web.Request) -> web.Response:
        if heard is not None:
            heard.append(f"{request.path} {await request.text()}")
        return (
            web.Response(body=answer.body, status=answer.status, headers=answer.headers)
            if answer
            else web.Response()
        )

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield str(site.name)
    finally:
        await runner.cleanup()


def pair(**fields: object) -> bytes:
    key = base64.b64encode(b"k").decode()
    kvs = [{"key": key, "value": base64.b64encode(b"5").decode(), **fields}]
    return json.dumps({"responses": [{"response_range": {"kvs": kvs}}]}).encode()


ODD_ANSWERS = [
    pytest.param(b'{"a":' + b"[" * 5_000, id="E3-brackets"),
    pytest.param(b"[]," * 1_000_000, id="many-parts"),
    pytest.param(b'{"a": [' + b"{}," * 100_000 + b"{}]}", id="many-objects"),
    pytest.param(b'{"responses": ' + b"9" * 5_000 + b"}", id="a-number-of-thousands-of-digits"),
    pytest.param(b"\xff\xfe\x00", id="no-text"),
    pytest.param(b"null", id="null"),
    pytest.param(b"", id="nothing"),
]


@pytest.mark.parametrize("body", ODD_ANSWERS)
async def test_an_answer_that_is_none_is_a_fault_of_the_channel(body: bytes) -> None:
    async with (
        playing(web.Response(body=body)) as url,
        EtcdGateway(EtcdConnection(endpoints=(url,))) as etcd,
    ):
        with pytest.raises(ChannelError):
            await etcd.get(["k"])


@pytest.mark.parametrize(
    "revision",
    ["9" * 5_000, "-1", "1.5", "٣" * 30, 2**70, -5, None, True, [1]],
    ids=lambda value: str(value)[:8],
)
async def test_a_revision_that_is_none_reads_as_that_of_an_absent_key(revision: object) -> None:
    """E1: a revision of 5,000 digits was a ValueError out of `get`."""
    async with (
        playing(web.Response(body=pair(mod_revision=revision))) as url,
        EtcdGateway(EtcdConnection(endpoints=(url,))) as etcd,
    ):
        assert (await etcd.get(["k"]))["k"].mod_revision == 0


async def test_a_redirect_carries_no_password_anywhere(tmp_path: Path) -> None:
    """S9: a 307 of the login sent name and password to any place, and its answer came back."""
    (tmp_path / "name").write_text("root")
    (tmp_path / "password").write_text("secret")
    login = BasicAuth(username_file=tmp_path / "name", password_file=tmp_path / "password")
    heard: list[str] = []
    async with playing(heard=heard) as internal:
        for status in (301, 302, 303, 307, 308):
            answer = web.Response(status=status, headers={"Location": f"{internal}/internal-admin"})
            async with playing(answer) as url:
                for connection in (
                    EtcdConnection(endpoints=(url,), basic_auth=login),
                    EtcdConnection(endpoints=(url,)),
                ):
                    async with EtcdGateway(connection) as etcd:
                        with pytest.raises(ChannelError):
                            await etcd.get(["k"])
    assert heard == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["responses", "response_range", "kvs", "key", "value", "mod_revision", "create_revision"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_entries_or_refused(answer: object) -> None:
    try:
        document = document_of(json.dumps(answer).encode())
    except ValueError:
        return
    for entry in entries_of(document).values():
        assert 0 <= entry.mod_revision < 2**63


@given(st.binary())
def test_any_bytes_are_a_document_or_refused(content: bytes) -> None:
    try:
        entries_of(document_of(content))
    except ValueError:
        return
