"""What the client makes of an answer, whatever came, from a sandbox that was told what to say."""

from __future__ import annotations

import json
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from qf_tasks import (
    ApiError,
    AuthenticationError,
    BadResponseError,
    InvalidRequestError,
    PermissionDeniedError,
    QfTasksError,
    RateLimitError,
    ServerError,
    TaskClient,
    TaskNotFoundError,
)
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    """A client that asks once."""
    return make_client(max_retries=0)


@pytest.fixture
def task_id(sandbox: Sandbox) -> str:
    return sandbox.add_task()


def refused(client: TaskClient, task_id: str) -> QfTasksError:
    with pytest.raises(QfTasksError) as caught:
        client.delete(task_id)
    return caught.value


HTML = Fault.html(200).content or b""
_ID = {"x-bce-request-id": "r-1"}


@pytest.mark.parametrize(
    ("content", "excerpt"),
    [
        (HTML, "<html><head><title>200 OK</title>"),
        (b'{"requestId": "r-1", "resu', '{"requestId": "r-1", "resu'),
        (b'[{"result": true}]', '[{"result": true}]'),
        (b"null", "null"),
        (b"true", "true"),
        (b"", "(nothing)"),
        (b'{"requestId": "r-1"}', '{"requestId": "r-1"}'),
        (b'{"result": "true"}', '{"result": "true"}'),
        (b'{"result": null}', '{"result": null}'),
        (b'{"result": NaN}', '{"result": NaN}'),
        (b'{"result": "\xff\xfe"}', '{"result": "'),
        (b'{"result": "\\ud800"}', '{"result": "'),
        (b'{"result": "\xed\xa0\x80"}', '{"result": "'),
        (b'{"result": ' + b"[" * 9000 + b"]" * 9000 + b"}", '{"result": [['),
    ],
)
def test_delete_answered_with_what_cannot_be_read_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, task_id: str, content: bytes, excerpt: str
) -> None:
    sandbox.inject(Fault.body(content, headers=_ID))
    error = refused(client, task_id)
    assert type(error) is BadResponseError
    assert (error.status, error.request_id, error.task_id) == (200, "r-1", task_id)
    assert excerpt in error.message
    assert error.may_have_been_applied
    assert not error.retryable


@pytest.mark.parametrize("odd", [b"NaN", b"-Infinity", b"1e999", rb'"\ud800"', b'"\xed\xa0\x80"', b'"\xff"'])
def test_call_answered_with_what_only_python_takes_for_json_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, odd: bytes
) -> None:
    sandbox.inject(Fault.body(b'{"result": {"name": %s}}' % odd))
    with pytest.raises(BadResponseError, match="no JSON object"):
        client.call("SomethingNew", {})


def test_excerpt_of_a_hostile_answer_is_one_short_line_without_a_signed_header(
    sandbox: Sandbox, client: TaskClient, task_id: str
) -> None:
    echoed = b"\x1b[31m\nAuthorization: bce-auth-v1/AK/2025-01-01T00:00:00Z/300/host/0123\r\n" + b"x" * 5000
    sandbox.inject(Fault.body(echoed))
    message = refused(client, task_id).message
    assert message.isprintable()
    assert len(message) < 200
    assert "(signed header)" in message
    assert "bce-auth-v1" not in message


@pytest.mark.parametrize("status", [302, 404, 418])
def test_delete_answered_by_a_stranger_with_a_bad_status_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, task_id: str, status: int
) -> None:
    sandbox.inject(Fault.body(HTML, status=status, content_type="text/html"))
    error = refused(client, task_id)
    assert type(error) is BadResponseError
    assert error.status == status
    assert len(sandbox.requests) == 1


def test_get_redirected_does_not_follow(sandbox: Sandbox, client: TaskClient, task_id: str) -> None:
    sandbox.inject(Fault.redirect())
    with pytest.raises(BadResponseError, match="HTTP 302 Found"):
        client.get(task_id)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (("InvalidAccessKeyId", 403), AuthenticationError),
        (("AccessDenied", 403), PermissionDeniedError),
        (("InappropriateJSON", 400), InvalidRequestError),
        (("InternalError", 500), ServerError),
        (("TaskNotFound", 404), TaskNotFoundError),
    ],
)
def test_code_and_message_in_a_200_raise_what_the_status_raises(
    sandbox: Sandbox, client: TaskClient, refusal: tuple[str, int], expected: type[ApiError]
) -> None:
    code, status = refusal
    sandbox.inject(Fault.status(status, code=code, message="no"))
    sandbox.inject(Fault.hidden_error(code, "no"))
    told, hidden = (_failure_to_get(client, "infer-1") for _ in range(2))
    assert type(told) is type(hidden) is expected
    assert (told.status, hidden.status) == (status, 200)
    assert (told.code, told.message, told.hint) == (hidden.code, hidden.message, hidden.hint)
    assert told.code == code
    assert [request.request_id for request in sandbox.requests] == [told.request_id, hidden.request_id]


