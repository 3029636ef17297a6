"""What a caller gets when one request meets a fault: tables of operations and faults, to be read by people.

A cell says how the call differs from the same call without a fault:

    same          not at all
    retried       it takes one request more, which repeats the one that met the fault
    resolved      it takes more requests, which find out what has happened
    already_gone  it returns that the task is gone: an attempt whose response was lost has deleted it
    reused        it returns the task that the create whose response was lost has made
    rejected      it raises the rejection that is the fault
    not found     it raises TaskNotFoundError
    wrong state   it raises TaskStateError
    unreadable    it raises BadResponseError
    unexplained   it raises the first rejection, which the request that met the fault was to explain
    unknown       it raises an error that says that the request may have been applied

Where it raises an error, "applied" says that the service has applied the request.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from qf_tasks import (
    ApiError,
    BadResponseError,
    BulkReport,
    QfTasksError,
    TaskClient,
    TaskNotFoundError,
    TaskStateError,
)
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import Kind, client_of
from tests.faults import FAULTS

CREATE, GET, LIST = "CreateBatchInferenceTask", "DescribeBatchInferenceTask", "DescribeBatchInferenceTasks"
STOP, DELETE, MODELS = "StopBatchInferenceTask", "DeleteBatchInferenceTask", "DescribeBatchInferenceModel"

# The request that does what is asked meets the fault.
DIRECT = """\
                | get        | list; models | stop             | delete             | create
reset before    | retried    | retried      | retried          | retried            | unknown
reset after     | retried    | retried      | retried          | already_gone       | reused
truncated       | retried    | retried      | retried          | already_gone       | reused
slow            | retried    | retried      | retried          | already_gone       | reused
slow body       | retried    | retried      | retried          | already_gone       | reused
400             | rejected   | rejected     | rejected         | rejected           | rejected
401             | rejected   | rejected     | rejected         | rejected           | rejected
403             | rejected   | rejected     | rejected         | rejected           | rejected
404             | not found  | rejected     | not found        | not found          | rejected
409             | rejected   | rejected     | rejected         | rejected           | rejected
error in 200    | rejected   | rejected     | rejected         | rejected           | rejected
429             | retried    | retried      | retried          | retried            | retried
429, in an hour | rejected   | rejected     | rejected         | rejected           | rejected
busy in 200     | retried    | retried      | retried          | retried            | retried
500             | retried    | retried      | retried          | retried            | unknown
500, applied    | retried    | retried      | retried          | already_gone       | reused
503             | retried    | retried      | retried          | retried            | unknown
503, in an hour | rejected   | rejected     | unknown          | unknown            | unknown
504             | retried    | retried      | retried          | retried            | unknown
302             | unreadable | unreadable   | unknown          | unknown            | unknown
404 page        | unreadable | unreadable   | unknown          | unknown            | unknown
502 page        | retried    | retried      | retried          | retried            | unknown
200 page        | unreadable | unreadable   | unknown          | unknown            | unknown
empty           | unreadable | unreadable   | unknown          | unknown            | unknown
null            | unreadable | unreadable   | unknown          | unknown            | unknown
list            | unreadable | unreadable   | unknown          | unknown            | unknown
page, applied   | unreadable | unreadable   | unknown, applied | unknown, applied   | reused
half of JSON    | unreadable | unreadable   | unknown, applied | unknown, applied   | reused
not gzip        | unreadable | unreadable   | unknown, applied | unknown, applied   | reused
no result       | unreadable | unreadable   | unknown, applied | unknown, applied   | reused
result false    | unreadable | unreadable   | resolved         | not found, applied | reused
result 7        | unreadable | unreadable   | unknown, applied | unknown, applied   | reused
unknown state   | same       | same         | same             | same               | same
more headers    | same       | same         | same             | same               | same
"""
# A lookup meets it: why a stop or delete was rejected, which task a create made whose response was lost, or
# whether one with the same key exists.
LOOKUPS = """\
                | stop, ended | delete, running | create, list     | create, get      | create with key
reset after     | retried     | retried         | retried          | retried          | retried
429             | retried     | retried         | retried          | retried          | retried
500             | retried     | retried         | retried          | retried          | retried
400             | unexplained | unexplained     | unknown, applied | unknown, applied | rejected
401             | unexplained | unexplained     | unknown, applied | unknown, applied | rejected
404             | not found   | not found       | unknown, applied | resolved         | rejected
429, in an hour | unexplained | unexplained     | unknown, applied | unknown, applied | rejected
503, in an hour | unexplained | unexplained     | unknown, applied | unknown, applied | rejected
200 page        | unexplained | unexplained     | unknown, applied | unknown, applied | unreadable
half of JSON    | unexplained | unexplained     | unknown, applied | unknown, applied | unreadable
result false    | unexplained | unexplained     | unknown, applied | unknown, applied | unreadable
unknown state   | unexplained | unexplained     | same             | same             | same
"""
# A poll meets it: of a delete that stops the task first, or of a wait, which outlasts more once it has begun.
POLLS = """\
                | stop_first, get | stop_first, wait | wait, first | wait, later | wait_all, later
