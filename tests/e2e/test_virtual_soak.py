"""What the everyday test of a thousand decisions shows, for minutes: more decisions, and many more kills."""

from __future__ import annotations

from pathlib import Path

from tests.testbed import EtcdFactory
from tests.virtual_play import play

PREFIX = "v1/fleet/planner/"
DECISIONS = 5000
KILLS = 60


def test_thousands_of_decisions_with_random_kills(etcd_server: EtcdFactory, tmp_path: Path) -> None:
    etcd = etcd_server()
    play(
        f"etcd:{etcd.endpoint}:fleet",
        tmp_path,
        kills=KILLS,
        last_id=lambda: int(etcd.get(f"{PREFIX}decision_id") or -1),
        decisions=DECISIONS,
    )
    published = etcd.history(f"{PREFIX}decision_id")
    assert published == [str(number) for number in range(DECISIONS)], "ids rise by one"
    assert etcd.get(f"{PREFIX}scaled_decision_id") == str(DECISIONS - 1)
