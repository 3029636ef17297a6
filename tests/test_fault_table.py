"""Every fault that the sandbox can order, at every request of every verb: one table.

Each section has the verb, and the request of it on which the fault falls, once. A line has what the caller
sees (an error without its `Error`; "refused" is the error of that refusal), the number of requests sent, the
states of the tasks that are left, and the faults of which that is true.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from qf_tasks import OutcomeUnknownError, QfTasksError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox

from .faults import FAULTS, REFUSALS
from .sandbox_time import client_of

TABLE = """
get
    Done, 2 sent             | Done            | OUTLASTED
    BadResponse, 1 sent      | Done            | STRANGER WRONG
    refused, 1 sent          | Done            | REFUSED
    TaskNotFound, 1 sent     | Done            | 404
    Archiving, 1 sent        | Done            | unknown-state
    Done, 1 sent             | Done            | more-headers
models
    5 models, 2 sent         | nothing         | OUTLASTED
    BadResponse, 1 sent      | nothing         | STRANGER WRONG
    refused, 1 sent          | nothing         | REFUSED
    Api, 1 sent              | nothing         | 404
    5 models, 1 sent         | nothing         | HARMLESS
list, second page
    2 tasks, 3 sent          | Done Done       | OUTLASTED
    BadResponse, 2 sent      | Done Done       | STRANGER WRONG
    refused, 2 sent          | Done Done       | REFUSED
    Api, 2 sent              | Done Done       | 404
    2 tasks, 2 sent          | Done Done       | HARMLESS
stop
    Stopping, 2 sent         | Stopping        | OUTLASTED false
    BadResponse, 1 sent      | Running         | STRANGER
    refused, 2 sent          | Running         | 400 409 no-in-200
    refused, 1 sent          | Running         | 401 403 429-for-long
    TaskNotFound, 1 sent     | Running         | 404
    BadResponse, 1 sent      | Stopping        | html-after no-result seven
    Stopping, 1 sent         | Stopping        | HARMLESS
stop of what is done, the look
    Done, 3 sent             | Done            | OUTLASTED
    InvalidRequest, 2 sent   | Done            | STRANGER WRONG REFUSED unknown-state
    TaskNotFound, 2 sent     | Done            | 404
    Done, 2 sent             | Done            | more-headers
delete
    deleted, 2 sent          | nothing         | NOT-ARRIVED
    already_gone, 2 sent     | nothing         | LOST
    BadResponse, 1 sent      | Done            | STRANGER
    refused, 2 sent          | Done            | 400 409 no-in-200
    refused, 1 sent          | Done            | 401 403 429-for-long
    TaskNotFound, 1 sent     | Done            | 404
    BadResponse, 1 sent      | nothing         | html-after no-result seven
    TaskNotFound, 2 sent     | nothing         | false
    deleted, 1 sent          | nothing         | HARMLESS
delete of what runs, the look
    TaskState, 3 sent        | Running         | OUTLASTED
    InvalidRequest, 2 sent   | Running         | STRANGER WRONG REFUSED unknown-state
    TaskNotFound, 2 sent     | Running         | 404
    TaskState, 2 sent        | Running         | more-headers
delete with stop_first, the look
    deleted, 10 sent         | nothing         | OUTLASTED
    BadResponse, 1 sent      | Running         | STRANGER WRONG
    refused, 1 sent          | Running         | REFUSED
    TaskNotFound, 1 sent     | Running         | 404
    TaskState, 1 sent        | Running         | unknown-state
    deleted, 9 sent          | nothing         | more-headers
delete with stop_first, the stop
    deleted, 10 sent         | nothing         | OUTLASTED false
    BadResponse, 2 sent      | Running         | STRANGER
    refused, 3 sent          | Running         | 400 409 no-in-200
    refused, 2 sent          | Running         | 401 403 429-for-long
    TaskNotFound, 2 sent     | Running         | 404
    BadResponse, 2 sent      | Stopping        | html-after no-result seven
    deleted, 9 sent          | nothing         | HARMLESS
delete with stop_first, the wait
    deleted, 10 sent         | nothing         | OUTLASTED
    BadResponse, 3 sent      | Stopping        | STRANGER WRONG
    refused, 3 sent          | Stopping        | REFUSED
    TaskNotFound, 3 sent     | Stopping        | 404
    deleted, 9 sent          | nothing         | HARMLESS
