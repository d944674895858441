"""Policies of the connector Virtual in the controller: whose times count, and who publishes in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient

from slaplanner.adapters.deployment import policy_rivals
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.records import Records
from slaplanner.core.errors import TargetError
from slaplanner.core.reasons import Reason
from slaplanner.settings import EtcdConnection, Settings, SettingsError, load_settings
from slaplanner.virtual.policy_connector import virtual_connector, virtual_version
from tests.reconciling import document

OPEN = EtcdConnection(endpoints=("http://etcd:2379",), allowed_namespaces={"*": ("*",)})
ACKNOWLEDGED = "slaplanner.io/scaled-decision-id"


def virtual(
    name: str = "fleet", *, uid: str = "1", namespace: str = "serving", mode: str = "disagg", **spec: Any
) -> dict[str, Any]:
    roles = ("prefill", "decode") if mode == "disagg" else (mode,)
    made = document(
        targetRef=None,
        mode=mode,
        roles=[{"name": role, "gpusPerReplica": 1} for role in roles],
        connector={
            "type": "Virtual",
            "virtual": {"backend": "Kubernetes", "dynamoNamespace": "fleet", "model": "llama"} | spec,
        },
    )
    made["spec"] = {key: value for key, value in made["spec"].items() if value is not None}
    made["metadata"] |= {"name": name, "uid": uid, "namespace": namespace}
    return made


def settings(tmp_path: Path, **environment: str) -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text("{}")
    return load_settings(file, environment)


@pytest.mark.parametrize(
    ("environment", "spec", "max_wait_s", "interval_s"),
    [
        pytest.param({}, {}, 1800, 10, id="nobody-says"),
        pytest.param(
            {"SCALING_MAX_WAIT_TIME": "60", "SCALING_CHECK_INTERVAL": "2"},
            {},
            60,
            2,
            id="the-environment-says",
        ),
        pytest.param(
            {"SCALING_MAX_WAIT_TIME": "60", "SCALING_CHECK_INTERVAL": "2"},
            {"maxWaitSeconds": 30, "checkIntervalSeconds": 5},
            30,
            5,
            id="the-policy-says",
        ),
    ],
)
def test_the_policys_times_come_before_the_environments(
    environment: dict[str, str], spec: dict[str, int], max_wait_s: float, interval_s: float, tmp_path: Path
) -> None:
    found = settings(tmp_path, **environment)
    policy = SLAPolicy.parse(virtual(**spec))
    assert policy.spec.connector.virtual is not None
    connector = virtual_connector(
        policy, policy.spec.connector.virtual, settings=found, api_client=ApiClient(), now_s=lambda: 0.0
    )
    assert connector._target.max_wait_s == max_wait_s
    looks = [
        virtual_version(policy, settings=found, now_s=now_s) for now_s in (0.0, interval_s - 0.1, interval_s)
    ]
    assert looks[0] == looks[1] != looks[2]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_a_time_that_is_none_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SCALING_MAX_WAIT_TIME"):
        settings(tmp_path, SCALING_MAX_WAIT_TIME=value)


def test_an_acknowledgement_is_looked_at_at_once() -> None:
    before, after = virtual(), virtual()
    after["metadata"]["annotations"] = {ACKNOWLEDGED: "3"}
    looks = [
        virtual_version(SLAPolicy.parse(made), settings=Settings(), now_s=0.0) for made in (before, after)
    ]
    assert looks[0] != looks[1]


def test_a_policy_with_a_target_is_not_polled() -> None:
    assert virtual_version(SLAPolicy.parse(document()), settings=Settings(), now_s=0.0) is None


def test_a_connection_that_nobody_configured_is_named() -> None:
    policy = SLAPolicy.parse(virtual(backend="Etcd", etcd={"connection": "fleet"}))
    assert policy.spec.connector.virtual is not None
    with pytest.raises(TargetError, match=r"found etcd connection 'fleet' .*: none") as caught:
        virtual_connector(
            policy,
            policy.spec.connector.virtual,
            settings=Settings(),
            api_client=ApiClient(),
            now_s=lambda: 0.0,
        )
    assert caught.value.reason is Reason.CONNECTION_UNKNOWN


@pytest.mark.parametrize(
    ("younger", "roles"),
    [
        pytest.param({"backend": "Etcd"}, ["prefill", "decode"], id="the-same-keys"),
        pytest.param(
            {"backend": "Etcd", "namespace": "other"}, ["prefill", "decode"], id="from-another-namespace"
        ),
        pytest.param({"backend": "Etcd", "mode": "decode"}, ["decode"], id="one-role-of-them"),
        pytest.param({"backend": "Etcd", "etcd": {"connection": "other"}}, [], id="another-etcd"),
        pytest.param({"backend": "Etcd", "dynamoNamespace": "other"}, [], id="another-fleet"),
        pytest.param({"backend": "Kubernetes"}, [], id="in-its-own-status"),
    ],
)
def test_two_policies_must_not_publish_in_one_place(younger: dict[str, Any], roles: list[str]) -> None:
    records = Records(Settings(etcd={"default": OPEN, "other": OPEN}))
    records.seen(virtual("older", uid="1", backend="Etcd"))
    ours = records.seen(virtual("younger", uid="2", **younger))
    claims = {claim.policy: claim for claim in records.claims(ours)}
    mine = claims.get("younger")
    found = policy_rivals(mine, claims.values()) if mine is not None else ()
    assert [rival.role for rival in found] == roles
