"""The journal of a bulk delete: what is written when, what it survives, and what the next run makes of it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import (
    Account,
    BulkOutcome,
    InvalidArgumentError,
    PurgePlan,
    QfTasksError,
    RunStatus,
    Task,
    TaskClient,
)
from qf_tasks._operations.journal import Journal
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

DELETE = "DeleteBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
ACCOUNT = Account("ALTA…9f3c", "qianfan.baidubce.com", "environment")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def entries(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]


def events(journal: Path) -> list[tuple[str, str, str | None]]:
    return [(entry["event"], entry["task_id"], entry.get("outcome")) for entry in entries(journal)]


def outcomes(report: Any) -> list[str]:
    return [outcome.outcome for outcome in report]


# What is written.


def test_journal_has_the_whole_task_and_then_the_outcome(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_id = sandbox.add_task(name="夜间", fields={"newField": [1]})
    before = client.get(task_id)

    report = client.delete_many([task_id], journal=journal)

    intent, outcome = entries(journal)
    assert (intent["event"], outcome["event"]) == ("intent", "outcome")
    assert Task.model_validate(intent["task"]) == before
    assert BulkOutcome.model_validate(outcome) == report.outcomes[0]
    assert intent["account"] == outcome["account"] == client.account.model_dump(mode="json")


def test_journal_has_the_intent_before_the_delete_is_sent(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    read: list[str] = []

    def read_journal(body: Any) -> Any:
        read.append(journal.read_text(encoding="utf-8"))
        return body

    sandbox.inject(Fault.transform(read_journal), action=DELETE)
    client.delete_many(sandbox.add_tasks(1), journal=journal)

    assert '"intent"' in read[0]


def test_journal_has_two_lines_for_each_of_many_tasks(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_ids = sandbox.add_tasks(50)

    client.delete_many(task_ids, journal=journal)

    expected: list[tuple[str, str, str | None]] = [("intent", task_id, None) for task_id in task_ids]
    expected += [("outcome", task_id, "deleted") for task_id in task_ids]
    assert sorted(events(journal)) == sorted(expected)


def test_journal_is_readable_by_its_owner_only_and_has_no_key(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    client.delete_many(sandbox.add_tasks(3), journal=str(journal))

    text = journal.read_text(encoding="utf-8")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert sandbox.secret_key not in text
    assert sandbox.access_key not in text
    assert "bce-auth-v1" not in text


def test_journal_that_is_new_is_synced_with_its_directory(
    blocking_client: TaskClient, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        synced.append(os.path.realpath(f"/proc/self/fd/{number}"))
        fsync(file)

    monkeypatch.setattr(os, "fsync", record)
    blocking_client.delete_many(["infer-missing"], journal=journal)

    assert synced == [str(journal.parent), str(journal)]


def test_journal_of_purge_takes_one_get_for_each_task(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    before = len(sandbox.requests)

    client.purge(plan, journal=journal, max_workers=1)

    assert [request.action for request in sandbox.requests[before:]] == [GET, DELETE] * 2
    assert [event for event, *_ in events(journal)] == ["intent", "outcome"] * 2


def test_journal_of_missing_task_has_its_outcome_alone(
    client: TaskClient, journal: Path, sandbox: Sandbox
) -> None:
    client.delete_many(["infer-missing"], journal=journal)

    assert events(journal) == [("outcome", "infer-missing", "not_found")]
    assert [request.action for request in sandbox.requests] == [GET]


# What cannot be used.


def test_journal_in_the_home_directory_may_be_written_with_a_tilde(
    blocking_client: TaskClient, sandbox: Sandbox
) -> None:
    blocking_client.delete_many([sandbox.add_task()], journal="~/journal.jsonl")

    assert entries(Path.home() / "journal.jsonl")


def test_journal_that_is_no_path_is_rejected(blocking_client: TaskClient, sandbox: Sandbox) -> None:
    journal: Any = 5

    with pytest.raises(InvalidArgumentError, match="journal must be the path of a file, not int"):
        blocking_client.delete_many([sandbox.add_task()], journal=journal)


@pytest.mark.parametrize("path", ["missing/journal", "directory", "file/journal", os.devnull, "a\0b"])
def test_journal_that_cannot_be_written_sends_nothing(
    client: TaskClient, sandbox: Sandbox, tmp_path: Path, path: str
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(InvalidArgumentError, match="journal cannot be written"):
        client.delete_many(sandbox.add_tasks(1), journal=f"{tmp_path}/{path}" if path[0] != "/" else path)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "content", ["# My notes\n", '{"event": "intent"}\n', "[]\n", '{\n  "event": "intent"\n}\n']
)
def test_journal_that_is_another_file_is_left_unchanged(
    client: TaskClient, sandbox: Sandbox, journal: Path, content: str
) -> None:
    journal.write_text(content)

    with pytest.raises(InvalidArgumentError, match="is not a journal of deletes"):
        client.delete_many(sandbox.add_tasks(1), journal=journal)
    assert (journal.read_text(), sandbox.requests) == (content, [])


def test_journal_of_another_account_raises(
    client: TaskClient, make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    sandbox.add_key("another-access-key", "another-secret-key", account="b")
    task_ids = sandbox.add_tasks(2)
    client.delete_many(task_ids[:1], journal=journal)
    other = make_client(access_key="another-access-key", secret_key="another-secret-key")
    before = len(sandbox.requests)

    with pytest.raises(InvalidArgumentError, match="journal belongs to"):
        other.delete_many(task_ids, journal=journal)
    assert len(sandbox.requests) == before


HOLD = """
import sys
from qf_tasks import Account
from qf_tasks._operations.journal import Journal
journal = Journal(sys.argv[1], Account("ALTA…9f3c", "qianfan.baidubce.com", "environment"))
print("locked", flush=True)
sys.stdin.read()
"""


def test_journal_in_use_by_another_process_raises_until_that_is_killed(journal: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(journal)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InvalidArgumentError, match="another program is using it"):
            Journal(journal, ACCOUNT)
        process.kill()
        process.wait()

    with Journal(journal, ACCOUNT) as opened:
        assert opened.unsettled == set()


def test_journal_used_twice_at_a_time_in_one_process_raises(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    with Journal(journal, client.account), pytest.raises(InvalidArgumentError, match="is using it"):
        client.delete_many(sandbox.add_tasks(1), journal=journal)
    assert sandbox.requests == []


def test_journal_where_files_cannot_be_locked_raises(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(InvalidArgumentError, match="files cannot be locked in this directory"):
        Journal(journal, ACCOUNT)


# A disk that fails.


def full_for(monkeypatch: pytest.MonkeyPatch, failing: Callable[[int], bool]) -> None:
    """Let the disk be full for some of the writes, counted from 1: only half of the line is written."""
    writes = 0
    append = Journal._append

    def append_partly(journal: Journal, line: bytes) -> None:
        nonlocal writes
        writes += 1
        file = journal._file
        if failing(writes):
            monkeypatch.setattr(journal, "_file", PartlyWritten(file))
        try:
            append(journal, line)
        finally:
            monkeypatch.setattr(journal, "_file", file)

    monkeypatch.setattr(Journal, "_append", append_partly)


class PartlyWritten:
    """A file on a disk that is nearly full."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def fileno(self) -> int:
        number: int = self._file.fileno()
        return number

    def write(self, line: bytes) -> int:
        written: int = self._file.write(line[: len(line) // 2])
        return written


@pytest.mark.parametrize("failing_write", [1, 2, 6])
def test_journal_on_disk_that_is_full_for_a_while_has_an_intent_for_each_deleted_task(
    client: TaskClient, sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch, failing_write: int
) -> None:
    task_ids = sandbox.add_tasks(20)
    full_for(monkeypatch, lambda number: number == failing_write)

    report = client.delete_many(task_ids, journal=journal, max_workers=4)

    lines = journal.read_bytes().split(b"\n")
    intended = {entry["task_id"] for entry in map(json.loads, lines[:-1]) if entry["event"] == "intent"}
    assert set(task_ids) - set(sandbox.tasks) <= intended
    assert lines[-1]  # the torn line is the last one
    assert report.counts["not_tried"] > 0
    errors = [outcome.error.code for outcome in report if outcome.error]
    assert set(errors) == {"JournalNotWritten"}


def test_journal_torn_by_full_disk_is_continued_on_a_new_line(
    client: TaskClient, sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_ids = sandbox.add_tasks(3)
    with monkeypatch.context() as full:
        full_for(full, lambda number: number == 2)
        assert outcomes(client.delete_many(task_ids, journal=journal, max_workers=1))[0] == "deleted"

    report = client.delete_many(task_ids, journal=journal)

    assert outcomes(report) == ["already_gone", "deleted", "deleted"]
    assert sandbox.tasks == {}


def test_journal_unlinked_meanwhile_ends_the_run(client: TaskClient, sandbox: Sandbox, journal: Path) -> None:
    task_ids = sandbox.add_tasks(5)

    def unlink(body: Any) -> Any:
        journal.unlink()
        return body

    sandbox.inject(Fault.transform(unlink), action=DELETE, skip=1)
    report = client.delete_many(task_ids, journal=journal, max_workers=1)

    assert outcomes(report) == ["deleted", "deleted", "not_tried", "not_tried", "not_tried"]
    assert report.outcomes[1].error
    assert report.outcomes[1].error.code == "JournalNotWritten"
    assert not journal.exists()


def test_journal_that_cannot_take_an_intent_keeps_the_task(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_ids = sandbox.add_tasks(3)

    def unlink(body: Any) -> Any:
        journal.unlink()
        return body

    sandbox.inject(Fault.transform(unlink), action=GET)
    report = client.delete_many(task_ids, journal=journal, max_workers=1)

    assert outcomes(report) == ["failed", "not_tried", "not_tried"]
    assert list(sandbox.tasks) == task_ids


def error_of(function: Callable[[Task], None], task: Task) -> QfTasksError | None:
    try:
        function(task)
    except QfTasksError as error:
        return error
    return None


def test_journal_of_deeply_nested_task_is_readable_or_not_written(tmp_path: Path) -> None:
    for depth in (198, 230, 250, 254, 256, 300, 900):
        params: Any = {}
        for _ in range(depth):
            params = {"a": params}
        task = Task("infer-deep", RunStatus.DONE, raw={"inferenceParams": params})

        with Journal(tmp_path / str(depth), ACCOUNT) as opened:
            error = error_of(opened.intend, task)

        if error:
            assert (error.code, "nested too deeply" in str(error)) == ("JournalNotWritten", True)
        with Journal(tmp_path / str(depth), ACCOUNT) as read:
            assert read.unsettled == (set() if error else {"infer-deep"})


# What earlier runs have left.


def leave_unsettled(client: TaskClient, journal: Path, task_ids: list[str]) -> None:
    """Leave a journal as a killed run does: with intents and no outcomes."""
    client.delete_many(task_ids, journal=journal, max_workers=1)
    intents = [line for line in journal.read_bytes().splitlines(keepends=True) if b'"intent"' in line]
    journal.write_bytes(b"".join(intents))


def test_journal_with_unsettled_tasks_has_them_looked_up_first(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    elsewhere, unsettled, other = sandbox.add_tasks(3)
    leave_unsettled(client, journal, [elsewhere, unsettled])
    before = len(sandbox.requests)

    client.delete_many([other, unsettled], journal=journal, max_workers=1)

    sent = [(request.action, request.params["taskId"]) for request in sandbox.requests[before:]]
    assert sent == [(GET, elsewhere), (GET, unsettled), (GET, other), (DELETE, other)]


def test_journal_with_unsettled_tasks_of_another_run_settles_them_and_deletes_none(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    gone, existing = sandbox.add_tasks(2)
    leave_unsettled(client, journal, [gone, existing])
    sandbox.add_task(existing)

    assert len(client.delete_many([], journal=journal)) == 0
    before = len(sandbox.requests)
    client.delete_many([], journal=journal)

    settled = [("outcome", gone, "already_gone"), ("outcome", existing, "not_tried")]
    assert sorted(events(journal)[2:]) == sorted(settled)
    assert (list(sandbox.tasks), len(sandbox.requests)) == ([existing], before)


def test_journal_with_unsettled_task_that_cannot_be_looked_up_keeps_it_unsettled(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    unsettled, other = sandbox.add_tasks(2)
    leave_unsettled(client, journal, [unsettled])
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=GET, task_id=None)

    client.delete_many([], journal=journal)
    assert client.delete_many([other], journal=journal).ok

    assert ("outcome", unsettled, "already_gone") in events(journal)


def test_journal_with_unknown_outcome_has_the_task_looked_up(
    make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    client = make_client(max_retries=0)
    task_id = sandbox.add_task()
    sandbox.inject(Fault.reset_after(), action=DELETE)
    assert client.delete_many([task_id], journal=journal).counts["unknown"] == 1

    client.delete_many([], journal=journal)

    assert events(journal)[-1] == ("outcome", task_id, "already_gone")


def test_journal_with_rejected_delete_of_task_deleted_by_others_reports_not_found(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    assert outcomes(client.delete_many([task_id], journal=journal)) == ["failed"]
    sandbox.set_status(task_id, "Done")
    client.delete(task_id)

    assert outcomes(client.delete_many([task_id], journal=journal)) == ["not_found"]


def test_journal_cut_anywhere_keeps_every_whole_line(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _file: None)  # which takes long
    with Journal(journal, ACCOUNT) as opened:
        opened.intend(Task("infer-1", RunStatus.DONE))
        opened.settle(BulkOutcome("infer-1", "deleted"))
        opened.intend(Task("infer-2", RunStatus.DONE))
    content = journal.read_bytes()
    ends = [end + 1 for end, byte in enumerate(content) if byte == ord("\n")]

    near_ends = {cut for end in [0, *ends[:-1]] for cut in range(max(0, end - 2), end + 14)}
    for cut in sorted({*near_ends, *range(0, len(content), 13)}):
        journal.write_bytes(content[:cut])
        whole = sum(cut >= end - 1 for end in ends)  # only a line break may be missing
        with Journal(journal, ACCOUNT) as read:
            assert read.unsettled == [set(), {"infer-1"}, set(), {"infer-2"}][whole]


@pytest.mark.parametrize("cut", [1, 200, -1])
def test_journal_with_torn_last_line_is_continued(
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
    added = map(json.loads, journal.read_bytes()[len(torn) :].splitlines()[1:])
    last = {entry["task_id"]: entry["outcome"] for entry in added if entry["event"] == "outcome"}
    assert last == {gone: "already_gone", other: "already_gone"}


@pytest.mark.parametrize("end", [b"\0" * 100, b"\0" * 100 + b"\n", b'{"event": "outc\0\0\0\0'])
def test_journal_with_trailing_nul_bytes_is_continued(
    client: TaskClient, sandbox: Sandbox, journal: Path, end: bytes
) -> None:
    gone, other = sandbox.add_tasks(2)
    client.delete_many([gone], journal=journal)
    journal.write_bytes(journal.read_bytes() + end)

    for _ in range(2):
        assert outcomes(client.delete_many([gone], journal=journal)) == ["already_gone"]
    assert outcomes(client.delete_many([other], journal=journal)) == ["deleted"]


def test_journal_of_purge_that_was_killed_after_a_stop_is_continued(
    client: TaskClient, sandbox: Sandbox, journal: Path
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    plan = client.plan_purge(run_status="Running", stop_first=True)
    kept = PurgePlan.model_validate_json(plan.model_dump_json())
    sandbox.set_status(task_id, "Stopped")  # as the killed run left it

    assert client.purge(kept, journal=journal).counts["deleted"] == 1
