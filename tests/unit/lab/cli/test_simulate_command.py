"""`slaplanner simulate`: what users give, see and get wrong."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

import slaplanner
from slaplanner.adapters.profiles import load_directory
from slaplanner.cli import main
from slaplanner_lab.cli import inputs
from slaplanner_lab.cli import simulate as simulate_command
from slaplanner_lab.drawing import palette
from slaplanner_lab.rivals.compare import Kind, compare, tasks
from tests.command_desk import PROFILE, Desk, policy_document

MINUTES = 8
UNSCORED_S = 120


def _document(**spec: Any) -> dict[str, Any]:
    roles = [{"name": "prefill", "gpusPerReplica": 2}, {"name": "decode", "gpusPerReplica": 1}]
    planning = {"intervalSeconds": 60, "startupSeconds": 60, "predictor": {"type": "Constant"}}
    return policy_document(**{"roles": roles, "planning": planning, **spec})


def _trace(*, per_minute: int = 120, minutes: float = MINUTES, isl: int = 1000, osl: int = 100) -> str:
    """Evenly spaced requests; the last arrives half a gap before the end."""
    gap_ms = 60_000 / per_minute
    lines = [
        json.dumps({"timestamp": round(gap_ms * (n + 0.5)), "input_length": isl, "output_length": osl})
        for n in range(int(per_minute * minutes))
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    unless_given = {"--unscored": UNSCORED_S}
    return Desk(tmp_path, "simulate", policy=_document(), trace=_trace(), unless_given=unless_given)


def test_json_has_the_promise_the_latencies_and_the_cost(desk: Desk) -> None:
    document = desk.json()
    assert set(document) == {
        "attainment", "unscored", "latency", "gpuHours", "requests", "unfinished", "moves",
        "budgetViolations", "preemptions", "hours", "misses", "plans", "timeline",
    }  # fmt: skip
    assert document["requests"] == 120 * MINUTES
    assert document["unscored"]["requests"] == 120 * UNSCORED_S / 60
    assert set(document["attainment"]) == {"both", "ttft", "itl"}
    assert document["latency"]["ttft"]["p50"] <= document["latency"]["ttft"]["p99"]
    assert document["unfinished"] == document["budgetViolations"] == 0


def test_json_has_what_the_report_shows_over_time(desk: Desk) -> None:
    document, plans = desk.json("--start-prefill", 1), desk.plans("--start-prefill", 1)
    assert sum(entry["requests"] for entry in document["timeline"]) == document["requests"]
    assert {entry["ttft"]["inTime"] for entry in document["timeline"]} <= {100.0}
    assert [entry["t"] for entry in document["plans"]] == [float(plan["t"]) for plan in plans]
    second = document["plans"][1]
    assert set(second) == {"t", "reason", "prefill", "decode", "kvUsage", "forecast"}
    assert second["prefill"] == {
        name: int(plans[1][f"prefill_{name}"]) for name in ("asked", "ready", "present", "waiting")
    }
    assert second["forecast"] == {"requests": 120.0, "isl": 1000.0, "osl": 100.0}
    assert document["misses"] == []


def test_json_names_where_the_misses_come_from(desk: Desk) -> None:
    crowd = desk.write("crowd.jsonl", _trace(per_minute=6000, minutes=4))
    document = desk.json("--start-prefill", 1, "--start-decode", 1, trace=crowd)
    missed = sum(entry["requests"] for entry in document["misses"])
    scored = document["requests"] - document["unscored"]["requests"]
    assert missed > 0
    assert document["attainment"]["both"] == pytest.approx(100 * (1 - missed / scored), abs=1e-3)


def test_gpu_hours_are_those_of_the_replicas_until_the_last_arrival(desk: Desk) -> None:
    hours = desk.json("--start-prefill", 1, "--start-decode", 1)["gpuHours"]
    length_hours = (60 * MINUTES - 0.5) / 3600
    assert hours["prefill"] == pytest.approx(2 * length_hours, abs=1e-4)
    assert hours["decode"] == pytest.approx(length_hours, abs=1e-4)
    assert hours["total"] == pytest.approx(hours["prefill"] + hours["decode"], abs=1e-4)


def test_csv_has_a_line_per_plan(desk: Desk) -> None:
    plans = desk.plans("--start-prefill", 3)
    assert [float(plan["t"]) for plan in plans][:MINUTES] == [60.0 * k for k in range(1, MINUTES + 1)]
    assert set(plans[0]) == {
        "t", "reason", "prefill_asked", "prefill_ready", "prefill_present", "prefill_waiting",
        "decode_asked", "decode_ready", "decode_present", "decode_waiting", "kv_usage",
    }  # fmt: skip
    assert plans[0]["prefill_ready"] == "3"


def test_the_table_tells_the_promise_and_the_cost(desk: Desk) -> None:
    result = desk.run()
    assert result.exit_code == 0
    for words in ("TTFT", "1000 ms", "GPU-hours", "before scoring began", "budget violations 0"):
        assert words in result.stdout, words


def test_the_table_of_more_than_an_hour_tells_each_hour(desk: Desk) -> None:
    assert "By hour" not in desk.run().stdout
    long = desk.write("long.jsonl", _trace(per_minute=10, minutes=150))
    assert "By hour" in desk.run(trace=long).stdout
    assert [hour["t"] for hour in desk.json(trace=long)["hours"]] == [0, 3600, 7200]


def test_results_go_to_stdout_and_remarks_to_stderr(desk: Desk) -> None:
    trace = desk.write("mixed.jsonl", _trace() + "hello\n")
    result = desk.run("--output", "json", policy=_without_gpus(desk), trace=trace)
    json.loads(result.stdout)
    assert sorted(result.stderr.splitlines()) == [
        "GPUs per decode replica are unknown: 1 is assumed",
        "GPUs per prefill replica are unknown: 1 is assumed",
        "mixed.jsonl: 1 lines are no requests and were skipped (0.10% of them: 1 not JSON)",
    ]


def _without_gpus(desk: Desk) -> Path:
    """A policy that leaves GPUs per replica to its target."""
    document = _document()
    del document["spec"]["roles"]
    return desk.write("silent.yaml", yaml.safe_dump(document))


def test_amplified_requests_are_jittered_by_the_seed(desk: Desk) -> None:
    trace = desk.write("busy.jsonl", _trace(per_minute=600, minutes=4))

    def of(seed: int) -> dict[str, Any]:
        return desk.json("--amplify", 3, "--seed", seed, trace=trace)

    assert of(1)["requests"] == 3 * 2400
    assert of(1) == of(1)
    assert of(1)["latency"] != of(2)["latency"]


def test_a_slower_fleet_than_the_planner_believes_is_later(desk: Desk) -> None:
    slow = desk.folder / "slow"
    slow.mkdir()
    for name in ("prefill", "decode"):
        data = json.loads((PROFILE / f"{name}_raw_data.json").read_text())
        for key in ("prefill_ttft", "z_itl"):
            if key in data:
                data[key] = [2.0 * value for value in data[key]]
        (slow / f"{name}_raw_data.json").write_text(json.dumps(data))
    believed, real = desk.json(), desk.json("--fleet-profile", slow)
    assert real["latency"]["ttft"]["p50"] == pytest.approx(2 * believed["latency"]["ttft"]["p50"], rel=0.01)


def test_a_lost_worker_and_a_silent_prometheus_show_in_the_plans(desk: Desk) -> None:
    calm = desk.plans("--start-prefill", 2, "--start-decode", 2)
    hurt = desk.plans("--start-prefill", 2, "--start-decode", 2, "--lose", "decode@90", "--silence", 200)
    assert [plan["decode_ready"] for plan in calm][:2] == ["2", "2"]
    assert [plan["decode_ready"] for plan in hurt][:2] == ["2", "1"]
    assert "Prometheus" not in "".join(plan["reason"] for plan in calm)
    silent = [float(plan["t"]) for plan in hurt if plan["reason"] != calm[0]["reason"]]
    assert {240.0, 300.0, 360.0} <= set(silent)


def test_a_budget_is_kept(desk: Desk) -> None:
    tight = desk.write("tight.yaml", yaml.safe_dump(_document(gpuBudget={"max": 4})))
    busy = desk.write("busy.jsonl", _trace(per_minute=3000, minutes=4))
    assert desk.json(policy=tight, trace=busy)["budgetViolations"] == 0
    for plan in desk.plans(policy=tight, trace=busy):
        assert 2 * int(plan["prefill_present"]) + int(plan["decode_present"]) <= 4


def test_gpus_per_replica_are_the_targets_where_the_policy_does_not_say(desk: Desk) -> None:
    def component(role: str, gpus: int) -> dict[str, Any]:
        main = {"name": "main", "image": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
        return {"name": role, "type": role, "podTemplate": {"spec": {"containers": [main]}}}

    graph = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llama-8b"},
        "spec": {"components": [component("prefill", 4), component("decode", 8)]},
    }
    target = desk.write("graph.yaml", yaml.safe_dump(graph))
    start = ("--start-prefill", 1, "--start-decode", 1)
    silent = _without_gpus(desk)
    assumed, told = (
        desk.json(*start, *more, policy=silent)["gpuHours"] for more in ((), ("--target", target))
    )
    assert told["prefill"] == pytest.approx(4 * assumed["prefill"], rel=1e-3)
    assert told["decode"] == pytest.approx(8 * assumed["decode"], rel=1e-3)
    assert desk.json(*start)["gpuHours"] == desk.json(*start, "--target", target)["gpuHours"]


def test_a_paused_policy_is_shown_as_if_it_were_not(desk: Desk) -> None:
    document = _document()
    document["metadata"]["annotations"] = {"slaplanner.io/paused": "true"}
    paused = desk.write("paused.yaml", yaml.safe_dump(document))
    assert "the policy is paused" in desk.run(policy=paused).stderr
    assert desk.json("--start-prefill", 5, policy=paused) == desk.json("--start-prefill", 5)


class _Page(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_is_one_page_that_needs_nothing_else(desk: Desk) -> None:
    report = desk.folder / "report.html"
    result = desk.run("--report", report)
    assert result.exit_code == 0, result.stderr
    assert f"wrote {report}" in result.stderr
    page = _Page()
    page.feed(report.read_text(encoding="utf-8"))
    text = " ".join(page.words)
    assert page.tags.count("svg") == 6, "load, replicas, latencies, misses, histograms, queues"
    assert [one for one in page.references if not one.startswith("#")] == []
    assert "script" not in page.tags
    for words in ("llama-8b on trace.jsonl", "met both targets", "Where the misses come from"):
        assert words in text, words
    assert not re.search(r"\bnan\b", text)


def test_rivals_are_shown_beside_the_planner(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few of them, in this process: finding all of their settings takes minutes."""
    few = tuple(
        task for task in tasks() if task.kind is Kind.PLANNER or task.name in {"HPA at 50 %", "HPA at 20 %"}
    )
    monkeypatch.setattr(
        simulate_command,
        "compare",
        lambda scenario, measured, done: compare(scenario, measured, processes=1, only=few, done=done),
    )
    report = desk.folder / "report.html"
    document = desk.json("--compare", "--report", report)
    entries = {entry["name"]: entry for entry in document["comparison"]["entries"]}
    assert set(entries) == {task.name for task in few}
    bound = document["comparison"]["fluidBoundGpuHours"]
    assert all(entry["gpuHours"]["total"] >= bound > 0 for entry in entries.values())
    assert report.read_text().count("<svg") == 7
    table = desk.run("--compare").stdout
    assert "HPA at 50 %" in table
    assert "fluid bound" in table
    assert all(any(task.name in line for line in table.splitlines()) for task in few), "no name is folded"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "found no such file", id="no-file"),
        pytest.param("", "found 0 lines and none of them valid", id="empty"),
        pytest.param("no\nrequests\n", "found 2 lines and none of them valid", id="no-valid-line"),
        pytest.param(_trace(minutes=0.9), "found 1 interval of 60 s", id="one-interval"),
        pytest.param(
            _trace(minutes=1.5), "wanted more than the 120 s that are not scored", id="all-unscored"
        ),
    ],
)
def test_a_bad_trace_is_one_message(desk: Desk, text: str | None, message: str) -> None:
    path = desk.folder / "bad.jsonl"
    if text is not None:
        path.write_text(text)
    _refused(desk.run(trace=path), message)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param({"kind": "ConfigMap"}, "found 0 objects of kind SLAPolicy", id="another-kind"),
        pytest.param(_document(sla={"ttft": -1}), "spec.sla.ttft", id="bad-value"),
    ],
)
def test_a_bad_policy_is_one_message(desk: Desk, document: dict[str, Any], message: str) -> None:
    _refused(desk.run(policy=desk.write("bad.yaml", yaml.safe_dump(document))), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--profile", "nowhere"], "found no such directory", id="no-profile"),
        pytest.param(["--fleet-profile", "nowhere"], "found no such directory", id="no-fleet-profile"),
        pytest.param(["--target", "nowhere.yaml"], "nowhere.yaml: No such file", id="no-target"),
        pytest.param(["--report", "/nowhere/r.html"], "found no directory /nowhere", id="report-nowhere"),
        pytest.param(["--report", "/proc/r.html"], "/proc/r.html: No such file", id="report-unwritable"),
        pytest.param(["--lose", "decode@9999"], "found a fault at 9999 s", id="lost-after-the-end"),
        pytest.param(["--silence", "9999"], "found a fault at 9999 s", id="silent-after-the-end"),
    ],
)
def test_other_bad_input_is_one_message(desk: Desk, arguments: list[str], message: str) -> None:
    _refused(desk.run(*arguments), message)


