"""The methods of the client for many tasks: signatures and documentation, as in `client.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Protocol

from qf_tasks import _planning, bulk
from qf_tasks._arguments import Age, RunStatusLike, Seconds, TaskLike
from qf_tasks.reports import BulkOutcome, BulkReport, PurgePlan


class _Client(bulk.Verbs, _planning.Verbs, Protocol):
    """What these methods need of the client that they are part of."""


class ManyTasks:
    """The part of a client that plans, deletes and stops many tasks."""

    def delete_many(
        self: _Client,
        tasks: Iterable[TaskLike],
        *,
        stop_first: bool = False,
        stop_timeout: Seconds | None = 300.0,
        missing_ok: bool = False,
        max_workers: int = 8,
        journal: str | PathLike[str] | None = None,
        on_progress: Callable[[BulkOutcome, int, int], None] | None = None,
    ) -> BulkReport:
        """Delete tasks side by side, irrevocably, and return what became of each.

        A failure of one does not stop the others; refused keys, or Qianfan not activated for the account, do.
        What `delete` says of one task holds for each. To go on with what was not done, pass
        `report.remaining`.

        Args:
            tasks: ids or tasks, read to their end before the first request; each is deleted once.
            stop_first: stop queuing and running tasks, and wait until they have ended; default False.
            stop_timeout: seconds to wait for that, for each task; None is no limit; default 300.
            missing_ok: take a task that is not there for deleted; default False.
            max_workers: how many at a time, 1 to 64; default 8.
            journal: a file that is told of each task before it is deleted and of the outcome after, as JSON
                lines. A run with the journal of one that was killed looks up first what that left open.
            on_progress: called in this thread with each outcome as it comes, how many there are, and how
                many tasks there are in all.

        Raises:
            InvalidArgumentError: before any request; also a journal that cannot be written, or is of another
                account.
            BulkInterrupted: Ctrl-C; what was in flight was finished, and `.report` says what was done. Any
                other exception that cuts this thread off, in `on_progress` perhaps, goes on with `.report`
                set on it. A second Ctrl-C does not wait for what is in flight: its outcome is unknown.
        """
        return bulk.delete_many(
            self,
            tasks,
            stop_first=stop_first,
            stop_timeout=stop_timeout,
            missing_ok=missing_ok,
            max_workers=max_workers,
            journal=journal,
            on_progress=on_progress,
        )

    def stop_many(
        self: _Client,
        tasks: Iterable[TaskLike],
        *,
        max_workers: int = 8,
        on_progress: Callable[[BulkOutcome, int, int], None] | None = None,
    ) -> BulkReport:
        """Tell tasks to stop, side by side, and return what became of each; one that has ended is skipped.

        The arguments are those of `delete_many`.

        Raises:
            InvalidArgumentError: before any request.
            BulkInterrupted: as with `delete_many`.
        """
        return bulk.stop_many(self, tasks, max_workers=max_workers, on_progress=on_progress)

    def plan_purge(
        self: _Client,
        *,
        run_status: RunStatusLike = None,
        name: str | None = None,
        older_than: Age | None = None,
        creator: str | None = None,
        keep_newest: int = 0,
        stop_first: bool = False,
        max_tasks: int = 1000,
    ) -> PurgePlan:
        """Return which tasks fit and would be deleted; nothing is, until `purge` is given the plan.

        At least one of `run_status`, `name`, `older_than` and `creator` is needed. Every criterion is checked
        here on each task.

        Args:
            run_status: one or several states, in any case; default all.
            name: a pattern for the whole name (`*`, `?`, `[…]`), case and all; of `*` and `?` alone, it is no
                criterion.
            older_than: seconds, a `timedelta`, `"30d"`, or an aware `datetime`: the later of the task's
                create and finish time is before it. A task without a time is never old.
            creator: the whole name of who created it.
            keep_newest: how many to keep, by create time, of those that fit by state, name and creator,
                whatever their age; a task without a create time is kept then, too; default 0.
            stop_first: take tasks that have not ended too; `purge` stops them first. Default False. One in
                a state that is not known is never taken.
            max_tasks: how many tasks a plan may have; default 1000.

        Raises:
            InvalidArgumentError: before any request; or after them, where more than `max_tasks` fit.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        return _planning.plan_purge(
            self,
            self._settings.base_url,
            run_status=run_status,
            name=name,
            older_than=older_than,
            creator=creator,
            keep_newest=keep_newest,
            stop_first=stop_first,
            max_tasks=max_tasks,
        )

    def purge(
        self: _Client,
        plan: PurgePlan,
        *,
        stop_timeout: Seconds | None = 300.0,
        max_workers: int = 8,
        journal: str | PathLike[str] | None = None,
        on_progress: Callable[[BulkOutcome, int, int], None] | None = None,
    ) -> BulkReport:
        """Delete the tasks of a plan, irrevocably, and return what became of each.

        Each is looked at again just before. Where its state, name or create time is not as planned, it is
        skipped, and the outcome says why; a task to be stopped first may have been stopped meanwhile. One
        that is gone is `"already_gone"`.

        The other arguments are those of `delete_many`.

        Raises:
            InvalidArgumentError: before any request; also a plan of another account or host.
            BulkInterrupted: as with `delete_many`.
        """
        return bulk.purge(
            self,
            self._settings.base_url,
            plan,
            stop_timeout=stop_timeout,
            max_workers=max_workers,
            journal=journal,
            on_progress=on_progress,
        )
