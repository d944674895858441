"""From tables to a profile that answers: the one place that knows both interpolations."""

from __future__ import annotations

from slaplanner.core.model import Interpolation
from slaplanner.core.profiles.cubic import CubicDecode, CubicPrefill
from slaplanner.core.profiles.monotone_decode import MonotoneDecode
from slaplanner.core.profiles.monotone_prefill import MonotonePrefill
from slaplanner.core.profiles.protocol import DecodeProfile, PrefillProfile, Profile
from slaplanner.core.profiles.tables import ProfileTables


def build(tables: ProfileTables, interpolation: Interpolation = Interpolation.MONOTONE) -> Profile:
    """Fit *interpolation* to *tables*. Costs milliseconds: do it once per profile version.

    Raises:
        ProfileFormatError: the interpolation needs more points than there are.
    """
    prefill: PrefillProfile | None = None
    decode: DecodeProfile | None = None
    if interpolation is Interpolation.CUBIC:
        prefill = CubicPrefill(tables.prefill) if tables.prefill is not None else None
        decode = CubicDecode(tables.decode) if tables.decode is not None else None
    else:
        prefill = MonotonePrefill(tables.prefill) if tables.prefill is not None else None
        decode = MonotoneDecode(tables.decode) if tables.decode is not None else None
    return Profile(interpolation=interpolation, prefill_stage=prefill, decode_stage=decode)
