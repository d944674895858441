"""The spec's `profile`: where the measured speed of one replica is found."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from slaplanner.api.fields import ObjectName, Part
from slaplanner.core.model import Interpolation


class ConfigMapRef(Part):
    """A ConfigMap in the policy's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap, in the policy's namespace.")


class ProfileSpec(Part):
    """Measured speed of one replica."""

    config_map_ref: ConfigMapRef | None = Field(
        default=None,
        description=(
            "ConfigMap that holds the profile under the keys prefill_raw_data.json and decode_raw_data.json, or as its "
            "only entry. Exactly one of configMapRef and path is given."
        ),
    )
    path: Annotated[str, StringConstraints(max_length=1024, pattern=r"^/")] | None = Field(
        default=None,
        description=(
            "Absolute path of a profile directory that is mounted into the operator, below a directory that its "
            "administrator allows. Exactly one of configMapRef and path is given."
        ),
    )
    interpolation: Interpolation = Field(
        default=Interpolation.MONOTONE,
        description=(
            "How values between the measured points are found. Monotone never leaves the range of the "
            "neighbouring measurements; Cubic reproduces Dynamo's own planner."
        ),
    )
