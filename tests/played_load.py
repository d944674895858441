"""Frontends of many deployments on one page: loads that tests set, change and silence.

A load's counters grow with the clock, and its first page carries a minute of past samples, so that a
test need not wait for a window to fill.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from slaplanner.adapters.prometheus.selectors import FRONTEND_PREFIX
from tests.timelines import Page

PAST_S = 60
PREFIX = f"{FRONTEND_PREFIX}_"
CHAT = {"endpoint": "chat_completions", "request_type": "stream"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What arrives and how it is served, from some moment on."""

    requests_s: float = 10.0
    isl: float = 1000.0
    osl: float = 200.0
    ttft_s: float = 0.2
    itl_s: float = 0.02
    stalled: bool = False
    """Requests arrive and produce no token."""
    served_share: float = 1.0
    """Below 1 there is back-pressure: more arrive than are completed."""
    edges_s: tuple[float, ...] = ()
    """Of both latencies' buckets, beside the infinite one; for loads that do not change."""
    edges_tokens: tuple[float, ...] = ()
    """Of both lengths' buckets, likewise."""


@dataclass(slots=True)
class _Played:
    labels: dict[str, str]
    load: Load
    since_s: float
    totals: dict[str, float] = field(default_factory=dict)
    shown_past: bool = False

    def at(self, now_s: float) -> dict[str, float]:
        """The counters at *now_s*."""
        passed = now_s - self.since_s
        load = self.load
        started = load.requests_s * passed
        served = 0.0 if load.stalled else started * load.served_share
        growth = {
            "requests_started_total": started,
            "requests_total": served,
            "input_sequence_tokens": served,
            "output_sequence_tokens": served,
            "time_to_first_token_seconds": served,
            "request_duration_seconds": served,
            "inter_token_latency_seconds": served * max(0.0, load.osl - 1),
            "isl_sum": served * load.isl,
            "osl_sum": served * load.osl,
            "ttft_sum": served * load.ttft_s,
            "itl_sum": served * max(0.0, load.osl - 1) * load.itl_s,
            "duration_sum": served * (load.ttft_s + load.osl * load.itl_s),
        }
        return {name: self.totals.get(name, 0.0) + value for name, value in growth.items()}


_SUMS = {
    "input_sequence_tokens": "isl_sum",
    "output_sequence_tokens": "osl_sum",
    "time_to_first_token_seconds": "ttft_sum",
    "inter_token_latency_seconds": "itl_sum",
    "request_duration_seconds": "duration_sum",
}


class PlayedLoads:
    """The page that Prometheus scrapes."""

    def __init__(self) -> None:
        self._played: dict[str, _Played] = {}
        self._lock = threading.Lock()
        self.page = Page(self._render)

    def play(self, dynamo_namespace: str, load: Load, *, model: str = "meta/llama-70b") -> None:
        """From now on the frontend of *dynamo_namespace* serves *load*."""
        now_s = time.time()
        with self._lock:
            played = self._played.get(dynamo_namespace)
            if played is None:
                labels = {"model": model, "dynamo_namespace": dynamo_namespace}
                self._played[dynamo_namespace] = _Played(labels, load, now_s - PAST_S)
                return
            played.totals = played.at(now_s)
            played.load, played.since_s = load, now_s

    def add(self, dynamo_namespace: str, played: _Played) -> None:
        """Show what is played already."""
        with self._lock:
            self._played[dynamo_namespace] = played

    def change(self, dynamo_namespace: str, **fields: float | bool) -> None:
        """Change some figures of the load that is played."""
        load = self._played[dynamo_namespace].load
        self.play(dynamo_namespace, replace(load, **fields))  # type: ignore[arg-type]

    def silence(self, dynamo_namespace: str) -> None:
        """The frontend is gone from the page."""
        with self._lock:
            self._played.pop(dynamo_namespace, None)

    def _render(self) -> str:
        now_s = time.time()
        with self._lock:
            lines = [line for played in self._played.values() for line in _lines(played, now_s)]
        return "".join(f"{line}\n" for line in lines)


def _lines(played: _Played, now_s: float) -> Iterator[str]:
    if not played.shown_past:
        played.shown_past = True
        for back in range(int(now_s - played.since_s) - 1, 0, -1):
            yield from _sample(played, now_s - back, stamp=True)
    yield from _sample(played, now_s, stamp=False)


def _sample(played: _Played, at_s: float, *, stamp: bool) -> Iterator[str]:
    figures = played.at(at_s)
    suffix = f" {round(at_s * 1000)}" if stamp else ""

    def line(name: str, value: float, **labels: str) -> str:
        shown = ",".join(f'{key}="{text}"' for key, text in {**played.labels, **labels}.items())
        return f"{PREFIX}{name}{{{shown}}} {value}{suffix}"

    yield line("model_context_length", 131072)
    yield line("requests_started_total", figures["requests_started_total"], **CHAT)
    yield line("requests_total", figures["requests_total"], **CHAT, status="success", error_type="")
    for name, total in _SUMS.items():
        yield line(f"{name}_count", figures[name])
        yield line(f"{name}_sum", figures[total])
        for edge, reached in _edges(played.load, name):
            yield line(f"{name}_bucket", figures[name] if reached else 0.0, le=f"{edge}")
        yield line(f"{name}_bucket", figures[name], le="+Inf")


def _edges(load: Load, name: str) -> Iterator[tuple[float, bool]]:
    """The finite edges of a histogram, and whether its one value lies at or below them."""
    value, edges = {
        "time_to_first_token_seconds": (load.ttft_s, load.edges_s),
        "inter_token_latency_seconds": (load.itl_s, load.edges_s),
        "input_sequence_tokens": (load.isl, load.edges_tokens),
        "output_sequence_tokens": (load.osl, load.edges_tokens),
    }.get(name, (0.0, ()))
    for edge in edges:
        yield edge, value <= edge


def continued(
    loads: PlayedLoads,
    dynamo_namespace: str,
    load: Load,
    *,
    since_s: float,
    until_s: float,
    step_s: float,
    model: str = "meta/llama-70b",
) -> Iterator[str]:
    """A load that began at *since_s*: its past up to *until_s* in OpenMetrics, and its page goes on from there."""
    played = _Played({"model": model, "dynamo_namespace": dynamo_namespace}, load, since_s, shown_past=True)
    loads.add(dynamo_namespace, played)
    at_s = since_s
    while at_s < until_s:
        for line in _sample(played, at_s, stamp=False):
            yield f"{line} {at_s:.3f}"
        at_s += step_s
