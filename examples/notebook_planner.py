"""The planner from Python: driven by a simulator of one's own, along a trace, and in a closed loop.

    python examples/notebook_planner.py

Each part stands alone and can be pasted into a notebook.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from slaplanner import (
    Interval,
    Planner,
    Policy,
    Role,
    Sla,
    dry_run,
    load_policy,
    load_profile,
    load_trace,
    score,
    simulate,
)

HERE = Path(__file__).parent
PROFILE = HERE / "profiles" / "h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1"
TRACE = HERE / "traces" / "azure2023_conv.jsonl.gz"

MINUTE_S = 60.0


def drive_it_yourself() -> list[dict[Role, int]]:
    """A fleet of one's own: what it served in, replicas with their reason out.

    Its workers take a minute to start, so that those that were asked for last are not serving yet.
    """
    policy = Policy(sla=Sla(ttft_ms=1000, itl_ms=12), interval_s=MINUTE_S, startup_s=MINUTE_S)
    planner = Planner(policy=policy, profile=load_profile(PROFILE).profile)
    serving = dict(planner.replicas)
    sizes = []
    for requests in (3000, 9000, 21000, None, 21000, 6000, 6000):
        asked_for = planner.replicas
        known = requests is not None
        seen = Interval(
            requests=requests,
            isl_tokens=1100 if known else None,
            osl_tokens=220 if known else None,
            serving=serving,
        )
        plan = planner(seen)
        print(f"{requests if known else '?':>6} requests: {plan.reason}: {plan.message}")
        serving = {role: min(asked_for[role], count) for role, count in plan.replicas.items()}
        sizes.append(dict(plan.replicas))
    return sizes


def see_what_a_policy_would_do() -> float:
    """A dry-run: GPU-hours, and the intervals in which too little would have been planned."""
    policy = replace(load_policy(HERE / "01-minimal.yaml"), interval_s=MINUTE_S)
    run = dry_run(policy, load_profile(PROFILE).profile, load_trace(TRACE))
    for role, hours in run.gpu_hours.items():
        print(f"{role}: {hours:.1f} GPU-hours, short in {run.short(role)} of {len(run.points)} intervals")
    return sum(run.gpu_hours.values())


def close_the_loop(minutes: int = 10) -> float:
    """A simulation: the share of requests that would have met both targets, in percent."""
    policy = Policy(sla=Sla(ttft_ms=1000, itl_ms=30), interval_s=MINUTE_S, startup_s=MINUTE_S)
    trace = load_trace(TRACE).between(0, minutes * MINUTE_S)
    result = score(simulate(policy, load_profile(PROFILE), trace, copies=4, unscored_s=MINUTE_S))
    hours = sum(result.gpu_hours.values())
    print(f"{result.attainment.both:.1f} % of {result.requests:,} requests in time, {hours:.2f} GPU-hours")
    return result.attainment.both


if __name__ == "__main__":
    drive_it_yourself()
    see_what_a_policy_would_do()
    close_the_loop()
