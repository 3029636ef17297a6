"""Every public method of the client, as a function of a client and task ids that says in a word what came."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from qf_tasks import BulkReport, PurgePlan, Task, TaskClient
from qf_tasks.models import RunStatus
from qf_tasks.reports import PurgeCriteria

Verb = Callable[..., str]  # a client, and the ids that it is about

GET, LIST = "DescribeBatchInferenceTask", "DescribeBatchInferenceTasks"
STOP, DELETE = "StopBatchInferenceTask", "DeleteBatchInferenceTask"
CREATE, MODELS = "CreateBatchInferenceTask", "DescribeBatchInferenceModel"


def get(client: TaskClient, task_id: str) -> str:
    return client.get(task_id).run_status


def models(client: TaskClient) -> str:
    return f"{len(client.models().common)} models"


def listed(client: TaskClient, *_task_ids: str) -> str:
    return _counted(client.list(page_size=1))


def pages(client: TaskClient, *_task_ids: str) -> str:
    return _counted(task for page in client.pages(page_size=1) for task in page)


def stop(client: TaskClient, task_id: str) -> str:
    return client.stop(task_id).run_status


def delete(client: TaskClient, task_id: str) -> str:
    return client.delete(task_id).outcome


def stop_first(client: TaskClient, task_id: str) -> str:
    return client.delete(task_id, stop_first=True).outcome


def create(client: TaskClient) -> str:
    created = client.create(
        name="nightly", endpoint="e", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
    )
    return "reused" if created.reused else "created"


def wait(client: TaskClient, task_id: str) -> str:
    return client.wait(task_id).run_status


def wait_all(client: TaskClient, *task_ids: str) -> str:
    return _counted(client.wait_all(task_ids).values())


def as_completed(client: TaskClient, *task_ids: str) -> str:
    return _counted(client.as_completed(task_ids))


def call_of_a_read(client: TaskClient, task_id: str) -> str:
    return type(client.call(GET, {"taskId": task_id}).result).__name__


def call_of_a_delete(client: TaskClient, task_id: str) -> str:
    return str(client.call(DELETE, {"taskId": task_id}).result)


# One task after the other: which one a fault falls on, and what it keeps from being tried, is then certain.


def delete_many(client: TaskClient, *task_ids: str) -> str:
    return _told(client.delete_many(task_ids, max_workers=1))


def delete_many_with_a_journal(client: TaskClient, *task_ids: str) -> str:
    with TemporaryDirectory() as directory:
        return _told(client.delete_many(task_ids, max_workers=1, journal=Path(directory, "journal")))


def stop_many(client: TaskClient, *task_ids: str) -> str:
    return _told(client.stop_many(task_ids, max_workers=1))


def plan_purge(client: TaskClient, *_task_ids: str) -> str:
    return _counted(client.plan_purge(run_status="Done"))


def purge(client: TaskClient, *task_ids: str) -> str:
    planned = tuple(Task(task_id, RunStatus.DONE) for task_id in task_ids)
    base_url = client._settings.base_url
    plan = PurgePlan(client.account, base_url, PurgeCriteria(), planned, {}, datetime.now(UTC))
    return _told(client.purge(plan, max_workers=1))


def _counted(tasks: Iterable[Task]) -> str:
    return f"{len(list(tasks))} tasks"


def _told(report: BulkReport) -> str:
    return " ".join(outcome.outcome for outcome in report)
