"""What goes wrong: in one or two lines, as an object, and as an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qf_tasks
from qf_tasks.__main__ import main
from qf_tasks.cli.errors import exit_code_of
from qf_tasks.cli.registry import build
from qf_tasks.cli.wording import in_options, names_of, without_chinese
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


def test_exit_code_of_every_error_class_is_in_the_table() -> None:
    codes = {error.__name__: exit_code_of([error.__name__]) for error in _tree(QfTasksError)}

    assert {name: codes[name] for name in _CODES} == _CODES


def test_help_names_every_exit_code(run: Run) -> None:
    out = run("--help").out

    assert [code for code in (0, 1, 2, 3, 4, 5, 130, 143, 129) if f" {code} " not in out] == []


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["AuthenticationError", "AuthenticationError"], 2),
        (["RequestTimeoutError", "ServiceUnreachableError"], 3),
        (["AuthenticationError", "TaskStateError"], 1),
        (["OfALaterVersion"], 1),
        ([], 1),
    ],
)
def test_exit_code_of_several_errors_is_their_own_if_all_agree(kinds: list[str], code: int) -> None:
    assert exit_code_of(kinds) == code


def test_a_rejection_is_two_lines(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(Fault.status(403, code="OptInRequired"), action="DescribeBatchInferenceModel")

    code, out, err = run("models")

    assert (code, out, err.count("\n")) == (1, "", 2)
    assert err.startswith("Error: ")
    assert "[OptInRequired, request id REQUEST-ID]\nHint: " in err


def test_an_error_as_json_is_one_object_on_one_line(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(Fault.status(503), times=None)

    code, out, err = run("models", "--json")

    error = json.loads(err)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert (error["error"], error["exit_code"], error["status"]) == ("ServerError", 1, 503)
    assert error["retryable"] is True


@pytest.mark.parametrize(
    "arguments", [["get", "infer-x"], ["whoami"], ["delete", "infer-a", "infer-b", "--max-workers", "1"]]
)
def test_rejected_keys_end_with_2(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    code, _, err = run(*arguments)

    assert (code, "Hint: " in err) == (2, True)


def test_missing_keys_end_with_2_and_name_the_places_searched(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["list"])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith("Error: No access key and secret key found.")


def test_a_service_out_of_reach_ends_with_3_and_without_a_line_for_each_retry(
    run: Run, own_sandbox: Sandbox
) -> None:
    own_sandbox.stop()

    code, out, err = run("get", "infer-x", "-q")

    assert (code, out) == (3, "")
    assert err.startswith("Error: ")


def test_a_create_with_unknown_outcome_ends_with_5(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(Fault.reset_after(), action="CreateBatchInferenceTask")
    own_sandbox.inject(Fault.status(500), action="DescribeBatchInferenceTasks", times=None)

    code, out, err = run(
        *("create", "--name", "nightly", "--endpoint", "ernie-x1-turbo-32k"),
        *("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/", "--json"),
    )

    assert (code, out, json.loads(err)["candidates"]) == (5, "", [])


def test_debug_prints_requests_and_traceback_without_a_secret(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(Fault.status(400, code="InvalidArgument"), action="DescribeBatchInferenceModel")

    code, _, err = run("models", "--debug")

    assert (code, "Debug: " in err, "Traceback (most recent call last):" in err) == (1, True, True)
    assert own_sandbox.secret_key not in err
    assert "bce-auth-v1/" not in err


def test_debug_with_json_prints_one_object_last(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(Fault.status(400, code="InvalidArgument"), action="DescribeBatchInferenceModel")

    *lines, error = run("models", "--json", "--debug").err.splitlines()

    assert "Traceback (most recent call last):" in lines
    assert json.loads(error)["error"] == "InvalidRequestError"


def test_an_unforeseen_error_is_two_lines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("of our own")

    monkeypatch.setattr(qf_tasks.TaskClient, "models", broken)

    assert run("models") == (
        1,
        "",
        "Error: RuntimeError: of our own\nHint: This should not happen; --debug shows where it did.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["delte", "x"], "'delete'"),
        (["list", "--limt", "3"], "--limit"),
        (["get", "x", "--jsno"], "--json"),
        (["--profil", "x", "list"], "--profile"),
        (["list", "--status", "dnoe"], "'Done'"),
    ],
)
def test_a_mistyped_argument_gets_the_nearest_as_answer(run: Run, arguments: list[str], nearest: str) -> None:
    code, out, err = run(*arguments)

    assert (code, out, err.count("\n")) == (2, "", 2)
    assert nearest in err


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (
            ["wait", "x", "--timeout", "soon"],
            "'--timeout': 'soon' is not a duration with a unit: 90s, 5m, 2h",
        ),
        (["wait", "x", "--timeout", "90"], "'--timeout': '90' is not a duration with a unit"),
        (["wait", "x", "--poll-interval", "-1"], "'--poll-interval': '-1' is not a duration"),
        (["delete", "x", "--stop-timeout", "1y"], "'--stop-timeout': '1y' is not a duration"),
        (["delete", "x", "--max-workers", "0"], "--max-workers"),
        (["list", "--status", ""], "'--status' / '--run-status': no state is named; is a variable not set?"),
        (["list", "--run-status", " , "], "'--status' / '--run-status': no state is named"),
        (["list", "--older-than", "30"], "--older-than must "),
        (["list", "--limit", "-1"], "'--limit': must be at least 0\n"),
        (["list", "--limit", "x"], "'--limit': not a whole number\n"),
        (["list", "-o", "xml"], "'--output' / '-o': 'xml' is not one of 'json', 'ids'\n"),
        (["sandbox", "--speed", "x"], "'--speed': not a number\n"),
        (["delete"], "ID"),
    ],
)
def test_a_bad_value_gets_its_rule_as_answer_before_any_request(
    run: Run, own_sandbox: Sandbox, arguments: list[str], rule: str
) -> None:
    code, out, err = run(*arguments)

    assert (code, out, own_sandbox.requests) == (2, "", [])
    assert rule in err


def test_wrong_usage_as_json_is_one_object(run: Run) -> None:
    code, out, err = run("delete", "--json")

    error = json.loads(err)
    assert (code, out) == (2, "")
    assert (error["error"], error["exit_code"], error["hint"]) == ("UsageError", 2, "qf-tasks delete --help")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Stop it first with stop_first=True (--stop-first), or wait",
            "Stop it first with --stop-first, or wait",
        ),
        ("Delete it again with stop_first=True.", "Delete it again with --stop-first."),
        (
            "12 tasks match, more than max_tasks=5; raise max_tasks.",
            "12 tasks match, more than --max-tasks 5; raise --max-tasks.",
        ),
        ("or pass profile='test'.", "or pass --profile 'test'."),
        ("name must be 2 to 20 characters", "--name must be 2 to 20 characters"),
        ("list(name='x') (qf-tasks list --name), wait", "qf-tasks list --name 'x', wait"),
        ("config_file='x.toml' is missing", "--config 'x.toml' is missing"),
        ("inference_params must be a mapping", "--param must be a mapping"),
        (
            "Exactly one of endpoint and model_id must be given",
            "Exactly one of --endpoint and --model-id must be given",
        ),
        ("bos_uri must be text, not int", "BOS_URI must be text, not int"),
        ("records must hold at least one record", "FILE must hold at least one record"),
        ("part-1.jsonl has records that are invalid", "part-1.jsonl has records that are invalid"),
        ("Check the task's run_status and error_reason.", "Check the task's run_status and error_reason."),
        ("the name of base_url cannot be resolved", "the name of base_url cannot be resolved"),
    ],
)
def test_a_message_names_options_in_the_place_of_python_arguments(message: str, expected: str) -> None:
    group = build()
    params = [param for name in ("create", "purge", "upload") for param in group.commands[name].params]

    assert in_options(message, names_of(params)) == expected


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("Wait, or stop one. 任务数已达上限，请等待。", "Wait, or stop one."),
        (
            "Check the pair (安全认证 Access Key / Secret Key). 请检查 Access Key。",
            "Check the pair (Access Key / Secret Key).",
        ),
        ("No Chinese at all.", "No Chinese at all."),
    ],
)
def test_a_hint_loses_its_chinese_where_the_terminal_cannot_show_it(hint: str, expected: str) -> None:
    assert without_chinese(hint, "ascii") == expected
    assert without_chinese(hint, "gbk") == hint


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_one_line_that_names_it(missing: str) -> None:
    program = (
        f"import sys; sys.modules['{missing}'] = None; from qf_tasks.__main__ import main; sys.exit(main())"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program, "list"], capture_output=True, text=True, check=False, cwd=_CHECKOUT
    )

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f'Error: {missing} is missing. Hint: install qf-tasks with its extra "cli"\n'


def test_a_missing_sandbox_extra_is_one_line_that_names_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("qf_tasks.sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(qf_tasks, "sandbox")
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    code, out, err = run("demo")

    assert (code, out) == (2, "")
    assert "with its extra 'sandbox'" in err
