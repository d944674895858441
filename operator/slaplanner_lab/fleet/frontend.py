"""The metrics of Dynamo's HTTP frontend and of its router, with the habits of the real ones.

No request series before the first request; arrivals counted at once; TTFT and input length with
the first token, output length and duration with the last; a gap counted per output token; gauges of
the model's card from its registration on, kept for ever, and the router's series at 0 from then on,
under the name of the worker set. The router of newer versions counts the prefill and the decode leg of a
request apart, and no gaps between tokens. What running frontends expose is recorded in `tests/dynamo/facts`,
and a test holds this against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slaplanner_lab.fleet.exposition import HistogramMetric, Labels, Scalar, label_set

TTFT_S: Final = (0, .0022, .0047, .01, .022, .047, .1, .22, .47, 1, 2.2, 4.7, 10, 22, 48, 100, 220, 480)  # fmt: skip
ITL_S: Final = (0, .0019, .0035, .0067, .013, .024, .045, .084, .16, .3, .56, 1.1, 2)  # fmt: skip
ISL_TOKENS: Final = (0, 100, 210, 430, 870, 1800, 3600, 7400, 15000, 31000, 63000, 130000)
OSL_TOKENS: Final = (0, 100, 210, 430, 880, 1800, 3700, 7600, 16000, 32000)
TRANSFER_S: Final = (0, .0019, .0037, .0072, .014, .027, .052, .1, .19, .37, .72, 1.4, 2.7, 5.2, 10)  # fmt: skip
DURATION_S: Final = (0, 2, 4, 8, 16, 32, 64, 130, 260, 510)

CARD: Final = {
    "model_total_kv_blocks": ("Total KV blocks available for a worker serving the model", 16384),
    "model_max_num_seqs": ("Maximum number of sequences for a worker serving the model", 1024),
    "model_max_num_batched_tokens": ("Maximum number of batched tokens for a worker", 8192),
    "model_context_length": ("Maximum context length for a worker serving the model", 131072),
    "model_kv_cache_block_size": ("KV cache block size for a worker serving the model", 16),
    "model_migration_limit": ("Request migration limit for a worker serving the model", 3),
}
"""Gauges that exist as soon as a worker has registered the model, without any request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How an older or newer frontend speaks."""

    started_total: bool = True
    """Counts arrivals in `requests_started_total` (newer versions)."""
    model_ready: bool = True
    """Tells in a gauge whether the model can be served now (newer versions)."""
    namespace_label: bool = True
    """Carries `dynamo_namespace` (older versions lack it on some series)."""
    keeps_case: bool = True
    """Shows the model's name as it was registered (1.2 and newer), not in lower case."""
    router: bool = True
    """The router's metrics are exposed, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Families:
    """One prefix's metrics: the frontend's and the router's have most names in common."""

    requests: Scalar
    started: Scalar
    ttft: HistogramMetric
    itl: HistogramMetric
    isl: HistogramMetric
    osl: HistogramMetric

    @classmethod
    def named(cls, prefix: str) -> _Families:
        return cls(
            requests=Scalar(f"{prefix}_requests_total", "Requests processed", "counter"),
            started=Scalar(f"{prefix}_requests_started_total", "Requests started", "counter"),
            ttft=HistogramMetric(f"{prefix}_time_to_first_token_seconds", "Time to first token", TTFT_S),
            itl=HistogramMetric(f"{prefix}_inter_token_latency_seconds", "Inter-token latency", ITL_S),
            isl=HistogramMetric(f"{prefix}_input_sequence_tokens", "Input sequence length", ISL_TOKENS),
            osl=HistogramMetric(f"{prefix}_output_sequence_tokens", "Output sequence length", OSL_TOKENS),
        )

    @property
    def all(self) -> tuple[Scalar | HistogramMetric, ...]:
        return (self.requests, self.started, self.ttft, self.itl, self.isl, self.osl)


