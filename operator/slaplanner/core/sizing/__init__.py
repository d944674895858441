"""Sizing: from demand and profile to replicas per role.

`throughput` divides the load by what a replica carries at its SLA; `model` holds the question and
the answer.
"""

from slaplanner.core.sizing.model import MeanLoad, Sized, SizedRole

__all__ = ["MeanLoad", "Sized", "SizedRole"]
