"""One deployment's past on a real Prometheus, and the questions about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from slaplanner.adapters.prometheus import Client, Deadline, Scope, observe
from slaplanner.core.readings import Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from tests.timelines import Timeline

WINDOW_S = 180
MODEL = "Meta/Llama-70B"
CHAT = {"endpoint": "chat_completions", "request_type": "stream"}
SUCCESS = {"status": "success", "error_type": ""}

STARTED = "dynamo_frontend_requests_started_total"
COMPLETED = "dynamo_frontend_requests_total"
CARD = "dynamo_frontend_model_context_length"


def deadline() -> Deadline:
    return Deadline.after(30)


@dataclass(kw_only=True)
class Story:
    """One deployment's past, and the questions about it."""

    client: Client
    scope: Scope
    timeline: Timeline
    tell: Callable[[Story], None]

    @property
    def labels(self) -> dict[str, str]:
        assert self.scope.model is not None
        assert self.scope.dynamo_namespace is not None
        return {"model": self.scope.model.lower(), "dynamo_namespace": self.scope.dynamo_namespace}

    def register(self, recent: Callable[[int], bool] = lambda _back: True) -> None:
        """A frontend knows the model, under the name that its card has."""
        labels = {**self.labels, "model": self.scope.model or ""}
        self.timeline.add(CARD, labels, lambda back: 131072 if recent(back) else None)

    def start(self, value: Callable[[int], float | None], **labels: str) -> None:
        self.timeline.add(STARTED, {**self.labels, **CHAT, **labels}, value)

    def complete(self, value: Callable[[int], float | None], **labels: str) -> None:
        self.timeline.add(COMPLETED, {**self.labels, **CHAT, **SUCCESS, **labels}, value)

    def served(self, count: Callable[[int], float], *, ttft_s: float = 0.2, pod: str = "a") -> None:
        """What requests leave behind once they have produced tokens."""
        labels = {**self.labels, "pod": pod}
        play = self.timeline.histogram
        prefix = "dynamo_frontend_"
        play(prefix + "time_to_first_token_seconds", labels, count, each=ttft_s, edges=(0.1, 0.22, 0.47))
        play(prefix + "inter_token_latency_seconds", labels, lambda back: 100 * count(back), each=0.02)
        play(prefix + "input_sequence_tokens", labels, count, each=3000, edges=(1800, 3600))
        play(prefix + "output_sequence_tokens", labels, count, each=150)
        play(prefix + "request_duration_seconds", labels, count, each=2.5)

    def observed(self, *, window_s: float = WINDOW_S) -> Observation:
        self.tell(self)
        return observe(
            self.client,
            self.scope,
            at_s=self.timeline.end_s,
            window_s=window_s,
            interval_s=window_s,
            deadline=deadline(),
        )


def rising(per_scrape: float) -> Callable[[int], float]:
    """A counter that has grown evenly for a long time."""
    return lambda back: 100_000 - per_scrape * back


def about(value: float) -> object:
    return pytest.approx(value, rel=1e-6)


def known(reading: Reading, *, lower_bound: bool = False) -> float:
    assert isinstance(reading, Known), reading
    assert reading.lower_bound is lower_bound
    return reading.value


def reason(reading: Reading) -> Reason:
    assert isinstance(reading, Unknown), reading
    return reading.reason