class Frontend:
    """One frontend process: what it counts is lost when it restarts (make a new one)."""

    def __init__(
        self,
        *,
        model: str,
        dynamo_namespace: str,
        worker_set: str,
        dialect: Dialect,
        disaggregated: bool = True,
    ) -> None:
        prefix = "dynamo_frontend"
        self._dialect = dialect
        # Routers count requests twice since they count arrivals.
        self._two_legs = disaggregated and dialect.started_total
        namespace = {"dynamo_namespace": dynamo_namespace} if dialect.namespace_label else {}
        self._labels = {"model": model if dialect.keeps_case else model.lower(), **namespace}
        self._model = label_set(self._labels)
        self._router_labels = label_set(
            {
                "dynamo_namespace": f"{dynamo_namespace}_{worker_set}".replace("-", "_"),
                "dynamo_component": "backend",
            }
        )
        self._front = _Families.named(prefix)
        self._router = _Families.named("dynamo_component_router")
        self._transfers = HistogramMetric(
            "dynamo_component_router_kv_transfer_estimated_latency_seconds", "Prefill to decode", TRANSFER_S
        )
        self._duration = HistogramMetric(f"{prefix}_request_duration_seconds", "Request duration", DURATION_S)
        self._cached = HistogramMetric(f"{prefix}_cached_tokens", "Cached tokens per request", ISL_TOKENS)
        self._tokens = Scalar(f"{prefix}_output_tokens_total", "Output tokens generated", "counter")
        self._queued = Scalar(f"{prefix}_queued_requests", "Requests before their first token", "gauge")
        self._inflight = Scalar(f"{prefix}_inflight_requests", "Requests in flight", "gauge")
        self._ready = Scalar(f"{prefix}_model_ready", "Whether the model can be served", "gauge")
        self._card = [
            (Scalar(f"{prefix}_{name}", text, "gauge"), value) for name, (text, value) in CARD.items()
        ]

    @property
    def families(self) -> list[Scalar | HistogramMetric]:
        """Everything that a scrape shows."""
        front: list[Scalar | HistogramMetric] = [
            *self._front.all,
            self._duration,
            self._cached,
            self._tokens,
            self._queued,
            self._inflight,
            self._ready,
            *(gauge for gauge, _ in self._card),
        ]
        return front + list(self._of_the_router if self._dialect.router else ())

    @property
    def _of_the_router(self) -> tuple[Scalar | HistogramMetric, ...]:
        return (*self._router.all, self._transfers)

    def register(self, *, ready: bool) -> None:
        """A worker has announced the model: its card's gauges appear, and stay."""
        for gauge, value in self._card:
            gauge.set(self._model, value)
        for family in self._of_the_router:
            family.appear(self._router_labels)
        if self._dialect.model_ready:
            self._ready.set(self._model, float(ready))

    def arrive(self, count: int = 1) -> None:
        """Requests have come in."""
        if not count:
            return
        if self._dialect.started_total:
            self._front.started.add(self._request_labels(), count)
            self._router.started.add(self._router_labels, count)
        self._queued.add(self._model, count)
        self._inflight.add(self._model, count)

    def first_token(self, *, ttft_s: float, isl_tokens: float, cached_tokens: float = 0.0) -> None:
        self._front.ttft.observe(self._model, ttft_s)
        self._front.isl.observe(self._model, isl_tokens)
        self._cached.observe(self._model, cached_tokens)
        self._router.ttft.observe(self._router_labels, ttft_s)
        self._router.isl.observe(self._router_labels, isl_tokens)
        if self._two_legs:
            self._begin_second_leg(isl_tokens)
        self._tokens.add(self._model)
        self._queued.add(self._model, -1)

    def _begin_second_leg(self, isl_tokens: float) -> None:
        """Prefill has ended with its one token, and the router passes the request on to decode."""
        self._router.requests.add(self._router_labels)
        self._router.osl.observe(self._router_labels, 1)
        self._transfers.observe(self._router_labels, 0.0)
        self._router.started.add(self._router_labels)
        self._router.isl.observe(self._router_labels, isl_tokens)
        self._router.ttft.observe(self._router_labels, 0.0)

    def gaps(self, counts: Sequence[float], total_s: float) -> None:
        """Output tokens after the first, by the bucket of the gap before them."""
        if sum(counts) > 0:
            self._front.itl.observe_many(self._model, counts, total_s)
            self._tokens.add(self._model, sum(counts))

    def last_token(self, *, osl_tokens: float, duration_s: float) -> None:
        self._front.osl.observe(self._model, osl_tokens)
        self._router.osl.observe(self._router_labels, osl_tokens)
        self._duration.observe(self._model, duration_s)
        self._front.requests.add(self._request_labels(status="success", error_type=""))
        self._router.requests.add(self._router_labels)
        self._inflight.add(self._model, -1)

    def refuse(self, count: int, *, error_type: str = "overload") -> None:
        """Requests that came in and were turned away at once."""
        if not count:
            return
        if self._dialect.started_total:
            self._front.started.add(self._request_labels(), count)
        self._front.requests.add(self._request_labels(status="error", error_type=error_type), count)

    def embed(self, count: int) -> None:
        """Embedding requests: other traffic under the same counters, which generates no tokens."""
        if not count:
            return
        if self._dialect.started_total:
            self._front.started.add(self._request_labels(endpoint="embeddings", request_type="unary"), count)
        self._front.requests.add(
            self._request_labels(
                endpoint="embeddings", request_type="unary", status="success", error_type=""
            ),
            count,
        )

    def _request_labels(self, **more: str) -> Labels:
        return label_set({**self._labels, "endpoint": "chat_completions", "request_type": "stream", **more})


def gap_edges_s() -> tuple[float, ...]:
    """The buckets in which an engine must count gaps so that `Frontend.gaps` can take them."""
    return (*ITL_S, math.inf)
