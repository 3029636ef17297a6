"""What is planned for many tasks, and what became of them: values that are printed, and kept as JSON.

They hold no secret and no traceback, and know nothing of clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self, get_args

from qf_tasks.errors import BulkError, QfTasksError
from qf_tasks.models import Model, Task
from qf_tasks.run_status import RunStatus
from qf_tasks.settings import Account

Outcome = Literal[
    "deleted", "already_gone", "stopped", "not_found", "skipped", "failed", "unknown", "not_tried"
]

_FINE = ("deleted", "already_gone", "stopped", "skipped")
_REMAINING = ("failed", "unknown", "not_tried")


@dataclass(frozen=True, slots=True)
class ErrorSummary(Model):
    """Why a task was not done: what is worth keeping of an error.

    Attributes:
        kind: the class of the error, such as `"TaskStateError"`; `"Skipped"` where nothing went wrong.
        message, code, hint: those of the error.
    """

    kind: str
    message: str
    code: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, error: QfTasksError) -> Self:
        """Return the summary of an error."""
        return cls(type(error).__name__, error.message, error.code, error.hint)

    def __str__(self) -> str:
        """Return the message, then the code in brackets."""
        return f"{self.message} [{self.code}]" if self.code else self.message


@dataclass(frozen=True, slots=True)
class BulkOutcome(Model):
    """What became of one of many tasks.

    Attributes:
        outcome: `"deleted"`; `"already_gone"` (not there any more, which was allowed, or is the work of an
            attempt before); `"stopped"` (told to stop, or stopped already); `"not_found"`; `"skipped"` (left
            alone, and `error` says why); `"failed"` (surely not done); `"unknown"` (it may have been done);
            `"not_tried"`.
        error: why, where there is a reason.
        request_id: of the request that decided it.
    """

    task_id: str
    outcome: Outcome
    error: ErrorSummary | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class BulkReport(Model):
    """What became of many tasks, in the order in which they were given."""

    outcomes: tuple[BulkOutcome, ...]
    account: Account

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many tasks had each outcome; every outcome is there, if with 0."""
        found = Counter(outcome.outcome for outcome in self.outcomes)
        return {word: found[word] for word in get_args(Outcome)}

    @property
    def ok(self) -> bool:
        """Whether every task was done or skipped: nothing failed, is unknown, was not found or not tried."""
        return not self._failures

    @property
    def remaining(self) -> tuple[str, ...]:
        """The ids to pass on to the same method again: those failed, unknown and not tried.

        One that is unknown may be gone by then: `missing_ok=True` takes that for done.
        """
        return tuple(outcome.task_id for outcome in self.outcomes if outcome.outcome in _REMAINING)

    def raise_for_failures(self) -> None:
        """Do nothing where `ok` is true.

        Raises:
            BulkError: it is not; `.report` is this report.
        """
        if failures := self._failures:
            first = next((failure for failure in failures if failure.error), failures[0])
            cause = f"; {first.task_id}: {first.error}" if first.error else ""
            raise BulkError(
                f"{len(failures)} of {len(self)} tasks were not done ({_told(self.counts)}){cause}",
                report=self,
                hint=first.error.hint if first.error else None,
            )

    @property
    def _failures(self) -> list[BulkOutcome]:
        return [outcome for outcome in self.outcomes if outcome.outcome not in _FINE]

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.outcomes)

    def __iter__(self) -> Iterator[BulkOutcome]:
        """Iterate over the outcomes."""
        return iter(self.outcomes)

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<BulkReport {_told(self.counts)}>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class PurgeCriteria(Model):
    """Which tasks a purge takes; what is None or empty is no criterion.

    Attributes:
        older_than: the later of the task's create and finish time is before it.
        keep_newest: how many of those that fit by state, name and creator stay, whatever their age.
        stop_first: tasks that have not ended are taken too, and stopped before.
    """

    run_status: tuple[RunStatus, ...] = ()
    name: str | None = None
    older_than: datetime | None = None
    creator: str | None = None
    keep_newest: int = 0
    stop_first: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class PurgePlan(Model):
    """Tasks that are to be deleted, and whose they are; making one deletes nothing.

    Attributes:
        account, base_url: with any other, `purge` refuses the plan.
        tasks: as they were when the plan was made.
        skipped: how many tasks were seen and not taken, by reason.
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
        skipped = f", skipped {_told(self.skipped)}" if self.skipped else ""
        return f"<PurgePlan {len(self)} tasks of {self.account}{skipped}>"

    __str__ = __repr__


def _told(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing"
