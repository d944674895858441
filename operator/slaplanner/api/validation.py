"""The whole verdict on one object, as the API server would give it, plus what it cannot know."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slaplanner.api.annotations import pause_request
from slaplanner.api.crd import object_schema
from slaplanner.api.metadata import metadata_faults
from slaplanner.api.policy import API_VERSION, GROUP, KIND
from slaplanner.api.rules import Violation, violations
from slaplanner.api.schema import spec_schema
from slaplanner.api.schema_validation import faults, unknown_fields, with_defaults
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Faults refuse the object; warnings do not."""

    faults: tuple[Violation, ...]
    warnings: tuple[Violation, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.faults


def is_policy(document: Any) -> bool:
    """Whether the document claims to be an SLAPolicy, of whatever version."""
    return (
        isinstance(document, Mapping)
        and document.get("kind") == KIND
        and str(document.get("apiVersion", "")).partition("/")[0] == GROUP
    )


def judge(document: Mapping[str, Any], *, old: Mapping[str, Any] | None = None) -> Judgement:
    """Check a decoded SLAPolicy; with *old*, as the update of that object."""
    if document.get("apiVersion") != API_VERSION:
        found = document.get("apiVersion")
        return Judgement(faults=(Violation("apiVersion", f"found {found!r}, wanted {API_VERSION}"),))
    found_faults = (*_structural(document), *metadata_faults(document.get("metadata")))
    if found_faults:
        return Judgement(faults=found_faults)
    spec = with_defaults(spec_schema(), document["spec"])
    before = None if old is None else with_defaults(spec_schema(), old["spec"])
    broken = violations(spec_schema(), spec, "spec", old=before)
    return Judgement(faults=broken, warnings=() if broken else tuple(_warnings(document, spec)))


def _structural(document: Mapping[str, Any]) -> Iterator[Violation]:
    """Unknown fields everywhere; types and bounds of the spec alone.

    The server drops a status that comes with a creation before it looks at it.
    """
    schema = object_schema()
    yield from unknown_fields(schema, document, "")
    written = {name: value for name, value in document.items() if name in ("apiVersion", "kind", "spec")}
    yield from faults(schema, with_defaults(schema, written), "")


def _warnings(document: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Violation]:
    metadata = document.get("metadata") or {}
    pause = pause_request({k: v for k, v in (metadata.get("annotations") or {}).items() if v is not None})
    if pause.reason is Reason.PAUSED_BY_UNKNOWN_VALUE:
        yield Violation("metadata.annotations", pause.message)
    if document.get("status"):
        yield Violation("status", "is ignored: only the operator writes it")
    yield from _role_warnings(spec)
    window = spec["metrics"].get("windowSeconds")
    if window is not None and window < spec["planning"]["intervalSeconds"]:
        yield Violation(
            "spec.metrics.windowSeconds",
            f"{window} s is shorter than the planning interval, {spec['planning']['intervalSeconds']} s: "
            "traffic between two windows is never seen",
        )
    for index, matcher in enumerate(spec["metrics"].get("matchers", ())):
        if matcher["operator"] in ("Matches", "NotMatches"):
            yield from _expression_warnings(matcher["value"], f"spec.metrics.matchers[{index}].value")


def _role_warnings(spec: Mapping[str, Any]) -> Iterator[Violation]:
    floor_gpus, known = 0, True
    named = {role["name"]: role for role in spec.get("roles", ())}
    roles = ("prefill", "decode") if spec["mode"] == "disagg" else (spec["mode"],)
    for name in roles:
        role = named.get(name, {"minReplicas": 1})
        gpus = role.get("gpusPerReplica")
        known = known and gpus is not None
        floor_gpus += role["minReplicas"] * (gpus or 1)
        fallback, high = role.get("fallbackReplicas"), role.get("maxReplicas")
        outside = fallback is not None and not role["minReplicas"] <= fallback <= (high or fallback)
        if outside:
            yield Violation(
                "spec.roles",
                f"{name}: fallbackReplicas {fallback} lies outside minReplicas {role['minReplicas']} "
                f"and maxReplicas {high or 'unlimited'}",
            )
    budget = spec.get("gpuBudget", {}).get("max")
    if budget is not None and floor_gpus > budget:
        least = "" if known else "at least "
        yield Violation(
            "spec.gpuBudget.max",
            f"{budget} GPUs are fewer than the {least}{floor_gpus} that minReplicas need: nothing would be scaled",
        )


def _expression_warnings(expression: str, path: str) -> Iterator[Violation]:
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        yield Violation(path, f"{expression!r} does not look like a regular expression: {error}")
