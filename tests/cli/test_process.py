"""What only a process of its own shows: encodings, closed pipes, signals, a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import qf_tasks
from qf_tasks import Settings, TaskClient
from qf_tasks.cli._signals import as_interrupts
from qf_tasks.cli._terminal import Terminal
from qf_tasks.sandbox import Fault, Sandbox

_COMMAND = [sys.executable, "-m", "qf_tasks"]
_PATIENCE = 60  # seconds, where something is wrong


@pytest.fixture
def environment(sandbox: Sandbox) -> dict[str, str]:
    checkout = str(Path(qf_tasks.__file__).parents[1])
    return {**os.environ, **sandbox.env(), "PYTHONPATH": checkout}


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_an_encoding_that_lacks_letters_does_not_end_a_run(
    sandbox: Sandbox, environment: dict[str, str], encoding: str
) -> None:
    sandbox.add_task("infer-a", name="🚀 naïve 每晚", run_status="Running")
    environment["PYTHONIOENCODING"] = encoding

    listed = subprocess.run([*_COMMAND, "list"], env=environment, capture_output=True, check=False)
    refused = subprocess.run(
        [*_COMMAND, "delete", "infer-a"], env=environment, capture_output=True, check=False
    )

    assert (listed.returncode, listed.stderr) == (0, b"")
    assert listed.stdout.startswith(b"infer-a\tRunning\t? na")
    assert (refused.returncode, b"Traceback" in refused.stderr) == (1, False)
    assert refused.stderr.decode(encoding).startswith("Error: Task infer-a is Running")


def test_json_loses_no_letter_in_a_narrow_encoding(sandbox: Sandbox, environment: dict[str, str]) -> None:
    sandbox.add_task("infer-a", name="🚀 每晚")
    environment["PYTHONIOENCODING"] = "ascii"

    ran = subprocess.run(
        [*_COMMAND, "get", "infer-a", "--json"], env=environment, capture_output=True, check=True
    )

    assert b'"name": "\\ud83d\\ude80 \\u6bcf\\u665a"' in ran.stdout


def test_a_reader_that_leaves_ends_a_list_quietly(sandbox: Sandbox, environment: dict[str, str]) -> None:
    ids = sandbox.add_tasks(2000, name="n" * 200)  # more than a pipe holds

    with subprocess.Popen(
        [*_COMMAND, "list", "--limit", "0"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout
        assert listing.stderr
        first = listing.stdout.readline()
        listing.stdout.close()
        told = listing.stderr.read()

    assert first.startswith(ids[-1].encode())
    assert (listing.returncode, told) == (0, b"")


def test_sandbox_prints_where_it_is_and_serves_until_it_is_ended() -> None:
    command = [*_COMMAND, "sandbox", "--tasks", "7", "--speed", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(qf_tasks.__file__).parents[1],
    ) as serving:
        assert serving.stdout
        lines = [serving.stdout.readline().split() for _ in range(3)]
        given = dict(pair.split("=", 1) for _, pair in lines)
        settings = Settings(
            access_key=given["QIANFAN_ACCESS_KEY"],
            secret_key=given["QIANFAN_SECRET_KEY"],
            base_url=given["QIANFAN_CONSOLE_API_BASE_URL"],
        )
        with TaskClient(settings) as client:
            states = [task.run_status for task in client.list(newest_first=False)]
        serving.send_signal(signal.SIGTERM)
        _, told = serving.communicate()

    assert [word for word, _ in lines] == ["export"] * 3
    assert states == ["Done", "Running", "Failed", "Queuing", "Stopped", "Expired", "Done"]
    assert (serving.returncode, told) == (
        143,
        f"Serving 7 tasks on {settings.base_url}; Ctrl-C ends it. For another terminal:\nInterrupted.\n",
    )


def test_a_second_signal_ends_the_wait_for_what_is_in_flight_with_the_report(
    sandbox: Sandbox, environment: dict[str, str]
) -> None:
    ids = [sandbox.add_task(run_status="Running") for _ in range(2)]  # they never stop: the clock stands
    command = [*_COMMAND, "delete", *ids, "--stop-first", "--max-workers", "1"]
    started: list[subprocess.Popen[str]] = []

    def cut_off(answer: object) -> object:
        started[0].send_signal(signal.SIGTERM)
        return answer

    sandbox.inject(Fault.transform(cut_off), action="StopBatchInferenceTask")
    sandbox.inject(Fault.transform(cut_off), action="DescribeBatchInferenceTask", skip=2)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as deleting:
        started.append(deleting)
        try:
            out, err = deleting.communicate(timeout=_PATIENCE)
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


def _interrupted(times: int) -> None:
    with as_interrupts(Terminal()):
        for _ in range(times):
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)


def test_a_third_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os._exit", sys.exit)

    with pytest.raises(SystemExit) as ended:
        _interrupted(times=3)

    assert ended.value.code == 143


def test_a_listener_that_left_is_told_nothing_as_json(sandbox: Sandbox, environment: dict[str, str]) -> None:
    assert sandbox
    reading, writing = os.pipe()
    os.close(reading)

    ran = subprocess.run(
        [*_COMMAND, "delete", "--json"], env=environment, stdout=subprocess.PIPE, stderr=writing, check=False
    )
    os.close(writing)

    assert ran.returncode == 2


def test_a_listener_that_left_ends_nothing(sandbox: Sandbox, environment: dict[str, str]) -> None:
    ids = [sandbox.add_task(run_status="Running"), sandbox.add_task()]
    reading, writing = os.pipe()
    os.close(reading)

    ran = subprocess.run(
        [*_COMMAND, "delete", *ids], env=environment, stdout=subprocess.PIPE, stderr=writing, check=False
    )
    os.close(writing)

    assert ran.returncode == 1
    assert [line.split(b"\t")[1] for line in ran.stdout.splitlines()] == [b"failed", b"deleted"]
