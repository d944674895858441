"""Conversion of a DynamoGraphDeployment between v1alpha1 and v1beta1, without loss.

What both versions can say comes from the live object, always. What only the source can say is kept
in one annotation of the converted object, and returns when it is converted back: for each group of
fields (see `fieldmaps`), if the live fields still are what the kept ones convert to, the kept ones
are what the user wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from slaplanner_lab.fleet import fieldmaps, names
from slaplanner_lab.fleet.fieldmaps import FieldMap
from slaplanner_lab.fleet.graph import FleetError
from slaplanner_lab.fleet.names import Json

_KEPT: Final = {
    names.V1ALPHA1: names.PREFIX + "kept-v1alpha1",
    names.V1BETA1: names.PREFIX + "kept-v1beta1",
}
_OTHER = {names.V1ALPHA1: names.V1BETA1, names.V1BETA1: names.V1ALPHA1}


def convert_graph(obj: Json, to_version: str) -> Json:
    """*obj* in *to_version*; *obj* itself is not touched.

    Raises:
        FleetError: a version is unknown, or the object's parts have other shapes than its schema says.
    """
    version = names.version_of(obj)
    if to_version not in _OTHER or version not in _OTHER:
        raise FleetError(f"cannot convert {obj.get('apiVersion')!r} to {to_version!r}")
    if version == to_version:
        return obj
    annotations = dict(obj.get("metadata", {}).get("annotations") or {})
    kept = _read_kept(annotations.pop(_KEPT[to_version], "{}"))
    annotations.pop(_KEPT[version], None)
    try:
        source = _split(obj, version)
        converted = _convert(source, kept, to_version)
        lost = _lost(source, converted, version)
        body = _join(converted, to_version)
    except (AttributeError, KeyError, TypeError) as error:
        raise FleetError(f"{version} object of an unexpected shape: {error!r}") from error
    if lost:
        annotations[_KEPT[version]] = json.dumps(lost, sort_keys=True, separators=(",", ":"))
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    envelope = {"apiVersion": f"{names.GROUP}/{to_version}", "kind": obj.get("kind", names.GRAPH_KIND)}
    return envelope | {"metadata": metadata} | body


def convert_adapter(obj: Json, to_version: str) -> Json:
    """A scaling adapter in *to_version*: one field has another name.

    Raises:
        FleetError: a version is unknown.
    """
    version = names.version_of(obj)
    if to_version not in _OTHER or version not in _OTHER:
        raise FleetError(f"cannot convert {obj.get('apiVersion')!r} to {to_version!r}")
    field = {names.V1ALPHA1: "serviceName", names.V1BETA1: "componentName"}
    spec = dict(obj.get("spec") or {})
    reference = dict(spec.get("dgdRef") or {})
    if field[version] in reference:
        reference[field[to_version]] = reference.pop(field[version])
        spec["dgdRef"] = reference
    return {**obj, "apiVersion": f"{names.GROUP}/{to_version}", "spec": spec}


_Parts = dict[str, dict[str, Json]]
"""An object's fields by section and name; a section that occurs once has the name `""`."""

_SECTIONS: Final[Mapping[str, Sequence[FieldMap]]] = {
    "spec": fieldmaps.SPEC,
    "component": fieldmaps.COMPONENT,
    "status": fieldmaps.STATUS,
    "componentStatus": fieldmaps.COMPONENT_STATUS,
    "rollingUpdate": fieldmaps.ROLLING_UPDATE,
}


def _read_kept(text: str) -> _Parts:
    """What an earlier conversion kept; an annotation that somebody damaged keeps nothing."""
    try:
        kept = json.loads(text)
    except json.JSONDecodeError:
        return {}
    sections = kept if isinstance(kept, dict) else {}
    return {
        section: {name: fields for name, fields in parts.items() if isinstance(fields, dict)}
        for section, parts in sections.items()
        if section in _SECTIONS and isinstance(parts, dict)
    }


def _split(obj: Json, version: str) -> _Parts:
    parts: _Parts = {section: {} for section in _SECTIONS}
    for section, inner in (("spec", "component"), ("status", "componentStatus")):
        if obj.get(section) is None:
            continue
        fields = dict(obj[section])
        listed = fields.pop(names.component_key(version), None)
        if section == "status" and fields.get("rollingUpdate") is not None:
            parts["rollingUpdate"][""] = fields.pop("rollingUpdate")
        if listed is not None:
            if isinstance(listed, list):
                listed = {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in listed}
            parts[inner] = {name: one or {} for name, one in listed.items()}
            in_order = version == names.V1BETA1 and section == "spec"
            fields[fieldmaps.ORDER] = list(listed) if in_order else sorted(listed)
        parts[section][""] = fields
    return parts


def _join(parts: _Parts, version: str) -> Json:
    obj: Json = {}
    for section, inner in (("spec", "component"), ("status", "componentStatus")):
        if "" not in parts[section]:
            continue
        fields = dict(parts[section][""])
        order = fields.pop(fieldmaps.ORDER, None)
        if order is not None:
            listed: Json | list[Json] = {name: parts[inner][name] for name in order}
            if section == "spec" and version == names.V1BETA1:
                listed = [{"name": name, **parts[inner][name]} for name in order]
            fields[names.component_key(version)] = listed
        if section == "status" and parts["rollingUpdate"]:
            fields["rollingUpdate"] = parts["rollingUpdate"][""]
        obj[section] = fields
    return obj


def _convert(source: _Parts, kept: _Parts, to_version: str) -> _Parts:
    return {
        section: {
            name: _convert_fields(fields, kept.get(section, {}).get(name, {}), maps, to_version)
            for name, fields in source[section].items()
        }
        for section, maps in _SECTIONS.items()
    }


def _convert_fields(live: Json, kept: Json, maps: Sequence[FieldMap], to_version: str) -> Json:
    converted = {key: value for key, value in kept.items() if key not in _covered(maps, to_version)}
    for one in maps:
        here, there = _pick(live, one, _OTHER[to_version]), _pick(kept, one, to_version)
        unchanged = bool(there) and _map(one, there, _OTHER[to_version]) == here
        converted |= there if unchanged else _map(one, here, to_version)
    return converted


def _lost(source: _Parts, converted: _Parts, version: str) -> _Parts:
    """The fields of *source* that do not come back from *converted* by themselves."""
    lost: _Parts = {}
    for section, maps in _SECTIONS.items():
        for name, fields in source[section].items():
            kept = {key: value for key, value in fields.items() if key not in _covered(maps, version)}
            for one in maps:
                here = _pick(fields, one, version)
                if _map(one, _pick(converted[section][name], one, _OTHER[version]), version) != here:
                    kept |= here
            if kept:
                lost.setdefault(section, {})[name] = kept
    return lost


def _covered(maps: Sequence[FieldMap], version: str) -> frozenset[str]:
    return frozenset(field for one in maps for field in _fields(one, version))


def _fields(one: FieldMap, version: str) -> tuple[str, ...]:
    return one.alpha if version == names.V1ALPHA1 else one.beta


def _pick(fields: Json, one: FieldMap, version: str) -> Json:
    return {key: fields[key] for key in _fields(one, version) if key in fields}


def _map(one: FieldMap, fields: Json, to_version: str) -> Json:
    return one.to_alpha(fields) if to_version == names.V1ALPHA1 else one.to_beta(fields)
