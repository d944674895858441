"""What a test does about a part that is not there."""

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.testbed.errors import BuildFailedError, MachineLacksError

PartT = TypeVar("PartT")


def or_skip(make: Callable[[], PartT]) -> PartT:
    """What *make* makes; on a developer's machine that lacks it, the test is skipped and says why.

    Raises:
        MachineLacksError, BuildFailedError: where `CI` is set, because there nothing is skipped.
    """
    try:
        return make()
    except (MachineLacksError, BuildFailedError) as error:
        if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
            raise
        pytest.skip(str(error))
