"""Every error that a call can raise, as a tree; `_protocol/error_codes.py` maps the service's codes to it.

    QfTasksError
    ├── ConfigurationError          settings: missing, half a pair, unknown key, unreadable file
    ├── InvalidArgumentError        (also ValueError) rejected before any request
    │   └── InvalidRecordError      a record that a task could not process
    ├── ServiceUnreachableError     no response: refused, DNS, TLS, proxy, reset
    │   └── RequestTimeoutError     (also TimeoutError)
    ├── BadResponseError            a response that cannot be read
    ├── ApiError                    the service rejected the request
    │   ├── AuthenticationError     keys, signature, clock
    │   ├── PermissionDeniedError   the keys are valid, but not allowed to do this
    │   ├── InvalidRequestError     the service does not accept these parameters
    │   ├── TaskNotFoundError
    │   ├── NotFoundError           no such object or bucket in BOS
    │   ├── TaskStateError          the state of the task forbids it
    │   ├── QuotaExceededError      the account has too many active tasks
    │   ├── RateLimitError
    │   └── ServerError
    ├── OutcomeUnknownError         a create that may or may not have succeeded
    ├── TaskError                   the task did not end as requested
    │   ├── TaskFailedError
    │   └── WaitTimeoutError        (also TimeoutError) the task keeps running
    └── BulkError                   (in `reports.py`) some of many tasks failed
    BulkInterrupted(KeyboardInterrupt)  (in `reports.py`)

This file knows nothing of HTTP or of the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypedDict, Unpack

from qf_tasks.models import Task


class ErrorDetails(TypedDict, total=False):
    """What an error can carry beside its message; each is optional."""

    code: str | None
    status: int | None
    request_id: str | None
    action: str | None
    task_id: str | None
    retryable: bool
    may_have_been_applied: bool
    retry_after: float | None
    attempts: int | None
    hint: str | None


def _restore(cls: type[QfTasksError], message: str, state: dict[str, object]) -> QfTasksError:
    error = cls.__new__(cls)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class QfTasksError(Exception):
    """The root of all errors of this library; its attributes are what a program needs to decide.

    Attributes:
        message: what happened, in one line.
        code: the error code of the service, or ours for a connection that failed (`"ReadTimeout"`).
        status: the HTTP status, if there was a response.
        request_id: the service's id of the request; quote it to its support.
        action, task_id: the action that was requested, and of which task.
        retryable: calling the same method again later is safe and may help.
        may_have_been_applied: the service may have done what was asked although this was raised.
        retry_after: seconds to wait, if the service named a time.
        attempts: how many times the request was sent.
        hint: what a person can do next.
    """

    _transient: ClassVar[bool] = False
    _hint: ClassVar[str | None] = None

    def __init__(self, message: str, **details: Unpack[ErrorDetails]) -> None:
        super().__init__(message)
        self.message: str = message
        self.code: str | None = details.get("code")
        self.status: int | None = details.get("status")
        self.request_id: str | None = details.get("request_id")
        self.action: str | None = details.get("action")
        self.task_id: str | None = details.get("task_id")
        self.retryable: bool = details.get("retryable", self._transient)
        self.may_have_been_applied: bool = details.get("may_have_been_applied", False)
        self.retry_after: float | None = details.get("retry_after")
        self.attempts: int | None = details.get("attempts")
        self.hint: str | None = None
        if hint := details.get("hint") or self._hint:
            self.set_hint(hint)

    def set_hint(self, hint: str) -> None:
        """Set the hint; a plain traceback shows it as a note."""
        self.hint = hint
        self.__notes__: list[str] = [hint]

    def __str__(self) -> str:
        """Return the message, then the code and the request id in brackets."""
        request = f"request id {self.request_id}" if self.request_id else None
        marks = ", ".join(mark for mark in (self.code, request) if mark)
        return f"{self.message} [{marks}]" if marks else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Keep class and attributes through pickle and copy, whatever arguments a subclass takes."""
        return _restore, (type(self), self.message, self.__dict__.copy())


class ConfigurationError(QfTasksError):
    """The settings do not allow a call: keys missing, half a pair, an unknown key, an unreadable file."""


class InvalidArgumentError(QfTasksError, ValueError):
    """An argument was rejected before any request was sent."""


