"""Digests of what the planner decides, so that a change of structure can be shown to change no decision.

Run `python -m tests.digests` before and after the change, and compare the lines; it takes about a minute. Each line
has the SHA-256 of all figures of one kind: dry-runs and simulations of an example trace, and the judgement of each
policy of the corpus of good and bad ones.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

from slaplanner.adapters.traces.trace import read_trace
from slaplanner.api.validation import judge
from slaplanner.core.model import Mode, Policy, PredictorPolicy, PredictorType, Role, RolePolicy, Sizing, Sla
from slaplanner_lab.dryrun import dry_run
from slaplanner_lab.notebook import load_profile, simulate
from tests import policy_corpus
from tests.profile_data import MODELLED_70B, PROFILES, ROOT

TRACE = read_trace(ROOT / "examples" / "traces" / "azure2023_conv.jsonl.gz")
PROFILE = load_profile(PROFILES / MODELLED_70B)
SIMULATED_S = 3600.0


def _policies() -> Iterator[Policy]:
    for sizing in Sizing:
        for kind in (PredictorType.AUTO, PredictorType.CONSTANT, PredictorType.KALMAN):
            yield Policy(
                mode=Mode.DISAGG,
                sla=Sla(ttft_ms=1000.0, itl_ms=40.0),
                sizing=sizing,
                predictor=PredictorPolicy(type=kind),
                gpu_budget=160,
                roles=tuple(
                    RolePolicy(role=role, max_replicas=40, gpus_per_replica=4)
                    for role in (Role.PREFILL, Role.DECODE)
                ),
            )


def dry_runs() -> Iterator[object]:
    """Every decision of dry-runs with each sizing and three predictors."""
    for policy in _policies():
        for point in dry_run(policy, PROFILE.profile, TRACE).points:
            yield {role: entry.replicas for role, entry in point.roles.items()}, point.reason, point.message


def simulations() -> Iterator[object]:
    """Every decision of simulations with each sizing: counts, reasons, sentences and the time of each request."""
    for policy in _policies():
        if policy.predictor.type is PredictorType.AUTO:
            run = simulate(
                replace(policy, interval_s=60.0), PROFILE, TRACE.between(0.0, SIMULATED_S), copies=4
            )
            yield from ((tick.at_s, tick.verdict.replicas, tick.verdict.reason) for tick in run.ticks)
            yield run.worker_hours, run.moves, [column.tobytes().hex() for column in run.requests]


def judgements() -> Iterator[object]:
    """What is said of every object of the corpus."""
    for case in (*policy_corpus.rule_cases(), *policy_corpus.field_cases()):
        said = judge(case.document)
        yield case.name, [str(each) for each in said.faults], [str(each) for each in said.warnings]
    for update in policy_corpus.updates():
        yield update.name, [str(each) for each in judge(update.new, old=update.old).faults]


def line(name: str, parts: Iterable[object]) -> str:
    """*name*, how many parts there are, and the hash of how they print."""
    printed = [repr(part) for part in parts]
    return f"{name:<12} {len(printed):>6} {hashlib.sha256(repr(printed).encode()).hexdigest()[:16]}"


if __name__ == "__main__":
    for name, parts in (
        ("judgements", judgements()),
        ("dry-runs", dry_runs()),
        ("simulations", simulations()),
    ):
        sys.stdout.write(line(name, parts) + "\n")
