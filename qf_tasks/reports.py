"""Plans and reports of bulk operations: values to print or keep as JSON, and the errors that carry them.

They hold no secret and no traceback, and know nothing of clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self, Unpack, get_args

from qf_tasks.errors import ErrorDetails, QfTasksError
from qf_tasks.models import Account, Model, RunStatus, Task, html_table

Outcome = Literal[
    "deleted",
    "already_gone",
    "stopping",
    "stopped",
    "not_found",
    "skipped",
    "failed",
    "unknown",
    "not_tried",
]

_OK_OUTCOMES = ("deleted", "already_gone", "stopping", "stopped", "skipped")
_REMAINING = ("failed", "unknown", "not_tried")
_MAX_ROWS = 20  # tasks in the table for a notebook


@dataclass(frozen=True, slots=True)
class ErrorSummary(Model):
    """Why a task was not done: what is worth keeping of an error.

    Attributes:
        kind: the class of the error, such as `"TaskStateError"`; `"Skipped"` where nothing went wrong.
        message, code, hint, retryable: those of the error.
    """

    kind: str
    message: str
    code: str | None = None
    hint: str | None = None
    retryable: bool = False

    @classmethod
    def of(cls, error: QfTasksError) -> Self:
        """Return the summary of an error."""
        return cls(type(error).__name__, error.message, error.code, error.hint, error.retryable)

    def __str__(self) -> str:
        """Return the message, then the code in brackets."""
        return f"{self.message} [{self.code}]" if self.code else self.message


@dataclass(frozen=True, slots=True)
class BulkOutcome(Model):
    """The outcome of one of many tasks.

    Attributes:
        outcome: `"deleted"`; `"already_gone"` (missing, and either `missing_ok` was given or an earlier
            attempt deleted it); `"stopping"` (the stop was accepted); `"stopped"` (it had been stopped
            already); `"not_found"`; `"skipped"` (not touched, `error` says why); `"failed"` (definitely not
            done); `"unknown"` (it may have been done); `"not_tried"`.
        error: the reason, if there is one.
        request_id: of the request that decided the outcome.
    """

    task_id: str
    outcome: Outcome
    error: ErrorSummary | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class BulkReport(Model):
    """The outcomes of many tasks, in the order in which they were given."""

    outcomes: tuple[BulkOutcome, ...]
    account: Account

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many tasks had each outcome; every outcome is a key, even with 0."""
        found = Counter(outcome.outcome for outcome in self.outcomes)
        return {outcome: found[outcome] for outcome in get_args(Outcome)}

    @property
    def ok(self) -> bool:
        """Whether every task was done or skipped: none failed, is unknown, was not found or not tried."""
        return not self._failures

    @property
    def remaining(self) -> tuple[str, ...]:
        """The ids to pass to the same method again: those that failed, are unknown or were not tried.

        A task whose outcome is unknown may be gone by then: `missing_ok=True` treats it as deleted.
        """
        return tuple(outcome.task_id for outcome in self.outcomes if outcome.outcome in _REMAINING)

    def raise_for_failures(self) -> None:
        """Do nothing if `ok` is true.

        Raises:
            BulkError: `ok` is false; `.report` is this report.
        """
        if failures := self._failures:
            first = next((failure for failure in failures if failure.error), failures[0])
            cause = f"; {first.task_id}: {first.error}" if first.error else ""
            raise BulkError(
                f"{len(failures)} of {len(self)} tasks were not done ({_summary(self.counts)}){cause}",
                report=self,
                hint=first.error.hint if first.error else None,
                retryable=any(failure.error.retryable for failure in failures if failure.error),
            )

    @property
    def _failures(self) -> list[BulkOutcome]:
        return [outcome for outcome in self.outcomes if outcome.outcome not in _OK_OUTCOMES]

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.outcomes)

    def __iter__(self) -> Iterator[BulkOutcome]:
        """Iterate over the outcomes."""
        return iter(self.outcomes)

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<BulkReport {_summary(self.counts)}>"

    def _repr_html_(self) -> str:
        rows = [(outcome, count) for outcome, count in self.counts.items() if count]
        failures = (
            (failure.task_id, failure.error or failure.outcome) for failure in self._failures[:_MAX_ROWS]
        )
        return html_table(f"{len(self)} tasks of {self.account}", [*rows, *failures])


@dataclass(frozen=True, slots=True)
class PurgeCriteria(Model):
    """Which tasks a purge selects; what is None or empty does not restrict.

    Attributes:
        older_than: the later of the task's create and finish time is before this moment.
        keep_newest: how many of those that match by state, name and creator are kept, whatever their age.
        stop_first: select tasks that have not ended too, and stop them first.
    """

    run_status: tuple[RunStatus, ...] = ()
    name: str | None = None
    older_than: datetime | None = None
    creator: str | None = None
    keep_newest: int = 0
    stop_first: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class PurgePlan(Model):
    """Tasks to delete, and whose they are; making a plan deletes nothing.

    Attributes:
        account, base_url: `purge` accepts the plan only with these.
        tasks: as they were when the plan was made.
        skipped: how many tasks were seen and not selected, by reason.
    """

    account: Account
    base_url: str
    criteria: PurgeCriteria
    tasks: tuple[Task, ...]
    skipped: dict[str, int]
    created_at: datetime

    def __len__(self) -> int:
        """Return the number of tasks to be deleted."""
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        """Iterate over the tasks to be deleted."""
        return iter(self.tasks)

    def __repr__(self) -> str:
        """Return one short line."""
        skipped = f", skipped {_summary(self.skipped)}" if self.skipped else ""
        return f"<PurgePlan {len(self)} tasks of {self.account}{skipped}>"

    def _repr_html_(self) -> str:
        tasks = ((task.task_id, f"{task.name} {task.run_status}") for task in self.tasks[:_MAX_ROWS])
        more = len(self) - _MAX_ROWS
        rows = [*tasks, ("more", more if more > 0 else None), *self.skipped.items()]
        return html_table(f"Plan to delete {len(self)} tasks of {self.account}", rows)


def _summary(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"


class BulkError(QfTasksError):
    """Some of many tasks were not done; `report` says which and why."""

    def __init__(self, message: str, *, report: BulkReport, **details: Unpack[ErrorDetails]) -> None:
        super().__init__(message, **details)
        self.report: BulkReport = report


class BulkInterrupted(KeyboardInterrupt):
    """Ctrl-C during a bulk operation: requests in flight have finished, and `report` has every outcome."""

    def __init__(self, message: str, report: BulkReport) -> None:
        super().__init__(message, report)
        self.report: BulkReport = report

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])
