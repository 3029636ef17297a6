"""Code as users write it: mypy strict and pyright must infer the types that are asserted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, assert_type

from qf_tasks import (
    Age,
    AsyncJob,
    AsyncTaskClient,
    BulkError,
    BulkInterrupted,
    BulkOutcome,
    BulkReport,
    CreatedTask,
    DeleteResult,
    Duration,
    Job,
    JobDeletion,
    JobStatus,
    JobTask,
    OutcomeUnknownError,
    PurgePlan,
    QfTasksError,
    Response,
    Result,
    RunStatus,
    RunStatusLike,
    Settings,
    StopResult,
    SupportedModels,
    Task,
    TaskClient,
    TaskFailedError,
    TaskLike,
    TaskNotFoundError,
    TaskPage,
    WaitTimeoutError,
)
from qf_tasks.sandbox import Sandbox


def make_clients(settings: Settings) -> None:
    with TaskClient() as client:
        assert_type(client, TaskClient)
        assert_type(client.account.access_key, str)
    TaskClient(settings).close()
    TaskClient(profile="night", request_timeout=timedelta(seconds=30), max_retries=5, verify_tls=True).close()
    assert_type(Settings.load(config_file="qf_tasks.toml"), Settings)
    assert_type(settings.origin("secret_key"), str)


def delete_one(client: TaskClient, task: Task) -> str:
    result = client.delete("infer-9ia3kc1wt9mp")
    assert_type(result, DeleteResult)
    assert_type(result.outcome, Literal["deleted", "already_gone"])
    client.delete(task, stop_first=True, stop_timeout=timedelta(minutes=5), missing_ok=True)
    try:
        client.delete(task)
    except TaskNotFoundError as gone:
        assert_type(gone.status, int | None)
        assert_type(gone.request_id, str | None)
    except QfTasksError as error:
        assert_type(error.hint, str | None)
        assert_type(error.retryable, bool)
    return result.task_id


def read(client: TaskClient) -> list[str]:
    task = client.get("infer-9ia3kc1wt9mp")
    assert_type(task.run_status, RunStatus)
    assert_type(task.run_status.can_delete, bool)
    assert_type(task.create_time, datetime | None)
    assert_type(task.progress, int | None)
    assert_type(task.raw, dict[str, Any])
    assert_type(client.list(), Iterator[Task])
    for page in client.pages(run_status=RunStatus.DONE):
        assert_type(page, TaskPage)
        assert_type([task.task_id for task in page], list[str])
    old = datetime.now(UTC) - timedelta(days=30)
    found = client.list(run_status=["Done", RunStatus.FAILED], name="nightly-*", older_than=old, limit=10)
    recent = client.list(run_status="Running", newer_than="1d", creator="me")
    return [task.task_id for task in (*found, *recent)]


def create(client: TaskClient) -> CreatedTask | None:
    models = client.models()
    assert_type(models, SupportedModels)
    version = models.common[0].versions[0]
    try:
        created = client.create(
            name="nightly",
            model_id=version,
            input_bos_uri="bos:/bucket/in/",
            output_bos_uri="bos:/bucket/out/",
            inference_params={"temperature": 0.2},
            data_format="role",
            completion_window="24h",
            idempotency_key="nightly-2025-06-01",
            reuse_within=timedelta(days=1),
            quota_timeout="2h",
        )
    except OutcomeUnknownError as unknown:
        assert_type(unknown.candidates, tuple[Task, ...])
        return None
    assert_type(created.reused, bool)
    assert_type(client.get(created).idempotency_key, str | None)
    return created


def wait(client: TaskClient, created: CreatedTask) -> dict[str, Task]:
    assert_type(client.stop(created), StopResult)
    assert_type(client.wait(created, timeout=None, on_change=lambda task: show(task.name)), Task)
    assert_type(client.as_completed([created], timeout="2h"), Iterator[Task])
    try:
        return client.wait_all([created, "infer-2"], timeout=timedelta(hours=1))
    except TaskFailedError as failure:
        assert_type(failure.failed, dict[str, Task])
        return failure.tasks
    except WaitTimeoutError as late:
        assert_type(late.pending, tuple[str, ...])
        return late.done


def delete_many(client: TaskClient) -> BulkReport:
    plan = client.plan_purge(run_status="failed", older_than="30d", keep_newest=5)
    assert_type(plan, PurgePlan)
    assert_type(PurgePlan.model_validate(plan.model_dump(mode="json")), PurgePlan)
    try:
        report = client.purge(plan, journal="purge.jsonl", on_progress=on_progress)
        report.raise_for_failures()
    except BulkError as failed:
        report = failed.report
    except BulkInterrupted as cut:
        report = cut.report
    assert_type(report.remaining, tuple[str, ...])
    return client.delete_many(report.remaining, max_workers=16)


def on_progress(outcome: BulkOutcome, done: int, total: int) -> None:
    assert_type(outcome.request_id, str | None)
    show(f"{done}/{total} {outcome.task_id} {outcome.outcome}")


def show(text: str | None) -> None:
    """Do with a text whatever the user's program does."""