def _refused(result: Result, message: str) -> None:
    """Exit 1, one message, no traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    errors = [line for line in result.stderr.splitlines() if "are unknown: 1 is assumed" not in line]
    assert len(errors) == 1
    assert errors[0].startswith("Error: ")
    assert message in errors[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--lose", "decode"], "wanted ROLE@SECONDS", id="lost-when"),
        pytest.param(["--lose", "frontend@5"], "wanted ROLE@SECONDS", id="lost-who"),
        pytest.param(["--lose", "agg@5"], "wanted one of prefill or decode", id="lost-in-agg"),
        pytest.param(["--report", "report.pdf"], "wanted a name that ends in .html", id="report-format"),
        pytest.param(["--amplify", "0"], "--amplify", id="amplify-0"),
        pytest.param(["--output", "xml"], "--output", id="output"),
        pytest.param(["--faster"], "No such option", id="no-such-option"),
    ],
)
def test_usage_is_exit_code_2(desk: Desk, arguments: list[str], message: str) -> None:
    result = desk.run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("command", ["simulate", "dryrun"])
def test_the_examples_of_the_help_are_commands_that_parse(command: str) -> None:
    """Each names only options that exist; what stands after a pipe is another program's."""
    shown = CliRunner().invoke(main, [command, "--help"]).stdout
    examples = [line.partition("|")[0] for line in shown.splitlines() if f"slaplanner {command} " in line]
    assert len(examples) == {"dryrun": 3, "simulate": 4}[command]
    for example in examples:
        _, _, *arguments = shlex.split(example)
        found = main.get_command(click.Context(main), command)
        assert found is not None
        assert found.make_context(command, arguments).params["policy_file"] == "policy.yaml"


