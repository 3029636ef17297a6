"""Stopping one task: the state it is in then, and what a rejection means."""

from __future__ import annotations

import logging

import pytest

from qf_tasks import ApiError, InvalidRequestError, RunStatus, TaskClient, TaskNotFoundError
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.clients import client_of

STOP = "StopBatchInferenceTask"
GET = "DescribeBatchInferenceTask"


def actions(sandbox: Sandbox) -> list[str | None]:
    return [request.action for request in sandbox.requests]


@pytest.mark.parametrize("run_status", ["Queuing", "Running"])
def test_stop_of_active_task_returns_stopping(
    sandbox: Sandbox, client: TaskClient, run_status: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task(run_status=run_status)
    with caplog.at_level(logging.INFO, "qf_tasks"):
        result = client.stop(task_id)
    assert (result.task_id, result.run_status) == (task_id, RunStatus.STOPPING)
    assert result.request_id == sandbox.requests[0].request_id
    assert actions(sandbox) == [STOP]
    assert sandbox.tasks[task_id]["runStatus"] == "Stopping"
    assert caplog.messages == [f"Task {task_id} stopping (request id {result.request_id}, {client.account})"]


def test_stop_of_stopping_task_returns_stopping(sandbox: Sandbox, client: TaskClient) -> None:
    assert client.stop(sandbox.add_task(run_status="Stopping")).run_status == "Stopping"


def test_stop_of_stopping_task_rejected_returns_stopping(sandbox: Sandbox, client: TaskClient) -> None:
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
def test_stop_of_ended_task_returns_its_state(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task(run_status="Stopped")
    with caplog.at_level(logging.INFO, "qf_tasks"):
        result = client.stop(task_id)
    assert (result.run_status, result.run_status.is_final) == ("Stopped", True)
    assert result.request_id == sandbox.requests[0].request_id
    assert actions(sandbox) == [STOP, GET]
    assert caplog.messages == []  # nothing took effect


@pytest.mark.parametrize("sandbox", [ServerBehavior(stop_final="true")], indirect=True)
def test_stop_of_ended_task_accepted_by_the_service_returns_stopping(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Done")
    assert client.stop(task_id).run_status == "Stopping"
    assert sandbox.tasks[task_id]["runStatus"] == "Done"


def test_stop_after_lost_response_of_task_stopped_since_returns_stopped() -> None:
    with Sandbox(frozen=True, stop_seconds=0.0) as quick:
        task_id = quick.add_task(run_status="Running")
        quick.inject(Fault.reset_after(), action=STOP)
        with client_of(quick) as other:
            assert other.stop(task_id).run_status == "Stopped"


def test_stop_of_unknown_state_rejected_raises_rejection(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Archiving")
    with pytest.raises(InvalidRequestError, match="Archiving"):
        client.stop(task_id)


def test_stop_of_missing_task_raises_not_found(client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        client.stop("infer-9ia3kc1wt9mp")
    assert caught.value.action == STOP


@pytest.mark.parametrize("status", [400, 404])
def test_stop_with_every_request_rejected_alike_raises_rejection(
    sandbox: Sandbox, client: TaskClient, status: int
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.behavior = ServerBehavior(reject_all=(status, "AccountInArrears", "the account is in arrears"))

    with pytest.raises(ApiError, match="in arrears") as caught:
        client.stop(task_id)
    assert not isinstance(caught.value, TaskNotFoundError)
