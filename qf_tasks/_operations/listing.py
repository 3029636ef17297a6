"""Reads one task, lists tasks page by page, each once whatever the markers mean, and the supported models.

Whether the task that a marker names is part of the page, whether the service names the next marker, and what
it does if that task is gone, is undocumented; all of it works here. See `.github/docs/service.md#paging`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from qf_tasks._operations import arguments
from qf_tasks._operations.api import Api
from qf_tasks._protocol import decoding
from qf_tasks._protocol.actions import GET, LIST, MODELS
from qf_tasks._protocol.error_codes import says_task_not_found
from qf_tasks._protocol.responses import service_time
from qf_tasks.errors import (
    ApiError,
    BadResponseError,
    ErrorDetails,
    InvalidRequestError,
    QfTasksError,
    TaskNotFoundError,
)
from qf_tasks.models import Response, RunStatus, SupportedModels, Task, TaskPage

_MAX_EMPTY_PAGES = 100  # in a row; a service that filters after it pages may send some
_MAX_PAGES = 10_000  # a million tasks: a listing that is longer does not end


@dataclass(frozen=True, slots=True)
class Query:
    """What the service is asked for, page by page."""

    run_statuses: tuple[RunStatus, ...] = ()
    newest_first: bool = True
    page_size: int = 100

    def params(self, marker: str | None) -> dict[str, Any]:
        """Return the parameters of the request for the page at a marker."""
        params: dict[str, Any] = {
            "runStatus": list(self.run_statuses),
            "maxKeys": self.page_size,
            "pageReverse": self.newest_first,
        }
        return params if marker is None else {**params, "marker": marker}


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which listed tasks are wanted; what is None or empty does not restrict."""

    run_statuses: tuple[RunStatus, ...] = ()
    name: str | None = None
    creator: str | None = None
    older_than: timedelta | datetime | None = None
    newer_than: timedelta | datetime | None = None

    def matches(self, task: Task, service_now: datetime) -> bool:
        """Return whether a task is wanted; its state is checked whatever the service has filtered."""
        older_than = moment_of(self.older_than, service_now)
        newer_than = moment_of(self.newer_than, service_now)
        return (
            (not self.run_statuses or task.run_status in self.run_statuses)
            and (self.name is None or has_name(task, self.name))
            and (self.creator is None or task.creator == self.creator)
            and (older_than is None or is_older(task, older_than))
            and (newer_than is None or is_newer(task, newer_than))
        )


def listing_query(run_status: object, newest_first: bool, page_size: object) -> Query:
    """Return the query for the arguments of `list` and `pages`."""
    size = arguments.whole_number(page_size, "page_size", minimum=1, maximum=100)
    return Query(arguments.run_statuses(run_status), bool(newest_first), size)


def listing_filter(
    query: Query, name: object, creator: object, older_than: object, newer_than: object
) -> TaskFilter:
    """Return the filter for the arguments of `list`."""
    return TaskFilter(
        query.run_statuses,
        arguments.text_or_none(name, "name"),
        arguments.text_or_none(creator, "creator"),
        arguments.age_or_none(older_than, "older_than"),
        arguments.age_or_none(newer_than, "newer_than"),
    )


async def get(api: Api, task_id: str) -> Task:
    """Return a task as it is now.

    Raises:
        TaskNotFoundError: The account has no such task, and that is certain.
    """
    try:
        response = await api.call(GET, {"taskId": task_id})
    except TaskNotFoundError as rejection:
        await check_missing(api, rejection, task_id)
        raise
    return decoding.task(response, task_id)


async def check_missing(api: Api, rejection: TaskNotFoundError, task_id: str) -> None:
    """Raise a rejection as a plain `ApiError` unless the task is certainly missing."""
    if not await is_certainly_missing(api, rejection, task_id):
        raise ApiError(rejection.message, **details_of(rejection)) from rejection


async def is_certainly_missing(api: Api, rejection: ApiError, task_id: str) -> bool:
    """Return whether a rejection that could mean "no such task" does mean that.

    For an account in arrears, or in maintenance, the service may reject every request with one unknown code.
    So unless the code itself says that of a task, a listing must succeed, and its first page lack the task.
    """
    if says_task_not_found(rejection.code):
        return True
    try:
        page = decoding.task_page(await api.call(LIST, Query().params(None)))
    except QfTasksError:
        return False
    return all(task.task_id != task_id for task in page)


