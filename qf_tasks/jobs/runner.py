"""Runs a job: creates the task of each shard once, polls the tasks, and retries failed shards.

Any program can do this at any time, since all state is in the store and in the list of tasks: a task that was
created just before its program was killed is found by its idempotency key.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace

from qf_tasks._operations import arguments, create, lifecycle, listing
from qf_tasks._operations.api import Api
from qf_tasks._operations.polling import Poller, WaitOptions
from qf_tasks._operations.retry import poll_delays
from qf_tasks.durations import seconds
from qf_tasks.errors import (
    InvalidArgumentError,
    NotFoundError,
    QfTasksError,
    QuotaExceededError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from qf_tasks.jobs.manifest import DELETED, Manifest, Shard, ShardState, find_tasks
from qf_tasks.jobs.models import JobStatus
from qf_tasks.jobs.parts import Part
from qf_tasks.jobs.status import status_of
from qf_tasks.jobs.storage import JobFiles
from qf_tasks.models import RunStatus, Task

_logger = logging.getLogger("qf_tasks")

_VISIBILITY_DELAY = 60.0  # seconds in which "not found" may only mean "not visible yet"
_MAX_OUTAGE = 600.0  # seconds of failures, other than a full quota, after which a run ends
_MIN_CALL_TIME = 1.0  # seconds that the creation of a task may take even if the timeout passes meanwhile
_MAX_CONCURRENT = 8

OnStatus = Callable[[JobStatus], object]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a job.

    Attributes:
        wait: as for tasks.
        on_progress: called with the status after each poll that has changed it.
    """

    wait: WaitOptions
    on_progress: OnStatus | None = None


def run_options(timeout: object, poll_interval: object, on_progress: OnStatus | None) -> RunOptions:
    """Return the options for the arguments of `run` and `results`."""
    wait = WaitOptions(
        arguments.duration_or_none(timeout, "timeout"),
        seconds(poll_interval, "poll_interval", minimum=0.1),
    )
    return RunOptions(wait, arguments.callback(on_progress, "on_progress"))


async def refresh(api: Api, files: JobFiles, part: Part) -> None:
    """Update the states of the shards of a part."""
    manifest = part.manifest
    unsettled = [shard.name for shard in manifest.shards if shard.name not in part.settled]
    if not unsettled:
        return
    stored = await api.runtime.in_thread(files.read_states, manifest, unsettled)
    part.states |= stored
    part.settled |= {name for name, state in stored.items() if state.is_finished(part.retries)}
    part.is_stopped = await api.runtime.in_thread(files.is_stopped, manifest)
    if part.settled.issuperset(unsettled):
        return
    found = find_tasks(manifest, await recent_tasks(api, manifest))
    for name in set(unsettled) - part.settled:
        state = _newer(part.states.get(name), found.get(name))
        if state and name not in found and not state.run_status.is_final:
            state = await _current(api, state)
        if state:
            part.states[name] = state


def _newer(stored: ShardState | None, found: ShardState | None) -> ShardState | None:
    """Return the state of the newest attempt, with all tasks that are known."""
    if stored is None or found is None:
        return stored or found
    newest, other = (found, stored) if found.attempt >= stored.attempt else (stored, found)
    earlier = dict.fromkeys([*other.task_ids, *newest.earlier])
    earlier.pop(newest.task_id, None)
    return replace(newest, earlier=tuple(earlier))


async def recent_tasks(api: Api, manifest: Manifest) -> list[Task]:
    """Return the tasks of the account that have a key of this job.

    The listing stops at the first page that is older than the job. That it is ordered by time is inferred; a
    task that is missed is found by `create`.
    """
    found: list[Task] = []
    async with aclosing(listing.pages(api, listing.Query())) as pages:
        async for page in pages:
            found += [task for task in page if (task.idempotency_key or "").startswith(manifest.key_prefix)]
            times = [task.create_time for task in page if task.create_time]
            if times and max(times) < manifest.oldest_task:
                break
    return found


async def _current(api: Api, state: ShardState) -> ShardState:
    try:
        return state.after(await listing.get(api, state.task_id))
    except TaskNotFoundError:  # deleted, or not visible yet: a run finds out
        return state


