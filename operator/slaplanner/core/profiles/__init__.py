"""Profiles: what one replica was measured to do, and how it is read between the measurements.

`tables` holds the raw measurements, `parse` reads them from bytes, `checks` names their faults;
`protocol` says what a profile answers, `cubic` and `monotone` are its two interpolations and
`build` chooses between them.
"""

from slaplanner.core.profiles.build import build
from slaplanner.core.profiles.protocol import (
    BestDecode,
    DecodeGrid,
    DecodeProfile,
    PrefillGrid,
    PrefillProfile,
    Profile,
)
from slaplanner.core.profiles.tables import DecodeTable, PrefillTable, ProfileTables

__all__ = [
    "BestDecode",
    "DecodeGrid",
    "DecodeProfile",
    "DecodeTable",
    "PrefillGrid",
    "PrefillProfile",
    "PrefillTable",
    "Profile",
    "ProfileTables",
    "build",
]
