"""One HTTP exchange with a server that is not trusted to be brief, honest or alive.

The client library sends its requests through a session of ours, which adds what it lacks: a deadline
over the whole exchange (its time-out only counts the silence between two bytes), a bound on the size
of an answer, forms instead of long urls, credentials read at the moment of use, and no redirects, which
would carry headers to wherever the answer points.
"""

from __future__ import annotations

import base64
import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import requests
from requests.auth import AuthBase

from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.core.errors import MetricsError
from slaplanner.core.reasons import Reason
from slaplanner.settings import PrometheusConnection

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""A day of history at 5 s is about 6 MB; ten times as much would be somebody else's data."""

MAX_ANSWER_PARTS: Final = 1_000_000
"""Lists, objects and commas of one answer: 11,000 points of a dozen figures have 400,000. A list takes
twenty times the memory of its text, so a bound on bytes alone bounds nothing."""

CHUNK_BYTES: Final = 64 * 1024
MAX_ERROR_CHARS: Final = 300
"""Of a server's error text, in a condition's message."""

PASSING_STATUSES: Final = frozenset({408, 425, 429})
"""4xx that say "later", not "wrong"."""


class FileCredentials(AuthBase):
    """Puts the credentials that lie in files into a request; none configured: none, not even `.netrc`'s."""

    def __init__(self, connection: PrometheusConnection) -> None:
        self._connection = connection

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._connection.bearer_token_file is not None:
            token = read_secret(self._connection.bearer_token_file)
            request.headers["Authorization"] = f"Bearer {token}"
        elif self._connection.basic_auth is not None:
            user = read_secret(self._connection.basic_auth.username_file)
            password = read_secret(self._connection.basic_auth.password_file)
            pair = base64.b64encode(f"{user}:{password}".encode()).decode()
            request.headers["Authorization"] = f"Basic {pair}"
        return request


class GuardedSession(requests.Session):
    """A session whose every request ends: with a whole answer of bounded size, or with an error."""

    def __init__(self, connection: PrometheusConnection) -> None:
        super().__init__()
        self._connection = connection
        self.clock_offset_s: float | None = None
        """How far the server's clock is ahead of ours, by its last answer; None: it does not say."""
        self.verify = not connection.insecure_skip_verify
        if connection.ca_file is not None:
            self.verify = str(connection.ca_file)
        if connection.client_certificate is not None:
            certificate = connection.client_certificate
            self.cert = (str(certificate.cert_file), str(certificate.key_file))

    def request(  # type: ignore[override] # the client library calls with these names only
        self, method: str, url: str, *, params: dict[str, str], timeout: Deadline, **options: Any
    ) -> requests.Response:
        """Send a query and read all of its answer before *timeout*.

        Raises:
            MetricsError: the answer is an error, too long or too late, or credentials cannot be read.
            requests.RequestException: there is no answer.
            urllib3.exceptions.HTTPError: the answer breaks off.
        """
        fixed = dict(self._connection.query_parameters)
        response = super().request(
            method,
            url,
            # Gateways look for these in the address, also where the query comes in a form.
            params={**fixed, **params} if method == "GET" else fixed,
            data=params if method != "GET" else None,
            timeout=self._timeouts(timeout),
            allow_redirects=False,
            stream=True,
            **options,
        )
        self.clock_offset_s = clock_offset_s(response.headers.get("Date"), now_s=time.time())
        try:
            body = _read_all(response, timeout)
        finally:
            response.close()
        if response.status_code != requests.codes.ok:
            raise refusal(response, body)
        response._content = body  # noqa: SLF001 - what requests itself does after reading
        return response

    def _timeouts(self, deadline: Deadline) -> tuple[float, float]:
        remaining = deadline.remaining_s
        if remaining <= 0:
            raise MetricsError("no time is left to ask Prometheus")
        return min(self._connection.connect_timeout_s, remaining), min(
            self._connection.read_timeout_s, remaining
        )


def clock_offset_s(date: str | None, *, now_s: float) -> float | None:
    """How many seconds an answer's Date header is ahead of *now_s*; None when there is no such date.

    >>> clock_offset_s("Thu, 01 Jan 1970 00:01:40 GMT", now_s=60.0)
    40.0
    >>> clock_offset_s("some day", now_s=60.0)
    """
    try:
        return parsedate_to_datetime(date or "").timestamp() - now_s
    except (ValueError, OverflowError):
        return None


def read_secret(path: Path) -> str:
    """The text of a credentials file, without the white space around it.

    Raises:
        MetricsError: it cannot be read, is empty, or holds what a header cannot.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MetricsError(f"credentials file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MetricsError(f"credentials file {path} is not text") from error
    if not secret or not secret.isprintable():
        raise MetricsError(f"credentials file {path} holds no single line of text")
    return secret


def refusal(response: requests.Response, body: bytes) -> MetricsError:
    """The error that an answer other than 200 stands for."""
    status = response.status_code
    if 300 <= status < 400:
        target = _printable(response.headers.get("Location", "nowhere"))
        return MetricsError(
            f"Prometheus answered {status}, a redirect to {target}; "
            "wanted the final address in the connection's url"
        )
    wrong = 400 <= status < 500 and status not in PASSING_STATUSES
    return MetricsError(
        f"Prometheus answered {status}: {_error_text(body)}",
        reason=Reason.PROMETHEUS_REJECTED if wrong else Reason.PROMETHEUS_UNAVAILABLE,
    )


def _error_text(body: bytes) -> str:
    """Prometheus' own words if the body is its JSON, else the beginning of whatever it is."""
    try:
        document = json.loads(body)
        text = f"{document['errorType']}: {document['error']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        text = body[: 4 * MAX_ERROR_CHARS].decode(errors="replace")
    return _printable(text) or "no text"


def _printable(text: str) -> str:
    """The beginning of a foreign text, as one line that no terminal acts on."""
    shown = "".join(char if char.isprintable() else " " for char in text[: 4 * MAX_ERROR_CHARS])
    return " ".join(shown.split())[:MAX_ERROR_CHARS]


def _read_all(response: requests.Response, deadline: Deadline) -> bytes:
    """The body, read as it comes: a server that drips bytes would else never time out."""
    chunks: list[bytes] = []
    size = parts = 0
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise MetricsError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        parts += chunk.count(b"[") + chunk.count(b"{") + chunk.count(b",")
        if parts > MAX_ANSWER_PARTS:
            raise MetricsError(f"the answer has more than {MAX_ANSWER_PARTS} parts")
        if deadline.remaining_s <= 0:
            raise MetricsError(f"the answer was not complete in time: {size} bytes had come")
    return b"".join(chunks)