reset after     | retried         | retried          | retried     | retried     | retried
429             | retried         | retried          | retried     | retried     | retried
500             | retried         | retried          | retried     | retried     | retried
400             | rejected        | rejected         | rejected    | rejected    | rejected
401             | rejected        | rejected         | rejected    | rejected    | rejected
404             | not found       | same             | not found   | same        | rejected
429, in an hour | rejected        | rejected         | rejected    | same        | same
503, in an hour | rejected        | rejected         | rejected    | same        | same
200 page        | unreadable      | unreadable       | unreadable  | unreadable  | unreadable
half of JSON    | unreadable      | unreadable       | unreadable  | unreadable  | unreadable
result false    | unreadable      | unreadable       | unreadable  | unreadable  | unreadable
unknown state   | wrong state     | same             | same        | same        | same
"""
# Of two tasks, the first meets it: the outcomes of both, unless they are the same as without a fault.
BULK = """\
                | delete_many          | stop_many          | purge, get           | purge, delete
reset before    | retried              | retried            | retried              | retried
reset after     | already_gone deleted | retried            | retried              | already_gone deleted
429             | retried              | retried            | retried              | retried
500             | retried              | retried            | retried              | retried
400             | failed deleted       | failed stopping    | failed deleted       | failed deleted
401             | failed not_tried     | failed not_tried   | failed not_tried     | failed not_tried
404             | not_found deleted    | not_found stopping | already_gone deleted | already_gone deleted
429, in an hour | failed not_tried     | failed not_tried   | failed not_tried     | failed not_tried
503, in an hour | unknown not_tried    | unknown not_tried  | failed not_tried     | unknown not_tried
200 page        | unknown deleted      | unknown stopping   | failed deleted       | unknown deleted
half of JSON    | unknown deleted      | unknown stopping   | failed deleted       | unknown deleted
result false    | not_found deleted    | resolved           | failed deleted       | already_gone deleted
"""

SECONDS = 9.0  # until a task ends or has stopped: between two polls, whatever the jitter


class Section(NamedTuple):
    """A column: the operation, the states of its tasks, and the request that meets the fault.

    Attributes:
        skip: how many requests of the action come before.
        is_lost: whether the response to a create is lost before.
    """

    operation: Callable[[TaskClient, list[str]], str]
    run_statuses: str
    action: str
    skip: int = 0
    is_lost: bool = False


class Observed(NamedTuple):
    """What the caller got, the number of requests, in all and of the action, and the states that are left."""

    text: str
    requests: int
    of_action: int
    left: list[str]


def get(client: TaskClient, task_ids: list[str]) -> str:
    return str(client.get(task_ids[0]).task_id == task_ids[0])


def list_second_page(client: TaskClient, _task_ids: list[str]) -> str:
    return f"{len(list(client.list(page_size=1)))} tasks"


def models(client: TaskClient, _task_ids: list[str]) -> str:
    return f"{len(client.models().common)} models"


def stop(client: TaskClient, task_ids: list[str]) -> str:
    return client.stop(task_ids[0]).run_status


def delete(client: TaskClient, task_ids: list[str]) -> str:
    return client.delete(task_ids[0]).outcome


def stop_and_delete(client: TaskClient, task_ids: list[str]) -> str:
    return client.delete(task_ids[0], stop_first=True).outcome


def create(client: TaskClient, _task_ids: list[str], idempotency_key: str | None = None) -> str:
    created = client.create(
        name="nightly",
        endpoint="e",
        input_bos_uri="bos:/b/in/",
        output_bos_uri="bos:/b/out/",
        idempotency_key=idempotency_key,
    )
    return "reused" if created.reused else "created"


def create_with_key(client: TaskClient, task_ids: list[str]) -> str:
    return create(client, task_ids, "daily")


def wait(client: TaskClient, task_ids: list[str]) -> str:
    return client.wait(task_ids[0]).run_status


def wait_all(client: TaskClient, task_ids: list[str]) -> str:
    return " ".join(task.run_status for task in client.wait_all(task_ids).values())


# One task after the other: it is then certain which one meets the fault, and which come after it.


def delete_many(client: TaskClient, task_ids: list[str]) -> str:
    return _outcomes(client.delete_many(task_ids, max_workers=1))


def stop_many(client: TaskClient, task_ids: list[str]) -> str:
    return _outcomes(client.stop_many(task_ids, max_workers=1))


def purge(client: TaskClient, _task_ids: list[str]) -> str:
    return _outcomes(client.purge(client.plan_purge(run_status="Done"), max_workers=1))


def _outcomes(report: BulkReport) -> str:
    return " ".join(outcome.outcome for outcome in report)


SECTIONS = {
    "get": Section(get, "Done", GET),
    "list": Section(list_second_page, "Done Done", LIST, skip=1),
    "models": Section(models, "", MODELS),
    "stop": Section(stop, "Running", STOP),
    "delete": Section(delete, "Done", DELETE),
    "create": Section(create, "", CREATE),
    "stop, ended": Section(stop, "Done", GET),
    "delete, running": Section(delete, "Running", GET),
    "stop_first, get": Section(stop_and_delete, "Running", GET),
    "create, list": Section(create, "", LIST, is_lost=True),
    "create, get": Section(create, "", GET, is_lost=True),
    "create with key": Section(create_with_key, "", LIST),
    "stop_first, wait": Section(stop_and_delete, "Running", GET, skip=1),
    "wait, first": Section(wait, "Ending", GET),
    "wait, later": Section(wait, "Ending", GET, skip=1),
    "wait_all, later": Section(wait_all, "Ending Ending", LIST, skip=1),
    "delete_many": Section(delete_many, "Done Done", DELETE),
    "stop_many": Section(stop_many, "Running Running", STOP),
    "purge, get": Section(purge, "Done Done", GET),
    "purge, delete": Section(purge, "Done Done", DELETE),
}


def observe(section: Section, kind: Kind, fault: str | None) -> Observed:
    """Return what happens when a fault (None: no fault) meets the request of a section."""
    with Sandbox(frozen=True, stop_seconds=SECONDS) as sandbox:
        task_ids = [_add(sandbox, run_status) for run_status in section.run_statuses.split()]
        before = _states(sandbox)
        if section.is_lost:
            sandbox.inject(Fault.reset_after(), action=CREATE)
        if fault:
            sandbox.inject(FAULTS[fault], action=section.action, skip=section.skip)
        request_timeout = 0.5 if fault and "slow" in fault else 60.0
        with client_of(sandbox, kind=kind, request_timeout=request_timeout) as client:
            try:
                text = section.operation(client, task_ids)
            except QfTasksError as error:
                left = _states(sandbox)
                is_applied = left != before if section.action == STOP else len(left) != len(before)
                text = _describe(error, section.action) + ", applied" * is_applied
        if fault:
            assert sandbox.unused_faults == []
        actions = [request.action for request in sandbox.requests]
        return Observed(text, len(actions), actions.count(section.action), _states(sandbox))


def _describe(error: QfTasksError, action: str) -> str:
    match error:
        case TaskStateError():
            return "wrong state"
        case _ if error.may_have_been_applied:
            return "unknown"
        case TaskNotFoundError():
            return "not found"
        case BadResponseError():
            return "unreadable"
        case ApiError():
            return "rejected" if error.action == action else "unexplained"
        case _:
            return type(error).__name__


def _add(sandbox: Sandbox, run_status: str) -> str:
    """Add a task in a state; one that is "Ending" runs, and is done after a while."""
    if run_status == "Ending":
        return sandbox.add_task(run_status="Running", ends_after=SECONDS)
    return sandbox.add_task(run_status=run_status)


def _states(sandbox: Sandbox) -> list[str]:
    return [str(task["runStatus"]) for task in sandbox.tasks.values()]


def cell(section: Section, kind: Kind, fault: str, usual: Observed) -> str:
    """Return what the table must say of a fault, given what happens without one."""
    observed = observe(section, kind, fault)
    if observed.text != usual.text:
        return observed.text
    assert observed.left == usual.left
    more = (observed.requests - usual.requests, observed.of_action - usual.of_action)
    return {(0, 0): "same", (1, 1): "retried"}.get(more, "resolved")


def columns_of(table: str) -> dict[str, dict[str, str]]:
    """Return the cells of a table by column and fault; several sections may share a column."""
    header, *rows = [[text.strip() for text in line.split("|")] for line in table.strip("\n").splitlines()]
    return {
        section: {row[0]: row[index] for row in rows}
        for index, sections in enumerate(header)
        for section in sections.split("; ")
        if section
    }


EXPECTED = columns_of(DIRECT) | columns_of(LOOKUPS) | columns_of(POLLS) | columns_of(BULK)


@pytest.mark.parametrize("name", SECTIONS)
def test_operation_with_fault_does_as_the_table_says(kind: Kind, name: str) -> None:
    section, expected = SECTIONS[name], EXPECTED[name]
    usual = observe(section, kind, None)

    with ThreadPoolExecutor(8) as pool:
        cells = pool.map(lambda fault: cell(section, kind, fault, usual), expected)

        assert dict(zip(expected, cells, strict=True)) == expected


def test_table_has_every_fault_and_section() -> None:
    assert EXPECTED.keys() == SECTIONS.keys()
    assert EXPECTED["delete"].keys() == FAULTS.keys()
