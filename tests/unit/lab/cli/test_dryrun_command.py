"""`slaplanner dryrun`: what users give, see and get wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from slaplanner.cli import main
from tests.command_desk import Desk, policy_document

LOADS = [1200, 2400, 0, 600]
"""Requests in each minute of the trace."""


def _document(**spec: Any) -> dict[str, Any]:
    planning = {"intervalSeconds": 60, "sizing": "Throughput", "predictor": {"type": "Constant"}}
    return policy_document(**{"planning": planning, **spec})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, "dryrun", policy=_document(), trace=_trace(LOADS))


def _trace(counts: list[int], *, isl: int = 1000, osl: int = 200) -> str:
    lines = [
        json.dumps(
            {
                "timestamp": round(1000 * 60 * (at + (n + 0.5) / count)),
                "input_length": isl,
                "output_length": osl,
            }
        )
        for at, count in enumerate(counts)
        for n in range(count)
    ]
    return "\n".join(lines)


def test_json_has_every_interval_and_the_gpu_hours(desk: Desk) -> None:
    document = desk.json()
    assert set(document) == {"intervals", "gpuHours"}
    assert [entry["t"] for entry in document["intervals"]] == [0, 60, 120, 180]
    second = document["intervals"][1]
    assert set(second) == {
        "t", "requests", "isl", "osl", "forecast", "prefill", "decode", "gpus", "reason", "message",
    }  # fmt: skip
    assert second["forecast"] == {"requests": 1200, "isl": 1000, "osl": 200}
    assert set(second["prefill"]) == {"replicas", "load", "safeThroughput"}
    assert second["prefill"]["load"] == pytest.approx(2400 * 1000 / 60)
    assert second["decode"]["load"] == pytest.approx(2400 * 200 / 60)
    total = sum(entry["gpus"] for entry in document["intervals"]) / 60
    assert document["gpuHours"]["total"] == pytest.approx(total)
    assert set(document["gpuHours"]) == {"prefill", "decode", "total"}


def test_an_interval_without_requests_is_zero_and_has_no_lengths(desk: Desk) -> None:
    third = desk.json()["intervals"][2]
    assert (third["requests"], third["isl"], third["osl"]) == (0, None, None)
    assert third["prefill"]["load"] == 0


def test_csv_has_the_jsons_figures_under_the_paths_of_its_fields(desk: Desk) -> None:
    rows = desk.plans()
    entries = desk.json()["intervals"]
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        assert float(row["forecast.requests"]) == entry["forecast"]["requests"]
        assert int(row["prefill.replicas"]) == entry["prefill"]["replicas"]
        assert float(row["decode.safeThroughput"]) == entry["decode"]["safeThroughput"]
        assert row["reason"] == entry["reason"]
        assert row["isl"] == ("" if entry["isl"] is None else str(entry["isl"]))


def test_the_table_tells_each_interval_and_what_it_comes_to(desk: Desk) -> None:
    result = desk.run()
    assert result.exit_code == 0
    assert "llama-8b on trace.jsonl: 4 intervals of 60 s" in result.stdout
    assert "2,400/1,200" in result.stdout
    assert "GPU-hours" in result.stdout
    assert all(
        len(line.rstrip()) <= 80 for line in result.stdout.splitlines() if "/" in line and ":" not in line
    )


def test_results_go_to_stdout_and_remarks_to_stderr(desk: Desk) -> None:
    result = desk.run("--output", "json")
    json.loads(result.stdout)
    assert result.stderr.splitlines() == [
        "GPUs per prefill replica are unknown: 1 is assumed",
        "GPUs per decode replica are unknown: 1 is assumed",
    ]


def test_the_interval_of_the_command_line_comes_before_the_policys(desk: Desk) -> None:
    assert [entry["t"] for entry in desk.json("--interval", 30)["intervals"]] == [30 * at for at in range(8)]


def test_a_trace_is_amplified_by_copies_at_their_own_time(desk: Desk) -> None:
    document = desk.json("--amplify", 3, "--warmup-trace", desk.trace)
    assert [entry["requests"] for entry in document["intervals"]] == [3 * count for count in LOADS]
    assert [entry["requests"] for entry in document["warmUp"]] == [3 * count for count in LOADS]


def test_copies_are_no_bursts_to_sizing_by_attainment(desk: Desk) -> None:
    """It learns burstiness from arrivals: copies at one time would be four times as uneven as four users."""
    planning = {"intervalSeconds": 60, "sizing": "Attainment", "predictor": {"type": "Constant"}}
    policy = desk.write("attainment.yaml", yaml.safe_dump(_document(planning=planning)))
    trace = desk.write("steady.jsonl", _trace([300] * 12))
    dense = desk.write("dense.jsonl", _trace([1200] * 12))
    copied = desk.json("--amplify", 4, policy=policy, trace=trace)
    written = desk.json(policy=policy, trace=dense)
    for role in ("prefill", "decode"):
        last = copied["intervals"][-1][role]["replicas"], written["intervals"][-1][role]["replicas"]
        assert abs(last[0] - last[1]) <= 1


def test_the_start_replicas_are_those_of_the_first_interval(desk: Desk) -> None:
    first, second, *_ = desk.json("--start-prefill", 5, "--start-decode", 7)["intervals"]
    assert (first["prefill"]["replicas"], first["decode"]["replicas"], first["reason"]) == (5, 7, "Start")
    assert second["prefill"]["replicas"] == 1


def test_a_mode_of_one_role_shows_the_other_with_zeros(desk: Desk) -> None:
    policy = desk.write("prefill.yaml", yaml.safe_dump(_document(mode="prefill")))
    document = desk.json(policy=policy)
    assert document["intervals"][1]["decode"] == {"replicas": 0, "load": 0, "safeThroughput": 0}
    assert document["gpuHours"]["decode"] == 0
    assert document["gpuHours"]["prefill"] == document["gpuHours"]["total"] > 0


def test_aggregated_workers_are_shown_under_their_own_name(desk: Desk) -> None:
    policy = desk.write("agg.yaml", yaml.safe_dump(_document(mode="agg")))
    document = desk.json("--start-decode", 3, policy=policy)
    assert document["intervals"][0]["agg"]["replicas"] == 3
    assert set(document["gpuHours"]) == {"agg", "total"}


def test_a_warm_up_lies_at_negative_times(desk: Desk) -> None:
    earlier = desk.write("earlier.jsonl.gz", "")
    earlier.write_bytes(gzip.compress(_trace([100, 200, 300]).encode()))
    document = desk.json("--warmup-trace", earlier)
    assert [(entry["t"], entry["requests"]) for entry in document["warmUp"]] == [
        (-180, 100),
        (-120, 200),
        (-60, 300),
    ]
    assert document["intervals"][0]["t"] == 0


def _graph(name: str, *, prefill: int, decode: int) -> dict[str, Any]:
    services = {
        role: {
            "componentType": "worker",
            "subComponentType": role,
            "resources": {"limits": {"gpu": str(gpus)}},
        }
        for role, gpus in (("prefill", prefill), ("decode", decode))
    }
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": name, "namespace": "serving"},
        "spec": {"services": services},
    }


CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "engine"}, "data": {"a": "b"}}


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([_graph("llama-8b", prefill=2, decode=4)], id="alone"),
        pytest.param([CONFIG_MAP, _graph("other-name", prefill=2, decode=4)], id="the-only-graph"),
        pytest.param(
            [_graph("big", prefill=8, decode=8), CONFIG_MAP, _graph("llama-8b", prefill=2, decode=4)],
            id="which-the-policy-names",
        ),
    ],
)
def test_gpus_per_replica_are_the_targets_where_the_policy_does_not_say(
    desk: Desk, documents: list[dict[str, Any]]
) -> None:
    target = desk.write("graph.yaml", yaml.safe_dump_all(documents))
    assert desk.json("--target", target)["intervals"][0]["gpus"] == 2 + 4


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        pytest.param([CONFIG_MAP], "graph.yaml: found ConfigMap, wanted a DynamoGraphDeployment", id="no-graph"),
        pytest.param(
            [_graph("a", prefill=1, decode=1), _graph("b", prefill=1, decode=1)],
            "graph.yaml: found 2 graphs, serving/a, serving/b; wanted 'llama-8b'", id="several",
        ),
    ],
)  # fmt: skip
def test_a_target_file_without_the_graph_is_refused_by_its_name(
    desk: Desk, documents: list[dict[str, Any]], message: str
) -> None:
    _refused(desk.run("--target", desk.write("graph.yaml", yaml.safe_dump_all(documents))), message)


def test_a_file_that_is_no_text_is_refused_by_its_name(desk: Desk) -> None:
    (desk.folder / "binary.yaml").write_bytes(b"\xff\xfe")
    _refused(desk.run(policy=desk.folder / "binary.yaml"), "binary.yaml: is not UTF-8 text: byte 0 is 0xff")
    _refused(desk.run("--target", desk.folder / "binary.yaml"), "binary.yaml: is not UTF-8 text")


def test_correction_and_behavior_are_asked_for(desk: Desk) -> None:
    plain, slow = desk.json(), desk.json("--correction", "1", "2")
    assert (
        slow["intervals"][1]["decode"]["safeThroughput"] < plain["intervals"][1]["decode"]["safeThroughput"]
    )
    one_a_minute = [{"type": "Replicas", "value": 1, "periodSeconds": 60}]
    slowly = {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": one_a_minute}}
    policy = desk.write("slowly.yaml", yaml.safe_dump(_document(behavior=slowly)))
    free = desk.json("--start-prefill", 9, policy=policy)
    damped = desk.json("--start-prefill", 9, "--behavior", policy=policy)
    assert free["intervals"][1]["prefill"]["replicas"] == 1
    assert damped["intervals"][1]["prefill"]["replicas"] == 8


@pytest.mark.parametrize("suffix", ["png", "svg"])
@pytest.mark.parametrize("mode", ["disagg", "decode", "agg"])
def test_a_plot_is_drawn(desk: Desk, suffix: str, mode: str) -> None:
    policy = desk.write("policy.yaml", yaml.safe_dump(_document(mode=mode, gpuBudget={"max": 64})))
    picture = desk.folder / f"plot.{suffix}"
    result = desk.run("--plot", picture, "--warmup-trace", desk.trace, policy=policy)
    assert result.exit_code == 0, result.stderr
    assert f"plot written to {picture}" in result.stderr
    begins = picture.read_bytes()[:5]
    assert begins == (b"\x89PNG\r" if suffix == "png" else b"<?xml")


def test_the_plots_words_tell_what_is_seen(desk: Desk) -> None:
    picture = desk.folder / "plot.svg"
    desk.run("--plot", picture)
    drawn = picture.read_text()
    for words in (
        "Requests per second",
        "Mean lengths",
        "Prefill: input tokens/s",
        "Decode: output tokens/s",
    ):
        assert words in drawn, words


UNKNOWN_FIELD = _document(sla={"ttft": 1000, "itl": 30, "ttl": 5})
BAD_VALUE = _document(sla={"ttft": -1})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("none.yaml", None, "none.yaml: No such file", id="no-file"),
        pytest.param("p.yaml", "", "found 0 objects of kind SLAPolicy, wanted one", id="empty"),
        pytest.param("p.yaml", "a: [", "line", id="no-yaml"),
        pytest.param("p.yaml", "kind: ConfigMap", "found 0 objects of kind SLAPolicy", id="another-kind"),
        pytest.param("p.yaml", yaml.safe_dump_all([_document()] * 2), "found 2 objects", id="two"),
        pytest.param("p.yaml", yaml.safe_dump(UNKNOWN_FIELD), "spec.sla.ttl", id="unknown-field"),
        pytest.param("p.yaml", yaml.safe_dump(BAD_VALUE), "spec.sla.ttft", id="bad-value"),
        pytest.param("p.yaml", yaml.safe_dump(_document(mode="both")), "spec.mode", id="no-such-mode"),
        pytest.param("p.yaml", yaml.safe_dump(_document() | {"spec": None}), "spec", id="no-spec"),
    ],
)
def test_a_bad_policy_is_one_message(desk: Desk, name: str, text: str | None, message: str) -> None:
    path = desk.folder / name if text is None else desk.write(name, text)
    _refused(desk.run(policy=path), message)


BAD_TRACES = [
    pytest.param(None, "found no such file", id="no-file"),
    pytest.param("", "found 0 lines and none of them valid", id="empty"),
    pytest.param("no\nrequests\n", "found 2 lines and none of them valid", id="no-valid-line"),
    pytest.param(
        json.dumps({"timestamp": 1e11, "input_length": 1, "output_length": 1}),
        "wanted at most 100,000",
        id="years-from-its-start",
    ),
]


@pytest.mark.parametrize(
    ("text", "message"),
    [*BAD_TRACES, pytest.param(_trace([60]), "found 1 interval of 60 s", id="one-interval")],
)
def test_a_bad_trace_is_one_message(desk: Desk, text: str | None, message: str) -> None:
    path = desk.folder / "bad.jsonl"
    if text is not None:
        path.write_text(text)
    _refused(desk.run(trace=path), message)


@pytest.mark.parametrize(("text", "message"), BAD_TRACES)
def test_a_bad_warm_up_is_one_message(desk: Desk, text: str | None, message: str) -> None:
    path = desk.folder / "bad.jsonl"
    if text is not None:
        path.write_text(text)
    _refused(desk.run("--warmup-trace", path), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--profile", "nowhere"], "found no such directory", id="no-profile"),
        pytest.param(["--profile", "."], "found", id="no-profile-in-it"),
        pytest.param(["--target", "nowhere.yaml"], "nowhere.yaml: No such file", id="no-target"),
        pytest.param(["--plot", "/proc/nowhere/plot.png"], "cannot be written", id="plot-unwritable"),
    ],
)
def test_other_bad_input_is_one_message(desk: Desk, arguments: list[str], message: str) -> None:
    _refused(desk.run(*arguments), message)


def _refused(result: Result, message: str) -> None:
    """Exit 1, one message, nothing on stdout, no traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if "are unknown: 1 is assumed" not in line]
    assert len(errors) == 1
    assert errors[0].startswith("Error: ")
    assert message in errors[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--plot", "plot.gif"], "wanted a name that ends in .png or .svg", id="plot-format"),
        pytest.param(["--interval", "0"], "--interval", id="interval-0"),
        pytest.param(["--start-prefill", "-1"], "--start-prefill", id="start-below-0"),
        pytest.param(["--correction", "1", "9"], "--correction", id="correction-out-of-bounds"),
        pytest.param(["--output", "xml"], "--output", id="output"),
        pytest.param(["--faster"], "No such option", id="no-such-option"),
    ],
)
def test_usage_is_exit_code_2(desk: Desk, arguments: list[str], message: str) -> None:
    result = desk.run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_policy_that_names_a_config_map_asks_for_the_directory(desk: Desk) -> None:
    result = CliRunner().invoke(main, ["dryrun", "-f", str(desk.policy), "--trace", str(desk.trace)])
    assert result.exit_code == 2
    assert "--profile" in result.stderr


