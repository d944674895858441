"""What became of the requests over time, by arrival: the curves of the report, and of its JSON."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner_lab.simulation.loop import Run
from slaplanner_lab.simulation.score import Flags, met

MOST_BINS, LEAST_BIN_S = 240, 30.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Median and 99th percentile in ms and the share in time in percent; NaN where nothing came."""

    p50_ms: Floats
    p99_ms: Floats
    in_time: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """Bins of equal length from 0 to the last arrival; arrays of shape (bins,)."""

    edges_s: Floats
    """Of shape (bins + 1,)."""
    requests: Floats
    ttft: Curve
    itl: Curve


def timeline(run: Run) -> Timeline:
    """*run* in at most `MOST_BINS` bins of at least `LEAST_BIN_S`, those that are not scored included."""
    last_s, requests, flags = run.scenario.traffic.last_arrival_s, run.requests, met(run)
    bins = max(1, min(MOST_BINS, int(last_s // LEAST_BIN_S) + 1))
    width_s = last_s / bins or 1.0
    edges_s: Floats = np.arange(bins + 1, dtype=np.float64) * float(width_s)
    # Requests are in order of arrival, so a bin is a slice.
    first = np.searchsorted(requests.arrival_s, edges_s[1:-1], side="left").tolist()
    slices = [slice(*pair) for pair in zip([0, *first], [*first, None], strict=True)]
    itl_ms = np.where(requests.osl_tokens > 1, requests.itl_ms, np.nan)
    return Timeline(
        edges_s=edges_s,
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
