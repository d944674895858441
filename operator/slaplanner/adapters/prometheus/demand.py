"""The requests of one scope within one window: what to ask, and which process shows what.

An empty answer is not a zero. A new or restarted idle frontend has no series, a wrong label matches none,
and the first sample of a young one is no growth yet. So the count is asked per process, with evidence
about the series behind it; `proof` says what follows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Final

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.answers import Sample, Track
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.proof import Counter, Witness, arrivals, routed
from slaplanner.adapters.prometheus.selectors import MODEL, NAMESPACE, Scope
from slaplanner.adapters.prometheus.series import PROCESS, ROW, Expressions, duration
from slaplanner.core.model import MetricsSource
from slaplanner.core.readings import Reading, Unknown
from slaplanner.core.reasons import Reason

FRESH_SHARE: Final = 0.5
"""A window holds at least 4 scrapes, so half of one without a sample is two scrapes missed."""

REMEMBERED_S: Final = 3600.0
"""A process that was scraped so recently and is not now may still serve: its part of the sum is missing."""

TOKENS: Final = (series.TTFT, series.ITL, series.OSL)
"""Histograms that grow while a process works."""

MAX_SHOWN: Final = 5
"""Label sets in a condition's message."""

FRONTEND: Final = "frontend"
ROUTER: Final = "router"
"""What the figures of the two kinds of witnesses are called by."""

Answers = Mapping[str, list[Sample]]
Process = tuple[str, ...]
"""Job, instance and pod, as far as there are such labels."""


