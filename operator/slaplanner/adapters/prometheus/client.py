"""Queries to one Prometheus through `prometheus-api-client`, with its failures made one.

The library has no time-outs of its own and tries a server that is away three more times, for seconds;
both are set here. It raises its own exceptions and those of `requests`, and reads into a body without
looking; all of that leaves here as `MetricsError` with a reason.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, Protocol, TypeVar

import requests
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from slaplanner.adapters.prometheus.answers import Sample, Track, read_samples, read_tracks
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.session import FileCredentials, GuardedSession
from slaplanner.core.errors import MetricsError
from slaplanner.core.reasons import Reason
from slaplanner.settings import HttpMethod, PrometheusConnection

WHOLE_ANSWERS: Final = {"partial_response": "false", "deny_partial_response": "1"}
"""Thanos and VictoriaMetrics would else leave out what they cannot reach and call it success: too
little load. Prometheus ignores both."""

MAX_QUERY_CHARS: Final = {HttpMethod.POST: 60_000, HttpMethod.GET: 3_000}
"""A url of more than 8 KiB, escaped, is refused by common proxies; a form may be longer."""

MAX_CAUSE_CHARS: Final = 200
"""Of an error's text, in a condition's message."""

AnswerT = TypeVar("AnswerT")
Params = dict[str, str]


class QueryHook(Protocol):
    """Told of every query: which kind, how long it took, and the reason if it failed."""

    def __call__(self, *, connection: str, kind: str, duration_s: float, reason: Reason | None) -> None: ...


class Prometheus(Protocol):
    """What this package asks of a server."""

    @property
    def max_query_chars(self) -> int:
        """Longest query that it should be sent."""

    def instant(self, query: str, *, at_s: float, deadline: Deadline) -> list[Sample]:
        """*query* at the Unix time *at_s*.

        Raises:
            MetricsError: there is no answer that can be read.
        """

    def range(self, query: str, *, start_s: int, end_s: int, step_s: int, deadline: Deadline) -> list[Track]:
        """*query* at *start_s*, at each *step_s* after it, up to *end_s*.

        Raises:
            MetricsError: there is no answer that can be read.
        """


class Client:
    """One of the administrator's connections; may be used from several threads."""

    def __init__(self, name: str, connection: PrometheusConnection, *, hook: QueryHook | None = None) -> None:
        self.name = name
        self._connection = connection
        self._hook = hook
        self._session: GuardedSession | None = None
        self._lock = Lock()
        self._open: tuple[tuple[object, ...], PrometheusConnect] | None = None

    @property
    def max_query_chars(self) -> int:
        """Longest query that this connection should be sent."""
        return MAX_QUERY_CHARS[self._connection.http_method]

    @property
    def clock_offset_s(self) -> float | None:
        """How far the server's clock was ahead of ours at its last answer; None while that is unknown."""
        return None if self._session is None else self._session.clock_offset_s

    def instant(self, query: str, *, at_s: float, deadline: Deadline) -> list[Sample]:
        """See `Prometheus.instant`."""
        params = {**_params(deadline), "time": f"{at_s:.3f}"}
        return self._ask(
            "instant",
            lambda connect: read_samples(
                connect.custom_query(query, params=params, timeout=deadline)  # type: ignore[arg-type] # see GuardedSession
            ),
        )

    def range(self, query: str, *, start_s: int, end_s: int, step_s: int, deadline: Deadline) -> list[Track]:
        """See `Prometheus.range`."""
        params = _params(deadline)
        return self._ask(
            "range",
            lambda connect: read_tracks(
                connect.custom_query_range(
                    query,
                    start_time=dt.datetime.fromtimestamp(start_s, dt.UTC),
                    end_time=dt.datetime.fromtimestamp(end_s, dt.UTC),
                    step=str(step_s),
                    params=params,
                    timeout=deadline,  # type: ignore[arg-type] # see GuardedSession
                )
            ),
        )

    def close(self) -> None:
        """Let go of open sockets; the client can be used again."""
        with self._lock:
            if self._open is not None:
                self._open[1].close()
                self._open = None

    def _ask(self, kind: str, ask: Callable[[PrometheusConnect], AnswerT]) -> AnswerT:
        started_s = time.monotonic()
        reason: Reason | None = None
        try:
            return ask(self._connected())
        except MetricsError as error:
            reason = error.reason
            raise MetricsError(f"connection {self.name!r}: {error}", reason=reason) from error
        except (requests.RequestException, HTTPError, OSError, PrometheusApiClientException) as error:
            reason = Reason.PROMETHEUS_UNAVAILABLE
            message = f"connection {self.name!r}: {self._explain(error)}"
            raise MetricsError(message, reason=reason) from error
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            # The library takes a body apart without looking at what it is.
            reason = Reason.PROMETHEUS_UNAVAILABLE
            message = f"connection {self.name!r}: the answer is not one of Prometheus' query API"
            raise MetricsError(message, reason=reason) from error
        finally:
            if self._hook is not None:
                duration_s = time.monotonic() - started_s
                self._hook(connection=self.name, kind=kind, duration_s=duration_s, reason=reason)

    def _connected(self) -> PrometheusConnect:
        """The library's client, made anew when a certificate's file was rotated."""
        with self._lock:
            files = self._certificate_files()
            if self._open is None or self._open[0] != files:
                if self._open is not None:
                    self._open[1].close()
                self._open = (files, self._connect())
            return self._open[1]

    def _connect(self) -> PrometheusConnect:
        self._session = GuardedSession(self._connection)
        return PrometheusConnect(
            url=self._connection.url.rstrip("/"),
            headers=dict(self._connection.headers),
            retry=Retry(total=0),
            auth=FileCredentials(self._connection),  # type: ignore[arg-type] # handed to requests as it is
            session=self._session,
            method=self._connection.http_method.value,
        )

    def _certificate_files(self) -> tuple[object, ...]:
        certificate = self._connection.client_certificate
        files = [self._connection.ca_file]
        if certificate is not None:
            files += [certificate.cert_file, certificate.key_file]
        return tuple(_version(path) for path in files if path is not None)

    def _explain(self, error: Exception) -> str:
        """What happened, without the query, which the library's errors carry in the url."""
        connection = self._connection
        if isinstance(error, requests.ConnectTimeout):
            return f"{connection.url} was not reached within {connection.connect_timeout_s:g} s"
        if isinstance(error, requests.Timeout):
            return f"{connection.url} did not answer within {connection.read_timeout_s:g} s"
        if isinstance(error, requests.JSONDecodeError):
            return f"{connection.url} answered something that is not JSON"
        return f"no answer from {connection.url}: {_root(error)}"


def _params(deadline: Deadline) -> Params:
    """Sent with every query; the server need not work on it after the deadline."""
    return {**WHOLE_ANSWERS, "timeout": f"{max(deadline.remaining_s, 0.001):.3f}"}


def _version(path: Path) -> object:
    """Changes when the file does: a rotated Secret is another inode behind the same name."""
    try:
        found = path.stat()
    except OSError as error:
        raise MetricsError(f"certificate file {path} cannot be read: {error.strerror}") from error
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _root(error: BaseException) -> str:
    """The innermost cause in words: the outer ones quote the whole request."""
    cause = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return " ".join(str(cause).split())[-MAX_CAUSE_CHARS:] or type(cause).__name__
