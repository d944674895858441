"""What comes in from outside: controls, conversion reviews, kubeconfigs, the command line."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from slaplanner.cli import main
from slaplanner_lab.fleet.certificate import make_certificate
from slaplanner_lab.fleet.graph import Faults, FleetError
from slaplanner_lab.fleet.guard import check_laptop
from slaplanner_lab.fleet.install import definitions
from slaplanner_lab.fleet.kube import Access
from slaplanner_lab.fleet.serving import Controls
from slaplanner_lab.fleet.web import read_controls, read_faults
from slaplanner_lab.fleet.webhook import answer
from tests.profile_data import LLAMA_8B, PROFILES


def test_controls_change_only_what_they_name() -> None:
    assert read_controls({"stall": True}, Controls(idle=True)) == Controls(stall=True, idle=True)
    assert read_controls({"refuseShare": 0.5}, Controls()) == Controls(refuse_share=0.5)


@pytest.mark.parametrize(
    "body", [[], {"stal": True}, {"stall": 1}, {"embeddings": True}, {"refuseShare": "x"}]
)
def test_controls_that_cannot_be_read_are_refused(body: Any) -> None:
    with pytest.raises(ValueError, match="wanted"):
        read_controls(body, Controls())


def test_faults_are_counts() -> None:
    assert read_faults({"crashLooping": {"decode": 1}, "capacityGpus": 8}) == Faults(
        crash_looping={"decode": 1}, capacity_gpus=8
    )
    assert read_faults({"capacityGpus": None}) == Faults()


@pytest.mark.parametrize(
    "body", [3, {"crash": {}}, {"crashLooping": 1}, {"crashLooping": {"a": -1}}, {"capacityGpus": True}]
)
def test_faults_that_cannot_be_read_are_refused(body: Any) -> None:
    with pytest.raises(ValueError, match="wanted"):
        read_faults(body)


def review(*objects: dict[str, Any], to: str = "nvidia.com/v1beta1") -> dict[str, Any]:
    request = {"uid": "u-1", "desiredAPIVersion": to, "objects": list(objects)}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request}


def test_a_review_is_answered_object_by_object() -> None:
    graph = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "spec": {"services": {}}}
    reference = {"name": "g", "serviceName": "decode"}
    adapter = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "spec": {"replicas": 1, "dgdRef": reference},
    }
    response = answer(review(graph, adapter))["response"]
    assert (response["uid"], response["result"]) == ("u-1", {"status": "Success"})
    converted = response["convertedObjects"]
    assert [one["apiVersion"] for one in converted] == ["nvidia.com/v1beta1"] * 2
    assert converted[0]["spec"] == {"components": []}
    assert converted[1]["spec"]["dgdRef"] == {"name": "g", "componentName": "decode"}


def test_a_review_that_cannot_be_answered_says_why() -> None:
    response = answer(review({"apiVersion": "nvidia.com/v0", "kind": "DynamoGraphDeployment"}))["response"]
    assert response["result"]["status"] == "Failure"
    assert "nvidia.com/v0" in response["result"]["message"]
    assert response["convertedObjects"] == []


def access(server: str, context: str = "main") -> Access:
    return Access(server=server, tls=True, headers={}, context=context)


@pytest.mark.parametrize(
    ("server", "context"),
    [
        ("https://127.0.0.1:6443", "main"),
        ("https://[::1]:6443", "main"),
        ("https://localhost:6443", "main"),
        ("https://192.168.49.2:8443", "minikube"),
        ("https://172.18.0.2:6443", "kind-slaplanner"),
    ],
)
def test_clusters_of_this_machine_may_be_played_on(server: str, context: str) -> None:
    check_laptop(access(server, context), really=False)


def test_other_clusters_need_insistence() -> None:
    with pytest.raises(FleetError, match=r"prod.*api\.example\.com.*--yes-really"):
        check_laptop(access("https://api.example.com", "prod"), really=False)
    check_laptop(access("https://api.example.com", "prod"), really=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "host.docker.internal"])
def test_a_certificate_is_its_own_authority(host: str) -> None:
    made = make_certificate(host, dt.datetime.now(dt.UTC))
    trust = ssl.create_default_context(cadata=made.certificate.decode())
    assert len(trust.get_ca_certs()) == 1
    assert made.server_context().cert_store_stats() is not None


def test_two_versions_are_served_and_the_last_is_stored() -> None:
    for definition in definitions(("v1alpha1", "v1beta1")):
        versions = {one["name"]: one["storage"] for one in definition["spec"]["versions"]}
        assert versions == {"v1alpha1": False, "v1beta1": True}


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    file = tmp_path / "kubeconfig"
    context = {"name": "prod", "context": {"cluster": "prod", "user": "me"}}
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "prod",
                "contexts": [context],
                "clusters": [{"name": "prod", "cluster": {"server": "https://api.example.com"}}],
                "users": [{"name": "me", "user": {"token": "x"}}],
            }
        )
    )
    return str(file)


RUN = ["fleet", "run", "--profile", str(PROFILES / LLAMA_8B)]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["fleet", "install-crds"], 1, "--yes-really", id="a cluster elsewhere"),
        pytest.param([*RUN], 1, "--yes-really", id="a cluster elsewhere, run"),
        pytest.param([*RUN, "--metrics", "9464"], 2, "HOST:PORT", id="no address"),
        pytest.param([*RUN, "--control", "0.0.0.0:1"], 2, "loopback", id="controls for everybody"),
        pytest.param([*RUN, "--yes-really", "--trace", "none.jsonl"], 1, "none.jsonl", id="no trace"),
        pytest.param([*RUN, "--yes-really", "--loop"], 2, "--trace", id="a loop of nothing"),
    ],
)
def test_bad_input_ends_with_one_message(elsewhere: str, words: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(main, [*words, "--kubeconfig", elsewhere])
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["run", "install-crds"])
def test_help_has_examples(command: str) -> None:
    assert "Examples:" in CliRunner().invoke(main, ["fleet", command, "--help"]).output
