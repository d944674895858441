"""What really happened, request by request: what metrics in buckets can only approximate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slaplanner.core.model import Role
from slaplanner_lab.fleet.names import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTargets:
    """The latencies that a request should meet."""

    ttft_ms: float = 500.0
    itl_ms: float = 50.0


@dataclass(slots=True, kw_only=True)
class Truth:
    """Counts since the start; frontend restarts do not touch them."""

    targets: LatencyTargets
    arrived: int = 0
    refused: int = 0
    served: int = 0
    met_ttft: int = 0
    met_itl: int = 0
    met_both: int = 0
    gpu_s: Counter[Role] = field(default_factory=Counter)
    """GPU-seconds held, starting and draining replicas included."""

    def serve(self, ttft_ms: npt.NDArray[np.float64], itl_ms: npt.NDArray[np.float64]) -> None:
        """Requests were completed; one entry each."""
        ttft = ttft_ms <= self.targets.ttft_ms
        itl = itl_ms <= self.targets.itl_ms
        self.served += ttft.size
        self.met_ttft += int(ttft.sum())
        self.met_itl += int(itl.sum())
        self.met_both += int((ttft & itl).sum())

    def report(self) -> Json:
        """As JSON; attainments in percent of the served requests, None before the first."""

        def percent(met: int) -> float | None:
            return 100.0 * met / self.served if self.served else None

        return {
            "requests": {"arrived": self.arrived, "refused": self.refused, "served": self.served},
            "targets": {"ttftMs": self.targets.ttft_ms, "itlMs": self.targets.itl_ms},
            "attainment": {
                "ttft": percent(self.met_ttft),
                "itl": percent(self.met_itl),
                "both": percent(self.met_both),
            },
            "gpuSeconds": {role.value: seconds for role, seconds in self.gpu_s.items()},
        }
