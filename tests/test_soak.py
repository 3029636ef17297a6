"""Load for some minutes: two clients of two accounts, many threads, and a fault in every twentieth request.

python -m pytest -m soak
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qf_tasks import OutcomeUnknownError, RunStatus, Settings, TaskClient, TaskNotFoundError
from qf_tasks.sandbox import Fault, Sandbox

pytestmark = pytest.mark.soak

THREADS = 32
ROUNDS = 5
CYCLES = 14  # of each thread in each round
CALLS_IN_A_CYCLE = 9
FAULT_RATE = 0.05
FAULTS = [
    Fault.reset_before(),
    Fault.reset_after(),
    Fault.truncated(),
    Fault.status(429),
    Fault.status(503),
    Fault.status(500, applied=True),
    Fault.html(502),
    Fault.slow(0.05),
]
_PROCESS = Path("/proc/self")


@dataclass
class Account:
    """A client with its own sandbox, the tasks that must be left in the end, and the names that may be."""

    name: str
    client: TaskClient
    sandbox: Sandbox
    kept: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)


@contextmanager
def _account(name: str) -> Iterator[Account]:
    # A task is Done as soon as it is created, so that the quota is never reached.
    with Sandbox(
        account=name, queue_seconds=0, run_seconds=0, stop_seconds=0, speed=1, remember=100
    ) as sandbox:
        sandbox.inject_random(FAULT_RATE, FAULTS, seed=len(name))
        settings = Settings(
            access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url, max_retries=8
        )
        with TaskClient(settings) as client:
            yield Account(name, client, sandbox)


def _work(account: Account, worker: str) -> None:
    for cycle in range(CYCLES):
        _stop_and_delete_a_task(account)
        _create_a_task(account, f"{worker}.{cycle}", keep=cycle % 4 == 0)


def _stop_and_delete_a_task(account: Account) -> None:
    client, task_id = account.client, account.sandbox.add_task(run_status="Running")
    assert client.stop(task_id).run_status in (RunStatus.STOPPING, RunStatus.STOPPED)
    assert client.get(task_id).run_status == RunStatus.STOPPED
    assert client.delete(task_id).task_id == task_id
    with pytest.raises(TaskNotFoundError):
        client.get(task_id)


def _create_a_task(account: Account, name: str, *, keep: bool) -> None:
    client = account.client
    assert {task.creator for task in next(client.pages(page_size=20))} <= {account.name}
    assert client.models().common
    try:
        created = client.create(
            name=name, endpoint="ernie", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
        )
    except OutcomeUnknownError:
        account.unknown.add(name)
        return
    assert client.get(created).name == name
    if keep:
        account.kept[created.task_id] = name
    else:
        assert client.delete(created).task_id == created.task_id


def _open_sockets() -> int:
    targets = (entry.readlink() for entry in (_PROCESS / "fd").iterdir() if entry.is_symlink())
    return sum(target.name.startswith("socket:") for target in targets)


def _resident_megabytes() -> float:
    gc.collect()
    pages = int((_PROCESS / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not _PROCESS.exists(), reason="sockets and memory are read from /proc")
def test_soak_with_faults_loses_and_duplicates_no_task(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.CRITICAL, logger="qf_tasks")  # pytest would keep every line
    sockets, megabytes, started = [], [], time.monotonic()
    with ExitStack() as stack:
        accounts = [stack.enter_context(_account(name)) for name in ("one", "another")]
        for number in range(ROUNDS):
            with ThreadPoolExecutor(THREADS) as pool:
                workers = [(accounts[thread % 2], f"{number}.{thread}") for thread in range(THREADS)]
                for work in [pool.submit(_work, *worker) for worker in workers]:
                    work.result()
            sockets.append(_open_sockets())
            megabytes.append(_resident_megabytes())
        for account in accounts:
            _check_tasks(account)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{ROUNDS * THREADS * CYCLES * CALLS_IN_A_CYCLE} calls in {time.monotonic() - started:.0f} s; "
            f"unknown outcome: {[len(account.unknown) for account in accounts]}; "
            f"sockets after each round: {sockets}; MB: {[round(size) for size in megabytes]}\n"
        )
    assert max(sockets) <= 2 * len(accounts) * (THREADS + 4)  # both ends are in this process
    assert megabytes[-1] - megabytes[0] < 20


def _check_tasks(account: Account) -> None:
    left = {task_id: task["name"] for task_id, task in account.sandbox.tasks.items()}
    assert left.items() >= account.kept.items()
    assert len(set(left.values())) == len(left)
    assert set(left.values()) - set(account.kept.values()) <= account.unknown
    assert account.sandbox.errors == []
    assert account.sandbox.unexpected == []