@dataclass(frozen=True, slots=True)
class RequestQueries:
    """The requests of one scope within one window."""

    scope: Scope
    window_s: float

    def figures(self) -> dict[str, str]:
        """The counts and the evidence, to be asked together."""
        window, recent = duration(self.window_s), self._recent
        expressions = Expressions(self.scope)
        figures = {"unscraped": expressions.unscraped(window)}
        if self._is_frontend:
            figures |= self._counters(FRONTEND, self.scope)
            figures["other_prefixes"] = expressions.other_prefixes(recent)
            cousins = expressions.cousins(recent)
            figures |= {} if cousins is None else {"cousins": cousins}
            spellings = expressions.other_spellings(recent)
            figures |= {} if spellings is None else {"other_spellings": spellings}
        else:
            figures |= self._counters(ROUTER, self.scope) | self._counters(FRONTEND, self._beside)
            transfers = expressions.measure(f"{series.TRANSFERS}_count")
            figures["transfers"] = f"sum by ({ROW})(increase({transfers}[{window}]))"
        return figures

    def ours(self, answers: Answers) -> set[Process]:
        """The processes that bear our namespace on anything; all of them where we have none to tell by."""
        kinds = (FRONTEND,) if self._is_frontend else (ROUTER, FRONTEND)
        rows = [row for kind in kinds for row in _rows_of(kind, answers)]
        named = self.scope.is_namespaced
        return {process_of(row) for row in rows if not named or row.labels.get(NAMESPACE)}

    def read(self, answers: Answers, prometheus: Prometheus, *, at_s: float, deadline: Deadline) -> Reading:
        """What *answers* to `figures` mean; asks once more when nothing matched.

        Raises:
            MetricsError: that last question could not be answered.
        """
        ours = self.ours(answers)
        missing = [*self._strangers(answers, ours), *_unscraped(answers)]
        frontends = self._witnesses(FRONTEND, answers, ours)
        if self._is_frontend:
            if frontends:
                return arrivals(frontends, missing=missing, asked=self._sampled)
        elif routers := self._witnesses(ROUTER, answers, ours):
            return routed(routers, frontends, missing=missing, asked=self._sampled)
        return self._unseen(prometheus, missing=missing, at_s=at_s, deadline=deadline)

    def second_legs(self, answers: Answers, ours: set[Process]) -> dict[Process, float]:
        """How many requests each of our routers counted a second time; see `series.TRANSFERS`.

        A router that does not tell is held against the frontend of its own process.
        """
        if self._is_frontend:
            return {}
        transfers = _by_process(answers, "transfers")
        own = _by_process(answers, f"{FRONTEND}_completed_grown") | _by_process(
            answers, f"{FRONTEND}_started_grown"
        )
        legs = {}
        for process, grown in _by_process(answers, f"{ROUTER}_started_grown").items():
            once = own.get(process)
            told = transfers.get(process, 0.0 if once is None else grown - once)
            if process in ours and told > 0 and not (once is not None and once >= series.ONCE_SHARE * grown):
                legs[process] = min(told, grown / 2)
        return legs

    def scrapes(self, answers: Answers) -> float:
        """Samples of one series within the window: as the longer past has them, if the window has gaps."""
        kind = FRONTEND if self._is_frontend else ROUTER
        within = [f"{kind}_{name}_samples" for name in ("started", "completed")]
        most = max((row.value for name in within for row in answers.get(name, [])), default=0.0)
        usual = max((row.value for row in answers.get(f"{kind}_past", [])), default=0.0)
        return max(most, usual * self.window_s / self._remembered_s)

    @property
    def _remembered_s(self) -> float:
        return max(REMEMBERED_S, 2 * self.window_s)

    @property
    def _is_frontend(self) -> bool:
        return self.scope.source is MetricsSource.FRONTEND

    @property
    def _beside(self) -> Scope:
        """The frontends beside a router."""
        return replace(self.scope, source=MetricsSource.FRONTEND)

    @property
    def _recent(self) -> str:
        return duration(self.window_s * FRESH_SHARE)

    def _counters(self, kind: str, scope: Scope) -> dict[str, str]:
        """The evidence of one kind of process."""
        expressions = Expressions(scope)
        window, recent = duration(self.window_s), self._recent
        figures: dict[str, str] = {}
        for name, counter in expressions.counters:
            sampled = f"count_over_time({counter}[{window}])"
            before = f"count_over_time({counter}[{recent}] offset {window})"
            restarted = f"resets({counter}[{window}]) > 0"
            figures |= {
                f"{kind}_{name}_grown": f"sum by ({ROW})(increase({counter}[{window}]))",
                f"{kind}_{name}_total": f"sum by ({ROW})(last_over_time({counter}[{recent}]))",
                f"{kind}_{name}_samples": f"max by ({ROW})({sampled})",
                f"{kind}_{name}_born": f"count by ({ROW})(({sampled} unless {before}) or {restarted})",
            }
        grown = (f"increase({expressions.measure(f'{name}_count')}[{window}]) > 0" for name in TOKENS)
        figures[f"{kind}_moved"] = f"count by ({ROW})({' or '.join(grown)})"
        registered = expressions.registrations(anonymous=True)
        past = [*(counter for _, counter in expressions.counters), *registered]
        counted = " or ".join(
            f"count_over_time({selector}[{duration(self._remembered_s)}])" for selector in past
        )
        figures[f"{kind}_past"] = f"max by ({ROW})({counted})"
        figures[f"{kind}_fresh"] = f"count by ({ROW})({_any(past, recent)})"
        if kind == FRONTEND:
            figures[f"{kind}_registered"] = f"count by ({ROW})({_any(registered, recent)})"
            figures |= expressions.readiness(window) | expressions.refusals(window, recent)
            gauges = {gauge: expressions.gauge(gauge) for gauge in (*series.INFLIGHT, series.QUEUED)}
            gauges |= {gauge: expressions.everywhere(gauge) for gauge in (series.STAGES, series.PENDING)}
            for gauge, selector in gauges.items():
                figures[gauge] = f"sum by ({ROW})(last_over_time({selector}[{recent}]))"
        return figures

    def _witnesses(self, kind: str, answers: Answers, ours: set[Process]) -> list[Witness]:
        """What each of our processes of one kind shows."""
        of = {name: _by_process(answers, f"{kind}_{name}") for name in EVIDENCE}
        is_frontend = kind == FRONTEND
        twice = {} if is_frontend else self.second_legs(answers, ours)
        work = _work(answers) if is_frontend else {}
        said = {name: _by_process(answers, name) if is_frontend else {} for name in SAID}

        def ready(process: Process) -> bool | None:
            if process in said["unready"]:
                return False
            return True if process in said["ready"] else None

        def counter(name: str, process: Process) -> Counter:
            grown = of[f"{name}_grown"].get(process)
            return Counter(
                grown=None
                if grown is None
                else grown - (twice.get(process, 0.0) if name == "started" else 0.0),
                total=of[f"{name}_total"].get(process),
                sampled=process in of[f"{name}_samples"],
                born=process in of[f"{name}_born"],
            )

        processes = {process for found in of.values() for process in found} & ours
        return [
            Witness(
                name=named(process),
                started=counter("started", process),
                completed=counter("completed", process),
                registered=process in of["registered"],
                work=work.get(process, 0.0),
                moved=process in of["moved"],
                scraped=process in of["fresh"],
                ready=ready(process),
                refused=said["refused"].get(process, 0.0),
                strange=said["strange"].get(process, 0.0),
            )
            for process in sorted(processes)
        ]

    def _strangers(self, answers: Answers, ours: set[Process]) -> list[str]:
        """Series that may be this deployment's, and are not counted."""
        found = [
            f"{named(process_of(row))} counts in {row.labels.get('series')}"
            for row in answers.get("other_prefixes", [])
            if self._may_be_ours(row)
        ]
        counting = {
            process_of(row)
            for name in ("started", "completed")
            for row in answers.get(f"{FRONTEND}_{name}_total", [])
        }
        found += [
            f"{named(process_of(row))} counts under {NAMESPACE}={row.labels.get(NAMESPACE)!r}"
            for row in answers.get("cousins", [])
            if process_of(row) in ours - counting
        ]
        found += [
            f"{named(process_of(row))} counts {MODEL}={row.labels.get(MODEL)!r}, which a matcher leaves out"
            for row in answers.get("other_spellings", [])
            if process_of(row) not in counting
        ]
        if self._is_frontend:
            found += [
                f"series of {named(process_of(row))} bear no {NAMESPACE}"
                for row in answers.get(f"{FRONTEND}_fresh", [])
                if process_of(row) not in ours and self._may_be_ours(row)
            ]
        return list(dict.fromkeys(found))

    def _may_be_ours(self, row: Sample) -> bool:
        """A series without our namespace is somebody else's where it says the Kubernetes namespace of another."""
        if row.labels.get(NAMESPACE) or not self.scope.dynamo_namespace:
            return True
        place = row.labels.get("namespace")
        return not place or self.scope.dynamo_namespace.startswith(f"{place}-")

    def _unseen(
        self, prometheus: Prometheus, *, missing: list[str], at_s: float, deadline: Deadline
    ) -> Unknown:
        """No series of ours at all, which proves nothing: what is there instead?"""
        around = Expressions(self.scope).around(duration(max(REMEMBERED_S, self.window_s)))
        target = self.scope.target()
        up = {} if target is None else {"up": f"count(up{target} == 1)"}
        answers = batch.ask(prometheus, {**around, **up}, at_s=at_s, deadline=deadline)
        found = [row for name in around for row in answers[name]]
        alive = figure(answers, "up")
        is_up = f" {alive:g} targets up{target} are up and expose none of it." if alive else ""
        if found or missing:
            nearest = self._nearest(found)
            listed = [f"there are: {nearest}"] if nearest else []
            if found and not nearest:
                listed = ["those that come near belong to other namespaces"]
            told = "; ".join([*listed, *missing[:MAX_SHOWN]])
            return Unknown(
                Reason.SERIES_UNDER_OTHER_LABELS,
                f"found no series of {self._asked}.{is_up} {told[0].upper()}{told[1:]}",
            )
        nobody = is_up or (
            f" No target up{target} is up." if target else " Nothing tells which target to expect."
        )
        return Unknown(Reason.NO_SERIES, f"found no series of {self._asked}.{nobody}")

    @property
    def _sampled(self) -> str:
        return f"{self.scope} sampled within {self.window_s * FRESH_SHARE:g} s"

    @property
    def _asked(self) -> str:
        return f"{self.scope}, named {Expressions(self.scope).prefix}_*"

    def _nearest(self, rows: list[Sample]) -> str:
        """Names and labels of others' series, those that differ least from ours first."""
        ours = f"{Expressions(self.scope).prefix} {(self.scope.model or '').lower()} {self.scope.dynamo_namespace}"
        names = ("series", MODEL, NAMESPACE)
        found = {
            tuple(row.labels.get(name, "")[:200] for name in names)
            for row in rows
            if self.scope.may_tell(row.labels)
        }
        near = sorted(
            found, key=lambda values: (-SequenceMatcher(None, ours, " ".join(values)).ratio(), values)
        )
        shown = [
            f"{name}{{{MODEL}={model!r}, {NAMESPACE}={namespace!r}}}"
            for name, model, namespace in near[:MAX_SHOWN]
        ]
        more = len(near) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


