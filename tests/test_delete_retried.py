"""What a refusal of a delete means: its own earlier attempt, a task that was never there, or its state."""

from __future__ import annotations

import logging

import pytest

from qf_tasks import (
    ApiError,
    AuthenticationError,
    InvalidRequestError,
    PermissionDeniedError,
    QfTasksError,
    ServiceUnreachableError,
    TaskClient,
    TaskNotFoundError,
    TaskStateError,
)
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .conftest import MakeClient

DELETE = "DeleteBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
ABSENT = "infer-9ia3kc1wt9mp"

NOT_FOUND = [
    ServerBehavior(),
    ServerBehavior(not_found_status=404, not_found_code="Whatever"),
    ServerBehavior(not_found_status=400, not_found_code="NoSuchTask"),
    ServerBehavior(not_found_status=400, not_found_code="InvalidTaskId"),  # says nothing: looked into
    ServerBehavior(not_found_status=409, not_found_code="E1234"),
]
WRONG_STATE = [
    ServerBehavior(),
    ServerBehavior(wrong_state_status=409, wrong_state_code="Conflict"),
    ServerBehavior(wrong_state_status=400, wrong_state_code="InappropriateJSON"),
    ServerBehavior(wrong_state_status=403, wrong_state_code="OperationNotAllowed"),
    ServerBehavior(wrong_state_status=200, wrong_state_code="336999"),
]


def actions(sandbox: Sandbox) -> list[str | None]:
    return [request.action for request in sandbox.requests]


@pytest.mark.parametrize("sandbox", NOT_FOUND, indirect=True)
@pytest.mark.parametrize("lost", [Fault.reset_after(), Fault.truncated(), Fault.status(503, applied=True)])
def test_delete_applied_with_answer_lost_is_already_gone(
    sandbox: Sandbox, client: TaskClient, lost: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(lost, action=DELETE)
    with caplog.at_level(logging.INFO, "qf_tasks"):
        result = client.delete(task_id)
    assert (result.outcome, result.attempts, result.stopped) == ("already_gone", 2, False)
    assert f"Task {task_id} already_gone" in caplog.messages[-1]
    assert sandbox.tasks == {}


def test_delete_lost_before_it_was_applied_is_deleted(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.reset_before(), action=DELETE, times=2)
    result = client.delete(task_id)
    assert (result.outcome, result.attempts) == ("deleted", 3)


@pytest.mark.parametrize("sandbox", NOT_FOUND, indirect=True)
def test_delete_of_what_was_never_there_is_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        client.delete(ABSENT)
    error = caught.value
    assert (error.task_id, error.action, error.attempts) == (ABSENT, DELETE, 1)
    assert (error.may_have_been_applied, error.retryable) == (False, False)
    assert error.request_id == sandbox.requests[0].request_id
    assert actions(sandbox).count(GET) <= 1


@pytest.mark.parametrize("sandbox", NOT_FOUND, indirect=True)
def test_delete_of_what_may_be_missing_is_already_gone(sandbox: Sandbox, client: TaskClient) -> None:
    result = client.delete(ABSENT, missing_ok=True)
    assert (result.outcome, result.attempts) == ("already_gone", 1)
    assert result.request_id == sandbox.requests[0].request_id


def test_delete_rate_limited_and_then_not_found_is_not_its_own_doing(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.inject(Fault.status(429), action=DELETE)
    with pytest.raises(TaskNotFoundError) as caught:
        client.delete(ABSENT)
    assert caught.value.attempts == 2


@pytest.mark.parametrize("sandbox", WRONG_STATE, indirect=True)
@pytest.mark.parametrize("run_status", ["Queuing", "Running", "Stopping"])
def test_delete_of_an_active_task_is_a_matter_of_its_state(
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


def test_delete_refused_for_another_reason_is_told_as_it_is(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(400, code="Strange", message="who knows"), action=DELETE)
    with pytest.raises(InvalidRequestError, match="who knows") as caught:
        client.delete(task_id)
    assert (caught.value.code, actions(sandbox)) == ("Strange", [DELETE, GET])


def test_delete_of_a_task_in_an_unknown_state_is_told_as_it_is(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Archiving")
    with pytest.raises(InvalidRequestError, match="Archiving") as caught:
        client.delete(task_id)
    assert caught.value.code == "InvalidTaskStatus"


def test_delete_that_says_false_is_looked_into(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.transform(lambda body: {**body, "result": False}), action=DELETE)
    with pytest.raises(TaskNotFoundError):  # the sandbox has carried it out, and the look says so
        client.delete(task_id)
    assert actions(sandbox) == [DELETE, GET]


def test_delete_refused_with_the_look_failing_is_told_as_it_is(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(400, code="Strange"), action=DELETE)
    sandbox.inject(Fault.reset_before(), action=GET, times=None)
    with pytest.raises(InvalidRequestError, match="Strange"):
        client.delete(task_id)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Fault.status(403, code="AccessDenied"), PermissionDeniedError),
        (Fault.status(403, code="OptInRequired"), PermissionDeniedError),
        (Fault.status(401), AuthenticationError),
        (Fault.status(400, code="SignatureDoesNotMatch"), AuthenticationError),
    ],
)
def test_delete_refused_for_the_keys_is_not_looked_into(
    sandbox: Sandbox, client: TaskClient, refusal: Fault, kind: type[QfTasksError]
) -> None:
    sandbox.inject(refusal, times=None)
    with pytest.raises(kind):
        client.delete(ABSENT, missing_ok=True)
    assert actions(sandbox) == [DELETE]


def test_delete_and_look_refused_for_different_reasons_is_not_taken_for_gone(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(400, code="Strange"), action=DELETE)
    sandbox.inject(Fault.status(400, code="Stranger"), action=GET)
    with pytest.raises(InvalidRequestError) as caught:
        client.delete(task_id, missing_ok=True)
    assert (caught.value.code, list(sandbox.tasks)) == ("Strange", [task_id])


def test_delete_and_look_forbidden_alike_is_not_taken_for_gone(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(403, code="NoRightToThis"), times=None)
    with pytest.raises(PermissionDeniedError, match="NoRightToThis"):
        client.delete(task_id, missing_ok=True)


def test_delete_at_a_path_that_is_not_there_is_not_taken_for_gone(make_client: MakeClient) -> None:
    with Sandbox(
        frozen=True, behavior=ServerBehavior(unknown_action_status=404, unknown_action_code="InvalidURI")
    ) as other:
        other.inject(Fault.status(404, code="InvalidURI"), times=None)
        client = make_client(base_url=other.url, access_key=other.access_key, secret_key=other.secret_key)
        with pytest.raises(ApiError) as caught:
            client.delete(ABSENT, missing_ok=True)
        assert not isinstance(caught.value, TaskNotFoundError)


def test_delete_that_never_arrives_tells_what_may_have_happened(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.reset_after(), action=DELETE, times=None)
    with pytest.raises(ServiceUnreachableError) as caught:
        client.delete(task_id)
    error = caught.value
    assert (error.attempts, error.may_have_been_applied, error.retryable) == (4, True, True)
    assert sandbox.tasks == {}