class InvalidRecordError(InvalidArgumentError):
    """A record that a task could not process.

    Attributes:
        file: the path or URI of its file; None if it came from an iterable.
        line: its line in the file, or its position in the iterable, from 1.
        rule: which rule it breaks, in one line.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int = 0,
        rule: str = "",
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.file: str | None = file
        self.line: int = line
        self.rule: str = rule


class ServiceUnreachableError(QfTasksError):
    """There was no response: refused connection, unknown host, TLS, proxy, reset; `code` names which."""

    _transient = True
    _hint = "Check network, proxy and base_url; `qf-tasks doctor` checks each of them."


class RequestTimeoutError(ServiceUnreachableError, TimeoutError):
    """There was no complete response within `request_timeout`."""

    _hint = "Try again later, or raise request_timeout."


class BadResponseError(QfTasksError):
    """There was a response, but it is not one of the service."""

    _hint = "A proxy or gateway on the route may have responded in place of the service."


class ApiError(QfTasksError):
    """The service rejected the request; the subclasses say why."""


class AuthenticationError(ApiError):
    """The keys, the signature or its date were rejected."""

    _hint = (
        "Check access key and secret key: they are the IAM pair (安全认证 Access Key / Secret Key), "
        "not an application's API key. 认证失败，请检查 Access Key 与 Secret Key。"
    )


class PermissionDeniedError(ApiError):
    """The keys are valid, but not allowed to do this."""

    _hint = (
        "Grant the user QianfanFullControlAccessPolicy or QianfanServiceOperateAccessPolicy "
        "(create also needs BOSFullControlAccessPolicy). 权限不足，请为该用户授予上述策略。"
    )


class InvalidRequestError(ApiError):
    """The service does not accept these parameters."""

    _hint = "Correct the parameter that the message names; sending it again unchanged cannot help."


class TaskNotFoundError(ApiError):
    """The account of these keys has no such task."""

    _hint = "The task was deleted, or belongs to another account than these keys. 任务不存在或属于其他账号。"


class NotFoundError(ApiError):
    """There is no such object or bucket in BOS."""

    _hint = "Check the bucket and the path, and that both belong to the account of these keys."


class TaskStateError(ApiError):
    """The state of the task forbids what was asked."""

    _hint = "Check the run_status of the task first. 任务当前状态不允许此操作。"


class QuotaExceededError(ApiError):
    """The account has too many active tasks; 20 are documented, see `.github/docs/service.md#quota`."""

    _transient = True
    _hint = (
        "Wait until a task has ended, or stop one; quota_timeout lets create wait for a free slot. "
        "运行中的任务数已达配额上限，请等待或停止任务。"
    )


class RateLimitError(ApiError):
    """Too many requests; `retry_after` has the seconds to wait, if the service named them."""

    _transient = True
    _hint = "Send fewer requests at once, or wait for retry_after seconds."


class ServerError(ApiError):
    """The service failed internally (5xx)."""

    _transient = True
    _hint = "Try again later; if it keeps failing, quote the request id to support."


class OutcomeUnknownError(QfTasksError):
    """A create, or an earlier one with its key, may have succeeded; `candidates` could be its task."""

    _hint = "Check with list(name=...) before creating it again. 请先查询任务列表，勿直接重试。"

    def __init__(
        self, message: str, *, candidates: Sequence[Task] = (), **details: Unpack[ErrorDetails]
    ) -> None:
        details.setdefault("may_have_been_applied", True)
        super().__init__(message, **details)
        self.candidates: tuple[Task, ...] = tuple(candidates)


class TaskError(QfTasksError):
    """A task did not end as requested: `task` is its last snapshot, None if there are several."""

    def __init__(
        self,
        message: str,
        *,
        task: Task | None = None,
        tasks: Mapping[str, Task] | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.task: Task | None = task
        self.tasks: dict[str, Task] = dict(tasks or {})


class TaskFailedError(TaskError):
    """The task ended as Failed, Expired or Stopped; `failed` has all of them if several were awaited."""

    _hint = (
        "Read error_reason and error_code of the task, fix the cause, and create it again. "
        "任务未成功，请查看任务状态与失败原因。"
    )

    @property
    def failed(self) -> dict[str, Task]:
        """The tasks that did not end as Done, by id."""
        return {task_id: task for task_id, task in self.tasks.items() if not task.is_success}


class WaitTimeoutError(TaskError, TimeoutError):
    """The timeout of a wait passed; the tasks keep running. `.done` and `.pending` list the two groups."""

    _transient = True

    def __init__(
        self,
        message: str,
        *,
        pending: Sequence[str] = (),
        task: Task | None = None,
        tasks: Mapping[str, Task] | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, task=task, tasks=tasks, **details)
        self.pending: tuple[str, ...] = tuple(pending)

    @property
    def done(self) -> dict[str, Task]:
        """The tasks that have ended, by id."""
        return {task_id: task for task_id, task in self.tasks.items() if task.is_final}