def test_a_fleet_slower_than_its_profile_is_late_and_one_of_its_speed_is_not(desk: Desk) -> None:
    as_profiled = desk.json("--fleet-error", "prefill=1,decode=1,kv=0")
    assert as_profiled == desk.json()
    slower = desk.json("--fleet-error", "prefill=1.5,decode=2")
    assert slower["latency"]["ttft"]["p50"] > 1.3 * as_profiled["latency"]["ttft"]["p50"]
    assert slower["latency"]["itl"]["p50"] > 1.3 * as_profiled["latency"]["itl"]["p50"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--fleet-error", "speed=2"),
        ("--fleet-error", "prefill=fast"),
        ("--fleet-error", "prefill=0"),
        ("--fleet-error", "prefill=nan"),
        ("--fleet-error", "decode=1,decode=2"),
        ("--fleet-error", "kv=-1"),
        ("--ttft-buckets", "1,2"),
        ("--ttft-buckets", "2,1,10"),
        ("--itl-buckets", "a,b,c"),
    ],
)
def test_wrong_engines_and_buckets_are_refused_with_what_was_found(
    desk: Desk, option: str, value: str
) -> None:
    refused = desk.run(option, value)
    assert refused.exit_code == 2
    assert "found" in refused.stderr


def test_finer_buckets_reach_the_planner(desk: Desk) -> None:
    assert desk.json("--ttft-buckets", "0.01,100,60", "--itl-buckets", "0.002,0.2,40")["requests"] > 0


