"""Operators: run a batch inference task once for each run of an Airflow task, delete tasks, purge."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from qf_tasks._operations.create import create_request
from qf_tasks._operations.purge import purge_criteria
from qf_tasks.airflow._compat import (
    IS_AIRFLOW_3,
    AirflowException,
    AirflowTaskTimeout,
    BaseOperator,
    BaseOperatorLink,
    Context,
    conf,
)
from qf_tasks.airflow.hooks import QianfanHook, airflow_errors
from qf_tasks.airflow.triggers import QianfanTaskTrigger, timeout_message
from qf_tasks.durations import Duration, seconds
from qf_tasks.errors import InvalidArgumentError, WaitTimeoutError
from qf_tasks.models import Task

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from qf_tasks import TaskClient

OnTimeout = Literal["leave", "stop"]

# The address of a single task's page is not documented.
_CONSOLE_URL = "https://console.bce.baidu.com/qianfan/"

_MAX_NAME = 20
_MAX_DESCRIPTION = 400  # the key is added to it
_JUST_NOW = "1h"  # a create in progress, and clocks that differ

# In place of what a template or an earlier task will give: valid, so that the other arguments are checked.
_PLACEHOLDERS = {
    "name": "placeholder",
    "input_bos_uri": "bos:/placeholder/in/",
    "output_bos_uri": "bos:/placeholder/out/",
}


class QianfanConsoleLink(BaseOperatorLink):
    """A link from an Airflow task to the console of Qianfan."""

    name = "Qianfan console"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002
        """Return the address."""
        return _CONSOLE_URL


class QianfanBatchInferenceOperator(BaseOperator):
    """Creates a batch inference task once, and waits until it has ended.

    However often the Airflow task is tried, it has one batch inference task: a retry finds the one that an
    earlier try has created, even if its worker was killed, and waits for it. Only after a clear, or if the
    earlier one did not succeed, another one is created. If a user marks or clears the Airflow task, the batch
    inference task is stopped.

    Returns a dict: `task_id`, `run_status`, `output_uri`, `input_token_usage`, `output_token_usage`.

    :param input_bos_uri: The directory of the input, `bos:/bucket/folder/`. (templated)
    :param output_bos_uri: The directory for the output. (templated)
    :param endpoint: A preset service, such as `ernie-x1-turbo-32k`; exclusive with `model_id`. (templated)
    :param model_id: A model version, `amv-…`; exclusive with `endpoint`. (templated)
    :param name: 2 to 20 characters; default the beginning of `<dag_id>.<task_id>`. (templated)
    :param inference_params: Sampling parameters, such as `{"temperature": 0.2}`. (templated)
    :param description: Default: DAG, task, run and map index. (templated)
    :param data_format: `default`, `src_tgt` or `role`; default the service's.
    :param quota_timeout: How long to wait for a free slot if the account has too many active tasks; default
        not at all. A duration: seconds, a `timedelta`, or text with a unit such as `2h`.
    :param timeout: How long to wait for the end, a duration; an `execution_timeout` of the Airflow task that
        is shorter counts instead; default 25 hours.
    :param on_timeout: `leave` lets the batch inference task run after a timeout, so that a retry waits for it
        again; `stop` stops it. Default `leave`.
    :param poll_interval: The longest pause between polls, a duration; default 30 s.
    :param deferrable: Wait in the triggerer, which takes no worker slot; default the setting
        `default_deferrable` of Airflow.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = (
        "input_bos_uri",
        "output_bos_uri",
        "endpoint",
        "model_id",
        "name",
        "inference_params",
        "description",
        "qianfan_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"inference_params": "json"}
    operator_extra_links = (QianfanConsoleLink(),)
    ui_color = "#e6f0ff"

    def __init__(
        self,
        *,
        input_bos_uri: str,
        output_bos_uri: str,
        endpoint: str | None = None,
        model_id: str | None = None,
        name: str | None = None,
        inference_params: Mapping[str, Any] | None = None,
        description: str | None = None,
        data_format: Literal["default", "src_tgt", "role"] | None = None,
        quota_timeout: Duration | None = None,
        timeout: Duration = "25h",
        on_timeout: OnTimeout = "leave",
        poll_interval: Duration = 30.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_bos_uri = input_bos_uri
        self.output_bos_uri = output_bos_uri
        self.endpoint = endpoint
        self.model_id = model_id
        self.name = name
        self.inference_params = inference_params
        self.description = description
        self.data_format = data_format
        self.quota_timeout = quota_timeout
        self.timeout = timeout
        self.on_timeout = on_timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.qianfan_conn_id = qianfan_conn_id
        self._key: str | None = None
        self._task_id: str | None = None
        self._check_arguments()

    def _check_arguments(self) -> None:
        """Reject what is known to be wrong when the DAG is parsed."""
        if self.on_timeout not in ("leave", "stop"):
            raise InvalidArgumentError(f"on_timeout must be 'leave' or 'stop', not {self.on_timeout!r}")
        seconds(self.timeout, "timeout")
        seconds(self.poll_interval, "poll_interval", minimum=0.1)
        fields = {"name": self.name or _PLACEHOLDERS["name"], **self._fields}
        for field, value in fields.items():
            if is_rendered_later(value):
                fields[field] = _PLACEHOLDERS.get(field)
        create_request(**fields)

    @property
    def _fields(self) -> dict[str, Any]:
        """The arguments of `TaskClient.create` that are the same at every run."""
        return {
            "input_bos_uri": self.input_bos_uri,
            "output_bos_uri": self.output_bos_uri,
            "endpoint": self.endpoint,
            "model_id": self.model_id,
            "inference_params": self.inference_params,
            "data_format": self.data_format,
            "quota_timeout": self.quota_timeout,
        }

    @cached_property
    def hook(self) -> QianfanHook:
        """The hook of the connection."""
        return QianfanHook(self.qianfan_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the task, or find the one of an earlier try, and wait until it has ended."""
        with airflow_errors(), self.hook.get_conn() as client:
            try:
                return self._run(client, context)
            except WaitTimeoutError as error:
                self._after_timeout()
                message = timeout_message(str(error.task_id), self.on_timeout == "stop")
                raise AirflowException(message) from error
            except AirflowTaskTimeout:
                self._after_timeout()
                raise

    def _run(self, client: TaskClient, context: Context) -> dict[str, Any]:
        task_id = self._create(client, context)
        end_time = self._end_time(context)
        if not self.deferrable:
            task = client.wait(
                task_id,
                timeout=max(0.0, end_time - time.time()),
                poll_interval=self.poll_interval,
                raise_on_failure=False,
            )
            return self._result(task)
        task = client.get(task_id)  # a retry may find that it has ended
        if task.is_final:
            return self._result(task)
        trigger = QianfanTaskTrigger(
            task_ids=[task_id],
            qianfan_conn_id=self.qianfan_conn_id,
            poll_interval=seconds(self.poll_interval, "poll_interval"),
            end_time=end_time,
            stop_on_kill=True,
            stop_on_timeout=self.on_timeout == "stop",
        )
        self.defer(trigger=trigger, method_name="execute_complete")
        return {}

    def _create(self, client: TaskClient, context: Context) -> str:
        ti = context["ti"]
        self._key = idempotency_key(context)
        created = client.create(
            name=self.name or f"{ti.dag_id}.{ti.task_id}"[:_MAX_NAME],
            description=self.description or f"Airflow: {_path(ti)}"[:_MAX_DESCRIPTION],
            idempotency_key=self._key,
            **self._fields,
        )
        self._task_id = created.task_id
        ti.xcom_push(key="task_id", value=created.task_id)
        if IS_AIRFLOW_3:  # which asks for links when the task has ended, but it may be deferred for a day
            ti.xcom_push(key=QianfanConsoleLink().xcom_key, value=_CONSOLE_URL)
        return created.task_id

    def _end_time(self, context: Context) -> float:
        end_time = time.time() + seconds(self.timeout, "timeout")
        started = context["ti"].start_date
        if self.execution_timeout and started:  # Airflow 3 does not count it while the task is deferred
            end_time = min(end_time, (started + self.execution_timeout).timestamp())
        return end_time

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the result when the trigger has fired, or fail."""
        if event.get("status") != "ended":
            raise AirflowException(str(event.get("message", f"unknown event: {event}")))
        return self._result(Task.model_validate(event["tasks"][0]))

    def _result(self, task: Task) -> dict[str, Any]:
        check_success([task])
        return {
            "task_id": task.task_id,
            "run_status": str(task.run_status),
            "output_uri": task.output_uri,
            "input_token_usage": task.input_token_usage,
            "output_token_usage": task.output_token_usage,
        }

    def on_kill(self) -> None:
        """Stop the task: the Airflow task was marked or cleared, or its worker is shutting down."""
        if self._key is None:
            return
        # Another client than that of `execute`, which this may have interrupted at any statement.
        with airflow_errors(), self.hook.get_conn() as client:
            task_id = self._task_id or find_task(client, self._key)
            if task_id:
                client.stop(task_id)

    def _after_timeout(self) -> None:
        if self.on_timeout == "stop":
            self.on_kill()
        self._key = None  # nothing is left to stop when Airflow calls `on_kill` after its own timeout

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return the directories of input and output; called by the OpenLineage provider, if it is there."""
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage

        return OperatorLineage(
            inputs=[Dataset(*dataset_name(self.input_bos_uri))],
            outputs=[Dataset(*dataset_name(self.output_bos_uri))],
        )


class QianfanDeleteTasksOperator(BaseOperator):
    """Deletes tasks. This cannot be undone.

    Returns a dict of outcomes by id. A failure of one task does not stop the others, but fails the Airflow
    task at the end.

    :param tasks: The id of a task, or several. (templated)
    :param stop_first: Stop queuing and running tasks and wait until they have ended; default False.
    :param missing_ok: Treat a missing task as deleted; default True, for a retry finds those missing that
        an earlier try has deleted.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = ("tasks", "qianfan_conn_id")

    def __init__(
        self,
        *,
        tasks: str | Iterable[str],
        stop_first: bool = False,
        missing_ok: bool = True,
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = tasks
        self.stop_first = stop_first
        self.missing_ok = missing_ok
        self.qianfan_conn_id = qianfan_conn_id

    def execute(self, context: Context) -> dict[str, str]:  # noqa: ARG002
        """Delete the tasks."""
        with airflow_errors(), QianfanHook(self.qianfan_conn_id).get_conn() as client:
            report = client.delete_many(
                several(self.tasks), stop_first=self.stop_first, missing_ok=self.missing_ok
            )
            for outcome in report:
                self.log.info("Task %s: %s %s", outcome.task_id, outcome.outcome, outcome.error or "")
            report.raise_for_failures()
        return {outcome.task_id: outcome.outcome for outcome in report}


class QianfanPurgeOperator(BaseOperator):
    """Deletes the tasks that match all criteria. This cannot be undone.

    The plan is written to the log first, each task with name, state and age. At least one of `run_status`,
    `name`, `older_than` and `creator` is required.

    Returns a dict: `planned` and, unless `dry_run` is set, the number of tasks with each outcome.

    :param run_status: One or several states; default all that have ended. (templated)
    :param name: A pattern for the whole name (`*`, `?`, `[…]`), case-sensitive. (templated)
    :param older_than: The least time since a task was created and ended: a `timedelta` or text with a unit,
        such as `30d`. (templated)
    :param creator: The whole name of who created it. (templated)
    :param keep_newest: Keep this many of the newest that match by state, name and creator; default 0.
    :param stop_first: Select tasks that have not ended too, and stop them first; default False.
    :param max_tasks: Fail, and delete nothing, if more match; default 1000.
    :param dry_run: Only write the plan to the log; default False.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = ("run_status", "name", "older_than", "creator", "qianfan_conn_id")

    def __init__(
        self,
        *,
        run_status: str | Iterable[str] | None = None,
        name: str | None = None,
        older_than: timedelta | str | None = None,
        creator: str | None = None,
        keep_newest: int = 0,
        stop_first: bool = False,
        max_tasks: int = 1000,
        dry_run: bool = False,
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_status = run_status
        self.name = name
        self.older_than = older_than
        self.creator = creator
        self.keep_newest = keep_newest
        self.stop_first = stop_first
        self.max_tasks = max_tasks
        self.is_dry_run = dry_run  # `dry_run` is a method of every operator
        self.qianfan_conn_id = qianfan_conn_id
        if not any(map(is_rendered_later, self._criteria.values())):
            purge_criteria(**self._criteria)

    @property
    def _criteria(self) -> dict[str, Any]:
        return {
            "run_status": self.run_status,
            "name": self.name,
            "older_than": self.older_than,
            "creator": self.creator,
            "keep_newest": self.keep_newest,
            "stop_first": self.stop_first,
        }

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002
        """Write the plan to the log, and delete its tasks."""
        with airflow_errors(), QianfanHook(self.qianfan_conn_id).get_conn() as client:
            plan = client.plan_purge(**self._criteria, max_tasks=self.max_tasks)
            self.log.info("%r", plan)
            for task in plan:
                self.log.info("%r, created %s", task, task.create_time)
            if self.is_dry_run:
                return {"planned": len(plan)}
            report = client.purge(plan)
            for outcome in report:
                self.log.info("Task %s: %s %s", outcome.task_id, outcome.outcome, outcome.error or "")
            report.raise_for_failures()
        return {"planned": len(plan), **{name: count for name, count in report.counts.items() if count}}


def idempotency_key(context: Context) -> str:
    """Return what identifies a run of an Airflow task: equal in every retry, another one after a clear.

    A clear raises `max_tries` by the tries that were made, so it counts the generation.
    """
    ti = context["ti"]
    generation = max(0, ti.max_tries - (context["task"].retries or 0))
    identity = json.dumps([ti.dag_id, ti.task_id, ti.run_id, ti.map_index, generation])
    return f"airflow-{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


def find_task(client: TaskClient, key: str) -> str | None:
    """Return the id of the task that has an idempotency key, if it was created just now."""
    recent = client.list(newer_than=_JUST_NOW)
    return next((task.task_id for task in recent if task.idempotency_key == key), None)


def check_success(tasks: Iterable[Task]) -> None:
    """Raise `AirflowException` if a task did not end as Done."""
    if failed := [task for task in tasks if not task.is_success]:
        raise AirflowException("; ".join(map(_failure_of, failed)))


def _failure_of(task: Task) -> str:
    reason = f": {task.error_reason}" if task.error_reason else ""
    return f"Task {task.task_id} ended as {task.run_status}{reason}"


def several(tasks: str | Iterable[str]) -> list[str]:
    """Return ids as a list, also a single one."""
    return [tasks] if isinstance(tasks, str) else list(tasks)


def is_rendered_later(value: object) -> bool:
    """Return whether an argument is a template, or the result of another task."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(is_rendered_later, value.values()))
    return hasattr(value, "resolve")


def dataset_name(uri: str) -> tuple[str, str]:
    """Return namespace and name by which OpenLineage knows a directory in BOS."""
    bucket, _, path = uri.removeprefix("bos:/").partition("/")
    return f"bos://{bucket}", path


def _path(ti: Any) -> str:
    parts = [ti.dag_id, ti.task_id, ti.run_id, *([ti.map_index] if ti.map_index >= 0 else [])]
    return " / ".join(map(str, parts))
