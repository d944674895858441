"""Cheapest settings that keep the promise, found one coordinate at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from slaplanner.offline.simulation.score import Score

Choice = tuple[float, ...]
"""One value per coordinate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The cheapest settings that keep the promise, or the safest ones when none do."""

    choice: Choice
    score: Score
    feasible: bool
    runs: int
    """Simulations that the search took."""


def cheapest(
    axes: Sequence[Sequence[float]], evaluate: Callable[[Choice], Score], *, attainment_percent: float
) -> Found:
    """Search the product of *axes*, each ordered from the safest value to the cheapest.

    Along one axis attainment falls and so does the cost, so the cheapest value that keeps the promise
    is bisected, the others held. After each axis had its turn, a step back on one is tried where it
    lets the others go further, until nothing gets cheaper.
    """
    return _Search(axes, evaluate, attainment_percent).run()


@dataclass(slots=True)
class _Search:
    axes: Sequence[Sequence[float]]
    evaluate: Callable[[Choice], Score]
    attainment_percent: float
    scores: dict[tuple[int, ...], Score] = field(default_factory=dict)

    def run(self) -> Found:
        at = self._descend((0,) * len(self.axes))
        while self._feasible(at) and (better := self._traded(at)) is not None:
            at = better
        return Found(
            choice=self._choice(at),
            score=self._score(at),
            feasible=self._feasible(at),
            runs=len(self.scores),
        )

    def _descend(self, at: tuple[int, ...]) -> tuple[int, ...]:
        for axis in range(len(self.axes)):
            at = self._bisect(at, axis)
        return at

    def _bisect(self, at: tuple[int, ...], axis: int) -> tuple[int, ...]:
        """As far along *axis* as the promise is kept, starting where it stands."""
        low, high = at[axis], len(self.axes[axis])
        while high - low > 1:
            middle = (low + high) // 2
            if self._feasible(_moved(at, axis, middle)):
                low = middle
            else:
                high = middle
        return _moved(at, axis, low)

    def _traded(self, at: tuple[int, ...]) -> tuple[int, ...] | None:
        for axis in range(len(self.axes)):
            if at[axis] == 0:
                continue
            other = _moved(at, axis, at[axis] - 1)
            for next_axis in range(len(self.axes)):
                if next_axis != axis:
                    other = self._bisect(other, next_axis)
            if self._feasible(other) and self._cost(other) < self._cost(at):
                return other
        return None

    def _choice(self, at: tuple[int, ...]) -> Choice:
        return tuple(axis[index] for axis, index in zip(self.axes, at, strict=True))

    def _score(self, at: tuple[int, ...]) -> Score:
        if at not in self.scores:
            self.scores[at] = self.evaluate(self._choice(at))
        return self.scores[at]

    def _feasible(self, at: tuple[int, ...]) -> bool:
        return self._score(at).attainment.both >= self.attainment_percent

    def _cost(self, at: tuple[int, ...]) -> float:
        return self._score(at).total_gpu_hours


def _moved(at: tuple[int, ...], axis: int, index: int) -> tuple[int, ...]:
    return (*at[:axis], index, *at[axis + 1 :])
