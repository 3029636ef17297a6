"""Which exception a rejection becomes, and what a failed attempt says about the request."""

from __future__ import annotations

import pytest

import qf_tasks
from qf_tasks import BadResponseError, QfTasksError, RateLimitError, ServerError, ServiceUnreachableError
from qf_tasks._protocol.actions import CREATE, DELETE, GET, LIST, MODELS, STOP
from qf_tasks._protocol.error_codes import (
    api_error,
    is_known,
    is_retryable,
    may_have_been_applied,
    says_task_not_found,
)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("InvalidAccessKeyId", 403, "AuthenticationError"),
        ("SignatureDoesNotMatch", 400, "AuthenticationError"),
        ("RequestExpired", 400, "AuthenticationError"),
        ("InvalidHTTPAuthHeader", 400, "AuthenticationError"),
        ("Unheard", 401, "AuthenticationError"),
        ("AccessDenied", 403, "PermissionDeniedError"),
        ("OptInRequired", 403, "PermissionDeniedError"),
        ("Unheard", 403, "PermissionDeniedError"),
        ("InappropriateJSON", 400, "InvalidRequestError"),
        ("MalformedJSON", 400, "InvalidRequestError"),
        ("InvalidMarker", 400, "InvalidRequestError"),
        ("InvalidBosUri", 400, "InvalidRequestError"),
        ("InvalidVersion", 404, "InvalidRequestError"),
        ("InvalidURI", 404, "InvalidRequestError"),
        ("Unheard", 400, "InvalidRequestError"),
        ("TaskRunningNumberExceedLimit", 400, "QuotaExceededError"),
        ("Unheard", 429, "RateLimitError"),
        ("18", 200, "RateLimitError"),
        ("InternalError", 500, "ServerError"),
        ("Unheard", 503, "ServerError"),
        ("Unheard", 404, "TaskNotFoundError"),
        ("TaskNotExist", 400, "TaskNotFoundError"),
        ("NoSuchTask", 200, "TaskNotFoundError"),
        ("Unheard", 412, "ApiError"),
        ("Unheard", 499, "ApiError"),
        ("Unheard", 200, "ApiError"),
    ],
)
def test_code_and_status_decide_the_class(code: str, status: int, expected: str) -> None:
    error = api_error("It went wrong", code=code, status=status, task_id="infer-1")
    assert type(error).__name__ == expected
    assert isinstance(error, qf_tasks.ApiError)


def test_not_found_without_task_id_is_a_plain_api_error() -> None:
    assert type(api_error("gone", code="TaskNotFound", status=404)) is qf_tasks.ApiError


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("NotFound, cause: Could not find credential.", "InvalidAccessKeyId"),
        (
            "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match",
            "SignatureDoesNotMatch",
        ),
    ],
)
def test_message_of_the_gateway_decides_the_code(message: str, code: str) -> None:
    error = api_error(message, code="AccessDenied", status=403)
    assert (type(error), error.code) == (qf_tasks.AuthenticationError, code)
    assert "认证" in (error.hint or "")


BUSY_CODES = ["4", "17", "18", "19", "336100", "336501", "336502", "AccessDenied", "TaskNotFound", None]


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("code", BUSY_CODES)
def test_5xx_may_have_been_applied_whatever_its_code(code: str | None, status: int) -> None:
    error = api_error("busy", code=code, status=status, task_id="infer-1")

    assert type(error) is ServerError
    assert error.code == code
    assert may_have_been_applied(error)
    assert not is_retryable(CREATE, error)
    assert is_retryable(DELETE, error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServiceUnreachableError("x", code="NameNotResolved"), False),
        (ServiceUnreachableError("x", code="ConnectionFailed"), False),
        (ServiceUnreachableError("x", code="ProxyFailed"), False),
        (ServiceUnreachableError("x", code="CertificateNotVerified"), False),
        (qf_tasks.RequestTimeoutError("x", code="ConnectTimeout"), False),
        (qf_tasks.RequestTimeoutError("x", code="ReadTimeout"), True),
        (ServiceUnreachableError("x", code="TlsBroken"), True),
        (ServiceUnreachableError("x", code="ConnectionBroken"), True),
        (BadResponseError("x", code="InformationalResponse"), True),
        (BadResponseError("x", status=404), True),
        (RateLimitError("x", status=429), False),
        (qf_tasks.ApiError("x", status=400), False),
        (qf_tasks.InvalidArgumentError("x"), False),
    ],
    ids=lambda value: str(value) if isinstance(value, QfTasksError) else "",
)
def test_failure_says_whether_it_may_have_been_applied(error: QfTasksError, *, expected: bool) -> None:
    assert may_have_been_applied(error) is expected


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (ServiceUnreachableError("x", code="ConnectionFailed"), {GET, LIST, MODELS, STOP, DELETE, CREATE}),
        (ServiceUnreachableError("x", code="ConnectionBroken"), {GET, LIST, MODELS, STOP, DELETE}),
        (ServiceUnreachableError("x", code="CertificateNotVerified", retryable=False), set()),
        (RateLimitError("x"), {GET, LIST, MODELS, STOP, DELETE, CREATE}),
        (ServerError("x"), {GET, LIST, MODELS, STOP, DELETE}),
        (BadResponseError("x"), set()),
        (qf_tasks.PermissionDeniedError("x"), set()),
    ],
    ids=lambda value: str(value) if isinstance(value, QfTasksError) else "",
)
def test_action_is_sent_again_where_that_is_safe(error: QfTasksError, repeated: set[str]) -> None:
    actions = {GET, LIST, MODELS, STOP, DELETE, CREATE}
    assert {action for action in actions if is_retryable(action, error)} == repeated
    assert is_retryable("SomethingNew", error) is is_retryable(CREATE, error)


@pytest.mark.parametrize(
    ("code", "known", "names_task"),
    [
        ("InvalidMarker", True, False),
        ("TaskNotFound", False, True),
        ("NoSuchTask", False, True),
        ("BatchInferenceTask_not_exists", False, True),
        ("NotFound", False, False),
        ("ResourceNotFound", False, False),
        ("AccountNotExist", False, False),
        ("", False, False),
    ],
)
def test_code_is_known_or_names_a_missing_task(code: str, *, known: bool, names_task: bool) -> None:
    assert (is_known(code), says_task_not_found(code)) == (known, names_task)
