"""Does a planner component of the deployment scale it, or does it only advise?

Its configuration says so, on the command line or in a file. If Dynamo made the deployment from a deployment request, the
file is mounted from a ConfigMap, which is read too. A configuration that cannot be read counts as scaling, because two
planners on the same replicas do more harm than one that pauses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import yaml

from slaplanner.adapters.deployment.containers import Started
from slaplanner.adapters.deployment.untrusted import items, mapping, text

_FLAGS = ("--no-operation", "--advisory")
_MODES = ("advisory", "noop")
_CONFIG_FLAG = "--config"

LONGEST_CONFIG_CHARS = 65_536
"""Dynamo's planner configurations have some hundred characters; pages of YAML would take seconds."""

ConfigReader = Callable[[str], Mapping[str, str] | str]
"""From a ConfigMap's name to its data, or to a sentence that says why it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A file of a mounted ConfigMap."""

    config_map: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPlanner:
    """A planner of the graph whose command line does not say that it only advises."""

    file: ConfigFile | None = None
    """Where its configuration lies; None: nowhere, or not in a ConfigMap."""

    def scales(self, read: ConfigReader) -> str | None:
        """Why the planner counts as scaling the deployment; empty: its own word; None: it only advises."""
        if self.file is None:
            return ""
        data = read(self.file.config_map)
        if isinstance(data, str):
            return data
        config = data.get(self.file.key)
        if config is None:
            return f"ConfigMap {self.file.config_map!r} has no key {self.file.key!r}"
        if len(config) > LONGEST_CONFIG_CHARS:
            return f"{self.file.key!r} of ConfigMap {self.file.config_map!r} is too long to be read"
        return None if _advisory(config) else ""


def planner_of(
    pod: Mapping[str, Any], containers: Iterable[Mapping[str, Any]], starts: Iterable[Started]
) -> GraphPlanner | None:
    """What the pod of a planner tells of its configuration; None: that it only advises."""
    pairs = list(zip(containers, starts, strict=True))
    if any(advises(start.words) for _, start in pairs):
        return None
    files = (
        _file(pod, container, path)
        for container, start in pairs
        for path in _configs(start.words)
        if path.startswith("/")
    )
    return GraphPlanner(file=next((file for file in files if file is not None), None))


def advises(words: Sequence[str]) -> bool:
    """The command line says that the planner recommends without acting.

    Dynamo's planner has said so in several ways over its versions.
    """
    return any(flag in words for flag in _FLAGS) or any(
        _advisory(value) for value in _configs(words) if value.lstrip().startswith("{")
    )


def _configs(words: Sequence[str]) -> list[str]:
    """The values of `--config`: JSON, or the path of a file."""
    following = [after for word, after in pairwise(words) if word == _CONFIG_FLAG]
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{_CONFIG_FLAG}=")]
    return [*following, *joined]


def _advisory(config: str) -> bool:
    """A configuration, JSON or YAML, says that the planner only recommends; one that is neither does not."""
    if len(config) > LONGEST_CONFIG_CHARS:
        return False
    try:
        parsed = mapping(json.loads(config))
    except (ValueError, RecursionError):
        try:
            # All plain words stay words: no tag, number or date of somebody else is constructed.
            parsed = mapping(yaml.load(config, Loader=yaml.BaseLoader))  # noqa: S506 - it makes only words, lists and maps
        except (yaml.YAMLError, ValueError, RecursionError):
            return False
    on = {str(parsed.get(key)).lower() for key in ("no_operation", "advisory")}
    return "true" in on or parsed.get("scaling_mode") in _MODES


def _file(pod: Mapping[str, Any], container: Mapping[str, Any], path: str) -> ConfigFile | None:
    """The ConfigMap's key that the container sees under *path*."""
    wanted = PurePosixPath(path)
    volumes = {text(volume.get("name")): volume for volume in map(mapping, items(pod.get("volumes")))}
    for mount in map(mapping, items(container.get("volumeMounts"))):
        source = mapping(mapping(volumes.get(text(mount.get("name")))).get("configMap"))
        name, place = text(source.get("name")), text(mount.get("mountPath"))
        if not name or not place:
            continue
        if sub_path := text(mount.get("subPath")):
            inside = PurePosixPath(sub_path) if wanted == PurePosixPath(place) else None
        else:
            inside = wanted.relative_to(place) if wanted.is_relative_to(place) else None
        if inside is None or not inside.parts:
            continue
        keys = {
            text(item.get("path")): text(item.get("key")) for item in map(mapping, items(source.get("items")))
        }
        return ConfigFile(config_map=name, key=keys.get(str(inside), str(inside)))
    return None
