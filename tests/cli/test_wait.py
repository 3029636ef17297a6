"""Waiting: what is shown meanwhile, the results, and the exit code."""

from __future__ import annotations

import json
import signal

import pytest

from qf_tasks.sandbox import Sandbox

from .conftest import Run, RunOnTerminal, interrupt_with


def test_wait_in_a_pipe_prints_changes_of_state_and_then_the_tasks(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running", ends_after=100, progress=7)
    own_sandbox.add_task("infer-b")

    code, out, err = run("wait", "infer-a", "infer-b")

    assert code == 0
    assert [line.split("\t")[:2] for line in out.splitlines()] == [["infer-a", "Done"], ["infer-b", "Done"]]
    assert [line.split()[1:3] for line in err.splitlines()] == [
        ["infer-a", "Running"],
        ["infer-b", "Done"],
        ["infer-a", "Done"],
    ]


def test_wait_in_a_pipe_prints_no_line_for_progress_alone(run: Run) -> None:
    created = run(
        *("create", "--name", "nightly", "--endpoint", "ernie-x1-turbo-32k", "-q"),
        *("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/"),
    )

    _, _, err = run("wait", created.out.strip())

    states = [line.split()[2] for line in err.splitlines()]
    assert sorted(set(states), key=states.index) == states
    assert states[-1] == "Done"


@pytest.mark.parametrize("ends_as", ["Failed", "Stopped", "Expired"])
def test_wait_for_a_task_that_fails_shows_why_and_ends_with_1(
    run: Run, own_sandbox: Sandbox, ends_as: str
) -> None:
    own_sandbox.add_task("infer-a", run_status=ends_as, error_code=336100, error_reason="input is empty")

    code, out, err = run("wait", "infer-a")

    assert (code, out.split("\t")[:2]) == (1, ["infer-a", ends_as])
    reason = "input is empty [336100]" if ends_as == "Failed" else "the service gives no reason"
    assert f"infer-a {ends_as}: {reason}\n" in err


def test_wait_on_a_terminal_shows_the_output_of_a_task_that_is_done(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")

    _, screen, _ = run_on_terminal("wait", "infer-a")

    assert screen[-1].startswith("infer-a output: bos:/sandbox/out/")


def test_wait_with_a_mistyped_id_waits_for_the_others(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running", ends_after=60)

    code, out, err = run("wait", "infer-typo", "infer-a")

    assert (code, out.split("\t")[:2]) == (1, ["infer-a", "Done"])
    assert "Error: " in err
    assert "infer-typo" in err


@pytest.mark.parametrize("ids", [["infer-a"], ["infer-a", "infer-typo"]])
def test_wait_as_json_prints_one_object_however_many_ids(
    run: Run, own_sandbox: Sandbox, ids: list[str]
) -> None:
    own_sandbox.add_task("infer-a")

    _, out, err = run("wait", *ids, "--json")

    printed = json.loads(out)
    assert ([task["task_id"] for task in printed["tasks"]], err) == (["infer-a"], "")
    assert [error["task_id"] for error in printed["errors"]] == ids[1:]


def test_wait_with_events_prints_each_change_on_a_line(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running", ends_after=60)

    code, out, err = run("wait", "infer-a", "infer-typo", "--events")

    events = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (1, "")
    *changes, error, end = events
    assert {event["event"] for event in changes} == {"task"}
    assert [changes[0]["task"]["run_status"], changes[-1]["task"]["run_status"]] == ["Running", "Done"]
    assert (error["event"], error["error"]["task_id"]) == ("error", "infer-typo")
    assert (end["event"], end["done"], end["failed"], end["pending"]) == ("end", ["infer-a"], [], [])


def test_wait_past_its_limit_ends_with_4_and_names_what_is_pending(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    code, out, err = run("wait", "infer-a", "--timeout", "5m", "--json")

    assert code == 4
    assert [task["run_status"] for task in json.loads(out)["tasks"]] == ["Running"]
    assert json.loads(err)["pending"] == ["infer-a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_wait_interrupted_shows_the_tasks_and_stops_none(
    run: Run, own_sandbox: Sandbox, number: signal.Signals
) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    own_sandbox.inject(interrupt_with(number), action="DescribeBatchInferenceTask", skip=1)

    code, out, err = run("wait", "infer-a")

    assert (code, out.split("\t")[:2]) == (128 + number, ["infer-a", "Running"])
    assert err.splitlines()[-1] == "Interrupted."
    assert own_sandbox.tasks["infer-a"]["runStatus"] == "Running"


@pytest.mark.parametrize("limit", ["16.8h", "0.1w", "none"])
def test_wait_accepts_a_limit_in_any_unit(run: Run, own_sandbox: Sandbox, limit: str) -> None:
    own_sandbox.add_task("infer-a", run_status="Running", ends_after=60_000)

    assert run("wait", "infer-a", "--timeout", limit, "--poll-interval", "1h").code == 0


def test_wait_over_40_tasks_on_a_terminal_neither_flickers_nor_leaves_lines_behind(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    ids = [own_sandbox.add_task(run_status="Running", ends_after=10 + index) for index in range(40)]

    code, screen, written = run_on_terminal("wait", *ids, "--poll-interval", "2s")

    assert code == 0
    assert len(screen) == 1 + 40 + 40  # the table, and the output of each task
    assert [line.split()[0] for line in screen[1:41]] == ids
    assert "of 40 ended" in written
    assert "more" in written
    assert "\x1b[2J" not in written  # the screen is never cleared as a whole
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # nor does the cursor come and go


def test_wait_on_a_terminal_without_colours_is_still_live(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")

    _, _, written = run_on_terminal("wait", "infer-a", colors=False)

    assert "1 of 1 ended" in written
    assert "\x1b[3" not in written


def test_wait_as_ids_prints_them_alone(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    assert run("wait", "infer-a", "-q").out == "infer-a\n"
