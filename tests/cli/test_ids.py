"""Ids from arguments and from stdin, which all commands on tasks accept alike."""

from __future__ import annotations

import json

import pytest

from qf_tasks.sandbox import Sandbox

from .conftest import Run

_ON_IDS = [("get",), ("stop",), ("delete", "--yes"), ("wait",)]


@pytest.mark.parametrize("command", _ON_IDS)
def test_ids_from_stdin_are_those_that_list_prints(
    run: Run, own_sandbox: Sandbox, command: tuple[str, ...]
) -> None:
    ids = own_sandbox.add_tasks(3)

    code, out, _ = run(*command, "-", "-q", typed=run("list").out)

    assert (code, sorted(out.split())) == (0, sorted(ids))


@pytest.mark.parametrize("command", _ON_IDS)
def test_ids_beyond_max_tasks_are_refused_before_any_request(
    run: Run, own_sandbox: Sandbox, command: tuple[str, ...]
) -> None:
    code, out, err = run(*command, "infer-a", "-", "--max-tasks", "1", typed="infer-b\n")

    assert (code, out, own_sandbox.requests) == (2, "", [])
    assert "--max-tasks: 2 tasks are more than 1" in err


@pytest.mark.parametrize("command", ["get", "stop", "delete", "wait"])
def test_a_wrong_id_is_refused_before_any_request(run: Run, own_sandbox: Sandbox, command: str) -> None:
    wrong = {"get": "bad id", "stop": ""}.get(command, "infer-\x1b[2J")

    code, _, err = run(command, "infer-a", wrong)

    assert (code, own_sandbox.requests) == (2, [])
    assert f"ID: {wrong!r} is not a task id, such as infer-9ia3kc1wt9mp" in err.replace("\\\\", "\\")


@pytest.mark.parametrize("options", [("--json",), ("--json", "--name", "nothing")])
def test_ids_from_stdin_in_json_are_refused_with_a_hint(
    run: Run, own_sandbox: Sandbox, options: tuple[str, ...]
) -> None:
    own_sandbox.add_tasks(2)

    code, _, err = run("delete", "-", "--yes", typed=run("list", *options).out)

    assert (code, len(own_sandbox.tasks)) == (2, 2)
    assert "stdin has JSON instead of ids; use `qf-tasks list -q`" in err


@pytest.mark.parametrize("command", _ON_IDS)
def test_no_ids_from_stdin_succeed(run: Run, command: tuple[str, ...]) -> None:
    code, out, _ = run(*command, "-")

    assert (code, out) == (0, "")


def test_ids_given_twice_are_handled_once(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    assert len(json.loads(run("delete", "infer-a", "infer-a", "--json").out)["outcomes"]) == 1


def test_ids_from_stdin_to_delete_need_yes(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")

    code, out, err = run("delete", "-", typed="infer-a\n")

    assert (code, out, own_sandbox.requests) == (2, "", [])
    assert "--yes: required to delete ids from stdin" in err
