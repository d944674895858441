"""What sizing by attainment costs, beside its rivals: `make bench-sizing`.

Scenarios (TTFT and ITL targets in ms; every policy's other fields at their defaults, no budget):

    a  azure2023_conv x 8, Qwen3-32B tp2, plans every 30 s, start-up 120 s, 1000 and 30
    b  azure2023_code x 10, Llama-3.1-8B tp1, 30 s, 120 s, 2000 and 40: silence, then bursts
    c  a day of a reasoning model, Llama-3.1-70B tp4, 60 s, 180 s, 2000 and 40; its trace is too large for
       the repository: SLAPLANNER_DAY_TRACE names the file, without it the scenario is skipped
    d  as a, on a fleet 30 % slower than the profile that the planner has

`--held-out` runs other scenarios, which no bound is stated for. Everybody starts with what the first minute's
true load needs. The first 5 minutes (d: 10) are not scored. Prompts beyond the profile's longest are cut
to it. Scenario c takes a quarter of an hour of one core: `--only` runs some kinds of rivals, `--store`
keeps their results beside those of earlier runs, and what is kept is shown with the rest.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.sizing_bounds import Row, bounds
from benchmarks.sizing_cases import CASES, DAY_TRACE, HELD_OUT, Case, scenario_of, trace_path

from slaplanner.core.model import Role
from slaplanner_lab.rivals.compare import Kind, RivalResult, RivalTask, at_size, compare, tasks
from slaplanner_lab.rivals.unavoidable import share_beyond_reach
from slaplanner_lab.simulation.loop import ROLES, Scenario
from slaplanner_lab.simulation.score import HOUR_S, Score

REMEMBERED_S = 300.0
"""The default of `behavior.scaleDown.stabilizationWindowSeconds`."""

ALL = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one command ran of one scenario."""

    rows: tuple[Row, ...]
    start: str
    """With how many replicas everybody began; only results with the same start stand beside each other."""
    fluid_bound_gpu_hours: float
    wall_s: float
    peak_mib: float
    at: str

    def to_document(self) -> dict[str, Any]:
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    @staticmethod
    def from_document(document: dict[str, Any]) -> Part:
        rows = tuple(Row(**{**row, "kind": Kind(row["kind"])}) for row in document["rows"])
        return Part(**{**document, "rows": rows})


def row_of(name: str, kind: Kind, result: Score, *, runs: int = 1) -> Row:
    at = result.attainment
    return Row(
        kind=kind,
        name=name,
        both=at.both,
        ttft=at.ttft,
        itl=at.itl,
        gpu_hours=result.total_gpu_hours,
        unscored=result.unscored.both,
        moves=result.moves,
        runs=runs,
    )


def fixed_sizes(scenario: Scenario, most_gpu_hours: float) -> Iterator[Row]:
    """Constant sizes of at most so many GPU-hours, per decode size the largest prefill."""
    prefill, decode = ROLES
    gpus = most_gpu_hours / (scenario.traffic.last_arrival_s / HOUR_S)
    for count in range(1, int(gpus / scenario.gpus(decode)) + 1):
        other = int((gpus - count * scenario.gpus(decode)) / scenario.gpus(prefill))
        if other < 1:
            return
        sizes: dict[Role, int] = {prefill: other, decode: count}
        result = at_size(scenario, sizes)
        yield row_of(f"constant size, {other} + {count}", Kind.CONSTANT, result)
        if result.attainment.itl == ALL:
            return  # more decode at the cost of prefill cannot help any more


def peak_mib() -> float:
    """Of this process or of its largest child."""
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kib / 1024


