"""Deleting one task: the outcome, what a rejection means, and stopping it first."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import qianfan
from qianfan.resources.console.utils import call_action

from qf_tasks import (
    ApiError,
    AuthenticationError,
    CreatedTask,
    DeleteResult,
    InvalidArgumentError,
    InvalidRequestError,
    PermissionDeniedError,
    QfTasksError,
    TaskClient,
    TaskNotFoundError,
    TaskStateError,
    WaitTimeoutError,
)
from qf_tasks.sandbox import Fault, RecordedRequest, Sandbox, ServerBehavior
from tests.conftest import MakeClient

ROUTE = "/v2/batchinference"
DELETE = "DeleteBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
LIST = "DescribeBatchInferenceTasks"
STOP = "StopBatchInferenceTask"
MISSING = "infer-9ia3kc1wt9mp"

# How the service may say that a task does not exist.
NOT_FOUND = [
    ServerBehavior(),
    ServerBehavior(not_found_status=404, not_found_code="Whatever"),
    ServerBehavior(not_found_status=400, not_found_code="NoSuchTask"),
    ServerBehavior(not_found_status=400, not_found_code="InvalidTaskId"),
    ServerBehavior(not_found_status=409, not_found_code="E1234"),
]
# How it may say that the state of a task forbids the action.
WRONG_STATE = [
    ServerBehavior(),
    ServerBehavior(wrong_state_status=409, wrong_state_code="Conflict"),
    ServerBehavior(wrong_state_status=400, wrong_state_code="InappropriateJSON"),
    ServerBehavior(wrong_state_status=403, wrong_state_code="OperationNotAllowed"),
    ServerBehavior(wrong_state_status=200, wrong_state_code="336999"),
]


def actions(sandbox: Sandbox) -> list[str | None]:
    return [request.action for request in sandbox.requests]


@pytest.mark.parametrize("run_status", ["Done", "Failed", "Stopped", "Expired"])
def test_delete_of_ended_task_deletes_it_alone(sandbox: Sandbox, client: TaskClient, run_status: str) -> None:
    other, task_id = sandbox.add_tasks(2, run_status=run_status)

    result = client.delete(task_id)

    assert result == DeleteResult(task_id, sandbox.requests[0].request_id)
    assert (result.outcome, result.stopped, result.attempts) == ("deleted", False, 1)
    assert list(sandbox.tasks) == [other]
    assert actions(sandbox) == [DELETE]


def test_delete_accepts_task_and_created_task(sandbox: Sandbox, client: TaskClient) -> None:
    listed, created = sandbox.add_tasks(2)

    client.delete(client.get(listed))
    client.delete(CreatedTask(created, None, "nightly"))

    assert sandbox.tasks == {}


def test_delete_of_other_accounts_task_raises_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(account="other")

    with pytest.raises(TaskNotFoundError):
        client.delete(task_id)
    assert list(sandbox.tasks_of("other")) == [task_id]


# What a rejection means.


@pytest.mark.parametrize("sandbox", NOT_FOUND, indirect=True)
def test_delete_after_lost_response_returns_already_gone(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.reset_after(), action=DELETE)

    with caplog.at_level(logging.INFO, "qf_tasks"):
        result = client.delete(task_id)

    assert (result.outcome, result.attempts, result.stopped) == ("already_gone", 2, False)
    assert f"Task {task_id} already_gone" in caplog.messages[-1]
    assert sandbox.tasks == {}


@pytest.mark.parametrize("sandbox", NOT_FOUND, indirect=True)
def test_delete_of_missing_task_raises_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        client.delete(MISSING)

    error = caught.value
    assert (error.task_id, error.action, error.attempts) == (MISSING, DELETE, 1)
    assert (error.may_have_been_applied, error.retryable) == (False, False)
    assert error.request_id == sandbox.requests[0].request_id


@pytest.mark.parametrize("stop_first", [False, True])
def test_delete_of_missing_task_with_missing_ok_returns_already_gone(
    sandbox: Sandbox, client: TaskClient, stop_first: bool
) -> None:
    result = client.delete(MISSING, missing_ok=True, stop_first=stop_first)

    assert (result.outcome, result.attempts) == ("already_gone", 1)
    assert result.request_id == sandbox.requests[0].request_id


def test_delete_rejected_as_not_found_by_code_asks_nothing_else(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError):
        client.delete(MISSING)
    assert actions(sandbox) == [DELETE]


def test_delete_not_found_after_rate_limit_is_not_own_work(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(429), action=DELETE)

    with pytest.raises(TaskNotFoundError) as caught:
        client.delete(MISSING)
    assert caught.value.attempts == 2


@pytest.mark.parametrize(
    ("status", "code"),
    [*((status, "AccountInArrears") for status in (400, 403, 404, 409)), (404, "NotFound"), (400, "Missing")],
)
def test_delete_with_every_request_rejected_alike_never_returns_already_gone(
    sandbox: Sandbox, client: TaskClient, status: int, code: str
) -> None:
    task_id = sandbox.add_task()
    sandbox.behavior = ServerBehavior(reject_all=(status, code, "the account is in arrears"))

    for stop_first in (False, True):
        with pytest.raises(ApiError, match="in arrears") as caught:
            client.delete(task_id, missing_ok=True, stop_first=stop_first)

        assert not isinstance(caught.value, TaskNotFoundError)
        assert (caught.value.code, caught.value.status) == (code, status)
    assert list(sandbox.tasks) == [task_id]


@pytest.mark.parametrize("status", [400, 404])
def test_delete_of_listed_task_with_get_and_delete_rejected_alike_raises_rejection(
    sandbox: Sandbox, client: TaskClient, status: int
) -> None:
    task_id = sandbox.add_task()
    for action in (DELETE, GET):
        sandbox.inject(Fault.status(status, code="Strange"), action=action, times=None)

    with pytest.raises(ApiError, match="Strange") as caught:
        client.delete(task_id, missing_ok=True)

    assert not isinstance(caught.value, TaskNotFoundError)


@pytest.mark.parametrize(
    ("status", "code", "second_code"),
    [(400, "Strange", "Stranger"), (403, "Strange", "Strange"), (400, "InvalidURI", "InvalidURI")],
    ids=["two codes", "permission", "known code"],
)
def test_delete_of_unlisted_task_whose_rejections_do_not_mean_missing_raises_the_first(
    sandbox: Sandbox, client: TaskClient, status: int, code: str, second_code: str
) -> None:
    sandbox.inject(Fault.status(status, code=code), action=DELETE)
    sandbox.inject(Fault.status(status, code=second_code), action=GET)

    with pytest.raises(ApiError) as caught:
        client.delete("infer-missing", missing_ok=True)

    assert not isinstance(caught.value, TaskNotFoundError)
    assert caught.value.code == code


def test_delete_of_the_address_of_a_job_is_rejected_before_a_request(
    sandbox: Sandbox, client: TaskClient
) -> None:
    with pytest.raises(InvalidArgumentError, match="address in BOS") as caught:
        client.delete("bos:/bucket/job/")

    assert sandbox.requests == []
    assert "client.job" in str(caught.value.hint)


@pytest.mark.parametrize(("status", "code"), [(400, "AccountNotExist"), (500, "BackendNotFound")])
def test_delete_rejected_since_something_else_is_missing_raises_rejection(
    sandbox: Sandbox, client: TaskClient, status: int, code: str
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(status, code=code), action=DELETE, times=None)

    with pytest.raises(ApiError) as caught:
        client.delete(task_id, missing_ok=True)
    assert caught.value.code == code
    assert task_id in sandbox.tasks


@pytest.mark.parametrize(
    ("sandbox", "run_status"),
    [
        *((behavior, "Running") for behavior in WRONG_STATE),
        (ServerBehavior(), "Queuing"),
        (ServerBehavior(), "Stopping"),
    ],
    indirect=["sandbox"],
)
def test_delete_of_active_task_raises_state_error(
    sandbox: Sandbox, client: TaskClient, run_status: str
) -> None:
    task_id = sandbox.add_task(run_status=run_status)

    with pytest.raises(TaskStateError, match=f"{task_id} is {run_status} and cannot be deleted") as caught:
        client.delete(task_id)

    error = caught.value
    assert "stop_first=True" in str(error.hint)
    assert (error.task_id, error.request_id) == (task_id, sandbox.requests[0].request_id)
    assert actions(sandbox) == [DELETE, GET]
    assert list(sandbox.tasks) == [task_id]


def test_delete_of_task_in_unknown_state_raises_rejection(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(InvalidRequestError, match="Archiving") as caught:
        client.delete(sandbox.add_task(run_status="Archiving"))
    assert caught.value.code == "InvalidTaskStatus"


def test_delete_rejected_with_get_failing_raises_rejection(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(400, code="Strange"), action=DELETE)
    sandbox.inject(Fault.reset_before(), action=GET, times=None)

    with pytest.raises(InvalidRequestError, match="Strange"):
        client.delete(sandbox.add_task())


@pytest.mark.parametrize(
    ("rejection", "kind"),
    [
        (Fault.status(403, code="AccessDenied"), PermissionDeniedError),
        (Fault.status(403, code="OptInRequired"), PermissionDeniedError),
        (Fault.status(401), AuthenticationError),
        (Fault.status(400, code="SignatureDoesNotMatch"), AuthenticationError),
    ],
)
def test_delete_rejected_for_the_keys_asks_nothing_else(
    sandbox: Sandbox, client: TaskClient, rejection: Fault, kind: type[QfTasksError]
) -> None:
    sandbox.inject(rejection, times=None)

    with pytest.raises(kind):
        client.delete(MISSING, missing_ok=True)
    assert actions(sandbox) == [DELETE]


@pytest.mark.parametrize(
    ("field", "code"), [("access_key", "InvalidAccessKeyId"), ("secret_key", "SignatureDoesNotMatch")]
)
def test_delete_with_wrong_key_raises_authentication_error(
    sandbox: Sandbox, make_client: MakeClient, field: str, code: str
) -> None:
    task_id = sandbox.add_task()

    with pytest.raises(AuthenticationError) as caught:
        make_client(**{field: "of-another-account"}).delete(task_id)

    assert (caught.value.code, caught.value.request_id) == (code, sandbox.requests[0].request_id)
    assert "认证失败" in (caught.value.hint or "")
    assert list(sandbox.tasks) == [task_id]


def test_delete_without_permission_names_policies(sandbox: Sandbox, make_client: MakeClient) -> None:
    sandbox.add_key("reader-key", "reader-secret", allowed=[GET])

    with pytest.raises(PermissionDeniedError) as caught:
        make_client(access_key="reader-key", secret_key="reader-secret").delete(sandbox.add_task())
    assert "QianfanFullControlAccessPolicy" in (caught.value.hint or "")


def test_delete_with_wrong_clock_raises_expired(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.clock_offset = 3600

    with pytest.raises(AuthenticationError, match="expired") as caught:
        client.delete(sandbox.add_task())
    assert "clock" in (caught.value.hint or "")


# Logging.


def test_delete_logs_once_what_took_effect(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qf_tasks")
    task_id = sandbox.add_task()

    result = client.delete(task_id)

    assert caplog.messages == [f"Task {task_id} deleted (request id {result.request_id}, {client.account})"]


def test_delete_without_effect_logs_nothing(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qf_tasks")

    client.delete(MISSING, missing_ok=True)
    with pytest.raises(TaskStateError):
        client.delete(sandbox.add_task(run_status="Running"))

    assert caplog.messages == []


# Stopping first.


@pytest.mark.parametrize("run_status", ["Queuing", "Running"])
def test_delete_with_stop_first_stops_active_task(
    sandbox: Sandbox, client: TaskClient, run_status: str
) -> None:
    result = client.delete(sandbox.add_task(run_status=run_status), stop_first=True)

    assert (result.outcome, result.stopped, result.attempts) == ("deleted", True, 1)
    assert sandbox.tasks == {}
    sent = actions(sandbox)
    assert (sent[:2], set(sent[2:-1]), sent[-1]) == ([GET, STOP], {GET}, DELETE)
    assert len(sent) <= 8  # 5 seconds of stopping: polls after about 1, 2.5 and 5 seconds


def test_delete_with_stop_first_waits_for_stopping_task(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Stopping", ends_after=7.0, ends_as="Stopped")

    result = client.delete(task_id, stop_first=True)

    assert (result.outcome, result.stopped) == ("deleted", True)
    assert STOP not in actions(sandbox)


def test_delete_with_stop_first_of_ended_task_does_not_stop_it(sandbox: Sandbox, client: TaskClient) -> None:
    result = client.delete(sandbox.add_task(run_status="Failed"), stop_first=True)

    assert (result.outcome, result.stopped) == ("deleted", False)
    assert actions(sandbox) == [GET, DELETE]


@pytest.mark.parametrize(
    "sandbox",
    [
        ServerBehavior(stop_final="refused"),
        ServerBehavior(stop_final="false"),
        ServerBehavior(stop_final="true"),
    ],
    indirect=True,
)
def test_delete_of_task_that_ends_just_before_the_stop_deletes_it(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.inject(shown_as("Running"), action=GET)

    result = client.delete(sandbox.add_task(), stop_first=True)

    assert (result.outcome, result.stopped) == ("deleted", False)
    assert sandbox.tasks == {}


def test_delete_with_stop_first_of_unknown_state_changes_nothing(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Archiving")

    with pytest.raises(TaskStateError, match=f"{task_id} is in the unknown state Archiving"):
        client.delete(task_id, stop_first=True)
    assert actions(sandbox) == [GET]


@pytest.mark.parametrize("timeout", [30, timedelta(seconds=30), "0s"])
def test_delete_with_task_still_stopping_at_the_timeout_raises(
    sandbox: Sandbox, client: TaskClient, timeout: float | timedelta | str
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(shown_as("Stopping"), action=GET, times=None, skip=1)

    with pytest.raises(
        WaitTimeoutError, match=r"is still Stopping after \d+ s and was not deleted"
    ) as caught:
        client.delete(task_id, stop_first=True, stop_timeout=timeout)

    error = caught.value
    assert error.task is not None
    assert (error.task.run_status, error.task_id, error.pending) == ("Stopping", task_id, (task_id,))
    assert "stop_first=True" in str(error.hint)
    assert DELETE not in actions(sandbox)


def shown_as(run_status: str) -> Fault:
    return Fault.transform(lambda body: {**body, "result": {**body["result"], "runStatus": run_status}})


def test_delete_again_after_the_timeout_continues(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    with pytest.raises(WaitTimeoutError):
        client.delete(task_id, stop_first=True, stop_timeout=1)

    assert client.delete(task_id, stop_first=True).outcome == "deleted"
    assert actions(sandbox).count(STOP) == 1


def test_delete_with_the_response_of_each_step_lost_returns_already_gone(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    for action in (GET, STOP, DELETE):
        sandbox.inject(Fault.reset_after(), action=action)

    result = client.delete(task_id, stop_first=True)

    assert (result.outcome, result.stopped, result.attempts) == ("already_gone", True, 2)


def test_delete_of_task_deleted_by_others_during_the_stop_is_not_own_work(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_after(), action=STOP)
    sandbox.inject(Fault.status(404, code="TaskNotFound"), action=STOP)

    with pytest.raises(TaskNotFoundError) as caught:
        client.delete(task_id, stop_first=True)
    assert caught.value.action == STOP


# The request itself.


def signed_headers(request: RecordedRequest) -> dict[str, str]:
    """Return the headers that a request's signature covers, by its own list."""
    names = request.headers["Authorization"].split("/")[4].split(";")
    return {name: request.headers[name] for name in sorted(names)}


# Python 3.12 and later complain about how the SDK reads the time.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce")
def test_delete_sends_what_the_sdk_itself_sends(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = qianfan.get_config()
    for name, value in sandbox.env().items():
        if name.startswith("QIANFAN_"):
            monkeypatch.setattr(config, name.removeprefix("QIANFAN_"), value)

    sandbox.add_task("infer-1")
    call_action(ROUTE, DELETE, {"taskId": "infer-1"})
    sandbox.add_task("infer-1")
    client.delete("infer-1")

    raw, ours = sandbox.requests
    assert (ours.method, ours.path, ours.query) == (raw.method, raw.path, raw.query)
    assert ours.body == raw.body == b'{"taskId": "infer-1"}'
    signed_raw, signed_ours = signed_headers(raw), signed_headers(ours)
    dates = signed_raw.pop("x-bce-date"), signed_ours.pop("x-bce-date")
    assert signed_ours == signed_raw
    assert list(signed_ours) == ["content-type", "host", "request-source"]
    assert [len(date) for date in dates] == [20, 20]
