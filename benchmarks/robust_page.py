"""docs/benchmarks/robust.md, written by the command whose figures it shows."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.robust_table import Case

PAGE = """# Scenarios that nobody tuned for

What this measures: whether `sizing: Attainment` keeps its promise, and at what cost, on random scenarios in the
[simulator](../how-to/simulate.md), beside rivals that users would pick. `make bench-robust` prints the figures and writes
this page.

A scenario is drawn from a seed (`benchmarks/robust_scenarios.py`): a load (two recorded hours of Azure, also with their
blocks in another order, or one that is made: a rate that swings and jumps, two kinds of requests), one of three profiles, a
TTFT target of 0.5 to 4 s or 1.5 times what the longest prompts take, an ITL target of 1.5 to 3 times a single
sequence's, a plan every 30, 60 or 180 s, a start-up of 30 to 300 s, a fleet of 2 to 24 replicas' work, copies of a
request within ten seconds or within one, and an engine that differs from its profile: TTFT and ITL by a factor with a spread
of 12 %, ITL by as much again from an empty to a full KV. Requests of the first max(300 s, 2 x (interval + start-up)) are
not scored.

Seeds from 0 on are for choosing (`python -m benchmarks.robust --half choosing`). **The figures below are of the seeds
{first} to {last}, which are for reporting**: nothing was chosen by them. They are {count} scenarios, of
`{command}`, which begins none after its time is over. With few of them the shares are coarse.

## Rivals

- HPA on utilisation every 15 s, its threshold the cheapest in hindsight of 20 to 90 % that keeps the promise on that very
  scenario; where none does, the best one.
- The two KEDA rules of llm-d's guides every 15 s, with the best of four and of 25 thresholds in hindsight, Kubernetes' pace
  for growing, and at most twice what the busiest 15 s take.
- The formulas of Dynamo's planner with the last value as forecast, the better of raw correction and none. They aim at the
  mean, and no threshold of theirs was tuned.
- A clairvoyant that knows every request to come and what the engines can really do, the cheapest that keeps the promise.

The rivals see finer buckets than Dynamo's, because that can only help them. The planner is shown both:
`DYN_METRICS_TTFT=0.01,100,60` with `DYN_METRICS_ITL=0.002,0.2,40`, and Dynamo's defaults.

## Last figures

*kept*: share of the scenarios in which the promise is kept. *rule*: the same, but where not even the HPA in hindsight keeps
the promise, attaining as much as that HPA counts. *least*, *5 %*, *median*: of the attainments. A star behind a load:
its blocks are in another order.

```
{table}
```
"""


def page(cases: Sequence[Case], table: str, *, command: str) -> str:
    """The page's text."""
    return PAGE.format(
        first=cases[0].drawn.seed, last=cases[-1].drawn.seed, count=len(cases), command=command, table=table
    )
