"""What queueing theory knows exactly."""

from __future__ import annotations

import numpy as np
from scipy.stats import poisson


def mean_wait_mdc(workers: int, load: float) -> float:
    """Crommelin's exact mean wait of M/D/c, in service times (1932; a series in erlangs)."""
    i = np.arange(1, 2000)
    erlangs = workers * load
    reach, exceed = poisson.sf(i * workers - 1, i * erlangs), poisson.sf(i * workers, i * erlangs)
    return float(np.sum(reach - exceed / load))
