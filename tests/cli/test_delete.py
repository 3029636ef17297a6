"""Deleting and stopping by ids on the command line."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from qf_tasks import BulkReport, DeleteResult
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what stands in for stdin, to be written to."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdin", stream)
    return stream


def test_delete_prints_id_outcome_and_request(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    assert run("delete", "infer-a") == (0, "infer-a\tdeleted\tREQUEST-ID\n", "")
    assert own_sandbox.tasks == {}


def test_delete_on_a_terminal_asks_nothing_and_prints_a_table(
    run_on_screen: Run, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")

    assert run_on_screen("delete", "infer-a") == (
        0,
        "TASK ID  OUTCOME  REQUEST ID\ninfer-a  deleted  REQUEST-ID\n",
        "",
    )


def test_delete_as_json_prints_what_the_client_returns(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    assert DeleteResult.model_validate_json(run("delete", "infer-a", "--json").out).outcome == "deleted"


def test_delete_with_missing_ok_takes_gone_for_done(run: Run) -> None:
    assert run("delete", "infer-gone", "--missing-ok") == (0, "infer-gone\talready_gone\tREQUEST-ID\n", "")


def test_delete_stops_first_where_asked(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    assert run("delete", "infer-a", "--stop-first", "--stop-timeout", "none").code == 0
    assert own_sandbox.tasks == {}


def test_delete_dry_run_shows_states_and_deletes_nothing(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", name="one")
    own_sandbox.add_task("infer-b", name="two", run_status="Running")

    code, out, err = run("delete", "--dry-run", "infer-a", "infer-b", "infer-c")

    assert (code, err) == (0, "")
    assert out == (
        "infer-a\tDone\tone\twould be deleted\n"
        "infer-b\tRunning\ttwo\twould be refused\n"
        "infer-c\t\t\tnot there\n"
    )
    assert len(own_sandbox.tasks) == 2


def test_delete_dry_run_with_stop_first_says_what_would_be_stopped(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-b", name="two", run_status="Running")

    out = run("delete", "--dry-run", "--stop-first", "infer-b").out

    assert out == "infer-b\tRunning\ttwo\twould be stopped and deleted\n"


def test_delete_of_ids_from_stdin_needs_yes(run: Run, own_sandbox: Sandbox, piped: io.StringIO) -> None:
    own_sandbox.add_task("infer-a")
    piped.write("infer-a\n")
    piped.seek(0)

    code, out, err = run("delete", "-")

    assert (code, out) == (2, "")
    assert "ids from stdin are deleted with --yes only" in err
    assert own_sandbox.requests == []


def test_delete_of_more_ids_from_stdin_than_the_maximum_is_refused(
    run: Run, own_sandbox: Sandbox, piped: io.StringIO
) -> None:
    piped.write("infer-a\ninfer-b\n")
    piped.seek(0)

    code, _, err = run("delete", "-", "--yes", "--max-tasks", "1")

    assert code == 2
    assert "stdin has 2 ids, and --max-tasks is 1" in err
    assert own_sandbox.requests == []


@pytest.mark.parametrize("options", [("--json",), ("--json", "--name", "nothing")])
def test_delete_of_json_from_stdin_is_refused(
    run: Run, own_sandbox: Sandbox, piped: io.StringIO, options: tuple[str, ...]
) -> None:
    own_sandbox.add_tasks(2)
    piped.write(run("list", *options).out)
    piped.seek(0)

    code, out, err = run("delete", "-", "--yes")

    assert (code, out, len(own_sandbox.requests)) == (2, "", 1)
    assert "stdin holds JSON and not ids; pipe what -q prints" in err


def test_delete_of_no_ids_from_stdin_succeeds(run: Run, piped: io.StringIO) -> None:
    assert piped.read() == ""

    code, out, _ = run("delete", "-", "--yes")

    assert (code, out) == (0, "")


def test_delete_takes_from_stdin_what_list_prints(run: Run, own_sandbox: Sandbox, piped: io.StringIO) -> None:
    own_sandbox.add_tasks(3)
    piped.write(run("list").out)
    piped.seek(0)

    code, out, err = run("delete", "-", "--yes")

    assert code == 0
    assert [line.split("\t")[1] for line in out.splitlines()] == ["deleted"] * 3
    assert err.startswith("3 deleted; account ")
    assert own_sandbox.tasks == {}


def test_delete_of_several_reports_each_and_goes_on_after_a_refusal(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-b", run_status="Running")

    code, out, err = run("delete", "infer-b", "infer-a", "infer-b")

    assert code == 1
    assert out == (
        "infer-b\tfailed\tREQUEST-ID\tTask infer-b is Running and cannot be deleted [InvalidTaskStatus]\n"
        "infer-a\tdeleted\tREQUEST-ID\n"
    )
    assert err.startswith("1 deleted, 1 failed; account ")
    assert "\nHint: Stop it first with stop_first=True (--stop-first)" in err


def test_delete_of_several_as_json_prints_the_report(run: Run, own_sandbox: Sandbox) -> None:
    ids = own_sandbox.add_tasks(2)

    _, out, err = run("delete", *ids, "--json")

    report = BulkReport.model_validate_json(out)
    assert (report.counts["deleted"], [it.task_id for it in report], err) == (2, ids, "")


def test_delete_of_several_as_ids_prints_those_that_went(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-b", run_status="Running")

    assert run("delete", "infer-a", "infer-b", "-q").out == "infer-a\n"


def test_delete_of_several_with_refused_keys_ends_with_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    assert run("delete", "infer-a", "infer-b", "--max-workers", "1").code == 2


def test_delete_with_a_journal_keeps_the_task(run: Run, own_sandbox: Sandbox, tmp_path: Path) -> None:
    own_sandbox.add_task("infer-a", name="nightly")
    journal = tmp_path / "journal.jsonl"

    assert run("delete", "infer-a", "--journal", str(journal)).code == 0
    assert "nightly" in journal.read_text("utf-8")


def test_stop_prints_the_state(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    assert run("stop", "infer-a") == (0, "infer-a\tStopping\tREQUEST-ID\n", "")


def test_stop_of_a_task_that_has_ended_is_no_error(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    assert run("stop", "infer-a") == (0, "infer-a\tDone\tREQUEST-ID\n", "")


def test_stop_of_several_reports_each(run: Run, own_sandbox: Sandbox) -> None:
    ids = own_sandbox.add_tasks(2, run_status="Running")

    code, out, err = run("stop", *ids)

    assert (code, [line.split("\t")[:2] for line in out.splitlines()]) == (
        0,
        [[it, "stopping"] for it in ids],
    )
    assert err.startswith("2 stopped; account ")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_delete_of_several_cut_off_by_a_signal_prints_its_report(
    run: Run, own_sandbox: Sandbox, number: signal.Signals, code: int
) -> None:
    ids = own_sandbox.add_tasks(20)

    def cut_off(answer: object) -> object:
        os.kill(os.getpid(), number)
        return answer

    own_sandbox.inject(Fault.transform(cut_off), task_id=ids[5])
    own_sandbox.inject(Fault.slow(0.1), skip=5, times=None)  # the signal comes before the last task's turn

    ran = run("delete", *ids, "--max-workers", "1")

    reported = dict(line.split("\t")[:2] for line in ran.out.splitlines())
    assert ran.code == code
    assert list(reported) == ids
    assert {it for it, outcome in reported.items() if outcome != "deleted"} == own_sandbox.tasks.keys()
    assert reported[ids[-1]] == "not_tried"
    assert ran.err.startswith("Finishing 1 in flight; Ctrl-C again leaves them unknown.\n")
    assert " not_tried; account " in ran.err
    assert ran.err.endswith("Interrupted.\n")


def _cut_off(answer: object) -> object:
    os.kill(os.getpid(), signal.SIGINT)
    return answer


@pytest.mark.parametrize(
    ("command", "cut_at", "told"),
    [
        ("delete", "Delete", "Whether infer-a was deleted is not known"),
        (
            "delete --stop-first",
            "Stop",
            "infer-a may have been told to stop, and may have been deleted after that",
        ),
        ("stop", "Stop", "infer-a may have been told to stop"),
    ],
)
def test_a_command_cut_off_says_what_is_not_known(
    run: Run, own_sandbox: Sandbox, command: str, cut_at: str, told: str
) -> None:
    own_sandbox.add_task("infer-a", run_status="Done" if command == "delete" else "Running")
    own_sandbox.inject(Fault.transform(_cut_off), action=f"{cut_at}BatchInferenceTask")

    assert run(*command.split(), "infer-a") == (
        130,
        "",
        f"{told}; look: qf-tasks get infer-a\nInterrupted.\n",
    )


def test_a_command_cut_off_as_json_says_what_is_not_known_in_one_object(
    run: Run, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.inject(Fault.transform(_cut_off), action="DeleteBatchInferenceTask")

    code, out, err = run("delete", "infer-a", "--json")

    error = json.loads(err)
    assert (code, out, error["exit_code"]) == (130, "", 130)
    assert error["hint"] == "Whether infer-a was deleted is not known; look: qf-tasks get infer-a"


def test_delete_of_several_on_a_terminal_tells_the_reasons_below_the_table(
    run_on_screen: Run, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-b", run_status="Running")

    code, out, err = run_on_screen("delete", "infer-a", "infer-b")

    assert code == 1
    assert out == (
        "TASK ID  OUTCOME  REQUEST ID\ninfer-a  deleted  REQUEST-ID\ninfer-b  failed   REQUEST-ID\n"
    )
    assert err.startswith(
        "infer-b failed: Task infer-b is Running and cannot be deleted [InvalidTaskStatus]\n"
        "1 deleted, 1 failed; account "
    )
