"""What faults are played on: one policy that scales one deployment, and everything that it depends on."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any, Self

import yaml

from slaplanner_lab.fleet.options import Options
from tests.budget_watch import BudgetWatch, version_of
from tests.chaos.api_door import ApiDoor
from tests.fleet_program import TABLES, running_fleet
from tests.gateway import HttpDoor
from tests.operator_program import (
    MANIFESTS,
    NAMESPACE,
    SERVICE_ACCOUNT,
    OperatorProgram,
    install_operator,
    running_operator,
)
from tests.played_load import Load, PlayedLoads
from tests.scene import NAME, Scene, graph, policy, wait_scraped
from tests.testbed import (
    ControlPlane,
    PrometheusServer,
    Served,
    Target,
    TestBedError,
    dynamo_kubeconfig,
    install_dynamo,
    wait_until,
)
from tests.testbed.kubeconfig import Credentials, write_kubeconfig

PATIENCE_S = 180.0
"""For everything that must come in the end, on a machine as busy as it likes."""
BUDGET_GPUS = 20
SIZES = {60.0: {"prefill": 4, "decode": 2}, 90.0: {"prefill": 6, "decode": 3}}
"""What each load needs, in requests per second."""
LEASE = "slaplanner"


class Stage:
    """Real parts with doors between them, an operator that can be ended and started, and a watch on the budget."""

    def __init__(
        self, control_plane: ControlPlane, prometheus: PrometheusServer, scratch: Path, *, elects: bool = True
    ) -> None:
        self.control_plane = control_plane
        self.prometheus = prometheus
        self.scratch = scratch
        self.load = 60.0
        self._parts = contextlib.ExitStack()
        self._elects = elects
        self._operators: list[tuple[OperatorProgram, contextlib.ExitStack]] = []
        self._leaving: list[OperatorProgram] = []
        self._over = threading.Event()
        self._kubelet = threading.Thread(target=self._restart_whoever_ended, name="kubelet")

    def __enter__(self) -> Self:
        plane, parts = self.control_plane, self._parts
        install_dynamo(plane, Served.V1BETA1)
        install_operator(plane)
        # The same with a standby: its rights to the Lease, by which every operator here leads or waits.
        overlay = str(MANIFESTS / "overlays/high-availability")
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay)
        self.api = parts.enter_context(ApiDoor(plane.url, str(plane._certificate)))
        self.metrics = parts.enter_context(HttpDoor(self.prometheus.url))
        self.renew_token()
        loads = PlayedLoads()
        page = parts.enter_context(loads.page)
        self.prometheus.add_target(Target(job="loads", address=page.address))
        self.scene = Scene(cluster=plane, namespace=plane.create_namespace("chaos"), loads=loads)
        self.scene.apply_profile()
        options = Options(
            tables=TABLES, startup_s=0.2, tick_s=0.05, namespace=self.scene.namespace, every_graph=True
        )
        parts.enter_context(running_fleet(dynamo_kubeconfig(plane), options))
        self.scene.apply(graph())
        self.scene.play(Load(requests_s=self.load, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012))
        wait_scraped(self.scene, self.prometheus)
        self.start_operator()
        self._kubelet.start()
        self.scene.apply(self.policy())
        self.wait_size()
        return self

    def __exit__(self, *_: object) -> None:
        self.api.open()
        self.metrics.open()
        self._over.set()
        if self._kubelet.is_alive():
            self._kubelet.join()
        for _, running in reversed(self._operators):
            running.close()
        self._parts.close()

    def policy(self, **spec: Any) -> dict[str, Any]:
        return policy(gpuBudget={"max": BUDGET_GPUS}, **spec)

    # The operator.

    @property
    def operator(self) -> OperatorProgram:
        """The one that was started last."""
        return self._operators[-1][0]

    def start_operator(self, *, elects: bool | None = None) -> OperatorProgram:
        elects = self._elects if elects is None else elects
        election = {"namespace": NAMESPACE, "name": LEASE, "leaseSeconds": 12}
        running = contextlib.ExitStack()
        program = running.enter_context(
            running_operator(
                self.control_plane,
                self.scratch,
                prometheus=self.metrics.url,
                settings={"leaderElection": election} if elects else {},
                namespace=self.scene.namespace,
                kubeconfig=self._kubeconfig,
            )
        )
        self._operators.append((program, running))
        return program

    def renew_token(self) -> None:
        """A new token of the operator's account, in the kubeconfig that leads through the door."""
        own = self.control_plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        (user,) = yaml.safe_load(own.read_text())["users"]
        self._kubeconfig = write_kubeconfig(
            self.scratch / "through-the-door.kubeconfig",
            Credentials(server=self.api.url, certificate_authority=None, token=user["user"]["token"]),
        )

    def restarted(self, ended: OperatorProgram) -> None:
        """Wait until another operator runs in the place of one that ended, or is about to."""
        wait_until(
            lambda: ended.process.poll() is not None and all(one[0] is not ended for one in self._operators),
            what="the operator to be started anew",
            timeout_s=PATIENCE_S,
        )

    def let_go(self, program: OperatorProgram) -> None:
        """This one is not started again when it ends."""
        self._leaving.append(program)

    def _restart_whoever_ended(self) -> None:
        """As the kubelet does. An operator that lost its lease ends by itself."""
        while not self._over.wait(0.2):
            for one in [one for one in self._operators if one[0].process.poll() is not None]:
                with contextlib.suppress(AssertionError, TestBedError):  # then it is tried again
                    if one[0] not in self._leaving:
                        self.start_operator()
                    self._operators.remove(one)
                    one[1].close()

    # What is awaited.

    @property
    def size(self) -> dict[str, int]:
        return SIZES[self.load]

    def wait_size(self) -> None:
        self.scene.wait_replicas(timeout_s=PATIENCE_S, **self.size)

    def sees(self, kind: str, status: str, reason: str, message: str = "") -> None:
        """Wait until a condition of the policy says so."""

        def said() -> bool:
            found = self.scene.condition(kind)
            return (
                (found.get("status"), found.get("reason")) == (status, reason)
                and message in found.get("message", "")
            )  # fmt: skip

        with self.scene.described():
            wait_until(said, what=f"{kind}={status} {reason} {message}", timeout_s=PATIENCE_S)

    def logs(self, *words: str) -> None:
        """Wait until the operator's log says all of that in one line, from now on."""
        program, before = self.operator, len(self.operator.log())
        wait_until(
            lambda: any(all(word in str(line) for word in words) for line in program.log()[before:]),
            what=f"a line of the log with {words}",
            timeout_s=PATIENCE_S,
        )

    def plans_again(self) -> float:
        """Wait until a plan on known figures was made from now on; returns the seconds that it took."""
        began_s = time.monotonic()
        before = self.scene.decisions()

        def planned() -> bool:
            if self.scene.decisions() <= before:
                return False
            return all(
                self.scene.condition(kind).get("status") == "True" for kind in ("Ready", "MetricsAvailable")
            )

        with self.scene.described():
            wait_until(planned, what="a plan on known figures", timeout_s=PATIENCE_S)
        return time.monotonic() - began_s

    def follows_the_load(self) -> None:
        """Change the load, and wait until the replicas have followed it."""
        self.change_the_load()
        self.wait_size()

    def change_the_load(self) -> None:
        """From now on the other one is played, which needs another size."""
        self.load = next(load for load in SIZES if load != self.load)
        self.scene.loads.change(self.scene.dynamo_namespace, requests_s=self.load)

    def mend(self) -> None:
        """After a fault that went wrong: everything is there again, for the others."""
        self.api.open()
        self.metrics.open()
        self.prometheus.start()
        self.control_plane.etcd.start()
        self.control_plane.start_api_server()
        self.scene.apply_profile()
        self.scene.apply(graph(replicas=self.size), self.policy())
        self.plans_again()
        self.follows_the_load()

    def versions(self, *, since: int) -> BudgetWatch:
        """Every version of the deployment from a revision on, as etcd keeps them: no outage hides one."""
        key = f"/registry/nvidia.com/dynamographdeployments/{self.scene.namespace}/{NAME}"
        stored = self.control_plane.etcd.history(key, since=since)
        return BudgetWatch(seen=[version_of(json.loads(text)) for text in stored])