class Run:
    """Runs the newest of some parts."""

    def __init__(self, api: Api, files: JobFiles, parts: list[Part], options: RunOptions) -> None:
        self._api = api
        self._files = files
        self._parts = parts
        self._part = parts[-1]
        self._options = options
        self._waiting: deque[Shard] = deque()
        self._by_task: dict[str, Shard] = {}
        self._poller: Poller | None = None
        self._deadline: float | None = None
        self._refused_since: float | None = None
        self._missing_since: dict[str, float] = {}
        self._has_changed = True

    async def begin(self) -> None:
        """Create tasks while there are free slots."""
        await self._refresh()
        await self._create_tasks()

    async def ended(self) -> AsyncGenerator[Shard, None]:
        """Yield each shard when it is finished, first those that already are.

        Raises:
            WaitTimeoutError: Some shards were not finished in time.
        """
        now = self._api.runtime.now
        timeout = self._options.wait.timeout
        self._deadline = None if timeout is None else now() + timeout
        await self._refresh()
        for shard in [shard for shard in self._part.manifest.shards if self._part.is_finished(shard)]:
            await self._settle(shard)
            yield shard
        is_running = True
        while is_running:
            remaining = None if self._deadline is None else max(0.0, self._deadline - now())
            wait = replace(self._options.wait, timeout=remaining, on_change=self._observe)
            self._poller = Poller(self._api, wait, self._by_task, self._add_tasks)
            self._poller.existing.update(self._by_task)
            try:
                async with aclosing(self._poller.ended()) as ended:
                    async for task in ended:
                        if over := await self._end(task):
                            yield over
                is_running = False
            except TaskNotFoundError as error:
                if deleted := await self._end_if_deleted(error):
                    yield deleted
            except WaitTimeoutError as error:
                raise self._timed_out(error) from None
        for shard in self._waiting:  # of a job that was stopped
            yield shard

    async def _refresh(self) -> None:
        part = self._part
        await refresh(self._api, self._files, part)
        for shard in part.manifest.shards:
            if part.needs_task(shard):
                self._waiting.append(shard)
            elif not part.is_finished(shard):
                self._by_task[part.states[shard.name].task_id] = shard

    async def _end(self, task: Task) -> Shard | None:
        """Record that a task has ended; return its shard if that is finished."""
        shard = self._by_task.pop(task.task_id)
        self._observe(task, shard)
        if self._part.needs_task(shard):
            _logger.warning(
                "Retrying shard %s of job %s: task %s ended as %s",
                shard.name,
                self._part.manifest.bos_uri,
                task.task_id,
                task.run_status,
            )
            self._waiting.append(shard)
            return None
        await self._settle(shard)
        return shard

    async def _end_if_deleted(self, error: TaskNotFoundError) -> Shard | None:
        """Record that a task was deleted, unless it may only not be visible yet; return its shard.

        Raises:
            TaskNotFoundError: The task is not one of this job.
        """
        task_id, now = error.task_id or "", self._api.runtime.now()
        if task_id not in self._by_task:
            raise error
        if now - self._missing_since.setdefault(task_id, now) < _VISIBILITY_DELAY:
            return None
        shard = self._by_task.pop(task_id)
        state = self._part.states[shard.name]
        self._part.states[shard.name] = replace(state, run_status=DELETED)
        await self._settle(shard)
        return shard

    def _observe(self, task: Task, shard: Shard | None = None) -> None:
        name = (shard or self._by_task[task.task_id]).name
        self._part.states[name] = self._part.states[name].after(task)
        self._has_changed = True

    async def _settle(self, shard: Shard) -> None:
        """Store the final state of a shard, once its output is complete.

        A store that cannot be reached for a while does not end the run.
        """
        part, runtime = self._part, self._api.runtime
        state = part.states.get(shard.name)
        if state is None or shard.name in part.settled:
            return
        started = runtime.now()
        for delay in poll_delays(self._options.wait.poll_interval):
            try:
                if state.run_status == RunStatus.DONE:
                    await self._wait_for_output(shard, state)
                await runtime.in_thread(self._files.write_state, part.manifest, shard.name, state)
            except QfTasksError as error:
                if not error.retryable or runtime.now() - started > _MAX_OUTAGE:
                    raise
                _logger.warning(
                    "The final state of shard %s could not be stored (%s); trying again", shard.name, error
                )
                await runtime.sleep(delay)
            else:
                part.settled.add(shard.name)
                return

    async def _wait_for_output(self, shard: Shard, state: ShardState) -> None:
        """Wait until there is an output file for each input file; how soon they are listed is unknown."""
        expected = sum(file.records > 0 for file in shard.files)
        found = await self._api.runtime.in_thread(self._files.output, state, expected)
        if len(found) < expected:
            _logger.warning(
                "Task %s is Done, but has %d output files for %d input files",
                state.task_id,
                len(found),
                expected,
            )

    async def _add_tasks(self) -> bool:
        """Create tasks while there are free slots, and return whether more are to be created.

        A service that cannot be reached for a while does not end the run.
        """
        now = self._api.runtime.now()
        try:
            await self._create_tasks()
            self._refused_since = None
        except QfTasksError as error:
            self._refused_since = self._refused_since or now
            if not error.retryable or now - self._refused_since > _MAX_OUTAGE:
                raise
            _logger.warning("No task could be created (%s); trying again", error)
        if self._options.on_progress and self._has_changed:
            self._has_changed = False
            await self._api.runtime.notify(self._options.on_progress, status_of(self._parts))
        return bool(self._waiting) and not self._part.is_stopped

    async def _create_tasks(self) -> None:
        if not self._waiting or await self._is_stopped():
            return
        try:
            while self._waiting and not self._part.is_stopped:
                await self._create_task(self._waiting[0])
        except QuotaExceededError as error:
            _logger.debug("%d shards wait for a slot: %s", len(self._waiting), error)

    async def _create_task(self, shard: Shard) -> None:
        """Create the next task of the first waiting shard, or use the one that exists already."""
        part, runtime = self._part, self._api.runtime
        before = part.states.get(shard.name)
        attempt = before.attempt + 1 if before else 1
        state = await runtime.in_thread(self._files.read_state, part.manifest, shard.name)
        is_new = state is None or state.attempt < attempt
        if state is None or is_new:
            await self._check_input(shard)
            created = await create.create(self._limited_api(), part.manifest.request(shard, attempt))
            earlier = before.task_ids if before else ()
            state = ShardState(created.task_id, attempt, RunStatus.QUEUING, earlier=earlier)
        part.states[shard.name] = state
        self._has_changed = True
        self._by_task[state.task_id] = shard
        self._waiting.popleft()
        if self._poller:
            self._poller.pending[state.task_id] = None
        if is_new:
            await runtime.in_thread(self._files.write_state, part.manifest, shard.name, state)
        if await self._is_stopped():  # whoever stopped the job may not know of this task
            await stop_tasks(self._api, [state.task_id])

    async def _check_input(self, shard: Shard) -> None:
        """Check that the input is complete.

        Raises:
            NotFoundError: It is not.
        """
        if wrong := await self._api.runtime.in_thread(self._files.missing_input, shard):
            raise NotFoundError(
                f"The input of shard {shard.name} is not what was submitted: {len(wrong)} objects are "
                f"missing, changed or not part of it, such as {wrong[0]}",
                hint="Submit the same records again to upload what is missing; delete what does not belong.",
            )

    def _limited_api(self) -> Api:
        """Return the API whose calls end at the timeout, or a moment later."""
        if self._deadline is None:
            return self._api
        return self._api.before(max(self._deadline, self._api.runtime.now() + _MIN_CALL_TIME))

    async def _is_stopped(self) -> bool:
        part = self._part
        if not part.is_stopped:
            part.is_stopped = await self._api.runtime.in_thread(self._files.is_stopped, part.manifest)
        return part.is_stopped

    def _timed_out(self, error: WaitTimeoutError) -> WaitTimeoutError:
        shards = self._part.manifest.shards
        open_shards = [shard.name for shard in shards if not self._part.is_finished(shard)]
        return WaitTimeoutError(
            f"Job {self._part.manifest.bos_uri} has not ended after {self._options.wait.timeout:g} s: "
            f"{len(open_shards)} of {len(shards)} shards are not done; its tasks keep running",
            tasks=error.tasks,
            pending=error.pending,
            hint="Nothing was stopped. Run the job again to continue. 任务仍在运行，可再次等待。",
        )


async def check_own(api: Api, parts: Iterable[Part], task_ids: Iterable[str]) -> None:
    """Check that tasks were created for a job: others may write its files, but not choose what is deleted.

    Raises:
        InvalidArgumentError: A task was not created for it; the files of the job were changed.
    """
    prefixes = tuple(part.manifest.key_prefix for part in parts)
    for task_id in task_ids:
        try:
            task = await listing.get(api, task_id)
        except TaskNotFoundError:
            continue
        if not (task.idempotency_key or "").startswith(prefixes):
            raise InvalidArgumentError(
                f"The files of the job name task {task_id}, which was not created for it",
                task_id=task_id,
                hint="Delete the file in tasks/ that names it: the job finds its tasks by their keys.",
            )


async def stop_tasks(api: Api, task_ids: Iterable[str]) -> None:
    """Stop tasks; one that is gone counts as stopped."""

    async def stop(task_id: str) -> None:
        try:
            await lifecycle.stop(api, task_id)
        except TaskNotFoundError:
            _logger.debug("Task %s is gone", task_id)

    async with aclosing(api.runtime.each(stop, list(task_ids), _MAX_CONCURRENT)) as stopped:
        async for _ in stopped:
            pass
