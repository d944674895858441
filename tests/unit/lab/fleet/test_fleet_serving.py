"""Ready replicas serve the trace, and the frontend's metrics tell of it as Dynamo's do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from slaplanner.core.model import Role
from slaplanner_lab.engine import Engine, EngineTables
from slaplanner_lab.fleet.exposition import render
from slaplanner_lab.fleet.frontend import CARD, Dialect
from slaplanner_lab.fleet.graph import ComponentKind, Graph, PlayedComponent
from slaplanner_lab.fleet.ground_truth import LatencyTargets
from slaplanner_lab.fleet.replicas import ComponentReplicas, Wanted, adopt, step
from slaplanner_lab.fleet.serving import Controls, Serving
from slaplanner_lab.simulation.traffic import Traffic

TTFT_S = 0.1
ITL_S = 0.02
OSL = 11


def component(name: str, role: Role | None, gpus: int = 0) -> PlayedComponent:
    return PlayedComponent(
        name=name,
        role=role,
        replicas=1,
        kind=ComponentKind.DEPLOYMENT,
        revision="a",
        gpus_per_replica=gpus,
        model="Meta/Llama",
    )


DISAGG = (component("prefill", Role.PREFILL, 1), component("decode", Role.DECODE, 2), component("web", None))
AGG = (component("worker", Role.AGG, 4),)


def every_second(count: int) -> Traffic:
    return Traffic(
        arrival_s=np.arange(0.5, count),
        isl_tokens=np.full(count, 300.0),
        osl_tokens=np.full(count, float(OSL)),
    )


def serve(
    *,
    components: tuple[PlayedComponent, ...] = DISAGG,
    traffic: Traffic | None = None,
    dialect: Dialect | None = None,
    controls: Controls | None = None,
) -> Serving:
    graph = Graph(
        namespace="serving",
        name="llama",
        uid="1",
        generation=1,
        dynamo_namespace="serving-llama",
        components=components,
    )
    return Serving(
        graph=graph,
        tables=EngineTables.constant(ttft_ms=TTFT_S * 1e3, itl_ms=ITL_S * 1e3),
        dialect=dialect or Dialect(),
        traffic=traffic or every_second(10),
        loop_s=0.0,
        now_s=0.0,
        targets=LatencyTargets(ttft_ms=500.0, itl_ms=50.0),
        controls=controls or Controls(),
    )


def ready(serving: Serving, count: int = 1) -> dict[str, ComponentReplicas]:
    return {one.name: adopt(serving=count, revision="a", now_s=0.0) for one in serving.graph.components}


def run(
    serving: Serving, pools: Mapping[str, ComponentReplicas], until_s: float, tick_s: float = 0.25
) -> None:
    for now_s in np.arange(serving.now_s + tick_s, until_s + tick_s / 2, tick_s):
        serving.advance(float(now_s), pools)


def scrape(serving: Serving) -> dict[str, float]:
    """Samples by name, summed over labels."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(render(serving.frontend.families)):
        for sample in family.samples:
            if "le" not in sample.labels:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def test_before_the_first_request_only_the_models_card_and_the_routers_zeros_show() -> None:
    serving = serve(traffic=every_second(1))
    run(serving, ready(serving), 0.5)
    shown = scrape(serving)
    routers = {name for name in shown if name.startswith("dynamo_component_router_")}
    assert shown.keys() - routers == {f"dynamo_frontend_{name}" for name in (*CARD, "model_ready")}
    assert {shown[name] for name in routers} == {0.0}


def test_before_the_first_worker_nothing_shows() -> None:
    serving = serve()
    run(serving, dict.fromkeys(("prefill", "decode", "web"), ComponentReplicas()), 5.0)
    assert scrape(serving) == {}


def test_the_model_is_not_ready_while_a_stage_is_missing() -> None:
    serving = serve()
    pools = ready(serving)
    run(serving, pools, 3.0)
    assert scrape(serving)["dynamo_frontend_model_ready"] == 1
    run(serving, pools | {"prefill": ComponentReplicas()}, 4.0)
    assert scrape(serving)["dynamo_frontend_model_ready"] == 0
    run(serving, dict.fromkeys(pools, ComponentReplicas()), 5.0)
    assert scrape(serving)["dynamo_frontend_model_ready"] == 0
    assert scrape(serving)["dynamo_frontend_model_context_length"] > 0


@pytest.mark.parametrize("components", [DISAGG, AGG], ids=["disagg", "agg"])
def test_each_request_is_counted_at_its_moments(components: tuple[PlayedComponent, ...]) -> None:
    serving = serve(components=components)
    run(serving, ready(serving), 20.0)
    seen = scrape(serving)
    assert seen["dynamo_frontend_requests_started_total"] == 10
    assert seen["dynamo_frontend_requests_total"] == 10
    assert seen["dynamo_frontend_time_to_first_token_seconds_count"] == 10
    assert seen["dynamo_frontend_time_to_first_token_seconds_sum"] == pytest.approx(10 * TTFT_S)
    assert seen["dynamo_frontend_input_sequence_tokens_sum"] == 3000
    assert seen["dynamo_frontend_output_sequence_tokens_sum"] == 10 * OSL
    assert seen["dynamo_frontend_inter_token_latency_seconds_count"] == pytest.approx(10 * (OSL - 1))
    assert seen["dynamo_frontend_inter_token_latency_seconds_sum"] == pytest.approx(10 * (OSL - 1) * ITL_S)
    assert seen["dynamo_frontend_request_duration_seconds_sum"] == pytest.approx(10 * (TTFT_S + 0.2))
    assert seen["dynamo_frontend_output_tokens_total"] == pytest.approx(10 * OSL)
    assert seen["dynamo_frontend_queued_requests"] == seen["dynamo_frontend_inflight_requests"] == 0
    legs = 2 if components is DISAGG else 1
    assert seen["dynamo_component_router_requests_total"] == 10 * legs
    assert serving.truth.report()["attainment"] == {"ttft": 100.0, "itl": 100.0, "both": 100.0}


