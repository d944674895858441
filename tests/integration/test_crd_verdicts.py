"""The API server itself on the corpus: strict field validation, the same verdict as offline."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import yaml
from kubernetes import client

from slaplanner.api.policy import GROUP, PLURAL, VERSION
from tests.policy_corpus import Case, Text, Update, field_cases, rule_cases, texts, updates
from tests.testbed import Cluster

TIMEOUT_S = 60


@dataclass(frozen=True)
class Policies:
    """The policies of one namespace, spoken to without a client that would correct what is sent."""

    session: requests.Session
    url: str

    def create(self, text: str, *, dry_run: bool = True) -> requests.Response:
        return self.session.post(
            self.url,
            params={"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {}),
            data=text.encode(),
            headers={"Content-Type": "application/yaml"},
            timeout=TIMEOUT_S,
        )

    def replace(self, document: dict[str, Any]) -> requests.Response:
        return self.session.put(
            f"{self.url}/{document['metadata']['name']}",
            params={"fieldValidation": "Strict", "dryRun": "All"},
            json=document,
            timeout=TIMEOUT_S,
        )


@pytest.fixture(scope="module")
def session(api_client: client.ApiClient) -> Iterator[requests.Session]:
    configuration = api_client.configuration
    with requests.Session() as session:
        session.trust_env = False  # or a CA bundle of the machine would win over the cluster's
        session.verify = configuration.ssl_ca_cert
        session.headers["Authorization"] = str(configuration.get_api_key_with_prefix("BearerToken"))
        yield session


@pytest.fixture(scope="module")
def policies(installed: Cluster, session: requests.Session, api_client: client.ApiClient) -> Policies:
    """The namespace `default`: what is sent here is only tried."""
    host = api_client.configuration.host
    return Policies(session, f"{host}/apis/{GROUP}/{VERSION}/namespaces/default/{PLURAL}")


@pytest.fixture
def own_policies(policies: Policies, namespace: str) -> Policies:
    """A namespace in which objects may stay."""
    return Policies(policies.session, policies.url.replace("/default/", f"/{namespace}/"))


def _ids(case: Case | Update | Text) -> str:
    return case.name


@pytest.mark.parametrize("case", [*rule_cases(), *field_cases()], ids=_ids)
def test_the_server_on_an_object(policies: Policies, case: Case) -> None:
    answer = policies.create(yaml.safe_dump(case.document, allow_unicode=True))

    assert answer.ok == case.accepted, answer.text
    assert case.says in answer.json().get("message", "")


@pytest.mark.parametrize("text", list(texts()), ids=_ids)
def test_the_server_on_a_text(policies: Policies, text: Text) -> None:
    answer = policies.create(text.text)

    assert answer.ok == text.accepted, answer.text
    assert text.says in answer.json().get("message", "")


@pytest.mark.parametrize("update", list(updates()), ids=_ids)
def test_the_server_on_an_update(own_policies: Policies, update: Update) -> None:
    created = own_policies.create(yaml.safe_dump(update.old), dry_run=False)
    assert created.ok, created.text
    version = created.json()["metadata"]["resourceVersion"]
    new = update.new | {"metadata": update.new["metadata"] | {"resourceVersion": version}}

    answer = own_policies.replace(new)

    assert answer.ok == update.accepted, answer.text
    assert update.accepted or f"{update.rule}" in answer.json()["message"]
