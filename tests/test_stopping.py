"""Stopping: asked once, and no error where the task has ended already."""

from __future__ import annotations

import logging

import pytest

from qf_tasks import BadResponseError, InvalidRequestError, RunStatus, TaskClient, TaskNotFoundError
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .clients import client_of

STOP = "StopBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
FINAL = ["Done", "Failed", "Stopped", "Expired"]


def actions(sandbox: Sandbox) -> list[str | None]:
    return [request.action for request in sandbox.requests]


@pytest.mark.parametrize("run_status", ["Queuing", "Running"])
def test_stop_of_an_active_task_returns_stopping(
    sandbox: Sandbox, client: TaskClient, run_status: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task(run_status=run_status)
    with caplog.at_level(logging.INFO, "qf_tasks"):
        result = client.stop(task_id)
    assert (result.task_id, result.run_status) == (task_id, RunStatus.STOPPING)
    assert result.request_id == sandbox.requests[0].request_id
    assert actions(sandbox) == [STOP]
    assert sandbox.tasks[task_id]["runStatus"] == "Stopping"
    assert caplog.messages == [
        f"Task {task_id} told to stop (request id {result.request_id}, {client.account})"
    ]


def test_stop_of_a_stopping_task_returns_stopping(sandbox: Sandbox, client: TaskClient) -> None:
    assert client.stop(sandbox.add_task(run_status="Stopping")).run_status == "Stopping"


def test_stop_of_a_stopping_task_refused_returns_stopping(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Stopping")
    sandbox.inject(Fault.status(400, code="InvalidTaskStatus"), action=STOP)
    assert client.stop(task_id).run_status == "Stopping"


@pytest.mark.parametrize(
    "sandbox",
    [
        ServerBehavior(stop_final="refused"),
        ServerBehavior(stop_final="refused", wrong_state_status=409, wrong_state_code="Conflict"),
        ServerBehavior(stop_final="refused", wrong_state_status=403, wrong_state_code="OperationNotAllowed"),
        ServerBehavior(stop_final="false"),
    ],
    indirect=True,
)
@pytest.mark.parametrize("run_status", FINAL)
def test_stop_of_an_ended_task_carries_its_state(
    sandbox: Sandbox, client: TaskClient, run_status: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task(run_status=run_status)
    with caplog.at_level(logging.INFO, "qf_tasks"):
        result = client.stop(task_id)
    assert (result.run_status, result.run_status.is_final) == (run_status, True)
    assert result.request_id == sandbox.requests[0].request_id
    assert actions(sandbox) == [STOP, GET]
    assert caplog.messages == []  # nothing took effect


@pytest.mark.parametrize("sandbox", [ServerBehavior(stop_final="true")], indirect=True)
def test_stop_of_an_ended_task_that_the_service_takes_is_no_error(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Done")
    assert client.stop(task_id).run_status == "Stopping"  # all that a `true` says
    assert sandbox.tasks[task_id]["runStatus"] == "Done"


def test_stop_with_answer_lost_is_repeated(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_after(), action=STOP)
    assert client.stop(task_id).run_status == "Stopping"
    assert actions(sandbox) == [STOP, STOP]


def test_stop_with_answer_lost_of_a_task_stopped_since_carries_its_state() -> None:
    with Sandbox(frozen=True, stop_seconds=0.0) as quick:
        task_id = quick.add_task(run_status="Running")
        quick.inject(Fault.reset_after(), action=STOP)
        with client_of(quick) as other:
            assert other.stop(task_id).run_status == "Stopped"


def test_stop_of_an_unknown_state_refused_is_told_as_it_is(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Archiving")
    with pytest.raises(InvalidRequestError, match="Archiving"):
        client.stop(task_id)


def test_stop_of_what_is_not_there_is_not_found(client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        client.stop("infer-9ia3kc1wt9mp")
    assert caught.value.action == STOP


@pytest.mark.parametrize("result", [None, 1, "true", {}])
def test_stop_answered_with_no_boolean_may_have_worked(
    sandbox: Sandbox, client: TaskClient, result: object
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.transform(lambda body: {**body, "result": result}), action=STOP)
    with pytest.raises(BadResponseError) as caught:
        client.stop(task_id)
    assert caught.value.may_have_been_applied
