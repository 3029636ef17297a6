"""Every fault that the sandbox can order, once, at every request of every verb for many tasks: one table.

`faults.py` says how it is read. Where there are two tasks, the fault falls on the first. `call` is here too.
"""

from __future__ import annotations

from . import verbs
from .faults import FAULTS, GROUPS, Place, expected, found, under_fault
from .verbs import DELETE, GET, LIST, STOP

TABLE = """
call of a read
    dict, 2 sent                 | Done             | OUTLASTED
    BadResponse, 1 sent          | Done             | STRANGER UNREADABLE
    refused, 1 sent              | Done             | REFUSED
    TaskNotFound, 1 sent         | Done             | 404
    bool, 1 sent                 | Done             | false
    int, 1 sent                  | Done             | seven
    dict, 1 sent                 | Done             | HARMLESS
call of a delete
    True, 2 sent                 | nothing          | NOT-ARRIVED
    TaskNotFound?, 2 sent        | nothing          | LOST
    BadResponse?, 1 sent         | Done             | STRANGER
    refused, 1 sent              | Done             | 400 401 403 409 429-for-long no-in-200
    refused?, 1 sent             | Done             | 503-for-long
    TaskNotFound, 1 sent         | Done             | 404
    BadResponse?, 1 sent         | nothing          | UNREADABLE seven
    Api, 1 sent                  | nothing          | false
    True, 1 sent                 | nothing          | HARMLESS
pages, the first
    2 tasks, 3 sent              | Done Done        | OUTLASTED
    BadResponse, 1 sent          | Done Done        | STRANGER WRONG
    refused, 1 sent              | Done Done        | REFUSED
    Api, 1 sent                  | Done Done        | 404
    2 tasks, 2 sent              | Done Done        | HARMLESS
pages, the second
    2 tasks, 3 sent              | Done Done        | OUTLASTED
    BadResponse, 2 sent          | Done Done        | STRANGER WRONG
    refused, 2 sent              | Done Done        | REFUSED
    Api, 2 sent                  | Done Done        | 404
    2 tasks, 2 sent              | Done Done        | HARMLESS
as_completed, first list
    2 tasks, 9 sent              | Done Done        | OUTLASTED
    BadResponse, 1 sent          | Running Running  | STRANGER WRONG
    refused, 1 sent              | Running Running  | REFUSED
    Api, 1 sent                  | Running Running  | 404
    2 tasks, 8 sent              | Done Done        | HARMLESS
as_completed, second list
    2 tasks, 9 sent              | Done Done        | OUTLASTED
    BadResponse, 2 sent          | Running Running  | STRANGER WRONG
    refused, 2 sent              | Running Running  | 400 401 403 409 no-in-200
    Api, 2 sent                  | Running Running  | 404
    2 tasks, 8 sent              | Done Done        | HARMLESS 429-for-long 503-for-long
as_completed, the look at one that left the list
    2 tasks, 9 sent              | Done Done        | OUTLASTED 404 unknown-state
    BadResponse, 7 sent          | Done Done        | STRANGER WRONG
    refused, 7 sent              | Done Done        | 400 401 403 409 no-in-200
    2 tasks, 10 sent             | Done Done        | 429-for-long 503-for-long
    2 tasks, 8 sent              | Done Done        | more-headers
delete_many
    deleted deleted, 3 sent      | nothing          | NOT-ARRIVED
    already_gone deleted, 3 sent | nothing          | LOST
    unknown deleted, 2 sent      | Done             | STRANGER
    unknown not_tried, 1 sent    | Done Done        | 503-for-long
    failed deleted, 3 sent       | Done             | 400 409 no-in-200
    failed deleted, 2 sent       | Done             | 403
    failed not_tried, 1 sent     | Done Done        | 401 429-for-long
    not_found deleted, 2 sent    | Done             | 404
    unknown deleted, 2 sent      | nothing          | UNREADABLE seven
    not_found deleted, 3 sent    | nothing          | false
    deleted deleted, 2 sent      | nothing          | HARMLESS
delete_many with a journal, the look
    deleted deleted, 5 sent      | nothing          | OUTLASTED
    failed deleted, 3 sent       | Done             | STRANGER WRONG 400 403 409 no-in-200
    failed not_tried, 1 sent     | Done Done        | 401 429-for-long 503-for-long
    not_found deleted, 3 sent    | Done             | 404
    deleted deleted, 4 sent      | nothing          | HARMLESS
stop_many
    stopped stopped, 3 sent      | Stopping Stopping | OUTLASTED false
    unknown stopped, 2 sent      | Running Stopping | STRANGER
    unknown not_tried, 1 sent    | Running Running  | 503-for-long
    failed stopped, 3 sent       | Running Stopping | 400 409 no-in-200
    failed stopped, 2 sent       | Running Stopping | 403
    failed not_tried, 1 sent     | Running Running  | 401 429-for-long
    not_found stopped, 2 sent    | Running Stopping | 404
    unknown stopped, 2 sent      | Stopping Stopping | UNREADABLE seven
    stopped stopped, 2 sent      | Stopping Stopping | HARMLESS
plan_purge
    2 tasks, 2 sent              | Done Done        | OUTLASTED
    BadResponse, 1 sent          | Done Done        | STRANGER WRONG
    refused, 1 sent              | Done Done        | REFUSED
    Api, 1 sent                  | Done Done        | 404
    0 tasks, 1 sent              | Done Done        | unknown-state
    2 tasks, 1 sent              | Done Done        | more-headers
purge, the look
    deleted deleted, 5 sent      | nothing          | OUTLASTED
    failed deleted, 3 sent       | Done             | STRANGER WRONG 400 403 409 no-in-200
    failed not_tried, 1 sent     | Done Done        | 401 429-for-long 503-for-long
    already_gone deleted, 3 sent | Done             | 404
    skipped deleted, 3 sent      | Done             | unknown-state
    deleted deleted, 4 sent      | nothing          | more-headers
purge, the delete
    deleted deleted, 5 sent      | nothing          | NOT-ARRIVED
    already_gone deleted, 5 sent | nothing          | LOST
    unknown deleted, 4 sent      | Done             | STRANGER
    unknown not_tried, 2 sent    | Done Done        | 503-for-long
    failed deleted, 5 sent       | Done             | 400 409 no-in-200
    failed deleted, 4 sent       | Done             | 403
    failed not_tried, 2 sent     | Done Done        | 401 429-for-long
    already_gone deleted, 4 sent | Done             | 404
    unknown deleted, 4 sent      | nothing          | UNREADABLE seven
    already_gone deleted, 5 sent | nothing          | false
    deleted deleted, 4 sent      | nothing          | HARMLESS
"""

