"""Stopping and deleting by ids."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from qf_tasks import BulkReport
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run, RunOnTerminal, interrupt_with


def test_delete_prints_id_outcome_and_request(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    code, out, err = run("delete", "infer-a")

    assert (code, out) == (0, "infer-a\tdeleted\tREQUEST-ID\n")
    assert err.startswith("1 deleted; account ")
    assert own_sandbox.tasks == {}


def test_delete_on_a_terminal_shows_a_table_and_asks_nothing(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")

    code, screen, _ = run_on_terminal("rm", "infer-a")

    assert (code, [line.split()[:2] for line in screen[:2]]) == (
        0,
        [["TASK", "ID"], ["infer-a", "deleted"]],
    )


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("command", ["delete", "stop"])
def test_a_report_as_json_has_one_shape_however_many_ids(
    run: Run, own_sandbox: Sandbox, command: str, count: int
) -> None:
    ids = own_sandbox.add_tasks(count)

    code, out, err = run(command, *ids, "--json")

    report = BulkReport.model_validate_json(out)
    assert (code, [outcome.task_id for outcome in report], err) == (0, ids, "")


@pytest.mark.parametrize("others", [[], ["infer-a"]])
def test_a_report_as_json_has_the_error_of_an_id_in_its_outcome(
    run: Run, own_sandbox: Sandbox, others: list[str]
) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-runs", run_status="Running")

    code, out, err = run("delete", "infer-runs", *others, "--json")

    first = json.loads(out)["outcomes"][0]
    assert (code, first["outcome"], first["error"]["kind"], err) == (1, "failed", "TaskStateError", "")


def test_delete_with_missing_ok_ignores_a_task_that_does_not_exist(run: Run) -> None:
    assert run("delete", "infer-gone", "--missing-ok").out.startswith("infer-gone\talready_gone\t")


def test_delete_with_stop_first_stops_and_deletes(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    assert run("delete", "infer-a", "--stop-first", "--stop-timeout", "none").code == 0
    assert own_sandbox.tasks == {}


def test_delete_dry_run_shows_states_and_deletes_nothing(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", name="one")
    own_sandbox.add_task("infer-b", name="two", run_status="Running")

    code, out, err = run("delete", "--dry-run", "infer-a", "infer-b", "infer-c")

    assert (code, len(own_sandbox.tasks)) == (0, 2)
    assert out == (
        "infer-a\tDone\tone\twould be deleted\n"
        "infer-b\tRunning\ttwo\twould be rejected\n"
        "infer-c\t\t\tdoes not exist\n"
    )
    assert err.startswith("Nothing was deleted from ")


def test_delete_dry_run_with_stop_first_shows_what_would_be_stopped(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-b", name="two", run_status="Running")

    out = run("delete", "--dry-run", "--stop-first", "infer-b").out

    assert out == "infer-b\tRunning\ttwo\twould be stopped and deleted\n"


def test_delete_of_several_goes_on_after_a_rejection(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-b", run_status="Running")

    code, out, err = run("delete", "infer-b", "infer-a")

    assert code == 1
    assert out == (
        "infer-b\tfailed\tREQUEST-ID\tTask infer-b is Running and cannot be deleted [InvalidTaskStatus]\n"
        "infer-a\tdeleted\tREQUEST-ID\n"
    )
    assert err.startswith("1 deleted, 1 failed; account ")
    assert "Hint: Stop it first with --stop-first, or wait until it has ended." in err


def test_delete_of_several_on_a_terminal_prints_the_reasons_below_the_table(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-b", run_status="Running")

    code, screen, _ = run_on_terminal("delete", "infer-a", "infer-b")

    assert code == 1
    assert screen[2].split()[:2] == ["infer-b", "failed"]
    assert screen[3].startswith("infer-b failed: Task infer-b is Running and cannot be deleted [Inv")


def test_delete_as_ids_prints_those_that_were_deleted(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-b", run_status="Running")

    _, out, err = run("delete", "infer-a", "infer-b", "-q")

    assert out == "infer-a\n"
    assert err.startswith("infer-b failed: Task infer-b is Running")


def test_delete_with_a_journal_logs_the_task(run: Run, own_sandbox: Sandbox, tmp_path: Path) -> None:
    own_sandbox.add_task("infer-a", name="nightly")
    journal = tmp_path / "journal.jsonl"

    assert run("delete", "infer-a", "--journal", str(journal)).code == 0
    assert "nightly" in journal.read_text("utf-8")


def test_stop_of_running_tasks_says_that_they_are_stopping(run: Run, own_sandbox: Sandbox) -> None:
    ids = own_sandbox.add_tasks(2, run_status="Running")

    code, out, err = run("cancel", *ids)

    assert (code, [line.split("\t")[:2] for line in out.splitlines()]) == (
        0,
        [[task_id, "stopping"] for task_id in ids],
    )
    assert err.startswith("2 stopping; account ")


def test_stop_of_a_task_that_has_ended_is_no_error(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    code, out, _ = run("stop", "infer-a")

    assert (code, out.split("\t")[:2]) == (0, ["infer-a", "skipped"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_delete_interrupted_finishes_what_is_in_flight_and_prints_its_report(
    run: Run, own_sandbox: Sandbox, number: signal.Signals
) -> None:
    ids = own_sandbox.add_tasks(20)

    own_sandbox.inject(interrupt_with(number), task_id=ids[5])
    own_sandbox.inject(Fault.slow(0.1), skip=5, times=None)  # the signal comes before the last task's turn

    code, out, err = run("delete", *ids, "--max-workers", "1")

    outcomes = dict(line.split("\t")[:2] for line in out.splitlines())
    assert (code, list(outcomes)) == (128 + number, ids)
    left = {task_id for task_id, outcome in outcomes.items() if outcome != "deleted"}
    assert left == own_sandbox.tasks.keys()
    assert outcomes[ids[-1]] == "not_tried"
    assert err.startswith("Finishing 1 in flight; Ctrl-C again leaves them unknown.\n")
    assert " not_tried; account " in err
    assert err.endswith("Interrupted.\n")
