"""Stopping and deleting one task: what a refusal of it means, and stop-then-delete.

The service documents no codes for "no such task" and "not in this state", so a refusal that the table does
not know is looked into once: the task itself tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from qf_tasks._protocol.error_codes import is_known
from qf_tasks.errors import (
    ApiError,
    ErrorDetails,
    InvalidRequestError,
    PermissionDeniedError,
    QfTasksError,
    TaskNotFoundError,
    TaskStateError,
    WaitTimeoutError,
)
from qf_tasks.models import DeleteResult, Response, RunStatus, StopResult, Task

ACTION = "DeleteBatchInferenceTask"


class Verbs(Protocol):
    """What this room needs of the client."""

    def call(self, action: str, params: Mapping[str, Any]) -> Response: ...

    def get(self, task: str) -> Task: ...

    def stop(self, task: str) -> StopResult: ...

    def wait(self, task: Task, *, timeout: float | None, raise_on_failure: bool) -> Task: ...


def stop(verbs: Verbs, task_id: str) -> StopResult:
    """Ask the service to stop a task; one that has ended already, or is stopping, is told as it is."""
    try:
        reply = verbs.call("StopBatchInferenceTask", {"taskId": task_id})
    except ApiError as refusal:
        if not _may_be_about_the_task(refusal):
            raise
        task = _looked_up(verbs, refusal, task_id)
        if task.is_final or task.run_status == RunStatus.STOPPING:
            return StopResult(task_id, refusal.request_id, task.run_status)
        raise
    return StopResult(task_id, reply.request_id, RunStatus.STOPPING)


def delete(
    verbs: Verbs, task_id: str, *, stop_first: bool, stop_timeout: float | None, missing_ok: bool
) -> DeleteResult:
    """Delete a task, stopping it first where that was asked for."""
    stopped = False
    try:
        stopped = stop_first and _stopped_first(verbs, task_id, stop_timeout)
        reply = _deleted(verbs, task_id)
    except TaskNotFoundError as gone:
        # Deleted by an earlier attempt of this very delete, whose answer was lost; or allowed to be gone.
        is_own_doing = gone.may_have_been_applied and gone.action == ACTION
        if not (is_own_doing or missing_ok):
            raise
        return DeleteResult(task_id, gone.request_id, "already_gone", stopped, gone.attempts or 1)
    return DeleteResult(task_id, reply.request_id, "deleted", stopped, reply.attempts)


def _deleted(verbs: Verbs, task_id: str) -> Response:
    try:
        return verbs.call(ACTION, {"taskId": task_id})
    except ApiError as refusal:
        if not _may_be_about_the_task(refusal):
            raise
        task = _looked_up(verbs, refusal, task_id)
        if task.run_status.can_delete or task.run_status not in RunStatus.KNOWN:
            raise
        facts = _facts_of(refusal)
        facts["hint"] = (
            "Stop it first with stop_first=True (--stop-first), or wait until it has ended. "
            f"任务状态为 {task.run_status}，请先停止，或等待其结束后再删除。"
        )
        what = f"Task {task_id} is {task.run_status} and cannot be deleted"
        raise TaskStateError(what, **facts) from refusal


def _stopped_first(verbs: Verbs, task_id: str, timeout: float | None) -> bool:
    """Bring a task to its end, and return whether it had to be stopped for that."""
    task = verbs.get(task_id)
    run_status = task.run_status
    if run_status not in RunStatus.KNOWN:
        raise TaskStateError(
            f"Task {task_id} is in a state that is not known, {run_status}; it was not touched",
            action=ACTION,
            task_id=task_id,
            request_id=task.request_id,
        )
    asked = run_status.can_stop
    if asked:
        run_status = verbs.stop(task_id).run_status
    if run_status.is_final:
        return False
    try:
        ended = verbs.wait(task, timeout=timeout, raise_on_failure=False)
    except WaitTimeoutError as late:
        raise _not_yet_deleted(late, task_id, asked=asked) from late
    return ended.run_status == RunStatus.STOPPED


def _not_yet_deleted(late: WaitTimeoutError, task_id: str, *, asked: bool) -> WaitTimeoutError:
    state = late.task.run_status if late.task else "not ended"
    done = "was told to stop" if asked else "was stopping already"
    return WaitTimeoutError(
        f"Task {task_id} {done} but is still {state}; it was not deleted",
        task=late.task,
        task_id=task_id,
        pending=(task_id,),
        hint="Delete it again with stop_first=True, which goes on where this stopped. "
        "任务仍在停止中，尚未删除，请稍后重试。",
    )


def _may_be_about_the_task(refusal: ApiError) -> bool:
    """Return whether a refusal could mean the task's state or absence, rather than keys, rate or server."""
    if type(refusal) is PermissionDeniedError:
        return _has_unknown_code(refusal)
    return type(refusal) in (ApiError, InvalidRequestError)


def _has_unknown_code(refusal: ApiError) -> bool:
    return bool(refusal.code) and not is_known(refusal.code or "")


def _looked_up(verbs: Verbs, refusal: ApiError, task_id: str) -> Task:
    """Return the task that a refusal was about; raise "not found" or the refusal itself where it says no.

    Raises:
        TaskNotFoundError: it is not there, or the look was refused with the same unknown code.
    """
    try:
        return verbs.get(task_id)
    except TaskNotFoundError as missing:
        raise TaskNotFoundError(missing.message, **_facts_of(refusal)) from refusal
    except ApiError as second:
        is_same = second.code == refusal.code and _has_unknown_code(refusal)
        if is_same and second.status != 403:  # which may as well mean every task of the account
            raise TaskNotFoundError(refusal.message, **_facts_of(refusal)) from refusal
        raise refusal from second
    except QfTasksError as second:
        raise refusal from second


def _facts_of(error: QfTasksError) -> ErrorDetails:
    return ErrorDetails(
        code=error.code,
        status=error.status,
        request_id=error.request_id,
        action=error.action,
        task_id=error.task_id,
        attempts=error.attempts,
        may_have_been_applied=error.may_have_been_applied,
    )
