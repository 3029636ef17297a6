"""The examples of the documentation run, and it describes every command, setting, error and field."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import io
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import qf_tasks
from qf_tasks import AsyncTaskClient, RunStatus, Settings, Task, TaskClient
from qf_tasks._runtime.asyncio import AsyncClock
from qf_tasks._runtime.blocking import Clock
from qf_tasks.cli.app import run
from qf_tasks.cli.registry import build
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from qf_tasks.settings.variables import VARIABLES
from tests.clients import SandboxTime

ROOT = Path(__file__).parents[1]
DOCS = ROOT / ".github" / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
}
README = PAGES["README.md"]
CODE = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in ROOT.glob("qf_tasks/**/*.py")}
COMMAND_LINE = build()

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_REFERENCE = re.compile(r"\.github/docs/[\w.-]+\.md(?:#[\w-]+)?")
_INTERACTIVE = ("configure", "sandbox")  # they ask, or serve until Ctrl-C: only their options are checked


class Example(NamedTuple):
    """A block of code in a page."""

    page: str
    number: int
    code: str

    def __str__(self) -> str:
        return f"{Path(self.page).stem}-{self.number}"


def examples_in(language: str) -> list[Example]:
    return [
        Example(page, number, block[2])
        for page, text in PAGES.items()
        for number, block in enumerate(_BLOCK.finditer(text), 1)
        if block[1] == language and not page.endswith("airflow.md")  # tests/airflow runs them
    ]


COMMANDS = [
    pytest.param(example, line, id=f"{example}-{line.partition(' #')[0].strip()}")
    for example in examples_in("sh")
    for line in example.code.splitlines()
    if line.startswith("qf-tasks ")
]


@pytest.fixture
def own_sandbox(sandbox: Sandbox, sandbox_time: SandboxTime, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return a sandbox with the tasks of the examples; clients find it, and their pauses move its clock."""
    for name, value in sandbox.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(TaskClient, "_clock", Clock(sandbox_time.now, sandbox_time.sleep))
    monkeypatch.setattr(AsyncTaskClient, "_clock", AsyncClock(sandbox_time.now, sandbox_time.sleep_on_loop))
    add_tasks(sandbox)
    return sandbox


def add_tasks(sandbox: Sandbox) -> None:
    sandbox.add_task("infer-9ia3kc1wt9mp", run_status="Done", name="nightly-01")
    task = sandbox.tasks["infer-9ia3kc1wt9mp"]
    record = '{"id": "1", "query": "How tall is it?"}\n'
    sandbox.put(f"{task['inputBosUri']}part.jsonl", record)
    sandbox.put(f"{task['outputBosUri']}{task['outputDir']}/part.jsonl", record)
    sandbox.add_task("infer-7k2m9q4x1abc", run_status="Running", ends_after=600)
    sandbox.add_task(run_status="Failed", name="nightly-02")


@pytest.mark.parametrize("example", examples_in("python"), ids=str)
def test_python_example_runs(example: Example, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", fake_fastapi())
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in a notebook
    namespace: dict[str, Any] = {"__name__": "example"}

    code = compile(example.code, str(example), "exec", flags=flags, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))  # noqa: S307
    else:
        exec(code, namespace)

    for name, function in namespace.items():
        if name.startswith("test_"):
            run_test(function, own_sandbox)
    if "app" in namespace:
        assert asyncio.run(namespace["app"].handle("infer-9ia3kc1wt9mp"))["outcome"] == "deleted"
    assert not own_sandbox.unexpected


def run_test(function: Callable[..., None], sandbox: Sandbox) -> None:
    """Call a test of an example with the fixtures that it names."""
    sandbox.reset()
    with sandbox.client() as client:
        fixtures = {"qianfan_sandbox": sandbox, "qianfan_client": client}
        function(**{name: fixtures[name] for name in inspect.signature(function).parameters})
    assert not sandbox.unused_faults


