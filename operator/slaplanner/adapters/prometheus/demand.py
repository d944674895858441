"""How many requests came: a count, a true zero, at least so many, or unknown.

The one figure where a wrong zero costs most: it scales a busy fleet to its floor. An empty answer is
not a zero. A new or restarted idle frontend has no series, a wrong label matches none, and the first
sample of a young one is no growth yet. So the count comes with evidence about the series behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import SequenceMatcher

from slaplanner.adapters.prometheus import batch
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.selectors import MODEL, NAMESPACE, Scope
from slaplanner.adapters.prometheus.series import Expressions, duration
from slaplanner.core.readings import Known, Reading, Unknown
from slaplanner.core.reasons import Reason

FRESH_SHARE = 0.5
"""A window holds at least 4 scrapes, so half of one without a sample is two scrapes missed."""

MAX_SHOWN = 5
"""Label sets in a condition's message."""

Answers = dict[str, list[Sample]]


@dataclass(frozen=True, slots=True)
class Demand:
    """The requests of one scope within one window: what to ask, and what the answers mean."""

    scope: Scope
    window_s: float

    def figures(self) -> dict[str, str]:
        """The count and the evidence, to be asked together."""
        expressions = Expressions(self.scope)
        window, recent = duration(self.window_s), duration(self.window_s * FRESH_SHARE)
        registered = expressions.registered(recent)
        return {
            "requests": expressions.requests(window),
            "samples": f"max({expressions.sampled(window)})",
            "recent": f"count({expressions.sampled(recent)})",
            "born": expressions.born(window, before=recent),
            "down": expressions.down(window),
            **({} if registered is None else {"registered": f"count({registered})"}),
        }

    def read(self, answers: Answers, prometheus: Prometheus, *, at_s: float, deadline: Deadline) -> Reading:
        """What *answers* to `figures` mean; asks once more when nothing matched.

        Raises:
            MetricsError: that last question could not be answered.
        """
        alive = _figure(answers, "recent") > 0 or _figure(answers, "registered") > 0
        lost = _figure(answers, "down") > 0
        if not alive and _figure(answers, "samples") > 0:
            return Unknown(
                Reason.STALE,
                f"the last sample of {self.scope} is older than {self.window_s * FRESH_SHARE:g} s: "
                "the frontend is away, is not scraped, or its clock differs",
            )
        if answers["requests"]:
            return self._counted(answers["requests"], at_least=lost or _figure(answers, "born") > 0)
        if _figure(answers, "samples") > 0:
            return Known(0.0, lower_bound=True)
        if _figure(answers, "registered") > 0:
            return Known(0.0, lower_bound=lost)
        return self._unseen(prometheus, lost=lost, at_s=at_s, deadline=deadline)

    def _counted(self, samples: list[Sample], *, at_least: bool) -> Reading:
        count = samples[0].value
        if len(samples) == 1 and math.isfinite(count) and count >= 0:
            return Known(count, lower_bound=at_least)
        found = ", ".join(f"{sample.value:g}" for sample in samples[:3])
        return Unknown(Reason.NOT_A_NUMBER, f"found {found} requests in {self.scope}, wanted one count")

    def _unseen(self, prometheus: Prometheus, *, lost: bool, at_s: float, deadline: Deadline) -> Reading:
        """No counter and no registration under this scope: idle since ever, or looked for wrongly?"""
        target = self.scope.target()
        figures = {"elsewhere": Expressions(self.scope).elsewhere(duration(self.window_s))}
        if target is not None:
            figures["up"] = f"count(up{target} == 1)"
        answers = batch.ask(prometheus, figures, at_s=at_s, deadline=deadline)
        if answers["elsewhere"]:
            return Unknown(
                Reason.SERIES_UNDER_OTHER_LABELS,
                f"found no series of {self.scope}; there are: {self._nearest(answers['elsewhere'])}",
            )
        if target is not None and _figure(answers, "up") > 0:
            return Known(0.0, lower_bound=lost)
        missing = f"and no target up{target} is up" if target else "and nothing tells which target to expect"
        return Unknown(Reason.NO_SERIES, f"found no series of {self.scope}, {missing}")

    def _nearest(self, samples: list[Sample]) -> str:
        """Labels that others' series have, those that differ least from ours first."""
        ours = f"{(self.scope.model or '').lower()} {self.scope.dynamo_namespace}"
        names = (MODEL, NAMESPACE)
        found = [tuple(sample.labels.get(name, "") for name in names) for sample in samples]
        found.sort(key=lambda values: (-SequenceMatcher(None, ours, " ".join(values)).ratio(), values))
        shown = [
            "{"
            + ", ".join(f"{name}={value!r}"[:120] for name, value in zip(names, values, strict=True))
            + "}"
            for values in found[:MAX_SHOWN]
        ]
        more = len(found) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _figure(answers: Answers, name: str) -> float:
    """Evidence as a number; none: 0."""
    return max((sample.value for sample in answers.get(name, [])), default=0.0)
