"""Which model a deployment serves, when neither its manifest nor its policy says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.selectors import FRONTEND_PREFIX, MODEL, LabelMatcher, Scope
from slaplanner.core.model import MatchOperator

ANY_MODEL: Final = LabelMatcher(label=MODEL, operator=MatchOperator.NOT_EQUAL, value="")


@dataclass(frozen=True, slots=True)
class ModelDiscovery:
    """The models that frontends have under one `dynamo_namespace`, lower-cased and sorted.

    Lower-cased, because frontends of several versions spell one model in several ways; a `Scope` matches
    all of them.
    """

    found: tuple[str, ...]

    @property
    def model(self) -> str | None:
        """The only one; None when there is none or several."""
        return self.found[0] if len(self.found) == 1 else None


def discover_model(
    prometheus: Prometheus,
    dynamo_namespace: str,
    *,
    at_s: float,
    deadline: Deadline,
    matchers: Sequence[LabelMatcher] = (),
    worker_namespaces: Sequence[str] = (),
    prefix: str = FRONTEND_PREFIX,
) -> ModelDiscovery:
    """The models seen at *at_s*, by traffic or by registration alone.

    Raises:
        MetricsError: they could not be had.
    """
    scope = Scope(
        dynamo_namespace=dynamo_namespace,
        worker_namespaces=tuple(worker_namespaces),
        prefix=prefix,
        matchers=tuple(matchers),
    )
    names = (series.STARTED, series.COMPLETED, *series.REGISTRATIONS)
    seen = " or ".join(f"{prefix}_{name}{scope.measures(ANY_MODEL)}" for name in names)
    answers = batch.ask(prometheus, {"models": f"count by ({MODEL})({seen})"}, at_s=at_s, deadline=deadline)
    models = {sample.labels.get(MODEL, "").lower() for sample in answers["models"]}
    return ModelDiscovery(tuple(sorted(models - {""})))
