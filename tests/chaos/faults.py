"""The faults: each begins something, awaits what a user then sees, and ends it.

A fault is a generator: up to its `yield` it has begun and been seen; after it, it is over.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

from tests.chaos.api_door import Refusal, writes_of
from tests.chaos.stage import PATIENCE_S, Stage
from tests.gateway import Manner, not_numbers
from tests.operator_program import NAMESPACE, without_right
from tests.scene import NAME, PROFILE, graph
from tests.testbed import wait_until

Play = Callable[[Stage], Iterator[None]]
DOWN = ("MetricsAvailable", "False", "PrometheusUnavailable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table."""

    name: str
    sees: str
    """What the user sees meanwhile; the play awaits exactly that."""
    play: Play
    edits: bool = False
    """The replicas may change in it: by another hand, or because the load that can be known does."""
    short: bool = False
    """Played in CI too."""
    restarts: bool = False
    """The operator's process ends in it."""


FAULTS: list[Fault] = []


def fault(name: str, sees: str, **marks: bool) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        FAULTS.append(Fault(name=name, sees=sees, play=play, **marks))
        return play

    return register


# Prometheus.


def prometheus(name: str, manner: Manner, reason: str, message: str = "", *, short: bool = False) -> None:
    """A fault of Prometheus' answers."""

    def play(stage: Stage) -> Iterator[None]:
        stage.metrics.behave(manner)
        stage.sees("MetricsAvailable", "False", reason, message)
        yield
        stage.metrics.open()

    shown = f"`MetricsAvailable=False {reason}`" + (f", {message}" if message else "")
    fault(f"Prometheus {name}", shown, short=short)(play)


def empty(body: bytes) -> bytes:
    answer = json.loads(body)
    answer["data"]["result"] = []
    return json.dumps(answer).encode()


def odd(body: bytes) -> bytes:
    """Every figure is 1e308."""
    answer = json.loads(body)
    for series in answer["data"]["result"]:
        for point in [series.get("value"), *series.get("values", ())]:
            if point is not None:
                point[1] = "1e308"
    return json.dumps(answer).encode()


