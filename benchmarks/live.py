"""Ten real minutes of a live fleet under the operator, beside the simulator's: `make bench-live`.

The same slice of a trace (azure2023_conv from minute 29.5 on, each request four times), policy, profile and
start size. Live: an API server, Prometheus, `slaplanner run` and the played fleet on this machine, nothing
sped up. Simulated: `slaplanner simulate`'s loop. The operator plans on a grid of Unix time; the deployment is
made when a plan is due, so that both see the same intervals: a first interval that is cut short looks like
a load that grows. GPU time counts from the first request to the last arrival.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from slaplanner.adapters.profiles import LoadedProfile
from slaplanner.adapters.traces.trace import read_trace
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.schedule import last_slot_s
from slaplanner.core.model import Policy
from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.ground_truth import LatencyTargets
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.notebook import load_profile
from slaplanner_lab.simulation.loop import GRACE_S, ROLES, Scenario, simulate
from slaplanner_lab.simulation.planners import PolicyPlanner
from slaplanner_lab.simulation.score import score
from slaplanner_lab.simulation.setup import scenario_of
from tests.fleet_program import FleetProgram, running_fleet
from tests.operator_program import install_operator, running_operator
from tests.scene import NAME, graph, policy
from tests.testbed import Bed, Cluster, Target
from tests.testbed.dynamo import Served, dynamo_kubeconfig, install_dynamo
from tests.testbed.processes import wait_until

ROOT = Path(__file__).resolve().parent.parent
PROFILE = ROOT / "examples" / "profiles" / "h100_vllm_Qwen3-32B_bf16_tp2"
TRACE = ROOT / "examples" / "traces" / "azure2023_conv.jsonl.gz"
NAMESPACE = "live"
WHERE = f"--namespace={NAMESPACE}"

SLICE_S = (1770.0, 2370.0)
COPIES = 4
GPUS = 2
STARTUP_S = 40.0
INTERVAL_S = 30.0
DEPLOYING_S = 1.0
"""From applying the deployment to its first request, about."""

ATTAINMENT_POINTS = 2.0
GPU_TIME_SHARE = 0.1

POLICY = policy(
    sla={"ttft": 300, "itl": 20},
    metrics={"windowSeconds": int(INTERVAL_S)},
    planning={"intervalSeconds": int(INTERVAL_S), "startupSeconds": int(STARTUP_S), "sizing": "Attainment"},
    behavior=None,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run comes to."""

    what: str
    requests: int
    attainment: Mapping[str, float]
    gpu_s: Mapping[str, float]

    @property
    def total_gpu_s(self) -> float:
        return sum(self.gpu_s.values())


def simulated(scenario: Scenario, profile: LoadedProfile) -> Figures:
    told = score(simulate(scenario, PolicyPlanner(policy=scenario.policy, profile=profile.profile)))
    return Figures(
        what="simulated",
        requests=told.requests,
        attainment={kind: getattr(told.attainment, kind) for kind in ("both", "ttft", "itl")},
        gpu_s={role.value: 3600.0 * hours for role, hours in told.gpu_hours.items()},
    )


def live(bed: Bed, scratch: Path, scenario: Scenario) -> tuple[Figures, float]:
    """The live run, and how long after a plan's time its trace began."""
    cluster, prometheus = bed.control_plane, bed.prometheus
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    cluster.kubectl("create", "namespace", NAMESPACE)
    sla = scenario.policy.sla
    options = Options(
        tables=scenario.tables,
        traffic=scenario.traffic,
        startup_s=STARTUP_S,
        targets=LatencyTargets(ttft_ms=sla.ttft_ms, itl_ms=sla.itl_ms),
    )
    with ExitStack() as programs:
        fleet = programs.enter_context(running_fleet(dynamo_kubeconfig(cluster), options))
        prometheus.add_target(Target(job="fleet", address=fleet.target))
        programs.enter_context(running_operator(cluster, scratch, prometheus=prometheus.url))
        uid = govern(cluster)
        next_s = last_slot_s(now_s=time.time() + DEPLOYING_S, uid=uid, interval_s=INTERVAL_S) + INTERVAL_S
        wait_until(
            lambda: time.time() >= next_s - DEPLOYING_S, what="a plan to be near", timeout_s=2 * INTERVAL_S
        )
        deploy(cluster, scenario)
        wait_until(lambda: _report(fleet).get("requests", {}).get("arrived"), what="the first request")
        began_s, begin = time.time(), _report(fleet)
        started = f"{names.STARTUP_ANNOTATION}={STARTUP_S:g}"
        cluster.kubectl("annotate", WHERE, "--overwrite", "dgd", NAME, started)
        return watched(fleet, begin), began_s - next_s


