"""A thousand decisions in a row in a real etcd, with random kills of either side."""

from __future__ import annotations

from pathlib import Path

from tests.testbed import EtcdFactory
from tests.virtual_play import DECISIONS, play

PREFIX = "v1/fleet/planner/"


def test_a_thousand_decisions_with_random_kills(etcd_server: EtcdFactory, tmp_path: Path) -> None:
    etcd = etcd_server()
    play(
        f"etcd:{etcd.endpoint}:fleet",
        tmp_path,
        kills=12,
        last_id=lambda: int(etcd.get(f"{PREFIX}decision_id") or -1),
    )
    published = etcd.history(f"{PREFIX}decision_id")
    assert published == [str(number) for number in range(DECISIONS)], "ids rise by one"
    assert etcd.get(f"{PREFIX}scaled_decision_id") == str(DECISIONS - 1)
