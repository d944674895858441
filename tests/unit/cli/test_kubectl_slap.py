"""`kubectl slap`, on statuses as the operator writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from slaplanner.cli import policy_text
from slaplanner.cli.kubectl_slap import main
from slaplanner.core.reasons import ConditionType, Reason

NOW = datetime(2026, 11, 22, 16, 41, 20, tzinfo=UTC)


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def decision(
    number: int, time: str, reason: str, before: tuple[int, int], after: tuple[int, int]
) -> dict[str, Any]:
    def sizes(counts: tuple[int, int]) -> list[dict[str, Any]]:
        return [
            {"name": name, "replicas": count}
            for name, count in zip(("prefill", "decode"), counts, strict=True)
        ]

    message = f"prefill {before[0]} -> {after[0]}: 105 requests/s of 744 input and 140 output tokens forecast"
    return {
        "id": number,
        "time": time,
        "reason": reason,
        "from": sizes(before),
        "to": sizes(after),
        "message": message,
    }


def policy(**status: Any) -> dict[str, Any]:
    decisions = [
        decision(32, "2026-11-22T16:40:33Z", "ScaleDown", (7, 6), (7, 5)),
        decision(33, "2026-11-22T16:41:08Z", "ScaleUp", (7, 5), (9, 5)),
    ]
    base = {
        "conditions": [
            condition("Ready", "True", "Planned", "the last plan ran on known figures"),
            condition("BudgetLimited", "False", "WithinBudget"),
        ],
        "roles": [
            {
                "name": "prefill",
                "current": 7,
                "ready": 7,
                "desired": 9,
                "raw": 12,
                "limitedBy": "TooManyReplicas",
            },
            {"name": "decode", "current": 5, "ready": 4, "desired": 5, "raw": 5},
        ],
        "attainment": {
            "lastHour": {"ttft": {"lower": 84.1, "upper": 84.1}, "itl": {"lower": 0, "upper": 88.8}}
        },
        "observed": {"requestsPerSecond": 92.5, "isl": 725, "osl": 142, "ttft": 48.2, "itl": 16.6},
        "forecast": {
            "requestsPerSecond": 104,
            "horizonSeconds": 45,
            "predictor": "Auto",
            "tokenRates": [{"name": "prefill", "mean": 77300, "upper": 115000}],
        },
        "expected": {"utilisation": [{"name": "prefill", "value": 0.625}]},
        "summary": {"prefill": "7/9", "decode": "5/5", "gpus": "28/48"},
        "lastDecision": decisions[-1],
        "decisions": decisions,
    }
    return {
        "metadata": {"name": "qwen3-32b", "namespace": "serving"},
        "spec": {"sla": {"ttft": 1000, "itl": 20, "attainment": 99}, "planning": {"intervalSeconds": 15}},
        "status": base | status,
    }


def test_a_line_has_what_was_kept_and_why_it_is_so() -> None:
    lines = policy_text.table([policy()]).splitlines()
    assert lines[0].split() == ["POLICY", "READY", "IN", "TIME", "PREFILL", "DECODE", "GPUS", "WHY"]
    assert lines[1].split(maxsplit=6) == [
        "serving/qwen3-32b",
        "True",
        "0/99",
        "7/9",
        "5/5",
        "28/48",
        "TooManyReplicas",
    ]


def test_long_names_make_a_paragraph_and_lose_nothing() -> None:
    long = policy()
    long["metadata"] = {"name": "llama-3-3-70b-instruct-fp8-prod", "namespace": "serving-of-the-search-team"}
    lines = policy_text.table([policy(), long]).splitlines()
    assert max(map(len, lines)) <= policy_text.WIDTH
    assert lines[3:] == [
        "serving-of-the-search-team/llama-3-3-70b-instruct-fp8-prod",
        "  ready True, in time 0/99, prefill 7/9, decode 5/5, gpus 28/48",
        "  TooManyReplicas",
    ]
    assert len(policy_text.table([policy(), long], width=200).splitlines()) == 3


def test_a_policy_that_nobody_planned_has_a_line_too() -> None:
    fresh = {"metadata": {"name": "new", "namespace": "serving"}, "spec": {}}
    assert policy_text.table([fresh]).splitlines()[1].split() == [
        "serving/new",
        "-",
        "-",
        "-",
        "-",
        "-",
        "Pending",
    ]
    assert "no operator has looked at it yet" in policy_text.why(fresh, now=NOW)
    assert policy_text.history(fresh) == "no decision yet"


def test_what_is_wrong_comes_before_what_limits() -> None:
    broken = policy(conditions=[condition("Ready", "False", "NoSeries", "nothing matches")])
    assert policy_text.table([broken]).endswith("NoSeries")


def test_the_story_tells_figures_decisions_and_what_would_change_them() -> None:
    told = policy_text.why(policy(), now=NOW)
    for words in (
        "serving/qwen3-32b: ready (Planned)",
        "TTFT 1,000 ms, ITL 20 ms for 99 % of the requests",
        "TTFT 84.1 %, ITL 0 to 88.8 % in the last hour",
        "load 77,300 tokens/s, sized for 115,000 at most",
        "decision 33, 12 s ago: ScaleUp",
        "ScaleDown",
        "prefill 7, decode 6 -> 5",
        "next plan: in 3 s",
        "prefill, TooManyReplicas: raise maxReplicas of the role",
        "prefill is full at 1.6 times the forecast load",
    ):
        assert words in told
    assert max(map(len, told.splitlines())) <= policy_text.WIDTH


def test_a_plan_that_does_not_come_is_named() -> None:
    late = policy_text.why(policy(), now=NOW + timedelta(minutes=10))
    assert "next plan: overdue since 10 min: look at the operator's log" in late


@pytest.mark.parametrize("kind", ConditionType, ids=str)
def test_only_bad_news_would_change_it(kind: ConditionType) -> None:
    good = policy_text.FINE.get(kind, "True")
    bad = {"True": "False", "False": "True"}[good]
    for status, told in ((good, False), (bad, True), ("Unknown", False)):
        one = policy(conditions=[condition(kind, status, "Why", "because")], roles=[], expected={})
        assert ("because" in policy_text.why(one, now=NOW).partition("what would change it")[2]) is (
            told and kind is not ConditionType.READY
        )


def test_every_remedy_is_for_a_word_that_exists() -> None:
    assert set(policy_text.REMEDIES) <= {str(reason) for reason in Reason}


def test_history_begins_with_the_newest() -> None:
    told = policy_text.history(policy())
    assert told.index("ScaleUp") < told.index("ScaleDown")


Kubectl = Callable[..., Path]


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """Puts a kubectl on PATH that answers with these words; returns the file of what it was asked."""

    def install(answer: object = None, *, refusal: str = "") -> Path:
        log = tmp_path / "calls"
        (tmp_path / "answer").write_text(json.dumps(answer))
        script = tmp_path / "kubectl"
        end = f"echo '{refusal}' >&2; exit 1" if refusal else f"cat {tmp_path / 'answer'}"
        script.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> {log}; done\n{end}\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return log

    return install


def asked(log: Path) -> list[str]:
    return log.read_text().splitlines()


def test_commands_pass_on_where_to_look(kubectl: Kubectl) -> None:
    log = kubectl({"items": [policy()]})
    answer = CliRunner().invoke(main, ["status", "-n", "serving", "--context", "prod"])
    assert answer.exit_code == 0, answer.output
    assert set(asked(log)) >= {"--namespace=serving", "--context=prod", "slapolicies.slaplanner.io"}
    assert "serving/qwen3-32b" in answer.output


@pytest.mark.parametrize(
    ("words", "annotation"),
    [
        pytest.param(["pause", "llama"], "slaplanner.io/paused=true", id="pause"),
        pytest.param(["pause", "llama", "--scale-in"], "slaplanner.io/paused=scale-in", id="scale-in"),
        pytest.param(["resume", "llama"], "slaplanner.io/paused-", id="resume"),
        pytest.param(["plan", "llama"], "slaplanner.io/plan-requested-at=", id="plan"),
    ],
)
def test_steering_is_an_annotation(kubectl: Kubectl, words: list[str], annotation: str) -> None:
    log = kubectl("done")
    assert CliRunner().invoke(main, words).exit_code == 0
    assert any(word.startswith(annotation) for word in asked(log))


def test_a_refusal_is_kubectls_own(kubectl: Kubectl) -> None:
    kubectl(refusal="Error from server (Forbidden)")
    answer = CliRunner().invoke(main, ["why", "llama"])
    assert answer.exit_code == 1
    assert "Error from server (Forbidden)" in answer.output
