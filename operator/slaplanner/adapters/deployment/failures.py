"""What a refusal of the API server means, as a reason and a sentence that a user can act on.

A 403 can be a missing permission, which is named so that it can be granted, or the verdict of an
admission plugin, whose own words are passed on. A 404 can be an absent object or a kind that is not
served, and those are different conditions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slaplanner.adapters.deployment.untrusted import mapping, text
from slaplanner.core.reasons import Reason

_RBAC = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" '
    r'in API group "(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_FAILED_TEST = "the server rejected our request due to an error in our request"
"""All that the API server says when a `test` or a path of a JSON Patch does not hold."""
_MESSAGE_LIMIT = 1000
"""Conditions are read by people; an admission plugin may answer with pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One refused or unanswered request."""

    reason: Reason
    message: str
    status: int = 0
    """HTTP status; 0: no answer."""
    not_served: bool = False
    """The server does not know the kind or the version."""
    not_found: bool = False
    """The server knows the kind and has no such object."""
    retry_after_s: float = 0.0
    """Seconds of rest that the server asked for; 0: none."""


class ApiRefusal(Exception):  # noqa: N818 - a refusal is an answer too
    """Carries a `Failure` from the client to those who know what was attempted."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: ApiException | HTTPError | OSError) -> Failure:
    """Explain what *error* means.

    Raises nothing: a body that does not parse leaves its text as the message.
    """
    if not isinstance(error, ApiException) or not error.status:
        return Failure(reason=Reason.API_UNAVAILABLE, message=f"the API server did not answer: {error}")
    status = int(error.status)
    body = _status_of(error)
    message = (text(body.get("message")) or _body_text(error) or text(error.reason))[:_MESSAGE_LIMIT]
    if status == 404:
        found_kind = bool(mapping(body.get("details")).get("name"))
        return Failure(
            reason=Reason.TARGET_NOT_FOUND if found_kind else Reason.TARGET_KIND_NOT_SERVED,
            message=message,
            status=status,
            not_served=not found_kind,
            not_found=found_kind,
        )
    if status == 403:
        message, reason = _forbidden(message)
    elif status == 409 or (status == 422 and message == _FAILED_TEST):
        reason = Reason.CONFLICT
    elif status in (400, 422):
        reason = Reason.ADMISSION_DENIED
    elif status == 401:
        message, reason = "the API server does not accept our credentials (401)", Reason.FORBIDDEN
    else:
        message, reason = f"the API server answered {status}: {message}", Reason.API_UNAVAILABLE
    return Failure(reason=reason, message=message, status=status, retry_after_s=_retry_after_s(error))


def _retry_after_s(error: ApiException) -> float:
    """The header Retry-After in seconds; its other form, a date, is not sent by API servers."""
    value = (error.headers or {}).get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0


def _forbidden(message: str) -> tuple[str, Reason]:
    match = _RBAC.search(message)
    if match is None:
        return message, Reason.ADMISSION_DENIED
    where = f"in namespace {match['namespace']}" if match["namespace"] else "in the whole cluster"
    missing = (
        f"missing permission: verb {match['verb']!r} on {match['resource']!r} of API group "
        f"{match['group']!r} {where}, for {match['user']}"
    )
    return missing, Reason.FORBIDDEN


def _status_of(error: ApiException) -> dict[str, object]:
    try:
        return dict(mapping(json.loads(_body_text(error))))
    except ValueError:
        return {}


def _body_text(error: ApiException) -> str:
    body = error.body
    if isinstance(body, bytes):
        return body.decode("utf-8", errors="replace").strip()
    return body.strip() if isinstance(body, str) else ""
