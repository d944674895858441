"""The example for notebooks runs, and shows what it says."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from slaplanner.core.model import Role
from tests.profile_data import ROOT

SCRIPT = ROOT / "examples" / "notebook_planner.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """Its functions, not run."""
    return runpy.run_path(str(SCRIPT))


def test_it_drives_the_planner_through_a_rise_a_gap_and_a_fall(
    example: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [size[Role.PREFILL] for size in example["drive_it_yourself"]()]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[3] == sizes[2], "an unknown load changes nothing"
    assert "? requests: HoldUnknown" in capsys.readouterr().out


def test_it_shows_what_a_policy_would_do(example: dict[str, Any]) -> None:
    assert example["see_what_a_policy_would_do"]() > 0


def test_it_closes_the_loop(example: dict[str, Any]) -> None:
    assert example["close_the_loop"](minutes=3) > 0