delete with stop_first, the delete
    deleted, 10 sent         | nothing         | NOT-ARRIVED
    already_gone, 10 sent    | nothing         | LOST
    BadResponse, 9 sent      | Stopped         | STRANGER
    refused, 10 sent         | Stopped         | 400 409 no-in-200
    refused, 9 sent          | Stopped         | 401 403 429-for-long
    TaskNotFound, 9 sent     | Stopped         | 404
    BadResponse, 9 sent      | nothing         | html-after no-result seven
    TaskNotFound, 10 sent    | nothing         | false
    deleted, 9 sent          | nothing         | HARMLESS
create
    OutcomeUnknown, 5 sent   | nothing         | STRANGER cut-before 500 502-html 503
    adopted, 3 sent          | Queuing         | LOST WRONG
    refused, 1 sent          | nothing         | REFUSED
    Api, 1 sent              | nothing         | 404
    created, 2 sent          | Queuing         | 429 busy
    created, 1 sent          | Queuing         | HARMLESS
create whose answer was lost, the list
    adopted, 4 sent          | Queuing         | OUTLASTED
    OutcomeUnknown, 2 sent   | Queuing         | STRANGER WRONG REFUSED 404
    adopted, 3 sent          | Queuing         | HARMLESS
create whose answer was lost, the look
    adopted, 4 sent          | Queuing         | OUTLASTED
    OutcomeUnknown, 3 sent   | Queuing         | STRANGER WRONG REFUSED
    adopted, 5 sent          | Queuing         | 404
    adopted, 3 sent          | Queuing         | HARMLESS
wait, first look
    Done, 7 sent             | Done Done       | OUTLASTED
    BadResponse, 1 sent      | Running Running | STRANGER WRONG
    refused, 1 sent          | Running Running | REFUSED
    TaskNotFound, 1 sent     | Running Running | 404
    Done, 6 sent             | Done Done       | HARMLESS
wait, second look
    Done, 7 sent             | Done Done       | OUTLASTED
    BadResponse, 2 sent      | Running Running | STRANGER WRONG
    refused, 2 sent          | Running Running | 400 401 403 409 no-in-200
    Done, 6 sent             | Done Done       | HARMLESS 404 429-for-long
wait_all, second list
    2 tasks, 9 sent          | Done Done       | OUTLASTED
    BadResponse, 2 sent      | Running Running | STRANGER WRONG
    refused, 2 sent          | Running Running | 400 401 403 409 no-in-200
    Api, 2 sent              | Running Running | 404
    2 tasks, 8 sent          | Done Done       | HARMLESS 429-for-long
