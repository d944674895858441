"""`slaplanner migrate`: from the configurations of every generation of Dynamo's planner, and of other autoscalers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.migration.draft import MigrationError
from slaplanner.adapters.migration.sources import migrate
from slaplanner.api.validation import judge
from slaplanner.cli import main
from tests.planner_generations import (
    CONFIG,
    CONFIG_MAP,
    GENERATIONS,
    PROFILE_MAP,
    alpha_graph,
    beta_graph,
    hpa,
    request_v1alpha1,
    request_v1beta1,
    scaled_object,
)


def _run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(main, ["migrate", *arguments], input=text)


def _migrated(*documents: object, **names: str | None) -> tuple[dict[str, Any], str]:
    found = migrate(documents, target=names.get("target"), namespace=names.get("namespace"))
    assert judge(found.policy).faults == ()
    return dict(found.policy), "\n".join(found.notes)


class TestEveryGeneration:
    @pytest.mark.parametrize("name", GENERATIONS)
    def test_becomes_the_same_policy(self, name: str) -> None:
        policy, _ = _migrated(*GENERATIONS[name], target="llama", namespace="serving")
        spec = policy["spec"]
        assert policy["metadata"]["namespace"] == "serving"
        assert spec["targetRef"] == {"name": "llama"}
        assert (spec["mode"], spec["actuation"]) == ("disagg", "Observe")
        assert (spec["sla"]["ttft"], spec["sla"]["itl"]) == (300.0, 25.0)
        assert spec["gpuBudget"] == {"max": 48}
        assert {role["name"]: role["minReplicas"] for role in spec["roles"]} == {"prefill": 2, "decode": 2}
        assert spec["planning"]["intervalSeconds"] == 60
        assert spec["planning"]["predictor"]["type"] == "Kalman"
        assert spec["profile"] == {"configMapRef": {"name": "planner-profile-data"}}

    @pytest.mark.parametrize("name", GENERATIONS)
    def test_is_printed_as_yaml_with_its_notes(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "in.yaml"
        path.write_text(yaml.safe_dump_all(GENERATIONS[name]))
        result = _run(str(path), "--target", "llama")
        assert result.exit_code == 0, result.output
        assert yaml.safe_load(result.stdout)["kind"] == "SLAPolicy"
        assert all(line.startswith("#") for line in result.stdout.split("apiVersion")[0].splitlines())


class TestPlannerConfigurations:
    def test_say_each_field_that_has_no_equal(self) -> None:
        _, notes = _migrated(
            {
                **CONFIG,
                "optimization_target": "throughput",
                "enable_load_scaling": True,
                "total_gpu_power_limit": 9000,
                "control_api_port": 9086,
                "live_dashboard_port": 0,
                "min_gpu_budget": 4,
                "pre_deployment_sweeping_mode": "rapid",
                "something_of_tomorrow": 1,
            },
            target="llama",
        )
        for said in (
            "enable_load_scaling: slaplanner has one loop",
            "total_gpu_power_limit: power is not budgeted",
            "control_api_port: edit the policy",
            "live_dashboard_port: slaplanner's metrics",
            "min_gpu_budget: there is no floor of GPUs",
            "pre_deployment_sweeping_mode: slaplanner reads measured profiles",
            "something_of_tomorrow: not known here",
        ):
            assert said in notes

    def test_without_targets_are_asked_for_them(self) -> None:
        _, notes = _migrated({"max_gpu_budget": 4, "min_endpoint": 1}, target="llama")
        assert "say what you promise" in notes

    def test_without_a_budget_keep_dynamos(self) -> None:
        policy, notes = _migrated({"ttft": 300, "itl": 25}, target="llama")
        assert policy["spec"]["gpuBudget"] == {"max": 8}
        assert "Dynamo's default of 8 GPUs" in notes

    @pytest.mark.parametrize("budget", [-1, 0])
    def test_without_a_limit_have_none(self, budget: int) -> None:
        policy, _ = _migrated({"ttft": 300, "itl": 25, "max_gpu_budget": budget}, target="llama")
        assert "gpuBudget" not in policy["spec"]

    def test_carry_what_is_spelt_otherwise(self) -> None:
        policy, _ = _migrated(
            {
                **CONFIG,
                "no_correction": True,
                "load_predictor": "prophet",
                "load_predictor_log1p": True,
                "prophet_window_size": 40,
                "throughput_metrics_source": "router",
                "model_name": "Org/Model-7B",
                "prefill_min_endpoint": 3,
                "prefill_engine_num_gpu": 4,
                "decode_engine_num_gpu": 8,
                "max_throughput_scaling_replicas": 6,
            },
            target="llama",
        )
        spec = policy["spec"]
        assert spec["planning"]["correction"] == "Disabled"
        assert spec["planning"]["predictor"] == {
            "type": "Prophet",
            "log1p": True,
            "windowSize": 40,
            "kalman": {"qLevel": 1.0, "qTrend": 0.1, "r": 10.0},
        }
        assert spec["metrics"] == {"source": "Router", "model": "Org/Model-7B"}
        assert spec["roles"] == [
            {"name": "decode", "minReplicas": 2, "gpusPerReplica": 8},
            {"name": "prefill", "minReplicas": 3, "gpusPerReplica": 4},
        ]
        limit = {"type": "Replicas", "value": 6, "periodSeconds": 60}
        assert spec["behavior"] == {"scaleUp": {"policies": [limit]}, "scaleDown": {"policies": [limit]}}

    def test_of_a_virtual_fleet_need_no_target(self) -> None:
        config = {**CONFIG, "environment": "virtual", "namespace": "fleet", "model_name": "m"}
        policy, _ = _migrated({**config, "prefill_engine_num_gpu": 1, "decode_engine_num_gpu": 1})
        assert policy["spec"]["connector"]["virtual"] == {
            "backend": "Etcd",
            "dynamoNamespace": "fleet",
            "model": "m",
        }

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"ttft": "fast", "itl": 1}, "ttft: found 'fast', which cannot be read"),
            ({"ttft": 1, "itl": True}, "itl: found True"),
            ({"ttft": 1, "itl": float("nan")}, "itl: found nan"),
            ({"ttft": 1, "itl": 1, "min_endpoint": 1.5}, "min_endpoint: found 1.5"),
            ({"ttft": 1, "itl": 1, "mode": "encode"}, "mode: found 'encode', wanted one of disagg"),
        ],
    )
    def test_that_cannot_be_read_are_refused(self, config: dict[str, Any], message: str) -> None:
        with pytest.raises(MigrationError, match=message):
            migrate([config], target="llama", namespace=None)

    def test_that_a_policy_would_refuse_are_refused_here(self) -> None:
        result = _run("-", "--target", "llama", text=json.dumps({"ttft": -5, "itl": 20}))
        assert (result.exit_code, "spec.sla.ttft" in result.stderr) == (1, True)


class TestAutoscalers:
    def test_give_bounds_and_behavior_to_their_roles(self) -> None:
        down = {"stabilizationWindowSeconds": 600}
        policy, notes = _migrated(
            beta_graph(planner=None), hpa("prefill", 2, 9, down), hpa("decode", 3, 12, down)
        )
        assert policy["spec"]["roles"] == [
            {"name": "prefill", "minReplicas": 2, "maxReplicas": 9},
            {"name": "decode", "minReplicas": 3, "maxReplicas": 12},
        ]
        assert policy["spec"]["behavior"] == {"scaleDown": down}
        assert "its Pods metric has no equal" in notes
        assert "delete HorizontalPodAutoscaler llama-prefill" in notes

    def test_of_keda_are_read_alike(self) -> None:
        policy, notes = _migrated(beta_graph(planner=None), scaled_object("decode", 0, 20))
        assert policy["spec"]["roles"] == [{"name": "decode", "minReplicas": 1, "maxReplicas": 20}]
        assert "never goes below 1" in notes
        assert "its prometheus metric has no equal" in notes

    def test_need_the_deployment_beside_them(self) -> None:
        with pytest.raises(MigrationError, match="wanted the manifest of the DynamoGraphDeployment"):
            migrate([hpa("prefill", 1, 2, {})], target="llama", namespace=None)

    def test_on_something_else_are_refused_with_what_there_is(self) -> None:
        other = hpa("prefill", 1, 2, {})
        other["spec"]["scaleTargetRef"] = {"kind": "Deployment", "name": "web"}
        with pytest.raises(
            MigrationError, match=r"found scaleTargetRef Deployment 'web', wanted .*llama-decode"
        ):
            migrate([beta_graph(planner=None), other], target=None, namespace=None)


class TestWhatIsGiven:
    def test_a_request_names_what_it_makes(self) -> None:
        policy, notes = _migrated(request_v1beta1())
        assert policy["spec"]["targetRef"]["name"] == "llama-dgd"
        assert "assumed of the request's name" in notes
        policy, notes = _migrated({**request_v1beta1(), "status": {"dgdName": "real"}})
        assert (policy["spec"]["targetRef"]["name"], "assumed" in notes) == ("real", False)

    def test_gpus_of_a_request_are_the_budget_where_the_planner_has_none(self) -> None:
        request = request_v1alpha1()
        del request["spec"]["profilingConfig"]["config"]["planner"]["max_gpu_budget"]
        request["spec"]["hardware"] = {"totalGpus": 32}
        policy, notes = _migrated(request)
        assert policy["spec"]["gpuBudget"] == {"max": 32}
        assert "hardware.totalGpus 32: taken for gpuBudget.max" in notes

    def test_the_profile_beside_it_is_taken(self) -> None:
        other = {**PROFILE_MAP, "metadata": {"name": "llama-profile"}}
        policy, _ = _migrated(CONFIG_MAP, other, target="llama")
        assert policy["spec"]["profile"] == {"configMapRef": {"name": "llama-profile"}}

    def test_the_mode_is_that_of_the_graph(self) -> None:
        graph = alpha_graph(["--ttft=300", "--itl=25"])
        del graph["spec"]["services"]["Prefill"]
        graph["spec"]["services"]["Decode"] = {"componentType": "worker"}
        assert _migrated(graph)[0]["spec"]["mode"] == "agg"

    @pytest.mark.parametrize(
        ("documents", "message"),
        [
            ([], "found no planner configuration and no autoscaler"),
            ([{"kind": "Secret"}], "found no planner configuration and no autoscaler"),
            ([CONFIG], "wanted its manifest too, or --target NAME"),
            ([beta_graph(planner=None), {**beta_graph(planner=None)}], "found 2 deployments"),
        ],
    )
    def test_nothing_to_migrate_is_said(self, documents: list[Any], message: str) -> None:
        with pytest.raises(MigrationError, match=message):
            migrate(documents, target=None, namespace=None)


@pytest.mark.parametrize("document", [CONFIG, request_v1alpha1(), request_v1beta1()])
def test_validate_points_here(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "planner_config.json"
    path.write_text(json.dumps(document))
    result = CliRunner().invoke(main, ["validate", str(path)])
    assert "slaplanner migrate turns it into one" in result.stdout


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**6), st.floats(), st.text(max_size=8))
_NAMES = st.sampled_from(
    [
        *(
            "ttft",
            "itl_ms",
            "--min-endpoint",
            "maxGpuBudget",
            "mode",
            "load_predictor",
            "environment",
            "scheduling",
        ),
        *(
            "throughput_adjustment_interval_seconds",
            "prefill_engine_num_gpu",
            "advisory",
            "profile_results_dir",
        ),
        *("max_throughput_scaling_replicas", "kalman_r", "model_name", "no_correction", "x"),
    ]
)


@given(st.dictionaries(_NAMES, _VALUES))
def test_any_configuration_is_migrated_or_refused_with_a_reason(config: dict[str, Any]) -> None:
    try:
        policy = migrate([{"ttft": 300, "itl": 25, **config}], target="llama", namespace=None).policy
    except MigrationError as error:
        assert "found" in str(error)  # noqa: PT017 - both ends are right
        return
    assert all(fault.path for fault in judge(policy).faults)
