"""`Job` and `AsyncJob`, and how a client makes them; arguments are checked before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Self

from qf_tasks._operations import arguments, create
from qf_tasks._operations.api import Api
from qf_tasks._runtime import asyncio as async_runtime
from qf_tasks._runtime.asyncio import AsyncResults
from qf_tasks._runtime.blocking import BlockingIterator, run
from qf_tasks.data.facades import stream, transfer
from qf_tasks.data.lazy_store import LazyStore
from qf_tasks.data.models import Result
from qf_tasks.data.transfers import OnProgress
from qf_tasks.data.uri import BosUri
from qf_tasks.durations import Duration
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.jobs import planning
from qf_tasks.jobs.manifest import Manifest, Parameters, Shard
from qf_tasks.jobs.models import JobDeletion, JobStatus
from qf_tasks.jobs.operations import JobOperations
from qf_tasks.jobs.results import Reader
from qf_tasks.jobs.runner import OnStatus, RunOptions, run_options
from qf_tasks.jobs.storage import JobFiles
from qf_tasks.models import ModelVersion, html_table

_MAX_SHARD_RETRIES = 10
_NAME_LENGTH = (2, 20)  # of a task: .github/docs/service.md#create
# As long as the longest idempotency key of a task: it is part of its description.
_LONGEST_KEY = f"job-{'0' * 24}/000000/10"


class _BaseJob:
    """What `Job` and `AsyncJob` share.

    Attributes:
        bos_uri: the directory of the job.
        name: the name of its tasks.
        records: how many records were submitted.
        shards: how many shards they make; each is run as one task.
    """

    def __init__(self, operations: JobOperations, api: Api) -> None:
        manifest = operations.first
        self._operations = operations
        self._api = api
        self.bos_uri: str = manifest.bos_uri
        self.name: str = manifest.parameters.name
        self.records: int = manifest.records
        self.shards: int = len(manifest.shards)

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<{type(self).__name__} {self.bos_uri} {self.records} records, {self.shards} shards>"

    def _repr_html_(self) -> str:
        manifest = self._operations.first
        rows = (
            ("name", self.name),
            ("model", manifest.parameters.endpoint or manifest.parameters.model_id),
            ("records", self.records),
            ("shards", self.shards),
            ("created", manifest.created),
        )
        return html_table(f"Job {self.bos_uri}", rows)


class Job(_BaseJob):
    """A set of records, run as one task or as many as needed.

    Its state is in the object storage, beside its data, so any program with keys of the account can continue
    it with `client.job(bos_uri)`, see `.github/docs/jobs.md`.
    """

    def status(self) -> JobStatus:
        """Return the progress of the job: records, tasks, tokens, remaining time.

        Raises:
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        return run(self._operations.status())

    def run(
        self,
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_progress: OnStatus | None = None,
        raise_on_failure: bool = True,
    ) -> JobStatus:
        """Create the missing tasks as slots become free; return the status when all have ended.

        A shard whose task failed or expired is retried up to `shard_retries` times. Ctrl-C ends the call; the
        tasks keep running, and another call continues.

        Args:
            timeout: A duration: seconds, a `timedelta` or text with a unit; None waits without a limit;
                default 25 hours.
            poll_interval: The longest pause between polls, at least 0.1 s; default 30 s.
            on_progress: Called with the status when it has changed.
            raise_on_failure: Raise if some shards failed; default True.

        Raises:
            TaskFailedError: Some shards failed, or the job was stopped; the message names them.
            WaitTimeoutError: The timeout passed; tasks keep running.
            NotFoundError: The input is not complete: `submit` was interrupted.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        options = run_options(timeout, poll_interval, arguments.plain_callback(on_progress, "on_progress"))
        return run(self._operations.run(options, raise_on_failure=raise_on_failure))

    def results(
        self,
        *,
        ordered: bool = False,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_progress: OnStatus | None = None,
    ) -> Iterator[Result]:
        """Return an iterator that runs the job and yields one result for each record, as tasks end.

        A record that failed or has no result gives a result with an `error` that says why. For a record that
        was submitted again by `retry_failures`, the newest result is used. The other arguments are those of
        `run`.

        Args:
            ordered: Yield results in the order of the input; default False, as tasks end.

        Raises:
            InvalidArgumentError: At the call.
            QfTasksError: While iterating, as with `run`, except `TaskFailedError`.
        """
        options = run_options(timeout, poll_interval, arguments.plain_callback(on_progress, "on_progress"))
        return self._results(options, ordered=bool(ordered))

    def failures(
        self,
        *,
        ordered: bool = False,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_progress: OnStatus | None = None,
    ) -> Iterator[Result]:
        """Return an iterator over the results with an error: records that failed, or have no result.

        The arguments are those of `results`.

        Raises:
            InvalidArgumentError: At the call.
            QfTasksError: While iterating, as with `results`.
        """
        options = run_options(timeout, poll_interval, arguments.plain_callback(on_progress, "on_progress"))
        results = self._results(options, ordered=bool(ordered))
        return (result for result in results if result.outcome != "succeeded")

    def retry_failures(self) -> Job:
        """Submit the records without a usable result again, with the same parameters; return the job.

        `run` and `results` then continue with these records. If every record has a usable result, nothing is
        done. The job must have ended.

        Raises:
            TaskStateError: The job has not ended.
            QfTasksError: See the tree in `qf_tasks.errors`; calling it again continues.
        """

        async def send(work: Callable[[OnProgress], Manifest | None]) -> Manifest | None:
            return work(_ignore)

        run(self._operations.retry_failures(send))
        return self

    def stop(self) -> JobStatus:
        """Stop the tasks of the job, and return its status; no program creates more of them.

        Stopping takes time and cannot be undone; `run` returns when the tasks have stopped. After that,
        `retry_failures` submits the records without a result again.

        Raises:
            QfTasksError: See the tree in `qf_tasks.errors`; calling it again continues.
        """
        return run(self._operations.stop())

    def delete(self, *, data: bool = False, dry_run: bool = False) -> JobDeletion:
        """Delete the tasks of the job, and return what was deleted. This cannot be undone.

        Args:
            data: Delete everything below `bos_uri` as well: records, results, and the job itself. Records
                that were submitted as a directory in BOS are kept. Default False.
            dry_run: Delete nothing, and return what would be. Default False.

        Raises:
            TaskStateError: The job has not ended.
            BulkError: Some tasks were not deleted; the data was kept.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        return run(self._operations.delete(data=bool(data), dry_run=bool(dry_run)))

    def _results(self, options: RunOptions, *, ordered: bool) -> Generator[Result, None, None]:
        parts = run(self._operations.parts())
        ended = BlockingIterator(self._operations.ended(parts, options, ordered=ordered), "job.results")
        with closing(Reader(self._operations.files, parts, ordered=ordered)) as reader, closing(ended):
            for number, shard in ended:
                yield from reader.results(number, shard)