def deploy(cluster: Cluster, scenario: Scenario) -> None:
    """The deployment; its first replicas start at once, later ones as the policy says."""
    deployment = graph(replicas={role.value: count for role, count in scenario.start.items()}, gpus=GPUS)
    deployment["metadata"]["labels"] = {names.SIMULATED_LABEL: "true"}
    deployment["metadata"]["annotations"] = {names.STARTUP_ANNOTATION: "0"}
    cluster.kubectl("apply", WHERE, "-f", "-", stdin=yaml.safe_dump(deployment))


def govern(cluster: Cluster) -> str:
    """Apply the policy; its UID, which says when the operator plans for it."""
    files = [f"--from-file={PROFILE / name}" for name in ("prefill_raw_data.json", "decode_raw_data.json")]
    cluster.kubectl("create", "configmap", "profile", WHERE, *files)
    cluster.kubectl("apply", WHERE, "-f", "-", stdin=yaml.safe_dump(POLICY))
    found = json.loads(cluster.kubectl("get", "slap", NAME, WHERE, "-o", "json").stdout)
    return str(found["metadata"]["uid"])


def watched(fleet: FleetProgram, begin: Mapping[str, Any]) -> Figures:
    """Wait for the last answer."""
    seconds = SLICE_S[1] - SLICE_S[0]
    wait_until(lambda: _report(fleet)["traceEnded"], what="the last arrival", timeout_s=seconds + 60.0)
    end = _report(fleet)
    wait_until(lambda: _report(fleet)["unfinished"] == 0, what="the last answer", timeout_s=GRACE_S)
    last = _report(fleet)
    return Figures(
        what="live",
        requests=last["requests"]["served"],
        attainment=last["attainment"],
        gpu_s={role.value: end["gpuSeconds"][role.value] - begin["gpuSeconds"][role.value] for role in ROLES},
    )


def _report(fleet: FleetProgram) -> dict[str, Any]:
    found: dict[str, Any] = fleet.graphs().get(f"{NAMESPACE}/{NAME}", {})
    return found


def row(one: Figures) -> str:
    shares = " | ".join(f"{one.attainment[kind]:.2f}" for kind in ("both", "ttft", "itl"))
    seconds = " | ".join(f"{one.gpu_s[role.value]:,.0f}" for role in ROLES)
    return f"| {one.what} | {one.requests:,} | {shares} | {seconds} | {one.total_gpu_s:,.0f} |"


def main() -> int:
    profile = load_profile(PROFILE)
    scenario = scenario_of(
        with_gpus(SLAPolicy.parse(POLICY).to_core()),
        read_trace(TRACE).between(*SLICE_S),
        fleet=profile.profile,
        copies=COPIES,
        unscored_s=0.0,
    )
    print(f"ten minutes, {len(scenario.traffic):,} requests", file=sys.stderr, flush=True)
    with Bed(say=lambda line: print(line, file=sys.stderr, flush=True)) as bed:
        found, late_s = live(bed, bed.directory, scenario)
    told = simulated(scenario, profile)
    print(f"the live trace began {late_s:.1f} s after a plan's time, the simulated one 0.0 s\n")
    print("| | requests | both % | TTFT % | ITL % | prefill GPU-s | decode GPU-s | GPU-s |")
    print("|---" * 8 + "|")
    print(f"{row(told)}\n{row(found)}\n")
    apart = abs(found.attainment["both"] - told.attainment["both"])
    share = abs(found.total_gpu_s / told.total_gpu_s - 1.0)
    claims = {
        f"attainments {apart:.2f} points apart, wanted at most {ATTAINMENT_POINTS:g}": apart
        <= ATTAINMENT_POINTS,
        f"GPU time {100 * share:.1f} % apart, wanted at most {100 * GPU_TIME_SHARE:g} %": share
        <= GPU_TIME_SHARE,
    }
    print("\n".join(f"{'holds' if held else 'FAILS'}: {claim}" for claim, held in claims.items()))
    return 0 if all(claims.values()) else 1


def with_gpus(policy: Policy) -> Policy:
    """What the operator reads from the deployment."""
    return replace(policy, roles=tuple(replace(role, gpus_per_replica=GPUS) for role in policy.roles))


if __name__ == "__main__":
    sys.exit(main())
