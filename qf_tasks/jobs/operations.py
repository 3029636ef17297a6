"""What can be done with a job, written once for both clients."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, closing
from dataclasses import replace
from itertools import chain

from qf_tasks._operations import bulk
from qf_tasks._operations.api import Api
from qf_tasks._operations.lifecycle import DeleteOptions
from qf_tasks.data.transfers import OnProgress
from qf_tasks.errors import QfTasksError, TaskStateError
from qf_tasks.jobs import planning
from qf_tasks.jobs.manifest import Manifest, Shard
from qf_tasks.jobs.models import DONE, JobDeletion, JobStatus
from qf_tasks.jobs.parts import Part
from qf_tasks.jobs.results import Reader
from qf_tasks.jobs.runner import Run, RunOptions, check_own, recent_tasks, refresh, run_options, stop_tasks
from qf_tasks.jobs.status import failure_of, status_of
from qf_tasks.jobs.storage import JobFiles, retry_directory

_logger = logging.getLogger("qf_tasks")

_MAX_CONCURRENT = 8

# Runs a transfer, in a thread where that is needed, and reports its progress.
Transfer = Callable[[Callable[[OnProgress], Manifest | None]], Awaitable[Manifest | None]]


class JobOperations:
    """What can be done with a job.

    Attributes:
        files: its objects.
        first: the manifest of what was submitted.
    """

    def __init__(self, api: Api, files: JobFiles, manifests: Iterable[Manifest]) -> None:
        self._api = api
        self._parts = [Part(manifest) for manifest in manifests]
        self.files = files
        self.first: Manifest = self._parts[0].manifest

    async def parts(self) -> list[Part]:
        """Return the parts of the job, with those that other programs have added."""
        found = await self._api.runtime.in_thread(
            self.files.read_retries, self.first.directory, len(self._parts)
        )
        self._parts += [Part(manifest) for manifest in found]
        return [*self._parts]

    async def begin(self) -> None:
        """Create tasks while there are free slots; what fails for the time being is left to a run."""
        try:
            await Run(self._api, self.files, self._parts, run_options(None, 30.0, None)).begin()
        except QfTasksError as error:
            if not error.retryable:
                raise
            _logger.warning(
                "Not all tasks of job %s could be created yet (%s); run() creates the others",
                self.first.bos_uri,
                error,
            )

    async def status(self) -> JobStatus:
        """Return the status of the job."""
        return await self._status_of(await self.parts())

    async def run(self, options: RunOptions, *, raise_on_failure: bool) -> JobStatus:
        """Return the status when every shard is finished."""
        parts = await self.parts()
        async with aclosing(self.ended(parts, options, ordered=False)) as ended:
            async for _ in ended:
                pass
        status = status_of(parts)
        if options.on_progress:
            await self._api.runtime.notify(options.on_progress, status)
        if raise_on_failure and status.state != DONE:
            raise failure_of(parts[-1], status)
        return status

    async def ended(
        self, parts: list[Part], options: RunOptions, *, ordered: bool
    ) -> AsyncGenerator[tuple[int, Shard], None]:
        """Yield shards when they are finished, with the number of their part; if ordered, only the first."""
        *earlier, newest = range(len(parts))
        for number in earlier:
            run = Run(self._api, self.files, parts[: number + 1], replace(options, on_progress=None))
            async with aclosing(run.ended()) as ended:
                async for shard in ended:
                    if not ordered:
                        yield number, shard
        run = Run(self._api, self.files, parts, options)
        in_order = deque(parts[0].manifest.shards)
        over: set[str] = set()
        async with aclosing(run.ended()) as ended:
            async for shard in ended:
                over.add(shard.name)
                if not ordered:
                    yield newest, shard
                while ordered and not earlier and in_order and in_order[0].name in over:
                    yield newest, in_order.popleft()
        if ordered:
            for shard in in_order:
                yield 0, shard

    async def retry_failures(self, transfer: Transfer) -> None:
        """Add a part with the records that have no usable result, if there are any."""
        parts = await self.parts()
        if len(parts) > 1 and await self._is_incomplete(parts[-1]):
            parts.pop()  # its upload was interrupted; the same records are uploaded again
        status = await self._status_of(parts)
        if not status.is_final:
            raise TaskStateError(
                f"Job {status.bos_uri} is {status.state}: its failures are known when it has ended",
                hint="Call run() first, or stop().",
            )
        await self._settle(parts)

        def prepare(on_progress: OnProgress) -> Manifest | None:
            return self._prepare_retry(parts, on_progress)

        manifest = await transfer(prepare)
        if manifest:
            self._parts = [*parts, Part(manifest)]
            await self.begin()

    async def _settle(self, parts: list[Part]) -> None:
        """Store the final states of the shards, so that results can be read when the tasks are deleted."""
        async with aclosing(self.ended(parts, run_options(None, 30.0, None), ordered=False)) as settling:
            async for _ in settling:
                pass

    def _prepare_retry(self, parts: list[Part], on_progress: OnProgress) -> Manifest | None:
        with closing(Reader(self.files, parts)) as reader:
            records = reader.failed_records()
            if (record := next(records, None)) is None:
                return None
            directory = retry_directory(self.first.directory, len(parts))
            everything = chain([record], records)
            return planning.prepare(self.files, directory, self.first.parameters, everything, on_progress)

    async def _is_incomplete(self, part: Part) -> bool:
        for shard in part.manifest.shards:
            if await self._api.runtime.in_thread(self.files.missing_input, shard):
                return True
        return False

    async def stop(self) -> JobStatus:
        """Stop the tasks, and mark the job as stopped, so that no program creates more."""
        parts = await self.parts()
        manifest = parts[-1].manifest
        if not (await self._status_of(parts)).is_final:
            await self._api.runtime.in_thread(self.files.mark_stopped, manifest)
            status = await self._status_of(parts)
            active = {task.task_id for task in status.tasks if task.run_status.can_stop}
            listed = await recent_tasks(self._api, manifest)  # among them one that another program created
            await check_own(self._api, parts, active - {task.task_id for task in listed})
            active |= {task.task_id for task in listed if task.run_status.can_stop}
            await stop_tasks(self._api, active)
        return await self._status_of(parts)

    async def delete(self, *, data: bool, dry_run: bool) -> JobDeletion:
        """Delete the tasks, and the data if asked to."""
        parts = await self.parts()
        status = await self._status_of(parts)
        if not status.is_final:
            raise TaskStateError(
                f"Job {status.bos_uri} is {status.state} and cannot be deleted",
                hint="Call stop() first, and run() to wait for its end.",
            )
        tasks: dict[str, None] = {}
        for part in parts:
            named = [task_id for state in part.states.values() for task_id in state.task_ids]
            listed = [task.task_id for task in await recent_tasks(self._api, part.manifest)]
            await check_own(self._api, parts, {*named}.difference(listed))
            tasks |= dict.fromkeys([*named, *listed])
        runtime = self._api.runtime
        found = await runtime.in_thread(self.files.all_objects, self.first) if data else []
        if not dry_run:
            await self._settle(parts)
            options = bulk.bulk_options(_MAX_CONCURRENT, None, None, DeleteOptions(missing_ok=True))
            report = await bulk.delete_many(self._api, list(tasks), options)
            report.raise_for_failures()
            await runtime.in_thread(self.files.delete, self.first, found)
        return JobDeletion(tuple(tasks), len(found), sum(info.size for info in found))

    async def _status_of(self, parts: list[Part]) -> JobStatus:
        for part in parts:
            await refresh(self._api, self.files, part)
        return status_of(parts)