def test_in_a_stall_requests_arrive_and_no_length_is_recorded() -> None:
    serving = serve(controls=Controls(stall=True))
    pools = ready(serving)
    run(serving, pools, 5.0)
    seen = scrape(serving)
    assert seen["dynamo_frontend_requests_started_total"] == seen["dynamo_frontend_queued_requests"] == 5
    assert "dynamo_frontend_input_sequence_tokens_count" not in seen
    assert "dynamo_frontend_time_to_first_token_seconds_count" not in seen
    serving.controls = Controls()
    run(serving, pools, 20.0)
    assert scrape(serving)["dynamo_frontend_requests_total"] == 10


def test_an_idle_fleet_lets_the_trace_pass() -> None:
    serving = serve()
    pools = ready(serving)
    run(serving, pools, 3.0)
    serving.controls = Controls(idle=True)
    run(serving, pools, 6.0)
    serving.controls = Controls()
    run(serving, pools, 20.0)
    assert serving.truth.arrived == 10 - 3


def test_a_restarted_frontend_counts_from_zero_and_forgets_what_was_in_flight() -> None:
    serving = serve(controls=Controls(stall=True))
    pools = ready(serving)
    run(serving, pools, 5.0)
    serving.restart_frontend()
    serving.controls = Controls()
    run(serving, pools, 20.0)
    seen = scrape(serving)
    assert seen["dynamo_frontend_requests_started_total"] == seen["dynamo_frontend_requests_total"] == 5
    assert seen["dynamo_frontend_queued_requests"] == 0
    assert serving.truth.served == 10


def test_requests_refused_for_overload_arrive_and_are_not_served() -> None:
    serving = serve(controls=Controls(refuse_share=0.3, embeddings=2))
    run(serving, ready(serving), 20.0)
    by_labels = {
        (sample.labels["endpoint"], sample.labels["status"], sample.labels["error_type"]): sample.value
        for family in text_string_to_metric_families(render(serving.frontend.families))
        for sample in family.samples
        if sample.name == "dynamo_frontend_requests_total"
    }
    assert by_labels == {
        ("chat_completions", "success", ""): 7,
        ("chat_completions", "error", "overload"): 3,
        ("embeddings", "success", ""): 20,
    }


def test_an_older_frontend_lacks_arrivals_and_the_namespace() -> None:
    serving = serve(
        dialect=Dialect(started_total=False, model_ready=False, namespace_label=False, router=False)
    )
    run(serving, ready(serving), 20.0)
    text = render(serving.frontend.families)
    assert "requests_started_total" not in text
    assert "model_ready" not in text
    assert "dynamo_namespace" not in text
    assert "dynamo_component_router" not in text


def test_a_draining_replica_finishes_its_requests_before_it_is_gone() -> None:
    serving = serve()
    pools = ready(serving, 2)
    wanted = Wanted(replicas=1, revision="a", startup_s=20.0)
    run(serving, pools, 0.75)
    pools["prefill"] = step(pools["prefill"], wanted, 0.75)
    assert [replica.draining for replica in pools["prefill"].replicas] == [False, True]
    run(serving, pools, 20.0)
    assert serving.drained(pools)["prefill"] == {1}
    assert serving.truth.served == 10


def test_a_worker_that_crashes_loses_no_request() -> None:
    serving = serve()
    pools = ready(serving)
    run(serving, pools, 3.5)
    crash = Wanted(replicas=1, revision="a", startup_s=2.0, crash_looping=1)
    pools["decode"] = step(pools["decode"], crash, 3.5)
    run(serving, pools, 6.0)
    pools["decode"] = step(pools["decode"], Wanted(replicas=1, revision="a", startup_s=2.0), 6.0)
    run(serving, pools, 20.0)
    assert serving.truth.served == 10


def test_gpu_seconds_count_every_replica_that_holds_gpus() -> None:
    serving = serve()
    run(serving, ready(serving, 3), 10.0)
    assert serving.truth.report()["gpuSeconds"] == {"prefill": pytest.approx(30), "decode": pytest.approx(60)}


def test_looking_often_serves_as_the_simulators_engine_does_at_one_go() -> None:
    rng = np.random.default_rng(7)
    count = 200
    traffic = Traffic(
        arrival_s=np.sort(rng.uniform(0.0, 10.0, count)),
        isl_tokens=rng.integers(50, 4000, count).astype(float),
        osl_tokens=rng.integers(1, 60, count).astype(float),
    )
    serving = serve(traffic=traffic)
    run(serving, ready(serving, 2), 60.0, tick_s=0.125)
    engine = Engine(serving.tables)
    engine.advance(0.125)
    for role in (Role.PREFILL, Role.PREFILL, Role.DECODE, Role.DECODE):
        engine.add_worker(role)
    engine.submit(
        arrival_s=traffic.arrival_s + 0.125, isl_tokens=traffic.isl_tokens, osl_tokens=traffic.osl_tokens
    )
    engine.advance(60.0)
    live, simulated = serving.engine.requests(), engine.requests()
    assert live.ttft_ms == pytest.approx(simulated.ttft_ms)
    assert live.itl_ms == pytest.approx(simulated.itl_ms)
    assert serving.truth.served == count
