"""Listing: each task once, with as few requests as possible, whatever the service's markers mean."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest

from qf_tasks import BadResponseError, InvalidArgumentError, InvalidRequestError, Task, TaskClient
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.conftest import MakeClient

LIST = "DescribeBatchInferenceTasks"
TOTAL = 120


@pytest.fixture
def behavior(request: pytest.FixtureRequest) -> ServerBehavior:
    """Return the behavior of the sandbox, by default its own; a test sets others by its parameters."""
    chosen: ServerBehavior = getattr(request, "param", ServerBehavior())
    return chosen


@pytest.fixture
def sandbox(behavior: ServerBehavior) -> Iterator[Sandbox]:
    with Sandbox(frozen=True, behavior=behavior) as running:
        yield running


def markers(**other: Any) -> list[ServerBehavior]:
    """Return both kinds of marker, each with and without `nextMarker`."""
    return [
        ServerBehavior(inclusive_marker=inclusive, next_marker=named, **other)
        for inclusive in (True, False)
        for named in (True, False)
    ]


def ids(tasks: Iterable[Task]) -> list[str]:
    return [task.task_id for task in tasks]


def requests_expected(tasks: int, page_size: int, behavior: ServerBehavior) -> int:
    """Return how many requests a listing takes.

    Without `nextMarker` the last task seen is the marker: an inclusive page then repeats it, and since that
    is all it would hold with a page size of one, two are requested after the first page.
    """
    if behavior.next_marker:
        return ceil(tasks / page_size)
    return 1 + ceil((tasks - page_size) / (max(page_size, 2) - behavior.inclusive_marker))


LISTINGS = [
    {"page_size": page_size, "newest_first": newest_first, "run_status": run_status}
    for page_size, newest_first, run_status in [
        (1, False, "Failed"),
        (7, True, "Failed"),
        (100, True, None),
    ]
]


@pytest.mark.parametrize("behavior", markers(), indirect=True)
@pytest.mark.parametrize("listing", LISTINGS)
def test_list_of_many_pages_yields_each_task_once(
    sandbox: Sandbox, client: TaskClient, behavior: ServerBehavior, listing: dict[str, Any]
) -> None:
    states = ["Failed" if number % 2 else "Done" for number in range(TOTAL)]
    added = [sandbox.add_task(run_status=state) for state in states]
    is_wanted = [listing["run_status"] in (None, state) for state in states]
    expected = [task_id for task_id, wanted in zip(added, is_wanted, strict=True) if wanted]
    assert ids(client.list(**listing)) == (expected[::-1] if listing["newest_first"] else expected)
    assert len(sandbox.requests) == requests_expected(len(expected), listing["page_size"], behavior)


def test_list_fetches_pages_as_needed(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.add_tasks(25)
    listing = client.list(page_size=10)
    fetched = []
    for _ in range(25):
        fetched.append(len(sandbox.requests))
        next(listing)
    assert fetched == [0] + [1] * 10 + [2] * 10 + [3] * 4


@pytest.mark.parametrize(("limit", "requests"), [(10, 1), (11, 2), (99, 3)])
def test_list_with_limit_fetches_no_more_pages(
    sandbox: Sandbox, client: TaskClient, limit: int, requests: int
) -> None:
    sandbox.add_tasks(25)
    assert len(ids(client.list(page_size=10, limit=limit))) == min(limit, 25)
    assert len(sandbox.requests) == requests


def test_list_of_many_pages_keeps_few_tasks_in_memory(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.add_tasks(60)

    def alive() -> int:
        return sum(isinstance(kept, Task) for kept in gc.get_objects())

    listing, before = client.list(page_size=10), alive()
    most = 0
    for number, _ in enumerate(listing):
        if number in (30, 59):
            most = max(most, alive() - before)
    assert most <= 30  # this page, the one before, and the one being decoded


def test_list_of_no_tasks_sends_one_request(sandbox: Sandbox, client: TaskClient) -> None:
    assert ids(client.list()) == []
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    "behavior",
    [*markers(stale_marker_refused=False), ServerBehavior(stale_marker_refused=True)],
    indirect=True,
)
def test_list_while_deleting_its_tasks_yields_all(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.add_tasks(45)
    for task in client.list(page_size=10):
        client.delete(task)
    assert sandbox.tasks == {}


@pytest.mark.parametrize("behavior", markers(stale_marker_refused=True), indirect=True)
@pytest.mark.parametrize("gone", [1, 9])
def test_list_with_deleted_marker_continues_from_an_earlier_task(
    sandbox: Sandbox, client: TaskClient, behavior: ServerBehavior, gone: int
) -> None:
    added = sandbox.add_tasks(40)
    listing = client.list(newest_first=False, page_size=10)
    listed = [next(listing).task_id for _ in range(10)]
    for task_id in added[10 - gone : 11]:  # the end of the page, and the task after it
        client.delete(task_id)
    before = len(sandbox.requests)
    listed.append(next(listing).task_id)
    named = behavior.inclusive_marker and behavior.next_marker
    assert len(sandbox.requests) - before == gone + (2 if named else 1)
    assert listed + ids(listing) == added[:10] + added[11:]


@pytest.mark.parametrize("behavior", [ServerBehavior(inclusive_marker=False)], indirect=True)
def test_list_with_whole_page_deleted_raises_with_hint(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.add_tasks(15)
    listing = client.list(page_size=10)
    for _ in range(10):
        client.delete(next(listing))
    with pytest.raises(InvalidRequestError, match="InvalidMarker") as caught:
        next(listing)
    assert "Collect first" in str(caught.value.hint)
    assert len(sandbox.tasks) == 5


def test_list_with_empty_page_and_deleted_marker_continues(sandbox: Sandbox, client: TaskClient) -> None:
    added = sandbox.add_tasks(15)
    sandbox.inject(Fault.transform(without_tasks), action=LIST, skip=1)
    sandbox.inject(Fault.status(400, code="InvalidMarker"), action=LIST, skip=1)
    assert ids(client.list(newest_first=False, page_size=5)) == added


def without_tasks(body: Any) -> Any:
    body["result"]["taskList"] = []
    return body


def test_list_with_another_rejection_while_stepping_back_raises_it(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.add_tasks(15)
    sandbox.inject(Fault.status(400, code="InvalidMarker"), action=LIST, skip=1)
    sandbox.inject(Fault.status(400, code="InappropriateJSON"), action=LIST, skip=1)
    with pytest.raises(InvalidRequestError, match="InappropriateJSON"):
        ids(client.list(page_size=10))


def paging(**members: Any) -> Fault:
    """Return a fault that changes `pageInfo`; a member that is None is left out."""

    def change(body: Any) -> Any:
        info = {**body["result"]["pageInfo"], **members}
        body["result"]["pageInfo"] = {name: value for name, value in info.items() if value is not None}
        return body

    return Fault.transform(change)


def test_list_with_repeated_marker_raises(sandbox: Sandbox, client: TaskClient) -> None:
    first, *_ = sandbox.add_tasks(5)
    sandbox.inject(paging(isTruncated=True, nextMarker=first), action=LIST, times=None)
    with pytest.raises(BadResponseError, match="does not advance"):
        ids(client.list())
    assert len(sandbox.requests) == 2


@pytest.mark.parametrize("behavior", [ServerBehavior(next_marker=False)], indirect=True)
def test_list_with_markers_ignored_raises(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.add_tasks(5)
    first_page = first_page_of(sandbox, client)
    sandbox.inject(Fault.body(first_page), action=LIST, times=None)
    with pytest.raises(BadResponseError, match="does not advance"):
        ids(client.list(page_size=2))


def first_page_of(sandbox: Sandbox, client: TaskClient) -> bytes:
    """Return the response to a first page of two tasks."""
    next(client.pages(page_size=2))
    return sandbox.requests[-1].answer


def test_list_with_truncated_empty_page_raises(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.add_tasks(5)

    def empty(body: Any) -> Any:
        body["result"] = {"taskList": [], "pageInfo": {"isTruncated": True}}
        return body

    sandbox.inject(Fault.transform(empty), action=LIST, times=None)
    with pytest.raises(BadResponseError, match="does not advance"):
        ids(client.list())
    assert len(sandbox.requests) == 1


def test_list_with_endless_empty_pages_raises(sandbox: Sandbox, client: TaskClient) -> None:
    for number in range(150):
        page = {"taskList": [], "pageInfo": {"isTruncated": True, "nextMarker": f"infer-{number}"}}
        sandbox.inject(Fault.body(json.dumps({"requestId": "7", "result": page}).encode()))
    with pytest.raises(BadResponseError, match="does not advance"):
        list(client.list())
    assert len(sandbox.requests) <= 110


def test_list_with_no_state_sends_nothing(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(InvalidArgumentError, match="run_status"):
        client.list(run_status=[])
    assert sandbox.requests == []


def test_list_sends_states_as_a_list(sandbox: Sandbox, client: TaskClient) -> None:
    ids(client.list(run_status="done", newest_first=False, page_size=3))
    ids(client.list(run_status=["FAILED", "Expired", "failed"]))
    ids(client.list())
    assert [request.params for request in sandbox.requests] == [
        {"runStatus": ["Done"], "maxKeys": 3, "pageReverse": False},
        {"runStatus": ["Failed", "Expired"], "maxKeys": 100, "pageReverse": True},
        {"runStatus": [], "maxKeys": 100, "pageReverse": True},
    ]


def test_list_by_state_filters_what_the_service_did_not(sandbox: Sandbox, client: TaskClient) -> None:
    done = sandbox.add_task(run_status="Done")
    sandbox.add_task(run_status="Done", fields={"runStatus": "Running"})
    assert ids(client.list(run_status="Done")) == [done]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("nightly-*", ["nightly-1", "nightly-2"]),
        ("nightly-?", ["nightly-1", "nightly-2"]),
        ("*-[13]", ["nightly-1"]),
        ("nightly", []),  # the whole name, not its beginning
        ("Nightly-*", ["Nightly-9"]),  # case and all
        ("nightly-1", ["nightly-1"]),
    ],
)
def test_list_by_name_matches_the_whole_name(
    sandbox: Sandbox, client: TaskClient, pattern: str, names: list[str]
) -> None:
    for name in ("nightly-1", "nightly-2", "Nightly-9", "other"):
        sandbox.add_task(name=name)
    sandbox.add_task(fields={"name": None})
    assert [task.name for task in client.list(name=pattern, newest_first=False)] == names


@pytest.mark.parametrize(
    "older_than",
    [timedelta(days=1), "1d", "24h", "1440m", datetime.now(UTC) - timedelta(days=1)],
)
def test_list_by_age_uses_the_later_time(
    sandbox: Sandbox, client: TaskClient, older_than: timedelta | str | datetime
) -> None:
    two_days_ago = sandbox.now - timedelta(days=2)
    old = sandbox.add_task(create_time=two_days_ago, finish_time=two_days_ago)
    sandbox.add_task(create_time=two_days_ago, finish_time=sandbox.now)
    sandbox.add_task(fields={"createTime": None, "finishTime": None})  # never old
    assert ids(client.list(older_than=older_than)) == [old]


def test_pages_with_marker_continue_from_an_earlier_page(sandbox: Sandbox, client: TaskClient) -> None:
    added = sandbox.add_tasks(5)
    first = next(client.pages(newest_first=False, page_size=2))
    assert (len(first), first.is_truncated, first.request_id) == (2, True, sandbox.requests[0].request_id)
    rest = list(client.pages(newest_first=False, page_size=2, marker=first.next_marker))
    assert [task.task_id for page in rest for task in page] == added[2:]
    assert (rest[-1].is_truncated, rest[-1].next_marker) == (False, None)


def test_list_of_another_account_yields_its_tasks_only(sandbox: Sandbox, make_client: MakeClient) -> None:
    sandbox.add_task()
    sandbox.add_key("other-key-0123456789", "other-secret-0123456", account="other")
    theirs = sandbox.add_task(account="other")
    other = make_client(access_key="other-key-0123456789", secret_key="other-secret-0123456")
    assert ids(other.list()) == [theirs]


def test_ages_are_counted_on_the_clock_of_the_service(sandbox: Sandbox, client: TaskClient) -> None:
    old = sandbox.add_task()
    sandbox.advance(timedelta(days=40).total_seconds())
    new = sandbox.add_task()

    assert ids(client.list(older_than="30d")) == [old]
    assert ids(client.list(newer_than="30d")) == [new]
    assert ids(client.plan_purge(older_than="30d")) == [old]


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 01 Jan 0100 00:00:00 GMT"])
def test_ages_with_a_senseless_date_of_the_service_select_nothing_that_is_new(
    sandbox: Sandbox, client: TaskClient, date: str
) -> None:
    sandbox.add_task()
    sandbox.inject(Fault.headers({"Date": date}), times=2)

    assert ids(client.list(older_than="20000w")) == []
    assert ids(client.plan_purge(older_than="30d")) == []
