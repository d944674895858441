"""Which namespaces' policies may use which connection: neither others' traffic is read nor others' fleets are sized."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import ApiClient

from slaplanner.adapters.deployment import policy_rivals
from slaplanner.adapters.prometheus import Connections, Deadline, Scope, observe
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.outside.traffic import PrometheusMetrics
from slaplanner.controller.records import Records
from slaplanner.core.errors import MetricsError, TargetError
from slaplanner.core.readings import Unknown
from slaplanner.core.reasons import Reason
from slaplanner.settings import EtcdConnection, PrometheusConnection, Settings, SettingsError, parse_settings
from slaplanner.virtual.policy_connector import virtual_connector
from tests.fakes import FakePrometheus
from tests.reconciling import document, target
from tests.unit.controller.test_virtual_policies import virtual

NOBODY = "http://127.0.0.1:9"
"""Where nothing listens: whoever asks it learns that at once."""

names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


def etcd(allowed: dict[str, tuple[str, ...]]) -> EtcdConnection:
    return EtcdConnection(endpoints=(NOBODY,), allowed_namespaces=allowed)


def publishes(settings: Settings, namespace: str, fleet: str, connection: str = "default") -> None:
    policy = SLAPolicy.parse(
        virtual(backend="Etcd", namespace=namespace, dynamoNamespace=fleet, etcd={"connection": connection})
    )
    assert policy.spec.connector.virtual is not None
    virtual_connector(
        policy, policy.spec.connector.virtual, settings=settings, api_client=ApiClient(), now_s=lambda: 0.0
    )


class TestEtcd:
    @given(
        namespace=names, fleet=names, others=st.dictionaries(names, st.lists(names, max_size=3), max_size=3)
    )
    def test_only_the_fleets_that_are_named_for_a_namespace_are_sized_from_it(
        self, namespace: str, fleet: str, others: dict[str, list[str]]
    ):
        allowed = {name: tuple(fleets) for name, fleets in others.items()}
        settings = Settings(etcd={"default": etcd(allowed)})
        if fleet in others.get(namespace, ()):
            publishes(settings, namespace, fleet)
            return
        with pytest.raises(TargetError, match="may not size fleet") as refused:
            publishes(settings, namespace, fleet)
        assert refused.value.reason is Reason.CONNECTION_NOT_ALLOWED
        told = str(refused.value)
        secret = {name for entry in others.items() for name in (entry[0], *entry[1])} - {namespace, fleet}
        assert not [name for name in secret if f"'{name}'" in told or f"[{name}]" in told]

    def test_by_default_nobody_writes(self):
        with pytest.raises(TargetError) as refused:
            publishes(Settings(etcd={"default": etcd({})}), "serving", "fleet")
        assert refused.value.reason is Reason.CONNECTION_NOT_ALLOWED

    def test_a_star_is_everybody_and_everything(self):
        publishes(Settings(etcd={"default": etcd({"*": ("fleet",)})}), "a", "fleet")
        publishes(Settings(etcd={"default": etcd({"a": ("*",)})}), "a", "fleet")
        with pytest.raises(TargetError):
            publishes(Settings(etcd={"default": etcd({"a": ("*",)})}), "b", "fleet")

    def test_an_unknown_connection_lists_none_of_other_tenants(self):
        settings = Settings(etcd={"mine": etcd({"a": ("fleet",)}), "acme": etcd({"b": ("fleet",)})})
        with pytest.raises(TargetError, match=r"configured: mine$"):
            publishes(settings, "a", "fleet", "typo")

    def test_who_may_not_write_a_fleet_does_not_stand_in_the_way_of_who_may(self):
        records = Records(Settings(etcd={"default": etcd({"victim": ("fleet",)})}))
        records.seen(virtual("older", uid="1", namespace="evil", backend="Etcd"))
        ours = records.seen(virtual("younger", uid="2", namespace="victim", backend="Etcd"))
        claims = {claim.policy: claim for claim in records.claims(ours)}
        assert policy_rivals(claims["younger"], claims.values()) == ()


class TestPrometheus:
    @given(namespace=names, allowed=st.lists(names, max_size=4))
    def test_only_the_namespaces_that_are_named_read_through_a_connection(
        self, namespace: str, allowed: list[str]
    ):
        connections = Connections(
            {"acme": PrometheusConnection(url=NOBODY, allowed_namespaces=tuple(allowed))}
        )
        if namespace in allowed:
            connections.get("acme", namespace=namespace)
            return
        with pytest.raises(MetricsError) as refused:
            connections.get("acme", namespace=namespace)
        assert refused.value.reason is Reason.CONNECTION_NOT_ALLOWED
        assert not [name for name in allowed if f"'{name}'" in str(refused.value)]

    def test_by_default_everybody_reads(self):
        assert PrometheusConnection(url=NOBODY).allows("anybody")

    def test_an_unknown_connection_lists_none_of_other_tenants(self):
        connections = Connections(
            {
                "default": PrometheusConnection(url=NOBODY),
                "acme": PrometheusConnection(url=NOBODY, allowed_namespaces=("acme",)),
            }
        )
        with pytest.raises(MetricsError, match=r"it may use: default$"):
            connections.get("typo", namespace="evil")

    def test_a_plan_through_a_forbidden_connection_fails_with_its_reason_and_asks_nobody(self):
        metrics = PrometheusMetrics(
            Settings(prometheus={"acme": PrometheusConnection(url=NOBODY, allowed_namespaces=("acme",))})
        )
        policy = SLAPolicy.parse(document(metrics={"connection": "acme"}))

        def read() -> Any:
            return asyncio.run(
                metrics.traffic(policy, target(), "m", at_s=0.0, end_s=0.0, kept=None)  # type: ignore[arg-type]
            )

        found = read()
        assert isinstance(found.observation.requests, Unknown)
        assert found.observation.requests.reason is Reason.CONNECTION_NOT_ALLOWED
        assert found.scope is None, "no glance reads through it either"
        with pytest.raises(MetricsError):
            metrics.discover(policy, target(), at_s=0.0)


class TestWhatAMessageTells:
    """Where no series of a policy is found, the message lists what comes near."""

    @staticmethod
    def told(*labels: dict[str, str], told_to: str | None = "mine") -> str:
        rows = [
            Sample(labels={"series": "dynamo_frontend_requests_total", **each}, value=1.0) for each in labels
        ]
        scope = Scope(model="llama", dynamo_namespace="mine-llama", told_to=told_to)
        found = observe(
            FakePrometheus({"model_counters": rows}),
            scope,
            at_s=0.0,
            window_s=60.0,
            interval_s=60.0,
            deadline=Deadline.after(60.0),
        )
        assert isinstance(found.requests, Unknown)
        return found.requests.message

    @given(other=names.filter(lambda name: not name.startswith("mine")), model=names)
    def test_labels_of_other_namespaces_are_not_told(self, other: str, model: str):
        secret = f"SECRET-{model}"
        for labels in (
            {"model": secret, "namespace": other, "dynamo_namespace": "mine-llama-x"},
            {"model": secret, "dynamo_namespace": f"{other}-{model}"},
            {"model": secret},
        ):
            assert "SECRET" not in self.told(labels)
            assert "belong to other namespaces" in self.told(labels)

    def test_its_own_are(self):
        assert "LLAMA-2" in self.told({"model": "LLAMA-2", "namespace": "mine", "dynamo_namespace": "x"})
        assert "LLAMA-2" in self.told({"model": "LLAMA-2", "dynamo_namespace": "mine_llama"})

    def test_a_namespace_whose_name_only_begins_alike_is_another(self):
        assert "LLAMA-2" not in self.told({"model": "LLAMA-2", "dynamo_namespace": "mines-llama"})

    def test_a_connection_of_few_namespaces_hides_nothing(self):
        assert "LLAMA-2" in self.told({"model": "LLAMA-2", "dynamo_namespace": "x"}, told_to=None)


@pytest.mark.parametrize("wrong", ["[Serving]", "['a b']", "['']", "serving", "{a: [b]}", "[1]"])
def test_what_is_no_list_of_namespaces_is_refused(wrong: str):
    with pytest.raises(SettingsError, match="allowedNamespaces"):
        parse_settings(f"prometheus: {{default: {{url: 'http://p', allowedNamespaces: {wrong}}}}}")


@pytest.mark.parametrize("wrong", ["[serving]", "{Serving: [fleet]}", "{serving: fleet}", "{serving: [1]}"])
def test_what_is_no_table_of_fleets_is_refused(wrong: str):
    with pytest.raises(SettingsError, match="allowedNamespaces"):
        parse_settings(f"etcd: {{default: {{endpoints: ['http://e'], allowedNamespaces: {wrong}}}}}")