def test_prophet_is_compared_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def rivals(*, installed: bool) -> set[str]:
        monkeypatch.setattr(
            "slaplanner_lab.rivals.compare.find_spec", lambda _: object() if installed else None
        )
        return {task.name for task in tasks()}

    missing = rivals(installed=True) - rivals(installed=False)
    assert missing == {"formulas, Prophet, raw correction", "formulas, Prophet, no correction"}


@pytest.mark.parametrize("mode", ["agg", "prefill", "decode"])
def test_every_mode_is_played_and_reported(tmp_path: Path, mode: str) -> None:
    policy = _document(mode=mode, roles=[{"name": mode, "gpusPerReplica": 2}])
    desk = Desk(tmp_path, "simulate", policy=policy, trace=_trace(), unless_given={"--unscored": UNSCORED_S})
    report = tmp_path / "report.html"
    document = desk.json("--report", report)
    assert set(document["gpuHours"]) == {mode, "total"}
    assert document["gpuHours"]["total"] > 0.0
    assert document["unfinished"] == 0
    assert {key for key in document["plans"][0] if key in {"agg", "prefill", "decode"}} == {mode}
    unplayed = {"agg": (), "prefill": ("itl",), "decode": ("ttft",)}[mode]
    for latency in unplayed:
        assert document["attainment"][latency] == 100.0
    assert f"{mode} replicas" in report.read_text(encoding="utf-8") or "<svg" in report.read_text(
        encoding="utf-8"
    )
    refused = desk.run("--lose", "prefill@200" if mode != "prefill" else "decode@200")
    assert refused.exit_code == 2
    assert f"the policy's mode is {mode}" in refused.stderr


