"""Refusals of the API server, told so that a user knows what to do."""

import json
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from slaplanner.adapters.deployment.failures import failure_of
from slaplanner.core.reasons import Reason

CANNOT = (
    'dynamographdeployments.nvidia.com "llama" is forbidden: User "system:serviceaccount:sla:planner" cannot '
    'patch resource "dynamographdeployments" in API group "nvidia.com" in the namespace "serving"'
)


def answered(status: int, message: str = "", body: Any = None, **details: str) -> ApiException:
    error = ApiException(status=status, reason="reason")
    error.body = body if body is not None else json.dumps({"message": message, "details": details})
    return error


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        pytest.param(
            answered(403, CANNOT), Reason.FORBIDDEN,
            "missing permission: verb 'patch' on 'dynamographdeployments' of API group 'nvidia.com' "
            "in namespace serving, for system:serviceaccount:sla:planner", id="rbac",
        ),
        pytest.param(
            answered(403, 'x is forbidden: User "u" cannot list resource "nodes" in API group "" at the '
                     "cluster scope"), Reason.FORBIDDEN,
            "missing permission: verb 'list' on 'nodes' of API group '' in the whole cluster, for u",
            id="rbac-for-the-cluster",
        ),
        pytest.param(
            answered(403, 'admission webhook "v.nvidia.com" denied the request: use the adapter'),
            Reason.ADMISSION_DENIED, 'admission webhook "v.nvidia.com" denied the request: use the adapter',
            id="webhook",
        ),
        pytest.param(
            answered(422, "ValidatingAdmissionPolicy 'x' denied request: at most 4"), Reason.ADMISSION_DENIED,
            "ValidatingAdmissionPolicy 'x' denied request: at most 4", id="admission-policy",
        ),
        pytest.param(answered(409, "the object has been modified"), Reason.CONFLICT,
                     "the object has been modified", id="stale"),
        pytest.param(
            answered(422, "the server rejected our request due to an error in our request"), Reason.CONFLICT,
            "the server rejected our request due to an error in our request", id="failed-test-of-a-patch",
        ),
        pytest.param(answered(401, "Unauthorized"), Reason.FORBIDDEN,
                     "the API server does not accept our credentials (401)", id="credentials"),
        pytest.param(answered(503, "etcd is away"), Reason.API_UNAVAILABLE,
                     "the API server answered 503: etcd is away", id="unavailable"),
        pytest.param(answered(429, body=b"slow down"), Reason.API_UNAVAILABLE,
                     "the API server answered 429: slow down", id="throttled-with-a-plain-body"),
        pytest.param(answered(500, body=""), Reason.API_UNAVAILABLE,
                     "the API server answered 500: reason", id="no-body"),
        pytest.param(ConnectionRefusedError("refused"), Reason.API_UNAVAILABLE,
                     "the API server did not answer: refused", id="refused"),
    ],
)  # fmt: skip
def test_reason_and_message(error: ApiException | OSError, reason: Reason, message: str) -> None:
    failure = failure_of(error)
    assert (failure.reason, failure.message) == (reason, message)


@pytest.mark.parametrize(
    "error",
    [
        MaxRetryError(None, "/", "no route"),  # type: ignore[arg-type]
        ReadTimeoutError(None, "/", "timed out"),  # type: ignore[arg-type]
        ApiException(status=0, reason="certificate verify failed"),
    ],
    ids=["no-route", "timeout", "tls"],
)
def test_no_answer_is_unavailable(error: Exception) -> None:
    failure = failure_of(error)  # type: ignore[arg-type]
    assert (failure.reason, failure.status) == (Reason.API_UNAVAILABLE, 0)


def test_an_absent_object_and_an_unknown_kind_are_told_apart() -> None:
    absent = failure_of(answered(404, '"llama" not found', name="llama", kind="dynamographdeployments"))
    unknown = failure_of(answered(404, body="404 page not found\n"))
    unknown_version = failure_of(answered(404, "the server could not find the requested resource"))
    assert (absent.reason, absent.not_found, absent.not_served) == (Reason.TARGET_NOT_FOUND, True, False)
    for failure in (unknown, unknown_version):
        assert (failure.not_found, failure.not_served) == (False, True)
        assert failure.reason is Reason.TARGET_KIND_NOT_SERVED


def test_pages_of_admission_are_cut() -> None:
    assert len(failure_of(answered(403, "no " * 5000)).message) == 1000