def test_lines_that_are_no_requests_are_told(desk: Desk) -> None:
    trace = desk.write("mixed.jsonl", _trace(LOADS) + "\nhello\n")
    assert "mixed.jsonl: 1 lines are no requests and were skipped" in desk.run(trace=trace).stderr


def test_a_paused_policy_is_shown_as_if_it_were_not(desk: Desk) -> None:
    document = _document()
    document["metadata"]["annotations"] = {"slaplanner.io/paused": "true"}
    result = desk.run("--start-prefill", 9, policy=desk.write("paused.yaml", yaml.safe_dump(document)))
    assert "the policy is paused" in result.stderr
    assert "ScaleDown" in result.stdout


def test_a_trace_of_another_format_is_named_and_planned_for(desk: Desk) -> None:
    rows = (f"2024-05-10 00:{at // 60:02}:{at % 60:02}+00:00,3000,300" for at in range(240))
    trace = desk.write("azure.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows))
    result = desk.run("--output", "json", trace=trace)
    assert (
        "azure.csv: found Azure LLM inference CSV, Unix seconds from 2024-05-10 00:00:00 UTC" in result.stderr
    )
    assert [interval["requests"] for interval in json.loads(result.stdout)["intervals"]] == [60] * 4


def test_seconds_for_milliseconds_are_asked_about_and_taken_when_said(desk: Desk) -> None:
    lines = ({"timestamp": at, "input_length": 3000, "output_length": 300} for at in range(240))
    trace = desk.write("seconds.jsonl", "\n".join(json.dumps(line) for line in lines))
    _refused(desk.run(trace=trace), "Say it with --time-unit ms or s")
    result = desk.run("--time-unit", "s", "--output", "json", trace=trace)
    assert len(json.loads(result.stdout)["intervals"]) == 4
