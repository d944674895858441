"""Constant and Kalman forecast what Dynamo's own planner does, warm-up and log1p included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slaplanner.core.forecast import ForecastState, forecast
from slaplanner.core.model import KalmanTuning, PredictorPolicy, PredictorType
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason

GOLDEN = Path(__file__).parents[3] / "golden" / "dynamo_dryrun.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
KINDS = {"constant": PredictorType.CONSTANT, "kalman": PredictorType.KALMAN}


def _name(case: dict[str, Any]) -> str:
    config = case["config"]
    return f"{config['load_predictor']}-{case['trace']}-{config['throughput_adjustment_interval']}s"


def _policy(config: dict[str, Any]) -> PredictorPolicy:
    return PredictorPolicy(
        type=KINDS[config["load_predictor"]],
        log1p=config.get("load_predictor_log1p", False),
        kalman=KalmanTuning(
            q_level=config.get("kalman_q_level", 1.0),
            q_trend=config.get("kalman_q_trend", 0.1),
            r=config.get("kalman_r", 10.0),
        ),
    )


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_every_forecast_of_dynamos_dry_run_is_reproduced(case: dict[str, Any]) -> None:
    policy, series = _policy(case["config"]), case["series"]
    step_s = float(case["config"]["throughput_adjustment_interval"])
    warm_up = [series.get(f"warmup_{name}", []) for name in ("rr", "isl", "osl")]
    history = [[*before, *series[name]] for before, name in zip(warm_up, ("rr", "isl", "osl"), strict=True)]
    state: ForecastState | None = None
    for length in range(1, len(history[0])):
        outlook = forecast(
            Series(
                end_s=length * step_s,
                step_s=step_s,
                requests=tuple(history[0][:length]),
                isl_tokens=tuple(history[1][:length]),
                osl_tokens=tuple(history[2][:length]),
            ),
            policy=policy,
            state=state,
            horizon_steps=2,
        )
        state = outlook.state
        assert outlook.reason is Reason.FORECAST
        interval = length - len(warm_up[0])
        if interval < 1:
            continue
        told = [outlook.requests[0], outlook.isl_tokens[0], outlook.osl_tokens[0]]
        wanted = [max(0.0, series[name][interval]) for name in ("est_rr", "est_isl", "est_osl")]
        assert told == pytest.approx(wanted, rel=1e-6)
