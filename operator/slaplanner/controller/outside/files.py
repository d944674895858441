"""Profiles and warm-up traces: from ConfigMaps, and from files that the administrator mounted."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slaplanner.adapters.deployment import ApiRefusal, failure_of
from slaplanner.adapters.object_versions import Watched
from slaplanner.adapters.profiles import LoadedProfile, load_config_map, load_directory
from slaplanner.api.parts.profile import ConfigMapRef
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.outside.calls import REQUEST_TIMEOUT_S, Calls
from slaplanner.controller.thread_pools import ThreadPool
from slaplanner.controller.warmup import WarmUps, config_map_bytes, file_bytes
from slaplanner.core.errors import PlanningError, ProfileError, ProfileNotFound, WarmUpError
from slaplanner.core.model import Interpolation
from slaplanner.core.readings import Series
from slaplanner.settings import Settings

T = TypeVar("T")

FILE_THREADS = 2
FILE_TIMEOUT_S = 4.0
"""For a profile or trace on a mounted volume, whose server may hang."""

KEPT_PROFILES = 256
"""Parsed profiles of ConfigMaps, the latest version of each."""


class StoredDocuments:
    """Read when they are needed, and kept as long as they are the same."""

    def __init__(self, api_client: ApiClient, calls: Calls, *, settings: Settings) -> None:
        self._core = CoreV1Api(api_client)
        self._calls = calls
        self._settings = settings
        self._files = ThreadPool("files", size=FILE_THREADS)
        self._warm_ups = WarmUps()
        self._profiles: OrderedDict[tuple[str, str, Interpolation], tuple[str, LoadedProfile]] = OrderedDict()

    async def profile(self, policy: SLAPolicy, *, version: str | None = None) -> LoadedProfile:
        """The policy's profile. Raises ProfileError.

        A ConfigMap whose *version*, as its watch told, is the one that was parsed is not read again.
        """
        spec = policy.spec.profile
        if spec.config_map_ref is None:
            read = partial(load_directory, interpolation=spec.interpolation)
            return await self._mounted(read, spec.path or "", hanging=ProfileError)
        namespace, name = policy.metadata.namespace, spec.config_map_ref.name
        key = (namespace, name, spec.interpolation)
        kept = self._profiles.get(key)
        if kept is None or not version or kept[0] != version:
            kept = await self._calls.of("kubernetes", self._config_map_profile, *key)
            self._profiles[key] = kept
        self._profiles.move_to_end(key)
        if len(self._profiles) > KEPT_PROFILES:
            self._profiles.popitem(last=False)
        return kept[1]

    async def warm_up(self, policy: SLAPolicy) -> Series | None:
        """The policy's warm-up trace on its planning grid; None where it has none. Raises WarmUpError."""
        trace = policy.spec.planning.predictor.warmup_trace
        if trace is None:
            return None
        reference = trace.config_map_ref
        if reference is None:
            name = trace.path or ""
            data = await self._mounted(file_bytes, name, hanging=WarmUpError)
        else:
            data = await self._calls.of(
                "kubernetes", self._config_map_trace, policy.metadata.namespace, reference.name
            )
            name = f"ConfigMap {reference.name!r}"
        interval_s = float(policy.spec.planning.interval_seconds)
        return await self._warm_ups.soon(data, name=name, interval_s=interval_s)

    def watched_profile(self, policy: SLAPolicy) -> Watched | None:
        """The profile's ConfigMap; None for a directory."""
        return _watched(policy, policy.spec.profile.config_map_ref)

    def watched_warm_up(self, policy: SLAPolicy) -> Watched | None:
        """The warm-up trace's ConfigMap; None for a file, or where there is no such trace."""
        trace = policy.spec.planning.predictor.warmup_trace
        return _watched(policy, trace.config_map_ref) if trace is not None else None

    async def _mounted(self, read: Callable[..., T], path: str, *, hanging: type[PlanningError]) -> T:
        """What *read* makes of a path below the allowed directories; *hanging* is raised when its volume does."""
        try:
            async with asyncio.timeout(FILE_TIMEOUT_S):
                return await self._files.run(read, path, allowed=self._settings.profile_directories)
        except TimeoutError as error:
            raise hanging(
                f"{path} was not read within {FILE_TIMEOUT_S:g} s; wanted a volume that answers"
            ) from error

    def _config_map_profile(
        self, namespace: str, name: str, interpolation: Interpolation
    ) -> tuple[str, LoadedProfile]:
        """The version that was read, and its profile."""
        try:
            found = self._config_map(namespace, name)
        except ApiRefusal as refusal:
            message = _unread(namespace, name, refusal)
            if refusal.failure.not_found:
                raise ProfileNotFound(message) from refusal
            raise ProfileError(message, reason=refusal.failure.reason) from refusal
        loaded = load_config_map(found.data or {}, found.binary_data, interpolation=interpolation)
        return str(found.metadata.resource_version), loaded

    def _config_map_trace(self, namespace: str, name: str) -> bytes:
        try:
            found = self._config_map(namespace, name)
        except ApiRefusal as refusal:
            raise WarmUpError(f"warm-up trace: {_unread(namespace, name, refusal)}") from refusal
        return config_map_bytes(name, found.data, found.binary_data)

    def _config_map(self, namespace: str, name: str) -> Any:
        try:
            return self._core.read_namespaced_config_map(name, namespace, _request_timeout=REQUEST_TIMEOUT_S)
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error


def _unread(namespace: str, name: str, refusal: ApiRefusal) -> str:
    if refusal.failure.not_found:
        return f"ConfigMap {name!r} does not exist in namespace {namespace!r}"
    return f"ConfigMap {name!r} cannot be read: {refusal}"


def _watched(policy: SLAPolicy, reference: ConfigMapRef | None) -> Watched | None:
    if reference is None:
        return None
    return Watched(
        group="",
        version="v1",
        plural="configmaps",
        namespace=policy.metadata.namespace,
        name=reference.name,
    )
