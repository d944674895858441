"""What Prometheus would show of the simulated fleet: the planner sees nothing else.

Arrivals are counted when they arrive, TTFT and ISL with the first token, OSL and duration with the
last, a gap with its token; windows, bucket edges and the planning grid are those of the real
adapter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slaplanner.core.arrays import Floats
from slaplanner.core.glance import SPAN_S, Sight
from slaplanner.core.model import Mode, Role
from slaplanner.core.readings import Histogram, Known, Observation, Reading, Series, Unknown
from slaplanner.core.reasons import Reason
from slaplanner_lab.engine import Engine
from slaplanner_lab.simulation.traffic import Traffic

TTFT_EDGES_S = (
    0,
    0.0022,
    0.0047,
    0.01,
    0.022,
    0.047,
    0.1,
    0.22,
    0.47,
    1,
    2.2,
    4.7,
    10,
    22,
    48,
    100,
    220,
    480,
)
GAP_EDGES_S = (0, 0.0019, 0.0035, 0.0067, 0.013, 0.024, 0.045, 0.084, 0.16, 0.3, 0.56, 1.1, 2)
ISL_EDGES = (0, 100, 210, 430, 870, 1800, 3600, 7400, 15000, 31000, 63000, 130000)
OSL_EDGES = (0, 100, 210, 430, 880, 1800, 3700, 7600, 16000, 32000)
"""Buckets of Dynamo's frontend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Upper edges, in seconds, of the frontend's latency histograms; the last bucket is open."""

    ttft_s: tuple[float, ...] = TTFT_EDGES_S
    itl_s: tuple[float, ...] = GAP_EDGES_S


def spaced_edges(least_s: float, most_s: float, count: int) -> tuple[float, ...]:
    """The edges that Dynamo's frontend makes of `DYN_METRICS_TTFT=least,most,count` (and of `_ITL`).

    Evenly spaced in the logarithm, two significant digits, the first one replaced by 0.

    Raises:
        ValueError: they are not at least two edges that rise.

    >>> spaced_edges(0.05, 5.0, 5)
    (0.0, 0.16, 0.5, 1.6, 5.0)
    """
    if not (0.0 < least_s < most_s and math.isfinite(most_s) and count >= 2):
        raise ValueError(
            f"found {least_s:g},{most_s:g},{count}, wanted two or more edges between two rising times in seconds"
        )
    edges = [float(f"{edge:.2g}") for edge in np.geomspace(least_s, most_s, count)[1:].tolist()]
    return (0.0, *dict.fromkeys(edges))


DEFAULT_BUCKETS = Buckets()
FINE_BUCKETS = Buckets(ttft_s=spaced_edges(0.01, 100.0, 60), itl_s=spaced_edges(0.002, 0.2, 40))
"""Edges a sixth to an eighth apart: `DYN_METRICS_TTFT=0.01,100,60` and `DYN_METRICS_ITL=0.002,0.2,40`."""

SCRAPE_S = 5.0
"""Arrivals are known per scrape, not finer."""

MOST_STEPS = 60
"""Short steps per window, as the real adapter asks for."""

HISTORY_POINTS = 2016
"""A week of intervals of 5 minutes; forecasters bound their windows below that."""


@dataclass(slots=True)
class _Log:
    """Events in order of time, each with two figures; only what a window can still see is kept."""

    at_s: Floats = field(default_factory=lambda: np.empty(0))
    first: Floats = field(default_factory=lambda: np.empty(0))
    second: Floats = field(default_factory=lambda: np.empty(0))

    def extend(self, at_s: Floats, first: Floats, second: Floats, *, keep_from_s: float) -> None:
        start = int(np.searchsorted(self.at_s, keep_from_s, side="right"))
        self.at_s = np.concatenate([self.at_s[start:], at_s])
        self.first = np.concatenate([self.first[start:], first])
        self.second = np.concatenate([self.second[start:], second])

    def within(self, from_s: float, to_s: float) -> tuple[Floats, Floats]:
        """Both figures of the events after *from_s* up to *to_s*."""
        start, end = np.searchsorted(self.at_s, (from_s, to_s), side="right")
        return self.first[start:end], self.second[start:end]


@dataclass(frozen=True, slots=True)
class _Gaps:
    """The engine's cumulative count of token gaps at one moment."""

    at_s: float
    counts: Floats
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReading:
    """What routers and workers export beside the frontend's metrics; only some rivals read it."""

    backlog_tokens: float
    """Prompt tokens of the requests that wait for their first token."""
    full_kv_workers: float
    """Share of the KV in use, summed over the workers that decode."""