class AsyncJob(_BaseJob):
    """As `Job`, for asyncio; callbacks may be coroutine functions."""

    def status(self) -> Coroutine[Any, Any, JobStatus]:
        """As `Job.status`."""
        return async_runtime.run(self._operations.status)

    def run(
        self,
        *,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_progress: OnStatus | None = None,
        raise_on_failure: bool = True,
    ) -> Coroutine[Any, Any, JobStatus]:
        """As `Job.run`."""
        options = run_options(timeout, poll_interval, on_progress)
        return async_runtime.run(self._operations.run, options, raise_on_failure=raise_on_failure)

    def results(
        self,
        *,
        ordered: bool = False,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_progress: OnStatus | None = None,
    ) -> AsyncResults[Result]:
        """As `Job.results`."""
        options = run_options(timeout, poll_interval, on_progress)
        return AsyncResults(self._results(options, ordered=bool(ordered)), "job.results")

    def failures(
        self,
        *,
        ordered: bool = False,
        timeout: Duration | None = "25h",
        poll_interval: Duration = 30.0,
        on_progress: OnStatus | None = None,
    ) -> AsyncResults[Result]:
        """As `Job.failures`."""
        options = run_options(timeout, poll_interval, on_progress)

        async def failed() -> AsyncGenerator[Result, None]:
            async with aclosing(self._results(options, ordered=bool(ordered))) as results:
                async for result in results:
                    if result.outcome != "succeeded":
                        yield result

        return AsyncResults(failed(), "job.failures")

    def retry_failures(self) -> Coroutine[Any, Any, Self]:
        """As `Job.retry_failures`."""

        async def send(work: Callable[[OnProgress], Manifest | None]) -> Manifest | None:
            return await transfer(self._api.runtime, work, None)

        async def retry() -> Self:
            await self._operations.retry_failures(send)
            return self

        return async_runtime.run(retry)

    def stop(self) -> Coroutine[Any, Any, JobStatus]:
        """As `Job.stop`."""
        return async_runtime.run(self._operations.stop)

    def delete(self, *, data: bool = False, dry_run: bool = False) -> Coroutine[Any, Any, JobDeletion]:
        """As `Job.delete`."""
        return async_runtime.run(self._operations.delete, data=bool(data), dry_run=bool(dry_run))

    async def _results(self, options: RunOptions, *, ordered: bool) -> AsyncGenerator[Result, None]:
        parts = await self._operations.parts()
        with closing(Reader(self._operations.files, parts, ordered=ordered)) as reader:
            async with aclosing(self._operations.ended(parts, options, ordered=ordered)) as ended:
                async for number, shard in ended:
                    async with aclosing(self._read(reader, number, shard)) as results:
                        async for result in results:
                            yield result

    def _read(self, reader: Reader, number: int, shard: Shard) -> AsyncGenerator[Result, None]:
        async def begin() -> Iterator[Result]:
            return reader.results(number, shard)

        return stream(self._api.runtime, begin)


