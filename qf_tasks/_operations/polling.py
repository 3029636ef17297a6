"""Waits until tasks have ended; waiting never changes a task.

A poll of several tasks lists the active tasks of the account once, however many are awaited, and gets only
those that are not among them. Waits of one client that run at the same time share that listing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from qf_tasks._operations import arguments, listing
from qf_tasks._operations.api import Api
from qf_tasks._operations.retry import poll_delays
from qf_tasks.durations import seconds
from qf_tasks.errors import (
    BadResponseError,
    QfTasksError,
    RequestTimeoutError,
    TaskFailedError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from qf_tasks.models import ACTIVE, Task

_logger = logging.getLogger("qf_tasks")

_VISIBILITY_DELAY = 10.0  # seconds after a create in which "not found" may only mean "not visible yet"
_MAX_OUTAGE = 600.0  # seconds for which a wait that has begun tolerates a service that cannot be reached
_MIN_POLL_TIME = 1.0  # seconds that a poll may take even if the timeout passes meanwhile
_MAX_EARLY = 0.05  # seconds by which a request may end before the deadline that cut it off: clocks differ
_MAX_ACTIVE_PAGES = 20
_MAX_CONCURRENT_GETS = 16

OnChange = Callable[[Task], object]


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """How to wait.

    Attributes:
        timeout: seconds; None waits without a limit.
        poll_interval: the longest pause between polls in seconds.
        on_change: called with a task at the first poll and when its state or progress has changed.
    """

    timeout: float | None
    poll_interval: float = 30.0
    on_change: OnChange | None = None


def wait_options(timeout: object, poll_interval: object, on_change: OnChange | None) -> WaitOptions:
    """Return the options for the arguments of `wait`."""
    return WaitOptions(
        arguments.duration_or_none(timeout, "timeout"),
        seconds(poll_interval, "poll_interval", minimum=0.1),
        arguments.callback(on_change, "on_change"),
    )


async def wait(
    api: Api, task_id: str, options: WaitOptions, *, known: Task | None = None, raise_on_failure: bool = False
) -> Task:
    """Return a task when it has ended; `known` is a snapshot that shows that it exists."""
    poller = Poller(api, options, [task_id])
    if known:
        poller.existing.add(known.task_id)
    async with aclosing(poller.ended()) as ended:
        task = await anext(ended)
    if raise_on_failure and not task.is_success:
        raise _failure_of(task)
    return task


async def wait_all(
    api: Api, task_ids: list[str], options: WaitOptions, *, raise_on_failure: bool = False
) -> dict[str, Task]:
    """Return all tasks by id when every one has ended."""
    async with aclosing(Poller(api, options, task_ids).ended()) as ended:
        by_id = {task.task_id: task async for task in ended}
    tasks = {task_id: by_id[task_id] for task_id in task_ids}
    failed = {task_id: task for task_id, task in tasks.items() if not task.is_success}
    if failed and raise_on_failure:
        raise _failure_of_many(tasks, failed)
    return tasks


class Poller:
    """Polls tasks until they have ended.

    Attributes:
        pending: ids of the tasks that are not known to have ended, in the order given; more may be added.
        existing: ids of the tasks that were seen; for these a single "not found" is tolerated.
    """

    def __init__(
        self,
        api: Api,
        options: WaitOptions,
        task_ids: Iterable[str] = (),
        add_tasks: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Poll tasks.

        Args:
            add_tasks: Awaited before the first poll and after each; may add to `pending`, and returns
                whether it will add more.
        """
        self._api = api
        self._options = options
        self._add_tasks = add_tasks
        self.pending = dict.fromkeys(task_ids)
        self.existing: set[str] = set()
        self._snapshots: dict[str, Task] = {}
        self._missing_once: set[str] = set()
        self._reached_at: dict[str, float] = {}

    async def ended(self) -> AsyncGenerator[Task, None]:
        """Yield tasks as they end, each once.

        Raises:
            WaitTimeoutError: Not all have ended in time.
        """
        runtime = self._api.runtime
        timeout = self._options.timeout
        deadline = None if timeout is None else runtime.now() + timeout
        delays = poll_delays(self._options.poll_interval)
        try:
            if not await self._is_unfinished():
                return
            while True:
                self._api.awaited[self] = len(self.pending)
                delay = next(delays)
                async with aclosing(self._poll(deadline, max_age=delay / 2)) as polled:
                    async for task in polled:
                        yield task
                if not await self._is_unfinished():
                    return
                remaining = None if deadline is None else deadline - runtime.now()
                if remaining is not None and remaining <= 0:
                    raise self._timed_out()
                await runtime.sleep(delay if remaining is None else min(delay, remaining))
        finally:
            self._api.awaited.pop(self, None)

    async def _is_unfinished(self) -> bool:
        will_add = await self._add_tasks() if self._add_tasks else False
        return will_add or bool(self.pending)

    async def _poll(self, deadline: float | None, max_age: float) -> AsyncGenerator[Task, None]:
        """Poll every pending task once, and yield those that have ended as soon as that is known.

        Raises:
            QfTasksError: A request failed, and waiting would not help.
        """
        now = self._api.runtime.now()
        api = self._api.before(None if deadline is None else max(deadline, now + _MIN_POLL_TIME))
        pending = list(self.pending)
        failures: dict[str, QfTasksError] = {}
        active: Mapping[str, Task] = {}
        try:
            if sum(api.awaited.values()) > 1:
                active = await _active_tasks(self._api, max_age, api.deadline)
        except QfTasksError as failure:
            failures = dict.fromkeys(pending, failure)
        for task in [active[task_id] for task_id in pending if task_id in active]:
            await self._observe(task)

        async def attempt(task_id: str) -> Task | QfTasksError | None:
            try:
                return await self._get(api, task_id)
            except QfTasksError as failure:
                return failure

        others = [] if failures else [task_id for task_id in pending if task_id not in active]
        async with aclosing(api.runtime.each(attempt, others, _MAX_CONCURRENT_GETS)) as results:
            async for task_id, result in results:
                if isinstance(result, QfTasksError):
                    failures[task_id] = result
                elif result is not None:
                    await self._observe(result)
                    if result.is_final:
                        self.pending.pop(task_id)
                        yield result
        self._tolerate_outage(failures, deadline)

    async def _get(self, api: Api, task_id: str) -> Task | None:
        """Return a task, None if it is not found but may be temporary."""
        try:
            return await listing.get(api, task_id)
        except TaskNotFoundError:
            age = api.created.age(task_id, api.runtime.now())
            is_young = age is not None and age < _VISIBILITY_DELAY
            is_first_miss = task_id in self.existing and task_id not in self._missing_once
            if not (is_young or is_first_miss):
                raise
            self._missing_once.add(task_id)
            return None

    async def _observe(self, task: Task) -> None:
        previous = self._snapshots.get(task.task_id)
        self._snapshots[task.task_id] = task
        self._reached_at[task.task_id] = self._api.runtime.now()
        self.existing.add(task.task_id)
        self._missing_once.discard(task.task_id)
        is_change = (
            previous is None or previous.run_status != task.run_status or previous.progress != task.progress
        )
        if is_change and self._options.on_change:
            await self._api.runtime.notify(self._options.on_change, task)

    def _tolerate_outage(self, failures: Mapping[str, QfTasksError], deadline: float | None) -> None:
        """Raise the first failure that is not a temporary outage; log the others."""
        now = self._api.runtime.now()
        for task_id, failure in failures.items():
            is_late = deadline is not None and now >= deadline - _MAX_EARLY
            if is_late and isinstance(failure, RequestTimeoutError):
                continue  # cut off by the timeout of this wait, which says so itself
            reached_at = self._reached_at.get(task_id)
            if not failure.retryable or reached_at is None or now - reached_at > _MAX_OUTAGE:
                raise failure
        if failures:
            failure = next(iter(failures.values()))
            _logger.warning("A poll of %d tasks failed (%s); still waiting", len(failures), failure)

    def _timed_out(self) -> WaitTimeoutError:
        pending = list(self.pending)
        done = {task_id: task for task_id, task in self._snapshots.items() if task.is_final}
        task = self._snapshots.get(pending[0]) if len(pending) == 1 and not done else None
        if len(pending) == 1 and not done:
            state = f"is still {task.run_status}" if task else "is in an unknown state"
            message = f"Task {pending[0]} {state} after {self._options.timeout:g} s; it keeps running"
        else:
            message = (
                f"{len(pending)} of {len(pending) + len(done)} tasks have not ended after "
                f"{self._options.timeout:g} s; they keep running"
            )
        return WaitTimeoutError(
            message,
            task=task,
            tasks=dict(self._snapshots),
            pending=pending,
            task_id=pending[0] if len(pending) == 1 else None,
            hint="Nothing was stopped. Wait again with the same ids to continue. 任务仍在运行，可再次等待。",
        )


