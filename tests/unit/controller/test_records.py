"""What is kept of each policy: its latest form, what it claims, and what it says of its deployment."""

from __future__ import annotations

from typing import Any

from slaplanner.adapters.target import Verdict
from slaplanner.controller.records import Records
from slaplanner.core.model import Mode
from tests.reconciling import UID, document


def shown(name: str = "llama", uid: str = UID, *, deleted: bool = False, **spec: Any) -> dict[str, Any]:
    made = document(**spec)
    made["metadata"] |= {"name": name, "uid": uid}
    if deleted:
        made["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    return made


def says(policy: str) -> Verdict:
    return Verdict(
        policy=policy,
        planned="True",
        planned_reason="Planned",
        planned_message="",
        met="Unknown",
        met_reason="Observing",
        met_message="",
    )


def test_the_latest_form_counts_and_what_was_learnt_stays():
    records = Records()
    record = records.seen(shown())
    record.attempted_at_s = 5.0
    again = records.seen(document(generation=2))
    assert again is record
    assert (record.generation, record.attempted_at_s) == (2, 5.0)


def test_one_that_was_recreated_under_its_name_is_another():
    records = Records()
    first = records.seen(shown())
    assert records.seen(shown(uid="another")) is not first


def test_one_that_cannot_be_read_keeps_its_trouble_until_it_is_mended():
    records = Records()
    record = records.seen(shown(mode="sideways"))
    assert record.policy is None
    assert record.trouble is not None
    records.seen(shown())
    assert record.policy is not None
    assert record.trouble is None


def test_claims_are_those_of_policies_that_write():
    records = Records()
    records.seen(shown("enforces", "1", mode="prefill"))
    records.seen(shown("observes", "2", actuation="Observe"))
    records.seen(shown("goes", "3", deleted=True))
    records.seen(shown("broken", "4", mode="sideways"))
    claims = {claim.policy: claim for claim in records.claims()}
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
        record.verdict = says(name) if name != "silent" else None
    assert {verdict.policy for verdict in records.verdicts("serving", "llama")} == {"one", "two"}
    records.gone("1")
    assert {verdict.policy for verdict in records.verdicts("serving", "llama")} == {"two"}
    records.seen(shown("two", "2", deleted=True))
    assert records.verdicts("serving", "llama") == []
