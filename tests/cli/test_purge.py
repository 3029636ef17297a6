"""Purging on the command line: what is shown before, the question, the kept plan, the report."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qf_tasks import BulkReport, PurgePlan
from qf_tasks.sandbox import Sandbox

from .conftest import Run

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


def _account(sandbox: Sandbox) -> str:
    key, host = sandbox.access_key, sandbox.url.removeprefix("http://")
    return f"{key[:4]}…{key[-4:]} at {host}"


def test_purge_shows_what_goes_asks_and_deletes_after_yes(run_on_screen: Run, filled: Sandbox) -> None:
    code, out, err = run_on_screen("purge", "--run-status", "failed", answer="y\n")

    assert code == 0
    assert err.splitlines()[0].startswith(f"Account: {_account(filled)}")
    assert "\nTasks: 2, created 2026-01-02 11:04+08:00 to 2026-02-01 06:00+08:00\n" in err
    assert err.count("\n  infer-") == 2  # each is named before the question
    assert "\nNot ended, to be stopped first: 0\n" in err
    assert "\nDeleting cannot be undone. Output in BOS is not known to be removed with a task.\n" in err
    assert "\nDelete 2 tasks? [y/N] 2 deleted; account " in err
    assert out.count("deleted") == 2
    assert filled.tasks.keys() == {"infer-c", "infer-d"}


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n"])
def test_purge_deletes_nothing_after_any_other_answer(
    run_on_screen: Run, filled: Sandbox, answer: str
) -> None:
    code, out, err = run_on_screen("purge", "--run-status", "failed", answer=answer)

    assert (code, out) == (1, "")
    assert err.endswith("Nothing was deleted.\n")
    assert len(filled.tasks) == 4


def test_purge_where_nobody_can_be_asked_needs_yes(run: Run, filled: Sandbox) -> None:
    code, out, err = run("purge", "--run-status", "failed")

    assert (code, out) == (2, "")
    assert "--yes" in err
    assert len(filled.tasks) == 4


def test_purge_with_yes_asks_nothing(run: Run, filled: Sandbox) -> None:
    code, out, _ = run("purge", "--run-status", "failed", "--yes", "-q")

    assert (code, sorted(out.split())) == (0, ["infer-a", "infer-b"])
    assert filled.tasks.keys() == {"infer-c", "infer-d"}


def test_purge_as_json_prints_the_report(run: Run, filled: Sandbox) -> None:
    code, out, err = run("purge", "--name", "old*", "--yes", "--json")

    assert (code, BulkReport.model_validate_json(out).counts["deleted"], err) == (0, 2, "")
    assert len(filled.tasks) == 2


def test_purge_of_nothing_succeeds_without_a_question(run: Run, filled: Sandbox) -> None:
    code, out, err = run("purge", "--name", "nothing-has-this-name")

    assert (code, out) == (0, "")
    assert "No task fits; nothing is to be deleted." in err
    assert "[y/N]" not in err
    assert len(filled.tasks) == 4


def test_purge_without_a_criterion_is_refused(run: Run, filled: Sandbox) -> None:
    code, _, err = run("purge", "--yes")

    assert (code, err.startswith("Error: ")) == (2, True)
    assert len(filled.tasks) == 4


def test_purge_of_more_than_the_maximum_is_refused(run: Run, filled: Sandbox) -> None:
    assert run("purge", "--run-status", "failed", "--max-tasks", "1", "--yes").code == 2
    assert len(filled.tasks) == 4


def test_purge_with_stop_first_says_how_many_run(run: Run, filled: Sandbox) -> None:
    code, out, err = run("purge", "--older-than", "30d", "--stop-first", "--yes", "-q")

    assert (code, sorted(out.split())) == (0, ["infer-a", "infer-b", "infer-c"])
    assert "\nNot ended, to be stopped first: 1\n" in err
    assert filled.tasks.keys() == {"infer-d"}


def test_purge_dry_run_prints_the_tasks_and_deletes_nothing(run: Run, filled: Sandbox) -> None:
    code, out, _ = run("purge", "--run-status", "failed", "--dry-run", "-q")

    assert (code, sorted(out.split())) == (0, ["infer-a", "infer-b"])
    assert len(filled.tasks) == 4


def test_purge_applies_the_plan_that_a_dry_run_kept(run: Run, filled: Sandbox, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"

    kept = run("purge", "--keep-newest", "1", "--run-status", "failed", "--dry-run", "--out", str(plan))
    applied = run("purge", "--plan", str(plan), "--yes", "-q")

    assert f"Apply it: qf-tasks purge --plan {plan}\n" in kept.err
    assert len(PurgePlan.model_validate_json(plan.read_bytes())) == 1
    assert (applied.code, applied.out) == (0, "infer-a\n")
    assert len(filled.tasks) == 3


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_purge_with_a_file_that_is_no_plan_is_refused(
    run: Run, own_sandbox: Sandbox, tmp_path: Path, content: bytes | None
) -> None:
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_bytes(content)

    code, _, err = run("purge", "--plan", str(plan), "--yes")

    assert (code, own_sandbox.requests) == (2, [])
    assert str(plan) in err


@pytest.mark.parametrize(
    "words",
    [
        ("--plan", "plan.json", "--name", "x"),
        ("--plan", "plan.json", "--name", ""),
        ("--plan", "plan.json", "--keep-newest", "1"),
        ("--plan", "plan.json", "--stop-first"),
        ("--name", "x", "--out", "plan.json"),
        ("--run-status", "", "--yes"),
        ("--run-status", "", "--name", "*x", "--yes"),
        ("--older-than", "30", "--yes"),
    ],
)
def test_purge_with_options_that_do_not_hold_together_is_refused(
    run: Run, own_sandbox: Sandbox, words: tuple[str, ...]
) -> None:
    code, out, _ = run("purge", *words)

    assert (code, out, own_sandbox.requests) == (2, "", [])


def test_purge_refuses_a_plan_of_more_than_the_maximum(run: Run, filled: Sandbox, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    run("purge", "--run-status", "failed", "--dry-run", "--out", str(plan))

    code, _, err = run("purge", "--plan", str(plan), "--max-tasks", "1", "--yes")

    assert code == 2
    assert f"--max-tasks: {plan} has 2 tasks" in err
    assert len(filled.tasks) == 4


def test_purge_as_json_is_not_asked_about(run_on_screen: Run, filled: Sandbox) -> None:
    code, out, err = run_on_screen("purge", "--run-status", "failed", "--json", answer="y\n")

    assert (code, out) == (2, "")
    assert "--yes" in json.loads(err)["message"]
    assert len(filled.tasks) == 4


def test_purge_keeps_a_journal(run: Run, filled: Sandbox, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"

    assert run("purge", "--run-status", "failed", "--yes", "--journal", str(journal)).code == 0
    assert len(journal.read_text("utf-8").splitlines()) >= 4
    assert len(filled.tasks) == 2


def test_purge_of_nothing_as_json_prints_an_empty_report(run: Run, filled: Sandbox) -> None:
    assert len(BulkReport.model_validate_json(run("purge", "--name", "nothing", "--json").out)) == 0
    assert len(filled.tasks) == 4


def test_purge_refuses_the_plan_of_another_account(
    run: Run, filled: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.json"
    run("purge", "--run-status", "failed", "--dry-run", "--out", str(plan))
    filled.add_key("another-access-key", "another-secret-key")
    monkeypatch.setenv("QIANFAN_ACCESS_KEY", "another-access-key")
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "another-secret-key")

    assert run("purge", "--plan", str(plan), "--yes").code == 2
    assert len(filled.tasks) == 4


def test_purge_on_a_terminal_shows_how_far_it_is(run_on_screen: Run, filled: Sandbox) -> None:
    _, _, err = run_on_screen("purge", "--run-status", "failed", "--yes", term="xterm")

    assert "Looking through the account" in err
    assert "2/2" in err
    assert len(filled.tasks) == 2
