"""Whatever is typed, the command ends with one of its exit codes, and without a traceback."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks import TaskClient
from qf_tasks.__main__ import main
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Sandbox
from tests.clients import SandboxTime

from .operations import TASKS

pytestmark = pytest.mark.fuzz

RunArguments = Callable[[list[str], str], tuple[int, str]]

_CREATION = ["--name", "nightly", "--input-bos-uri", "bos:/b/i", "--output-bos-uri", "bos:/b/o"]
_JOB = ["plan.json", "--bos-uri", "bos:/bucket/job/", "--endpoint", "e"]
# What each requires, then what it accepts; without `sandbox` and `demo`, which take their time.
_COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "create": (
        [*_CREATION, "--endpoint", "e"],
        [
            *("--name", "--endpoint", "--model-id", "--param", "--extra", "--description", "--data-format"),
            *("--quota-timeout", "--from-file", "--dry-run", "--timeout"),
        ],
    ),
    "get": (["infer-1"], ["infer-1", "-", "--max-tasks"]),
    "list": (
        [],
        ["--status", "--name", "--older-than", "--limit", "--page-size", "--sort", "--columns", "--watch"],
    ),
    "stop": (["infer-1"], ["--max-workers", "--max-tasks", "-"]),
    "delete": (
        ["infer-1", "--stop-first"],
        [
            *("--stop-timeout", "--max-workers", "--max-tasks", "--journal", "--dry-run", "--yes"),
            *("--missing-ok", "-"),
        ],
    ),
    "wait": (["infer-1"], ["--timeout", "--poll-interval", "infer-2", "-", "--events"]),
    "purge": (
        ["--run-status", "running", "--stop-first"],
        [
            *("--yes", "--dry-run", "--plan", "--journal", "--name", "--older-than", "--creator"),
            *("--keep-newest", "--max-tasks"),
        ],
    ),
    "models": ([], ["--json"]),
    "configure": ([], ["--base-url", "--no-check", "--force"]),
    "whoami": ([], ["--offline"]),
    "completion": ([], ["bash", "fish"]),
    "doctor": ([], ["--profile", "--env-file", "--bos-uri"]),
    "config": ([], ["--example", "--config"]),
    "upload": (["plan.json", "bos:/bucket/in/"], ["--dry-run", "-", "bos:/bucket/in/"]),
    "results": (["infer-1"], ["--missing", "--failures", "--ordered", "-o", "--timeout"]),
    "download": (["infer-1", "plan.json"], ["--json"]),
    "submit": (_JOB, ["--name", "--param", "--max-records-per-task", "--shard-retries", "--wait", "-"]),
    "run": (_JOB, ["--output", "--ordered", "--timeout", "--poll-interval", "--on-terminate"]),
    "status": (["bos:/bucket/in/"], ["--json"]),
    "retry-failures": (["bos:/bucket/in/"], ["--wait"]),
}
_any_argument = st.text(st.characters(exclude_characters="\0/"), max_size=9)
_values = _any_argument | st.sampled_from(
    [
        *(
            *TASKS,
            "Done",
            "running,done",
            "30d",
            "0",
            "1",
            "5m",
            "none",
            "-1",
            "nan",
            "1e999",
            "9" * 400 + "s",
        ),
        *("bos:/bucket/in/", "bos://bucket/in", "temperature=0.2", 'k={"a":', "k=[[", "=", "n*", "nightly"),
        *("plan.json", "journal.jsonl", "missing.toml", "ernie-x1-turbo-32k", "amv-1", "default"),
    ]
)
_common = st.sampled_from([[], ["--json"], ["-q"], ["--yes"], ["-h"], ["-o", "json"], ["--profile", "night"]])


@st.composite
def _nearly_right(draw: st.DrawFn) -> list[str]:
    """Draw a command with what it requires, and what it accepts with any values."""
    command = draw(st.sampled_from([*_COMMANDS]))
    required, accepted = _COMMANDS[command]
    odd = draw(
        st.lists(
            st.tuples(st.sampled_from(accepted), _values) | st.tuples(st.sampled_from(accepted)), max_size=3
        )
    )
    return [command, *required, *(argument for part in odd for argument in part), *draw(_common)]


_options = st.sampled_from(sorted({option for _, accepted in _COMMANDS.values() for option in accepted}))
_any_arguments = st.lists(st.sampled_from([*_COMMANDS]) | _options | _values, max_size=9)


@pytest.fixture
def run_arguments(
    sandbox: Sandbox,
    sandbox_time: SandboxTime,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> RunArguments:
    """Return what runs a command against running tasks, and returns its exit code and stderr."""
    for name, value in sandbox.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QF_TASKS_MAX_RETRIES", "0")
    monkeypatch.setattr(TaskClient, "_clock", Clock(sandbox_time.now, sandbox_time.sleep))

    def run_arguments(arguments: list[str], answer: str) -> tuple[int, str]:
        sandbox.reset()
        for task_id in TASKS:
            sandbox.add_task(task_id, run_status="Running", ends_after=60)
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        return main(arguments), capsys.readouterr().err

    return run_arguments


@given(arguments=_nearly_right(), answer=st.sampled_from(["y\n", "n\n", "infer-2\n", ""]) | _any_argument)
def test_a_command_with_any_values_ends_with_an_exit_code(
    run_arguments: RunArguments, arguments: list[str], answer: str
) -> None:
    code, printed = run_arguments(arguments, answer)
    assert 0 <= code <= 5
    assert "Traceback" not in printed


@given(arguments=_any_arguments)
def test_any_arguments_end_with_an_exit_code(run_arguments: RunArguments, arguments: list[str]) -> None:
    code, printed = run_arguments(arguments, "")
    assert 0 <= code <= 5
    assert "Traceback" not in printed
