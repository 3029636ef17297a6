"""Waiting on the command line: what is shown meanwhile, the results, and the exit code."""

from __future__ import annotations

import json
import os
import signal

import pytest

from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run


def test_wait_prints_the_tasks_when_all_have_ended(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running", ends_after=100, progress=7)
    own_sandbox.add_task("infer-b")

    code, out, err = run("wait", "infer-a", "infer-b")

    assert code == 0
    assert [line.split("\t")[:2] for line in out.splitlines()] == [["infer-a", "Done"], ["infer-b", "Done"]]
    assert err == (
        "0:00:00  infer-a  Running  7 records\n"
        "0:00:00  infer-b  Done  100 records\n"
        "0:00:00  infer-a  Done  7 records\n"
    )


@pytest.mark.parametrize("ends_as", ["Failed", "Stopped", "Expired"])
def test_wait_for_a_task_that_ends_badly_prints_it_and_ends_with_1(
    run: Run, own_sandbox: Sandbox, ends_as: str
) -> None:
    own_sandbox.add_task("infer-a", run_status=ends_as)

    code, out, err = run("wait", "infer-a")

    assert code == 1
    assert out.startswith(f"infer-a\t{ends_as}\t")
    told = [line for line in err.splitlines() if not line.startswith("0:00:0")]
    assert told[0] == f"Error: 1 of 1 tasks did not end as Done: infer-a {ends_as}"
    assert [line[:6] for line in told[1:]] == ["Hint: "]


def test_wait_past_its_limit_ends_with_4_and_names_what_goes_on(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    code, out, err = run("wait", "infer-a", "--timeout", "5m", "--json")

    assert code == 4
    assert [task["run_status"] for task in json.loads(out)] == ["Running"]
    assert json.loads(err)["pending"] == ["infer-a"]


def test_wait_as_ids_prints_them_alone(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    assert run("wait", "infer-a", "-q").out == "infer-a\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_wait_interrupted_leaves_the_tasks_alone(
    run: Run, own_sandbox: Sandbox, number: signal.Signals, code: int
) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    def cut_off(answer: object) -> object:
        os.kill(os.getpid(), number)
        return answer

    own_sandbox.inject(Fault.transform(cut_off), action="DescribeBatchInferenceTask")

    ran = run("wait", "infer-a")

    assert ran.code == code
    assert ran.err.splitlines()[-1] == "Interrupted."
    assert own_sandbox.tasks["infer-a"]["runStatus"] == "Running"


@pytest.mark.parametrize("limit", ["60480", "60480s", "1008m", "16.8h", "0.7d", "0.1w", "none"])
def test_wait_takes_a_time_in_any_unit(run: Run, own_sandbox: Sandbox, limit: str) -> None:
    own_sandbox.add_task("infer-a", run_status="Running", ends_after=60_000)

    assert run("wait", "infer-a", "--timeout", limit, "--poll-interval", "1h").code == 0


def test_wait_interrupted_as_json_is_one_object(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")

    def cut_off(answer: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return answer

    own_sandbox.inject(Fault.transform(cut_off), action="DescribeBatchInferenceTask")

    code, _, err = run("wait", "infer-a", "--json")

    assert (code, json.loads(err)) == (
        143,
        {"error": "KeyboardInterrupt", "exit_code": 143, "message": "Interrupted.", "hint": None},
    )


def test_wait_on_a_terminal_as_json_draws_nothing(run_on_screen: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    code, out, err = run_on_screen("wait", "infer-a", "--json", term="xterm")

    assert (code, [it["task_id"] for it in json.loads(out)], err) == (0, ["infer-a"], "")


def test_wait_on_a_terminal_prints_one_table(run_on_screen: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", name="one", run_status="Running", ends_after=100)
    own_sandbox.add_task("infer-b", name="two")

    code, out, _ = run_on_screen("wait", "infer-a", "infer-b")

    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["infer-a", "Done", "one"],
        ["infer-b", "Done", "two"],
    ]


def test_wait_on_a_terminal_draws_the_tasks_that_go_on_first_and_no_more_than_fit(
    run_on_screen: Run, own_sandbox: Sandbox
) -> None:
    ids = own_sandbox.add_tasks(30)

    code, _, err = run_on_screen("wait", *ids, term="xterm")

    assert code == 0
    assert "… and 10 more" in err
    assert "30 of 30 ended, 0:00:0" in err


def test_wait_without_colours_draws_nothing_that_moves(
    run_on_screen: Run, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_sandbox.add_task("infer-a")
    monkeypatch.setenv("NO_COLOR", "1")

    _, _, err = run_on_screen("wait", "infer-a", term="xterm")

    assert err == "0:00:00  infer-a  Done  100 records\n"
