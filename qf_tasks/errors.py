"""Every way in which a call can fail, as a tree; `_codes.py` has the table that feeds it.

    QfTasksError
    ├── ConfigurationError          settings: missing, half a pair, unknown key, unreadable file
    ├── InvalidArgumentError        (also ValueError) refused before any request
    ├── ServiceUnreachableError     no answer: refused, DNS, TLS, proxy, reset
    │   └── RequestTimeoutError     (also TimeoutError)
    ├── BadResponseError            an answer that cannot be read
    ├── ApiError                    the service said no
    │   ├── AuthenticationError     keys, signature, clock
    │   ├── PermissionDeniedError   known, but not allowed
    │   ├── InvalidRequestError     the service does not take these parameters
    │   ├── TaskNotFoundError
    │   ├── TaskStateError          the state of the task forbids it
    │   ├── QuotaExceededError
    │   ├── RateLimitError
    │   └── ServerError
    ├── OutcomeUnknownError         a create that may or may not have happened
    ├── TaskError                   the task ended otherwise than asked
    │   ├── TaskFailedError
    │   └── WaitTimeoutError        (also TimeoutError) the task goes on
    └── BulkError                   some of many tasks failed
    BulkInterrupted(KeyboardInterrupt)

This file knows nothing of HTTP or of the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, TypedDict, Unpack

from qf_tasks.models import Task

if TYPE_CHECKING:  # a type only: the report is made two floors above
    from qf_tasks.reports import BulkReport


class Facts(TypedDict, total=False):
    """What an error can carry beside its message; every one may be left out."""

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
    """The root of all errors of this library; what a program needs to decide is on it as attributes.

    Attributes:
        message: what happened, in one line.
        code: the service's word for it, or ours for a connection that failed (`"ReadTimeout"`).
        status: the HTTP status, where there was an answer.
        request_id: the service's id of the request, to be quoted to its support.
        action, task_id: what was asked, and of which task.
        retryable: the same call may be made again later, without harm and with a chance.
        may_have_been_applied: the service may have done what was asked, although this was raised.
        retry_after: seconds, where the service said when to come back.
        attempts: how many requests this call sent.
        hint: what to do next, for a person.
    """

    _transient: ClassVar[bool] = False
    _hint: ClassVar[str | None] = None

    def __init__(self, message: str, **facts: Unpack[Facts]) -> None:
        super().__init__(message)
        self.message: str = message
        self.code: str | None = facts.get("code")
        self.status: int | None = facts.get("status")
        self.request_id: str | None = facts.get("request_id")
        self.action: str | None = facts.get("action")
        self.task_id: str | None = facts.get("task_id")
        self.retryable: bool = facts.get("retryable", self._transient)
        self.may_have_been_applied: bool = facts.get("may_have_been_applied", False)
        self.retry_after: float | None = facts.get("retry_after")
        self.attempts: int | None = facts.get("attempts")
        self.hint: str | None = None
        if hint := facts.get("hint") or self._hint:
            self.advise(hint)

    def advise(self, hint: str) -> None:
        """Say what to do next; a plain traceback shows it too."""
        self.hint = hint
        self.__notes__: list[str] = [hint]

    def __str__(self) -> str:
        """Return the message, then the code and the request id in brackets."""
        request = f"request id {self.request_id}" if self.request_id else None
        marks = ", ".join(mark for mark in (self.code, request) if mark)
        return f"{self.message} [{marks}]" if marks else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Keep class and fields through pickle and copy, whatever the subclass's arguments are."""
        return _restore, (type(self), self.message, self.__dict__.copy())


class ConfigurationError(QfTasksError):
    """The settings do not allow a call: keys missing, half a pair, an unknown key, a file unread."""


class InvalidArgumentError(QfTasksError, ValueError):
    """An argument was refused before any request was made."""


class ServiceUnreachableError(QfTasksError):
    """There was no answer: refused connection, unknown host, TLS, proxy, reset; `code` says which."""

    _transient = True
    _hint = "Check network, proxy and base_url; `qf-tasks doctor` looks at each of them."


class RequestTimeoutError(ServiceUnreachableError, TimeoutError):
    """There was no answer within `request_timeout`."""

    _hint = "Try again later, or raise request_timeout."


class BadResponseError(QfTasksError):
    """There was an answer, but it cannot be read as one of the service."""

    _hint = "Something between here and the service may have answered in its place (proxy, gateway)."


