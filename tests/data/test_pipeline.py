"""Many records up and their results down in another process: its memory, and its end at any moment.

The whole size: python -m pytest -m soak tests/data
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qf_tasks.sandbox import Sandbox
from tests.data import pipeline
from tests.data.pipeline import Options

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROOT = Path(__file__).parents[2]
MEBI = 1024 * 1024


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """Return a sandbox that keeps objects in a directory, and whose tasks end soon."""
    with Sandbox(
        directory=tmp_path / "objects", queue_seconds=0, run_seconds=0.1, answer=lambda _record: "answer"
    ) as running:
        yield running


def options_of(sandbox: Sandbox, folder: Path, **fields: Any) -> Options:
    folder.mkdir()
    return Options(sandbox.url, sandbox.access_key, sandbox.secret_key, str(folder), **fields)


def ids_of_results(options: Options, task: int) -> Counter[str]:
    with Path(options.folder, f"{task}.jsonl").open() as lines:
        return Counter(json.loads(line)["id"] for line in lines)


@pytest.mark.parametrize(
    ("fields", "growth"),
    [
        pytest.param({"tasks": 1, "records": 3_000, "record_bytes": 20_000}, 48 * MEBI, id="60 MB"),
        pytest.param(
            {"tasks": 4, "records": 125_000, "record_bytes": 2_000},
            64 * MEBI,
            id="1 GB",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_memory_of_records_up_and_results_down_is_constant(
    sandbox: Sandbox, tmp_path: Path, fields: dict[str, int], growth: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_of(sandbox, tmp_path / "results", **fields)
    started = time.monotonic()

    ran = run(options)

    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    with capsys.disabled():
        seconds = time.monotonic() - started
        sys.stdout.write(
            f"\n{options.bytes / 1e6:.0f} MB: {found['growth'] / MEBI:.0f} MiB, {seconds:.0f} s\n"
        )
    assert found["outcomes"] == [{"succeeded": options.records}] * options.tasks
    assert found["growth"] < growth


@pytest.mark.parametrize(
    ("fields", "kills"),
    [
        pytest.param(
            {"tasks": 2, "records": 1_000, "record_bytes": 2_000, "shard_bytes": 100_000}, 2, id="4 MB"
        ),
        pytest.param(
            {"tasks": 4, "records": 125_000, "record_bytes": 2_000}, 10, id="1 GB", marks=pytest.mark.soak
        ),
    ],
)
def test_pipeline_that_is_killed_again_and_again_transfers_nothing_twice(
    sandbox: Sandbox, tmp_path: Path, fields: dict[str, int], kills: int
) -> None:
    options = options_of(sandbox, tmp_path / "results", joins=False, **fields)
    files = 2 * -(-options.bytes // options.shard_bytes)  # up and down
    killed = [run_until(sandbox, options, files * kill // (kills + 1)) for kill in range(1, kills + 1)]

    ran = run(options)

    assert ran.returncode == 0, ran.stderr
    assert all(killed)
    for task in range(options.tasks):
        assert ids_of_results(options, task) == Counter(f"{task}-{n}" for n in range(options.records))
    assert len(sandbox.tasks) == options.tasks
    assert set(transfers(sandbox, "PutObject", "/bucket/in/").values()) == {1}
    received = transfers(sandbox, "GetObject", "/bucket/out/")
    assert received.total() <= len(received) + kills  # one file at a time is in flight, and goes on by range
    assert sandbox.errors == []


def run(options: Options) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        pipeline.command(options), **process_options(options), capture_output=True, text=True, check=False
    )


def run_until(sandbox: Sandbox, options: Options, count: int) -> bool:
    """Run the program until so many files were transferred, and kill it; return whether it was killed."""
    with subprocess.Popen(pipeline.command(options), **process_options(options)) as process:
        while process.poll() is None:
            sent = transfers(sandbox, "PutObject", "/bucket/in/")
            if sent.total() + transfers(sandbox, "GetObject", "/bucket/out/").total() >= count:
                process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
    return process.returncode == -signal.SIGKILL


def process_options(options: Options) -> dict[str, Any]:
    """Return how the program runs; its temporary files, which a kill leaves behind, are those of the test."""
    return {"cwd": ROOT, "env": {**os.environ, "TMPDIR": str(Path(options.folder).parent)}}


def transfers(sandbox: Sandbox, action: str, prefix: str) -> Counter[str]:
    """Return how often each object was transferred."""
    return Counter(
        request.path
        for request in sandbox.requests
        if request.applied and request.action == action and request.path.startswith(prefix)
    )
