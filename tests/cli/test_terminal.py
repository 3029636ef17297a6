"""Sessions on a pseudo-terminal: widths, colours, encodings, and what is shown while a command works."""

from __future__ import annotations

import re
import threading

import pytest

from qf_tasks import BulkOutcome
from qf_tasks.cli import progress
from qf_tasks.cli.output import Terminal
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run, RunOnTerminal

_COLOR = re.compile(r"\x1b\[[0-9;]*3[0-9]m")


@pytest.mark.parametrize(
    ("width", "encoding", "colors"), [(80, "ascii", True), (80, "utf-8", False), (120, "utf-8", True)]
)
def test_a_session_reads_well_on_every_terminal(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox, width: int, encoding: str, *, colors: bool
) -> None:
    own_sandbox.add_task("infer-a", name="每晚", run_status="Failed")
    own_sandbox.add_task("infer-b", run_status="Running")
    options = {"width": width, "colors": colors, "encoding": encoding}

    listed = run_on_terminal("list", **options)
    rejected = run_on_terminal("delete", "infer-b", **options)
    purged = run_on_terminal("purge", "--status", "failed", typed="y\n", **options)

    assert [listed.code, rejected.code, purged.code] == [0, 1, 0]
    assert bool(_COLOR.search(listed.written)) is colors
    assert max(map(len, listed.screen)) <= width
    assert ("每晚" in listed.written) is (encoding != "ascii")
    hint = next(line for line in rejected.screen if line.startswith("Hint: "))
    assert hint.startswith("Hint: Stop it first with --stop-first")
    assert "?" not in hint
    assert ("请先停止" in rejected.written) is (encoding != "ascii")
    assert "Delete 1 task of " in purged.written
    assert "infer-a" not in own_sandbox.tasks


def test_json_in_a_narrow_encoding_loses_no_letter(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a", name="🚀 每晚")

    written = run_on_terminal("get", "infer-a", "--json", encoding="ascii").written

    assert '"name": "\\ud83d\\ude80 \\u6bcf\\u665a"' in written


def test_states_are_coloured(run_on_terminal: RunOnTerminal, own_sandbox: Sandbox) -> None:
    for state in ("Done", "Failed", "Running"):
        own_sandbox.add_task(run_status=state)

    written = run_on_terminal("list").written

    assert re.search(r"\x1b\[32mDone", written)
    assert re.search(r"\x1b\[31mFailed", written)
    assert re.search(r"\x1b\[36mRunning", written)


def test_a_bulk_operation_shows_counts_failures_what_it_waits_for_and_the_time_left(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_REDRAWS_PER_SECOND", 100)
    ids = [own_sandbox.add_task(), own_sandbox.add_task(run_status="Running"), "infer-gone"]
    own_sandbox.inject(Fault.slow(0.05), times=None)
    own_sandbox.inject(Fault.status(503), skip=1, times=1)

    code, screen, written = run_on_terminal(
        *("delete", *ids, "--stop-first", "--max-workers", "1"), width=120
    )

    assert code == 1
    assert "Stopping and deleting" in written
    assert "1 of 3" in written
    assert "waiting for 1 task to stop" in written
    assert re.search(r"0:00:0\d left", written)
    assert len(screen) >= 4  # and nothing of the display is left among the lines
    assert not any("Stopping and deleting" in line for line in screen)


def test_a_bulk_view_says_everything_in_one_line() -> None:
    terminal = Terminal(retries=2)
    terminal.stopping = {"infer-a", "infer-b", "infer-c"}
    view = progress.BulkProgress(terminal, "Deleting", 4)
    view.update(BulkOutcome("infer-a", "failed"), 1)

    assert re.fullmatch(
        r"Deleting: 1 of 4, 1 failed, waiting for 2 tasks to stop, 0:00:00, 2 retries(, 0:00:00 left)?",
        view.line(),
    )


def test_without_a_terminal_a_line_is_printed_each_minute(
    run: Run, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minute is made short, and the service answers when the line has been printed."""
    printed = threading.Event()
    line = progress.BulkProgress.line

    def observed(view: progress.BulkProgress) -> str:
        printed.set()
        return line(view)

    def wait_for_the_line(answer: object) -> object:
        printed.wait(10)
        return answer

    monkeypatch.setattr(progress.BulkProgress, "line", observed)
    monkeypatch.setattr(progress, "_SECONDS_PER_LINE", 0.01)
    own_sandbox.add_task("infer-a")
    own_sandbox.inject(Fault.transform(wait_for_the_line))

    _, _, err = run("delete", "infer-a")

    assert err.startswith("Deleting: 0 of 1, 0:00:00\n")


@pytest.mark.parametrize("command", ["get", "list", "purge", "create"])
def test_a_command_that_takes_a_while_says_what_it_does(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox, command: str
) -> None:
    own_sandbox.add_task("infer-a")
    arguments = {
        "get": ("get", "infer-a"),
        "list": ("list",),
        "purge": ("purge", "--name", "none"),
        "create": (
            *("create", "--name", "nightly", "--endpoint", "e"),
            *("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/"),
        ),
    }[command]
    doing = {"get": "Reading 1 task", "create": "Creating 'nightly'"}.get(command, "Listing tasks")

    _, screen, written = run_on_terminal(*arguments)

    assert f"{doing} ... 0:00:0" in written
    assert not any(line.startswith(doing) for line in screen)  # and it is gone at the end
