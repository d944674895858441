"""Sizing: from the forecast load and the profile to replicas per role.

`throughput` divides the load by what one replica carries at the SLA. `attainment` sizes for the share of requests that
must meet both targets. `model` has the types of the question and of the answer.
"""

from slaplanner.core.sizing.model import MeanLoad, Sized, SizedRole

__all__ = ["MeanLoad", "Sized", "SizedRole"]
