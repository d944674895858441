"""Two operators, an API server and a fleet, driven at random: what holds in every state that they can reach."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from slaplanner.adapters.deployment import ScalingOutcome, TargetState
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.outside.ports import TrafficReading
from slaplanner.core.errors import ActuationError
from slaplanner.core.leadership import Election, Lease
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.core.rebalance import next_step
from tests.planning import GPUS, observation, unknown
from tests.reconciling import SCOPE, FakeWorld, OnePolicy, document, one_policy, target

LEASE_S = 12.0
FLOORS = {Role.PREFILL: 2, Role.DECODE: 1}
LEAST_BUDGET = GPUS * sum(FLOORS.values())


@dataclass(slots=True)
class Write:
    """One write that the API server took."""

    writer: str
    role: Role
    before: int
    replicas: int
    held_before: int
    held_after: int
    budget: int
    known: bool
    """Whether the load was known to the last plan of the writer."""


@dataclass(slots=True)
class ApiServer:
    """The deployment, the policy and the lease, which all operators share."""

    deployed: TargetState
    time_s: float = 1_000_000.0
    budget: int = 20
    lease: Lease | None = None
    lease_writes: int = 0
    refuses: bool = False
    generation: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    versions: int = 1

    def held(self) -> int:
        """GPUs that pods hold or may take at once."""
        return GPUS * sum(max(one.replicas, one.present or 0) for one in self.deployed.fleet.roles)

    def set_role(self, role: Role, **fields: int) -> None:
        fleet = self.deployed.fleet
        roles = tuple(replace(one, **fields) if one.role is role else one for one in fleet.roles)
        self.deployed = replace(self.deployed, fleet=replace(fleet, roles=roles))
        self.versions += 1

    def shown(self) -> dict[str, Any]:
        """The policy as a watch shows it."""
        made = document(
            generation=self.generation,
            annotations=self.annotations,
            gpuBudget={"max": self.budget},
            roles=[{"name": str(role), "minReplicas": floor} for role, floor in FLOORS.items()],
            behavior={"scaleDown": {"stabilizationWindowSeconds": 0}},
        )
        return made | {"status": json.loads(json.dumps(self.status))}


@dataclass(slots=True)
class SharedWorld(FakeWorld):
    """One operator's way to the shared API server, through its own election."""

    name: str = ""
    server: ApiServer | None = None
    requests: float | None = None
    """Per hour; None: Prometheus does not answer."""
    knew: bool = False
    plans: int = 0
    may_write: Callable[[], bool] = lambda: True

    def now_s(self) -> float:
        return self.shared.time_s

    def monotonic_s(self) -> float:
        return self.shared.time_s

    @property
    def shared(self) -> ApiServer:
        assert self.server is not None
        return self.server

    async def look(self, policy: SLAPolicy) -> TargetState:  # noqa: ARG002
        self.target = self.shared.deployed
        self.versions["target"] = str(self.shared.versions)
        return self.shared.deployed

    async def traffic(self, *_: object, **__: object) -> TrafficReading:
        self.plans += 1
        self.knew = self.requests is not None
        load = observation(self.requests if self.requests is not None else unknown())
        return TrafficReading(observation=load, scope=SCOPE)

    async def scale(
        self,
        policy: SLAPolicy,
        target: TargetState,  # noqa: ARG002
        desired: Mapping[Role, int],
        *,
        still_wanted: Callable[[], bool],
    ) -> ScalingOutcome:
        """As the real connector: steps from the deployment as it is, refused where it changed meanwhile."""
        server = self.shared
        budget = policy.to_core().gpu_budget
        step = next_step(server.deployed.fleet, desired, budget)
        if not still_wanted():
            return ScalingOutcome()
        if not self.may_write():
            return ScalingOutcome(error=ActuationError("not the leader"))
        if server.refuses:
            return ScalingOutcome(error=ActuationError("changed meanwhile", reason=Reason.CONFLICT))
        for move in step.writes:
            held = server.held()
            server.set_role(move.role, replicas=move.replicas)
            server.writes.append(
                Write(
                    writer=self.name,
                    role=move.role,
                    before=move.before,
                    replicas=move.replicas,
                    held_before=held,
                    held_after=server.held(),
                    budget=server.budget,
                    known=self.knew,
                )
            )
        return ScalingOutcome.of(step, written=step.writes)

    async def write_status(self, *, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        await FakeWorld.write_status(self, namespace=namespace, name=name, uid=uid, status=status)
        if self.may_write():
            self.shared.status.update(status)


class Operators(RuleBasedStateMachine):
    """Whatever the order of loads, faults, edits, kills and elections."""

    @initialize(prefill=st.integers(1, 4), decode=st.integers(1, 4))
    def set_up(self, prefill: int, decode: int) -> None:
        self.server = ApiServer(deployed=target(prefill, decode))
        self.elections: dict[str, Election] = {}
        self.operators: dict[str, OnePolicy] = {}
        self.worlds: dict[str, SharedWorld] = {}
        self.started = 0
        self.requests: float | None = 60.0 * 3600.0
        for slot in ("a", "b"):
            self._start(slot)

    def _start(self, slot: str) -> None:
        self.started += 1
        identity = f"{slot}-{self.started}"
        self.elections[slot] = Election(identity=identity, lease_s=LEASE_S)
        world = SharedWorld(self.server.deployed, name=identity, server=self.server, requests=self.requests)
        world.may_write = lambda: self.elections[slot].may_write(now_s=self.server.time_s)
        self.worlds[slot] = world
        self.operators[slot] = one_policy(world, self.server.shown())

    # The world.

    @rule(seconds=st.sampled_from([1.0, 5.0, 9.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.server.time_s += seconds

    @rule(requests=st.none() | st.floats(0.0, 200.0).map(lambda rate: rate * 3600.0))
    def the_load_changes(self, requests: float | None) -> None:
        self.requests = requests
        for world in self.worlds.values():
            world.requests = requests

    @rule()
    def pods_come_and_go(self) -> None:
        for one in self.server.deployed.fleet.roles:
            self.server.set_role(one.role, serving=one.replicas, present=one.replicas)

    @rule(role=st.sampled_from(list(FLOORS)), replicas=st.integers(0, 6))
    def somebody_scales_by_hand(self, role: Role, replicas: int) -> None:
        self.server.set_role(role, replicas=replicas)

    @rule(refuses=st.booleans())
    def writes_meet_conflicts(self, refuses: bool) -> None:
        self.server.refuses = refuses

    @rule(budget=st.integers(LEAST_BUDGET, 40))
    def the_budget_is_edited(self, budget: int) -> None:
        self.server.budget = budget
        self.server.generation += 1
        for one in self.operators.values():
            one.shows(self.server.shown())

    @rule(number=st.integers())
    def a_plan_is_asked_for(self, number: int) -> None:
        self.server.annotations["slaplanner.io/plan-requested-at"] = str(number)
        for one in self.operators.values():
            one.shows(self.server.shown())

    # The operators.

    @rule(slot=st.sampled_from(["a", "b"]))
    def an_operator_is_killed_and_started_anew(self, slot: str) -> None:
        self._start(slot)

    @rule(slot=st.sampled_from(["a", "b"]))
    def an_operator_looks_at_the_lease(self, slot: str) -> None:
        """And takes or renews it where it may."""
        server, now_s = self.server, self.server.time_s
        election = self.elections[slot].seen(server.lease, now_s=now_s)
        if election.may_take(now_s=now_s):
            server.lease_writes += 1
            server.lease = Lease(
                holder=election.identity,
                duration_s=LEASE_S,
                transitions=election.next_transitions(),
                version=str(server.lease_writes),
            )
            election = election.renewed(server.lease, sent_at_s=now_s)
        self.elections[slot] = election

    @rule(slot=st.sampled_from(["a", "b"]), seconds=st.sampled_from([5.0, 3600.0]), number=st.integers())
    def a_leader_goes_on(self, slot: str, seconds: float, number: int) -> None:
        """What happens most of the time: it renews its lease, and plans on the grid or on request."""
        self.time_passes(seconds)
        self.a_plan_is_asked_for(number)
        self.an_operator_looks_at_the_lease(slot)
        self.an_operator_beats(slot)
        self.an_operator_beats(slot)

    @rule(slot=st.sampled_from(["a", "b"]))
    def an_operator_beats(self, slot: str) -> None:
        """Also one that leads no more: it does not know yet."""
        one, world = self.operators[slot], self.worlds[slot]
        world.versions["target"] = str(self.server.versions)
        before = len(self.server.writes)
        plans, decided = world.plans, self._decided(one)
        leads = self.elections[slot].may_write(now_s=self.server.time_s)
        asyncio.run(one.tick())
        writes = self.server.writes[before:]
        assert leads or not writes, f"a former leader wrote {writes}"
        assert 0 <= self._decided(one) - decided <= world.plans - plans <= 1, "one decision per plan"
        for write in writes:
            self._check(write)

    @staticmethod
    def _decided(one: OnePolicy) -> int:
        """Decisions so far; of an operator that was just started: those that it will read in the status."""
        state = one.record.memory.state
        if state is not None:
            return state.decisions
        kept = (one.record.manifest.document.get("status") or {}).get("plannerState")
        return int(json.loads(kept)["n"]) if kept else 0

    @staticmethod
    def _check(write: Write) -> None:
        assert write.held_after <= max(write.budget, write.held_before), f"over the budget: {write}"
        assert write.replicas >= FLOORS[write.role] or write.replicas > write.before, (
            f"below its floor: {write}"
        )
        if not write.known:
            lifted = write.before < write.replicas <= FLOORS[write.role]
            forced = write.replicas < write.before and write.held_before > write.budget
            assert lifted or forced, f"written without knowing the load: {write}"

    @invariant()
    def one_operator_at_most_may_write(self) -> None:
        now_s = self.server.time_s if hasattr(self, "server") else 0.0
        leading = [slot for slot, one in getattr(self, "elections", {}).items() if one.may_write(now_s=now_s)]
        assert len(leading) <= 1


Operators.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOperators = Operators.TestCase
