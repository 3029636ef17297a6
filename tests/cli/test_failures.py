"""What goes wrong, in one or two lines, as an object, and as an exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qf_tasks
from qf_tasks.__main__ import main
from qf_tasks.cli._errors import exit_code, exit_code_of_many
from qf_tasks.errors import QfTasksError
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run

_CHECKOUT = Path(qf_tasks.__file__).parents[1]
_CODES = {
    "QfTasksError": 1,
    "ConfigurationError": 2,
    "InvalidArgumentError": 2,
    "ServiceUnreachableError": 3,
    "RequestTimeoutError": 3,
    "BadResponseError": 1,
    "ApiError": 1,
    "AuthenticationError": 2,
    "PermissionDeniedError": 1,
    "InvalidRequestError": 1,
    "TaskNotFoundError": 1,
    "TaskStateError": 1,
    "QuotaExceededError": 1,
    "RateLimitError": 1,
    "ServerError": 1,
    "OutcomeUnknownError": 5,
    "TaskError": 1,
    "TaskFailedError": 1,
    "WaitTimeoutError": 4,
    "BulkError": 1,
}


def _tree(error: type[QfTasksError]) -> Iterator[type[QfTasksError]]:
    yield error
    for below in error.__subclasses__():
        yield from _tree(below)


def test_every_error_class_has_its_exit_code() -> None:
    assert {error.__name__: exit_code(error) for error in _tree(QfTasksError)} == _CODES


@pytest.mark.parametrize("code", ["0", "1", "2", "3", "4", "5", "130", "143", "129"])
def test_every_exit_code_is_in_the_help(run: Run, code: str) -> None:
    assert f" {code} " in run("--help").out


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["AuthenticationError", "AuthenticationError"], 2),
        (["RequestTimeoutError", "ServiceUnreachableError"], 3),
        (["AuthenticationError", "TaskStateError"], 1),
        (["of a later version"], 1),
        ([], 1),
    ],
)
def test_many_failures_have_their_own_code_where_they_agree(kinds: list[str], code: int) -> None:
    assert exit_code_of_many(kinds) == code


def test_a_refusal_is_told_in_two_lines(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-runs", run_status="Running")

    assert run("delete", "infer-runs") == (
        1,
        "",
        "Error: Task infer-runs is Running and cannot be deleted [InvalidTaskStatus, request id REQUEST-ID]\n"
        "Hint: Stop it first with stop_first=True (--stop-first), or wait until it has ended. "
        "任务状态为 Running，请先停止，或等待其结束后再删除。\n",
    )


def test_an_error_as_json_is_one_object_on_one_line(run: Run) -> None:
    code, out, err = run("--json", "get", "infer-gone")

    error = json.loads(err)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert (error["error"], error["exit_code"], error["code"]) == ("TaskNotFoundError", 1, "TaskNotFound")
    assert (error["status"], error["task_id"], error["retryable"]) == (404, "infer-gone", False)


def test_refused_keys_end_with_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    code, out, err = run("get", "infer-x")

    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert "[SignatureDoesNotMatch, request id REQUEST-ID]\nHint: " in err


def test_missing_keys_end_with_2_and_the_places_looked_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["list"])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith("Error: No access key and secret key found. Looked at ")


def test_a_service_out_of_reach_ends_with_3(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.stop()

    code, out, err = run("get", "infer-x")

    assert (code, out) == (3, "")
    assert "Error: No connection was made" in err
    assert err.count("Warning: ") == 3  # each repeat is told


def test_a_create_with_unknown_outcome_ends_with_5(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(Fault.reset_after(), action="CreateBatchInferenceTask")
    own_sandbox.inject(Fault.status(500), action="DescribeBatchInferenceTasks", times=None)

    code, out, err = run(
        *("create", "--name", "nightly", "--endpoint", "ernie-x1-turbo-32k"),
        *("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/", "--json"),
    )

    assert (code, out) == (5, "")
    assert json.loads(err)["candidates"] == []


def test_an_error_as_json_stands_alone_though_the_request_was_repeated(
    run: Run, own_sandbox: Sandbox
) -> None:
    own_sandbox.stop()

    code, out, err = run("get", "infer-x", "--json")

    assert (code, out, json.loads(err)["error"]) == (3, "", "ServiceUnreachableError")


def test_debug_with_json_tells_the_rest_too(run: Run) -> None:
    *told, error = run("get", "infer-gone", "--json", "--debug").err.splitlines()

    assert "Traceback (most recent call last):" in told
    assert json.loads(error)["error"] == "TaskNotFoundError"


def test_debug_tells_requests_and_traceback_without_a_secret(run: Run, own_sandbox: Sandbox) -> None:
    code, _, err = run("get", "infer-gone", "--debug")

    assert code == 1
    assert "Debug: " in err
    assert "Traceback (most recent call last):" in err
    assert own_sandbox.secret_key not in err
    assert "bce-auth-v1/" not in err


def test_without_debug_no_traceback_is_told(run: Run) -> None:
    assert "Traceback" not in run("get", "infer-gone").err


def test_an_unforeseen_error_is_told_in_two_lines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("of our own")

    monkeypatch.setattr(qf_tasks.TaskClient, "get", broken)

    assert run("get", "infer-x") == (
        1,
        "",
        "Error: RuntimeError: of our own\nHint: This should not happen; --debug shows where it did.\n",
    )


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["delte", "x"], "'delete'"),
        (["list", "--limt", "3"], "--limit"),
        (["get", "x", "--jsno"], "--json"),
        (["--profil", "x", "list"], "--profile"),
        (["list", "--run-status", "dnoe"], "'Done'"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(run: Run, words: list[str], nearest: str) -> None:
    code, out, err = run(*words)

    assert (code, out, err.count("\n")) == (2, "", 2)
    assert nearest in err


def test_a_mistyped_profile_is_answered_with_the_nearest(run: Run) -> None:
    Path("settings.toml").write_text("[profiles.production]\n", "utf-8")

    code, _, err = run("list", "--config", "settings.toml", "--profile", "prodution")

    assert code == 2
    assert "did you mean production?" in err


def test_a_broken_settings_file_is_named_with_line(run: Run) -> None:
    Path("settings.toml").write_text("\naccess_key = \n", "utf-8")

    code, _, err = run("--config", "settings.toml", "list")

    assert code == 2
    assert "settings.toml is not valid TOML" in err
    assert "(line 2, column " in err


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["wait", "x", "--timeout", "soon"], "'soon' is neither seconds nor 90s, 5m, 2h, 30d or 1w"),
        (["wait", "x", "--poll-interval", "-1"], "'-1' is neither seconds nor"),
        (["delete", "x", "--stop-timeout", "1y"], "'1y' is neither seconds nor"),
        (["list", "--run-status", ""], "--run-status: it names nothing; is a variable not set?"),
        (["list", "--run-status", " , "], "--run-status: it names nothing"),
        (["list", "--older-than", "30"], "older_than must be a number with a unit, not '30'"),
        (["list", "--limit", "-1"], "--limit"),
        (["delete"], "TASK_ID"),
        (["create", "--name", "ab"], "--input-bos-uri"),
    ],
)
def test_a_bad_value_is_answered_with_its_rule(run: Run, words: list[str], rule: str) -> None:
    code, out, err = run(*words)

    assert (code, out) == (2, "")
    assert rule in err


def test_a_parameter_without_value_is_answered_with_its_rule(run: Run) -> None:
    code, _, err = run(
        *("create", "--name", "ab", "--endpoint", "e", "--param", "temperature"),
        *("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/"),
    )

    assert code == 2
    assert "'temperature' is not KEY=VALUE, such as temperature=0.2" in err


def test_wrong_usage_as_json_is_one_object(run: Run) -> None:
    code, out, err = run("delete", "--json")

    error = json.loads(err)
    assert (code, out) == (2, "")
    assert (error["error"], error["exit_code"], error["hint"]) == ("UsageError", 2, "qf-tasks delete --help")


def test_no_option_takes_a_key(run: Run) -> None:
    for command in ([], ["create"], ["delete"], ["doctor"], ["sandbox"]):
        assert re.findall(r"--\S*(?:key|secret|token)\S*", run(*command, "--help").out) == []


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_one_line_that_names_it(missing: str) -> None:
    program = (
        f"import sys; sys.modules['{missing}'] = None; from qf_tasks.__main__ import main; sys.exit(main())"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program, "list"], capture_output=True, text=True, check=False, cwd=_CHECKOUT
    )

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f'Error: {missing} is missing. Hint: pip install "qf-tasks[cli]"\n'


def test_a_missing_sandbox_extra_is_one_line_that_names_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("qf_tasks.sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(qf_tasks, "sandbox")
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    assert run("demo") == (2, "", "Error: the sandbox needs aiohttp: pip install 'qf-tasks[sandbox]'\n")
