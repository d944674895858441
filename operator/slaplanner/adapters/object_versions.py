"""The changes of single objects, as their resourceVersions; the API server sends metadata only.

A list tells whether the object is there, a watch from there on tells of its changes, both with a
field selector on the name. Asked for as PartialObjectMetadata, a ConfigMap of a megabyte costs a
few hundred bytes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.aio.client import ApiClient

LARGEST_LINE_BYTES = 2_000_000
"""Metadata of one object: annotations alone may take 256 KiB, encoded twice that."""

WATCH_TIMEOUT_S = 240
"""The server ends a watch after this long, so that a connection that died unnoticed is replaced."""

_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One object by its place in the API."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Path of the collection that the object is in."""
        root = f"/apis/{self.group}" if self.group else "/api"
        return f"{root}/{self.version}/namespaces/{self.namespace}/{self.plural}"


class WatchFailedError(Exception):
    """The API server ended a watch, or sent what is none; watching starts afresh."""


class ObjectVersions:
    """Follows objects through an asynchronous client."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def changes(self, watched: Watched) -> AsyncIterator[str]:
        """The object's versions, the current one first; "" while it is absent.

        Ends when the server ends the watch.

        Raises:
            WatchFailedError: the server refused, or sent what cannot be read.
            OSError, aiohttp.ClientError: there is no connection.
        """
        listed = await self._get(watched, accept=_LIST, watch_from=None)
        yield next(
            (item["metadata"]["resourceVersion"] for item in listed.get("items") or ()),
            "",
        )
        start = listed["metadata"]["resourceVersion"]
        async for event in self._events(watched, start):
            if event.get("type") == "ERROR":
                raise WatchFailedError(str(event.get("object", {}).get("message", "")))
            yield "" if event.get("type") == "DELETED" else event["object"]["metadata"]["resourceVersion"]

    async def _get(self, watched: Watched, *, accept: str, watch_from: str | None) -> dict[str, Any]:
        response = await self._request(watched, accept=accept, watch_from=watch_from)
        body = await response.read()
        if response.status != 200:
            raise WatchFailedError(f"{watched.path}: status {response.status}")
        document: dict[str, Any] = json.loads(body)
        return document

    async def _events(self, watched: Watched, start: str) -> AsyncIterator[Mapping[str, Any]]:
        response = await self._request(watched, accept=_WATCH, watch_from=start)
        try:
            if response.status != 200:
                raise WatchFailedError(f"{watched.path}: status {response.status}")
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)
                if len(rest) > LARGEST_LINE_BYTES:
                    raise WatchFailedError(f"{watched.path}: a line of more than {LARGEST_LINE_BYTES} bytes")
        finally:
            response.close()

    async def _request(self, watched: Watched, *, accept: str, watch_from: str | None) -> Any:
        query = [("fieldSelector", f"metadata.name={watched.name}")]
        if watch_from is not None:
            query += [
                ("watch", "true"),
                ("resourceVersion", watch_from),
                ("timeoutSeconds", str(WATCH_TIMEOUT_S)),
            ]
        request = await self._api.param_serialize(
            method="GET",
            resource_path=watched.path,
            query_params=query,
            header_params={"Accept": accept},
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(
            *request, _preload_content=False, _request_timeout=WATCH_TIMEOUT_S + 30 if watch_from else 4
        )
        return answer.response
