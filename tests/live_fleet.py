"""The fleet that tests and laptops play, in a closed loop without a cluster, its clock moved by hand.

What `slaplanner fleet` does between two looks at the clock is `Played.move`; here the looks follow each
other at once, four for each played second. A planner is asked at the end of every
interval, and the object is edited as the API server would show it after the operator's write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slaplanner.core.model import Fleet, RoleState
from slaplanner.core.rebalance import next_step
from slaplanner_lab.fleet.ground_truth import LatencyTargets
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.fleet.played import Played
from slaplanner_lab.simulation.loop import GRACE_S, ROLES, Scenario
from slaplanner_lab.simulation.planners import ObservationPlanner
from slaplanner_lab.simulation.telemetry import Telemetry
from slaplanner_lab.simulation.traffic import Traffic
from tests.graphs import BETA, beta_worker, graph

TICKS_PER_S = 4


class LiveFleet:
    """The scenario's traffic on a played deployment of the scenario's start size.

    The policy's window is its interval. The trace begins with the first look, a quarter of a second after 0, when the workers are found; so do
    the planner's intervals, as the simulator's begin with the trace.
    """

    def __init__(self, scenario: Scenario) -> None:
        sla = scenario.policy.sla
        self.scenario = scenario
        self.first_look_s = 1 / TICKS_PER_S
        options = Options(
            tables=scenario.tables,
            traffic=scenario.traffic,
            startup_s=scenario.startup_s,
            targets=LatencyTargets(ttft_ms=sla.ttft_ms, itl_ms=sla.itl_ms),
        )
        self.asked = dict(scenario.start)
        self._edits = 0
        serving = {role.value: {"readyReplicas": count} for role, count in self.asked.items()}
        self.played = Played.start({**self._object(), "status": {"components": serving}}, options, 0.0)
        seen = scenario.traffic
        self.telemetry = Telemetry(
            self.played.serving.engine,
            Traffic(
                arrival_s=seen.arrival_s + self.first_look_s,
                isl_tokens=seen.isl_tokens,
                osl_tokens=seen.osl_tokens,
            ),
            interval_s=scenario.policy.interval_s,
            window_s=scenario.policy.window_s,
        )

    def run(
        self, planner: ObservationPlanner, *, look: Callable[[float], None] = lambda _: None
    ) -> dict[str, Any]:
        """Play to the last answer; the truth, with GPU seconds until the last arrival."""
        policy, desired = self.scenario.policy, dict(self.asked)
        last_s = self.scenario.traffic.last_arrival_s + self.first_look_s
        interval = round(TICKS_PER_S * policy.interval_s)
        gpu_seconds: dict[str, float] = {}
        for tick in range(1, round(TICKS_PER_S * (last_s + GRACE_S))):
            now_s = tick / TICKS_PER_S
            self.played.move(now_s)
            look(now_s)
            if now_s >= last_s and not gpu_seconds:
                gpu_seconds = self.played.serving.truth.report()["gpuSeconds"]
            if now_s > last_s and self.played.serving.engine.unfinished == 0:
                break
            if tick > 1 and (tick - 1) % interval == 0:
                self.telemetry.scrape()
                self.telemetry.close_interval()
                verdict = planner(self.telemetry.observe(), self._fleet(), now_s=now_s - self.first_look_s)
                desired |= verdict.replicas
            for write in next_step(self._fleet(), desired, policy.gpu_budget).writes:
                self.asked[write.role] = write.replicas
                self._edits += 1
                self.played.observe({**self._object(), "status": self.played.obj["status"]})
        return {**self.played.serving.truth.report(), "gpuSeconds": gpu_seconds}

    def _fleet(self) -> Fleet:
        replicas = self.played.report()["replicas"]
        return Fleet(
            roles=tuple(
                RoleState(
                    role=role,
                    component=role.value,
                    replicas=self.asked[role],
                    serving=found["serving"],
                    present=found["present"],
                    gpus_per_replica=self.scenario.gpus(role),
                    settled=found["serving"] == self.asked[role] == found["present"],
                )
                for role in ROLES
                for found in (replicas[role.value],)
            ),
            startup_s=self.scenario.startup_s,
        )

    def _object(self) -> dict[str, Any]:
        workers = {
            role.value: beta_worker(role.value, gpu=self.scenario.gpus(role), replicas=self.asked[role])
            for role in ROLES
        }
        return graph(BETA, workers, metadata={"resourceVersion": str(self._edits)})
