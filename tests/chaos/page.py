"""docs/reliability.md: its two measured parts, each between marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.playing import Played
from tests.chaos.soak import Soaked

PAGE = Path(__file__).parents[2] / "docs/reliability.md"


def write_table(played: list[Played], failed: Mapping[str, str]) -> None:
    """Write a row for each fault.

    Args:
        played: the faults that ended as they should.
        failed: of the others, by name, what was found instead.
    """
    rows = [f"| {one.fault.name} | {one.fault.sees} | {one.recovery_s:.0f} s | none |" for one in played]
    rows += [
        f"| {name} | not as expected | - | {found.replace('|', '/')} |" for name, found in failed.items()
    ]
    versions = sum(one.versions for one in played)
    _put(
        "faults",
        f"{len(played) + len(failed)} faults on {_today()}; {len(failed)} did not end as they should. "
        f"{versions} versions of the deployment were checked.\n\n"
        "| fault | what the user sees | recovered after | invariant broken |\n|---|---|---|---|\n"
        + "\n".join(rows),
    )


def write_soak(soaked: Soaked) -> None:
    rows = [
        f"| {one.at_s:.0f} | {one.resident_mib:.0f} | {one.threads} | {one.descriptors} |"
        for one in soaked.shown()
    ]
    _put(
        "soak",
        f"`python -m tests.chaos --soak {soaked.seconds:.0f}` on {_today()} (seed {soaked.seed}): "
        f"{sum(soaked.faults.values())} faults of {len(soaked.faults)} kinds, {soaked.decisions} decisions, "
        f"{soaked.versions} versions of the deployment within the budget.\n\n"
        "| after s | resident MiB | threads | descriptors |\n|---|---|---|---|\n" + "\n".join(rows),
    )


def _today() -> str:
    return datetime.now(tz=UTC).strftime("%-d %B %Y")


def _put(part: str, text: str) -> None:
    before = PAGE.read_text()
    pattern = rf"(<!-- {part} -->\n).*?(<!-- end of {part} -->)"
    after, count = re.subn(
        pattern, lambda found: f"{found[1]}\n{text}\n\n{found[2]}", before, flags=re.DOTALL
    )
    assert count == 1, f"{PAGE} has no marks for {part}"
    PAGE.write_text(after)