def call(client: TaskClient) -> Any:
    response = client.call("DescribeBatchInferenceTask", {"taskId": "infer-1"})
    assert_type(response, Response)
    assert_type(response.headers, dict[str, str])
    return response.result


def delete_old(
    client: TaskClient, tasks: list[TaskLike], age: Age, states: RunStatusLike, limit: Duration
) -> None:
    """Wrap methods, annotated with the types of their arguments."""
    for task in tasks:
        client.delete(task, stop_first=True, stop_timeout=limit)
    client.purge(client.plan_purge(older_than=age, run_status=states), stop_timeout=limit)


async def use_async_client(settings: Settings, tasks: AsyncIterator[Task]) -> None:
    async with AsyncTaskClient(settings) as client:
        assert_type(client, AsyncTaskClient)
        created = await client.create(
            name="nightly",
            endpoint="ernie-x1-turbo-32k",
            input_bos_uri="bos:/bucket/in/",
            output_bos_uri="bos:/bucket/out/",
            idempotency_key="nightly-2025-06-01",
        )
        assert_type(created, CreatedTask)
        assert_type(await client.get(created), Task)
        assert_type(await client.wait(created, timeout="2h"), Task)
        assert_type(await client.wait_all([created, "infer-2"]), dict[str, Task])
        assert_type(await client.stop(created), StopResult)
        assert_type(await client.delete(created, missing_ok=True), DeleteResult)
        assert_type(await client.models(), SupportedModels)
        assert_type(await client.plan_purge(older_than="30d"), PurgePlan)
        assert_type(await client.delete_many([created]), BulkReport)
        assert_type(await client.call("DescribeBatchInferenceModel", {}), Response)
        async for task in client.list(run_status="Done"):
            assert_type(task, Task)
        async for page in client.pages():
            assert_type(page, TaskPage)
        async for task in client.as_completed(tasks):
            assert_type(task, Task)


def test_nightly_run(qianfan_sandbox: Sandbox, qianfan_client: TaskClient) -> None:
    task_id = qianfan_sandbox.add_task(run_status="Running", ends_after=60)
    qianfan_sandbox.advance(60)
    assert qianfan_client.wait(task_id).is_success


def run_jobs(client: TaskClient) -> None:
    job = client.submit(
        [{"query": "q"}], bos_uri="bos:/b/j/", endpoint="e", data_format="role", on_progress=print
    )
    assert_type(job, Job)
    assert_type(client.job("bos:/b/j/"), Job)
    assert_type(job.run(timeout="2h", on_progress=lambda status: status.records_done), JobStatus)
    assert_type(job.status().tasks, tuple[JobTask, ...])
    assert_type(job.status().remaining, timedelta | None)
    assert_type(job.results(ordered=True), Iterator[Result])
    assert_type(job.failures(), Iterator[Result])
    assert_type(job.retry_failures().stop(), JobStatus)
    assert_type(job.delete(data=True, dry_run=True), JobDeletion)


async def run_jobs_with_asyncio(client: AsyncTaskClient) -> None:
    job = await client.submit("records.jsonl", bos_uri="bos:/b/j/", model_id="amv-1")
    assert_type(job, AsyncJob)
    assert_type(await client.job("bos:/b/j/"), AsyncJob)
    assert_type(await job.run(), JobStatus)
    async for result in job.results():
        assert_type(result, Result)
    assert_type(await job.retry_failures(), AsyncJob)
    assert_type(await job.delete(), JobDeletion)
