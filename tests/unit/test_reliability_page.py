"""docs/reliability.md shows what `make chaos` plays."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.faults import FAULTS

PAGE = Path(__file__).parents[2] / "docs/reliability.md"


def test_every_row_is_a_fault_that_is_played_and_the_rest_is_named() -> None:
    text = PAGE.read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.endswith("| none |")
    ]
    played = [[fault.name, fault.sees] for fault in FAULTS]
    assert [row[:2] for row in rows] == [row for row in played if row[0] in {one[0] for one in rows}]
    assert len(rows) >= 25
    assert all(fault.name in text for fault in FAULTS)
