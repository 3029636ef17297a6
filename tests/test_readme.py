"""The README's examples run, and it leaves out no command, error or setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import qf_tasks
from qf_tasks import Settings, TaskClient
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Sandbox
from tests.clients import SandboxTime

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARED = README.partition("All of them take ")[2].partition("Keys are never options.")[0]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def surrounding(sandbox: Sandbox, sandbox_time: SandboxTime, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return a sandbox with the README's tasks; every `TaskClient()` finds it, and lives in its time."""
    for name, value in sandbox.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(TaskClient, "_clock", Clock(sandbox_time.now, sandbox_time.sleep))
    sandbox.add_task("infer-9ia3kc1wt9mp", run_status="Done")
    sandbox.add_task("infer-7k2m9q4x1abc", run_status="Running")
    return sandbox


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.strip().splitlines()[-1][:40])
def test_example_of_the_readme_run_works(example: str, surrounding: Sandbox) -> None:
    namespace: dict[str, object] = {"__name__": "readme"}
    exec(compile(example, "README.md", "exec"), namespace)
    for name, test in namespace.items():
        if name.startswith("test_") and callable(test):
            surrounding.reset()
            test(surrounding)
    assert not surrounding.unexpected


def test_readme_errors_are_all_there() -> None:
    roots = {"QfTasksError", "TaskError"}
    errors = {name for name in dir(qf_tasks) if name.endswith("Error") or name == "BulkInterrupted"}
    assert {name for name in errors - roots if f"`{name}`" not in README} == set()


def test_readme_settings_are_all_there() -> None:
    assert [name for name in Settings.model_fields if f"`{name}`" not in README] == []


def test_readme_commands_are_all_there_with_their_help_and_options() -> None:
    from typer.main import get_command

    from qf_tasks.cli.app import app

    for name, command in vars(get_command(app))["commands"].items():
        row = next((line for line in README.splitlines() if line.startswith(f"| `qf-tasks {name}")), "")
        assert command.get_short_help_str(200) in row
        spelled = {word for it in command.params for word in (*it.opts, *it.secondary_opts) if "--" in word}
        missing = {word for word in spelled if f"`{word}" not in row and f"`{word}`" not in SHARED}
        assert not missing, name
