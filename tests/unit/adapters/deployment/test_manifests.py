"""`--target FILE`: the deployment that a policy means, among whatever else lies in its file."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment.manifests import graph_among
from slaplanner.core.errors import TargetError
from tests.graphs import ALPHA, BETA, disagg

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "engine"}, "data": {}}
VOLUME = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "cache"}}
CLAIM = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaimTemplate",
    "metadata": {"name": "gpus"},
    "spec": {"spec": {}},
}


def named(name: str, namespace: str | None = None, version: str = BETA) -> dict[str, Any]:
    made = disagg(version)
    made["metadata"] = {"name": name} | ({"namespace": namespace} if namespace else {})
    return made


OTHERS = st.lists(st.sampled_from([CONFIG_MAP, VOLUME, CLAIM, None, "text", 5, ["a"], {}]), max_size=5)


@given(data=st.data(), others=OTHERS, version=st.sampled_from([ALPHA, BETA]), policy=st.none() | st.text())
def test_the_only_graph_is_it_whatever_lies_beside_it(
    data: st.DataObject, others: list[Any], version: str, policy: str | None
) -> None:
    documents = data.draw(st.permutations([*others, named("llama", version=version)]))
    assert graph_among(documents, name=policy).graph.name == "llama"


@given(
    data=st.data(),
    names=st.lists(
        st.text(st.sampled_from("abc-1"), min_size=1, max_size=6), min_size=2, max_size=6, unique=True
    ),
)
def test_of_several_it_is_that_which_the_policy_names(data: st.DataObject, names: list[str]) -> None:
    wanted = data.draw(st.sampled_from(names))
    documents = [CONFIG_MAP, *(named(name) for name in names)]
    assert graph_among(documents, name=wanted).graph.name == wanted
    with pytest.raises(TargetError) as caught:
        graph_among(documents, name=None)
    assert f"found {len(names)} graphs" in str(caught.value)
    assert all(name in str(caught.value) for name in names)


def test_a_list_is_unpacked() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [CONFIG_MAP, named("a")]}
    assert graph_among([listed], name="a").graph.name == "a"


def test_two_of_one_name_are_told_apart_by_namespace() -> None:
    documents = [named("a", "north"), named("a", "south")]
    assert graph_among(documents, name="a", namespace="south").graph.namespace == "south"
    with pytest.raises(TargetError, match="north/a, south/a"):
        graph_among(documents, name="a", namespace="west")


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        pytest.param([], "found no object, wanted a DynamoGraphDeployment", id="nothing"),
        pytest.param([CONFIG_MAP, VOLUME], "found ConfigMap, PersistentVolumeClaim, wanted", id="others"),
        pytest.param(
            [named("a", version="example.com/v1")], "found DynamoGraphDeployment", id="another-group"
        ),
        pytest.param([named("a", version="nvidia.com/v9")], "nvidia.com/v9", id="another-version"),
        pytest.param(
            [named("a"), named("b")], "2 graphs, a, b; wanted 'llama', which", id="none-of-that-name"
        ),
        pytest.param([named(f"g{n}") for n in range(99)], "g9 and 89 more", id="many"),
        pytest.param([{"kind": "List", "items": 5}], "found no object", id="a-list-of-nothing"),
    ],
)
def test_what_holds_no_such_graph_is_refused_with_what_it_holds(documents: list[Any], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        graph_among(documents, name="llama")


def test_claims_beside_it_are_at_hand() -> None:
    found = graph_among([CLAIM, named("a")], name="a")
    assert found.claim("gpus") == CLAIM
    assert found.claim("other") is None
