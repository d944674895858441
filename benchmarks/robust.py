"""Is the promise kept on scenarios that nobody tuned for, and at what cost? `make bench-robust`.

Random scenarios (`benchmarks/robust_scenarios.py`), each from a seed. Seeds from 0 on are for choosing: look
at them while the planner is changed (`--half choosing`). Those from 1000 on are for reporting, and nothing
may be chosen by them. `--page` writes the figures to docs/benchmarks/robust.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from benchmarks.robust_page import page
from benchmarks.robust_scenarios import MOST_REQUESTS, draw, scenario_of, with_fine_buckets
from benchmarks.robust_table import Answer, Case, table

from slaplanner.core.model import PredictorType
from slaplanner.core.profiles import Profile
from slaplanner_lab.cli.terminal import Bar
from slaplanner_lab.rivals.compare import (
    HPA_TARGETS,
    SLO_BANDS,
    Kind,
    RivalResult,
    RivalTask,
    TaskRunner,
)
from slaplanner_lab.simulation.loop import Scenario

HALVES = {"choosing": 0, "reporting": 1000}
"""The first seed of each."""
SCENARIOS = 60
QUICK_SCENARIOS = 6
MINUTES = 20.0
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "robust.md"

OURS, OURS_FINE = "slaplanner, Dynamo's buckets", "slaplanner, fine buckets"
HPA, SLO, TOKENS = "HPA, best in hindsight", "KEDA SLO rule, best", "KEDA token rule, best"
FORMULAS, CLAIRVOYANT = "Dynamo's formulas, better of two", "clairvoyant, cheapest"


def answers(seed: int, *, rivals: bool, most_requests: int = MOST_REQUESTS) -> Case:
    """Everybody on one scenario."""
    drawn = draw(seed)
    scenario, loaded = scenario_of(drawn, most_requests=most_requests)
    return Case(
        drawn=drawn,
        promised=scenario.policy.sla.attainment_percent,
        requests=len(scenario.traffic),
        ttft_ms=scenario.policy.sla.ttft_ms,
        itl_ms=scenario.policy.sla.itl_ms,
        answers=dict(_answers(scenario, loaded.profile, rivals=rivals)),
    )


def _answers(scenario: Scenario, profile: Profile, *, rivals: bool) -> Iterator[tuple[str, Answer]]:
    fine = TaskRunner(scenario=with_fine_buckets(scenario), profile=profile)
    coarse = TaskRunner(scenario=scenario, profile=profile)
    ours = RivalTask(kind=Kind.PLANNER, name="")
    yield OURS, _answer(coarse.run(ours))
    yield OURS_FINE, _answer(fine.run(ours))
    if not rivals:
        return
    # From the cheapest on; rivals see the fine buckets, because finer ones can only help them.
    targets = [RivalTask(kind=Kind.HPA, name="", target=target) for target in reversed(HPA_TARGETS)]
    yield HPA, _first_kept(fine, targets)
    bands = [RivalTask(kind=Kind.SLO_RULE, name="", target=band) for band in reversed(SLO_BANDS)]
    yield SLO, _cheapest_kept([fine.run(band) for band in bands])
    yield TOKENS, _answer(fine.run(RivalTask(kind=Kind.TOKEN_RULE, name="")))
    formulas = [
        RivalTask(kind=Kind.FORMULAS, name="", predictor=PredictorType.CONSTANT, raw_correction=raw)
        for raw in (False, True)
    ]
    yield FORMULAS, _cheapest_kept([coarse.run(task) for task in formulas])
    clairvoyants = [
        coarse.run(RivalTask(kind=Kind.CLAIRVOYANT, name="", target=window_s)) for window_s in (15.0, 60.0)
    ]
    yield CLAIRVOYANT, _cheapest_kept(clairvoyants)


def _first_kept(runner: TaskRunner, tasks: Sequence[RivalTask]) -> Answer:
    """The first of *tasks*, which come from the cheapest on, that keeps the promise; else the best of all."""
    results = []
    for task in tasks:
        results.append(runner.run(task))
        if results[-1].feasible:
            break
    return _cheapest_kept(results)


def _cheapest_kept(results: Sequence[RivalResult]) -> Answer:
    """The cheapest that keeps the promise; where none does, the one with the highest attainment."""
    kept = [result for result in results if result.feasible]
    if kept:
        return _answer(min(kept, key=lambda result: result.score.total_gpu_hours))
    return _answer(max(results, key=lambda result: result.score.attainment.both))


def _answer(result: RivalResult) -> Answer:
    return Answer(
        attained=result.score.attainment.both,
        gpu_hours=result.score.total_gpu_hours,
        most={role.value: count for role, count in result.score.most_asked.items()},
        kept=result.feasible,
    )


def run(seeds: Sequence[int], *, rivals: bool, processes: int | None, minutes: float) -> list[Case]:
    """All scenarios that end in time, in the order of their seeds; progress on standard error."""
    found: dict[int, Case] = {}
    end_s = time.monotonic() + 60.0 * minutes
    with (
        Bar("scenarios", total=len(seeds)) as bar,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        running = {pool.submit(answers, seed, rivals=rivals): seed for seed in seeds}
        left = set(running)
        while left and (found == {} or time.monotonic() < end_s):
            done, left = wait(left, timeout=1.0, return_when=FIRST_COMPLETED)
            for one in done:
                found[running[one]] = one.result()
                bar.step()
        for one in left:
            one.cancel()
    for one, seed in running.items():
        if one.done() and not one.cancelled():
            found[seed] = one.result()
    return [found[seed] for seed in seeds if seed in found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=list(HALVES), default="reporting", help="default: reporting")
    parser.add_argument("--n", type=int, default=SCENARIOS, help=f"scenarios; default: {SCENARIOS}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SCENARIOS} scenarios")
    parser.add_argument("--only-planner", action="store_true", help="without the rivals: a fifth of the time")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"begin no scenario after these; default: {MINUTES:g}"
    )
    parser.add_argument("--processes", type=int, help="default: one per core")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}, too")
    arguments = parser.parse_args()
    count = QUICK_SCENARIOS if arguments.quick else arguments.n
    if count < 1:
        parser.error(f"found --n {count}, wanted 1 or more")
    if arguments.page and (arguments.only_planner or arguments.half != "reporting"):
        parser.error("--page needs the rivals and the reporting half")
    first = HALVES[arguments.half]
    cases = run(
        range(first, first + count),
        rivals=not arguments.only_planner,
        processes=arguments.processes,
        minutes=arguments.minutes,
    )
    text = table(cases)
    print(text)
    if arguments.page:
        PAGE.write_text(
            page(cases, text, command=shlex.join(["python", "-m", "benchmarks.robust", *sys.argv[1:]])),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