EVIDENCE: Final = (
    *(
        f"{name}_{part}"
        for name in ("started", "completed")
        for part in ("grown", "total", "samples", "born")
    ),
    "moved",
    "past",
    "fresh",
    "registered",
)
"""What is asked of each kind of process."""

SAID: Final = ("ready", "unready", "refused", "strange")
"""What frontends alone say of requests that they cannot have served."""


def process_of(row: Sample | Track) -> Process:
    """Which process exposes the series of *row*."""
    return tuple(row.labels.get(label, "") for label in PROCESS.split(","))


def named(process: Process) -> str:
    """A process by the most telling label that it has."""
    job, instance, pod = process
    return pod or instance or job or "a process without labels"


def figure(answers: Answers, name: str) -> float:
    """Evidence as a number; none: 0."""
    return max((sample.value for sample in answers.get(name, [])), default=0.0)


def held(answers: Answers, name: str, ours: set[Process]) -> float | None:
    """A figure's sum over our processes; None: none of them has it."""
    found = [value for process, value in _by_process(answers, name).items() if process in ours]
    return sum(found) if found else None


def _work(answers: Answers) -> dict[Process, float]:
    """Requests that each process holds: its largest gauge, because most of them count the same requests."""
    gauges = (*series.INFLIGHT, series.QUEUED, series.STAGES, series.PENDING)
    work: dict[Process, float] = defaultdict(float)
    for gauge in gauges:
        for process, value in _by_process(answers, gauge).items():
            work[process] = max(work[process], value) if math.isfinite(value) else work[process]
    return work


def _by_process(answers: Answers, name: str) -> dict[Process, float]:
    """A figure summed over the labels of each process; series without a namespace only where no other is."""
    named_rows: dict[Process, float] = defaultdict(float)
    nameless_rows: dict[Process, float] = defaultdict(float)
    for sample in answers.get(name, []):
        rows = named_rows if sample.labels.get(NAMESPACE) else nameless_rows
        rows[process_of(sample)] += sample.value
    return nameless_rows | named_rows


def _rows_of(kind: str, answers: Answers) -> Iterable[Sample]:
    for name in EVIDENCE:
        yield from answers.get(f"{kind}_{name}", [])


def _unscraped(answers: Answers) -> list[str]:
    lost = figure(answers, "unscraped")
    return [f"{lost:g} targets that may have traffic cannot be scraped"] if lost > 0 else []


def _any(selectors: Iterable[str], window: str) -> str:
    return " or ".join(f"last_over_time({selector}[{window}])" for selector in selectors)
