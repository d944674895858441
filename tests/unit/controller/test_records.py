"""What is kept of each policy: its latest form, what it claims, and what it says of its deployment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment import DeploymentConditions
from slaplanner.controller.records import Records
from slaplanner.core.model import Actuation, Mode
from slaplanner.core.reasons import ConditionStatus
from slaplanner.settings import Settings
from tests.reconciling import UID, document


def shown(name: str = "llama", uid: str = UID, *, deleted: bool = False, **spec: Any) -> dict[str, Any]:
    made = document(**spec)
    made["metadata"] |= {"name": name, "uid": uid}
    if deleted:
        made["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    return made


def says(policy: str) -> DeploymentConditions:
    return DeploymentConditions(
        policy=policy,
        planned=ConditionStatus.TRUE,
        planned_reason="Planned",
        planned_message="",
        met=ConditionStatus.UNKNOWN,
        met_reason="Observing",
        met_message="",
    )


def test_the_latest_form_counts_and_what_was_learnt_stays():
    records = Records()
    record = records.seen(shown())
    record.memory = replace(record.memory, attempted_at_s=5.0)
    again = records.seen(document(generation=2))
    assert again is record
    assert (record.manifest.generation, record.memory.attempted_at_s) == (2, 5.0)


def test_one_that_was_recreated_under_its_name_is_another():
    records = Records()
    first = records.seen(shown())
    assert records.seen(shown(uid="another")) is not first


def test_one_that_cannot_be_read_keeps_its_trouble_until_it_is_mended():
    records = Records()
    record = records.seen(shown(mode="sideways"))
    assert record.manifest.resolved is None
    assert record.manifest.trouble is not None
    records.seen(shown(generation=2))
    assert record.manifest.resolved is not None
    assert record.manifest.trouble is None


def test_claims_are_those_of_policies_that_write():
    records = Records()
    records.seen(shown("enforces", "1", mode="prefill"))
    records.seen(shown("observes", "2", actuation="Observe"))
    records.seen(shown("goes", "3", deleted=True))
    records.seen(shown("broken", "4", mode="sideways"))
    records.seen(shown("elsewhere", "5", targetRef={"name": "other"}))
    ours = records.get("1")
    assert ours is not None
    claims = {claim.policy: claim for claim in records.claims(ours)}
    assert claims.keys() == {"enforces", "observes", "goes"}
    assert [name for name, claim in claims.items() if claim.active] == ["enforces"]
    assert claims["enforces"].mode is Mode.PREFILL


def test_seniors_are_the_older_writers_of_the_same_roles():
    records = Records()
    ours = records.seen(shown("ours", "5"))
    for name, uid, spec in (
        ("older", "1", {}),
        ("observer", "2", {"actuation": "Observe"}),
        ("elsewhere", "3", {"targetRef": {"name": "other"}}),
        ("younger", "9", {}),
    ):
        records.seen(shown(name, uid, **spec))
    assert records.seniors(ours) == ("SLAPolicy 'older'",)
    records.seen(shown("older", "1", deleted=True))
    assert records.seniors(ours) == ()


def test_verdicts_are_those_of_the_same_deployment():
    records = Records()
    for name, uid, spec in (
        ("one", "1", {}),
        ("two", "2", {}),
        ("silent", "3", {}),
        ("elsewhere", "4", {"targetRef": {"name": "other"}}),
    ):
        record = records.seen(shown(name, uid, **spec))
        record.report = replace(record.report, verdict=says(name) if name != "silent" else None)
    assert {verdict.policy for verdict in records.verdicts("serving", "llama")} == {"one", "two"}
    records.gone("1")
    assert {verdict.policy for verdict in records.verdicts("serving", "llama")} == {"two"}
    records.seen(shown("two", "2", deleted=True))
    assert records.verdicts("serving", "llama") == []


class TestWatchEvents:
    """Most of what the watch shows are the operator's own writes of the status."""

    def test_they_parse_nothing_again_while_the_policy_is_the_same(self):
        records = Records()
        before = records.seen(shown()).manifest.resolved
        assert before is not None
        event = shown()
        event["status"] = {"observedGeneration": 1}
        event["metadata"]["resourceVersion"] = "77"
        record = records.seen(event)
        assert record.manifest.resolved is before
        assert record.manifest.document is event

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"generation": 2}, id="generation"),
            pytest.param({"annotations": {"slaplanner.io/paused": "true"}}, id="annotations"),
        ],
    )
    def test_a_change_by_the_user_is_read(self, change: dict[str, Any]):
        records = Records()
        before = records.seen(shown()).manifest.resolved
        event = shown()
        event["metadata"] |= change
        assert records.seen(event).manifest.resolved is not before

    def test_a_deletion_is_noticed_without_reading_the_policy_again(self):
        records = Records()
        before = records.seen(shown()).manifest.resolved
        record = records.seen(shown(deleted=True))
        assert record.manifest.deleted
        assert record.manifest.resolved is before

    def test_the_administrators_settings_are_applied_once(self):
        records = Records(Settings(observe=True, replica_ceiling=7))
        resolved = records.seen(shown()).manifest.resolved
        assert resolved is not None
        assert (resolved.core.actuation, resolved.core.replica_ceiling) == (Actuation.OBSERVE, 7)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.sampled_from(["llama", "other", "third"]),
            st.sampled_from(["serving", "batch"]),
            st.sampled_from(["disagg", "prefill", "decode", "sideways"]),
            st.sampled_from(["shown", "deleted", "gone"]),
        ),
        max_size=25,
    )
)
def test_the_indexes_say_what_a_walk_over_all_policies_would(steps: list[tuple[str, str, str, str, str]]):
    records = Records()
    homes: dict[str, str] = {}
    for generation, (uid, target, namespace, mode, what) in enumerate(steps, start=1):
        made = shown(uid, uid, targetRef={"name": target}, mode=mode, generation=generation)
        made["metadata"]["namespace"] = homes.setdefault(uid, namespace)
        if what == "deleted":
            made["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
        records.seen(made)
        if what == "gone":
            records.gone(uid)
            homes.pop(uid)
    everybody = list(records)
    for record in everybody:
        resolved = record.manifest.resolved
        wanted = {
            other.uid
            for other in everybody
            if resolved is not None
            and other.manifest.resolved is not None
            and other.namespace == record.namespace
            and other.manifest.resolved.policy.spec.target_ref.name == resolved.policy.spec.target_ref.name
        }
        assert {claim.uid for claim in records.claims(record)} == wanted
    for index in (records._by_claim, records._by_target):
        assert {uid for group in index.values() for uid in group} <= {record.uid for record in everybody}
        assert all(index.values())