prometheus(
    "takes questions and never answers", Manner(silent=True), "PrometheusUnavailable", "did not answer"
)
prometheus("answers 500", Manner(status=500), "PrometheusUnavailable", "500", short=True)
prometheus("answers 429", Manner(status=429), "PrometheusUnavailable", "429")
prometheus("refuses the credentials (401)", Manner(status=401), "PrometheusRejected", "401")
prometheus("redirects elsewhere", Manner(status=302), "PrometheusUnavailable", "a redirect")
prometheus("answers a web page", Manner(bend=lambda _: b"<html>"), "PrometheusUnavailable", "not JSON")
prometheus(
    "answers half a document", Manner(bend=lambda body: body[: len(body) // 2]), "PrometheusUnavailable"
)
prometheus("answers NaN", Manner(bend=not_numbers), "NotANumber", short=True)
prometheus("succeeds without a series", Manner(bend=empty), "NoSeries")


@fault("Prometheus' clock is 10 minutes behind", "`MetricsAvailable` says by how many seconds")
def clock_behind(stage: Stage) -> Iterator[None]:
    stage.metrics.behave(Manner(date=lambda: formatdate(time.time() - 600, usegmt=True)))
    wait_until(
        lambda: "s behind the operator's" in stage.scene.condition("MetricsAvailable").get("message", ""),
        what="the clock to be named",
        timeout_s=PATIENCE_S,
    )
    yield
    stage.metrics.open()


@fault("Prometheus answers 1e308 everywhere", "`MetricsAvailable=False` with the reading that is no number")
def figures_without_bounds(stage: Stage) -> Iterator[None]:
    stage.metrics.behave(Manner(bend=odd))
    wait_until(
        lambda: stage.scene.condition("MetricsAvailable").get("status") == "False",
        what="an unknown reading",
        timeout_s=PATIENCE_S,
    )
    yield
    stage.metrics.open()


@fault("nobody listens where Prometheus was", "`MetricsAvailable=False PrometheusUnavailable`, refused")
def nobody_listens(stage: Stage) -> Iterator[None]:
    stage.metrics.close()
    stage.sees(*DOWN, "refused")
    yield
    stage.metrics.open()


@fault("Prometheus is killed and comes back with its data", "`MetricsAvailable=False PrometheusUnavailable`")
def prometheus_killed(stage: Stage) -> Iterator[None]:
    stage.prometheus.stop(grace_s=0)
    stage.sees(*DOWN)
    stage.prometheus.start()
    yield


@fault(
    "the frontend's series end", "`MetricsAvailable=False Stale`, or `NoSeries` once the window has passed"
)
def frontend_gone(stage: Stage) -> Iterator[None]:
    scene = stage.scene
    played = scene.loads._played[scene.dynamo_namespace]
    scene.loads.silence(scene.dynamo_namespace)
    wait_until(
        lambda: scene.condition("MetricsAvailable").get("reason") in {"Stale", "NoSeries"},
        what="a frontend that went",
        timeout_s=PATIENCE_S,
    )
    scene.loads._played[scene.dynamo_namespace] = played
    yield


@fault(
    "a frontend restarts and counts from 0",
    "nothing: what is counted in that window is a lower bound, because the last requests before are lost",
)
def counters_reset(stage: Stage) -> Iterator[None]:
    scene = stage.scene
    played = scene.loads._played[scene.dynamo_namespace]
    played.totals, played.since_s = {}, time.time()
    scene.wait_plans(2)
    yield


# The API server and its etcd.


def api_server(name: str, sees: str, refusal: Refusal, *words: str, short: bool = False) -> None:
    """A fault of the API server's answers, which the operator's log tells."""

    def play(stage: Stage) -> Iterator[None]:
        stage.api.refuse(refusal)
        wait_until(lambda: stage.api.refused > 0, what="a request that is refused", timeout_s=PATIENCE_S)
        if words:
            stage.logs(*words)
        yield
        stage.api.open()

    fault(f"the API server {name}", sees, short=short)(play)


KEPT = "the status stays as it was; the log says `APIUnavailable`"
AWAY = "the status stays as it was; an operator that cannot renew its lease ends and is started anew"
api_server("answers 500 to everything", KEPT, Refusal(status=500), "APIUnavailable")
api_server("asks for rest (429, Retry-After)", KEPT, Refusal(status=429, retry_after_s=1), "429", short=True)
api_server("refuses the operator's token (401)", "the status stays as it was", Refusal(status=401))


@fault(
    "the API server takes requests and never answers",
    "the operator cannot renew its lease: it ends and is started anew",
    restarts=True,
)
def api_server_hangs(stage: Stage) -> Iterator[None]:
    ended = stage.operator
    stage.api.refuse(Refusal(hold=True))
    wait_until(lambda: ended.process.poll() is not None, what="the operator to end", timeout_s=PATIENCE_S)
    stage.api.open()
    stage.restarted(ended)
    yield


@fault("every connection to the API server is cut, ten times", "nothing: plans go on")
def connections_cut(stage: Stage) -> Iterator[None]:
    for _ in range(10):
        stage.api.cut()
        time.sleep(0.3)
    yield


def a_write_of_the_deployment(stage: Stage, refusal: Refusal) -> None:
    """Have the operator want to write, by a load that changes, and meet the refusal."""
    stage.api.refuse(refusal)
    stage.change_the_load()
    wait_until(lambda: stage.api.refused > 0, what="a write that is refused", timeout_s=PATIENCE_S)


GRAPHS = "dynamographdeployments"


@fault("every write of replicas meets a conflict (409)", "`Progressing=True Conflict`", edits=True)
def conflicts(stage: Stage) -> Iterator[None]:
    a_write_of_the_deployment(stage, Refusal(status=409, matches=writes_of(GRAPHS)))
    stage.sees("Progressing", "True", "Conflict")
    yield
    stage.api.open()


@fault(
    "a write of replicas is carried out and its answer lost",
    "an event `ScaleFailed`; no second write",
    edits=True,
)
def answer_lost(stage: Stage) -> Iterator[None]:
    a_write_of_the_deployment(stage, Refusal(lose_answer=True, matches=writes_of(GRAPHS)))
    stage.api.open()
    stage.wait_size()
    yield


@fault("every write of the status meets a conflict (409)", "the status stays as it was, then catches up")
def status_conflicts(stage: Stage) -> Iterator[None]:
    stage.api.refuse(Refusal(status=409, matches=writes_of("slapolicies/status")))
    stage.scene.annotate(f"slaplanner.io/plan-requested-at={time.time()}")
    wait_until(
        lambda: stage.api.refused > 1, what="writes of the status that are refused", timeout_s=PATIENCE_S
    )
    yield
    stage.api.open()


@fault("the API server is killed and comes back", AWAY, restarts=True)
def api_server_killed(stage: Stage) -> Iterator[None]:
    stage.control_plane.stop_api_server()
    time.sleep(5)
    stage.control_plane.start_api_server()
    yield


@fault("the API server's etcd is killed and comes back", AWAY, restarts=True)
def etcd_killed(stage: Stage) -> Iterator[None]:
    stage.control_plane.etcd.stop(grace_s=0)
    time.sleep(5)
    stage.control_plane.etcd.start()
    yield


@fault(
    "the operator may no longer write deployments",
    "`TargetResolved=False Forbidden` with verb and resource",
    edits=True,
)
def right_revoked(stage: Stage) -> Iterator[None]:
    with without_right(stage.control_plane, "patch", GRAPHS):
        stage.change_the_load()
        stage.sees("TargetResolved", "False", "Forbidden", "verb 'patch'")
        yield


@fault("the operator's token is rotated", "nothing but a restart's pause", restarts=True)
def token_rotated(stage: Stage) -> Iterator[None]:
    ended = stage.operator
    stage.renew_token()
    ended.stop()
    stage.restarted(ended)
    yield


# The operator's own process.


def mid_plan(stage: Stage) -> None:
    """Have a plan under way: its question to Prometheus is open."""
    stage.metrics.behave(Manner(silent=True))
    before = stage.metrics.held_so_far
    wait_until(lambda: stage.metrics.held_so_far > before, what="an open question", timeout_s=PATIENCE_S)


@fault("SIGKILL in the middle of a plan", "a pause until the next operator plans", restarts=True)
def killed_mid_plan(stage: Stage) -> Iterator[None]:
    mid_plan(stage)
    ended = stage.operator
    ended.kill()
    stage.metrics.open()
    stage.restarted(ended)
    yield


@fault("SIGTERM in the middle of a plan", "exit code 0; a pause until the next operator plans", restarts=True)
def ended_mid_plan(stage: Stage) -> Iterator[None]:
    mid_plan(stage)
    ended = stage.operator
    ended.stop()
    stage.metrics.open()
    stage.restarted(ended)
    yield


@fault(
    "SIGKILL between the write of replicas and its answer",
    "the next operator finds it written",
    edits=True,
    restarts=True,
)
def killed_mid_write(stage: Stage) -> Iterator[None]:
    a_write_of_the_deployment(stage, Refusal(lose_answer=True, matches=writes_of(GRAPHS)))
    ended = stage.operator
    ended.kill()
    stage.api.open()
    stage.restarted(ended)
    yield


@fault(
    "the operator is frozen for longer than its lease and thaws",
    "it renews its lease where nobody took it, else it ends and is started anew",
    restarts=True,
)
def frozen(stage: Stage) -> Iterator[None]:
    ended = stage.operator
    ended.process.send_signal(signal.SIGSTOP)
    time.sleep(20)
    ended.process.send_signal(signal.SIGCONT)
    yield


@fault(
    "somebody else takes the lease",
    "it ends, is started anew, and writes nothing until the lease has run out",
    short=True,
    restarts=True,
)
def lease_lost(stage: Stage) -> Iterator[None]:
    ended = stage.operator
    taken = {"spec": {"holderIdentity": "somebody-else", "leaseTransitions": 99}}
    patch = ("patch", "lease", "slaplanner", f"--namespace={NAMESPACE}", "--type=merge")
    stage.control_plane.kubectl(*patch, f"--patch={json.dumps(taken)}")
    stage.restarted(ended)
    yield


@fault("the lease is deleted", "nothing: it is made again", restarts=True)
def lease_deleted(stage: Stage) -> Iterator[None]:
    stage.control_plane.kubectl("delete", "lease", "slaplanner", f"--namespace={NAMESPACE}")
    yield


@fault("the leader is killed beside a standby", "the standby leads after the lease", restarts=True)
def standby_takes_over(stage: Stage) -> Iterator[None]:
    leader = stage.operator
    stage.let_go(leader)
    stage.start_operator()
    leader.kill()
    wait_until(
        lambda: "slaplanner_leader 1.0" in stage.operator.metrics(),
        what="the standby to lead",
        timeout_s=PATIENCE_S,
    )
    yield


@fault("two operators at once, without a lease", "nothing; both plan, and they agree", edits=True)
def two_operators(stage: Stage) -> Iterator[None]:
    second = stage.start_operator(elects=False)
    wait_until(
        lambda: any(line.get("message") == "planned" for line in second.log()),
        what="the second to plan",
        timeout_s=PATIENCE_S,
    )
    stage.plans_again()
    stage.follows_the_load()
    stage.let_go(second)
    second.stop()
    wait_until(lambda: stage.operator is not second, what="the first alone")
    yield


# What users do.


@fault("the profile's ConfigMap is deleted", "`ProfileLoaded=False ProfileNotFound`")
def profile_deleted(stage: Stage) -> Iterator[None]:
    stage.scene.kubectl("delete", "configmap", "profile")
    stage.sees("ProfileLoaded", "False", "ProfileNotFound")
    stage.scene.apply_profile()
    yield


def spoilt_profile(name: str, spoil: Callable[[dict[str, Any]], str], *, short: bool = False) -> None:
    def play(stage: Stage) -> Iterator[None]:
        keys = ("prefill_raw_data.json", "decode_raw_data.json")
        data = {key: (PROFILE / key).read_text() for key in keys}
        data[keys[0]] = spoil(json.loads(data[keys[0]]))
        stage.scene.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "profile"}, "data": data}
        )
        stage.sees("ProfileLoaded", "False", "ProfileInvalid")
        stage.scene.apply_profile()
        yield

    fault(
        f"the profile {name}", "`ProfileLoaded=False ProfileInvalid` with key, found and wanted", short=short
    )(play)


