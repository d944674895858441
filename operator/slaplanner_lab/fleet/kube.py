"""A small asynchronous client of the Kubernetes API: what a controller of two kinds needs, no more.

The kubeconfig is read by the `kubernetes` package; requests go over aiohttp, whose watches are
cancelled with their task (the synchronous client's would hold a thread each).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import aiohttp
from kubernetes import client, config

from slaplanner.adapters.tls_closing import tls_closed
from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.names import Json

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
RETRY_S = 1.0
WATCH_S = 300
"""How long the server keeps a watch open before the client lists anew."""

Patch = Literal["application/merge-patch+json", "application/json-patch+json"]
MERGE: Patch = "application/merge-patch+json"
JSON_PATCH: Patch = "application/json-patch+json"


class ApiError(Exception):
    """The API server refused, with its code and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API server is and who calls."""

    server: str
    tls: ssl.SSLContext | Literal[True]
    headers: Mapping[str, str]
    context: str
    """The kubeconfig's context, for messages."""

    @property
    def host(self) -> str:
        return urlsplit(self.server).hostname or ""


def load_access(kubeconfig: str | None, context: str | None) -> Access:
    """Read a kubeconfig (None: kubectl's rules, `KUBECONFIG` and then the home directory).

    Raises:
        kubernetes.config.ConfigException: there is none, or it lacks the context.
    """
    found = client.Configuration()
    config.load_kube_config(config_file=kubeconfig, context=context, client_configuration=found)
    tls = ssl.create_default_context(cafile=found.ssl_ca_cert)
    if not found.verify_ssl:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if found.cert_file:
        tls.load_cert_chain(found.cert_file, found.key_file)
    headers = {}
    if token := found.get_api_key_with_prefix("BearerToken", alias="authorization"):
        headers["Authorization"] = token
    elif found.username:
        pair = base64.b64encode(f"{found.username}:{found.password}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    _, current = config.list_kube_config_contexts(config_file=kubeconfig)
    return Access(server=found.host, tls=tls, headers=headers, context=context or current["name"])


class Kube:
    """An open connection; use it as an asynchronous context manager."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._headers = dict(access.headers)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            base_url=self._access.server,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            connector=aiohttp.TCPConnector(ssl=self._access.tls),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()
            await tls_closed()

    async def become(self, user: str) -> None:
        """Call as *user* from now on, unless the kubeconfig's user is that one already."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        if answer["status"]["userInfo"]["username"] != user and self._session is not None:
            self._session.headers["Impersonate-User"] = user

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        **query: str,
    ) -> Json:
        """One call; *query* are its parameters.

        Raises:
            ApiError: the server answered with an error.
            aiohttp.ClientError, TimeoutError: it did not answer.
        """
        assert self._session is not None, "used outside its context"
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        async with self._session.request(method, path, data=data, params=query, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ApiError(answer.status, _message(text))
            parsed: Json = json.loads(text)
            return parsed

    async def served_versions(self) -> tuple[str, ...]:
        """Versions of Dynamo's group that serve the graphs; none when its definition is not there."""
        try:
            group = await self.request("GET", f"/apis/{names.GROUP}")
        except ApiError as error:
            if error.status == 404:
                return ()
            raise
        served = []
        for version in group.get("versions", []):
            listed = await self.request("GET", f"/apis/{version['groupVersion']}")
            if any(resource["name"] == names.GRAPHS for resource in listed["resources"]):
                served.append(str(version["version"]))
        return tuple(served)

    async def patch(self, path: str, body: Any, content_type: Patch = MERGE) -> Json:
        """Patch under the fleet's field manager."""
        manager = names.FIELD_MANAGER
        return await self.request("PATCH", path, body, content_type=content_type, fieldManager=manager)

    async def watch(self, path: str, resource_version: str, **query: str) -> AsyncIterator[Json]:
        """Events from *resource_version* on, until the server closes the watch.

        Raises:
            ApiError: 410 when that version is too old (list anew), or another refusal.
        """
        assert self._session is not None, "used outside its context"
        params = {
            **query,
            "watch": "1",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_S),
            "allowWatchBookmarks": "true",
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_read=WATCH_S + REQUEST_TIMEOUT_S)
        async with self._session.get(path, params=params, timeout=timeout, read_bufsize=1 << 22) as answer:
            if answer.status >= 400:
                raise ApiError(answer.status, _message(await answer.text()))
            async for line in answer.content:
                event: Json = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(int(event["object"].get("code", 500)), event["object"].get("message", ""))
                yield event


async def follow(kube: Kube, path: str, changes: asyncio.Queue[Json], query: Mapping[str, str]) -> None:
    """Put every state of a collection into *changes*, for ever: a `SYNC` of all objects, then events.

    Outages are waited out: after each the collection is listed anew.
    """
    told = ""
    while True:
        try:
            listed = await kube.request("GET", path, **query)
            await changes.put({"type": "SYNC", "items": listed["items"]})
            told = ""
            version = listed["metadata"]["resourceVersion"]
            async for event in kube.watch(path, version, **query):
                if event["type"] != "BOOKMARK":
                    await changes.put(event)
        except (ApiError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            if str(error) != told:
                told = str(error)
                logger.warning("%s: cannot be watched: %s", path, told)
            await asyncio.sleep(RETRY_S)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500]
