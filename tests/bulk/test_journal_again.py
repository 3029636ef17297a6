"""A journal that earlier runs have written: what they left open is settled, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qf_tasks import PurgePlan, TaskClient
from qf_tasks.sandbox import Fault, Sandbox
from tests.bulk.reading import told
from tests.conftest import MakeClient

LOOK = "DescribeBatchInferenceTask"
DELETE = "DeleteBatchInferenceTask"


def leave_open(client: TaskClient, journal: Path, task_ids: list[str]) -> None:
    """Leave a journal as a killed run does: with the tasks in it, and no outcome."""
    client.delete_many(task_ids, journal=journal, max_workers=1)
    intents = [line for line in journal.read_bytes().splitlines(keepends=True) if b'"intent"' in line]
    journal.write_bytes(b"".join(intents))


def test_journal_with_an_open_task_of_this_run_that_is_gone_says_already_gone(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    gone, other = sandbox.add_tasks(2)
    leave_open(client, journal, [gone])

    report = client.delete_many([other, gone], journal=journal)

    assert [outcome.outcome for outcome in report] == ["deleted", "already_gone"]
    assert ("outcome", gone, "already_gone") in told(journal)
    assert report.ok


def test_journal_with_open_tasks_has_them_looked_up_first(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    elsewhere, open_one, other = sandbox.add_tasks(3)
    leave_open(client, journal, [elsewhere, open_one])
    seen = len(sandbox.requests)

    client.delete_many([other, open_one], journal=journal, max_workers=1)

    asked = [(request.action, request.params["taskId"]) for request in sandbox.requests[seen:]]
    assert asked == [(LOOK, elsewhere), (LOOK, open_one), (LOOK, other), (DELETE, other)]


def test_journal_with_an_open_task_that_is_still_there_has_it_deleted_if_named(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    open_one = sandbox.add_task()
    leave_open(client, journal, [open_one])
    sandbox.add_task(open_one)

    assert client.delete_many([open_one], journal=journal).counts["deleted"] == 1
    assert told(journal)[1:] == [("intent", open_one, None), ("outcome", open_one, "deleted")]


def test_journal_with_open_tasks_of_another_run_settles_them_once_and_deletes_none(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    gone, there = sandbox.add_tasks(2)
    leave_open(client, journal, [gone, there])
    sandbox.add_task(there)

    assert len(client.delete_many([], journal=journal)) == 0
    seen = len(sandbox.requests)
    client.delete_many([], journal=journal)

    assert sorted(told(journal)[2:]) == sorted(
        [("outcome", gone, "already_gone"), ("outcome", there, "not_tried")]
    )
    assert (list(sandbox.tasks), len(sandbox.requests)) == ([there], seen)


def test_journal_with_open_tasks_that_cannot_be_looked_up_keeps_them_open(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    open_one, other = sandbox.add_tasks(2)
    leave_open(client, journal, [open_one])
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=LOOK, task_id=open_one)

    assert client.delete_many([other], journal=journal).ok
    client.delete_many([], journal=journal)

    assert told(journal)[-1] == ("outcome", open_one, "already_gone")


def test_journal_with_an_unknown_outcome_has_the_task_looked_up(
    make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    client = make_client(max_retries=0)
    task_id = sandbox.add_task()
    sandbox.inject(Fault.reset_after(), action=DELETE)
    assert client.delete_many([task_id], journal=journal).counts["unknown"] == 1

    client.delete_many([], journal=journal)

    assert told(journal)[-1] == ("outcome", task_id, "already_gone")


@pytest.mark.parametrize("cut", [1, 20, 200, -1])
def test_journal_whose_last_line_was_cut_off_is_gone_on_with(
    client: TaskClient, sandbox: Sandbox, journal: Path, cut: int
) -> None:
    gone, other = sandbox.add_tasks(2)
    client.delete_many([gone], journal=journal)
    intent, outcome = journal.read_bytes().splitlines(keepends=True)
    torn = intent + outcome[:cut]
    journal.write_bytes(torn)

    for _ in range(2):
        assert client.delete_many([gone, other], journal=journal).ok

    assert journal.read_bytes().startswith(torn + b"\n")
    assert told_after(journal, torn) == {gone: "already_gone", other: "already_gone"}


def told_after(journal: Path, torn: bytes) -> dict[str, str]:
    """Return the last outcome of each task after a cut."""
    lines = map(json.loads, journal.read_bytes()[len(torn) :].splitlines()[1:])
    return {line["task_id"]: line["outcome"] for line in lines if line["event"] == "outcome"}


def test_journal_of_a_purge_that_was_cut_off_after_a_stop_is_gone_on_with(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    plan = PurgePlan.model_validate_json(
        client.plan_purge(run_status="Running", stop_first=True).model_dump_json()
    )
    sandbox.set_status(task_id, "Stopped")  # as far as the run that was cut off had come

    assert client.purge(plan, journal=journal).counts["deleted"] == 1
