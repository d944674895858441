"""Faults at random for as long as one likes, with the operator's memory, threads and descriptors beside them."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.playing import play
from tests.chaos.stage import Stage

SAMPLES = 8
"""Rows of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The operator's process at one moment."""

    at_s: float
    resident_mib: float
    threads: int
    descriptors: int


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What a soak saw."""

    seconds: float
    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    decisions: int = 0
    samples: list[Sample] = field(default_factory=list)

    def shown(self) -> list[Sample]:
        """About `SAMPLES` of them, evenly, with the first and the last."""
        last = len(self.samples) - 1
        picked = sorted({round(last * index / (SAMPLES - 1)) for index in range(SAMPLES)})
        return [self.samples[index] for index in picked]


def soak(stage: Stage, seconds: float, *, seed: int = 1) -> Soaked:
    """Play faults that leave the operator's process alive, one after the other.

    Raises:
        AssertionError: an invariant was broken.
    """
    process = stage.operator.process
    chance = random.Random(seed)
    fit = [one for one in FAULTS if not one.restarts]
    soaked = Soaked(seconds=seconds, seed=seed)
    began_s = time.monotonic()
    decided = stage.scene.decisions()
    soaked.samples.append(_sample(process.pid, 0.0))
    while (at_s := time.monotonic() - began_s) < seconds:
        fault = chance.choice(fit)
        soaked.versions += play(stage, fault).versions
        soaked.faults[fault.name] += 1
        soaked.samples.append(_sample(process.pid, at_s))
        print(f"{at_s:.0f} s {fault.name}: {soaked.samples[-1]}", flush=True)
    assert stage.operator.process is process, "the operator was started anew"
    soaked.decisions = stage.scene.decisions() - decided
    return soaked


def _sample(pid: int, at_s: float) -> Sample:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return Sample(
        at_s=at_s,
        resident_mib=int(status["VmRSS"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )
