"""The spec's `sla`, and `fallback`: the promise, and what holds when it cannot be looked after."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from slaplanner.api.fields import Milliseconds, Part, Tokens
from slaplanner.core.model import FallbackMode


class SlaSpec(Part):
    """The promise."""

    ttft: Milliseconds = Field(
        default=500.0,
        description=(
            "Target for the time to first token (TTFT), in milliseconds: from the arrival of a request "
            "to its first output token, time in the queue included."
        ),
    )
    itl: Milliseconds = Field(
        default=50.0,
        description=(
            "Target for the inter-token latency (ITL), in milliseconds: the time between two output "
            "tokens of a request, after the first."
        ),
    )
    isl: Tokens = Field(
        default=3000.0,
        description="Expected mean input sequence length (ISL), in tokens. Used until traffic has been observed.",
    )
    osl: Tokens = Field(
        default=150.0,
        description="Expected mean output sequence length (OSL), in tokens. Used until traffic has been observed.",
    )
    attainment: Annotated[float, Strict(), Field(ge=50, le=99.9)] = Field(
        default=99.0,
        description="Share of the requests that should meet the targets, in percent: 50 to 99.9.",
    )


class FallbackSpec(Part):
    """What holds while the load stays unknown."""

    after: Annotated[int, Strict(), Field(ge=1, le=1000)] = Field(
        default=3, description="Number of failed observations in a row after which `mode` takes effect."
    )
    mode: FallbackMode = Field(
        default=FallbackMode.HOLD,
        description=(
            "Hold keeps the current replicas. Static sets fallbackReplicas. CurrentIfHigher sets fallbackReplicas unless more are running."
        ),
    )
