"""Deleting or stopping many tasks, named one by one or by a plan.

The verbs for one task are given: how one is deleted, and what is repeated, is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypedDict, Unpack

from qf_tasks import _arguments, _side_by_side
from qf_tasks._arguments import Seconds, TaskLike
from qf_tasks._journal import Journal
from qf_tasks._side_by_side import OnProgress, Run
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import ACTIVE, DeleteResult, RunStatus, StopResult, Task
from qf_tasks.reports import BulkOutcome, BulkReport, ErrorSummary, Outcome, PurgePlan

JournalPath = str | os.PathLike[str]

_MOST_WORKERS = 64  # as many as the client keeps connections
_ACTIVE_OR_STOPPED = (*ACTIVE, RunStatus.STOPPED)


class Verbs(_side_by_side.Verbs, Protocol):
    """What this room needs of the client."""

    def delete(self, task: str, *, stop_first: bool, stop_timeout: float | None) -> DeleteResult:
        """Delete one task."""
        ...

    def stop(self, task: str) -> StopResult:
        """Stop one task."""
        ...


class Options(TypedDict):
    """How deletes are carried out, whatever named the tasks."""

    stop_timeout: Seconds | None
    max_workers: int
    journal: JournalPath | None
    on_progress: OnProgress | None


def stop_many(
    verbs: Verbs, tasks: Iterable[TaskLike], *, max_workers: int, on_progress: OnProgress | None
) -> BulkReport:
    """Stop tasks side by side, and return what became of each."""
    task_ids = _arguments.task_ids(tasks)
    workers = _workers(max_workers)
    tell = _arguments.callback(on_progress, "on_progress")
    return Run(verbs, task_ids, lambda task_id: _stopped(verbs, task_id)).report(workers, tell)


def delete_many(
    verbs: Verbs,
    tasks: Iterable[TaskLike],
    *,
    stop_first: bool,
    missing_ok: bool,
    **options: Unpack[Options],
) -> BulkReport:
    """Delete tasks side by side, and return what became of each."""
    if isinstance(tasks, PurgePlan):
        raise InvalidArgumentError("tasks must not be a plan: purge(plan) looks at each of its tasks again")
    named = dict.fromkeys(_arguments.task_ids(tasks))
    if_missing: Outcome = "already_gone" if missing_ok else "not_found"
    return _delete_all(verbs, named, if_missing, stop_first=stop_first, **options)


def purge(verbs: Verbs, base_url: str, plan: PurgePlan, **options: Unpack[Options]) -> BulkReport:
    """Delete the tasks of a plan that are as they were, side by side, and return what became of each."""
    if not isinstance(plan, PurgePlan):
        raise InvalidArgumentError(f"plan must be a PurgePlan, not {type(plan).__name__}")
    if (plan.account, plan.base_url) != (verbs.account, base_url):
        raise InvalidArgumentError(
            f"plan is of {plan.account.access_key} at {plan.base_url}, "
            f"but this client is {verbs.account.access_key} at {base_url}",
            hint="Apply it with the keys and the base_url that it was made with. 该计划属于其他账号。",
        )
    planned = {task.task_id: task for task in plan}
    return _delete_all(verbs, planned, "already_gone", stop_first=plan.criteria.stop_first, **options)


def _delete_all(
    verbs: Verbs,
    planned: Mapping[str, Task | None],
    if_missing: Outcome,
    *,
    stop_first: bool,
    stop_timeout: Seconds | None,
    max_workers: int,
    journal: JournalPath | None,
    on_progress: OnProgress | None,
) -> BulkReport:
    timeout = _arguments.seconds_or_none(stop_timeout, "stop_timeout")
    workers = _workers(max_workers)
    tell = _arguments.callback(on_progress, "on_progress")
    opened = None if journal is None else Journal(journal, verbs.account)
    deletion = _Deletion(verbs, planned, stop_first, timeout, opened)
    run = Run(verbs, list(planned), deletion, if_missing=if_missing, journal=opened)
    return run.report(workers, tell)


@dataclass(frozen=True)
class _Deletion:
    """Deletes a task; one of a plan is looked at before, and one that a journal is to hold."""

    verbs: Verbs
    planned: Mapping[str, Task | None]
    stop_first: bool
    stop_timeout: float | None
    journal: Journal | None

    def __call__(self, task_id: str) -> BulkOutcome:
        before = self.planned[task_id]
        if before or self.journal:
            now = self.verbs.get(task_id)
            if before and (change := _change(before, now, stop_first=self.stop_first)):
                return _skipped(task_id, change, now.request_id)
            if self.journal:
                self.journal.intend(now)
        result = self.verbs.delete(task_id, stop_first=self.stop_first, stop_timeout=self.stop_timeout)
        return BulkOutcome(task_id, result.outcome, request_id=result.request_id)


def _change(before: Task, now: Task, *, stop_first: bool) -> str | None:
    """Return what makes a task another one than was planned, None where nothing does.

    With `stop_first`, one that was active may still be, or have been stopped: by an earlier run, perhaps. One
    that has ended by itself is kept, for its end was not planned.
    """
    if before.create_time not in (None, now.create_time):
        return f"It was created at {now.create_time}, and not at {before.create_time} like the planned one"
    if before.name not in (None, now.name):
        return f"Its name is {now.name!r}, and was {before.name!r}"
    is_expected = stop_first and before.run_status in ACTIVE and now.run_status in _ACTIVE_OR_STOPPED
    if now.run_status != before.run_status and not is_expected:
        return f"It is {now.run_status}, and was {before.run_status}"
    return None


def _stopped(verbs: Verbs, task_id: str) -> BulkOutcome:
    result = verbs.stop(task_id)
    if result.run_status == RunStatus.STOPPING:
        return BulkOutcome(task_id, "stopping", request_id=result.request_id)
    if result.run_status == RunStatus.STOPPED:
        return BulkOutcome(task_id, "stopped", request_id=result.request_id)
    return _skipped(task_id, f"It had ended as {result.run_status}", result.request_id)


def _skipped(task_id: str, why: str, request_id: str | None) -> BulkOutcome:
    return BulkOutcome(task_id, "skipped", ErrorSummary("Skipped", why), request_id)


def _workers(value: object) -> int:
    return _arguments.whole_number(value, "max_workers", least=1, most=_MOST_WORKERS)
