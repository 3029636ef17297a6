"""What `QianfanBatchInferenceOperator` runs: one batch inference task, or a job of as many as needed.

The end of either is described by an event, a dict of JSON values, whether the worker or a trigger has waited.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qf_tasks.airflow._compat import AirflowException, Context
from qf_tasks.airflow.triggers import (
    Event,
    QianfanJobTrigger,
    QianfanTaskTrigger,
    QianfanTrigger,
    job_event,
    tasks_event,
)
from qf_tasks.errors import NotFoundError
from qf_tasks.jobs.models import DONE, FAILED, STOPPED, STOPPING, JobStatus
from qf_tasks.models import RunStatus, Task

if TYPE_CHECKING:
    from qf_tasks import TaskClient

_MAX_NAME = 20
_MAX_DESCRIPTION = 400  # the idempotency key is added to it
_STOPPABLE = [status for status in RunStatus.KNOWN if status.can_stop]
_JUST_NOW = "1h"  # a create in progress, and clocks that differ


class Work(ABC):
    """The work of one run of the operator: the same in every retry, new after a clear.

    Attributes:
        label: what messages call it.
        xcom_key: the key of the XCom with its identity.
        identity: the id of the task, or the directory of the job.
    """

    label: str
    xcom_key: str
    identity: str

    @abstractmethod
    def stop_cleared(self, client: TaskClient) -> None:
        """Stop what was started before a clear, which only a trigger that was running has stopped."""

    @abstractmethod
    def start(self, client: TaskClient) -> None:
        """Create it, or find what an earlier try has created."""

    @abstractmethod
    def outcome(self, client: TaskClient) -> Event | None:
        """Return how it has ended, None if it has not."""

    @abstractmethod
    def wait(self, client: TaskClient, timeout: float, poll_interval: float) -> Event:
        """Wait until it has ended, and return how."""

    @abstractmethod
    def trigger(self, **arguments: Any) -> QianfanTrigger:
        """Return the trigger that waits for it."""

    @abstractmethod
    def stop(self, client: TaskClient) -> None:
        """Stop it, even if `start` was interrupted."""


class TaskWork(Work):
    """One batch inference task, which is found by its idempotency key."""

    label = "Task"
    xcom_key = "task_id"

    def __init__(self, context: Context, fields: dict[str, Any]) -> None:
        self.identity = ""
        ti = context["ti"]
        is_mapped = ti.map_index is not None and ti.map_index >= 0
        path = [ti.dag_id, ti.task_id, ti.run_id, *([str(ti.map_index)] if is_mapped else [])]
        self._fields = {
            **fields,
            "name": fields["name"] or f"{ti.dag_id}.{ti.task_id}"[:_MAX_NAME],
            "description": fields["description"] or f"Airflow: {' / '.join(path)}"[:_MAX_DESCRIPTION],
            "idempotency_key": idempotency_key(context, generation_of(context)),
        }
        self._cleared_keys = {idempotency_key(context, earlier) for earlier in range(generation_of(context))}

    def stop_cleared(self, client: TaskClient) -> None:
        """Stop the tasks with the keys of earlier generations."""
        if self._cleared_keys:
            for task in client.list(run_status=_STOPPABLE):
                if task.idempotency_key in self._cleared_keys:
                    client.stop(task)

    def start(self, client: TaskClient) -> None:
        """Create the task, or find the one with this key."""
        self.identity = client.create(**self._fields).task_id

    def outcome(self, client: TaskClient) -> Event | None:
        """Return how it has ended, None if it has not."""
        task = client.get(self.identity)
        return tasks_event([task]) if task.is_final else None

    def wait(self, client: TaskClient, timeout: float, poll_interval: float) -> Event:
        """Return how it has ended."""
        task = client.wait(
            self.identity, timeout=timeout, poll_interval=poll_interval, raise_on_failure=False
        )
        return tasks_event([task])

    def trigger(self, **arguments: Any) -> QianfanTrigger:
        """Return the trigger that waits for it."""
        return QianfanTaskTrigger(task_ids=[self.identity], **arguments)

    def stop(self, client: TaskClient) -> None:
        """Stop the task; if its create was interrupted, search for it."""
        key = self._fields["idempotency_key"]
        created = self.identity or next(
            (task.task_id for task in client.list(newer_than=_JUST_NOW) if task.idempotency_key == key), None
        )
        if created:
            client.stop(created)


class JobWork(Work):
    """A job, which is found by its directory."""

    label = "Job"
    xcom_key = "bos_uri"

    def __init__(self, context: Context, records: object, bos_uri: str, fields: dict[str, Any]) -> None:
        # What was cleared is left as it is: another generation has another directory.
        reruns = [f"{bos_uri.rstrip('/')}-rerun-{number + 1}/" for number in range(generation_of(context))]
        *self._cleared, self.identity = [bos_uri, *reruns]
        self._context = context
        self._records = records
        self._fields = fields

    def stop_cleared(self, client: TaskClient) -> None:
        """Stop the jobs of earlier generations."""
        for directory in self._cleared:
            _stop_job(client, directory)

    def start(self, client: TaskClient) -> None:
        """Submit the records, or those of an earlier try that have no result."""
        records = self._records(self._context) if callable(self._records) else self._records
        job = client.submit(records, bos_uri=self.identity, **self._fields)
        status = job.status()
        if status.state == STOPPING:  # an earlier try was killed
            status = job.run(raise_on_failure=False)
        if status.state in (FAILED, STOPPED):
            job.retry_failures()

    def outcome(self, client: TaskClient) -> Event | None:
        """Return how it has ended, None if it has not."""
        status = client.job(self.identity).status()
        return job_event(status) if status.is_final else None

    def wait(self, client: TaskClient, timeout: float, poll_interval: float) -> Event:
        """Return how it has ended."""
        job = client.job(self.identity)
        return job_event(job.run(timeout=timeout, poll_interval=poll_interval, raise_on_failure=False))

    def trigger(self, **arguments: Any) -> QianfanTrigger:
        """Return the trigger that waits for it."""
        return QianfanJobTrigger(bos_uri=self.identity, **arguments)

    def stop(self, client: TaskClient) -> None:
        """Stop its tasks, and have it submit no more."""
        _stop_job(client, self.identity)


def _stop_job(client: TaskClient, directory: str) -> None:
    try:
        job = client.job(directory)
    except NotFoundError:  # there was none, or its upload was interrupted
        return
    job.stop()


def result_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the operator returns.

    Raises:
        AirflowException: The event is that of a failure, or unknown.
    """
    check_event(event)
    if "job" in event:
        return _job_result(JobStatus.model_validate(event["job"]))
    return _task_result(Task.model_validate(event["tasks"][0]))


