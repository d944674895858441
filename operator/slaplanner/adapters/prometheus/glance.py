"""One cheap question for many policies at once: what the last half minute brought, and what waits.

The figures of all policies of one connection come in one round trip, summed by the labels that tell policies
apart, and are shared out here. So a look costs as much for a hundred policies as their series cost, and
no query per policy. What it sees is a hint: the plan that follows proves its own figures.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.demand import Process, process_of
from slaplanner.adapters.prometheus.selectors import (
    MODEL,
    NAMESPACE,
    REQUEST_LABELS,
    WORKER_SET,
    LabelMatcher,
    Scope,
    braces,
)
from slaplanner.adapters.prometheus.series import PROCESS, duration
from slaplanner.core.glance import SPAN_S, Sight
from slaplanner.core.model import MetricsSource

ROW: Final = f"{MODEL},{NAMESPACE},{PROCESS}"
"""What a figure is told by: enough to find its policy."""

LEAST_SAMPLES: Final = 2
"""Of a counter, to see it grow."""

_GENERATION = re.compile(f"^(.*?){WORKER_SET}$")


def look(
    prometheus: Prometheus, scopes: Mapping[str, Scope], *, at_s: float, deadline: Deadline
) -> dict[str, Sight]:
    """What each of *scopes*, by the policy's uid, shows at *at_s*.

    Policies that read routers are left out: routers count no work, and some count requests twice.

    Args:
        prometheus: the server that all of them read.
        scopes: whose traffic.
        at_s: Unix time.
        deadline: for the one round trip per set of matchers; mostly there is one such set.

    Raises:
        MetricsError: the figures could not be had.
    """
    alike: dict[tuple[str, tuple[LabelMatcher, ...]], dict[str, Scope]] = defaultdict(dict)
    for uid, scope in scopes.items():
        if scope.source is MetricsSource.FRONTEND:
            alike[scope.prefix, scope.conditions][uid] = scope
    sights: dict[str, Sight] = {}
    for (prefix, conditions), members in alike.items():
        answers = batch.ask(prometheus, _figures(prefix, conditions), at_s=at_s, deadline=deadline)
        rows = _Rows.of(answers)
        sights |= {uid: _sight(rows.shared_out(scope), at_s=at_s) for uid, scope in members.items()}
    return sights


def _figures(prefix: str, conditions: tuple[LabelMatcher, ...]) -> dict[str, str]:
    window = duration(SPAN_S)
    of_all = braces([*conditions, series.NOT_GENERATION])
    completed = braces([*conditions, series.NOT_GENERATION, series.NOT_SERVABLE])
    measured = braces([matcher for matcher in conditions if matcher.label not in REQUEST_LABELS])
    started, finished = f"{prefix}_{series.STARTED}{of_all}", f"{prefix}_{series.COMPLETED}{completed}"
    figures = {
        "started": f"sum by ({ROW})(increase({started}[{window}]))",
        "completed": f"sum by ({ROW})(increase({finished}[{window}]))",
        "samples": f"max by ({ROW})(count_over_time({started}[{window}]) or count_over_time({finished}[{window}]))",
    }
    for name, gauge in (("queued", series.QUEUED), *((name, name) for name in series.INFLIGHT)):
        figures[name] = f"sum by ({ROW})(last_over_time({prefix}_{gauge}{measured}[{window}]))"
    for name, metric in (("ttft", series.TTFT), ("itl", series.ITL)):
        for part in ("sum", "count"):
            figures[f"{name}_{part}"] = (
                f"sum by ({ROW})(increase({prefix}_{metric}_{part}{measured}[{window}]))"
            )
    return figures


@dataclass(frozen=True, slots=True)
class _Row:
    """One figure of one model in one process."""

    figure: str
    model: str
    namespace: str
    process: Process
    value: float


@dataclass(slots=True)
class _Rows:
    """All rows of an answer, by what a scope looks for: no scope walks over all of them."""

    by_namespace: dict[str, list[_Row]] = field(default_factory=lambda: defaultdict(list))
    """By Dynamo namespace in the spelling of `_key`, and by that without its worker set."""
    by_process: dict[Process, list[_Row]] = field(default_factory=lambda: defaultdict(list))
    """Of the rows without a namespace."""
    by_model: dict[str, list[_Row]] = field(default_factory=lambda: defaultdict(list))

    @staticmethod
    def of(answers: Mapping[str, Iterable[Sample]]) -> _Rows:
        rows = _Rows()
        for figure, samples in answers.items():
            for sample in samples:
                row = _Row(
                    figure,
                    sample.labels.get(MODEL, "").lower(),
                    sample.labels.get(NAMESPACE, ""),
                    process_of(sample),
                    sample.value,
                )
                rows.by_model[row.model].append(row)
                if row.namespace:
                    for key in {_key(row.namespace), _key(_without_worker_set(row.namespace))}:
                        rows.by_namespace[key].append(row)
                else:
                    rows.by_process[row.process].append(row)
        return rows

    def shared_out(self, scope: Scope) -> list[_Row]:
        """The rows of *scope*: those of its namespace, and those without one of the same processes."""
        model = scope.model.lower() if scope.model is not None else None
        if scope.dynamo_namespace is None:
            return list(self.by_model.get(model, ())) if model is not None else self._all()
        if not scope.dynamo_namespace:
            found = [row for rows in self.by_process.values() for row in rows]
        else:
            own = [*self.by_namespace.get(_key(scope.dynamo_namespace), ())]
            for name in scope.worker_namespaces:
                key = _key(name)
                own += [row for row in self.by_namespace.get(key, ()) if _key(row.namespace) == key]
            found = list({id(row): row for row in own}.values())
            for process in {row.process for row in found}:
                found += self.by_process.get(process, ())
        return [row for row in found if model is None or row.model == model]

    def _all(self) -> list[_Row]:
        return [row for rows in self.by_model.values() for row in rows]


def _sight(rows: Iterable[_Row], *, at_s: float) -> Sight:
    sums: dict[str, float] = defaultdict(float)
    samples = 0.0
    for row in rows:
        if row.figure == "samples":
            samples = max(samples, row.value)
        else:
            sums[row.figure] += row.value
    span_s, requests = SPAN_S, _count(sums.get("started", sums.get("completed")))
    if requests is not None and samples >= LEAST_SAMPLES:
        # `increase` extrapolates; what was counted lies between the first sample and the last.
        share = (samples - 1) / samples
        span_s, requests = SPAN_S * share, requests * share
    else:
        requests = None
    inflight = [value for name in series.INFLIGHT if (value := _count(sums.get(name))) is not None]
    return Sight(
        at_s=at_s,
        span_s=span_s,
        requests=requests,
        queued=_count(sums.get("queued")),
        inflight=max(inflight, default=None),
        ttft_ms=_mean_ms(sums, "ttft"),
        itl_ms=_mean_ms(sums, "itl"),
    )


def _count(value: float | None) -> float | None:
    return value if value is not None and 0.0 <= value < math.inf else None


def _mean_ms(sums: Mapping[str, float], name: str) -> float | None:
    total, count = sums.get(f"{name}_sum", math.nan), sums.get(f"{name}_count", math.nan)
    mean = series.MS_PER_S * total / count if count > 0.0 else math.nan
    return mean if 0.0 <= mean < math.inf else None


def _key(namespace: str) -> str:
    """A Dynamo namespace in one spelling: routers write its dashes as underscores."""
    return namespace.replace("_", "-")


def _without_worker_set(namespace: str) -> str:
    found = _GENERATION.match(namespace)
    return found.group(1) if found else namespace
