"""Stops and deletes one task, and finds out what a rejection means.

The service documents no codes for "no such task" and "not in this state", so a rejection with an unknown code
is explained by asking for the task itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from qf_tasks._operations import arguments, polling
from qf_tasks._operations.api import Api
from qf_tasks._operations.listing import check_missing, details_of, get, is_certainly_missing
from qf_tasks._protocol.actions import DELETE, STOP
from qf_tasks._protocol.error_codes import is_known
from qf_tasks.errors import (
    ApiError,
    InvalidRequestError,
    PermissionDeniedError,
    QfTasksError,
    TaskNotFoundError,
    TaskStateError,
    WaitTimeoutError,
)
from qf_tasks.models import DeleteResult, RunStatus, StopResult, Task

_logger = logging.getLogger("qf_tasks")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How a task is deleted.

    Attributes:
        stop_timeout: seconds to wait for a stop; None waits without a limit.
    """

    stop_first: bool = False
    stop_timeout: float | None = 300.0
    missing_ok: bool = False


def delete_options(stop_first: bool, stop_timeout: object, missing_ok: bool) -> DeleteOptions:
    """Return the options for the arguments of `delete`."""
    timeout = arguments.duration_or_none(stop_timeout, "stop_timeout")
    return DeleteOptions(bool(stop_first), timeout, bool(missing_ok))


async def stop(api: Api, task_id: str) -> StopResult:
    """Ask the service to stop a task; for one that has ended or is stopping, return its state."""
    try:
        response = await api.call(STOP, {"taskId": task_id})
    except ApiError as rejection:
        task = await _task_of_rejection(api, rejection, task_id)
        if not (task.is_final or task.run_status == RunStatus.STOPPING):
            raise
        if rejection.may_have_been_applied:  # an earlier attempt, whose response was lost, has stopped it
            log_change(api, "stopping", task_id, rejection.request_id)
        return StopResult(task_id, rejection.request_id, task.run_status)
    log_change(api, "stopping", task_id, response.request_id)
    return StopResult(task_id, response.request_id, RunStatus.STOPPING)


async def delete(api: Api, task_id: str, options: DeleteOptions) -> DeleteResult:
    """Delete a task, stopping it first if asked to."""
    stopped = False
    try:
        if options.stop_first:
            stopped = await _stop_and_wait(api, task_id, options.stop_timeout)
        result = await _delete(api, task_id, stopped)
    except TaskNotFoundError as missing:
        # An earlier attempt of this very delete, whose response was lost, may have deleted it.
        is_own_work = missing.may_have_been_applied and missing.action == DELETE
        if not (is_own_work or options.missing_ok):
            raise
        result = DeleteResult(task_id, missing.request_id, "already_gone", stopped, missing.attempts or 1)
        if not is_own_work:
            return result
    log_change(api, result.outcome, task_id, result.request_id)
    return result


def log_change(api: Api, change: str, task_id: str, request_id: str | None) -> None:
    """Log what took effect, once per create, stop and delete."""
    _logger.info("Task %s %s (request id %s, %s)", task_id, change, request_id, api.account)


async def _delete(api: Api, task_id: str, stopped: bool) -> DeleteResult:
    try:
        response = await api.call(DELETE, {"taskId": task_id})
    except ApiError as rejection:
        task = await _task_of_rejection(api, rejection, task_id)
        if task.run_status.can_delete or task.run_status not in RunStatus.KNOWN:
            raise
        details = details_of(rejection)
        details["hint"] = (
            "Stop it first with stop_first=True, or wait until it has ended. "
            f"任务状态为 {task.run_status}，请先停止，或等待其结束后再删除。"
        )
        message = f"Task {task_id} is {task.run_status} and cannot be deleted"
        raise TaskStateError(message, **details) from rejection
    return DeleteResult(task_id, response.request_id, "deleted", stopped, response.attempts)


async def _stop_and_wait(api: Api, task_id: str, timeout: float | None) -> bool:
    """Wait until a task has ended, stopping it if necessary; return whether it was stopped."""
    task = await get(api, task_id)
    run_status = task.run_status
    if run_status not in RunStatus.KNOWN:
        raise TaskStateError(
            f"Task {task_id} is in the unknown state {run_status}; it was not touched",
            action=DELETE,
            task_id=task_id,
            request_id=task.request_id,
        )
    if run_status.can_stop:
        run_status = (await stop(api, task_id)).run_status
    if run_status.is_final:
        return False
    try:
        ended = await polling.wait(api, task_id, polling.WaitOptions(timeout), known=task)
    except WaitTimeoutError as late:
        state = late.task.run_status if late.task else "not known to have ended"
        raise WaitTimeoutError(
            f"Task {task_id} is still {state} after {timeout:g} s and was not deleted",
            task=late.task,
            task_id=task_id,
            pending=(task_id,),
            hint="Delete it again with stop_first=True, which continues from here. "
            "任务仍在停止中，尚未删除，请稍后重试。",
        ) from late
    return ended.run_status == RunStatus.STOPPED


async def _task_of_rejection(api: Api, rejection: ApiError, task_id: str) -> Task:
    """Return the task that a rejection was about.

    Raises:
        TaskNotFoundError: The task does not exist; with the details of the rejection.
        ApiError: The rejection itself, if it was not about the task or nothing more can be found out.
    """
    if isinstance(rejection, TaskNotFoundError):
        await check_missing(api, rejection, task_id)
        raise rejection
    if not _may_be_about_the_task(rejection):
        raise rejection
    try:
        return await get(api, task_id)
    except TaskNotFoundError as missing:
        raise TaskNotFoundError(missing.message, **details_of(rejection)) from rejection
    except ApiError as second:
        # One unknown code for both requests: "not found", or a rejection of the whole account.
        is_same = second.code == rejection.code and _has_unknown_code(rejection) and second.status != 403
        if is_same and await is_certainly_missing(api, rejection, task_id):
            raise TaskNotFoundError(rejection.message, **details_of(rejection)) from rejection
        raise rejection from second
    except QfTasksError as second:
        raise rejection from second


def _may_be_about_the_task(rejection: ApiError) -> bool:
    """Return whether a rejection could mean the task's state or absence, rather than keys, rate or server."""
    if type(rejection) is PermissionDeniedError:
        return _has_unknown_code(rejection)
    return type(rejection) in (ApiError, InvalidRequestError)


def _has_unknown_code(rejection: ApiError) -> bool:
    return bool(rejection.code) and not is_known(rejection.code or "")
