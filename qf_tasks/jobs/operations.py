"""What can be done with a job, written once for both clients."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, closing
from dataclasses import replace
from itertools import chain

from qf_tasks._operations import bulk
from qf_tasks._operations.api import Api
from qf_tasks._operations.lifecycle import DeleteOptions
from qf_tasks.data.transfers import OnProgress
from qf_tasks.errors import TaskStateError
from qf_tasks.jobs import planning
from qf_tasks.jobs.manifest import Manifest, Shard
from qf_tasks.jobs.models import DONE, JobDeletion, JobStatus
from qf_tasks.jobs.parts import Part
from qf_tasks.jobs.results import Reader
from qf_tasks.jobs.runner import Run, RunOptions, refresh, run_options, stop_tasks
from qf_tasks.jobs.status import failure_of, status_of
from qf_tasks.jobs.storage import JobFiles, retry_directory

_MAX_CONCURRENT = 8

# Runs a transfer, in a thread where that is needed, and reports its progress.
Transfer = Callable[[Callable[[OnProgress], Manifest | None]], Awaitable[Manifest | None]]


class JobOperations:
    """What can be done with a job; the state of its parts is kept up to date."""

    def __init__(self, api: Api, files: JobFiles, manifests: Iterable[Manifest]) -> None:
        self._api = api
        self.files = files
        self.parts = [Part(manifest) for manifest in manifests]

    @property
    def newest(self) -> Part:
        """The part that is running, or ended last."""
        return self.parts[-1]

    async def begin(self) -> None:
        """Create tasks as far as there are free slots."""
        await Run(self._api, self.files, self.parts, run_options(None, 30.0, None)).begin()

    async def status(self) -> JobStatus:
        """Return how far the job is."""
        for part in self.parts:
            await refresh(self._api, self.files, part)
        return status_of(self.parts)

    async def run(self, options: RunOptions, *, raise_on_failure: bool) -> JobStatus:
        """Return when every shard is over."""
        async with aclosing(self.ended(options, ordered=False)) as ended:
            async for _ in ended:
                pass
        status = status_of(self.parts)
        if options.on_progress:
            await self._api.runtime.notify(options.on_progress, status)
        if raise_on_failure and status.state != DONE:
            raise failure_of(self.newest, status)
        return status

    async def ended(self, options: RunOptions, *, ordered: bool) -> AsyncGenerator[tuple[int, Shard], None]:
        """Yield shards when they are over, with the number of their part; in order, those of the first."""
        *earlier, newest = range(len(self.parts))
        for number in earlier:
            quiet = replace(options, on_progress=None)
            run = Run(self._api, self.files, self.parts[: number + 1], quiet)
            async with aclosing(run.ended()) as ended:
                async for shard in ended:
                    if not ordered:
                        yield number, shard
        run = Run(self._api, self.files, self.parts, options)
        in_order = deque(self.parts[0].manifest.shards)
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
        if len(self.parts) > 1 and await self._is_incomplete(self.newest):
            self.parts.pop()  # its upload was interrupted; the same records are sent again
        status = await self.status()
        if not status.is_final:
            raise TaskStateError(
                f"Job {status.bos_uri} is {status.state}: what has failed is known when it has ended",
                hint="Call run() first, or stop().",
            )
        await self._settle()
        manifest = await transfer(self._prepare_retry)
        if manifest:
            self.parts.append(Part(manifest))
            await self.begin()

    async def _settle(self) -> None:
        """Write how the tasks ended, so that results can be read without them."""
        async with aclosing(self.ended(run_options(None, 30.0, None), ordered=False)) as settling:
            async for _ in settling:
                pass

    def _prepare_retry(self, on_progress: OnProgress) -> Manifest | None:
        first = self.parts[0].manifest
        with closing(Reader(self.files, self.parts)) as reader:
            records = reader.failed_records()
            if (record := next(records, None)) is None:
                return None
            directory = retry_directory(first.directory, len(self.parts))
            everything = chain([record], records)
            return planning.prepare(self.files, directory, first.parameters, everything, on_progress)

    async def _is_incomplete(self, part: Part) -> bool:
        for shard in part.manifest.shards:
            if await self._api.runtime.in_thread(self.files.missing_input, shard):
                return True
        return False

    async def stop(self) -> JobStatus:
        """Stop the tasks, and have every program submit no more."""
        part = self.newest
        status = await self.status()
        if not status.is_final:
            await self._api.runtime.in_thread(self.files.mark_stopped, part.manifest)
            status = await self.status()
            active = [task.task_id for task in status.tasks if task.run_status.can_stop]
            await stop_tasks(self._api, active)
            status = await self.status()
        return status

    async def delete(self, *, data: bool, dry_run: bool) -> JobDeletion:
        """Delete the tasks, and perhaps the data."""
        status = await self.status()
        if not status.is_final:
            raise TaskStateError(
                f"Job {status.bos_uri} is {status.state} and cannot be deleted",
                hint="Call stop() first, and run() to wait for its end.",
            )
        tasks = [
            task_id for part in self.parts for state in part.states.values() for task_id in state.task_ids
        ]
        runtime, first = self._api.runtime, self.parts[0].manifest
        found = await runtime.in_thread(self.files.all_objects, first) if data else []
        if not dry_run:
            await self._settle()
            options = bulk.bulk_options(_MAX_CONCURRENT, None, None, DeleteOptions(missing_ok=True))
            report = await bulk.delete_many(self._api, tasks, options)
            report.raise_for_failures()
            await runtime.in_thread(self.files.delete, first, found)
        return JobDeletion(tuple(tasks), len(found), sum(info.size for info in found))
