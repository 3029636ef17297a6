"""Batch inference tasks (批量推理任务) on Baidu's Qianfan: typed, over the official SDK.

    from qf_tasks import TaskClient
    TaskClient().delete("infer-9ia3kc1wt9mp")

The public names are loaded at their first use, so that a command's help or a test run that needs none of
them does not wait; the SDK itself is imported at the first call.
"""

import importlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qf_tasks._operations.arguments import Age as Age
    from qf_tasks._operations.arguments import RunStatusLike as RunStatusLike
    from qf_tasks._operations.arguments import TaskLike as TaskLike
    from qf_tasks.async_client import AsyncTaskClient as AsyncTaskClient
    from qf_tasks.client import TaskClient as TaskClient
    from qf_tasks.data.facades import AsyncData as AsyncData
    from qf_tasks.data.facades import Data as Data
    from qf_tasks.data.models import Record as Record
    from qf_tasks.data.models import Result as Result
    from qf_tasks.data.models import Upload as Upload
    from qf_tasks.data.models import UploadPlan as UploadPlan
    from qf_tasks.durations import Duration as Duration
    from qf_tasks.errors import ApiError as ApiError
    from qf_tasks.errors import AuthenticationError as AuthenticationError
    from qf_tasks.errors import BadResponseError as BadResponseError
    from qf_tasks.errors import ConfigurationError as ConfigurationError
    from qf_tasks.errors import InvalidArgumentError as InvalidArgumentError
    from qf_tasks.errors import InvalidRecordError as InvalidRecordError
    from qf_tasks.errors import InvalidRequestError as InvalidRequestError
    from qf_tasks.errors import NotFoundError as NotFoundError
    from qf_tasks.errors import OutcomeUnknownError as OutcomeUnknownError
    from qf_tasks.errors import PermissionDeniedError as PermissionDeniedError
    from qf_tasks.errors import QfTasksError as QfTasksError
    from qf_tasks.errors import QuotaExceededError as QuotaExceededError
    from qf_tasks.errors import RateLimitError as RateLimitError
    from qf_tasks.errors import RequestTimeoutError as RequestTimeoutError
    from qf_tasks.errors import ServerError as ServerError
    from qf_tasks.errors import ServiceUnreachableError as ServiceUnreachableError
    from qf_tasks.errors import TaskError as TaskError
    from qf_tasks.errors import TaskFailedError as TaskFailedError
    from qf_tasks.errors import TaskNotFoundError as TaskNotFoundError
    from qf_tasks.errors import TaskStateError as TaskStateError
    from qf_tasks.errors import WaitTimeoutError as WaitTimeoutError
    from qf_tasks.jobs.facades import AsyncJob as AsyncJob
    from qf_tasks.jobs.facades import Job as Job
    from qf_tasks.jobs.models import JobDeletion as JobDeletion
    from qf_tasks.jobs.models import JobStatus as JobStatus
    from qf_tasks.jobs.models import JobTask as JobTask
    from qf_tasks.models import Account as Account
    from qf_tasks.models import CreatedTask as CreatedTask
    from qf_tasks.models import DeleteResult as DeleteResult
    from qf_tasks.models import ModelFamily as ModelFamily
    from qf_tasks.models import ModelVersion as ModelVersion
    from qf_tasks.models import Response as Response
    from qf_tasks.models import RunStatus as RunStatus
    from qf_tasks.models import StopResult as StopResult
    from qf_tasks.models import SupportedModels as SupportedModels
    from qf_tasks.models import Task as Task
    from qf_tasks.models import TaskPage as TaskPage
    from qf_tasks.reports import BulkError as BulkError
    from qf_tasks.reports import BulkInterrupted as BulkInterrupted
    from qf_tasks.reports import BulkOutcome as BulkOutcome
    from qf_tasks.reports import BulkReport as BulkReport
    from qf_tasks.reports import PurgePlan as PurgePlan
    from qf_tasks.settings import Settings as Settings

__version__ = "0.1.0"

_HOMES = {
    "async_client": ("AsyncTaskClient",),
    "client": ("TaskClient",),
    "data.facades": ("AsyncData", "Data"),
    "data.models": ("Record", "Result", "Upload", "UploadPlan"),
    "durations": ("Duration",),
    "errors": (
        "ApiError",
        "AuthenticationError",
        "BadResponseError",
        "ConfigurationError",
        "InvalidArgumentError",
        "InvalidRecordError",
        "InvalidRequestError",
        "NotFoundError",
        "OutcomeUnknownError",
        "PermissionDeniedError",
        "QfTasksError",
        "QuotaExceededError",
        "RateLimitError",
        "RequestTimeoutError",
        "ServerError",
        "ServiceUnreachableError",
        "TaskError",
        "TaskFailedError",
        "TaskNotFoundError",
        "TaskStateError",
        "WaitTimeoutError",
    ),
    "jobs.facades": ("AsyncJob", "Job"),
    "jobs.models": ("JobDeletion", "JobStatus", "JobTask"),
    "models": (
        "Account",
        "CreatedTask",
        "DeleteResult",
        "ModelFamily",
        "ModelVersion",
        "Response",
        "RunStatus",
        "StopResult",
        "SupportedModels",
        "Task",
        "TaskPage",
    ),
    "reports": ("BulkError", "BulkInterrupted", "BulkOutcome", "BulkReport", "PurgePlan"),
    "settings": ("Settings",),
    "_operations.arguments": ("Age", "RunStatusLike", "TaskLike"),
}

if not TYPE_CHECKING:  # a type checker would take any name for public
    __all__ = [name for names in _HOMES.values() for name in names]

    def __getattr__(name: str) -> object:
        """Return a public name from the module that defines it."""
        for home, names in _HOMES.items():
            if name in names:
                return getattr(importlib.import_module(f"qf_tasks.{home}"), name)
        raise AttributeError(f"module 'qf_tasks' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Return the public names."""
        return [*__all__, "__version__"]


logging.getLogger("qf_tasks").addHandler(logging.NullHandler())
