"""Working off many tasks with several threads: what ends a run, and the report that survives any end.

What is to be done to one task is given as a function.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Protocol

from qf_tasks._journal import NOT_WRITTEN, Journal
from qf_tasks.errors import (
    AuthenticationError,
    QfTasksError,
    TaskNotFoundError,
)
from qf_tasks.models import Task
from qf_tasks.reports import BulkInterrupted, BulkOutcome, BulkReport, ErrorSummary, Outcome
from qf_tasks.settings import Account, Settings

_logger = logging.getLogger("qf_tasks")

OnProgress = Callable[[BulkOutcome, int, int], None]
Work = Callable[[str], BulkOutcome]

_HOPELESS = ("OptInRequired", NOT_WRITTEN)


class Verbs(Protocol):
    """What this room needs of the client."""

    _settings: Settings

    @property
    def account(self) -> Account: ...

    def get(self, task: str) -> Task: ...


class Run:
    """One pass over tasks.

    Args:
        work: does to the task of an id what is to be done; called by any thread.
        if_missing: the outcome of a task that is not found.
        journal: where outcomes are written, and earlier runs may have left some open.
    """

    def __init__(
        self,
        verbs: Verbs,
        task_ids: Sequence[str],
        work: Work,
        *,
        if_missing: Outcome = "not_found",
        journal: Journal | None = None,
    ) -> None:
        self._verbs = verbs
        self._task_ids = task_ids
        self._work = work
        self._if_missing: Outcome = if_missing
        self._journal = journal
        self._unsettled = journal.unsettled if journal else set[str]()
        self._outcomes: dict[str, BulkOutcome] = {}
        self._missing: set[str] = set()
        self._is_over = threading.Event()

    def report(self, max_workers: int, on_progress: OnProgress | None) -> BulkReport:
        """Do the work, and return what became of each task.

        Raises:
            BulkInterrupted: Ctrl-C; what was in flight has been finished. A second one does not wait for
                that, so that it stays unknown.
            BaseException: whatever else cuts off this thread, with the report set on it as `report`.
        """
        try:
            with ThreadPoolExecutor(max_workers, "qf-tasks-bulk") as pool:
                try:
                    self._settle_earlier_runs()
                    self._follow(pool, on_progress)
                finally:
                    self._is_over.set()
            self._warn_if_all_missing()
            return self._report()
        except KeyboardInterrupt as cut:
            report = self._report()
            raise BulkInterrupted(f"Interrupted: {report}", report) from cut
        except BaseException as cut:
            vars(cut)["report"] = self._report()
            raise

    def _settle_earlier_runs(self) -> None:
        """Look up the tasks that earlier runs left open and this one has not: gone, or left alone."""
        if self._journal is None:
            return
        for task_id in self._unsettled.difference(self._task_ids):
            try:
                found = self._verbs.get(task_id)
                outcome = BulkOutcome(task_id, "not_tried", request_id=found.request_id)
            except TaskNotFoundError as gone:
                outcome = BulkOutcome(task_id, "already_gone", request_id=gone.request_id)
            except QfTasksError as failure:
                _logger.warning("Task %s of an earlier run could not be looked up (%s)", task_id, failure)
                return
            self._journal.settle(outcome)

    def _follow(self, pool: Executor, on_progress: OnProgress | None) -> None:
        """Hand out the tasks, those that earlier runs left open first, and tell each as it is done."""
        task_ids = sorted(self._task_ids, key=lambda task_id: task_id not in self._unsettled)
        futures = [pool.submit(self._one, task_id) for task_id in task_ids]
        outcomes = (future.result() for future in as_completed(futures))
        tried = (outcome for outcome in outcomes if outcome)
        for done, outcome in enumerate(tried, 1):
            if on_progress:
                on_progress(outcome, done, len(task_ids))

    def _one(self, task_id: str) -> BulkOutcome | None:
        if self._is_over.is_set():
            return None
        self._outcomes[task_id] = BulkOutcome(task_id, "unknown")  # for as long as it is in flight
        outcome = self._noted(self._attempted(task_id))
        self._outcomes[task_id] = outcome
        return outcome

    def _attempted(self, task_id: str) -> BulkOutcome:
        try:
            return self._work(task_id)
        except TaskNotFoundError as error:
            if self._journal and task_id in self._journal.intended:  # that it is gone is our own work
                return BulkOutcome(task_id, "already_gone", request_id=error.request_id)
            self._missing.add(task_id)
            summary = ErrorSummary.of(error) if self._if_missing == "not_found" else None
            return BulkOutcome(task_id, self._if_missing, summary, error.request_id)
        except QfTasksError as error:
            self._end_if_hopeless(error)
            outcome: Outcome = "unknown" if error.may_have_been_applied else "failed"
            return BulkOutcome(task_id, outcome, ErrorSummary.of(error), error.request_id)

    def _noted(self, outcome: BulkOutcome) -> BulkOutcome:
        """Write an outcome into the journal; where that fails, the outcome says so, and stays what it is."""
        if self._journal is None:
            return outcome
        try:
            self._journal.settle(outcome)
        except QfTasksError as error:
            self._end_if_hopeless(error)
            return replace(outcome, error=ErrorSummary.of(error))
        return outcome

    def _end_if_hopeless(self, error: QfTasksError) -> None:
        """Start nothing more where no other task can fare better: for the keys, the account, the journal.

        Nor where the service said how long to stay away, and the client may not wait for so long.
        """
        is_sent_away = (error.retry_after or 0.0) > self._verbs._settings.max_retry_wait
        if isinstance(error, AuthenticationError) or error.code in _HOPELESS or is_sent_away:
            self._is_over.set()

    def _report(self) -> BulkReport:
        outcomes = (
            self._outcomes.get(task_id) or BulkOutcome(task_id, "not_tried") for task_id in self._task_ids
        )
        return BulkReport(tuple(outcomes), self._verbs.account)

    def _warn_if_all_missing(self) -> None:
        if len(self._missing) == len(self._task_ids) > 1:
            _logger.warning(
                "None of these %d tasks is there: are they of another account than %s?",
                len(self._task_ids),
                self._verbs.account,
            )
