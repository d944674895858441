"""A real Argo CD with self-heal beside an operator that scales: nothing is reverted, nothing is missed.

All deployments are played side by side while the long one runs, each by a thread of its own; the
tests below then say what was seen. The long run is the recommended way: server-side apply, v1beta1,
replicas left out of Git.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner

from slaplanner.cli import main
from tests import scene
from tests.gitops import KINDS, PATIENCE_S, operations, state_of
from tests.gitops_stage import (
    DOOR,
    GRAPHS,
    POLICIES,
    Deployment,
    Stage,
    graph,
    images,
    is_rolled_out,
    owners,
    policy,
    replicas,
    staged,
)
from tests.testbed import ArgoCD, LuaEngine, PartFailedError, PrometheusServer, wait_until

LONG_RUN_S = 300.0
FLOOR = 7
"""Decode replicas that a later commit of the policy asks for at least."""
GONE_WITHIN_S = 30.0
SERVER_SIDE = "ServerSideApply=true"
RESPECT = "RespectIgnoreDifferences=true"
ONLY_CHANGES = "ApplyOutOfSyncOnly=true"
"""So that a commit of the policy, which acts at once, does not send the deployment's replicas of before."""
BY_MANAGER = {"managedFieldsManagers": ["slaplanner"]}
BY_PATH = {"jqPathExpressions": [".spec.services[].replicas", ".spec.components[].replicas"]}
SYNC_OPTIONS = "argocd.argoproj.io/sync-options"
PER_OBJECT = {SYNC_OPTIONS: SERVER_SIDE}
"""On a deployment whose Application is applied client-side."""
ARGOCD_MANAGER = "argocd-controller"
DEFINITION = "crd/slapolicies.slaplanner.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one deployment is synced."""

    name: str
    version: str = "v1beta1"
    adapters: bool = False
    in_git: bool = False
    """Whether Git says replicas."""
    options: Sequence[str] = (SERVER_SIDE,)
    ignore: Sequence[Mapping[str, Any]] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)

    def manifest(self, **changes: Any) -> dict[str, Any]:
        made = graph(version=self.version, adapters=self.adapters, **({"replicas": self.in_git} | changes))
        made["metadata"]["annotations"] |= self.annotations
        return made

    @property
    def writer(self) -> str:
        """Who puts replicas into the deployment: Dynamo's operator, where adapters keep them."""
        return "slaplanner-fleet" if self.adapters else "slaplanner"


