"""What users see of the definition: explanations, columns, defaults, a status that is kept whole."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from slaplanner.api.policy import GROUP, PLURAL, VERSION
from slaplanner.api.schema import spec_schema
from slaplanner.api.schema_validation import with_defaults
from slaplanner.api.status import build_status
from tests.policy_corpus import base, policy
from tests.status_samples import sample_figures
from tests.testbed import Cluster, wait_until

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.yaml"))


@pytest.fixture
def objects(api_client: client.ApiClient, installed: Cluster) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(api_client)


@pytest.fixture
def stored(objects: client.CustomObjectsApi, namespace: str) -> dict[str, Any]:
    """The base object, created; as the server has it."""
    created: Any = objects.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, base())
    return dict(created)


def _write_status(objects: client.CustomObjectsApi, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    written: Any = objects.patch_namespaced_custom_object_status(
        GROUP, VERSION, namespace, PLURAL, "case", body, field_validation="Strict"
    )
    return dict(written)


def test_kubectl_explains_a_field_with_its_unit(installed: Cluster) -> None:
    def explained() -> str:
        return installed.kubectl("explain", "slapolicy.spec.sla.ttft", check=False).stdout

    wait_until(explained, what="the API server to publish the definition's schema")

    said = " ".join(explained().split())
    assert "FIELD: ttft <number>" in said
    assert "Target for the time to first token (TTFT), in milliseconds" in said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_taken_by_the_server(installed: Cluster, namespace: str, example: Path) -> None:
    document = yaml.safe_load(example.read_text(encoding="utf-8"))
    document["metadata"]["namespace"] = namespace

    said = installed.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(document)
    )

    assert "created (server dry run)" in said.stdout


def test_the_server_applies_the_defaults_that_the_offline_check_assumes(stored: dict[str, Any]) -> None:
    assert stored["spec"] == with_defaults(spec_schema(), base()["spec"])


def test_every_field_of_a_status_is_kept(
    objects: client.CustomObjectsApi, namespace: str, stored: dict[str, Any]
) -> None:
    status = build_status(sample_figures())

    assert _write_status(objects, namespace, {"status": status})["status"] == status


def test_a_status_write_never_touches_the_spec(
    objects: client.CustomObjectsApi, namespace: str, stored: dict[str, Any]
) -> None:
    written = _write_status(objects, namespace, {"status": {"sizing": "Throughput"}, "spec": {"mode": "agg"}})

    assert written["spec"] == stored["spec"]
    assert written["metadata"]["generation"] == stored["metadata"]["generation"]


def test_a_spec_write_never_touches_the_status(
    objects: client.CustomObjectsApi, namespace: str, stored: dict[str, Any]
) -> None:
    _write_status(objects, namespace, {"status": {"sizing": "Throughput"}})

    changed: Any = objects.patch_namespaced_custom_object(
        GROUP, VERSION, namespace, PLURAL, "case", {"spec": {"sla": {"ttft": 100}}, "status": {"sizing": "x"}}
    )

    assert changed["status"] == {"sizing": "Throughput"}
    assert changed["metadata"]["generation"] == stored["metadata"]["generation"] + 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param({"plannerState": "x" * 4097}, "Too long", id="a-state-without-room"),
        pytest.param(
            {"decisions": [{"id": n, "time": "2027-01-15T08:00:00Z", "reason": "Steady"} for n in range(11)]},
            "must have at most 10 items",
            id="an-eleventh-decision",
        ),
        pytest.param(
            {"conditions": [{"type": "Ready"}]}, "Required value", id="a-condition-without-a-reason"
        ),
    ],
)
def test_a_status_that_outgrows_its_schema_is_refused(
    objects: client.CustomObjectsApi,
    namespace: str,
    stored: dict[str, Any],
    status: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(client.ApiException) as caught:
        _write_status(objects, namespace, {"status": status})

    assert (caught.value.status, said in str(caught.value.body)) == (422, True)


def test_the_columns_show_what_was_found_and_decided(
    installed: Cluster, objects: client.CustomObjectsApi, namespace: str, stored: dict[str, Any]
) -> None:
    _write_status(objects, namespace, {"status": build_status(sample_figures())})

    head, row = installed.kubectl("get", "slap", "-n", namespace).stdout.splitlines()

    assert head.split() == [
        "NAME",
        "READY",
        "MODE",
        "TTFT(MS)",
        "ITL(MS)",
        "PREFILL",
        "DECODE",
        "GPUS",
        "ATTAINED",
        "WHY",
        "AGE",
    ]
    assert row.split()[:-1] == [
        *("case", "False", "disagg", "431/500", "28.1/50", "3/4", "8/6", "32/64"),
        *("97.1-99.5/99", "Limited:", "ScaleDownLimit"),
    ]
    assert re.fullmatch(r"\d+s", row.split()[-1])


def test_a_fresh_policy_has_columns_too(installed: Cluster, namespace: str, stored: dict[str, Any]) -> None:
    _, row = installed.kubectl("get", "slapolicies", "-n", namespace).stdout.splitlines()

    assert row.split()[:2] == ["case", "disagg"]


def test_lists_merge_by_name_under_server_side_apply(installed: Cluster, namespace: str) -> None:
    def apply(manager: str, **spec: Any) -> None:
        document = policy(**spec) | {"metadata": {"name": "case", "namespace": namespace}}
        installed.kubectl(
            "apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=json.dumps(document)
        )

    apply("one", roles=[{"name": "prefill", "minReplicas": 2}])
    apply("two", roles=[{"name": "decode", "minReplicas": 3}])

    roles = json.loads(installed.kubectl("get", "slap", "case", "-n", namespace, "-o", "json").stdout)[
        "spec"
    ]["roles"]
    assert roles == [{"name": "prefill", "minReplicas": 2}, {"name": "decode", "minReplicas": 3}]
