"""Deletes or stops many tasks concurrently; whatever ends a run early, there is a report of every task."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field, replace

from qf_tasks._operations import arguments, lifecycle
from qf_tasks._operations.api import Api
from qf_tasks._operations.journal import NOT_WRITTEN, Journal, JournalPath
from qf_tasks._operations.lifecycle import DeleteOptions
from qf_tasks._operations.listing import get
from qf_tasks.errors import AuthenticationError, InvalidArgumentError, QfTasksError, TaskNotFoundError
from qf_tasks.models import ACTIVE, RunStatus, Task
from qf_tasks.reports import BulkInterrupted, BulkOutcome, BulkReport, ErrorSummary, Outcome, PurgePlan

_logger = logging.getLogger("qf_tasks")

# Codes after which every other task would fail too.
_FATAL_CODES = ("OptInRequired", NOT_WRITTEN)

_MAX_WORKERS = 64

OnProgress = Callable[[BulkOutcome, int, int], object]
Work = Callable[[str], Awaitable[BulkOutcome]]


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """How many tasks are processed.

    Attributes:
        max_workers: how many at a time.
        journal: a file that logs each delete before and after.
        on_progress: called with each outcome, the number so far, and the number of all tasks.
        delete: how each task is deleted.
    """

    max_workers: int = 8
    journal: JournalPath | None = None
    on_progress: OnProgress | None = None
    delete: DeleteOptions = field(default_factory=DeleteOptions)


def bulk_options(
    max_workers: object,
    journal: JournalPath | None,
    on_progress: OnProgress | None,
    delete: DeleteOptions | None = None,
) -> BulkOptions:
    """Return the options for the arguments of `delete_many`."""
    return BulkOptions(
        arguments.whole_number(max_workers, "max_workers", minimum=1, maximum=_MAX_WORKERS),
        journal,
        arguments.callback(on_progress, "on_progress"),
        delete or DeleteOptions(),
    )


def plain_task_ids(tasks: object) -> list[str]:
    """Return the ids of tasks that are deleted by name, not by a plan."""
    if isinstance(tasks, PurgePlan):
        raise InvalidArgumentError("tasks must not be a plan: purge(plan) checks each of its tasks again")
    return arguments.task_ids(tasks)


async def stop_many(api: Api, task_ids: list[str], options: BulkOptions) -> BulkReport:
    """Stop tasks, and return a report of every one."""

    async def work(task_id: str) -> BulkOutcome:
        result = await lifecycle.stop(api, task_id)
        if result.run_status == RunStatus.STOPPING:
            return BulkOutcome(task_id, "stopping", request_id=result.request_id)
        if result.run_status == RunStatus.STOPPED:
            return BulkOutcome(task_id, "stopped", request_id=result.request_id)
        return _skipped(task_id, f"It had ended as {result.run_status}", result.request_id)

    return await BulkRun(api, task_ids, work, options).run()


async def delete_many(api: Api, task_ids: list[str], options: BulkOptions) -> BulkReport:
    """Delete tasks, and return a report of every one."""
    return await _delete_all(api, dict.fromkeys(task_ids), options)


async def purge(api: Api, plan: PurgePlan, options: BulkOptions) -> BulkReport:
    """Delete the tasks of a plan that have not changed since, and return a report of every one."""
    planned: dict[str, Task | None] = {task.task_id: task for task in plan}
    delete = replace(options.delete, stop_first=plan.criteria.stop_first, missing_ok=True)
    return await _delete_all(api, planned, replace(options, delete=delete))


def check_plan(api: Api, plan: object) -> PurgePlan:
    """Return a plan that was made for this account and host.

    Raises:
        InvalidArgumentError: It is another kind of object, or was made for another account.
    """
    if not isinstance(plan, PurgePlan):
        raise InvalidArgumentError(f"plan must be a PurgePlan, not {type(plan).__name__}")
    if (plan.account, plan.base_url) != (api.account, api.base_url):
        raise InvalidArgumentError(
            f"plan was made for {plan.account.access_key} at {plan.base_url}, "
            f"but this client is {api.account.access_key} at {api.base_url}",
            hint="Use the keys and the base_url that it was made with. 该计划属于其他账号。",
        )
    return plan


async def _delete_all(api: Api, planned: Mapping[str, Task | None], options: BulkOptions) -> BulkReport:
    """Delete tasks; one of a plan, and one that goes into a journal, is read again just before."""
    journal = None
    if options.journal is not None:
        journal = await api.runtime.in_thread(Journal, options.journal, api.account)

    async def work(task_id: str) -> BulkOutcome:
        plan = planned[task_id]
        if plan or journal:
            current = await get(api, task_id)
            if plan and (change := _change(plan, current, stop_first=options.delete.stop_first)):
                return _skipped(task_id, change, current.request_id)
            if journal:
                await api.runtime.in_thread(journal.intend, current)
        # A missing task is an outcome of its own, decided in one place: see BulkRun._attempt.
        result = await lifecycle.delete(api, task_id, replace(options.delete, missing_ok=False))
        return BulkOutcome(task_id, result.outcome, request_id=result.request_id)

    return await BulkRun(api, list(planned), work, options, journal).run()


class BulkRun:
    """One pass over tasks.

    Args:
        work: Does to a task what is to be done.
        journal: Where outcomes are written; it may have tasks of earlier runs without one. The run closes it.
    """

    def __init__(
        self, api: Api, task_ids: list[str], work: Work, options: BulkOptions, journal: Journal | None = None
    ) -> None:
        self._api = api
        self._task_ids = task_ids
        self._work = work
        self._options = options
        self._journal = journal
        self._outcomes: dict[str, BulkOutcome] = {}
        self._is_over = False

    async def run(self) -> BulkReport:
        """Process every task, and return the report.

        Raises:
            BulkInterrupted: Ctrl-C; requests in flight have finished. A second one does not wait for them, so
                that their outcome stays unknown.
            BaseException: What else ends the run early (a cancellation, an error in `on_progress`), with the
                report as its attribute `report` and as a note.
        """
        try:
            with self._journal or nullcontext():
                await self._settle_earlier_runs()
                await self._process()
            self._warn_if_all_missing()
            return self._report()
        except KeyboardInterrupt as interrupt:
            self._is_over = True
            report = self._report()
            raise BulkInterrupted(f"Interrupted: {report}", report) from interrupt
        except BaseException as error:
            self._is_over = True
            report = self._report()
            vars(error)["report"] = report
            error.add_note(str(report))
            raise

    async def _settle_earlier_runs(self) -> None:
        """Look up the tasks whose outcome earlier runs did not write, unless this run processes them."""
        unsettled = self._journal.unsettled if self._journal else set[str]()
        for task_id in sorted(unsettled.difference(self._task_ids)):
            try:
                task = await get(self._api, task_id)
                outcome = BulkOutcome(task_id, "not_tried", request_id=task.request_id)
            except TaskNotFoundError as missing:
                outcome = BulkOutcome(task_id, "already_gone", request_id=missing.request_id)
            except QfTasksError as failure:
                _logger.warning("Task %s of an earlier run could not be looked up (%s)", task_id, failure)
                return
            await self._write_outcome(outcome)

    async def _process(self) -> None:
        """Process all tasks, first those whose outcome an earlier run did not write."""
        unsettled = self._journal.unsettled if self._journal else set[str]()
        task_ids = sorted(self._task_ids, key=lambda task_id: task_id not in unsettled)
        each = self._api.runtime.each(
            self._process_one, task_ids, self._options.max_workers, finish_started=True
        )
        done = 0
        async with aclosing(each) as results:
            async for _task_id, outcome in results:
                if outcome is None:
                    continue
                done += 1
                if self._options.on_progress:
                    await self._api.runtime.notify(self._options.on_progress, outcome, done, len(task_ids))

    async def _process_one(self, task_id: str) -> BulkOutcome | None:
        # In this order, so that a report made at the same time does not miss a task that is in flight.
        self._outcomes[task_id] = BulkOutcome(task_id, "unknown")
        if self._is_over:
            del self._outcomes[task_id]
            return None
        outcome = await self._write_outcome(await self._attempt(task_id))
        self._outcomes[task_id] = outcome
        return outcome

    async def _attempt(self, task_id: str) -> BulkOutcome:
        try:
            return await self._work(task_id)
        except TaskNotFoundError as error:
            journal = self._journal
            is_own_work = journal and (task_id in journal.unsettled or task_id in journal.deleted)
            if is_own_work or self._options.delete.missing_ok:
                return BulkOutcome(task_id, "already_gone", request_id=error.request_id)
            return BulkOutcome(task_id, "not_found", ErrorSummary.of(error), error.request_id)
        except QfTasksError as error:
            self._end_if_fatal(error)
            outcome: Outcome = "unknown" if error.may_have_been_applied else "failed"
            return BulkOutcome(task_id, outcome, ErrorSummary.of(error), error.request_id)

    async def _write_outcome(self, outcome: BulkOutcome) -> BulkOutcome:
        """Write an outcome into the journal and return it, with the error if it could not be written."""
        if self._journal is None:
            return outcome
        try:
            await self._api.runtime.in_thread(self._journal.settle, outcome)
        except QfTasksError as error:
            self._end_if_fatal(error)
            return replace(outcome, error=ErrorSummary.of(error))
        return outcome

    def _end_if_fatal(self, error: QfTasksError) -> None:
        """Begin no other task after an error that all others would meet too.

        That is a rejection of the keys or the account, a journal that cannot be written, or a `Retry-After`
        that is longer than the client may wait.
        """
        is_long_pause = (error.retry_after or 0.0) > self._api.policy.max_wait
        if isinstance(error, AuthenticationError) or error.code in _FATAL_CODES or is_long_pause:
            self._is_over = True

    def _report(self) -> BulkReport:
        outcomes = (
            self._outcomes.get(task_id) or BulkOutcome(task_id, "not_tried") for task_id in self._task_ids
        )
        return BulkReport(tuple(outcomes), self._api.account)

    def _warn_if_all_missing(self) -> None:
        missing = sum(outcome.outcome in ("not_found", "already_gone") for outcome in self._outcomes.values())
        if missing == len(self._task_ids) > 1:
            _logger.warning(
                "None of these %d tasks exists: were they deleted before, or do they belong to another "
                "account than %s?",
                missing,
                self._api.account,
            )


def _change(planned: Task, current: Task, *, stop_first: bool) -> str | None:
    """Return how a task differs from the planned one, None if it does not.

    With `stop_first`, a task that was active may be in another active state by now, or stopped, perhaps by an
    earlier run. It is not deleted if it ended by itself, since the plan did not expect a result.
    """
    if current.create_time != planned.create_time:
        return f"It was created at {current.create_time}, not at {planned.create_time} like the planned one"
    if current.name != planned.name:
        return f"Its name is {current.name!r}, and was {planned.name!r}"
    is_expected = (
        stop_first and planned.run_status in ACTIVE and current.run_status in (*ACTIVE, RunStatus.STOPPED)
    )
    if current.run_status != planned.run_status and not is_expected:
        return f"It is {current.run_status}, and was {planned.run_status}"
    return None


def _skipped(task_id: str, reason: str, request_id: str | None) -> BulkOutcome:
    return BulkOutcome(task_id, "skipped", ErrorSummary("Skipped", reason), request_id)