def test_agg_workers_are_compared_with_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = _document(mode="agg", roles=[{"name": "agg", "gpusPerReplica": 2}])
    desk = Desk(tmp_path, "simulate", policy=policy, trace=_trace(minutes=6), unless_given={"--unscored": 60})
    one_of_each = tuple({task.kind: task for task in tasks()}.values())
    monkeypatch.setattr(
        simulate_command,
        "compare",
        lambda scenario, measured, done: compare(
            scenario, measured, processes=1, only=one_of_each, done=done
        ),
    )
    entries = desk.json("--compare")["comparison"]["entries"]
    assert {entry["kind"] for entry in entries} == {kind.value for kind in Kind}
    assert all(set(entry["gpuHours"]) == {"agg", "total"} for entry in entries)


def test_the_report_says_where_it_comes_from(desk: Desk) -> None:
    report = desk.folder / "report.html"
    desk.json(
        "--report", report, "--amplify", 2, "--seed", 7, "--lose", "decode@200", "--fleet-error", "decode=1.2"
    )
    text = report.read_text(encoding="utf-8")
    for said in (
        f"{120 * MINUTES * 2:,}: each 2 times, seed 7",
        "TTFT x 1, ITL x 1.2 x (1 + 0 x KV in use)",
        "decode worker lost at 200 s",
        f"slaplanner {slaplanner.__version__}",
        "startupSeconds: 60",
        "<th>command</th>",
    ):
        assert said in text, said


