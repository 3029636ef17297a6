"""The blocking client: arguments are checked before a request is sent, then an operation runs to its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NoReturn, Self, Unpack

from qf_tasks._operations import arguments, bulk, create, lifecycle, listing, polling, purge
from qf_tasks._operations.api import Api, Runtime
from qf_tasks._operations.arguments import Age, RunStatusLike, TaskLike, plain_callback
from qf_tasks._operations.bulk import OnProgress
from qf_tasks._operations.journal import JournalPath
from qf_tasks._operations.polling import OnChange, Poller
from qf_tasks._operations.retry import RetryPolicy
from qf_tasks._runtime.blocking import BlockingIterator, BlockingRuntime, Clock, run
from qf_tasks._transport.sdk_hook import Transport
from qf_tasks.data.facades import Data
from qf_tasks.data.lazy_store import LazyStore
from qf_tasks.data.transfers import OnProgress as OnUploadProgress
from qf_tasks.data.uri import BosUri
from qf_tasks.durations import Duration
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.jobs import facades
from qf_tasks.jobs.facades import Job
from qf_tasks.models import (
    Account,
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

DataFormatName = Literal["default", "src_tgt", "role"]


class BaseClient:
    """What the blocking and the asyncio client share: settings, account, and that they are not copied."""

    _settings: Settings

    @property
    def account(self) -> Account:
        """Whose tasks these are: the masked access key, the host, and where the keys came from."""
        return self._settings.account

    def __copy__(self) -> Self:
        """Return the client itself: connections and keys are not copied."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return the client itself: connections and keys are not copied."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the keys would be written in plain text."""
        raise TypeError(f"{type(self).__name__} cannot be pickled: create one in each process")

    def __repr__(self) -> str:
        """Return one short line with the account."""
        account = self.account if hasattr(self, "_settings") else "without settings"
        return f"<{type(self).__name__} {account}>"


class TaskClient(BaseClient):
    """Batch inference tasks (批量推理任务) of one account.

    Keys come from keywords, a profile, the environment or a settings file, in the documented order, see
    `.github/docs/settings.md`. They are read when the client is made; the network is used at the first call.
    A client is thread-safe, keeps its connections, and is a context manager.

    Args:
        settings: Ready-made settings; they cannot be combined with other arguments.
        keywords: Every setting (`access_key`, `secret_key`, `base_url`, `request_timeout`, `max_retries`, …),
            and `profile`, `config_file` and `env_file`, which name where the others come from.

    Raises:
        ConfigurationError: Keys are missing or half a pair, or a source cannot be read.
        InvalidArgumentError: An argument is unknown or of the wrong kind.
    """

    _clock: ClassVar[Clock] = Clock()

    def __init__(self, settings: Settings | None = None, **keywords: Unpack[Keywords]) -> None:
        keywords = hide(keywords)
        self._settings = settings_of(settings, keywords)
        self._transport = Transport(self._settings)
        self._api = api_of(self._settings, BlockingRuntime(self._transport, self._clock))
        self._store = LazyStore(self._settings, *self._clock)
        self._data = Data(self._store, self._api)

    @property
    def data(self) -> Data:
        """The records and results of tasks, in the object storage (BOS) of the account."""
        return self._data

    # One task.

    def get(self, task: TaskLike) -> Task:
        """Return a task as it is now.

        Raises:
            TaskNotFoundError: The account has no such task.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        return run(listing.get(self._api, arguments.task_id(task)))

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
    ) -> CreatedTask:
        """Create a task once, and return its id.

        A create that may have been applied is never sent again blindly. With an `idempotency_key`, the task
        that an earlier create with this key made is returned instead of creating another, whichever program
        or machine made it. Without one, a create whose response was lost is searched for by everything that
        was sent, and returned if exactly one task matches.

        Two programs that create with the same key at the same moment can miss each other, and the key of a
        deleted task is forgotten. Limits of the service: `.github/docs/service.md#create`.

        Args:
            name: 2 to 20 characters.
            input_bos_uri: The directory of the input, `bos:/bucket/folder/` with one slash after `bos:`.
            output_bos_uri: The directory for the output, neither the input directory nor inside it.
            endpoint: A preset service, such as `"ernie-x1-turbo-32k"`; exclusive with `model_id`.
            model_id: A model version (`amv-…`), or one that `models()` lists; exclusive with `endpoint`.
            inference_params: Sampling parameters of the model, such as `{"temperature": 0.2}`.
            description: Up to 500 characters, the idempotency key included.
            data_format: `"default"`, `"src_tgt"` or `"role"`; default: the service's.
            completion_window: Only `"24h"` is supported; default: the service's.
            extra: Additional fields of the request, in the names of the service.
            idempotency_key: 1 to 128 printable characters that identify the intention, such as
                `"daily-2025-06-01"`; written at the end of the task's description.
            reuse_within: How far back a task with the same key is searched for: a `timedelta`, text with a
                unit, or an aware `datetime`; default 7 days. Needs an `idempotency_key`.
            quota_timeout: How long to wait for a free slot if the account has too many active tasks; default:
                not at all. A duration: seconds, a `timedelta`, or text with a unit such as `"2h"`.

        Raises:
            InvalidArgumentError: Before any request; or a task with the same key was created with other
                fields.
            QuotaExceededError: The account has too many active tasks; nothing was created.
            OutcomeUnknownError: The task may or may not have been created; `candidates` may be it.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
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
        return run(create.create(self._api, request))

    def stop(self, task: TaskLike) -> StopResult:
        """Stop a task, and return its state.

        Stopping takes time, and a stopped task cannot be restarted. For a task that has already ended, the
        result has its state; that is not an error.

        Raises:
            TaskNotFoundError: The account has no such task.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        return run(lifecycle.stop(self._api, arguments.task_id(task)))

    def delete(
        self,
        task: TaskLike,
        *,
        stop_first: bool = False,
        stop_timeout: Duration | None = 300.0,
        missing_ok: bool = False,
    ) -> DeleteResult:
        """Delete a task. This cannot be undone.

        Tasks that are Done, Failed, Stopped or Expired can be deleted. Deleting a task may not delete its
        output in BOS. If the response to a delete is lost, the request is retried; if the task is gone by
        then, the outcome is `"already_gone"`.

        Args:
            task: A task or its id.
            stop_first: Stop a queuing or running task and wait until it has ended; default False.
            stop_timeout: How long to wait for that: seconds, a `timedelta` or text with a unit; None waits
                without a limit; default 300 s.
            missing_ok: Treat a missing task as deleted; default False.

        Raises:
            TaskStateError: The task is still active and `stop_first` is False, or its state is unknown.
            TaskNotFoundError: The account has no such task.
            WaitTimeoutError: The task did not stop in time; it was not deleted.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        options = lifecycle.delete_options(stop_first, stop_timeout, missing_ok)
        return run(lifecycle.delete(self._api, arguments.task_id(task), options))

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
    ) -> Iterator[Task]:
        """Return an iterator over the tasks of the account, which fetches pages as needed.

        Tasks may be deleted while it runs. An age is a `timedelta` or text with a unit (`"30d"`), counted on
        the clock of the service, or an aware `datetime`.

        Args:
            run_status: One or several states, in any case; default all.
            name: A pattern for the whole name (`*`, `?`, `[…]`), case-sensitive.
            creator: The whole name of who created it.
            older_than: Tasks whose create and finish times are both before that. A task without a time is
                never old.
            newer_than: Tasks that were created after that.
            newest_first: Newest first, else oldest first; default True. That the service orders by creation
                is inferred.
            limit: The largest number of tasks; default all.
            page_size: Tasks per request, 1 to 100; default 100, the limit of the service.

        Raises:
            InvalidArgumentError: At the call.
            BadResponseError: While iterating, if the paging of the service does not advance.
            InvalidRequestError: While iterating, if all tasks of the last page were deleted meanwhile and the
                service does not continue from there: collect first, then delete.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        query = listing.listing_query(run_status, newest_first, page_size)
        task_filter = listing.listing_filter(query, name, creator, older_than, newer_than)
        max_tasks = None if limit is None else arguments.whole_number(limit, "limit", minimum=1)
        return BlockingIterator(listing.tasks(self._api, query, task_filter, max_tasks), "client.list")

    def pages(
        self,
        *,
        run_status: RunStatusLike | None = None,
        newest_first: bool = True,
        page_size: int = 100,
        marker: str | None = None,
    ) -> Iterator[TaskPage]:
        """Return an iterator over pages of tasks, each fetched when it is asked for.

        Args:
            run_status: One or several states, in any case; default all. The service filters.
            newest_first: As in `list`.
            page_size: Tasks per request, 1 to 100; default 100.
            marker: Where to continue: the `next_marker` of an earlier page; default the beginning.

        Raises:
            InvalidArgumentError: At the call.
            QfTasksError: While iterating, as with `list`.
        """
        query = listing.listing_query(run_status, newest_first, page_size)
        start = arguments.text_or_none(marker, "marker")
        return BlockingIterator(listing.pages(self._api, query, start), "client.pages")

    def models(self) -> SupportedModels:
        """Return the models that batch inference supports.

        Raises:
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        return run(listing.models(self._api))

    # Waiting.

    def wait(
        self,
        task: TaskLike,
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_change: OnChange | None = None,
        raise_on_failure: bool = True,
    ) -> Task:
        """Return a task when it has ended.

        A service that cannot be reached for a while does not end the wait, nor does a single "not found"
        after the task was seen. Ctrl-C ends the wait; the task keeps running.

        Args:
            task: A task or its id.
            timeout: A duration: seconds, a `timedelta` or text with a unit; None waits without a limit;
                default 25 hours. The last poll may take a second longer.
            poll_interval: The longest pause between polls, at least 0.1 s; the first is 1 s; default 30 s.
            on_change: Called with the task at the first poll, and when its state or progress has changed.
            raise_on_failure: Raise if it ends as Failed, Expired or Stopped; default True.

        Raises:
            TaskFailedError: It did not end as Done.
            WaitTimeoutError: The timeout passed; the task keeps running.
            TaskNotFoundError: The account has no such task.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        options = polling.wait_options(timeout, poll_interval, plain_callback(on_change, "on_change"))
        known = task if isinstance(task, Task) else None
        task_id = arguments.task_id(task)
        return run(polling.wait(self._api, task_id, options, known=known, raise_on_failure=raise_on_failure))

    def wait_all(
        self,
        tasks: Iterable[TaskLike],
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_change: OnChange | None = None,
        raise_on_failure: bool = True,
    ) -> dict[str, Task]:
        """Return all tasks by id when every one has ended; no tasks give an empty dict.

        A poll lists the active tasks once, however many are awaited. The arguments are those of `wait`.

        Raises:
            TaskFailedError: Some did not end as Done; `.failed` has these, `.tasks` all.
            WaitTimeoutError: The timeout passed; `.done` and `.pending` list the two groups.
            TaskNotFoundError: The account has no such task.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        options = polling.wait_options(timeout, poll_interval, plain_callback(on_change, "on_change"))
        task_ids = arguments.task_ids(tasks)
        return run(polling.wait_all(self._api, task_ids, options, raise_on_failure=raise_on_failure))

    def as_completed(
        self,
        tasks: Iterable[TaskLike],
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_change: OnChange | None = None,
    ) -> Iterator[Task]:
        """Return an iterator over tasks in the order in which they end, including those that failed.

        The arguments are those of `wait`; `timeout` counts from the first poll.

        Raises:
            InvalidArgumentError: At the call.
            WaitTimeoutError: While iterating: the timeout passed; `.done` and `.pending` list the two groups.
            TaskNotFoundError: While iterating: the account has no such task.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        options = polling.wait_options(timeout, poll_interval, plain_callback(on_change, "on_change"))
        poller = Poller(self._api, options, arguments.task_ids(tasks))
        return BlockingIterator(poller.ended(), "client.as_completed")

    # Many tasks.

    def stop_many(
        self, tasks: Iterable[TaskLike], *, max_workers: int = 8, on_progress: OnProgress | None = None
    ) -> BulkReport:
        """Stop tasks concurrently, and return a report; one that has already ended is skipped.

        The arguments are those of `delete_many`.

        Raises:
            InvalidArgumentError: Before any request.
            BulkInterrupted: As with `delete_many`.
        """
        options = bulk.bulk_options(max_workers, None, plain_callback(on_progress, "on_progress"))
        return run(bulk.stop_many(self._api, arguments.task_ids(tasks), options))

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
    ) -> BulkReport:
        """Delete tasks concurrently, and return a report. This cannot be undone.

        A failure of one task does not stop the others, but rejected keys end the run. What `delete` documents
        for one task holds for each. To continue with what was not done, pass `report.remaining`.

        Args:
            tasks: Ids or tasks, read to their end before the first request; each is deleted once.
            stop_first: Stop queuing and running tasks and wait until they have ended; default False.
            stop_timeout: How long to wait for that, for each task: seconds, a `timedelta` or text with a
                unit; None waits without a limit; default 300 s.
            missing_ok: Treat a missing task as deleted; default False.
            max_workers: How many at a time, 1 to 64; default 8.
            journal: A file that logs each task before it is deleted and the outcome after, as JSON lines.
                After a run that was killed, a run with the same journal first looks up the tasks whose
                outcome is missing.
            on_progress: Called in this thread with each outcome as it arrives, the number so far, and the
                number of all tasks.

        Raises:
            InvalidArgumentError: Before any request; also for a journal that cannot be written, belongs to
                another account, or is in use by another program.
            BulkInterrupted: Ctrl-C: requests in flight have finished, and `.report` has every outcome. A
                second Ctrl-C does not wait for them: their outcome is unknown. Any other exception that ends
                this call early carries the report as its attribute `report`.
        """
        task_ids = bulk.plain_task_ids(tasks)
        delete = lifecycle.delete_options(stop_first, stop_timeout, missing_ok)
        progress = plain_callback(on_progress, "on_progress")
        options = bulk.bulk_options(max_workers, journal, progress, delete)
        return run(bulk.delete_many(self._api, task_ids, options))

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
    ) -> PurgePlan:
        """Return a plan of the tasks that match; nothing is deleted until `purge` is called with it.

        At least one of `run_status`, `name`, `older_than` and `creator` is required. Every criterion is
        checked on each task, whatever the service has filtered.

        Args:
            run_status: One or several states, in any case; default all.
            name: A pattern for the whole name (`*`, `?`, `[…]`), case-sensitive.
            older_than: Tasks whose create and finish times are both before that: a `timedelta`, text with a
                unit (`"30d"`), or an aware `datetime`. A task without a time is never old.
            creator: The whole name of who created it.
            keep_newest: Keep this many of the newest that match by state, name and creator, whatever their
                age; tasks without a create time are then kept too. Default 0.
            stop_first: Select tasks that have not ended too; `purge` stops them first. Default False. Tasks
                in an unknown state are never selected.
            max_tasks: The largest number of tasks in a plan; default 1000.

        Raises:
            InvalidArgumentError: Before any request; or after some, if more than `max_tasks` match.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        request = purge.purge_request(
            run_status=run_status,
            name=name,
            older_than=older_than,
            creator=creator,
            keep_newest=keep_newest,
            stop_first=stop_first,
            max_tasks=max_tasks,
        )
        return run(purge.plan_purge(self._api, request))

    def purge(
        self,
        plan: PurgePlan,
        *,
        stop_timeout: Duration | None = 300.0,
        max_workers: int = 8,
        journal: JournalPath | None = None,
        on_progress: OnProgress | None = None,
    ) -> BulkReport:
        """Delete the tasks of a plan, and return a report. This cannot be undone.

        Each task is read again just before. If its state, name or create time is not as planned, it is
        skipped, and the outcome says why; a task to be stopped first may have been stopped meanwhile. A task
        that is gone is `"already_gone"`. The other arguments are those of `delete_many`.

        Raises:
            InvalidArgumentError: Before any request; also for a plan of another account or host.
            BulkInterrupted: As with `delete_many`.
        """
        checked = bulk.check_plan(self._api, plan)
        delete = lifecycle.delete_options(checked.criteria.stop_first, stop_timeout, missing_ok=True)
        progress = plain_callback(on_progress, "on_progress")
        options = bulk.bulk_options(max_workers, journal, progress, delete)
        return run(bulk.purge(self._api, checked, options))

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
    ) -> Job:
        """Upload a set of records of any size, create its first tasks, and return the job.

        The records are run as one task, or as many as the limits of the service require; `job.run()` and
        `job.results()` create the others as slots become free, or as the service can be reached again. All
        records are checked before anything is sent. The same call again, after a failure or in another
        program, returns the same job.

        Args:
            records: As in `data.upload`; ids are unique in the whole set. Or the address of a directory of
                JSON Lines in BOS, `bos:/bucket/folder/`, in which each record has an id. It is used in place:
                as one task if it is within the limits, otherwise as one task for each of its directories.
            bos_uri: A directory for this job alone, `bos:/bucket/folder/`: records, results and state.
            endpoint: A preset service, such as `"ernie-x1-turbo-32k"`; exclusive with `model_id`.
            model_id: A model version (`amv-…`), or one that `models()` lists; exclusive with `endpoint`.
            inference_params: Sampling parameters of the model, such as `{"temperature": 0.2}`.
            data_format: `"default"`, `"src_tgt"` or `"role"`; default: the service's.
            name: 2 to 20 characters; default: that of the directory.
            description: Of each task; up to 450 characters, to which its idempotency key is added.
            max_records_per_task: Make smaller tasks than the limits require, so that results come earlier;
                default None, only the limits of the service.
            shard_retries: How often a shard whose task failed or expired is retried; 0 to 10, default 1.
            on_progress: Called with the bytes uploaded and the total.

        Raises:
            InvalidRecordError: A record is invalid; nothing was sent.
            InvalidArgumentError: `bos_uri` has other objects, or a job with other records or parameters;
                nothing was sent.
            NotFoundError: There is no such bucket.
            QfTasksError: See the tree in `qf_tasks.errors`; calling it again continues.
        """
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
            on_progress=plain_callback(on_progress, "on_progress"),
        )
        return facades.submit(self._api, self._store, submission)

    def job(self, bos_uri: str) -> Job:
        """Return a job that was submitted, by this program or another one.

        Args:
            bos_uri: The directory that it was submitted with.

        Raises:
            InvalidArgumentError: `bos_uri` is not a directory, or its `job.json` is damaged.
            NotFoundError: There is no job.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        return facades.open_job(self._api, self._store, BosUri.parse_directory(bos_uri))

    # Everything else.

    def call(self, action: str, params: Mapping[str, Any]) -> Response:
        """Send any action of the route, and return its response.

        Args:
            action: The service's name of it, such as `"DescribeBatchInferenceTask"`.
            params: The JSON object of the request, in the names of the service.

        Raises:
            InvalidArgumentError: `params` contains what is not a JSON value.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        name = arguments.text(action, "action")
        return run(self._api.call(name, arguments.json_object(params, "params")))

    def close(self) -> None:
        """Close the connections; a later call is rejected."""
        self._transport.close()
        self._store.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()


def settings_of(settings: object, keywords: Keywords) -> Settings:
    """Return the settings that were given, or load them."""
    if settings is None:
        return Settings.load(**keywords)
    if not isinstance(settings, Settings):
        raise InvalidArgumentError(f"settings must be Settings, not {type(settings).__name__}")
    if given := list(keywords):
        raise InvalidArgumentError(f"Give either settings or keywords, not both: {', '.join(given)}")
    return settings


def api_of(settings: Settings, runtime: Runtime) -> Api:
    """Return the API of an account on a runtime."""
    policy = RetryPolicy(settings.max_retries, settings.max_retry_wait, settings.retry_budget)
    return Api(runtime, policy, settings.account, settings.base_url)
