"""What the client reads from a response, whatever the service sent."""

from __future__ import annotations

import json
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
    """A client that sends each request once."""
    return make_client(max_retries=0)


@pytest.fixture
def task_id(sandbox: Sandbox) -> str:
    return sandbox.add_task()


def rejected(client: TaskClient, task_id: str) -> QfTasksError:
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
        (b"", "(empty)"),
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
def test_delete_response_unreadable_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, task_id: str, content: bytes, excerpt: str
) -> None:
    sandbox.inject(Fault.body(content, headers=_ID))
    error = rejected(client, task_id)
    assert type(error) is BadResponseError
    assert (error.status, error.request_id, error.task_id) == (200, "r-1", task_id)
    assert excerpt in error.message
    assert error.may_have_been_applied
    assert not error.retryable


@pytest.mark.parametrize("odd", [b"NaN", b"-Infinity", b"1e999", rb'"\ud800"', b'"\xed\xa0\x80"', b'"\xff"'])
def test_call_response_json_only_for_python_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, odd: bytes
) -> None:
    sandbox.inject(Fault.body(b'{"result": {"name": %s}}' % odd))
    with pytest.raises(BadResponseError, match="not a JSON object"):
        client.call("SomethingNew", {})


def test_excerpt_of_hostile_response_is_one_short_line_without_signed_header(
    sandbox: Sandbox, client: TaskClient, task_id: str
) -> None:
    echoed = b"\x1b[31m\nAuthorization: bce-auth-v1/AK/2025-01-01T00:00:00Z/300/host/0123\r\n" + b"x" * 5000
    sandbox.inject(Fault.body(echoed))
    message = rejected(client, task_id).message
    assert message.isprintable()
    assert len(message) < 200
    assert "(signed header)" in message
    assert "bce-auth-v1" not in message


def test_delete_with_status_300_and_a_result_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, task_id: str
) -> None:
    sandbox.inject(Fault.body(b'{"result": true}', status=300))

    with pytest.raises(BadResponseError):
        client.delete(task_id)


@pytest.mark.parametrize("status", [302, 404, 418])
def test_delete_with_bad_status_of_another_server_raises_bad_response(
    sandbox: Sandbox, client: TaskClient, task_id: str, status: int
) -> None:
    sandbox.inject(Fault.body(HTML, status=status, content_type="text/html"))
    error = rejected(client, task_id)
    assert type(error) is BadResponseError
    assert error.status == status
    assert len(sandbox.requests) == 1


def test_get_redirected_does_not_follow(sandbox: Sandbox, client: TaskClient, task_id: str) -> None:
    sandbox.inject(Fault.redirect())
    with pytest.raises(BadResponseError, match="HTTP 302 Found"):
        client.get(task_id)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("rejection", "expected"),
    [
        (("InvalidAccessKeyId", 403), AuthenticationError),
        (("AccessDenied", 403), PermissionDeniedError),
        (("InappropriateJSON", 400), InvalidRequestError),
        (("InternalError", 500), ServerError),
        (("TaskNotFound", 404), TaskNotFoundError),
    ],
)
def test_rejection_in_a_200_raises_what_its_status_raises(
    sandbox: Sandbox, client: TaskClient, rejection: tuple[str, int], expected: type[ApiError]
) -> None:
    code, status = rejection
    sandbox.inject(Fault.status(status, code=code, message="no"))
    sandbox.inject(Fault.hidden_error(code, "no"))
    plain, hidden = (_failure_to_get(client, "infer-1") for _ in range(2))
    assert type(plain) is type(hidden) is expected
    assert (plain.status, hidden.status) == (status, 200)
    assert (plain.code, plain.message, plain.hint) == (hidden.code, hidden.message, hidden.hint)
    assert plain.code == code
    assert [request.request_id for request in sandbox.requests] == [plain.request_id, hidden.request_id]


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
def test_error_shapes_of_other_routes_in_a_200_are_read(
    sandbox: Sandbox, client: TaskClient, task_id: str, body: dict[str, Any]
) -> None:
    sandbox.inject(Fault.body(json.dumps(body).encode()))
    error = rejected(client, task_id)
    assert type(error) is RateLimitError
    assert (error.code, error.message, error.request_id) == ("18", "qps", "r-1")