class Telemetry:
    """Scrapes an engine and answers as Prometheus would.

    Args:
        engine: made with the ITL edges of *buckets*.
        traffic: what is submitted to it, from index 0 on.
        interval_s: the planning grid's step, from 0 on.
        window_s: what one observation looks back on.
        buckets: of the frontend's latency histograms.
    """

    def __init__(
        self,
        engine: Engine,
        traffic: Traffic,
        *,
        interval_s: float,
        window_s: float,
        buckets: Buckets = DEFAULT_BUCKETS,
    ) -> None:
        self._engine = engine
        self._arrival_s = traffic.arrival_s
        self._interval_s = interval_s
        self._window_s = window_s
        self._ttft_edges_ms = tuple(1e3 * edge for edge in buckets.ttft_s)
        self._prompt_tokens = np.concatenate([[0.0], np.cumsum(traffic.isl_tokens)])
        self._answered_tokens = 0.0
        self._firsts = _Log()
        self._lasts = _Log()
        self._seen_firsts = 0
        self._seen_lasts = 0
        self._gaps = [_Gaps(0.0, engine.gap_counts, 0.0)]
        self._history: list[tuple[float, float, float]] = []
        self._closed_s = 0.0

    def scrape(self) -> None:
        """Take note of everything until the engine's clock; call at both ends of every window."""
        engine, now_s = self._engine, self._engine.now_s
        keep_from_s = now_s - 2 * max(self._window_s, self._interval_s)
        firsts, lasts = engine.first_tokens(self._seen_firsts), engine.last_tokens(self._seen_lasts)
        self._seen_firsts += firsts.size
        self._seen_lasts += lasts.size
        first, last = engine.pick(firsts), engine.pick(lasts)
        self._answered_tokens += float(first.isl_tokens.sum())
        self._firsts.extend(
            first.first_token_s, first.isl_tokens.astype(float), first.ttft_ms, keep_from_s=keep_from_s
        )
        self._lasts.extend(
            last.last_token_s, last.osl_tokens.astype(float), last.duration_s, keep_from_s=keep_from_s
        )
        self._gaps = [gaps for gaps in self._gaps if gaps.at_s >= keep_from_s]
        self._gaps.append(_Gaps(now_s, engine.gap_counts, engine.gap_sum_s))

    def close_interval(self) -> None:
        """Add the interval that ends now to the history; call once per interval, after `scrape`."""
        now_s = self._engine.now_s
        isl, _ = self._firsts.within(now_s - self._interval_s, now_s)
        osl, _ = self._lasts.within(now_s - self._interval_s, now_s)
        arrived = self._arrived(now_s - self._interval_s, now_s)
        self._closed_s = now_s
        self._history.append((float(arrived), _mean(isl), _mean(osl)))

    def observe(self) -> Observation:
        """The last window, as the planner sees it."""
        engine, now_s, window_s = self._engine, self._engine.now_s, self._window_s
        since_s = now_s - window_s
        young = since_s < 0.0
        arrived = self._arrived(since_s, now_s)
        requests = Known(arrived * self._interval_s / window_s, lower_bound=young)
        isl, ttft_ms = self._firsts.within(since_s, now_s)
        osl, duration_s = self._lasts.within(since_s, now_s)
        before, after = self._gaps_at(since_s), self._gaps[-1]
        gaps = after.counts - before.counts
        tokens = float(gaps.sum())
        gap_ms = (after.sum_s - before.sum_s) / tokens * 1e3 if tokens > 0.0 else np.nan
        arrivals, step_s = self._arrivals(now_s)
        return Observation(
            window_s=window_s,
            requests=requests,
            isl_tokens=_reading(_mean(isl), arrived, "input length"),
            osl_tokens=_reading(_mean(osl), arrived, "output length"),
            ttft_ms=_reading(_mean(ttft_ms), arrived, "time to first token"),
            itl_ms=_reading(gap_ms, arrived, "inter-token latency"),
            request_duration_s=_reading(_mean(duration_s), arrived, "duration"),
            queued=Known(float(engine.first_pending)),
            inflight=Known(float(engine.arrived - self._seen_lasts)),
            isl_histogram=_histogram(isl, ISL_EDGES),
            osl_histogram=_histogram(osl, OSL_EDGES),
            ttft_histogram=_histogram(ttft_ms, self._ttft_edges_ms),
            itl_histogram=Histogram(
                edges=tuple((1e3 * engine.gap_edges_s).tolist()), counts=tuple(gaps.tolist())
            ),
            arrivals=arrivals,
            arrivals_step_s=step_s,
            history=self._series(),
        )

    def glance(self, span_s: float = SPAN_S) -> Sight:
        """The last *span_s* seconds, as cheaply as the operator looks between its plans."""
        engine, now_s = self._engine, self._engine.now_s
        since_s = max(0.0, now_s - span_s)
        _, ttft_ms = self._firsts.within(since_s, now_s)
        before, after = self._gaps_at(since_s), self._gaps[-1]
        gaps = float((after.counts - before.counts).sum())
        return Sight(
            at_s=now_s,
            span_s=span_s,
            requests=float(self._arrived(since_s, now_s)),
            queued=float(engine.first_pending),
            inflight=float(engine.arrived - self._seen_lasts),
            ttft_ms=float(ttft_ms.mean()) if ttft_ms.size else None,
            itl_ms=(after.sum_s - before.sum_s) / gaps * 1e3 if gaps > 0.0 else None,
        )

    def engine_reading(self) -> EngineReading:
        """What the router and the workers show now; call it after `scrape`."""
        backlog_tokens = self._prompt_tokens[self._engine.arrived] - self._answered_tokens
        gauges = self._engine.gauges(Role.AGG if self._engine.mode is Mode.AGG else Role.DECODE)
        return EngineReading(
            backlog_tokens=max(0.0, float(backlog_tokens)),
            full_kv_workers=gauges.kv_usage * (gauges.ready + gauges.draining),
        )

    def silent(self, message: str) -> Observation:
        """What a planner has while Prometheus does not answer."""
        unknown = Unknown(Reason.PROMETHEUS_UNAVAILABLE, message)
        return Observation(
            window_s=self._window_s,
            requests=unknown,
            isl_tokens=unknown,
            osl_tokens=unknown,
            ttft_ms=unknown,
            itl_ms=unknown,
            request_duration_s=unknown,
            cached_tokens=unknown,
            queued=unknown,
            inflight=unknown,
        )

    def _arrived(self, from_s: float, to_s: float) -> int:
        first, last = np.searchsorted(self._arrival_s, (from_s, to_s), side="right")
        return int(last - first)

    def _arrivals(self, now_s: float) -> tuple[tuple[float, ...], float]:
        scrapes = max(1, int(np.ceil(self._window_s / SCRAPE_S / MOST_STEPS)))
        step_s = scrapes * SCRAPE_S
        steps = int(min(self._window_s, now_s) // step_s)
        if steps < 2:
            return (), 0.0
        edges = now_s - step_s * np.arange(steps, -1, -1)
        counts = np.diff(np.searchsorted(self._arrival_s, edges, side="right"))
        return tuple(counts.astype(float).tolist()), step_s

    def _gaps_at(self, at_s: float) -> _Gaps:
        """The last scrape up to *at_s*, or the oldest."""
        known = [gaps for gaps in self._gaps if gaps.at_s <= at_s + 1e-9]
        return known[-1] if known else self._gaps[0]

    def _series(self) -> Series:
        recent = self._history[-HISTORY_POINTS:]
        requests, isl, osl = zip(*recent, strict=True) if recent else ((), (), ())
        return Series(
            end_s=self._closed_s, step_s=self._interval_s, requests=requests, isl_tokens=isl, osl_tokens=osl
        )


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _reading(value: float, arrived: int, words: str) -> Reading:
    if np.isfinite(value):
        return Known(float(value))
    if arrived == 0:
        return Unknown(Reason.IDLE, f"no request came, so there is no {words}")
    return Unknown(Reason.LENGTHS_UNKNOWN, f"{arrived} requests came and none has shown its {words} yet")


def _histogram(values: Floats, edges: tuple[float, ...]) -> Histogram:
    upper: npt.NDArray[np.float64] = np.array([*edges, np.inf])
    counts = np.bincount(np.searchsorted(upper, values, side="left"), minlength=upper.size)
    return Histogram(edges=tuple(upper.tolist()), counts=tuple(counts.astype(float).tolist()))