class Submission:
    """The checked arguments of `client.submit`."""

    def __init__(
        self,
        records: object,
        *,
        bos_uri: str,
        endpoint: str | None,
        model_id: str | ModelVersion | None,
        inference_params: Mapping[str, Any] | None,
        data_format: str | None,
        name: str | None,
        description: str | None,
        max_records_per_task: int | None,
        shard_retries: int,
        on_progress: OnProgress | None,
    ) -> None:
        self._directory = BosUri.parse_directory(bos_uri)
        planning.prepared_directory(records)
        self._records = records
        if max_records_per_task is not None:
            arguments.whole_number(max_records_per_task, "max_records_per_task", minimum=1)
        request = create.create_request(
            name=_name(name, self._directory),
            input_bos_uri=str(self._directory.child("input/0001/")),
            output_bos_uri=str(self._directory.child("output/0001/")),
            endpoint=endpoint,
            model_id=model_id,
            inference_params=inference_params,
            data_format=data_format,
            description=description,
            idempotency_key=_LONGEST_KEY,
        )
        self._parameters = Parameters(
            name=request.name,
            endpoint=request.body.get("endpoint"),
            model_id=request.body.get("modelId"),
            inference_params=request.body.get("inferenceParams"),
            data_format=request.body.get("dataFormat"),
            description=description,
            max_records_per_task=max_records_per_task,
            shard_retries=arguments.whole_number(
                shard_retries, "shard_retries", minimum=0, maximum=_MAX_SHARD_RETRIES
            ),
        )
        self.on_progress: OnProgress | None = arguments.callback(on_progress, "on_progress")

    def send(self, files: JobFiles, on_progress: OnProgress) -> list[Manifest]:
        """Upload the records, and return the manifests of the job; this blocks."""
        planning.prepare(files, self._directory, self._parameters, self._records, on_progress)
        return files.read_parts(self._directory)


def submit(api: Api, store: LazyStore, submission: Submission) -> Job:
    """Upload the records of a job, and create the first tasks."""
    files = JobFiles(store)
    operations = JobOperations(api, files, submission.send(files, submission.on_progress or _ignore))
    run(operations.begin())
    return Job(operations, api)


async def submit_async(api: Api, store: LazyStore, submission: Submission) -> AsyncJob:
    """As `submit`."""
    files = JobFiles(store)

    def send(report: OnProgress) -> list[Manifest]:
        return submission.send(files, report)

    operations = JobOperations(api, files, await transfer(api.runtime, send, submission.on_progress))
    await operations.begin()
    return AsyncJob(operations, api)


def open_job(api: Api, store: LazyStore, directory: BosUri) -> Job:
    """Return the job in a directory."""
    files = JobFiles(store)
    return Job(JobOperations(api, files, files.read_parts(directory)), api)


async def open_job_async(api: Api, store: LazyStore, directory: BosUri) -> AsyncJob:
    """As `open_job`."""
    files = JobFiles(store)
    return AsyncJob(JobOperations(api, files, await api.runtime.in_thread(files.read_parts, directory)), api)


def _name(name: object, directory: BosUri) -> str:
    """Return the name of a job: by default that of its directory, cut to the length that is allowed."""
    minimum, maximum = _NAME_LENGTH
    if name is None:
        own = directory.key.rstrip("/").rpartition("/")[2]
        return (own if len(own) >= minimum else f"job-{own}")[:maximum]
    text = arguments.text(name, "name")
    if not minimum <= len(text) <= maximum:
        raise InvalidArgumentError(f"name must have {minimum} to {maximum} characters, not {len(text)}")
    return text


def _ignore(_done: int, _total: int) -> None:
    """Ignore progress."""
