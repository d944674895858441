"""What became of the requests over time, by arrival: the curves of the report, and of its JSON."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slaplanner.offline.simulation.loop import Run
from slaplanner.offline.simulation.score import Flags, met
from slaplanner.offline.simulation.traffic import Floats

MOST_BINS, LEAST_BIN_S = 240, 30.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Median and 99th percentile in ms and the share in time in percent; NaN where nothing came."""

    p50_ms: Floats
    p99_ms: Floats
    in_time: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """Bins of equal length from 0 to the last arrival; all arrays of shape (bins,)."""

    begin_s: Floats
    requests: Floats
    ttft: Curve
    itl: Curve


def timeline(run: Run) -> Timeline:
    """*run* in at most `MOST_BINS` bins of at least `LEAST_BIN_S`, those that are not scored included."""
    last_s, requests, flags = run.scenario.traffic.last_arrival_s, run.requests, met(run)
    bins = max(1, min(MOST_BINS, int(last_s // LEAST_BIN_S) + 1))
    width_s = last_s / bins or 1.0
    # Requests are in order of arrival, so a bin is a slice.
    edges = np.searchsorted(requests.arrival_s, width_s * np.arange(1, bins), side="left")
    slices = [slice(*pair) for pair in zip([0, *edges.tolist()], [*edges.tolist(), None], strict=True)]
    begin_s: Floats = np.arange(bins, dtype=np.float64) * float(width_s)
    itl_ms = np.where(requests.osl_tokens > 1, requests.itl_ms, np.nan)
    return Timeline(
        begin_s=begin_s,
        requests=np.array([float(requests.arrival_s[part].size) for part in slices]),
        ttft=_curve(requests.ttft_ms, flags.ttft, slices),
        itl=_curve(itl_ms, flags.itl, slices),
    )


def _curve(values: Floats, in_time: Flags, slices: list[slice]) -> Curve:
    found = np.full((len(slices), 3), np.nan)
    for row, part in zip(found, slices, strict=True):
        finite = values[part][np.isfinite(values[part])]
        if finite.size:
            row[:2] = np.percentile(finite, (50, 99))
        if in_time[part].size:
            row[2] = 100.0 * float(in_time[part].mean())
    return Curve(p50_ms=found[:, 0], p99_ms=found[:, 1], in_time=found[:, 2])
