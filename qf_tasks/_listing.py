"""Listing: one page after the other, each task once, whatever the service's markers mean.

Whether the task that a marker names stands on the page itself, whether the service names the next marker, and
what it does where that task is gone, is documented nowhere; all of it works here.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from qf_tasks._protocol import decoding
from qf_tasks.errors import BadResponseError, InvalidRequestError
from qf_tasks.models import Response, RunStatus, Task, TaskPage

ACTION = "DescribeBatchInferenceTasks"
_MOST_EMPTY_PAGES = 100  # in a row; a service that filters after it pages may send some
Call = Callable[[str, dict[str, Any]], Response]


class Query(NamedTuple):
    """What the service is asked for, page by page."""

    run_statuses: tuple[RunStatus, ...]
    newest_first: bool
    page_size: int

    def params(self, marker: str | None) -> dict[str, Any]:
        """Return the parameters of the request for the page at a marker (blvje5ica)."""
        asked: dict[str, Any] = {
            "runStatus": list(self.run_statuses),
            "maxKeys": self.page_size,
            "pageReverse": self.newest_first,
        }
        return asked if marker is None else {**asked, "marker": marker}


def pages(call: Call, query: Query, marker: str | None = None) -> Iterator[TaskPage]:
    """Yield the pages of a listing, each fetched when it is asked for, without tasks of the page before.

    Raises:
        BadResponseError: paging does not advance.
        InvalidRequestError: the listing cannot go on, since the tasks of the last page are all gone.
    """
    before: tuple[Task, ...] = ()
    used = {None, marker}
    empty_pages = 0
    while True:
        page = _page(call, query, marker, before)
        given = {task.task_id for task in before}
        new = tuple({task.task_id: task for task in page if task.task_id not in given}.values())
        marker = page.next_marker or (new[-1].task_id if new and page.is_truncated else None)
        yield TaskPage(new, marker, page.is_truncated, page.request_id)
        if not page.is_truncated:
            return
        if not page.next_marker:  # the page at a marker may begin with its task: one is too few to go on
            query = query._replace(page_size=max(query.page_size, 2))
        empty_pages = 0 if new else empty_pages + 1
        if marker in used or empty_pages > _MOST_EMPTY_PAGES:
            raise BadResponseError(
                "The listing does not advance: the service says that more follows, but not where",
                action=ACTION,
                request_id=page.request_id,
            )
        used.add(marker)
        before = new or before


def _page(call: Call, query: Query, marker: str | None, before: Sequence[Task]) -> TaskPage:
    """Return the page at a marker; where its task is gone, the one after the nearest that is still there."""
    try:
        return decoding.task_page(call(ACTION, query.params(marker)))
    except InvalidRequestError as refusal:
        if refusal.code != "InvalidMarker" or not before:
            raise
        gone = refusal
    for task in reversed(before):
        if task.task_id == marker:
            continue
        try:
            return decoding.task_page(call(ACTION, query.params(task.task_id)))
        except InvalidRequestError as refusal:
            if refusal.code != "InvalidMarker":
                raise
    gone.set_hint("All tasks of the last page are gone. Collect first, then delete: list(client.list(...)).")
    raise gone


def tasks(
    found: Iterable[TaskPage],
    *,
    run_statuses: tuple[RunStatus, ...] = (),
    name: str | None = None,
    older_than: datetime | None = None,
    limit: int | None = None,
) -> Iterator[Task]:
    """Yield the tasks of pages that fit, `limit` at most; the state is checked whatever was filtered."""
    fitting = (
        task
        for page in found
        for task in page
        if (not run_statuses or task.run_status in run_statuses)
        and (name is None or has_name(task, name))
        and (older_than is None or is_older(task, older_than))
    )
    return islice(fitting, limit)


def has_name(task: Task, pattern: str) -> bool:
    """Return whether the whole name fits the pattern (`*`, `?`, `[...]`), case and all."""
    return task.name is not None and fnmatch.fnmatchcase(task.name, pattern)


def is_older(task: Task, moment: datetime) -> bool:
    """Return whether the later of a task's two times is before a moment; without any it is never old."""
    times = [time for time in (task.create_time, task.finish_time) if time is not None]
    return bool(times) and max(times) < moment