def with_nan(table: dict[str, Any]) -> str:
    table["prefill_ttft"][0] = float("nan")
    return json.dumps(table)


spoilt_profile("becomes garbage", lambda _: "{", short=True)
spoilt_profile("holds NaN", with_nan)
spoilt_profile("is nested 100,000 deep", lambda _: "[" * 100_000)


@fault("the deployment is deleted and made again", "`TargetResolved=False TargetNotFound`", edits=True)
def deployment_recreated(stage: Stage) -> Iterator[None]:
    stage.scene.kubectl("delete", stage.scene.graph_kind, NAME)
    stage.sees("TargetResolved", "False", "TargetNotFound")
    stage.scene.apply(graph())
    yield


@fault(
    "somebody else changes the replicas once", "an event `Scaled`: they are put back", edits=True, short=True
)
def deployment_edited(stage: Stage) -> Iterator[None]:
    patch = [{"op": "replace", "path": "/spec/components/1/replicas", "value": 1}]
    stage.scene.patch_json(stage.scene.graph_kind, NAME, patch)
    stage.wait_size()
    yield


@fault("the deployment loses a role", "`TargetResolved=False RoleNotFound`", edits=True)
def role_lost(stage: Stage) -> Iterator[None]:
    whole = stage.scene.get(stage.scene.graph_kind)["spec"]["components"]
    less = [one for one in whole if one["name"] != "prefill"]
    stage.scene.patch(stage.scene.graph_kind, NAME, {"spec": {"components": less}})
    stage.sees("TargetResolved", "False", "RoleNotFound")
    stage.scene.patch(stage.scene.graph_kind, NAME, {"spec": {"components": whole}})
    yield