PLACES: dict[str, Place] = {
    "call of a read": Place(verbs.call_of_a_read, "Done", GET),
    "call of a delete": Place(verbs.call_of_a_delete, "Done", DELETE),
    "pages, the first": Place(verbs.pages, "Done Done", LIST),
    "pages, the second": Place(verbs.pages, "Done Done", LIST, 2),
    "as_completed, first list": Place(verbs.as_completed, "Ending Ending", LIST),
    "as_completed, second list": Place(verbs.as_completed, "Ending Ending", LIST, 2),
    "as_completed, the look at one that left the list": Place(verbs.as_completed, "Ending Ending", GET),
    "delete_many": Place(verbs.delete_many, "Done Done", DELETE),
    "delete_many with a journal, the look": Place(verbs.delete_many_with_a_journal, "Done Done", GET),
    "stop_many": Place(verbs.stop_many, "Running Running", STOP),
    "plan_purge": Place(verbs.plan_purge, "Done Done", LIST),
    "purge, the look": Place(verbs.purge, "Done Done", GET),
    "purge, the delete": Place(verbs.purge, "Done Done", DELETE),
}


def test_every_verb_for_many_tasks_under_every_fault_is_as_the_table_says() -> None:
    seen = found(PLACES, FAULTS, lambda name, fault: under_fault(PLACES[name], fault))
    assert seen == expected(TABLE, GROUPS)
