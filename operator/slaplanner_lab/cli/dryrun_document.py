"""A dry-run as JSON and as CSV: the same figures under the same names, nothing rounded.

Loads and throughputs are in tokens/s. Where the mode sizes prefill or decode alone, the other role stands
there with zeros, so that readers need not know the mode. An interval without requests has no lengths: null.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, TextIO

from slaplanner.core.model import Mode, Role
from slaplanner_lab.dryrun import DryRun, Load, Point, RolePoint

_NOTHING = RolePoint(replicas=0, load_tokens_s=0.0, safe_tokens_s=0.0)


def document(run: DryRun) -> dict[str, Any]:
    """The whole run; `warmUp` only where there was one, at negative times."""
    hours = run.gpu_hours
    first_s = -len(run.warm_up) * run.interval_s
    before = [{"t": first_s + at * run.interval_s, **_load(load)} for at, load in enumerate(run.warm_up)]
    return {
        **({"warmUp": before} if before else {}),
        "intervals": [_point(point, shown_roles(run)) for point in run.points],
        "gpuHours": {
            **{role.value: hours.get(role, 0.0) for role in shown_roles(run)},
            "total": sum(hours.values()),
        },
    }


def write_csv(run: DryRun, file: TextIO) -> None:
    """One line per interval; columns are the paths of the JSON's fields, as `forecast.requests`."""
    rows = [_flat(_point(point, shown_roles(run))) for point in run.points]
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def shown_roles(run: DryRun) -> tuple[Role, ...]:
    """Both roles of a disaggregated deployment, or the one of an aggregated."""
    return run.policy.mode.roles if run.policy.mode is Mode.AGG else Mode.DISAGG.roles


def _point(point: Point, roles: tuple[Role, ...]) -> dict[str, Any]:
    return {
        "t": point.t_s,
        **_load(point.seen),
        "forecast": _load(point.forecast),
        **{role.value: _role(point.roles.get(role, _NOTHING)) for role in roles},
        "gpus": point.gpus,
        "reason": point.reason,
        "message": point.message,
    }


def _load(load: Load) -> dict[str, float | None]:
    return {"requests": load.requests, "isl": load.isl_tokens, "osl": load.osl_tokens}


def _role(point: RolePoint) -> dict[str, float]:
    return {
        "replicas": point.replicas,
        "load": point.load_tokens_s,
        "safeThroughput": point.safe_tokens_s,
    }


def _flat(entry: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
