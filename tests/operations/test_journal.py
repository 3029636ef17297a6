"""The journal: what stands in it and when, and what it refuses."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import BulkOutcome, InvalidArgumentError, Task, TaskClient
from qf_tasks.sandbox import Fault, Sandbox
from tests.bulk.reading import lines_of, told
from tests.conftest import MakeClient

LOOK = "DescribeBatchInferenceTask"
DELETE = "DeleteBatchInferenceTask"


def losing(journal: Path) -> Fault:
    """Return the fault of a request during which the place of a journal, made here, is lost."""
    journal.parent.mkdir()

    def lose(answer: Any) -> Any:
        journal.unlink()
        journal.parent.rmdir()
        return answer

    return Fault.transform(lose)


def test_journal_holds_the_whole_task_and_then_the_outcome(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_id = sandbox.add_task(name="夜间", fields={"newMember": [1]})
    before = client.get(task_id)

    report = client.delete_many([task_id], journal=journal)

    intent, outcome = lines_of(journal)
    assert (intent["event"], outcome["event"]) == ("intent", "outcome")
    assert Task.model_validate(intent["task"]) == before
    assert BulkOutcome.model_validate(outcome) == report.outcomes[0]
    assert intent["account"] == outcome["account"] == client.account.model_dump(mode="json")


def test_journal_has_the_intent_before_the_delete_is_sent(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    found: list[bool] = []

    def look(answer: Any) -> Any:
        found.append('"intent"' in journal.read_text(encoding="utf-8"))
        return answer

    sandbox.inject(Fault.transform(look), action=DELETE)
    client.delete_many(sandbox.add_tasks(1), journal=journal)

    assert found == [True]


def test_journal_has_two_lines_for_each_of_many_tasks(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_ids = sandbox.add_tasks(50)

    client.delete_many(task_ids, journal=journal)

    events = told(journal)
    assert sorted(events) == sorted(
        [("intent", task_id, None) for task_id in task_ids]
        + [("outcome", task_id, "deleted") for task_id in task_ids]
    )


def test_journal_is_for_its_owner_only_and_holds_no_key(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    client.delete_many(sandbox.add_tasks(3), journal=str(journal))

    text = journal.read_text(encoding="utf-8")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert sandbox.secret_key not in text
    assert sandbox.access_key not in text
    assert "bce-auth-v1" not in text


def test_journal_of_a_purge_has_one_look_for_each_task(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    seen = len(sandbox.requests)

    client.purge(plan, journal=journal, max_workers=1)

    assert [request.action for request in sandbox.requests[seen:]] == [LOOK, DELETE] * 2
    assert [event for event, *_ in told(journal)] == ["intent", "outcome"] * 2


def test_journal_of_a_missing_task_has_its_outcome_alone(
    client: TaskClient, journal: Path, sandbox: Sandbox
) -> None:
    client.delete_many(["infer-gone"], journal=journal)

    assert told(journal) == [("outcome", "infer-gone", "not_found")]
    assert [request.action for request in sandbox.requests] == [LOOK]


@pytest.mark.parametrize("place", ["missing/journal", "directory", "file/journal", os.devnull])
def test_journal_that_cannot_be_written_is_refused_before_the_first_request(
    client: TaskClient, sandbox: Sandbox, tmp_path: Path, place: str
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(InvalidArgumentError, match="journal cannot be written"):
        client.delete_many(sandbox.add_tasks(1), journal=tmp_path / place)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "content", ["# My notes\n", '{"event": "intent"}\n', "[]\n", '{\n  "event": "intent"\n}\n', "\0" * 10]
)
def test_journal_that_is_something_else_is_refused_and_left_alone(
    client: TaskClient, sandbox: Sandbox, journal: Path, content: str
) -> None:
    journal.write_text(content)

    with pytest.raises(InvalidArgumentError, match="no journal"):
        client.delete_many(sandbox.add_tasks(1), journal=journal)
    assert (journal.read_text(), sandbox.requests) == (content, [])


def test_journal_of_another_account_is_refused(
    client: TaskClient, make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    sandbox.add_key("another-access-key", "another-secret-key", account="b")
    task_ids = sandbox.add_tasks(2)
    client.delete_many(task_ids[:1], journal=journal)
    other = make_client(access_key="another-access-key", secret_key="another-secret-key")
    seen = len(sandbox.requests)

    with pytest.raises(InvalidArgumentError, match="journal is of"):
        other.delete_many(task_ids, journal=journal)
    assert len(sandbox.requests) == seen


def test_journal_that_fails_in_the_middle_ends_the_run_and_says_what_was_done(
    client: TaskClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    task_ids = sandbox.add_tasks(5)
    journal = tmp_path / "lost" / "journal"
    sandbox.inject(losing(journal), action=DELETE, skip=1)

    report = client.delete_many(task_ids, journal=journal, max_workers=1)

    assert [outcome.outcome for outcome in report] == ["deleted", "deleted"] + ["not_tried"] * 3
    assert report.outcomes[1].error
    assert report.outcomes[1].error.code == "JournalNotWritten"
    assert list(sandbox.tasks) == task_ids[2:]


def test_journal_that_cannot_take_an_intent_keeps_the_task(
    client: TaskClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    task_ids = sandbox.add_tasks(3)
    journal = tmp_path / "lost" / "journal"
    sandbox.inject(losing(journal), action=LOOK)

    report = client.delete_many(task_ids, journal=journal, max_workers=1)

    assert [outcome.outcome for outcome in report] == ["failed", "not_tried", "not_tried"]
    assert list(sandbox.tasks) == task_ids
