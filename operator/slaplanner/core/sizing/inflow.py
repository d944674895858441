"""Sequences in flight that grow: answers have become longer, and nobody has seen their length yet.

Output lengths are counted when an answer is complete, so when answers become longer, the completed ones
are the short ones for a while. What shows at once is that fewer complete than arrive.
"""

from __future__ import annotations

import math

import numpy as np

from slaplanner.core.readings import Known, Observation
from slaplanner.core.sizing.burstiness import Burstiness

SURE = 3.0
"""Standard deviations by which arrivals must exceed completions: one plan in a thousand errs."""


def coming_sequences(
    observation: Observation,
    *,
    interval_s: float,
    ahead_s: float,
    burstiness: Burstiness,
    prefill_workers: int,
) -> float:
    """Sequences in decode after *ahead_s* if the surplus of arrivals over completions lasts; 0 if none.

    Prompts that pile up before prefill are no sign of longer answers: then nothing is said.
    """
    arrived, inflight, queued = observation.requests, observation.inflight, observation.queued
    completed = observation.osl_histogram
    if not (isinstance(arrived, Known) and isinstance(inflight, Known) and isinstance(queued, Known)):
        return 0.0
    if completed is None or arrived.lower_bound:
        return 0.0
    arrivals_s, completions_s = arrived.value / interval_s, completed.total / observation.window_s
    if queued.value > 2.0 * prefill_workers + 0.5 * arrivals_s:
        return 0.0
    dispersion = float(burstiness.index(np.array(arrivals_s)))
    noise_s = SURE * math.sqrt((arrivals_s + completions_s) * dispersion / observation.window_s)
    surplus_s = arrivals_s - completions_s - noise_s
    return max(0.0, inflight.value - queued.value) + surplus_s * ahead_s if surplus_s > 0.0 else 0.0
