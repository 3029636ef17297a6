"""What a shell shows of a process: locales, closed pipes, full disks, signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest

import qf_tasks
from qf_tasks.__main__ import main
from qf_tasks.cli import signals
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.signals import as_interrupts
from qf_tasks.sandbox import Fault, Sandbox

_COMMAND = [sys.executable, "-m", "qf_tasks"]
_CHECKOUT = Path(qf_tasks.__file__).parents[1]
_LONGEST = 60  # seconds, if something is wrong


@pytest.fixture
def environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    return {**os.environ, **sandbox.env(), "PYTHONPATH": str(_CHECKOUT)}


def test_a_terminal_that_shows_ascii_alone_gets_hints_without_chinese() -> None:
    controller, terminal = pty.openpty()
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "TERM": "xterm", "COLUMNS": "80"}

    ran = subprocess.run(
        [*_COMMAND, "whoami"],
        env={**os.environ, **locale, "PYTHONPATH": str(_CHECKOUT)},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        check=False,
        timeout=_LONGEST,
    )

    os.close(terminal)
    written = os.read(controller, 65_536).decode("ascii")
    os.close(controller)
    hint = written[written.index("Hint: ") :]
    assert (ran.returncode, "Access Key" in hint, "?" in hint) == (2, True, False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["config", "--example"], ["list"]])
def test_a_full_disk_is_one_line_and_exit_code_1(
    own_sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    own_sandbox.add_tasks(1)
    with Path("/dev/full").open("w") as full:  # closing it fails if something is left in its buffer
        monkeypatch.setattr(sys, "stdout", full)
        code = main(arguments)

    assert (code, capsys.readouterr().err) == (1, "Error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("arguments", [["--help"], ["demo"], ["list"]])
def test_a_reader_that_left_ends_a_command_quietly(
    own_sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    own_sandbox.add_tasks(100, name="n" * 200)  # more than the stream buffers
    with closed_pipe() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code = main(arguments)

    assert (code, capsys.readouterr().err) == (0, "")


def test_a_closed_stderr_ends_no_command(
    own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [own_sandbox.add_task(run_status="Running"), own_sandbox.add_task()]
    with closed_pipe(buffering=1) as pipe:  # by lines, as stderr is
        monkeypatch.setattr(sys, "stderr", pipe)
        code = main(["delete", *ids])

    outcomes = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert (code, outcomes) == (1, ["failed", "deleted"])


def closed_pipe(buffering: int = -1) -> TextIO:
    """Return a pipe that nobody reads; closing it fails if something is left in its buffer."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", buffering)


def test_a_second_signal_leaves_what_is_in_flight_unknown_and_prints_the_report(
    sandbox: Sandbox, environment: dict[str, str]
) -> None:
    ids = [sandbox.add_task(run_status="Running") for _ in range(2)]  # the sandbox's clock is stopped
    command = [*_COMMAND, "delete", *ids, "--stop-first", "--max-workers", "1"]
    started: list[subprocess.Popen[str]] = []

    def interrupt(answer: object) -> object:
        started[0].send_signal(signal.SIGTERM)
        return answer

    sandbox.inject(Fault.transform(interrupt), action="StopBatchInferenceTask")
    sandbox.inject(Fault.transform(interrupt), action="DescribeBatchInferenceTask", skip=2)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as deleting:
        started.append(deleting)
        try:
            out, err = deleting.communicate(timeout=_LONGEST)
        finally:
            deleting.kill()

    assert deleting.returncode == 143
    assert [line.split("\t")[:2] for line in out.splitlines()] == [
        [ids[0], "unknown"],
        [ids[1], "not_tried"],
    ]
    assert err.startswith("Finishing 1 in flight; Ctrl-C again leaves them unknown.\n")
    assert err.endswith("Interrupted.\n")
    assert "Traceback" not in err


def test_after_a_second_signal_the_next_has_its_default_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_AT_ONCE", 0.0)
    with as_interrupts(Terminal()):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)

        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_same_signal_twice_at_once_is_one_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_AT_ONCE", 60.0)
    terminal = Terminal()

    with as_interrupts(terminal):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert (terminal.interrupts, terminal.signal) == (1, signal.SIGTERM)
