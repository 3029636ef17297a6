"""Plans which tasks a purge deletes; every criterion is checked here on each task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from qf_tasks._operations import arguments, listing
from qf_tasks._operations.api import Api
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import RunStatus, Task
from qf_tasks.reports import PurgeCriteria, PurgePlan

_MIN_AGE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """A plan to be made.

    Attributes:
        criteria: those that do not depend on the time.
        older_than: an age, counted on the clock of the service.
    """

    criteria: PurgeCriteria
    older_than: timedelta | datetime | None
    max_tasks: int


def purge_request(
    *,
    run_status: object,
    name: object,
    older_than: object,
    creator: object,
    keep_newest: object,
    stop_first: bool,
    max_tasks: object,
) -> PurgeRequest:
    """Return the request for the arguments of `plan_purge`.

    Raises:
        InvalidArgumentError: An argument breaks its rule, or none of them restricts.
    """
    criteria = PurgeCriteria(
        run_status=arguments.run_statuses(run_status),
        name=arguments.text_or_none(name, "name"),
        creator=arguments.text_or_none(creator, "creator"),
        keep_newest=arguments.whole_number(keep_newest, "keep_newest", minimum=0),
        stop_first=bool(stop_first),
    )
    request = PurgeRequest(
        criteria,
        arguments.age_or_none(older_than, "older_than"),
        arguments.whole_number(max_tasks, "max_tasks", minimum=1),
    )
    _check_selective(request)
    return request


def _check_selective(request: PurgeRequest) -> None:
    """Reject criteria that would select the whole account; `keep_newest` alone keeps but a few."""
    criteria, now = request.criteria, datetime.now(UTC)
    older_than = listing.moment_of(request.older_than, now)
    is_aged = older_than is not None and older_than < now - _MIN_AGE
    is_named = criteria.name is not None and criteria.name.strip("*?")
    if not (criteria.run_status or is_named or is_aged or criteria.creator):
        raise InvalidArgumentError(
            "At least one of run_status, name, older_than and creator is required",
            hint="A name of * and ? alone does not restrict, nor does an age of 0. To select all tasks that "
            "ended, name their states.",
        )


async def plan_purge(api: Api, request: PurgeRequest) -> PurgePlan:
    """Return the plan for all tasks of the account that match.

    Raises:
        InvalidArgumentError: More than `max_tasks` match.
    """
    criteria, max_tasks = request.criteria, request.max_tasks
    skipped = Counter[str]()
    selected: dict[str, Task] = {}  # by id: a service may list a task twice
    async with aclosing(listing.dated_pages(api, listing.Query(criteria.run_status))) as pages:
        async for page, service_now in pages:
            if criteria.older_than is None:  # the same moment for all pages
                criteria = replace(criteria, older_than=listing.moment_of(request.older_than, service_now))
            for task in page:
                reason = _other_task(task, criteria)
                if reason is None and not criteria.keep_newest:  # else the newest are counted first
                    reason = _kept_task(task, criteria)
                if reason is None:
                    selected[task.task_id] = task
                else:
                    skipped[reason] += 1
            if not criteria.keep_newest:
                _check_count(selected, max_tasks)
    if criteria.keep_newest:
        for task_id, reason in _kept_tasks(selected, criteria).items():
            del selected[task_id]
            skipped[reason] += 1
        _check_count(selected, max_tasks)
    return PurgePlan(
        api.account, api.base_url, criteria, tuple(selected.values()), dict(skipped), datetime.now(UTC)
    )


def _check_count(selected: Mapping[str, Task], max_tasks: int) -> None:
    if len(selected) > max_tasks:
        raise InvalidArgumentError(
            f"More than max_tasks={max_tasks} tasks match", hint="Narrow the criteria, or raise max_tasks."
        )


def _kept_tasks(tasks: Mapping[str, Task], criteria: PurgeCriteria) -> dict[str, str]:
    """Return the tasks that are not deleted, by id, with the reason; the newest are counted first.

    Of two that are as old, the one listed first is newer.
    """
    dated = [task for task in tasks.values() if task.create_time]
    dated.sort(key=lambda task: task.create_time or datetime.min.replace(tzinfo=UTC), reverse=True)
    newest = {task.task_id for task in dated[: criteria.keep_newest]}
    kept: dict[str, str] = {}
    for task in tasks.values():
        if task.create_time is None:
            kept[task.task_id] = "no create_time"
        elif task.task_id in newest:
            kept[task.task_id] = "among the newest"
        elif reason := _kept_task(task, criteria):
            kept[task.task_id] = reason
    return kept


def _other_task(task: Task, criteria: PurgeCriteria) -> str | None:
    """Return why a task is not among those that the criteria name."""
    if criteria.run_status and task.run_status not in criteria.run_status:
        return "other run_status"
    if criteria.name is not None and not listing.has_name(task, criteria.name):
        return "other name"
    if criteria.creator is not None and task.creator != criteria.creator:
        return "other creator"
    return None


def _kept_task(task: Task, criteria: PurgeCriteria) -> str | None:
    """Return why a task that the criteria name is kept all the same."""
    if criteria.older_than and not listing.is_older(task, criteria.older_than):
        return "not old enough"
    if task.run_status not in RunStatus.KNOWN:
        return "unknown run_status"
    if not (task.run_status.can_delete or criteria.stop_first):
        return "not ended"
    return None