def _failure_to_get(client: TaskClient, task_id: str) -> QfTasksError:
    with pytest.raises(QfTasksError) as caught:
        client.get(task_id)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": 18, "error_msg": "qps", "log_id": "r-1"},
        {"error": {"code": "18", "message": "qps"}, "requestId": "r-1"},
    ],
)
def test_error_shapes_of_other_routes_inside_a_200_are_read_too(
    sandbox: Sandbox, client: TaskClient, task_id: str, body: dict[str, Any]
) -> None:
    sandbox.inject(Fault.body(json.dumps(body).encode()))
    error = refused(client, task_id)
    assert type(error) is RateLimitError
    assert (error.code, error.message, error.request_id) == ("18", "qps", "r-1")


@pytest.mark.parametrize("code", [None, "", 0, "0"])
def test_code_that_says_no_error_is_none(
    sandbox: Sandbox, client: TaskClient, task_id: str, code: object
) -> None:
    sandbox.inject(Fault.transform(lambda body: {**body, "code": code, "message": "OK"}))
    assert client.delete(task_id).outcome == "deleted"


def test_delete_answered_false_raises_api_error(sandbox: Sandbox, client: TaskClient, task_id: str) -> None:
    sandbox.inject(Fault.body(b'{"requestId": "r-1", "result": false}'), action="DeleteBatchInferenceTask")
    error = refused(client, task_id)
    assert type(error) is ApiError
    assert (error.status, error.request_id) == (200, "r-1")
    assert "false" in error.message


def test_call_answered_false_returns_it(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.body(b'{"result": false}'))
    assert client.call("SomethingNew", {}).result is False


def test_delete_of_unknown_id_raises_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    error = refused(client, "infer-gone")
    assert type(error) is TaskNotFoundError
    assert (error.status, error.code, error.task_id) == (404, "TaskNotFound", "infer-gone")
    assert error.request_id == sandbox.requests[0].request_id
    assert not error.retryable


@pytest.mark.parametrize(("status", "expected"), [(400, InvalidRequestError), (412, ApiError)])
def test_get_refused_with_an_unknown_code_raises_by_status(
    sandbox: Sandbox, client: TaskClient, task_id: str, status: int, expected: type[ApiError]
) -> None:
    sandbox.inject(Fault.status(status, code="NeverHeardOf", message="whatever"))
    error = _failure_to_get(client, task_id)
    assert type(error) is expected
    assert (error.code, error.message) == ("NeverHeardOf", "whatever")


def test_gateway_that_speaks_in_headers_alone_is_understood(
    sandbox: Sandbox, client: TaskClient, task_id: str
) -> None:
    said = {"X-Bce-Error-Code": "AccessDenied", "X-Bce-Error-Message": "Access denied.", **_ID}
    sandbox.inject(Fault.body(b"", status=403, headers=said))
    error = refused(client, task_id)
    assert type(error) is PermissionDeniedError
    assert str(error) == "Access denied. [AccessDenied, request id r-1]"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, AuthenticationError), (403, PermissionDeniedError), (429, RateLimitError), (503, ServerError)],
)
def test_status_without_a_word_of_the_service_chooses_the_class(
    sandbox: Sandbox, client: TaskClient, task_id: str, status: int, expected: type[ApiError]
) -> None:
    sandbox.inject(Fault.body(b"", status=status))
    assert type(refused(client, task_id)) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0.0), ("7", 7.0), ("1.5", 1.5), ("soon", None), ("-3", None), ("1e9", None), ("", None)],
)
def test_retry_after_is_told_in_seconds(
    sandbox: Sandbox, make_client: MakeClient, value: str, expected: float | None
) -> None:
    sandbox.inject(Fault.status(429, retry_after=value))
    assert refused(make_client(max_retries=0), "infer-1").retry_after == expected


def test_retry_after_as_a_date_is_counted_from_the_date_of_the_service(
    sandbox: Sandbox, client: TaskClient, task_id: str
) -> None:
    sandbox.clock_offset = 120
    until = sandbox.now.replace(microsecond=0) + timedelta(seconds=150)
    sandbox.inject(Fault.status(503, retry_after=format_datetime(until, usegmt=True)))
    retry_after = refused(client, task_id).retry_after
    assert retry_after == pytest.approx(30.0, abs=1.0)


@pytest.mark.parametrize(
    "result", [True, [], {}, {"taskId": "infer-1"}, {"runStatus": "Done"}, {"taskId": 7, "runStatus": "Done"}]
)
def test_get_answered_with_no_task_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, result: object
) -> None:
    sandbox.inject(Fault.body(json.dumps({"requestId": "r-1", "result": result}).encode()))
    error = _failure_to_get(client, "infer-1")
    assert type(error) is BadResponseError
    assert (error.status, error.request_id, error.task_id) == (200, "r-1", "infer-1")


def test_get_answered_with_another_task_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, task_id: str
) -> None:
    sandbox.inject(Fault.transform(lambda body: {**body, "result": {**body["result"], "taskId": "infer-2"}}))
    assert type(_failure_to_get(client, task_id)) is BadResponseError


def test_list_answered_with_a_task_without_an_id_raises_bad_response(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.inject(Fault.body(b'{"result": {"taskList": [{"runStatus": "Done"}], "pageInfo": {}}}'))
    with pytest.raises(BadResponseError, match="no list of tasks"):
        list(client.list())


def test_models_answered_with_a_list_raises_bad_response(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.body(b'{"result": []}'))
    with pytest.raises(BadResponseError, match="no models"):
        client.models()
