"""docs/reliability.md shows what `make chaos` plays."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.faults import FAULTS

PAGE = Path(__file__).parents[2] / "docs/reliability.md"


def test_every_fault_has_a_row_with_what_is_seen_and_breaks_nothing() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.endswith("| none |")
    ]
    assert [row[:2] for row in rows] == [[fault.name, fault.sees] for fault in FAULTS]
    assert len(rows) >= 25