class FakeApp:
    """The part of FastAPI that the examples use."""

    def __init__(self, lifespan: Callable[[FakeApp], AbstractAsyncContextManager[None]]) -> None:
        self.state = ModuleType("state")
        self._lifespan = lifespan
        self._handler: Callable[..., Any] | None = None

    def delete(self, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        assert path == "/tasks/{task_id}"

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            self._handler = handler
            return handler

        return register

    async def handle(self, task_id: str) -> Any:
        assert self._handler
        async with self._lifespan(self):
            return await self._handler(task_id)


def fake_fastapi() -> ModuleType:
    module = ModuleType("fastapi")
    vars(module).update(FastAPI=FakeApp, HTTPException=Exception)
    return module


@pytest.mark.parametrize(("example", "line"), COMMANDS)
def test_shell_example_runs(
    example: Example,
    line: str,
    own_sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert own_sandbox.tasks
    prepare_files(example, line)
    passed = ""
    for stage in line.partition(" #")[0].split("|"):
        program, command, *arguments = shlex.split(stage)
        *arguments, target = split_target(arguments)
        assert program == "qf-tasks", line
        if command in _INTERACTIVE:
            check_options(command, arguments)
            continue
        monkeypatch.setattr(sys, "stdin", io.StringIO(passed))

        code = run([command, *arguments])

        printed = capsys.readouterr()
        assert code == 0, printed.err
        passed = printed.out
        if target:
            Path(target).write_text(passed, "utf-8")


def split_target(arguments: list[str]) -> list[str]:
    """Return arguments with the file that output is redirected to as the last, "" for none."""
    if ">" in arguments:
        return [*arguments[: arguments.index(">")], arguments[-1]]
    return [*arguments, ""]


def prepare_files(example: Example, line: str) -> None:
    """Make the records that an example uploads, and the plan or job that an earlier line of it makes."""
    Path("questions.jsonl").write_text('{"id": "1", "query": "How tall is it?"}\n', "utf-8")
    if job := re.search(r"^qf-tasks [\w-]+ (bos:/my-bucket/jobs/\w+/)", line):
        with TaskClient() as client:
            client.submit("questions.jsonl", bos_uri=job[1], endpoint="ernie-x1-turbo-32k").run()
    if "--plan plan.json" in line:
        assert "> plan.json" in example.code
        with TaskClient() as client:
            Path("plan.json").write_text(client.plan_purge(name="nightly-*").model_dump_json(), "utf-8")


def check_options(command: str, arguments: list[str]) -> None:
    given = {argument for argument in arguments if argument.startswith("-")}
    assert given <= options_of(command)


def options_of(command: str) -> set[str]:
    params = COMMAND_LINE.commands[command].params
    return {"--help"}.union(*(param.opts + param.secondary_opts for param in params))


def test_readme_has_at_most_170_lines() -> None:
    assert len(README.splitlines()) <= 170


@pytest.mark.parametrize("beginning", ["python3 -m venv .venv ", "python3 -m venv .venv-test "])
def test_readme_has_each_command_of_ci_once(beginning: str) -> None:
    assert sum(line.startswith(beginning) for line in README.splitlines()) == 1


def test_every_command_is_in_the_readme() -> None:
    commands = [name for name, command in COMMAND_LINE.commands.items() if not command.hidden]

    assert [name for name in commands if not re.search(rf"`{name}\b", README)] == []


def test_every_option_that_is_mentioned_exists() -> None:
    known = {"--version"}.union(*(map(options_of, COMMAND_LINE.commands)))
    programs = {"--only", "--json", "--docs", "--quick"}  # of the benchmarks

    for page, text in PAGES.items():
        if page.endswith("CONTRIBUTING.md"):
            continue  # it names options of other programs
        mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
        assert mentioned - known - programs == set(), page


def test_every_setting_is_described_with_its_variables() -> None:
    page = PAGES[".github/docs/settings.md"]
    rows = {
        row.partition("`")[2].partition("`")[0]: row for row in page.splitlines() if row.startswith("| `")
    }

    assert [name for name in Settings.model_fields if name not in rows] == []
    for name, variables in VARIABLES.items():
        assert [variable for variable in variables if f"`{variable}`" not in rows[name]] == []


def test_every_exception_is_described() -> None:
    errors = {name for name in dir(qf_tasks) if name.endswith("Error") or name == "BulkInterrupted"}
    page = PAGES[".github/docs/errors.md"]

    assert [name for name in errors if not re.search(rf"^\| (– )?`{name}`", page, re.MULTILINE)] == []


def test_every_exception_of_the_readme_exists() -> None:
    named = set(re.findall(r"`(\w+(?:Error|Interrupted))`", README))

    assert named <= set(dir(qf_tasks))


def test_every_attribute_of_errors_is_described() -> None:
    attributes = vars(qf_tasks.QfTasksError("message"))

    assert [name for name in attributes if f"`{name}`" not in PAGES[".github/docs/errors.md"]] == []


def test_every_outcome_is_described() -> None:
    report = qf_tasks.BulkReport((), qf_tasks.Account("a", "b", "c"))

    assert [name for name in report.counts if f"| `{name}` |" not in PAGES[".github/docs/bulk.md"]] == []


def test_every_field_of_a_task_is_described() -> None:
    rows = [row for row in PAGES[".github/docs/service.md"].splitlines() if row.startswith("| `")]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert {field.name for field in dataclasses.fields(Task)} <= described


def test_every_state_is_described_with_what_it_allows() -> None:
    page = PAGES[".github/docs/service.md"]

    for status in RunStatus.KNOWN:
        row = next(row for row in page.splitlines() if row.startswith(f"| `{status}` |"))
        ended, stop, delete = (cell.strip().rpartition(": ")[2] for cell in row.split("|")[3:6])
        said = tuple(cell == "yes" for cell in (ended, stop, delete))
        assert said == (status.is_final, status.can_stop, status.can_delete)


def test_every_part_of_the_sandbox_is_described() -> None:
    page = PAGES[".github/docs/sandbox.md"]
    faults = [name for name in vars(Fault) if isinstance(vars(Fault)[name], classmethod)]
    fields = [field.name for field in dataclasses.fields(ServerBehavior)]
    members = [name for name in vars(Sandbox) if not name.startswith("_")]

    assert [name for name in faults if f"`Fault.{name}(" not in page] == []
    assert [name for name in fields if f"`{name}`" not in page] == []
    assert [name for name in members if not re.search(rf"`{name}[`(]", page)] == []


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_lead_somewhere(page: str) -> None:
    for link in _LINK.findall(PAGES[page]):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target.read_text("utf-8")), link


@pytest.mark.parametrize("page", PAGES)
def test_labels_of_external_links_are_defined_and_used(page: str) -> None:
    text = PAGES[page]
    defined = set(re.findall(r"^\[([\w-]+)\]: https://\S+$", text, re.MULTILINE))
    used = set(re.findall(r"\]\[([\w-]+)\]", text))

    assert used == defined


def test_links_in_the_code_lead_somewhere() -> None:
    for path, text in CODE.items():
        for link in _REFERENCE.findall(text):
            page, _, anchor = link.partition("#")
            assert not anchor or anchor in anchors_of(PAGES[page]), (path, link)


def test_paths_of_the_contributing_guide_exist() -> None:
    named = re.findall(
        r"`((?:qf_tasks|tests|config|\.ci|\.github)/[\w./-]*)`", PAGES[".github/CONTRIBUTING.md"]
    )

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
