"""The figures of `make bench-robust` as one table, and its scenarios one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.robust_scenarios import Draw

LEAST_ROWS = 2
"""The planner's own, which come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one planner came to on one scenario."""

    attained: float
    """Percent of the requests inside both targets."""
    gpu_hours: float
    most: Mapping[str, int]
    """The most replicas that it asked for, by role."""
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scenario and everybody's answer, the planner's own first."""

    drawn: Draw
    promised: float
    requests: int
    ttft_ms: float
    itl_ms: float
    answers: Mapping[str, Answer]

    def kept_by_the_rule(self, name: str, yardstick: str) -> bool:
        """The promise, or what *yardstick* attains where that does not keep the promise either."""
        needed = self.promised
        if yardstick in self.answers:
            needed = min(needed, self.answers[yardstick].attained)
        return self.answers[name].attained >= needed


def table(cases: Sequence[Case]) -> str:
    """Shares, attainments and costs, then one line per scenario."""
    return "\n".join([*_summary(cases), "", *_scenarios(cases)])


def _summary(cases: Sequence[Case]) -> Iterator[str]:
    names = list(cases[0].answers)
    ours = names[:LEAST_ROWS]
    hpa = next((name for name in names if name.startswith("HPA")), "")
    yield f"{len(cases)} scenarios, promise {cases[0].promised:g} %"
    yield ""
    yield f"{'':<33} {'kept':>5} {'rule':>5} {'least':>6} {'5 %':>6} {'median':>6}"
    for name in names:
        attained = np.array([case.answers[name].attained for case in cases])
        kept = 100.0 * np.mean([case.answers[name].kept for case in cases])
        rule = 100.0 * np.mean([case.kept_by_the_rule(name, hpa) for case in cases])
        low, median = np.percentile(attained, (5, 50)).tolist()
        yield f"{name:<33} {kept:5.0f} {rule:5.0f} {attained.min():6.2f} {low:6.2f} {median:6.2f}"
    if len(names) == len(ours):
        return
    yield ""
    yield "GPU-hours over those of the rival, median (and 95 %), where both keep the promise; of how many"
    yield f"{'':<33} " + " ".join(f"{name.partition(', ')[2]:>22}" for name in ours)
    for rival in names[LEAST_ROWS:]:
        yield f"{rival:<33} " + " ".join(f"{_ratio(cases, name, rival):>22}" for name in ours)
    yield ""
    yield "Most replicas asked for, over twice the clairvoyant's most: the worst, and in how many scenarios above 1"
    clairvoyant = names[-1]
    for name in ours:
        worst = np.array([_excess(case, name, clairvoyant) for case in cases])
        yield f"{name:<33} {worst.max():5.2f} {int((worst > 1.0).sum()):4d}"


def _ratio(cases: Sequence[Case], ours: str, rival: str) -> str:
    both = [
        case.answers[ours].gpu_hours / case.answers[rival].gpu_hours
        for case in cases
        if case.answers[ours].kept and case.answers[rival].kept
    ]
    if not both:
        return "never"
    median, high = np.percentile(both, (50, 95)).tolist()
    return f"{median:.2f} ({high:.2f}), {len(both)}"


def _excess(case: Case, ours: str, clairvoyant: str) -> float:
    most, yardstick = case.answers[ours].most, case.answers[clairvoyant].most
    return max(count / (2.0 * yardstick[role]) for role, count in most.items())


def _scenarios(cases: Sequence[Case]) -> Iterator[str]:
    names = list(cases[0].answers)
    short = {name: chr(ord("A") + at) for at, name in enumerate(names)}
    yield "percent inside both targets / GPU-hours: " + ", ".join(f"{short[name]} {name}" for name in names)
    head = f"{'seed':>5} {'load':<14} {'profile':<18} {'plan':>4} {'start':>5} {'TTFT':>5} {'ITL':>5}"
    yield f"{head} {'true engine':>15} " + " ".join(f"{short[name]:>12}" for name in names)
    for case in cases:
        drawn = case.drawn
        error = f"{drawn.error.prefill:.2f} {drawn.error.decode:.2f} {drawn.error.kv_growth:+.2f}"
        load = drawn.load + ("*" if drawn.order is not None else "")
        figures = " ".join(
            f"{f'{answer.attained:.2f}/{answer.gpu_hours:.1f}':>12}" for answer in case.answers.values()
        )
        yield (
            f"{drawn.seed:5d} {load[:14]:<14} {_model(drawn.profile)[:18]:<18} {drawn.interval_s:4.0f} {drawn.startup_s:5.0f} "
            f"{case.ttft_ms:5.0f} {case.itl_ms:5.1f} {error:>15} {figures}"
        )


def _model(profile: str) -> str:
    return profile.partition("vllm_")[2]
