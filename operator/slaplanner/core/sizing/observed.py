"""What a window showed of the fleet: the load, the requests in flight, and the share that was late."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from slaplanner.core.model import Role
from slaplanner.core.readings import Histogram, Known, Observation, value_or
from slaplanner.core.sizing.batch import mean_context_tokens
from slaplanner.core.sizing.capacity import Capacity
from slaplanner.core.sizing.late_share import share_late

ITL_SPREAD = 0.25
"""Of the requests of one window around its mean ITL, at most: standard deviation of the logarithm."""

NEWEST = 1 / 3
"""Part of a window in which its last state shows."""

LEAST_NEWEST = 20.0
"""Requests below which chance makes the newest part look unlike the rest."""

SURE = 2.0
"""Standard deviations by which the sequences in flight at one moment may exceed their mean by chance."""


def late(stage: Role, observation: Observation, capacity: Capacity) -> float | None:
    """Share of the requests that *stage* made late; None when it is not known.

    Prompts that would be late in an idle fleet do not count: what the same buckets would show of it is taken off.
    Histograms of ITL count gaps, and the promise is about the
    mean gap of a request: so gaps above the target count only as far as the mean is near it.
    """
    if stage is Role.PREFILL:
        histogram, mean, target_ms = observation.ttft_histogram, observation.ttft_ms, capacity.sla.ttft_ms
    else:
        histogram, mean, target_ms = observation.itl_histogram, observation.itl_ms, capacity.sla.itl_ms
    if histogram is None or not isinstance(mean, Known) or mean.value <= 0.0:
        return None
    share = share_late(histogram, target=target_ms, mean=mean.value)
    if share is None:
        return None
    if stage is Role.PREFILL:
        return max(0.0, share - _late_when_idle(histogram, capacity))
    return min(share, float(ndtr(math.log(mean.value / target_ms) / ITL_SPREAD)))


def _late_when_idle(histogram: Histogram, capacity: Capacity) -> float:
    """What *histogram*'s buckets would show of prompts that do not wait."""
    edges, idle_ms = np.array(histogram.edges), 1e3 * capacity.prefill_s
    places = np.minimum(np.searchsorted(edges, idle_ms, side="left"), edges.size - 1)
    counts = histogram.total * np.bincount(places, weights=capacity.isl.share, minlength=edges.size)
    idle = Histogram(edges=histogram.edges, counts=tuple(counts.tolist()))
    return share_late(idle, target=capacity.sla.ttft_ms, mean=1e3 * capacity.prompt_s) or 0.0


def tokens_s(stage: Role, observation: Observation, *, interval_s: float) -> float | None:
    """The window's load, in tokens per second of *stage*; None when it is not known.

    Answers that are completed count as well as requests that arrive: after a rise the fleet still works on
    what came before.
    """
    requests = observation.requests
    length = observation.isl_tokens if stage is Role.PREFILL else observation.osl_tokens
    if not isinstance(requests, Known) or not isinstance(length, Known):
        return None
    rate = requests.value / interval_s
    if stage is Role.DECODE and observation.osl_histogram is not None:
        rate = max(rate, observation.osl_histogram.total / observation.window_s)
    return rate * length.value


def slowdown(
    observation: Observation, role: Role, capacity: Capacity, *, interval_s: float, serving: int
) -> float | None:
    """The mean ITL over the profile's at the window's own batch; None when it is not known.

    Both are means, so no bucket's edges blur them, and an engine that is slower or quicker than its profile shows
    long before anybody is late. The batch is what a sequence sees: itself, and the others that are in flight at
    the window's load (Little's law: tokens per second x ITL). Beyond the target it is no measure of the engine,
    because answers also wait to be let in then.
    """
    itl, load = observation.itl_ms, tokens_s(Role.DECODE, observation, interval_s=interval_s)
    if Role.DECODE not in role.stages or not isinstance(itl, Known) or not load:
        return None
    if not 0.0 < itl.value <= capacity.sla.itl_ms:
        return None
    load = max(load, in_flight_tokens_s(observation, capacity))
    batch = 1.0 + load * itl.value / 1e3 / serving
    context_tokens = mean_context_tokens(capacity.isl, capacity.osl)
    profiled = float(capacity.profile.decode.itl_row_ms(np.array([batch]), context_tokens=context_tokens)[0])
    return itl.value / profiled if profiled > 0.0 else None


def newest_over_mean(observation: Observation) -> float:
    """Arrivals of the newest part of the window, over those of all of it; 1 where too few came to tell."""
    arrivals = observation.arrivals
    newest = arrivals[-max(1, round(NEWEST * len(arrivals))) :]
    if sum(newest) < LEAST_NEWEST:
        return 1.0
    return sum(newest) / len(newest) / (sum(arrivals) / len(arrivals))


def in_flight_tokens_s(observation: Observation, capacity: Capacity) -> float:
    """Tokens per second that the sequences in decode are being written with, as far as it is sure; 0: not known.

    It shows longer answers before the first of them is complete. Where decode is overloaded it is what the
    replicas manage, and so a lower bound of the load; it does not grow with what piles up.
    """
    inflight, itl = observation.inflight, observation.itl_ms
    if not isinstance(inflight, Known) or not isinstance(itl, Known) or itl.value <= 0.0:
        return 0.0
    inside = max(0.0, inflight.value - value_or(observation.queued, 0.0))
    each_s = itl.value / 1e3
    dispersion = float(capacity.burstiness.index(np.array(inside / each_s / capacity.osl.mean)))
    return max(0.0, inside - SURE * math.sqrt(inside * dispersion)) / each_s
