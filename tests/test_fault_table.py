"""Every fault that the sandbox can order, once, at every request of every verb for one task: one table.

`faults.py` says how it is read.
"""

from __future__ import annotations

import pytest

from qf_tasks import OutcomeUnknownError, QfTasksError
from qf_tasks.sandbox import Sandbox

from . import verbs
from .faults import FAULTS, GROUPS, Place, expected, found, under_fault
from .clients import client_of
from .verbs import CREATE, DELETE, GET, LIST, MODELS, STOP

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
    BadResponse?, 1 sent     | Running         | STRANGER
    refused, 2 sent          | Running         | 400 409 no-in-200
    refused, 1 sent          | Running         | 401 403 429-for-long
    refused?, 1 sent         | Running         | 503-for-long
    TaskNotFound, 1 sent     | Running         | 404
    BadResponse?, 1 sent     | Stopping        | UNREADABLE seven
    Stopping, 1 sent         | Stopping        | HARMLESS
stop of what is done, the look
    Done, 3 sent             | Done            | OUTLASTED
    InvalidRequest, 2 sent   | Done            | STRANGER WRONG REFUSED unknown-state
    TaskNotFound, 2 sent     | Done            | 404
    Done, 2 sent             | Done            | more-headers
delete
    deleted, 2 sent          | nothing         | NOT-ARRIVED
    already_gone, 2 sent     | nothing         | LOST
    BadResponse?, 1 sent     | Done            | STRANGER
    refused, 2 sent          | Done            | 400 409 no-in-200
    refused, 1 sent          | Done            | 401 403 429-for-long
    refused?, 1 sent         | Done            | 503-for-long
    TaskNotFound, 1 sent     | Done            | 404
    BadResponse?, 1 sent     | nothing         | UNREADABLE seven
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
    BadResponse?, 2 sent     | Running         | STRANGER
    refused, 3 sent          | Running         | 400 409 no-in-200
    refused, 2 sent          | Running         | 401 403 429-for-long
    refused?, 2 sent         | Running         | 503-for-long
    TaskNotFound, 2 sent     | Running         | 404
    BadResponse?, 2 sent     | Stopping        | UNREADABLE seven
    deleted, 9 sent          | nothing         | HARMLESS
delete with stop_first, the wait
    deleted, 10 sent         | nothing         | OUTLASTED
    BadResponse, 3 sent      | Stopping        | STRANGER WRONG
    refused, 3 sent          | Stopping        | REFUSED
    deleted, 9 sent          | nothing         | HARMLESS 404
delete with stop_first, the delete
    deleted, 10 sent         | nothing         | NOT-ARRIVED
    already_gone, 10 sent    | nothing         | LOST
    BadResponse?, 9 sent     | Stopped         | STRANGER
    refused, 10 sent         | Stopped         | 400 409 no-in-200
    refused, 9 sent          | Stopped         | 401 403 429-for-long
    refused?, 9 sent         | Stopped         | 503-for-long
    TaskNotFound, 9 sent     | Stopped         | 404
    BadResponse?, 9 sent     | nothing         | UNREADABLE seven
    TaskNotFound, 10 sent    | nothing         | false
    deleted, 9 sent          | nothing         | HARMLESS
create
    OutcomeUnknown?, 5 sent  | nothing         | STRANGER cut-before 500 502-html 503 503-for-long 504
    reused, 3 sent          | Queuing         | LOST WRONG
    refused, 1 sent          | nothing         | 400 401 403 409 429-for-long no-in-200
    Api, 1 sent              | nothing         | 404
    created, 2 sent          | Queuing         | 429 busy
    created, 1 sent          | Queuing         | HARMLESS
create whose answer was lost, the list
    reused, 4 sent          | Queuing         | OUTLASTED
    OutcomeUnknown?, 2 sent  | Queuing         | STRANGER WRONG REFUSED 404
    reused, 3 sent          | Queuing         | HARMLESS
create whose answer was lost, the look
    reused, 4 sent          | Queuing         | OUTLASTED
    OutcomeUnknown?, 3 sent  | Queuing         | STRANGER WRONG REFUSED
    reused, 5 sent          | Queuing         | 404
    reused, 3 sent          | Queuing         | HARMLESS
wait, first look
    Done, 7 sent             | Done            | OUTLASTED
    BadResponse, 1 sent      | Running         | STRANGER WRONG
    refused, 1 sent          | Running         | REFUSED
    TaskNotFound, 1 sent     | Running         | 404
    Done, 6 sent             | Done            | HARMLESS
wait, second look
    Done, 7 sent             | Done            | OUTLASTED
    BadResponse, 2 sent      | Running         | STRANGER WRONG
    refused, 2 sent          | Running         | 400 401 403 409 no-in-200
    Done, 6 sent             | Done            | HARMLESS 404 429-for-long 503-for-long
wait_all, second list
    2 tasks, 9 sent          | Done Done       | OUTLASTED
    BadResponse, 2 sent      | Running Running | STRANGER WRONG
    refused, 2 sent          | Running Running | 400 401 403 409 no-in-200
    Api, 2 sent              | Running Running | 404
    2 tasks, 8 sent          | Done Done       | HARMLESS 429-for-long 503-for-long
"""
PLACES: dict[str, Place] = {
    "get": Place(verbs.get, "Done", GET),
    "models": Place(verbs.models, "", MODELS),
    "list, second page": Place(verbs.listed, "Done Done", LIST, 2),
    "stop": Place(verbs.stop, "Running", STOP),
    "stop of what is done, the look": Place(verbs.stop, "Done", GET),
    "delete": Place(verbs.delete, "Done", DELETE),
    "delete of what runs, the look": Place(verbs.delete, "Running", GET),
    "delete with stop_first, the look": Place(verbs.stop_first, "Running", GET),
    "delete with stop_first, the stop": Place(verbs.stop_first, "Running", STOP),
    "delete with stop_first, the wait": Place(verbs.stop_first, "Running", GET, 2),
    "delete with stop_first, the delete": Place(verbs.stop_first, "Running", DELETE),
    "create": Place(verbs.create, "", CREATE),
    "create whose answer was lost, the list": Place(verbs.create, "", LIST, is_lost=True),
    "create whose answer was lost, the look": Place(verbs.create, "", GET, is_lost=True),
    "wait, first look": Place(verbs.wait, "Ending", GET),
    "wait, second look": Place(verbs.wait, "Ending", GET, 2),
    "wait_all, second list": Place(verbs.wait_all, "Ending Ending", LIST, 2),
}


def test_every_verb_under_every_fault_is_as_the_table_says() -> None:
    seen = found(PLACES, FAULTS, lambda name, fault: under_fault(PLACES[name], fault))
    assert seen == expected(TABLE, GROUPS)


@pytest.mark.parametrize("fault", [name for name in FAULTS if "slow" not in name])
def test_create_under_a_fault_that_goes_on_makes_at_most_one_task(fault: str) -> None:
    with Sandbox(frozen=True) as sandbox, client_of(sandbox) as client:
        sandbox.inject(FAULTS[fault], action=CREATE, times=None)
        failure: QfTasksError | None = None
        try:
            verbs.create(client)
        except QfTasksError as error:
            failure = error
        assert len(sandbox.tasks) == (failure is None)
        assert isinstance(failure, OutcomeUnknownError) == bool(failure and failure.may_have_been_applied)