async def _active_tasks(api: Api, max_age: float, deadline: float | None) -> Mapping[str, Task]:
    """Return the active tasks of the account by id, from a listing that the waits of this client share."""

    async def list_active(ends_at: float | None = None) -> dict[str, Task]:
        active: dict[str, Task] = {}
        pages = 0
        async with aclosing(listing.pages(api.before(ends_at), listing.Query(ACTIVE))) as listed:
            async for page in listed:
                active |= {task.task_id: task for task in page if not task.is_final}
                pages += 1
                if pages == _MAX_ACTIVE_PAGES and page.is_truncated:
                    raise BadResponseError("The listing of active tasks does not end", retryable=True)
        return active

    return await api.runtime.share("active tasks", list_active, max_age=max_age, deadline=deadline)


def _failure_of(task: Task) -> TaskFailedError:
    reason = f": {task.error_reason}" if task.error_reason else ""
    return TaskFailedError(
        f"Task {task.task_id} ended as {task.run_status}{reason}",
        task=task,
        tasks={task.task_id: task},
        task_id=task.task_id,
        request_id=task.request_id,
        code=None if task.error_code is None else str(task.error_code),
    )


def _failure_of_many(tasks: Mapping[str, Task], failed: Mapping[str, Task]) -> TaskFailedError:
    names = ", ".join(f"{task.task_id} {task.run_status}" for task in list(failed.values())[:5])
    more = ", …" if len(failed) > 5 else ""
    return TaskFailedError(
        f"{len(failed)} of {len(tasks)} tasks did not end as Done: {names}{more}", tasks=tasks
    )
