"""The list action: order, pages, filter, and markers that are part of their page or not."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest

from qf_tasks.sandbox import Sandbox, ServerBehavior

from .signed_client import SignedClient


def ids(result: Any) -> list[str]:
    return [task["taskId"] for task in result["taskList"]]


def walk(client: SignedClient, *, inclusive: bool, use_next: bool, **body: Any) -> Iterator[list[str]]:
    """Yield every page, without a first id that repeats the last one."""
    marker, seen = "", ""
    while True:
        result = client.list(marker=marker, **body).result
        page, info = ids(result), result["pageInfo"]
        yield page[1:] if page[0] == seen else page
        if not info["isTruncated"]:
            assert "nextMarker" not in info
            return
        marker = info["nextMarker"] if use_next else page[-1]
        seen = page[-1] if inclusive and not use_next else ""


@pytest.fixture(params=[True, False], ids=["inclusive", "exclusive"], name="inclusive")
def any_kind_of_marker(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(name="marked")
def client_of_either_kind(inclusive: bool) -> Iterator[SignedClient]:
    with Sandbox(frozen=True, behavior=ServerBehavior(inclusive_marker=inclusive)) as sandbox:
        client = SignedClient(sandbox)
        yield client
        client.close()
        assert sandbox.errors == []


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("size", "pages"), [(7, 36), (100, 3)])
def test_list_250_tasks_returns_each_once_in_order(
    marked: SignedClient, inclusive: bool, size: int, pages: int, reverse: bool
) -> None:
    expected = marked.sandbox.add_tasks(250)
    got = list(walk(marked, inclusive=inclusive, use_next=True, maxKeys=size, pageReverse=reverse))
    assert list(chain.from_iterable(got)) == (expected[::-1] if reverse else expected)
    assert len(got) == pages


@pytest.mark.parametrize("reverse", [False, True])
def test_list_with_last_id_as_marker_returns_each_once(
    marked: SignedClient, inclusive: bool, reverse: bool
) -> None:
    expected = marked.sandbox.add_tasks(25)
    got = list(walk(marked, inclusive=inclusive, use_next=False, pageReverse=reverse))
    assert list(chain.from_iterable(got)) == (expected[::-1] if reverse else expected)


def test_list_with_filter_fills_pages_with_matches(marked: SignedClient, inclusive: bool) -> None:
    mixed = [
        marked.sandbox.add_task(run_status=status)
        for _ in range(15)
        for status in ("Done", "Failed", "Running")
    ]
    states = ["Failed", "Running"]
    got = list(walk(marked, inclusive=inclusive, use_next=True, runStatus=states, maxKeys=10))
    assert list(chain.from_iterable(got)) == [task_id for place, task_id in enumerate(mixed) if place % 3]
    assert [len(page) for page in got] == [10, 10, 10]


@pytest.mark.parametrize("reverse", [False, True])
def test_list_from_marker_hidden_by_filter_continues_after_it(
    marked: SignedClient, inclusive: bool, reverse: bool
) -> None:
    first, hidden, last = (
        marked.sandbox.add_task(run_status=status) for status in ("Done", "Failed", "Done")
    )
    assert inclusive in (True, False)
    result = marked.list(marker=hidden, runStatus=["Done"], pageReverse=reverse).result
    assert ids(result) == [first if reverse else last]


def test_list_describes_its_page(sandbox: Sandbox, client: SignedClient) -> None:
    tasks = sandbox.add_tasks(3)
    assert client.list(marker=tasks[1], maxKeys=1).result["pageInfo"] == {
        "marker": tasks[1],
        "maxKeys": 1,
        "isTruncated": True,
        "nextMarker": tasks[2],
    }


@pytest.mark.parametrize(
    ("body", "size"), [({}, 10), ({"maxKeys": None}, 10), ({"maxKeys": 101}, 100), ({"maxKeys": 10**30}, 100)]
)
def test_list_page_has_10_tasks_by_default_and_100_at_most(
    sandbox: Sandbox, client: SignedClient, body: dict[str, object], size: int
) -> None:
    sandbox.add_tasks(120)
    result = client.list(**body).result
    assert len(result["taskList"]) == result["pageInfo"]["maxKeys"] == size


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"maxKeys": 0}, "maxKeys"),
        ({"maxKeys": -1}, "maxKeys"),
        ({"maxKeys": "10"}, "maxKeys"),
        ({"maxKeys": 10.0}, "maxKeys"),
        ({"maxKeys": True}, "maxKeys"),
        ({"runStatus": "Done"}, "runStatus"),
        ({"runStatus": [1]}, "runStatus"),
        ({"runStatus": {"Done": 1}}, "runStatus"),
        ({"pageReverse": 1}, "pageReverse"),
        ({"marker": 5}, "marker"),
    ],
    ids=str,
)
def test_list_with_invalid_field_is_rejected_by_name(
    client: SignedClient, body: dict[str, object], name: str
) -> None:
    response = client.list(**body)
    assert response.rejection == (400, "InappropriateJSON")
    assert response.body["message"].endswith(f"param[{name}] invalid.")


def test_list_with_unknown_state_returns_nothing(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.add_task()
    assert client.list(runStatus=["Cancelled"]).result["taskList"] == []


def test_list_without_tasks_returns_one_empty_page(client: SignedClient) -> None:
    result = client.list(runStatus=[]).result
    assert result["taskList"] == []
    assert result["pageInfo"] == {"marker": "", "maxKeys": 10, "isTruncated": False}


def test_list_is_ordered_by_creation_time(sandbox: Sandbox, client: SignedClient) -> None:
    newer = sandbox.add_task()
    older = sandbox.add_task(create_time=sandbox.now - timedelta(days=1))
    future = sandbox.add_task(create_time=sandbox.now + timedelta(days=1))
    assert ids(client.list().result) == [older, newer, future]


def test_list_items_lack_the_search_fields(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = sandbox.add_task()
    described = client.describe(task_id).result
    (listed,) = client.list().result["taskList"]
    assert described == listed | {"searchCounts": 0, "searchTokens": 0}
    assert "searchCounts" not in listed


def test_list_from_unknown_marker_is_rejected(client: SignedClient) -> None:
    assert client.list(marker="infer-000000000000").rejection == (400, "InvalidMarker")


def test_list_from_deleted_marker_is_rejected(sandbox: Sandbox, client: SignedClient) -> None:
    gone, _ = sandbox.add_tasks(2)
    client.delete(gone)
    assert client.list(marker=gone).rejection == (400, "InvalidMarker")


@pytest.mark.parametrize("inclusive_marker", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
def test_list_from_deleted_marker_continues_if_behavior_says_so(
    inclusive_marker: bool, reverse: bool
) -> None:
    behavior = ServerBehavior(stale_marker_refused=False, inclusive_marker=inclusive_marker)
    with Sandbox(frozen=True, behavior=behavior) as sandbox:
        client = SignedClient(sandbox)
        first, gone, last = sandbox.add_tasks(3)
        client.delete(gone)
        result = client.list(marker=gone, pageReverse=reverse).result
        assert ids(result) == [first if reverse else last]
        assert client.list(marker="infer-000000000000").rejection == (400, "InvalidMarker")
        client.close()


def test_list_without_next_marker_says_only_that_it_is_truncated() -> None:
    with Sandbox(frozen=True, behavior=ServerBehavior(next_marker=False)) as sandbox:
        client = SignedClient(sandbox)
        sandbox.add_tasks(11)
        assert client.list().result["pageInfo"] == {"marker": "", "maxKeys": 10, "isTruncated": True}
        client.close()
