"""The cheapest settings that keep the promise, one coordinate per role.

Attainment does not fall steadily with the cost (a round number of replicas may just fit a burst), so
nothing is bisected. Choices are taken from the cheapest on, and the first that keeps the promise is
the answer. What spares most runs is that each coordinate is asked alone first: a value that fails
while the others are at their safest fails with everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from slaplanner_lab.simulation.score import Score

Choice = tuple[float, ...]
"""One value per coordinate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The cheapest settings that keep the promise, or the safest ones when none do."""

    choice: Choice
    score: Score
    feasible: bool
    runs: int
    """Simulations that the search took."""


def cheapest(
    axes: Sequence[Sequence[float]],
    evaluate: Callable[[Choice], Score],
    *,
    attainment_percent: float,
    least_gpu_hours: Callable[[Choice], float],
) -> SearchResult:
    """Search the product of *axes*.

    Args:
        axes: values per coordinate, the safest first.
        evaluate: a simulation.
        attainment_percent: the promise.
        least_gpu_hours: what a choice takes at least, known without simulating it; the closer, the
            fewer runs.
    """
    return _Search(axes, evaluate, attainment_percent, least_gpu_hours).run()


@dataclass(slots=True)
class _Search:
    axes: Sequence[Sequence[float]]
    evaluate: Callable[[Choice], Score]
    attainment_percent: float
    least_gpu_hours: Callable[[Choice], float]
    scores: dict[Choice, Score] = field(default_factory=dict)

    def run(self) -> SearchResult:
        best: Choice | None = None
        for least_gpu_hours, choice in sorted(
            (self.least_gpu_hours(choice), choice) for choice in product(*self.axes)
        ):
            if best is not None and least_gpu_hours >= self._cost(best):
                break
            if self._keeps(choice) and (best is None or self._cost(choice) < self._cost(best)):
                best = choice
        chosen = best if best is not None else self._safest
        return SearchResult(
            choice=chosen, score=self._score(chosen), feasible=self._feasible(chosen), runs=len(self.scores)
        )

    @property
    def _safest(self) -> Choice:
        return tuple(axis[0] for axis in self.axes)

    def _keeps(self, choice: Choice) -> bool:
        """Whether *choice* keeps the promise; each value is asked alone before all are asked together."""
        safest = self._safest
        alone = ((*safest[:at], value, *safest[at + 1 :]) for at, value in enumerate(choice))
        return all(self._feasible(some) for some in alone) and self._feasible(choice)

    def _score(self, choice: Choice) -> Score:
        if choice not in self.scores:
            self.scores[choice] = self.evaluate(choice)
        return self.scores[choice]

    def _feasible(self, choice: Choice) -> bool:
        return self._score(choice).attainment.both >= self.attainment_percent

    def _cost(self, choice: Choice) -> float:
        return self._score(choice).total_gpu_hours