@pytest.mark.parametrize("code", [None, "", 0, "0"])
def test_code_without_error_is_success(
    sandbox: Sandbox, client: TaskClient, task_id: str, code: object
) -> None:
    sandbox.inject(Fault.transform(lambda body: {**body, "code": code, "message": "OK"}))
    assert client.delete(task_id).outcome == "deleted"


def test_delete_with_false_raises_api_error(sandbox: Sandbox, client: TaskClient, task_id: str) -> None:
    sandbox.inject(Fault.body(b'{"requestId": "r-1", "result": false}'), action="DeleteBatchInferenceTask")
    error = rejected(client, task_id)
    assert type(error) is ApiError
    assert (error.status, error.request_id) == (200, "r-1")
    assert "false" in error.message


def test_call_of_unknown_action_with_result_false_returns_it(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.body(b'{"result": false}'))
    assert client.call("SomethingNew", {}).result is False


@pytest.mark.parametrize(("status", "expected"), [(400, InvalidRequestError), (412, ApiError)])
def test_get_rejected_with_unknown_code_raises_by_status(
    sandbox: Sandbox, client: TaskClient, task_id: str, status: int, expected: type[ApiError]
) -> None:
    sandbox.inject(Fault.status(status, code="NeverHeardOf", message="whatever"))
    error = _failure_to_get(client, task_id)
    assert type(error) is expected
    assert (error.code, error.message) == ("NeverHeardOf", "whatever")


def test_rejection_in_headers_alone_is_read(sandbox: Sandbox, client: TaskClient, task_id: str) -> None:
    headers = {"X-Bce-Error-Code": "AccessDenied", "X-Bce-Error-Message": "Access denied.", **_ID}
    sandbox.inject(Fault.body(b"", status=403, headers=headers))
    error = rejected(client, task_id)
    assert type(error) is PermissionDeniedError
    assert str(error) == "Access denied. [AccessDenied, request id r-1]"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, AuthenticationError), (403, PermissionDeniedError), (429, RateLimitError), (503, ServerError)],
)
def test_status_without_error_code_decides_the_class(
    sandbox: Sandbox, client: TaskClient, task_id: str, status: int, expected: type[ApiError]
) -> None:
    sandbox.inject(Fault.body(b"", status=status))
    assert type(rejected(client, task_id)) is expected


@pytest.mark.parametrize(
    "result", [True, [], {}, {"taskId": "infer-1"}, {"runStatus": "Done"}, {"taskId": 7, "runStatus": "Done"}]
)
def test_get_without_task_raises_bad_response(sandbox: Sandbox, client: TaskClient, result: object) -> None:
    sandbox.inject(Fault.body(json.dumps({"requestId": "r-1", "result": result}).encode()))
    error = _failure_to_get(client, "infer-1")
    assert type(error) is BadResponseError
    assert (error.status, error.request_id, error.task_id) == (200, "r-1", "infer-1")


def test_get_of_another_task_raises_bad_response(sandbox: Sandbox, client: TaskClient, task_id: str) -> None:
    sandbox.inject(Fault.transform(lambda body: {**body, "result": {**body["result"], "taskId": "infer-2"}}))
    assert type(_failure_to_get(client, task_id)) is BadResponseError


def test_list_with_task_without_id_raises_bad_response(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.body(b'{"result": {"taskList": [{"runStatus": "Done"}], "pageInfo": {}}}'))
    with pytest.raises(BadResponseError, match="no id or state"):
        list(client.list())


def test_models_with_list_as_result_raises_bad_response(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.body(b'{"result": []}'))
    with pytest.raises(BadResponseError, match="no models"):
        client.models()
