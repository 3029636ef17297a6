"""Which tasks a purge takes: every criterion checked here on each task, whatever the service has filtered.

Planning deletes nothing, and holds no more than the tasks that it takes and the newest that it keeps.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from qf_tasks import _arguments, _listing
from qf_tasks._arguments import Age
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import RunStatus, Task, TaskPage
from qf_tasks.reports import PurgeCriteria, PurgePlan
from qf_tasks.settings import Account

_LEAST_AGE = timedelta(seconds=1)


class Verbs(Protocol):
    """What this room needs of the client."""

    @property
    def account(self) -> Account: ...

    def pages(self, *, run_status: Sequence[str] | None) -> Iterator[TaskPage]: ...


def plan_purge(
    verbs: Verbs,
    base_url: str,
    *,
    run_status: str | Iterable[str] | None,
    name: str | None,
    older_than: Age | None,
    creator: str | None,
    keep_newest: int,
    stop_first: bool,
    max_tasks: int,
) -> PurgePlan:
    """Return the plan for all tasks of the account that fit.

    Raises:
        InvalidArgumentError: an argument breaks its rule, or more tasks fit than allowed.
    """
    criteria = PurgeCriteria(
        run_status=_arguments.run_statuses(run_status),
        name=_arguments.text_or_none(name, "name"),
        older_than=_arguments.older_than(older_than),
        creator=_arguments.text_or_none(creator, "creator"),
        keep_newest=_arguments.whole_number(keep_newest, "keep_newest", least=0),
        stop_first=bool(stop_first),
    )
    _check_selective(criteria)
    most = _arguments.whole_number(max_tasks, "max_tasks", least=1)
    skipped = Counter[str]()
    listed = (task for page in verbs.pages(run_status=criteria.run_status or None) for task in page)
    tasks = _at_most(most, _taken(listed, criteria, skipped))
    return PurgePlan(verbs.account, base_url, criteria, tuple(tasks), dict(+skipped), datetime.now(UTC))


def _check_selective(criteria: PurgeCriteria) -> None:
    """Refuse what would take the whole account; `keep_newest` is none, for it takes all but a few."""
    now = datetime.now(UTC)
    is_aged = criteria.older_than is not None and criteria.older_than < now - _LEAST_AGE
    is_named = criteria.name is not None and criteria.name.strip("*?")
    if not (criteria.run_status or is_named or is_aged or criteria.creator):
        raise InvalidArgumentError(
            "At least one of run_status, name, older_than and creator is needed",
            hint="A name of * and ? alone is none, nor is an age of 0. To take all that ended, name states.",
        )


def _at_most(most: int, found: Iterable[Task]) -> list[Task]:
    tasks: list[Task] = []
    count = 0
    for count, task in enumerate(found, 1):
        if count <= most:
            tasks.append(task)
    if count > most:
        raise InvalidArgumentError(
            f"{count} tasks fit, more than max_tasks={most}", hint="Narrow the criteria, or raise max_tasks."
        )
    return tasks


def _taken(listed: Iterable[Task], criteria: PurgeCriteria, skipped: Counter[str]) -> Iterator[Task]:
    """Yield the tasks to delete, and count the others by reason."""
    named = _without(listed, lambda task: _other(task, criteria), skipped)
    older = _but_newest(named, criteria.keep_newest, skipped)
    return _without(older, lambda task: _kept(task, criteria), skipped)


def _without(
    tasks: Iterable[Task], reason_of: Callable[[Task], str | None], skipped: Counter[str]
) -> Iterator[Task]:
    for task in tasks:
        if reason := reason_of(task):
            skipped[reason] += 1
        else:
            yield task


def _but_newest(tasks: Iterable[Task], count: int, skipped: Counter[str]) -> Iterator[Task]:
    """Yield all but the newest by create time, holding no more than these."""
    newest: list[tuple[datetime, int, Task]] = []
    for place, task in enumerate(tasks):
        if not count:
            yield task
        elif task.create_time is None:
            skipped["no create_time"] += 1
        else:
            entry = (task.create_time, -place, task)  # of two that are as old, the first listed is newer
            if len(newest) < count:
                heapq.heappush(newest, entry)
            else:
                yield heapq.heappushpop(newest, entry)[-1]
    skipped["among the newest"] += len(newest)


def _other(task: Task, criteria: PurgeCriteria) -> str | None:
    """Return why a task is none that the criteria mean."""
    if criteria.run_status and task.run_status not in criteria.run_status:
        return "other run_status"
    if criteria.name is not None and not _listing.has_name(task, criteria.name):
        return "other name"
    if criteria.creator is not None and task.creator != criteria.creator:
        return "other creator"
    return None


def _kept(task: Task, criteria: PurgeCriteria) -> str | None:
    """Return why a task that is meant is not taken all the same."""
    if criteria.older_than and not _listing.is_older(task, criteria.older_than):
        return "not old enough"
    if task.run_status not in RunStatus.KNOWN:
        return "unknown run_status"
    if not (task.run_status.can_delete or criteria.stop_first):
        return "not ended"
    return None
