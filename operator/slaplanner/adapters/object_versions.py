"""The changes of objects, as their resourceVersions; the API server sends metadata only.

A list tells which objects there are, a watch from there on tells of their changes: of one object, with
a field selector on its name, or of all objects of a kind in a namespace. Asked for as
PartialObjectMetadata, a ConfigMap of a megabyte costs a few hundred bytes.
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

LIST_TIMEOUT_S = 4.0

Query = list[tuple[str, str]]

_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


PAGE_OBJECTS = 500
"""A list comes in pages of so many, so that a namespace full of ConfigMaps is no one huge answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """All objects of a kind in a namespace."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    namespace: str

    @property
    def path(self) -> str:
        """Path in the API."""
        root = f"/apis/{self.group}" if self.group else "/api"
        return f"{root}/{self.version}/namespaces/{self.namespace}/{self.plural}"


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
    def collection(self) -> Collection:
        """The collection that the object is in."""
        return Collection(
            group=self.group, version=self.version, plural=self.plural, namespace=self.namespace
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """The versions of all objects of a collection, by name."""

    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VersionChange:
    """One object has another version now; "" when it was deleted."""

    name: str
    version: str


class WatchFailedError(Exception):
    """The API server ended a watch, or sent what is none; watching starts afresh."""


class ObjectVersions:
    """Follows objects through an asynchronous client."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def changes(self, watched: Watched) -> AsyncIterator[str]:
        """The object's versions, the current one first; "" while it is absent.

        Ends and raises as `all_changes` does.
        """
        async for change in self._changes(watched.collection, name=watched.name):
            if isinstance(change, Listed):
                yield change.versions.get(watched.name, "")
            else:
                yield change.version

    async def all_changes(self, collection: Collection) -> AsyncIterator[Listed | VersionChange]:
        """The versions of a collection's objects, then each change.

        Ends when the server ends the watch.

        Raises:
            WatchFailedError: the server refused, or sent what cannot be read.
            OSError, aiohttp.ClientError: there is no connection.
        """
        async for change in self._changes(collection, name=None):
            yield change

    async def _changes(
        self, collection: Collection, *, name: str | None
    ) -> AsyncIterator[Listed | VersionChange]:
        selector = [("fieldSelector", f"metadata.name={name}")] if name is not None else []
        listed, start = await self._list(collection, selector)
        yield listed
        async for event in self._events(collection, selector, start):
            if event.get("type") == "ERROR":
                raise WatchFailedError(str(event.get("object", {}).get("message", "")))
            metadata = event["object"]["metadata"]
            gone = event.get("type") == "DELETED"
            yield VersionChange(metadata["name"], "" if gone else metadata["resourceVersion"])

    async def _list(self, collection: Collection, selector: Query) -> tuple[Listed, str]:
        """All objects, page by page, and the version of the collection that they are of."""
        versions: dict[str, str] = {}
        page: Query = []
        while True:
            query = [*selector, ("limit", str(PAGE_OBJECTS)), *page]
            response = await self._request(collection, query, accept=_LIST, timeout_s=LIST_TIMEOUT_S)
            body = await response.read()
            if response.status != 200:
                raise WatchFailedError(f"{collection.path}: status {response.status}")
            document = json.loads(body)
            for item in document.get("items") or ():
                versions[item["metadata"]["name"]] = item["metadata"]["resourceVersion"]
            following = document["metadata"].get("continue")
            if not following:
                return Listed(versions), str(document["metadata"]["resourceVersion"])
            page = [("continue", following)]

    async def _events(
        self, collection: Collection, selector: Query, start: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        query = [
            *selector,
            ("watch", "true"),
            ("resourceVersion", start),
            ("timeoutSeconds", str(WATCH_TIMEOUT_S)),
        ]
        response = await self._request(collection, query, accept=_WATCH, timeout_s=WATCH_TIMEOUT_S + 30)
        try:
            if response.status != 200:
                raise WatchFailedError(f"{collection.path}: status {response.status}")
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)
                if len(rest) > LARGEST_LINE_BYTES:
                    raise WatchFailedError(
                        f"{collection.path}: a line of more than {LARGEST_LINE_BYTES} bytes"
                    )
        finally:
            response.close()

    async def _request(self, collection: Collection, query: Query, *, accept: str, timeout_s: float) -> Any:
        request = await self._api.param_serialize(
            method="GET",
            resource_path=collection.path,
            query_params=query,
            header_params={"Accept": accept},
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _preload_content=False, _request_timeout=timeout_s)
        return answer.response
