"""Waiting for one task or for many, with clock and sleep injected; waiting never touches a task.

For many, a look lists the active tasks of the account once, at most 20 by its quota (amh4suzbi), and asks
singly only for those that are not among them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from qf_tasks._clock import Clock, pauses
from qf_tasks.errors import QfTasksError, TaskFailedError, TaskNotFoundError, WaitTimeoutError
from qf_tasks.models import ACTIVE, Task, TaskPage

_logger = logging.getLogger("qf_tasks")

_GRACE = 10.0  # seconds after a create in which "not found" is not yet an answer
_PATIENCE = 600.0  # seconds for which a wait that has begun outlasts a service out of reach

OnChange = Callable[[Task], None]


class Verbs(Protocol):
    """What this room needs of the client."""

    def get(self, task: str) -> Task: ...

    def pages(self, *, run_status: Sequence[str]) -> Iterator[TaskPage]: ...


class Watch:
    """Looks at tasks again and again, and remembers what it saw."""

    def __init__(
        self,
        verbs: Verbs,
        clock: Clock,
        age: Callable[[str], float | None],
        *,
        timeout: float | None,
        poll_interval: float,
        on_change: OnChange | None = None,
        known: Task | None = None,
    ) -> None:
        self._verbs = verbs
        self._clock = clock
        self._age = age
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._on_change = on_change
        self._seen: dict[str, Task] = {}
        self._existing = {known.task_id} if known else set[str]()
        self._missing: set[str] = set()
        self._reached_at: float | None = None

    def one(self, task_id: str) -> Task:
        """Return a task when it has ended.

        Raises:
            WaitTimeoutError: it has not within the limit.
        """
        for task in self.each([task_id]):
            return task
        raise AssertionError("each() yields every task or raises")

    def each(self, task_ids: Iterable[str]) -> Iterator[Task]:
        """Yield tasks as they end, each once.

        Raises:
            WaitTimeoutError: not all have within the limit.
        """
        pending = list(task_ids)
        for is_last in self._looks() if pending else ():
            ended = self._ended(pending)
            pending = [task_id for task_id in pending if task_id not in ended]
            yield from ended.values()
            if not pending:
                return
            if is_last:
                raise self._timed_out(pending)

    def _looks(self) -> Iterator[bool]:
        """Yield when it is time to look, and whether for the last time; fast at first, then slower."""
        deadline = None if self._timeout is None else self._clock.now() + self._timeout
        for pause in pauses(self._poll_interval):
            left = None if deadline is None else deadline - self._clock.now()
            yield left is not None and left <= 0
            self._clock.sleep(pause if left is None else min(pause, left))

    def _ended(self, pending: Sequence[str]) -> dict[str, Task]:
        """Look once, and return the tasks that have ended; outlast a service out of reach for a while."""
        try:
            active = self._active() if len(pending) > 1 else {}
            looked = [active.get(task_id) or self._got(task_id) for task_id in pending]
        except QfTasksError as failure:
            if not failure.retryable or self._reached_at is None:
                raise
            if self._clock.now() - self._reached_at > _PATIENCE:
                raise
            _logger.warning("A look at %d tasks failed (%s); the wait goes on", len(pending), failure)
            return {}
        self._reached_at = self._clock.now()
        for task in looked:
            self._note(task)
        return {task.task_id: task for task in looked if task and task.is_final}

    def _active(self) -> dict[str, Task]:
        pages = self._verbs.pages(run_status=ACTIVE)
        return {task.task_id: task for page in pages for task in page if not task.is_final}

    def _got(self, task_id: str) -> Task | None:
        """Return a task, None where it is not found but may only be late or out of sight."""
        try:
            return self._verbs.get(task_id)
        except TaskNotFoundError:
            age = self._age(task_id)
            is_young = age is not None and age < _GRACE
            is_first_miss = task_id in self._existing and task_id not in self._missing
            if not (is_young or is_first_miss):
                raise
            self._missing.add(task_id)
            return None

    def _note(self, task: Task | None) -> None:
        if task is None:
            return
        before = self._seen.get(task.task_id)
        self._seen[task.task_id] = task
        self._existing.add(task.task_id)
        self._missing.discard(task.task_id)
        is_news = before is None or (before.run_status, before.progress) != (task.run_status, task.progress)
        if is_news and self._on_change:
            self._on_change(task)

    def _timed_out(self, pending: Sequence[str]) -> WaitTimeoutError:
        done = {task_id: task for task_id, task in self._seen.items() if task.is_final}
        if len(pending) == 1 and not done:
            task = self._seen.get(pending[0])
            what = f"Task {pending[0]} is still {task.run_status if task else 'not to be seen'}"
        else:
            task = None
            what = f"{len(pending)} of {len(pending) + len(done)} tasks have not ended"
        goes_on = "it goes on" if len(pending) == 1 else "they go on"
        return WaitTimeoutError(
            f"{what} after {self._timeout:g} s; {goes_on}",
            task=task,
            tasks=dict(self._seen),
            done=done,
            pending=pending,
            task_id=pending[0] if len(pending) == 1 else None,
            hint="Nothing was stopped. Wait again with the same ids to go on. 任务仍在运行，可再次等待。",
        )


def failure_of(task: Task) -> TaskFailedError:
    """Return the error for a task that ended badly."""
    reason = f": {task.error_reason}" if task.error_reason else ""
    return TaskFailedError(
        f"Task {task.task_id} ended as {task.run_status}{reason}",
        task=task,
        tasks={task.task_id: task},
        failed={task.task_id: task},
        task_id=task.task_id,
        request_id=task.request_id,
        code=None if task.error_code is None else str(task.error_code),
    )


def failure_of_many(tasks: dict[str, Task], failed: dict[str, Task]) -> TaskFailedError:
    """Return the one error for all tasks that ended badly."""
    named = ", ".join(f"{task.task_id} {task.run_status}" for task in list(failed.values())[:5])
    more = ", …" if len(failed) > 5 else ""
    return TaskFailedError(
        f"{len(failed)} of {len(tasks)} tasks did not end as Done: {named}{more}", tasks=tasks, failed=failed
    )