def run(
    case: Case,
    path: Path,
    todo: tuple[RivalTask, ...],
    *,
    processes: int | None,
    keep_part: Callable[[Part], None],
) -> Part:
    """Everything of *todo*, and *keep_part* after each result, so that a command that is cut short is no loss."""
    begin = time.perf_counter()
    scenario, loaded = scenario_of(case, path)
    start = " + ".join(str(count) for count in scenario.start.values())
    print(f"{len(scenario.traffic):,} requests, everybody starts at {start}", flush=True)

    rows: list[Row] = []

    def part(fluid_bound_gpu_hours: float = float("nan")) -> Part:
        return Part(
            rows=tuple(rows),
            start=start,
            fluid_bound_gpu_hours=fluid_bound_gpu_hours,
            wall_s=time.perf_counter() - begin,
            peak_mib=peak_mib(),
            at=datetime.now(UTC).isoformat(timespec="minutes"),
        )

    def done(entry: RivalResult) -> None:
        rows.append(row_of(entry.name, entry.kind, entry.score, runs=entry.runs))
        print(f"  {rows[-1]}", file=sys.stderr, flush=True)
        keep_part(part())

    comparison = compare(scenario, loaded.tables, processes=processes, only=todo, done=done)
    ours = next((row for row in rows if row.kind is Kind.PLANNER), None)
    if case is CASES["b"] and ours is not None:
        rows.extend(fixed_sizes(scenario, ours.gpu_hours))
        for remembered_s, words in ((float("inf"), "the whole past"), (REMEMBERED_S, f"{REMEMBERED_S:g} s")):
            share = share_beyond_reach(scenario, remembered_s=remembered_s)
            print(
                f"  {100 * share:.2f} % of the requests come on top of what was needed until a start-up before, "
                f"for a planner that remembers {words}"
            )
    return part(comparison.fluid_bound_gpu_hours)


def kept(store: Path | None) -> dict[str, list[Part]]:
    if store is None or not store.exists():
        return {}
    document = json.loads(store.read_text())
    return {name: [Part.from_document(part) for part in parts] for name, parts in document.items()}


def keep(store: Path, parts: dict[str, list[Part]]) -> None:
    document = {name: [part.to_document() for part in some] for name, some in parts.items()}
    store.write_text(json.dumps(document, indent=1))


def beside(earlier: list[Part], part: Part) -> list[Part]:
    """*part* and what earlier ones have that it has not, as far as everybody began alike."""
    new = {row.name for row in part.rows}
    left = (
        replace(some, rows=tuple(row for row in some.rows if row.name not in new))
        for some in earlier
        if some.start == part.start
    )
    return [*(some for some in left if some.rows), part]


def show(name: str, parts: list[Part]) -> None:
    order = list(Kind)
    rows = sorted((row for part in parts for row in part.rows), key=lambda row: order.index(row.kind))
    head = f"{'':<48} {'both%':>6} {'TTFT%':>6} {'ITL%':>6} {'GPU-hours':>9} {'before%':>7} {'moves':>6} {'runs':>5}"
    print(f"  {head}")
    for row in rows:
        print(f"  {row}")
    runs = sum(row.runs for row in rows if row.kind is Kind.CLAIRVOYANT)
    print(f"  clairvoyant: {runs} runs; fluid bound {parts[-1].fluid_bound_gpu_hours:.2f} GPU-hours")
    for part in parts:
        print(f"  run {part.at}: {part.wall_s:.0f} s, peak memory {part.peak_mib:.0f} MiB")
    for bound in bounds(name, rows):
        print(f"  {bound}")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", action="append", choices=[*CASES, *HELD_OUT], help="default: a to d")
    parser.add_argument("--held-out", action="store_true", help="the held-out scenarios instead of a to d")
    parser.add_argument("--processes", type=int, help="default: one per core")
    parser.add_argument(
        "--only", choices=[kind.value for kind in Kind], action="append", help="default: everybody"
    )
    parser.add_argument("--without", choices=[kind.value for kind in Kind], action="append", default=[])
    parser.add_argument("--store", type=Path, help="JSON file that keeps results")
    arguments = parser.parse_args()
    known = {**CASES, **HELD_OUT}
    wanted = arguments.only or [kind.value for kind in Kind]
    todo = tuple(
        task for task in tasks() if task.kind.value in wanted and task.kind.value not in arguments.without
    )
    for name in arguments.scenario or list(HELD_OUT if arguments.held_out else CASES):
        case = known[name]
        path = trace_path(case)
        print(f"({name}) {case.title}: ", end="")
        if path is None:
            print(f"skipped, {DAY_TRACE} does not name its trace\n")
            continue
        earlier = kept(arguments.store)
        known_parts = earlier.get(name, [])

        def keep_part(part: Part, name: str = name, earlier: dict[str, list[Part]] = earlier) -> None:
            if arguments.store is not None:
                keep(arguments.store, {**earlier, name: beside(known_parts, part)})  # noqa: B023 - used in this turn

        part = run(case, path, todo, processes=arguments.processes, keep_part=keep_part)
        keep_part(part)
        show(name, beside(known_parts, part))


if __name__ == "__main__":
    main()