def test_the_report_is_readable_in_the_dark_on_a_phone_and_without_colours(desk: Desk) -> None:
    report = desk.folder / "report.html"
    desk.json("--report", report)
    text = report.read_text(encoding="utf-8")
    assert "@media(prefers-color-scheme:dark)" in text
    figures = text[text.index("<main>") :]
    assert not [colour for colour in palette.DARK if colour in figures]
    assert set(re.findall(r"#[0-9a-f]{6}\b", figures)) <= {"#000000"}
    assert figures.count("<svg") == figures.count('role="img" aria-label="')
    assert all("overflow-x" not in part for part in figures.split("<table")[1:])
    assert "&#10003; kept" in figures


def test_a_sweep_says_what_each_promise_costs(desk: Desk) -> None:
    report = desk.folder / "report.html"
    document = desk.json(
        "--sweep",
        "ttft=300,3000,budget=4",
        "--sweep",
        "itl=40",
        "--gpu-hour-price",
        "2.5",
        "--report",
        report,
    )
    tried = document["sweep"]
    assert [(one["ttft"], one["budget"], one["itl"]) for one in tried] == [(300, 4, 40), (3000, 4, 40)]
    assert [one["cost"] for one in tried] == pytest.approx([2.5 * one["gpuHours"] for one in tried], abs=0.01)
    assert document["cost"] == pytest.approx(2.5 * document["gpuHours"]["total"], abs=0.01)
    assert {one["keepsPromise"] for one in tried} <= {True, False}
    assert "What each promise costs" in report.read_text(encoding="utf-8")
    assert "TTFT 300, ITL 40, 4 GPUs" in report.read_text(encoding="utf-8")


def test_two_policies_stand_in_one_table(desk: Desk) -> None:
    other = desk.write(
        "other.yaml", yaml.safe_dump(_document(sla={"ttft": 5000, "itl": 50, "attainment": 90}))
    )
    tried = desk.json("--against", other)["sweep"]
    assert [Path(one["policy"]).name for one in tried] == ["policy.yaml", "other.yaml"]
    assert [one["ttft"] for one in tried][1] == 5000
    assert "other.yaml" in desk.run("--against", other).stdout


@pytest.mark.parametrize(
    "axes", ["speed=3", "500", "ttft=", "ttft=fast", "ttft=1,ttft=2", "budget=1.5", "itl=-3", "itl=nan"]
)
def test_a_wrong_sweep_is_refused_with_what_was_found(desk: Desk, axes: str) -> None:
    refused = desk.run("--sweep", axes)
    assert refused.exit_code == 2
    assert "found" in refused.stderr


def test_tp_chooses_among_the_rows_of_a_profile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a profile with rows of several does is the adapter's own test."""
    asked = []

    def load(path: str, *, tp: int | None, **given: Any) -> Any:
        asked.append(tp)
        return load_directory(path, **given)

    monkeypatch.setattr(inputs, "load_directory", load)
    desk.json("--tp", 4)
    desk.json()
    assert asked == [4, None]
