"""How fast workers are in fact, seen through the queues before them, beside what the profile says."""

from __future__ import annotations

import math

import numpy as np

from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Known, Observation
from slaplanner.core.sizing.arrays import Floats
from slaplanner.core.sizing.batch import mean_context_tokens
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.lengths import Lengths, lengths
from slaplanner.core.sizing.queueing import mean_wait_s

LOWEST, HIGHEST = 0.25, 4.0
"""Factors that are looked for."""

MOST_WAIT_SHARE = 0.1
"""A window whose TTFT is by more than this a wait tells of the queue, not of the engine."""

MOST_KV_SHARE = 0.9
"""Share of the KV above which requests wait for room."""

_BISECTIONS = 30


def prefill_seconds(profile: Profile, isl: Lengths) -> Floats:
    """Service time of each length by the profile; beyond its longest prompt, that one's."""
    return profile.prefill.ttft_row_ms(np.minimum(isl.tokens, profile.prefill.isl_range[1])) / 1e3


def prefill_factor(
    observation: Observation, *, profile: Profile, workers: int, interval_s: float
) -> float | None:
    """How much slower than profiled prompts are served: the factor that explains the mean TTFT.

    With factor f a prompt is served in f times the profile's time and waits in a queue that is loaded
    f times as much; both rise with f, so exactly one f gives the observed mean.

    Returns:
        None when a figure is unknown, or when the wait is too large a part of the TTFT.
    """
    ttft, isl_mean, requests = observation.ttft_ms, observation.isl_tokens, observation.requests
    if not (isinstance(ttft, Known) and isinstance(isl_mean, Known) and isinstance(requests, Known)):
        return None
    if workers < 1 or isl_mean.value <= 0.0:
        return None
    isl = lengths(isl_mean.value, observation.isl_histogram)
    seconds = prefill_seconds(profile, isl)
    mean_s, second = float(isl.share @ seconds), float(isl.share @ seconds**2)
    rate = requests.value / interval_s

    def waited_s(factor: float, dispersion: float) -> float:
        return mean_wait_s(
            erlangs=rate * factor * mean_s,
            workers=workers,
            mean_s=factor * mean_s,
            second_moment_s2=factor**2 * second,
            dispersion=dispersion,
        )

    low, high = LOWEST, HIGHEST
    for _ in range(_BISECTIONS):
        factor = math.sqrt(low * high)
        # As by chance: bursts over seconds are not those over one prompt's time, where queues stay short.
        told_s = factor * mean_s + waited_s(factor, 1.0)
        low, high = (low, factor) if told_s > ttft.value / 1e3 else (factor, high)
    factor = math.sqrt(low * high)
    clumped = Burstiness().after(observation.arrivals, observation.arrivals_step_s).index(np.array(rate))
    queued_s = max(ttft.value / 1e3 - factor * mean_s, waited_s(factor, float(clumped)))
    return factor if queued_s <= MOST_WAIT_SHARE * ttft.value / 1e3 else None


def decode_factor(
    observation: Observation, *, profile: Profile, workers: int, interval_s: float
) -> float | None:
    """How much slower than profiled tokens come: observed ITL over the profile's at the batch as it is.

    The sequences in decode are arrivals x time after the first token (Little's law); what they hold is
    the mean context of a batch, which is longer than that of a request.

    Returns:
        None when a figure is unknown, or when the KV is so full that requests wait for room, which
        their ITL then shows.
    """
    requests, itl = observation.requests, observation.itl_ms
    duration, ttft = observation.request_duration_s, observation.ttft_ms
    isl_mean, osl_mean = observation.isl_tokens, observation.osl_tokens
    if not (isinstance(requests, Known) and isinstance(itl, Known) and isinstance(duration, Known)):
        return None
    if not (isinstance(ttft, Known) and isinstance(isl_mean, Known) and isinstance(osl_mean, Known)):
        return None
    if workers < 1 or requests.lower_bound or min(isl_mean.value, osl_mean.value) <= 0.0:
        return None
    context_tokens = mean_context_tokens(
        lengths(isl_mean.value, observation.isl_histogram), lengths(osl_mean.value, observation.osl_histogram)
    )
    decoding_s = max(0.0, duration.value - ttft.value / 1e3)
    each = requests.value / interval_s * decoding_s / workers
    if each * context_tokens > MOST_KV_SHARE * profile.decode.max_kv_tokens:
        return None
    told_ms = profile.decode.itl_ms(concurrency=each, context_tokens=context_tokens)
    return itl.value / told_ms if told_ms > 0.0 else None