def details_of(error: QfTasksError) -> ErrorDetails:
    """Return what another error about the same request carries over."""
    return ErrorDetails(
        code=error.code,
        status=error.status,
        request_id=error.request_id,
        action=error.action,
        task_id=error.task_id,
        attempts=error.attempts,
        may_have_been_applied=error.may_have_been_applied,
    )


async def pages(api: Api, query: Query, marker: str | None = None) -> AsyncGenerator[TaskPage, None]:
    """Yield the pages of a listing."""
    async with aclosing(dated_pages(api, query, marker)) as dated:
        async for page, _ in dated:
            yield page


async def dated_pages(
    api: Api, query: Query, marker: str | None = None
) -> AsyncGenerator[tuple[TaskPage, datetime], None]:
    """Yield the pages of a listing, each fetched when it is asked for, without tasks of the page before.

    With each comes the time at which it was made by the clock of the service, on which ages are counted: the
    clock of this machine may be wrong.

    Raises:
        BadResponseError: The paging does not advance or does not end.
        InvalidRequestError: The listing cannot continue since all tasks of the last page are gone.
    """
    previous: tuple[Task, ...] = ()
    used_markers = {None, marker}
    empty_pages = 0
    for _ in range(_MAX_PAGES):
        response = await _respond(api, query, marker, previous)
        page = decoding.task_page(response)
        seen = {task.task_id for task in previous}
        new = tuple({task.task_id: task for task in page if task.task_id not in seen}.values())
        marker = page.next_marker or (new[-1].task_id if new and page.is_truncated else None)
        service_now = service_time(response.headers) or datetime.now(UTC)
        yield TaskPage(new, marker, page.is_truncated, page.request_id), service_now
        if not page.is_truncated:
            return
        if not page.next_marker:  # the page may begin with the task of the marker, so one task is not enough
            query = replace(query, page_size=max(query.page_size, 2))
        empty_pages = 0 if new else empty_pages + 1
        if marker in used_markers or empty_pages > _MAX_EMPTY_PAGES:
            raise BadResponseError(
                "The listing does not advance: the service reports another page but gives no marker for it",
                action=LIST,
                request_id=page.request_id,
            )
        used_markers.add(marker)
        previous = new or previous
    raise BadResponseError(f"The listing did not end after {_MAX_PAGES:,} pages", action=LIST)


async def _respond(api: Api, query: Query, marker: str | None, previous: Sequence[Task]) -> Response:
    """Request the page at a marker; if its task is gone, the one after the nearest task that still exists."""
    try:
        return await api.call(LIST, query.params(marker))
    except InvalidRequestError as error:
        if error.code != "InvalidMarker" or not previous:
            raise
        rejected = error
    for task in reversed(previous):
        if task.task_id == marker:
            continue
        try:
            return await api.call(LIST, query.params(task.task_id))
        except InvalidRequestError as error:
            if error.code != "InvalidMarker":
                raise
    rejected.set_hint(
        "All tasks of the last page were deleted meanwhile. Collect first, then delete: "
        "tasks = list(client.list(...))."
    )
    raise rejected


async def tasks(
    api: Api, query: Query, task_filter: TaskFilter, limit: int | None = None
) -> AsyncGenerator[Task, None]:
    """Yield the tasks that match a filter, at most `limit`."""
    count = 0
    async with aclosing(dated_pages(api, query)) as dated:
        async for page, service_now in dated:
            for task in page:
                if task_filter.matches(task, service_now):
                    yield task
                    count += 1
                    if count == limit:
                        return


async def models(api: Api) -> SupportedModels:
    """Return the models that batch inference supports."""
    return decoding.supported_models(await api.call(MODELS, {}))


def has_name(task: Task, pattern: str) -> bool:
    """Return whether the whole name matches a pattern (`*`, `?`, `[...]`), case-sensitive."""
    return task.name is not None and fnmatch.fnmatchcase(task.name, pattern)


def moment_of(age: timedelta | datetime | None, service_now: datetime) -> datetime | None:
    """Return the moment that an age means, or None as it is."""
    if not isinstance(age, timedelta):
        return age
    try:
        return service_now - age
    except OverflowError:  # the service says that it is the first century
        return datetime.min.replace(tzinfo=UTC)


def is_older(task: Task, moment: datetime) -> bool:
    """Return whether the later of a task's two times is before a moment; without any it is never old."""
    times = [time for time in (task.create_time, task.finish_time) if time is not None]
    return bool(times) and max(times) < moment


def is_newer(task: Task, moment: datetime) -> bool:
    """Return whether a task was created after a moment; without a create time it is never new."""
    return task.create_time is not None and task.create_time > moment
