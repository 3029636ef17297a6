"""Compares the service with the sandbox; each difference is reported as an expected failure.

    QF_TASKS_LIVE=1 python -m pytest -m live

Credentials come from the usual sources. Nothing is created, stopped or deleted unless `QF_TASKS_LIVE_WRITE=1`
is set too, with `QF_TASKS_LIVE_INPUT` and `QF_TASKS_LIVE_OUTPUT` (BOS directories) and
`QF_TASKS_LIVE_ENDPOINT`: then one task lives for some minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from qf_tasks import ApiError, Settings, TaskClient
from qf_tasks.sandbox import Sandbox

_TASK, _TASKS = "DescribeBatchInferenceTask", "DescribeBatchInferenceTasks"
_MISSING = "infer-000000000000"

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        os.environ.get("QF_TASKS_LIVE") != "1",
        reason="needs QF_TASKS_LIVE=1, and sends requests to the service",
    ),
]


@pytest.fixture(autouse=True)
def clean_environment() -> None:
    """Leave the environment as it is: the credentials come from there."""


@pytest.fixture(scope="module", name="service")
def client_of_the_service() -> Iterator[TaskClient]:
    with TaskClient() as client:
        yield client


@pytest.fixture(scope="module", name="sandboxed")
def client_of_a_sandbox() -> Iterator[TaskClient]:
    with Sandbox(speed=60) as sandbox:
        now = datetime.now(UTC)
        for age, run_status in enumerate(["Done", "Failed", "Stopped", "Expired", "Running", "Done"]):
            sandbox.add_task(
                run_status=run_status,
                create_time=now - timedelta(hours=9 - age),
                model_id="amv-1" if age else None,
            )
        with TaskClient(
            access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url
        ) as client:
            yield client


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except ApiError as rejection:
        return f"{type(rejection).__name__} {rejection.status} {rejection.code}"
    return "accepted"


def _page(client: TaskClient, **params: Any) -> dict[str, Any]:
    page: dict[str, Any] = client.call(_TASKS, {"pageReverse": True, **params}).result
    return page


def _ids(page: dict[str, Any]) -> list[str]:
    return [task["taskId"] for task in page["taskList"]]


def _three_ids(client: TaskClient) -> list[str]:
    ids = _ids(_page(client, maxKeys=3))
    if len(ids) < 3:
        pytest.skip("the account has fewer than three tasks")
    return ids


def _is_marker_inclusive(client: TaskClient) -> bool:
    first, second, third = _three_ids(client)
    after = _ids(_page(client, maxKeys=1, marker=second))
    assert after in ([second], [third]), f"the page at {second} is {after}, after {first}"
    return after == [second]


def _page_info(client: TaskClient) -> list[str]:
    _three_ids(client)
    return sorted(_page(client, maxKeys=1)["pageInfo"])


def _what_next_marker_names(client: TaskClient) -> object:
    first, second, _ = _three_ids(client)
    names = {first: "the last of this page", second: "the first of the next page"}
    marker = _page(client, maxKeys=1)["pageInfo"].get("nextMarker")
    return names.get(marker, marker)


def _order(client: TaskClient, *, reverse: bool) -> str:
    tasks = list(next(client.pages(newest_first=reverse)))
    times = [task.create_time for task in tasks if task.create_time]
    if len(set(times)) < 2:
        pytest.skip("the account has fewer than two tasks of different age")
    return (
        "ascending" if times == sorted(times) else "descending" if times[::-1] == sorted(times) else "neither"
    )


def _unknown_fields(client: TaskClient) -> list[str]:
    """Return the fields of tasks that the sandbox does not know."""
    with Sandbox(frozen=True) as sandbox:
        made = sandbox.add_tasks(1, run_status="Failed"), sandbox.add_tasks(1, model_id="amv-1")
        known = {field for ids in made for field in sandbox.tasks[ids[0]]}
    described = (client.get(task).raw for task in client.list(limit=20))
    return sorted({field for raw in described for field in raw} - known)


def _fields_only_described(client: TaskClient) -> list[str]:
    task = next(client.list(limit=1), None)
    if task is None:
        pytest.skip("the account has no tasks")
    return sorted(client.get(task).raw.keys() - task.raw.keys())


def _clock(client: TaskClient) -> str:
    date = client.call(_TASKS, {"maxKeys": 1}).headers.get("date")
    if date is None:
        return "no Date header"
    is_close = abs(parsedate_to_datetime(date) - datetime.now(UTC)) < timedelta(minutes=1)
    return f"{'close to' if is_close else 'far from'} this machine's"


def _request_ids(client: TaskClient) -> bool:
    response = client.call(_TASKS, {"maxKeys": 1})
    return response.headers.get("x-bce-request-id") == response.body.get("requestId")


def _with_keys(client: TaskClient, **wrong: str) -> str:
    settings = client._settings
    pair: dict[str, Any] = {"access_key": settings.access_key, "secret_key": settings.secret_key, **wrong}
    with TaskClient(Settings(**pair, base_url=settings.base_url)) as other:
        return _outcome(other.models)


_PROBES: dict[str, Callable[[TaskClient], object]] = {
    "an unknown id": lambda client: _outcome(lambda: client.get(_MISSING)),
    "an id of another form": lambda client: _outcome(lambda: client.get("x")),
    "no id": lambda client: _outcome(lambda: client.call(_TASK, {})),
    "an id of the wrong type": lambda client: _outcome(lambda: client.call(_TASK, {"taskId": 5})),
    "an unknown action": lambda client: _outcome(lambda: client.call("DescribeNothing", {})),
    "an unknown access key": lambda client: _with_keys(client, access_key="ALTAK" + "0" * 21),
    "a wrong secret key": lambda client: _with_keys(client, secret_key="0" * 32),
    "an unknown marker": lambda client: _outcome(lambda: _page(client, marker=_MISSING)),
    "whether the page of a marker has its task": _is_marker_inclusive,
    "fields of pageInfo": _page_info,
    "what nextMarker names": _what_next_marker_names,
    "order with pageReverse": lambda client: _order(client, reverse=True),
    "order without pageReverse": lambda client: _order(client, reverse=False),
    "maxKeys of 0": lambda client: _outcome(lambda: _page(client, maxKeys=0)),
    "maxKeys of 1000": lambda client: _page(client, maxKeys=1000)["pageInfo"].get("maxKeys"),
    "an unknown state": lambda client: _outcome(lambda: _page(client, runStatus=["Pondering"])),
    "a state that is not in a list": lambda client: _outcome(lambda: _page(client, runStatus="Done")),
    "fields of tasks that the sandbox lacks": _unknown_fields,
    "fields that only the description of one task has": _fields_only_described,
    "fields of the list of models": lambda client: sorted(
        client.call("DescribeBatchInferenceModel", {}).result
    ),
    "the clock of the service": _clock,
    "whether header and body have the same request id": _request_ids,
}


@pytest.mark.parametrize("probe", _PROBES)
def test_service_is_like_the_sandbox(service: TaskClient, sandboxed: TaskClient, probe: str) -> None:
    _compare(_PROBES[probe](service), _PROBES[probe](sandboxed))


def _compare(service: object, sandbox: object) -> None:
    if service != sandbox:
        pytest.xfail(f"the service: {service}; the sandbox: {sandbox}")


def _life(client: TaskClient) -> list[str]:
    """Return the outcomes of the calls for one task, from its creation to its deletion."""
    created = client.create(
        name="qf-tasks-live",
        endpoint=os.environ["QF_TASKS_LIVE_ENDPOINT"],
        input_bos_uri=os.environ["QF_TASKS_LIVE_INPUT"],
        output_bos_uri=os.environ["QF_TASKS_LIVE_OUTPUT"],
    )
    events = [f"created: {client.get(created).run_status}"]
    try:
        events.append(f"deleted while active: {_outcome(lambda: client.delete(created))}")
        events.append(f"stopped: {client.stop(created).run_status}")
        events.append(f"stopped again: {_outcome(lambda: client.call(*_stop(created.task_id)))}")
        events.append(f"ended: {client.wait(created, timeout=600, raise_on_failure=False).run_status}")
        events.append(f"stopped when it had ended: {_outcome(lambda: client.call(*_stop(created.task_id)))}")
    finally:
        deleted = client.delete(created, stop_first=True)
    events.append(f"deleted: {deleted.outcome}")
    events.append(f"deleted again: {_outcome(lambda: client.delete(created))}")
    events.append(f"its id as a marker: {_outcome(lambda: _page(client, marker=created.task_id))}")
    return events


def _stop(task_id: str) -> tuple[str, dict[str, str]]:
    return "StopBatchInferenceTask", {"taskId": task_id}


@pytest.mark.skipif(
    os.environ.get("QF_TASKS_LIVE_WRITE") != "1",
    reason="needs QF_TASKS_LIVE_WRITE=1, and creates and deletes a task",
)
def test_life_of_a_task_is_like_in_the_sandbox(service: TaskClient, sandboxed: TaskClient) -> None:
    _compare(_life(service), _life(sandboxed))
