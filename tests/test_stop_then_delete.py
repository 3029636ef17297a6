"""Stop-then-delete in one call: what is stopped, waited for, deleted, and what is left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from qf_tasks import TaskClient, TaskNotFoundError, TaskStateError, WaitTimeoutError
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

DELETE = "DeleteBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
STOP = "StopBatchInferenceTask"


def actions(sandbox: Sandbox) -> list[str | None]:
    return [request.action for request in sandbox.requests]


@pytest.mark.parametrize("run_status", ["Queuing", "Running"])
def test_delete_stops_an_active_task_first(sandbox: Sandbox, client: TaskClient, run_status: str) -> None:
    task_id = sandbox.add_task(run_status=run_status)
    result = client.delete(task_id, stop_first=True)
    assert (result.outcome, result.stopped, result.attempts) == ("deleted", True, 1)
    assert sandbox.tasks == {}
    sent = actions(sandbox)
    assert (sent[:2], set(sent[2:-1]), sent[-1]) == ([GET, STOP], {GET}, DELETE)
    assert len(sent) <= 8  # 5 seconds of stopping: looks after about 1, 2.5 and 5 seconds


def test_delete_waits_for_a_stopping_task(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Stopping", ends_after=7.0, ends_as="Stopped")
    result = client.delete(task_id, stop_first=True)
    assert (result.outcome, result.stopped) == ("deleted", True)
    assert STOP not in actions(sandbox)


@pytest.mark.parametrize("run_status", ["Done", "Failed", "Stopped", "Expired"])
def test_delete_of_an_ended_task_does_not_stop_it(
    sandbox: Sandbox, client: TaskClient, run_status: str
) -> None:
    task_id = sandbox.add_task(run_status=run_status)
    result = client.delete(task_id, stop_first=True)
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
def test_delete_of_a_task_that_ends_between_look_and_stop_deletes_it(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Done")
    still_running = Fault.transform(
        lambda body: {**body, "result": {**body["result"], "runStatus": "Running"}}
    )
    sandbox.inject(still_running, action=GET)
    result = client.delete(task_id, stop_first=True)
    assert (result.outcome, result.stopped) == ("deleted", False)
    assert sandbox.tasks == {}


def test_delete_of_an_unknown_state_touches_nothing(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Archiving")
    with pytest.raises(TaskStateError, match=f"{task_id} is in a state that is not known, Archiving"):
        client.delete(task_id, stop_first=True)
    assert actions(sandbox) == [GET]


@pytest.mark.parametrize(
    ("run_status", "done"), [("Running", "was told to stop"), ("Stopping", "was stopping already")]
)
@pytest.mark.parametrize("limit", [30, timedelta(seconds=30), 0])
def test_delete_at_the_limit_tells_what_was_done(
    sandbox: Sandbox, client: TaskClient, run_status: str, done: str, limit: float | timedelta
) -> None:
    task_id = sandbox.add_task(run_status=run_status)
    sandbox.inject(Fault.transform(lambda body: body), action=STOP)
    if run_status == "Running":  # it takes longer than anybody waits
        sandbox.inject(stopping_for_ever(), action=GET, times=None, skip=1)
    with pytest.raises(WaitTimeoutError, match=f"{done} but is still Stopping; it was not deleted") as caught:
        client.delete(task_id, stop_first=True, stop_timeout=limit)
    error = caught.value
    assert error.task is not None
    assert (error.task.run_status, error.task_id, error.pending) == ("Stopping", task_id, (task_id,))
    assert "stop_first=True" in str(error.hint)
    assert DELETE not in actions(sandbox)
    assert actions(sandbox).count(STOP) == (run_status == "Running")


def stopping_for_ever() -> Fault:
    return Fault.transform(lambda body: {**body, "result": {**body["result"], "runStatus": "Stopping"}})


def test_delete_again_after_the_limit_goes_on(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    with pytest.raises(WaitTimeoutError):
        client.delete(task_id, stop_first=True, stop_timeout=1)
    assert client.delete(task_id, stop_first=True).outcome == "deleted"
    assert actions(sandbox).count(STOP) == 1


def test_delete_with_the_answer_of_every_step_lost_is_already_gone(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    for action in (GET, STOP, DELETE):
        sandbox.inject(Fault.reset_after(), action=action)
    result = client.delete(task_id, stop_first=True)
    assert (result.outcome, result.stopped, result.attempts) == ("already_gone", True, 2)


def test_delete_of_what_is_not_there_is_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError):
        client.delete("infer-9ia3kc1wt9mp", stop_first=True)
    assert actions(sandbox) == [GET]


def test_delete_of_what_may_be_missing_is_already_gone(client: TaskClient) -> None:
    assert client.delete("infer-1", stop_first=True, missing_ok=True).outcome == "already_gone"


def test_delete_of_a_task_deleted_by_others_while_it_was_stopped_is_not_its_own_doing(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_after(), action=STOP)
    sandbox.inject(Fault.status(404, code="TaskNotFound"), action=STOP)
    with pytest.raises(TaskNotFoundError) as caught:
        client.delete(task_id, stop_first=True)
    assert caught.value.action == STOP
