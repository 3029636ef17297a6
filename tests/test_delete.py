"""Deleting a task: what arrives, what comes back, and what is refused before it leaves."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import qianfan
from qianfan.resources.console.utils import call_action

from qf_tasks import (
    ApiError,
    AuthenticationError,
    CreatedTask,
    DeleteResult,
    InvalidArgumentError,
    PermissionDeniedError,
    QfTasksError,
    TaskClient,
    TaskNotFoundError,
    TaskStateError,
)
from qf_tasks.sandbox import Fault, RecordedRequest, Sandbox, ServerBehavior
from tests.conftest import MakeClient

ROUTE = "/v2/batchinference"


def test_delete_of_a_done_task_deletes_it(sandbox: Sandbox, client: TaskClient) -> None:
    kept, gone = sandbox.add_tasks(2)
    result = client.delete(gone)
    assert result == DeleteResult(gone, sandbox.requests[0].request_id)
    assert (result.outcome, result.stopped, result.attempts) == ("deleted", False, 1)
    assert [*sandbox.tasks] == [kept]


@pytest.mark.parametrize("run_status", ["Done", "Failed", "Stopped", "Expired"])
def test_delete_of_an_ended_task_deletes_it(sandbox: Sandbox, client: TaskClient, run_status: str) -> None:
    client.delete(sandbox.add_task(run_status=run_status))
    assert sandbox.tasks == {}


@pytest.mark.parametrize("run_status", ["Queuing", "Running", "Stopping"])
def test_delete_of_an_active_task_raises_and_leaves_it(
    sandbox: Sandbox, client: TaskClient, run_status: str
) -> None:
    task_id = sandbox.add_task(run_status=run_status)
    with pytest.raises(TaskStateError, match=run_status) as caught:
        client.delete(task_id)
    assert "stop_first=True" in (caught.value.hint or "")
    assert caught.value.request_id == sandbox.requests[0].request_id
    assert [*sandbox.tasks] == [task_id]


def test_delete_takes_a_task_where_an_id_is_wanted(sandbox: Sandbox, client: TaskClient) -> None:
    listed, created = sandbox.add_tasks(2)
    client.delete(client.get(listed))
    client.delete(CreatedTask(created, None, "nightly"))
    assert sandbox.tasks == {}


@pytest.mark.parametrize(
    "task",
    ["", " ", "\n", " infer-1", "infer-1\n", "infer 1", "infer-\x00", 7, None, b"infer-1", ["infer-1"], {}],
    ids=repr,
)
def test_delete_of_what_is_no_id_raises_before_any_request(
    sandbox: Sandbox, client: TaskClient, task: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^task must "):
        client.delete(task)
    assert sandbox.requests == []


def test_delete_of_a_padded_id_offers_the_bare_one(client: TaskClient) -> None:
    with pytest.raises(ValueError, match="bare id") as caught:
        client.delete(" infer-1 ")
    assert isinstance(caught.value, InvalidArgumentError)
    assert caught.value.hint == "Pass 'infer-1'."


def test_delete_of_a_missing_task_raises_unless_that_is_allowed(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError):
        client.delete("infer-gone")
    result = client.delete("infer-gone", missing_ok=True)
    assert (result.outcome, result.request_id) == ("already_gone", sandbox.requests[-1].request_id)


def test_delete_of_a_task_of_another_account_raises_and_leaves_it(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(account="other")
    with pytest.raises(TaskNotFoundError):
        client.delete(task_id)
    assert [*sandbox.tasks_of("other")] == [task_id]


def test_delete_whose_answer_was_lost_is_repeated_and_says_already_gone(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.inject(Fault.reset_after())
    result = client.delete(sandbox.add_task())
    assert (result.outcome, result.attempts) == ("already_gone", 2)
    assert sandbox.tasks == {}


@pytest.mark.parametrize("code", ["SomethingNew", "InappropriateJSON"])
def test_delete_refused_for_its_state_with_any_code_raises_state_error(code: str) -> None:
    with Sandbox(frozen=True, behavior=ServerBehavior(wrong_state_code=code)) as sandbox:
        task_id = sandbox.add_task(run_status="Running")
        client = TaskClient(
            access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url
        )
        with client, pytest.raises(TaskStateError) as caught:
            client.delete(task_id)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("field", "code"), [("access_key", "InvalidAccessKeyId"), ("secret_key", "SignatureDoesNotMatch")]
)
def test_delete_with_a_wrong_key_raises_and_leaves_the_task(
    sandbox: Sandbox, make_client: MakeClient, field: str, code: str
) -> None:
    task_id = sandbox.add_task()
    with pytest.raises(AuthenticationError) as caught:
        make_client(**{field: "of-another-account"}).delete(task_id)
    assert (caught.value.code, caught.value.request_id) == (code, sandbox.requests[0].request_id)
    assert "认证失败" in (caught.value.hint or "")
    assert [*sandbox.tasks] == [task_id]


def test_delete_without_permission_raises_and_names_the_policies(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    sandbox.add_key("reader-key", "reader-secret", allowed=["DescribeBatchInferenceTask"])
    client = make_client(access_key="reader-key", secret_key="reader-secret")
    with pytest.raises(PermissionDeniedError) as caught:
        client.delete(sandbox.add_task())
    assert "QianfanFullControlAccessPolicy" in (caught.value.hint or "")


def test_delete_with_a_clock_that_is_off_raises_and_says_so(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.clock_offset = 3600
    with pytest.raises(AuthenticationError, match="expired") as caught:
        client.delete(sandbox.add_task())
    assert "clock" in (caught.value.hint or "")


@pytest.mark.parametrize(("status", "code"), [(400, "AccountNotExist"), (500, "BackendNotFound")])
def test_delete_refused_for_something_else_that_is_missing_does_not_say_already_gone(
    sandbox: Sandbox, make_client: MakeClient, status: int, code: str
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(status, code=code), action="DeleteBatchInferenceTask", times=None)
    with pytest.raises(ApiError):
        make_client().delete(task_id, missing_ok=True)
    assert task_id in sandbox.tasks


def test_delete_of_what_was_gone_before_is_not_logged_as_done(
    client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qf_tasks")
    assert client.delete("infer-gone", missing_ok=True).outcome == "already_gone"
    assert caplog.records == []


def test_delete_that_took_effect_is_logged_once(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qf_tasks")
    task_id = sandbox.add_task()
    client.delete(task_id)
    [line] = caplog.messages
    assert task_id in line
    assert sandbox.requests[0].request_id in line
    assert str(client.account) in line


def test_delete_that_was_refused_is_not_logged_as_done(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qf_tasks")
    with pytest.raises(QfTasksError):
        client.delete(sandbox.add_task(run_status="Running"))
    assert caplog.messages == []


def _signed(request: RecordedRequest) -> dict[str, str]:
    """Return the headers that a request's signature covers, by its own list."""
    names = request.headers["Authorization"].split("/")[4].split(";")
    return {name: request.headers[name] for name in sorted(names)}


# Python 3.12 and later complain about how the SDK reads the time.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce")
def test_delete_arrives_as_the_sdk_itself_would_have_sent_it(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = qianfan.get_config()
    for name, value in sandbox.env().items():
        monkeypatch.setattr(config, name.removeprefix("QIANFAN_"), value)
    sandbox.add_task("infer-1")
    call_action(ROUTE, "DeleteBatchInferenceTask", {"taskId": "infer-1"})
    sandbox.add_task("infer-1")
    client.delete("infer-1")

    raw, ours = sandbox.requests
    assert (ours.method, ours.path, ours.query) == (raw.method, raw.path, raw.query)
    assert ours.body == raw.body == b'{"taskId": "infer-1"}'
    signed_raw, signed_ours = _signed(raw), _signed(ours)
    dates = signed_raw.pop("x-bce-date"), signed_ours.pop("x-bce-date")
    assert signed_ours == signed_raw
    assert [*signed_ours] == ["content-type", "host", "request-source"]
    assert [len(date) for date in dates] == [20, 20]
    validity = [request.headers["Authorization"].split("/")[3] for request in (raw, ours)]
    assert validity == ["300", "300"]
