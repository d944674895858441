"""What an HPA or KEDA's ScaledObject says: bounds and behavior, and metrics that have no equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slaplanner.adapters.deployment.graph import ADAPTER_KIND, GraphDeployment
from slaplanner.adapters.deployment.request_bodies import adapter_name
from slaplanner.adapters.deployment.untrusted import items, mapping, text, whole
from slaplanner.adapters.migration.draft import Draft, MigrationError

KINDS: Final = ("HorizontalPodAutoscaler", "ScaledObject")


def apply_scaler(
    scaler: Mapping[str, Any], graph: GraphDeployment, roles: Mapping[str, str], draft: Draft
) -> None:
    """Put what the autoscaler says of one role into *draft*.

    Args:
        scaler: the object.
        graph: the deployment whose component it scales.
        roles: of each of the graph's components that is sized, by its name.
        draft: what grows.

    Raises:
        MigrationError: it scales nothing of the graph.
    """
    kind, name = text(scaler.get("kind")), text(mapping(scaler.get("metadata")).get("name"))
    spec = mapping(scaler.get("spec"))
    aim = mapping(spec.get("scaleTargetRef"))
    role = next(
        (
            role
            for component, role in roles.items()
            if text(aim.get("kind")) == ADAPTER_KIND
            and text(aim.get("name")) == adapter_name(graph.name, component)
        ),
        None,
    )
    if role is None:
        raise MigrationError(
            f"{kind} {name!r}: found scaleTargetRef {text(aim.get('kind')) or 'Deployment'} {text(aim.get('name'))!r}, "
            f"wanted a {ADAPTER_KIND} of a worker of {graph.name!r}: "
            f"{', '.join(adapter_name(graph.name, component) for component in roles)}"
        )
    is_hpa = kind == KINDS[0]
    floor = whole(spec.get("minReplicas" if is_hpa else "minReplicaCount"))
    if floor == 0:
        draft.note(f"{kind} {name}: a floor of 0: slaplanner never goes below 1")
    draft.put_role(role, "minReplicas", max(1, floor or (1 if is_hpa else 0)))
    ceiling = whole(spec.get("maxReplicas" if is_hpa else "maxReplicaCount"))
    draft.put_role(role, "maxReplicas", ceiling if ceiling is not None else 100)
    advanced = mapping(mapping(spec.get("advanced")).get("horizontalPodAutoscalerConfig"))
    _behavior(mapping((spec if is_hpa else advanced).get("behavior")), f"{kind} {name}", draft)
    for metric in items(spec.get("metrics" if is_hpa else "triggers")):
        what = text(mapping(metric).get("type")) or "metric"
        draft.note(
            f"{kind} {name}: its {what} metric has no equal: slaplanner sizes from the forecast and the profile"
        )
    draft.note(f"delete {kind} {name} before the policy enforces: two autoscalers on one role fight")


def _behavior(behavior: Mapping[str, Any], owner: str, draft: Draft) -> None:
    for direction in ("scaleUp", "scaleDown"):
        rules = mapping(behavior.get(direction))
        before = mapping(mapping(draft.spec.get("behavior")).get(direction))
        for field, value in rules.items():
            if field in before and before[field] != value:
                draft.note(
                    f"{owner}: {direction}.{field} differs from the other role's; a policy has one for both"
                )
            draft.put(f"behavior.{direction}.{field}", value)
