"""Scaling a fleet through published decisions, one component or all of them at a time."""

from __future__ import annotations

from collections.abc import Mapping

from slaplanner.core.errors import TargetError
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.virtual.coordinator import VirtualConnectorCoordinator
from slaplanner.virtual.decisions import ABSENT


class VirtualConnector:
    """What a planner asks of a fleet, under the names that Dynamo's connectors have.

    Changes are counted from the last published decision; before the first, from the floors.
    """

    def __init__(
        self,
        coordinator: VirtualConnectorCoordinator,
        *,
        models: Mapping[Role, str],
        floors: Mapping[Role, int] | None = None,
    ) -> None:
        """*models* gives the model that each role serves; *floors* its fewest workers (1)."""
        self._coordinator = coordinator
        self._models = dict(models)
        self._floors = dict(floors or {})

    async def add_component(self, role: Role, *, blocking: bool = True) -> bool:
        """One worker more. True: published, and with *blocking* acknowledged.

        Raises:
            ChannelError: the backend does not answer, or refuses.
        """
        return await self.set_component_replicas({role: await self._count(role) + 1}, blocking=blocking)

    async def remove_component(self, role: Role, *, blocking: bool = True) -> bool:
        """One worker less, not below the floor. True as with `add_component`."""
        fewer = max(self._floor(role), await self._count(role) - 1)
        return await self.set_component_replicas({role: fewer}, blocking=blocking)

    async def set_component_replicas(self, replicas: Mapping[Role, int], *, blocking: bool = True) -> bool:
        """Workers of several roles, in one decision. True as with `add_component`.

        Raises:
            ValueError: there are no counts, one is negative, or a role is not published by itself.
            ChannelError: the backend does not answer, or refuses.
        """
        strange = set(replicas) - {Role.PREFILL, Role.DECODE}
        if strange or not replicas:
            found = ", ".join(sorted(strange)) or "none"
            raise ValueError(f"found the roles {found}, wanted prefill, decode or both")
        published = await self._coordinator.update_scaling_decision(
            replicas.get(Role.PREFILL), replicas.get(Role.DECODE)
        )
        if not blocking:
            return published
        return await self._coordinator.wait_for_scaling_completion() and published

    async def wait_for_deployment_ready(self) -> bool:
        """Wait until the last decision is acknowledged. False: it was not in time."""
        return await self._coordinator.wait_for_scaling_completion()

    def get_model_name(self, *, require_prefill: bool = True, require_decode: bool = True) -> str:
        """The model that the required roles serve, in lower case as metrics label it.

        Raises:
            TargetError: a required role has none (ModelNotFound), or two serve different ones (ModelMismatch).
        """
        required = {Role.PREFILL: require_prefill, Role.DECODE: require_decode}
        missing = [role for role, wanted in required.items() if wanted and role not in self._models]
        if missing:
            raise TargetError(
                f"found no model of {', '.join(missing)}, wanted one", reason=Reason.MODEL_NOT_FOUND
            )
        found = {
            model.lower()
            for role, model in self._models.items()
            if required.get(role) or not any(required.values())
        }
        if len(found) != 1:
            raise TargetError(
                f"found the models {', '.join(sorted(found)) or 'none'}, wanted one for all roles",
                reason=Reason.MODEL_MISMATCH if found else Reason.MODEL_NOT_FOUND,
            )
        return found.pop()

    def _floor(self, role: Role) -> int:
        return self._floors.get(role, 1)

    async def _count(self, role: Role) -> int:
        count = (await self._coordinator.read_state()).count(role)
        return self._floor(role) if count == ABSENT else count