def _task_result(task: Task) -> dict[str, Any]:
    check_success([task])
    return {
        "task_id": task.task_id,
        "run_status": str(task.run_status),
        "output_uri": task.output_uri,
        "input_token_usage": task.input_token_usage,
        "output_token_usage": task.output_token_usage,
    }


def _job_result(status: JobStatus) -> dict[str, Any]:
    if status.state != DONE:
        shards = ", ".join(status.failed_shards)
        raise AirflowException(
            f"Job {status.bos_uri} ended as {status.state}; shards that failed: {shards}. "
            "A retry runs the records without a result again. 重试时仅重新运行没有结果的记录。"
        )
    return {
        "bos_uri": status.bos_uri,
        "state": status.state,
        "records": status.records,
        "shards": status.shards,
        "token_usage": status.usage,
    }


def check_event(event: Mapping[str, Any]) -> None:
    """Raise `AirflowException` unless the event says that something has ended."""
    if event.get("status") != "ended":
        raise AirflowException(str(event.get("message", f"unknown event: {event}")))


def check_success(tasks: list[Task]) -> None:
    """Raise `AirflowException` if a task did not end as Done."""
    if failed := [task for task in tasks if not task.is_success]:
        raise AirflowException("; ".join(map(_failure_of, failed)))


def _failure_of(task: Task) -> str:
    reason = f": {task.error_reason}" if task.error_reason else ""
    return f"Task {task.task_id} ended as {task.run_status}{reason}"


def several(tasks: str | Iterable[str]) -> list[str]:
    """Return one id or several as a list."""
    return [tasks] if isinstance(tasks, str) else list(tasks)


def idempotency_key(context: Context, generation: int) -> str:
    """Return what identifies a run of an Airflow task: equal in every retry, another one after a clear."""
    ti = context["ti"]
    identity = json.dumps([ti.dag_id, ti.task_id, ti.run_id, ti.map_index, generation])
    return f"airflow-{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


def generation_of(context: Context) -> int:
    """Return 0 until the Airflow task is cleared, which raises `max_tries` by the tries that were made."""
    return max(0, context["ti"].max_tries - (context["task"].retries or 0))