class ApiError(QfTasksError):
    """The service said no; the subclasses say why."""


class AuthenticationError(ApiError):
    """The keys, the signature or its date were refused."""

    _hint = (
        "Check access key and secret key: they are the IAM pair (安全认证 Access Key / Secret Key), "
        "not an application's API key. 认证失败，请检查 Access Key 与 Secret Key。"
    )


class PermissionDeniedError(ApiError):
    """The keys are known, but may not do this."""

    _hint = (
        "Grant the user QianfanFullControlAccessPolicy or QianfanServiceOperateAccessPolicy "
        "(create also needs BOSFullControlAccessPolicy). 权限不足，请为该用户授予上述策略。"
    )


class InvalidRequestError(ApiError):
    """The service does not take these parameters."""

    _hint = "Correct the parameter that the message names; sending it again unchanged cannot help."


class TaskNotFoundError(ApiError):
    """The account of these keys has no such task."""

    _hint = "The task was deleted, or belongs to another account than these keys. 任务不存在或属于其他账号。"


class TaskStateError(ApiError):
    """The state of the task forbids what was asked."""

    _hint = "Look at the task's run_status first. 任务当前状态不允许此操作。"


class QuotaExceededError(ApiError):
    """The account's places for active tasks are taken: 20 queuing, running or stopping (amh4suzbi)."""

    _transient = True
    _hint = (
        "Wait until a task has ended, or stop one; at most 20 may be active in an account. "
        "运行中的任务数已达配额上限，请等待或停止任务。"
    )


class RateLimitError(ApiError):
    """Too many requests; `retry_after` has the service's figure in seconds, where it gave one."""

    _transient = True
    _hint = "Send fewer requests at once, or wait for retry_after seconds."


class ServerError(ApiError):
    """The service failed inside (5xx)."""

    _transient = True
    _hint = "Try again later; quote the request id if it goes on."


class OutcomeUnknownError(QfTasksError):
    """A create may or may not have happened; `candidates` are the tasks that could be it."""

    _hint = "Do not repeat it blindly: look with list(name=...) first. 请先查询任务列表，勿直接重试。"

    def __init__(self, message: str, *, candidates: Sequence[Task] = (), **facts: Unpack[Facts]) -> None:
        facts.setdefault("may_have_been_applied", True)
        super().__init__(message, **facts)
        self.candidates: tuple[Task, ...] = tuple(candidates)


class TaskError(QfTasksError):
    """A task ended otherwise than asked: `task` is its last known state, None where many are meant."""

    def __init__(
        self,
        message: str,
        *,
        task: Task | None = None,
        tasks: Mapping[str, Task] | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.task: Task | None = task
        self.tasks: dict[str, Task] = dict(tasks or {})


class TaskFailedError(TaskError):
    """The task ended as Failed, Expired or Stopped; `failed` has all of them where many were awaited."""

    _hint = (
        "Look at error_reason and error_code of the task, mend that, and create it again. "
        "任务未成功，请查看任务状态与失败原因。"
    )

    def __init__(
        self,
        message: str,
        *,
        failed: Mapping[str, Task] | None = None,
        task: Task | None = None,
        tasks: Mapping[str, Task] | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, task=task, tasks=tasks, **facts)
        self.failed: dict[str, Task] = dict(failed or {})


class WaitTimeoutError(TaskError, TimeoutError):
    """The limit of a wait passed; the tasks go on. `done` and `pending` part them where many are awaited."""

    def __init__(
        self,
        message: str,
        *,
        done: Mapping[str, Task] | None = None,
        pending: Sequence[str] = (),
        task: Task | None = None,
        tasks: Mapping[str, Task] | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, task=task, tasks=tasks, **facts)
        self.done: dict[str, Task] = dict(done or {})
        self.pending: tuple[str, ...] = tuple(pending)


class BulkError(QfTasksError):
    """Some of many tasks were not done; `report` says which and why."""

    def __init__(self, message: str, *, report: BulkReport, **facts: Unpack[Facts]) -> None:
        super().__init__(message, **facts)
        self.report: BulkReport = report


class BulkInterrupted(KeyboardInterrupt):
    """Ctrl-C in a bulk run: what was in flight is finished, and `report` says what was done."""

    def __init__(self, message: str, report: BulkReport) -> None:
        super().__init__(message, report)
        self.report: BulkReport = report

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])