"""
GROUPS = {
    "OUTLASTED": "cut-before cut-after truncated slow slow-body 429 busy 500 500-after 502-html 503",
    "LOST": "cut-after truncated slow slow-body 500-after",
    "NOT-ARRIVED": "cut-before 429 busy 500 502-html 503",
    "STRANGER": "404-html 302 html empty null list",
    "WRONG": "html-after no-result false seven",
    "REFUSED": "400 401 403 409 429-for-long no-in-200",
    "HARMLESS": "unknown-state more-headers",
}

GET, LIST = "DescribeBatchInferenceTask", "DescribeBatchInferenceTasks"
STOP, DELETE = "StopBatchInferenceTask", "DeleteBatchInferenceTask"
CREATE, MODELS = "CreateBatchInferenceTask", "DescribeBatchInferenceModel"


def get(client: TaskClient, task_id: str) -> str:
    return client.get(task_id).run_status


def models(client: TaskClient, _task_id: str) -> str:
    return f"{len(client.models().common)} models"


def listed(client: TaskClient, _task_id: str) -> str:
    return f"{len(list(client.list(page_size=1)))} tasks"


def stop(client: TaskClient, task_id: str) -> str:
    return client.stop(task_id).run_status


def delete(client: TaskClient, task_id: str) -> str:
    return client.delete(task_id).outcome


def stop_first(client: TaskClient, task_id: str) -> str:
    return client.delete(task_id, stop_first=True).outcome


def create(client: TaskClient, _task_id: str = "") -> str:
    created = client.create(
        name="nightly", endpoint="e", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
    )
    return "adopted" if created.adopted else "created"


def wait(client: TaskClient, task_id: str) -> str:
    return client.wait(task_id).run_status


def wait_all(client: TaskClient, task_id: str) -> str:
    return f"{len(client.wait_all([task_id, 'infer-other']))} tasks"


class Place(NamedTuple):
    """A request of a verb: its action and number, and the state of the task that the verb is about."""

    verb: Callable[[TaskClient, str], str]
    run_status: str | None
    action: str
    nth: int = 1
    is_lost: bool = False


PLACES: dict[str, Place] = {
    "get": Place(get, "Done", GET),
    "models": Place(models, None, MODELS),
    "list, second page": Place(listed, "Done", LIST, 2),
    "stop": Place(stop, "Running", STOP),
    "stop of what is done, the look": Place(stop, "Done", GET),
    "delete": Place(delete, "Done", DELETE),
    "delete of what runs, the look": Place(delete, "Running", GET),
    "delete with stop_first, the look": Place(stop_first, "Running", GET),
    "delete with stop_first, the stop": Place(stop_first, "Running", STOP),
    "delete with stop_first, the wait": Place(stop_first, "Running", GET, 2),
    "delete with stop_first, the delete": Place(stop_first, "Running", DELETE),
    "create": Place(create, None, CREATE),
    "create whose answer was lost, the list": Place(create, None, LIST, is_lost=True),
    "create whose answer was lost, the look": Place(create, None, GET, is_lost=True),
    "wait, first look": Place(wait, "Ending", GET),
    "wait, second look": Place(wait, "Ending", GET, 2),
    "wait_all, second list": Place(wait_all, "Ending", LIST, 2),
}
ENDS = 9.0  # seconds: between two looks, whatever the jitter


def observed(name: str, fault: str) -> str:
    """Return what the caller sees, the number of requests sent, and the states left."""
    place = PLACES[name]
    with Sandbox(stop_seconds=ENDS) as sandbox:
        task_id = ""
        if place.run_status == "Ending":
            task_id = sandbox.add_task(run_status="Running", ends_after=ENDS)
            sandbox.add_task("infer-other", run_status="Running", ends_after=ENDS)
        elif place.run_status:
            task_id = sandbox.add_task(run_status=place.run_status)
        if place.verb is listed:
            sandbox.add_task()
        if place.is_lost:
            sandbox.order(Fault.cut_after(), action=CREATE)
        sandbox.order(FAULTS[fault], action=place.action, skip=place.nth - 1)
        with client_of(sandbox, request_timeout=0.5 if "slow" in fault else 60) as client:
            try:
                seen = place.verb(client, task_id)
            except QfTasksError as error:
                kind = type(error).__name__.removesuffix("Error")
                is_its_own = kind == REFUSALS.get(fault) and error.action == place.action
                seen = "refused" if is_its_own else kind
        left = " ".join(str(task["runStatus"]) for task in sandbox.tasks.values())
        return f"{seen}, {len(sandbox.requests)} sent | {left or 'nothing'}"


def expected() -> dict[tuple[str, str], str]:
    """Return what the table says of each place and fault."""
    said: dict[tuple[str, str], str] = {}
    name = ""
    for line in TABLE.strip().splitlines():
        if not line.startswith(" "):
            name = line
            continue
        seen, left, faults = map(str.strip, line.split("|"))
        for fault in " ".join(GROUPS.get(word, word) for word in faults.split()).split():
            assert (name, fault) not in said
            said[name, fault] = f"{seen} | {left}"
    return said


def test_every_verb_under_every_fault_is_as_the_table_says() -> None:
    cells = [(name, fault) for name in PLACES for fault in FAULTS]
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(cells, pool.map(lambda cell: observed(*cell), cells), strict=True))
    assert found == expected()


@pytest.mark.parametrize("fault", [name for name in FAULTS if "slow" not in name])
def test_create_under_a_fault_that_goes_on_makes_at_most_one_task(fault: str) -> None:
    with Sandbox() as sandbox, client_of(sandbox) as client:
        sandbox.order(FAULTS[fault], action=CREATE, times=None)
        failure: QfTasksError | None = None
        try:
            create(client)
        except QfTasksError as error:
            failure = error
        assert len(sandbox.tasks) == (failure is None)
        assert isinstance(failure, OutcomeUnknownError) == bool(failure and failure.may_have_been_applied)
