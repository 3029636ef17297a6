"""What only a process of its own shows: locales, closed pipes, full disks, signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import qf_tasks
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


@pytest.mark.parametrize(
    ("locale", "encoding"),
    [
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "ascii"),
        ({"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}, "utf-8"),
    ],
)
def test_a_terminal_in_any_locale_shows_only_what_it_can(locale: dict[str, str], encoding: str) -> None:
    controller, terminal = pty.openpty()

    ran = subprocess.run(
        [*_COMMAND, "whoami"],
        env={**os.environ, **locale, "TERM": "xterm", "COLUMNS": "80", "PYTHONPATH": str(_CHECKOUT)},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        check=False,
        timeout=_LONGEST,
    )

    os.close(terminal)
    written = os.read(controller, 65_536).decode(encoding)
    os.close(controller)
    hint = written[written.index("Hint: ") :]
    assert (ran.returncode, "Access Key" in hint, "?" in hint) == (2, True, False)
    assert ("请使用" in hint) is (encoding == "utf-8")


def test_a_reader_that_leaves_ends_a_list_quietly(sandbox: Sandbox, environment: dict[str, str]) -> None:
    ids = sandbox.add_tasks(2000, name="n" * 200)  # more than a pipe holds

    with subprocess.Popen(
        [*_COMMAND, "list"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout
        assert listing.stderr
        first = listing.stdout.readline()
        listing.stdout.close()
        complaints = listing.stderr.read()

    assert first.startswith(ids[-1].encode())
    assert (listing.returncode, complaints) == (0, b"")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["config", "--example"]])
def test_a_full_disk_is_one_line_and_exit_code_1(environment: dict[str, str], arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*_COMMAND, *arguments],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (ran.returncode, ran.stderr) == (1, "Error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("command", ["--help", "demo"])
def test_a_closed_pipe_is_quiet_and_exit_code_0(environment: dict[str, str], command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    ran = subprocess.run(
        [*_COMMAND, command], env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)

    assert (ran.returncode, ran.stderr) == (0, b"")


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


def test_a_closed_stderr_ends_no_command(sandbox: Sandbox, environment: dict[str, str]) -> None:
    ids = [sandbox.add_task(run_status="Running"), sandbox.add_task()]
    reading, writing = os.pipe()
    os.close(reading)

    ran = subprocess.run(
        [*_COMMAND, "delete", *ids], env=environment, stdout=subprocess.PIPE, stderr=writing, check=False
    )
    os.close(writing)

    assert ran.returncode == 1
    assert [line.split(b"\t")[1] for line in ran.stdout.splitlines()] == [b"failed", b"deleted"]
