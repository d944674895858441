"""What an observation can be: a value, a true zero, or unknown; never a bare number.

A failed query that is read as zero load would scale a busy fleet down to its minimum. So each figure says which of the
three it is, and code that needs a number must say what it does if there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import ge
from typing import Self

from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Known:
    """A figure that was answered. A true zero is `Known(0.0)`.

    `lower_bound`: the true figure may be higher (a series born inside the window), so growth may
    follow from it and shrinking may not.
    """

    value: float
    lower_bound: bool = False
    because: str = field(default="", compare=False)
    """What the part that may be missing is, in words; empty where nothing is."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a known figure is finite, found {self.value}; say Unknown instead")


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, or one that cannot be trusted, and why."""

    reason: Reason
    message: str


Reading = Known | Unknown
"""A figure with what is known about it."""


def value_or(reading: Reading, default: float) -> float:
    """The figure, or *default* when it is unknown: the caller's explicit choice."""
    return reading.value if isinstance(reading, Known) else default


def map_reading(reading: Reading, function: Callable[[float], float]) -> Reading:
    """Apply *function* to a known figure; an unknown one stays as it is."""
    if isinstance(reading, Unknown):
        return reading
    return Known(function(reading.value), reading.lower_bound, reading.because)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Growth of a cumulative histogram inside the window.

    `edges`: upper bounds, rising, the last may be infinite; `counts`: observations per bucket
    (not cumulative), same length.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts):
            raise ValueError(f"{len(self.edges)} edges for {len(self.counts)} counts, wanted equally many")
        if any(map(ge, self.edges, self.edges[1:])):
            raise ValueError(f"edges must rise, found {self.edges}")

    @property
    def total(self) -> float:
        return sum(self.counts)

    @property
    def highest(self) -> float:
        """The upper edge of the highest bucket with an observation, or its lower edge if it has no other; 0: none."""
        highest = lower = 0.0
        for edge, count in zip(self.edges, self.counts, strict=True):
            if count:
                highest = edge if math.isfinite(edge) else lower
            lower = edge
        return highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """History on the planning grid, oldest first, one point per interval; NaN is a gap.

    `end_s`: Unix time of the last point (the end of its interval). Each list has one entry per
    interval; requests per interval, mean ISL and OSL in tokens.
    """

    end_s: float
    step_s: float
    requests: tuple[float, ...] = ()
    isl_tokens: tuple[float, ...] = ()
    osl_tokens: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        sizes = {len(self.requests), len(self.isl_tokens), len(self.osl_tokens)}
        if len(sizes) != 1:
            raise ValueError(f"requests, ISL and OSL need equally many points, found {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.requests)

    def first(self, length: int) -> Self:
        """The first *length* points."""
        return type(self)(
            end_s=self.end_s - (len(self) - length) * self.step_s,
            step_s=self.step_s,
            requests=self.requests[:length],
            isl_tokens=self.isl_tokens[:length],
            osl_tokens=self.osl_tokens[:length],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the last `window_s` seconds showed, and the history before them.

    `requests` counts arrivals per planning interval (count in the window x interval / window);
    means are over the window. Latencies in ms, lengths in tokens.
    """

    window_s: float
    requests: Reading
    isl_tokens: Reading
    osl_tokens: Reading
    ttft_ms: Reading
    itl_ms: Reading
    request_duration_s: Reading
    cached_tokens: Reading = Unknown(Reason.NOT_REPORTED, "cached tokens are not reported")
    """Mean prompt tokens per request that a prefix cache served."""
    queued: Reading = Unknown(Reason.NOT_REPORTED, "queued requests are not reported")
    """Requests that wait for their first token, now."""
    inflight: Reading = Unknown(Reason.NOT_REPORTED, "requests in flight are not reported")
    """Requests that have not been answered in full, now; the queued ones are among them."""
    router_pending: Reading = Unknown(Reason.NOT_REPORTED, "requests pending in the router are not reported")
    """Requests that the router holds back from the workers, now; among those in flight."""
    isl_histogram: Histogram | None = None
    osl_histogram: Histogram | None = None
    ttft_histogram: Histogram | None = None
    itl_histogram: Histogram | None = None
    arrivals: tuple[float, ...] = ()
    """Requests per short step of the window, oldest first: how bursty the arrivals are; may be empty."""
    arrivals_step_s: float = 0.0
    history: Series | None = None
    warm_up: Series | Unknown | None = None
    """Load of earlier days, to stand before a young history; None: the policy has no such trace."""