@fault("the policy's CRD gets a field more", "nothing: plans go on")
def crd_updated(stage: Stage) -> Iterator[None]:
    name = "slapolicies.slaplanner.io"
    found = stage.control_plane.kubectl("get", "customresourcedefinition", name, "-o", "json").stdout
    before = json.loads(found)
    after = json.loads(found)
    spec = after["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["ofTheNextRelease"] = {"type": "string"}
    for document in (after, before):
        document["metadata"] = {"name": name}
        stage.control_plane.kubectl("replace", "-f", "-", stdin=json.dumps(document))
        stage.scene.wait_plans(1)
    yield


@fault(
    "the status is wiped by hand", "it is written anew with the next plan; `status.target` after a restart"
)
def status_wiped(stage: Stage) -> Iterator[None]:
    operations = [{"op": "replace", "path": "/status", "value": {}}]
    stage.scene.kubectl(
        "patch", "slapolicy", NAME, "--type=json", "--subresource=status", f"--patch={json.dumps(operations)}"
    )
    stage.sees("Ready", "True", "Planned")
    yield


@fault("the policy is deleted in the middle of a plan and applied again", "it goes at once; a new one plans")
def policy_deleted_mid_plan(stage: Stage) -> Iterator[None]:
    mid_plan(stage)
    stage.scene.kubectl("delete", "slapolicy", NAME, "--wait=false")
    stage.scene.wait_gone(timeout_s=PATIENCE_S)
    stage.metrics.open()
    stage.scene.apply(stage.policy())
    yield


@fault("a second policy's namespace is terminated", "nothing for the others")
def namespace_terminated(stage: Stage) -> Iterator[None]:
    name = stage.control_plane.create_namespace(f"{stage.scene.namespace}-leaving")
    stage.control_plane.kubectl("apply", "-n", name, "-f", "-", stdin=json.dumps(stage.policy()))
    stage.control_plane.kubectl("delete", "namespace", name, "--wait=false")
    yield


@fault("the disk of the command line is full", "exit code 1 and one line that says so")
def disk_full(stage: Stage) -> Iterator[None]:
    file = stage.scratch / "policy.json"
    file.write_text(json.dumps(stage.policy()))
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "slaplanner", "validate", str(file)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1, ended.stderr
    assert "No space left" in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    yield
