"""Purging: what is shown before, the question, the plan in a file, the report."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qf_tasks import BulkReport, PurgePlan
from qf_tasks.sandbox import Sandbox

from .conftest import Run, RunOnTerminal

_OLD = datetime(2026, 1, 31, 22, 0, tzinfo=UTC)
_OLDER = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def filled(own_sandbox: Sandbox) -> Sandbox:
    """Return an account with two failed tasks, one that runs, and one that is done."""
    own_sandbox.add_task("infer-a", name="old", run_status="Failed", create_time=_OLDER, finish_time=_OLDER)
    own_sandbox.add_task("infer-b", name="older", run_status="Failed", create_time=_OLD, finish_time=_OLD)
    own_sandbox.add_task("infer-c", name="at-work", run_status="Running", create_time=_OLD)
    own_sandbox.add_task("infer-d", name="kept")
    return own_sandbox


@pytest.fixture
def plan(run: Run, filled: Sandbox, tmp_path: Path) -> Path:
    """Return the file of a plan to delete the failed tasks."""
    path = tmp_path / "plan.json"
    path.write_text(run("purge", "--status", "failed", "--dry-run", "--json").out, "utf-8")
    assert len(filled.tasks) == 4
    return path


def test_purge_shows_tasks_with_ages_asks_with_the_account_and_deletes(
    run_on_terminal: RunOnTerminal, filled: Sandbox
) -> None:
    code, screen, written = run_on_terminal("purge", "--status", "failed", typed="y\n", width=100)

    key, host = filled.access_key, filled.url.removeprefix("http://")
    question = f"Delete 2 tasks of {key[:4]}…{key[-4:]} at {host}? [y/N]"
    assert code == 0
    assert question in written
    assert [line.split()[:2] for line in screen[1:4]] == [
        ["TASK", "ID"],
        ["infer-b", "Failed"],
        ["infer-a", "Failed"],
    ]
    assert screen[2].split()[2].endswith("d")  # its age
    assert "Tasks: 2, created 2026-01-02 11:04+08:00 to 2026-02-01 06:00+08:00" in screen
    assert "Deleting cannot be undone. Deleting a task may not delete its output in BOS." in screen
    assert filled.tasks.keys() == {"infer-c", "infer-d"}


@pytest.mark.parametrize("answer", ["n\n", "\x04", "yess\n"])
def test_purge_after_any_other_answer_deletes_nothing(
    run_on_terminal: RunOnTerminal, filled: Sandbox, answer: str
) -> None:
    code, screen, _ = run_on_terminal("purge", "--status", "failed", typed=answer)

    assert (code, len(filled.tasks)) == (1, 4)
    assert screen[-1].endswith("Nothing was deleted.")


def test_purge_of_83_tasks_on_24_lines_names_20_and_asks_with_the_account(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_tasks(83, run_status="Failed")

    _, screen, _ = run_on_terminal("purge", "--status", "failed", typed="n\n")

    assert "... and 63 more; --dry-run shows all." in screen
    assert "83 tasks of" in "".join(screen[-2:])


def test_purge_without_a_terminal_requires_yes_before_any_request(run: Run, filled: Sandbox) -> None:
    code, out, err = run("purge", "--status", "failed", typed="y\n")

    assert (code, out, filled.requests) == (2, "", [])
    assert err.startswith("Error: Invalid value for --yes: required without a terminal, and with --json;")
    assert err.count("\n") == 2  # no plan that nobody asked for


def test_purge_with_yes_asks_nothing(run: Run, filled: Sandbox) -> None:
    code, out, _ = run("purge", "--status", "failed", "--yes", "-q")

    assert (code, sorted(out.split())) == (0, ["infer-a", "infer-b"])
    assert filled.tasks.keys() == {"infer-c", "infer-d"}


def test_purge_as_json_prints_the_report(run: Run, filled: Sandbox) -> None:
    code, out, err = run("purge", "--name", "old*", "--yes", "--json")

    assert (code, BulkReport.model_validate_json(out).counts["deleted"], err) == (0, 2, "")
    assert len(filled.tasks) == 2


def test_purge_as_json_on_a_terminal_requires_yes(run_on_terminal: RunOnTerminal, filled: Sandbox) -> None:
    code, screen, _ = run_on_terminal("purge", "--status", "failed", "--json", typed="y\n", width=400)

    assert (code, len(filled.tasks)) == (2, 4)
    assert "--yes" in json.loads(screen[0])["message"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_purge_of_nothing_succeeds_without_a_question(
    run: Run, filled: Sandbox, options: tuple[str, ...]
) -> None:
    code, out, _ = run("purge", "--name", "nothing-has-this-name", "--yes", *options)

    assert (code, len(filled.tasks)) == (0, 4)
    assert not out or len(BulkReport.model_validate_json(out)) == 0


@pytest.mark.parametrize("arguments", [("--yes",), ("--older-than", "30")])
def test_purge_that_is_too_wide_is_refused(run: Run, filled: Sandbox, arguments: tuple[str, ...]) -> None:
    code, _, err = run("purge", *arguments)

    assert (code, err.startswith("Error: "), len(filled.tasks)) == (2, True, 4)


def test_purge_of_more_than_the_maximum_names_the_option(run: Run, filled: Sandbox) -> None:
    err = run("purge", "--status", "failed", "--max-tasks", "1", "--yes").err

    assert len(filled.tasks) == 4
    assert "--max-tasks" in err
    assert "max_tasks" not in err


def test_purge_with_stop_first_says_how_many_are_active(run: Run, filled: Sandbox) -> None:
    code, out, err = run("purge", "--older-than", "30d", "--stop-first", "--yes", "-q")

    assert (code, sorted(out.split())) == (0, ["infer-a", "infer-b", "infer-c"])
    assert "\nStill active, will be stopped first: 1\n" in err
    assert filled.tasks.keys() == {"infer-d"}


def test_purge_dry_run_prints_the_tasks_and_deletes_nothing(run: Run, filled: Sandbox) -> None:
    code, out, _ = run("purge", "--status", "failed", "--dry-run", "-q")

    assert (code, sorted(out.split()), len(filled.tasks)) == (0, ["infer-a", "infer-b"], 4)


def test_purge_with_a_plan_deletes_its_tasks(run: Run, filled: Sandbox, plan: Path) -> None:
    assert len(PurgePlan.model_validate_json(plan.read_bytes())) == 2

    code, out, _ = run("purge", "--plan", str(plan), "--yes", "-q")

    assert (code, sorted(out.split()), len(filled.tasks)) == (0, ["infer-a", "infer-b"], 2)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_purge_with_a_file_that_is_no_plan_is_refused(
    run: Run, own_sandbox: Sandbox, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)

    code, _, err = run("purge", "--plan", str(path), "--yes")

    assert (code, own_sandbox.requests) == (2, [])
    assert str(path) in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--plan", "plan.json", "--name", "x"),
        ("--plan", "plan.json", "--keep-newest", "1"),
        ("--plan", "plan.json", "--stop-first"),
        ("--status", "", "--yes"),
        ("--status", "", "--name", "*x", "--yes"),
        ("--max-workers", "0", "--name", "x"),
    ],
)
def test_purge_with_options_that_contradict_is_refused_before_any_request(
    run: Run, own_sandbox: Sandbox, arguments: tuple[str, ...]
) -> None:
    code, out, _ = run("purge", *arguments)

    assert (code, out, own_sandbox.requests) == (2, "", [])


def test_purge_with_a_plan_of_more_than_the_maximum_is_refused(run: Run, filled: Sandbox, plan: Path) -> None:
    code, _, err = run("purge", "--plan", str(plan), "--max-tasks", "1", "--yes")

    assert (code, len(filled.tasks)) == (2, 4)
    assert f"--max-tasks: {plan} has 2 tasks" in err


def test_purge_with_the_plan_of_another_account_is_refused(
    run: Run, filled: Sandbox, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.add_key("another-access-key", "another-secret-key")
    monkeypatch.setenv("QIANFAN_ACCESS_KEY", "another-access-key")
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "another-secret-key")

    assert run("purge", "--plan", str(plan), "--yes").code == 2
    assert len(filled.tasks) == 4


def test_purge_with_a_journal_logs_the_tasks(run: Run, filled: Sandbox, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"

    assert run("purge", "--status", "failed", "--yes", "--journal", str(journal)).code == 0
    assert len(journal.read_text("utf-8").splitlines()) >= 4
    assert len(filled.tasks) == 2


def test_purge_question_cannot_be_answered_by_a_pipe(
    run: Run, filled: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    assert run("purge", "--status", "failed", typed="y\n" * 100).code == 2
    assert len(filled.tasks) == 4