LONG = Way(name="long", ignore=[BY_MANAGER])
WAYS = (
    Way(name="server-beta-adapters", adapters=True),
    Way(
        name="server-alpha",
        version="v1alpha1",
        in_git=True,
        options=(SERVER_SIDE, RESPECT, ONLY_CHANGES),
        ignore=[BY_MANAGER],
    ),
    Way(name="server-alpha-adapters", version="v1alpha1", adapters=True),
    Way(
        name="client-alpha",
        version="v1alpha1",
        in_git=True,
        options=(RESPECT, ONLY_CHANGES),
        ignore=[BY_PATH],
    ),
    Way(name="client-alpha-adapters", version="v1alpha1", adapters=True, options=(), ignore=[BY_PATH]),
    Way(name="client-beta", options=(), ignore=[BY_PATH], annotations=PER_OBJECT),
    Way(name="client-beta-adapters", adapters=True, options=(), ignore=[BY_PATH], annotations=PER_OBJECT),
)


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened to one deployment."""

    way: Way
    deployment: Deployment
    healthy_at_s: float = 0.0
    loaded: list[tuple[float, float]] = field(default_factory=list)
    """From when the roles had grown until the load went."""
    synced_at_s: list[float] = field(default_factory=list)
    """When each later commit had arrived."""


@pytest.fixture(scope="module")
def stage(
    argocd: ArgoCD, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with staged(argocd, prometheus_server, tmp_path_factory.mktemp("gitops")) as stage:
        yield stage


@pytest.fixture(scope="module")
def stories(stage: Stage) -> Iterator[dict[str, Future[Story]]]:
    """All ways, under way; the long one goes on while the tests of this module run."""
    with ThreadPoolExecutor(max_workers=len(WAYS) + 1) as pool:
        yield {
            LONG.name: pool.submit(play_long, stage),
            **{way.name: pool.submit(play, stage, way) for way in WAYS},
        }


def begin(stage: Stage, way: Way) -> Story:
    """Deploy it and let it become Synced and Healthy."""
    deployment = stage.deploy(way.name, way.manifest(), options=way.options, ignore=way.ignore)
    deployment.app.wait(revision=deployment.commits[0][0])
    deployment.wait_played()
    return Story(way=way, deployment=deployment, healthy_at_s=time.time())


def load(story: Story, during: Callable[[], None]) -> None:
    """A load that makes both roles grow; *during* it something happens; then it goes."""
    story.deployment.busy(busy=True)
    story.deployment.wait_grown()
    start_s = time.time()
    during()
    story.loaded.append((start_s, time.time()))
    story.deployment.busy(busy=False)


def commit(story: Story, arrived: Callable[[], bool], **files: Sequence[Mapping[str, Any]]) -> None:
    """Commit, and wait until it is synced and acts."""
    revision = story.deployment.commit(**files)
    story.deployment.wait(
        lambda: story.deployment.app.state()[::2] == ("Synced", revision), "the commit to be synced"
    )
    story.synced_at_s.append(time.time())
    story.deployment.wait(arrived, "the commit to act")


def change(story: Story) -> None:
    """Another field of the deployment, then the policy; replicas leave Git with the first, if there.

    The policy waits for the rollout, because a plan during one leaves the role that rolls as it is.
    """
    deployment, way = story.deployment, story.way
    commit(
        story,
        lambda: images(deployment.get(GRAPHS)) == {"vllm:2"},
        graph=[way.manifest(image="vllm:2", replicas=False)],
    )
    deployment.wait(lambda: is_rolled_out(deployment.get(GRAPHS)), "the rollout to end")
    floors = policy(roles=[{"name": "decode", "minReplicas": FLOOR}])
    commit(story, lambda: deployment.replicas()["decode"] == FLOOR, policy=[floors])


def play(stage: Stage, way: Way) -> Story:
    story = begin(stage, way)
    load(story, lambda: change(story))
    commit(story, lambda: True, policy=[policy()])
    story.deployment.wait_shrunk()
    return story


def play_long(stage: Stage) -> Story:
    """As the others, and then up and down until more than five minutes have passed."""
    story = play(stage, LONG)
    while time.time() < story.healthy_at_s + LONG_RUN_S + 1:
        load(story, lambda: None)
        story.deployment.wait_shrunk()
    return story


def press(deployment: Deployment, lua_engine: LuaEngine, button: str) -> None:
    """A button of the policy, pressed in Argo CD."""
    before = deployment.get(POLICIES)
    deployment.apply_change(before, lua_engine.act(before, button))


# While they run: health, buttons, fights, and the end of things.


def test_health_follows_the_policy_and_buttons_act(
    stage: Stage, stories: Mapping[str, Future[Story]], lua_engine: LuaEngine
):
    del stories
    shut = policy(metrics={"windowSeconds": 10, "connection": DOOR})
    deployment = stage.deploy("health", graph(), own_policy=shut, options=[SERVER_SIDE])
    revision = deployment.commits[0][0]
    deployment.app.wait(revision=revision)
    healthy_at_s = time.time()
    # Whether Argo CD looks between the policy's creation and its first plan is chance; what it then finds is not.
    created = {key: value for key, value in deployment.get(POLICIES).items() if key != "status"}
    assert lua_engine.health(created)[0] == "Progressing"

    stage.door.close()
    deployment.app.wait(revision=revision, health="Degraded")
    engine_says, message = lua_engine.health(deployment.get(POLICIES))
    assert engine_says == "Degraded"
    assert message.startswith("MetricsAvailable: ")
    assert DOOR in message
    stage.door.open()
    deployment.app.wait(revision=revision)

    for button, condition in (
        ("pause", ("True", "Paused")),
        ("pause-scale-in", ("True", "PausedScaleIn")),
        ("resume", ("False", "NotPaused")),
    ):
        press(deployment, lua_engine, button)
        deployment.wait(
            lambda wanted=condition: _said(deployment, "Paused") == wanted, f"the button {button} to act"
        )
        deployment.app.wait(revision=revision, health="Healthy" if button == "resume" else "Suspended")

    press(deployment, lua_engine, "plan-now")
    deployment.app.wait(revision=revision)
    ran = operations(stage.record.of("Application", "argocd", "health"))
    assert [one for one in ran if one.started_at_s > healthy_at_s] == [], (
        "what buttons write is nothing that Argo CD heals"
    )


def test_without_ignore_rules_the_fight_is_named_and_given_up(
    stage: Stage, stories: Mapping[str, Future[Story]], lua_engine: LuaEngine
):
    del stories
    deployment = stage.deploy("fight", graph(replicas=True), options=[SERVER_SIDE])
    deployment.app.wait(revision=deployment.commits[0][0])
    deployment.wait_played()
    deployment.busy(busy=True)
    deployment.wait(
        lambda: _said(deployment, "TargetConflict") == ("True", "OtherFieldManager"), "the fight to be seen"
    )
    assert repr(ARGOCD_MANAGER) in deployment.condition("TargetConflict")["message"]
    told = deployment.events("OtherFieldManager")
    assert {event["involvedObject"]["kind"] for event in told} == {"SLAPolicy", "DynamoGraphDeployment"}
    assert all(ARGOCD_MANAGER in event["message"] for event in told)

    plans = len(deployment.plans())
    deployment.wait(lambda: len(deployment.plans()) >= plans + 3, "three more plans")
    assert [plan["written"] for plan in deployment.plans()[plans:]] == [[]] * (
        len(deployment.plans()) - plans
    )
    assert deployment.replicas() == {"prefill": 1, "decode": 1}
    deployment.app.wait(revision=deployment.commits[0][0], health="Degraded")

    # Git lets go of replicas. Argo CD sees nothing to sync and stays their owner in name.
    deployment.app.wait(revision=deployment.commit(graph=[graph()]), health="Degraded")
    press(deployment, lua_engine, "plan-now")
    deployment.wait_grown()
    deployment.wait(
        lambda: _said(deployment, "TargetConflict") == ("False", "NoConflict"), "the fight to be over"
    )


def test_a_list_that_is_respected_whole_swallows_commits(stage: Stage, stories: Mapping[str, Future[Story]]):
    """Why v1beta1 goes without `RespectIgnoreDifferences`: `slaplanner validate` warns of it."""
    del stories
    deployment = stage.deploy(
        "swallowed", graph(replicas=True), options=[SERVER_SIDE, RESPECT], ignore=[BY_PATH]
    )
    deployment.app.wait(revision=deployment.commits[0][0])
    revision = deployment.commit(graph=[graph(replicas=True, image="vllm:2")])
    deployment.wait(
        lambda: (
            revision
            in {one.revision for one in operations(stage.record.of("Application", "argocd", "swallowed"))}
        ),
        "the commit to be synced",
    )
    assert images(deployment.get(GRAPHS)) == {"vllm:1"}


ORDERS = tuple(itertools.permutations(("graph", "policy", "profile")))
ORDERS_AT_ONCE = 2
"""The bound in seconds is for Argo CD and the operator, not for a machine that plays a dozen of them."""


def test_pruned_and_deleted_in_every_order_nothing_hangs(stage: Stage, stories: Mapping[str, Future[Story]]):
    wait([stories[way.name] for way in WAYS])
    with ThreadPoolExecutor(max_workers=ORDERS_AT_ONCE) as pool:
        list(pool.map(lambda numbered: _prune_and_delete(stage, *numbered), enumerate(ORDERS)))


def _prune_and_delete(stage: Stage, number: int, order: tuple[str, ...]) -> None:
    """Waves make Argo CD remove the objects one after the other, the last wave first."""
    deployment = stage.deploy(f"order-{number}", graph(), options=[SERVER_SIDE])
    deployment.app.wait(revision=deployment.commits[0][0])
    waved = {
        name: [_in_wave(one, len(order) - order.index(name)) for one in objects]
        for name, objects in deployment.files.items()
    }
    deployment.app.wait(revision=deployment.commit(**waved))
    deployment.commit(graph=None, policy=None, profile=None)
    deployment.wait(lambda: deployment.left() == [], f"pruning in the order {order}", timeout_s=GONE_WITHIN_S)

    # A wave waits for health, which a policy without its target never has: waves only to go by.
    deployment.app.wait(revision=deployment.commit(**deployment.files))
    deployment.app.wait(revision=deployment.commit(**waved))
    deployment.app.delete()
    deployment.wait(
        lambda: deployment.left() == [], f"deleting in the order {order}", timeout_s=GONE_WITHIN_S
    )


def _in_wave(obj: Mapping[str, Any], wave: int) -> dict[str, Any]:
    metadata = dict(obj["metadata"])
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        "argocd.argoproj.io/sync-wave": str(wave),
    }
    return {**obj, "metadata": metadata}


def _said(deployment: Deployment, kind: str) -> tuple[str, str]:
    found = deployment.condition(kind)
    return found.get("status", ""), found.get("reason", "")


# What the side-by-side runs showed.


@pytest.mark.parametrize("name", [*(way.name for way in WAYS), LONG.name])
class TestEveryWay:
    """Each combination of apply, version and adapters; the long run comes last."""

    def test_a_commit_arrives_and_replicas_are_kept(self, stories: Mapping[str, Future[Story]], name: str):
        story = stories[name].result()
        assert images(story.deployment.get(GRAPHS)) == {"vllm:2"}

    def test_no_replica_is_reverted(self, stage: Stage, stories: Mapping[str, Future[Story]], name: str):
        story = stories[name].result()
        seen = stage.record.of("DynamoGraphDeployment", name, scene.NAME, since_s=story.healthy_at_s)
        changes = [
            (role, before, after, owners(later.body, role))
            for earlier, later in itertools.pairwise(seen)
            for role in ("prefill", "decode")
            if (before := replicas(earlier.body)[role]) != (after := replicas(later.body)[role])
        ]
        assert changes
        assert [change for change in changes if story.way.writer not in change[-1]] == []
        under_load = [
            min(replicas(one.body).values())
            for one in seen
            if any(start <= one.at_s <= end for start, end in story.loaded)
        ]
        assert min(under_load, default=2) >= 2

    def test_only_commits_cause_syncs(self, stage: Stage, stories: Mapping[str, Future[Story]], name: str):
        """One sync for each commit; self-heal runs only as the end of one, and never once that was Synced.

        Right after a sync Argo CD compares with what its watch has shown until then. Where that is too
        early it syncs the commit again, also without any operator near: so it did for 3 of 52 commits
        of a deployment alone. Only a repair after the commit's first Synced would answer to a write of ours.
        """
        story = stories[name].result()
        seen = stage.record.of("Application", "argocd", name)
        ran = operations(seen)
        assert [one.revision for one in ran if not one.repaired] == [
            revision for revision, _ in story.deployment.commits
        ]
        synced_at_s = {
            revision: next(one.at_s for one in seen if state_of(one.body)[::2] == ("Synced", revision))
            for revision, _ in story.deployment.commits
        }
        assert [one for one in ran if one.started_at_s > synced_at_s[one.revision]] == []

    def test_a_commit_of_the_policy_acts_with_the_next_plan(
        self, stage: Stage, stories: Mapping[str, Future[Story]], name: str
    ):
        stories[name].result()
        versions = [one.body for one in stage.policies.of("SLAPolicy", name, scene.NAME)]
        decided = [body.get("status", {}).get("lastDecision", {}).get("id") for body in versions]
        last = next(at for at, body in enumerate(versions) if body["spec"].get("roles"))
        # A plan that ends without a decision, because something could not be read, leaves the roles as they were.
        planned = next(
            body["status"]
            for body, decision in zip(versions[last:], decided[last:], strict=True)
            if body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"]
            and decision != decided[last - 1]
        )
        assert {role["name"]: role["desired"] for role in planned["roles"]}["decode"] == FLOOR, json.dumps(
            planned
        )

    def test_the_application_stays_synced(
        self, stage: Stage, stories: Mapping[str, Future[Story]], name: str
    ):
        story = stories[name].result()
        commits = [at_s for _, at_s in story.deployment.commits[1:]]
        changing = list(zip(commits, story.synced_at_s, strict=True))
        seen = stage.record.of("Application", "argocd", name, since_s=story.healthy_at_s)
        unsynced = [
            one.at_s
            for one in seen
            if state_of(one.body)[0] != "Synced"
            and not any(start <= one.at_s <= end for start, end in changing)
        ]
        assert unsynced == []


def test_five_minutes_of_scaling_were_seen(stage: Stage, stories: Mapping[str, Future[Story]]):
    story = stories[LONG.name].result()
    seen = stage.record.of("DynamoGraphDeployment", LONG.name, scene.NAME, since_s=story.healthy_at_s)
    assert seen[-1].at_s - story.healthy_at_s >= LONG_RUN_S
    assert len(story.loaded) >= 2
    assert story.deployment.app.state()[0] == "Synced"


def test_the_operators_own_application_is_synced_and_healthy(stage: Stage):
    status, health, _ = stage.app("slaplanner").state()
    assert (status, health) == ("Synced", "Healthy")


def test_an_operator_that_goes_first_leaves_nothing_that_release_does_not_free(
    stage: Stage, stories: Mapping[str, Future[Story]]
):
    names = [story.result().deployment.namespace for story in stories.values()]
    stage.operator.stop()
    stage.app("slaplanner").delete()
    wait_until(
        lambda: not _listed(stage, "deployment/slaplanner", "--namespace=slaplanner-system"),
        what="Argo CD to remove the operator",
        timeout_s=PATIENCE_S,
        poll_s=0.5,
    )
    assert _listed(stage, DEFINITION), "Argo CD deletes no definitions with an Application"

    for name in names:
        stage.app(name).delete()
    wait_until(
        lambda: len(_deleting(stage)) == len(names),
        what="the policies to wait for their operator",
        timeout_s=PATIENCE_S,
        poll_s=0.5,
    )
    result = CliRunner().invoke(
        main, ["release", "--all-namespaces", f"--kubeconfig={stage.cluster.kubeconfig}"]
    )
    assert result.exit_code == 0, result.output
    try:
        wait_until(
            lambda: not any(_applications(stage, names)),
            what="Applications and policies to be gone",
            timeout_s=PATIENCE_S,
            poll_s=0.5,
        )
    except PartFailedError as error:
        error.add_note(stage.cluster.kubectl("get", KINDS, "--namespace=argocd", "-o", "yaml").stdout)
        error.add_note(
            stage.cluster.kubectl("get", f"slapolicies,{GRAPHS}", "--all-namespaces", "-o", "yaml").stdout
        )
        raise
    assert _deleting(stage) == []


def _listed(stage: Stage, *what: str) -> str:
    return stage.cluster.kubectl("get", *what, "--ignore-not-found", "-o", "name").stdout


def _applications(stage: Stage, names: Sequence[str]) -> list[str]:
    listed = stage.cluster.kubectl(
        "get", KINDS, "--namespace=argocd", "-o=jsonpath={.items[*].metadata.name}"
    )
    return [name for name in listed.stdout.split() if name in names]


def _deleting(stage: Stage) -> list[str]:
    listed = stage.cluster.kubectl(
        *("get", "slapolicies", "--all-namespaces", "-o=jsonpath={.items[*].metadata.deletionTimestamp}")
    )
    return listed.stdout.split()
