"""The asyncio client: the methods of `TaskClient`, over the same operations.

Arguments are checked by the call itself, before it is awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Literal, Self, Unpack

from qf_tasks._operations import arguments, bulk, create, lifecycle, listing, polling, purge
from qf_tasks._operations.api import Api
from qf_tasks._operations.arguments import Age, RunStatusLike, TaskLike
from qf_tasks._operations.bulk import OnProgress
from qf_tasks._operations.journal import JournalPath
from qf_tasks._operations.polling import OnChange, Poller, WaitOptions
from qf_tasks._runtime.asyncio import AsyncClock, AsyncResults, AsyncRuntime, end_tasks, run
from qf_tasks._transport.sdk_hook import Transport
from qf_tasks.client import BaseClient, DataFormatName, api_of, settings_of
from qf_tasks.data.facades import AsyncData
from qf_tasks.data.lazy_store import LazyStore
from qf_tasks.data.transfers import OnProgress as OnUploadProgress
from qf_tasks.data.uri import BosUri
from qf_tasks.durations import Duration
from qf_tasks.jobs import facades
from qf_tasks.jobs.facades import AsyncJob
from qf_tasks.models import (
    CreatedTask,
    DeleteResult,
    ModelVersion,
    Response,
    StopResult,
    SupportedModels,
    Task,
    TaskPage,
)
from qf_tasks.reports import BulkReport, PurgePlan
from qf_tasks.settings import Keywords, Settings, hide


class AsyncTaskClient(BaseClient):
    """Batch inference tasks (批量推理任务) of one account, for asyncio.

    The methods, arguments, results and errors are those of `TaskClient`; calls are awaited, and `list`,
    `pages` and `as_completed` are used with `async for`. Requests run in up to 16 threads of the client's own
    (`max_connections` can lower that), so the event loop is never blocked. Callbacks may be coroutine
    functions.

    Any call can be cancelled, for example by `asyncio.timeout()`. Reads end at once. If a create, stop or
    delete has already been sent, the cancellation waits for its response and logs the outcome; a second
    cancellation does not wait. Nothing is retried after a cancellation.

    A client belongs to one event loop and is an async context manager. The arguments are those of
    `TaskClient`.

    Raises:
        ConfigurationError: Keys are missing or half a pair, or a source cannot be read.
        InvalidArgumentError: An argument is unknown or of the wrong kind.
    """

    _clock: ClassVar[AsyncClock] = AsyncClock()

    def __init__(self, settings: Settings | None = None, **keywords: Unpack[Keywords]) -> None:
        keywords = hide(keywords)
        self._settings = settings_of(settings, keywords)
        self._transport = Transport(self._settings)
        self._runtime = AsyncRuntime(self._transport, self._clock, self._settings.max_connections)
        self._api = api_of(self._settings, self._runtime)
        self._store = LazyStore(self._settings)
        self._data = AsyncData(self._store, self._api)

    @property
    def data(self) -> AsyncData:
        """As `TaskClient.data`."""
        return self._data

    # One task.

    def get(self, task: TaskLike) -> Coroutine[Any, Any, Task]:
        """As `TaskClient.get`."""
        return run(listing.get, self._api, arguments.task_id(task))

    def create(
        self,
        *,
        name: str,
        input_bos_uri: str,
        output_bos_uri: str,
        endpoint: str | None = None,
        model_id: str | ModelVersion | None = None,
        inference_params: Mapping[str, Any] | None = None,
        description: str | None = None,
        data_format: DataFormatName | None = None,
        completion_window: Literal["24h"] | None = None,
        extra: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        reuse_within: Age | None = None,
        quota_timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, CreatedTask]:
        """As `TaskClient.create`."""
        request = create.create_request(
            name=name,
            input_bos_uri=input_bos_uri,
            output_bos_uri=output_bos_uri,
            endpoint=endpoint,
            model_id=model_id,
            inference_params=inference_params,
            description=description,
            data_format=data_format,
            completion_window=completion_window,
            extra=extra,
            idempotency_key=idempotency_key,
            reuse_within=reuse_within,
            quota_timeout=quota_timeout,
        )
        return run(create.create, self._api, request)

    def stop(self, task: TaskLike) -> Coroutine[Any, Any, StopResult]:
        """As `TaskClient.stop`."""
        return run(lifecycle.stop, self._api, arguments.task_id(task))

    def delete(
        self,
        task: TaskLike,
        *,
        stop_first: bool = False,
        stop_timeout: Duration | None = 300.0,
        missing_ok: bool = False,
    ) -> Coroutine[Any, Any, DeleteResult]:
        """As `TaskClient.delete`."""
        options = lifecycle.delete_options(stop_first, stop_timeout, missing_ok)
        return run(lifecycle.delete, self._api, arguments.task_id(task), options)

    # Lists of tasks.

    def list(
        self,
        *,
        run_status: RunStatusLike | None = None,
        name: str | None = None,
        creator: str | None = None,
        older_than: Age | None = None,
        newer_than: Age | None = None,
        newest_first: bool = True,
        limit: int | None = None,
        page_size: int = 100,
    ) -> AsyncResults[Task]:
        """As `TaskClient.list`."""
        query = listing.listing_query(run_status, newest_first, page_size)
        task_filter = listing.listing_filter(query, name, creator, older_than, newer_than)
        max_tasks = None if limit is None else arguments.whole_number(limit, "limit", minimum=1)
        return AsyncResults(listing.tasks(self._api, query, task_filter, max_tasks), "client.list")

    def pages(
        self,
        *,
        run_status: RunStatusLike | None = None,
        newest_first: bool = True,
        page_size: int = 100,
        marker: str | None = None,
    ) -> AsyncResults[TaskPage]:
        """As `TaskClient.pages`."""
        query = listing.listing_query(run_status, newest_first, page_size)
        start = arguments.text_or_none(marker, "marker")
        return AsyncResults(listing.pages(self._api, query, start), "client.pages")

    def models(self) -> Coroutine[Any, Any, SupportedModels]:
        """As `TaskClient.models`."""
        return run(listing.models, self._api)

    # Waiting.

    def wait(
        self,
        task: TaskLike,
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_change: OnChange | None = None,
        raise_on_failure: bool = True,
    ) -> Coroutine[Any, Any, Task]:
        """As `TaskClient.wait`; waits of one client that run at the same time share their polls."""
        options = polling.wait_options(timeout, poll_interval, on_change)
        known = task if isinstance(task, Task) else None
        task_id = arguments.task_id(task)
        return run(polling.wait, self._api, task_id, options, known=known, raise_on_failure=raise_on_failure)

    def wait_all(
        self,
        tasks: Iterable[TaskLike],
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_change: OnChange | None = None,
        raise_on_failure: bool = True,
    ) -> Coroutine[Any, Any, dict[str, Task]]:
        """As `TaskClient.wait_all`."""
        options = polling.wait_options(timeout, poll_interval, on_change)
        task_ids = arguments.task_ids(tasks)
        return run(polling.wait_all, self._api, task_ids, options, raise_on_failure=raise_on_failure)

    def as_completed(
        self,
        tasks: Iterable[TaskLike] | AsyncIterable[TaskLike],
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_change: OnChange | None = None,
    ) -> AsyncResults[Task]:
        """As `TaskClient.as_completed`; from an async iterable, tasks are added while it runs.

        `timeout` then counts for each task from when it was added. If the iterable raises an exception, it is
        raised when the tasks so far have been returned.
        """
        options = polling.wait_options(timeout, poll_interval, on_change)
        if isinstance(tasks, AsyncIterable):
            ended = _ended(self._api, tasks, options)
        else:
            ended = Poller(self._api, options, arguments.task_ids(tasks)).ended()
        return AsyncResults(ended, "client.as_completed")

    # Many tasks.

    def stop_many(
        self, tasks: Iterable[TaskLike], *, max_workers: int = 8, on_progress: OnProgress | None = None
    ) -> Coroutine[Any, Any, BulkReport]:
        """As `TaskClient.stop_many`; see `delete_many` for cancellation."""
        options = bulk.bulk_options(max_workers, None, on_progress)
        return run(bulk.stop_many, self._api, arguments.task_ids(tasks), options)

    def delete_many(
        self,
        tasks: Iterable[TaskLike],
        *,
        stop_first: bool = False,
        stop_timeout: Duration | None = 300.0,
        missing_ok: bool = False,
        max_workers: int = 8,
        journal: JournalPath | None = None,
        on_progress: OnProgress | None = None,
    ) -> Coroutine[Any, Any, BulkReport]:
        """As `TaskClient.delete_many`.

        A cancellation, or Ctrl-C in `asyncio.run`, first lets the tasks in progress finish; the
        `CancelledError` then carries the report as its attribute `report` and as a note. A second one does
        not wait.
        """
        task_ids = bulk.plain_task_ids(tasks)
        delete = lifecycle.delete_options(stop_first, stop_timeout, missing_ok)
        options = bulk.bulk_options(max_workers, journal, on_progress, delete)
        return run(bulk.delete_many, self._api, task_ids, options)

    def plan_purge(
        self,
        *,
        run_status: RunStatusLike | None = None,
        name: str | None = None,
        older_than: Age | None = None,
        creator: str | None = None,
        keep_newest: int = 0,
        stop_first: bool = False,
        max_tasks: int = 1000,
    ) -> Coroutine[Any, Any, PurgePlan]:
        """As `TaskClient.plan_purge`."""
        request = purge.purge_request(
            run_status=run_status,
            name=name,
            older_than=older_than,
            creator=creator,
            keep_newest=keep_newest,
            stop_first=stop_first,
            max_tasks=max_tasks,
        )
        return run(purge.plan_purge, self._api, request)

    def purge(
        self,
        plan: PurgePlan,
        *,
        stop_timeout: Duration | None = 300.0,
        max_workers: int = 8,
        journal: JournalPath | None = None,
        on_progress: OnProgress | None = None,
    ) -> Coroutine[Any, Any, BulkReport]:
        """As `TaskClient.purge`; see `delete_many` for cancellation."""
        checked = bulk.check_plan(self._api, plan)
        delete = lifecycle.delete_options(checked.criteria.stop_first, stop_timeout, missing_ok=True)
        options = bulk.bulk_options(max_workers, journal, on_progress, delete)
        return run(bulk.purge, self._api, checked, options)

    # Jobs.

    def submit(
        self,
        records: object,
        *,
        bos_uri: str,
        endpoint: str | None = None,
        model_id: str | ModelVersion | None = None,
        inference_params: Mapping[str, Any] | None = None,
        data_format: DataFormatName | None = None,
        name: str | None = None,
        description: str | None = None,
        max_records_per_task: int | None = None,
        shard_retries: int = 1,
        on_progress: OnUploadProgress | None = None,
    ) -> Coroutine[Any, Any, AsyncJob]:
        """As `TaskClient.submit`; the records are read in a thread."""
        submission = facades.Submission(
            records,
            bos_uri=bos_uri,
            endpoint=endpoint,
            model_id=model_id,
            inference_params=inference_params,
            data_format=data_format,
            name=name,
            description=description,
            max_records_per_task=max_records_per_task,
            shard_retries=shard_retries,
            on_progress=on_progress,
        )
        return run(facades.submit_async, self._api, self._store, submission)

    def job(self, bos_uri: str) -> Coroutine[Any, Any, AsyncJob]:
        """As `TaskClient.job`."""
        return run(facades.open_job_async, self._api, self._store, BosUri.parse_directory(bos_uri))

    # Everything else.

    def call(self, action: str, params: Mapping[str, Any]) -> Coroutine[Any, Any, Response]:
        """As `TaskClient.call`."""
        name = arguments.text(action, "action")
        return run(self._api.call, name, arguments.json_object(params, "params"))

    async def close(self) -> None:
        """Wait for requests in flight, then end the threads and close the connections."""
        self._store.close()  # ends pauses between its requests, for which the runtime would wait
        try:
            await self._runtime.close()
        finally:
            self._transport.close()

    aclose = close  # for contextlib.aclosing()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        await self.close()


async def _ended(
    api: Api, tasks: AsyncIterable[TaskLike], options: WaitOptions
) -> AsyncGenerator[Task, None]:
    """Yield tasks as they end, while an async iterable adds to them; each is awaited by an asyncio task."""
    finished: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
    running: set[asyncio.Task[Any]] = set()

    def start(work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        task.add_done_callback(finished.put_nowait)
        running.add(task)
        return task

    async def wait_for_each() -> None:
        task_ids: set[str] = set()
        async for task in tasks:
            task_id = arguments.task_id(task)
            if task_id not in task_ids:
                task_ids.add(task_id)
                start(polling.wait(api, task_id, options))

    adding = start(wait_for_each())
    try:
        while running:
            task = await finished.get()
            running.remove(task)
            if task is not adding:
                yield task.result()
        adding.result()
    finally:
        await end_tasks(running)
