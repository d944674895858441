"""Many decisions in a row, with either side killed at random: nobody goes back, all end at the last."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from tests.testbed import wait_until
from tests.virtual_sides import counts

DECISIONS = 1000
CLIENTS = 2
PATIENCE_S = 500.0
ROOT = Path(__file__).parents[1]


class Program:
    """One side, started again whenever it was killed."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "tests.virtual_sides", *arguments]
        self._process = self._start()
        self.kills = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=ROOT)

    def kill(self) -> None:
        """SIGKILL, and start again."""
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._process = self._start()

    @property
    def ended_well(self) -> bool:
        return self._process.poll() == 0

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def play(
    where: str, tmp_path: Path, *, kills: int, last_id: Callable[[], int], decisions: int = DECISIONS
) -> None:
    """Run a publisher and two clients, kill them at random moments of the play, and judge what they left.

    Args:
        where: the backend, as `tests.virtual_sides` takes it.
        tmp_path: for the journals of the clients.
        kills: of each program, at random moments that are the same in every run.
        last_id: of the decision that stands there now; -1 before the first.
        decisions: how many.
    """
    chance = random.Random(4)
    journals = [tmp_path / f"client-{number}" for number in range(CLIENTS)]
    programs = [
        Program("publish", where, str(decisions - 1)),
        *(Program("follow", where, str(journal)) for journal in journals),
    ]
    try:
        moments = sorted(
            (chance.randrange(10, decisions - 10), program)
            for program in range(len(programs))
            for _ in range(kills)
        )
        for decision, program in moments:
            wait_until(
                lambda: last_id() >= decision,  # noqa: B023
                what=f"decision {decision}",
                timeout_s=PATIENCE_S,
                poll_s=0.1,
            )
            programs[program].kill()
        wait_until(lambda: programs[0].ended_well, what="the last decision", timeout_s=PATIENCE_S)
        for journal in journals:
            wait_until(
                lambda: _lines(journal)[-1][1] == decisions - 1,  # noqa: B023
                what=f"{journal.name} to end at the last decision",
                timeout_s=PATIENCE_S,
            )
    finally:
        for program in programs:
            program.stop()
    assert [program.kills for program in programs] == [kills] * len(programs)
    for journal in journals:
        _judge(_lines(journal))


def _judge(applied: list[tuple[int, ...]]) -> None:
    """*applied* is (pid, id, prefill, decode) of everything that one client carried out."""
    assert len({pid for pid, *_ in applied}) > 1, "it was killed in the middle"
    assert all(after[1] >= before[1] for before, after in pairwise(applied)), "never an older one"
    repeated = [(before, after) for before, after in pairwise(applied) if before[1] == after[1]]
    assert all(before[2:] == after[2:] for before, after in repeated), "a repeated one changes nothing"
    assert all((prefill, decode) == counts(number) for _, number, prefill, decode in applied)


def _lines(journal: Path) -> list[tuple[int, ...]]:
    """A line that a kill cut off is none."""
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return [tuple(int(word) for word in line.split()) for line in lines] or [(0, -1, -1, -1)]
