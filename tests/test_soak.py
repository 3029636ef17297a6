"""Load for some minutes: 32 threads on one client and 500 coroutines on another, at the same time.

Every twentieth request meets a fault. Run it with `python -m pytest -m soak`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import OutcomeUnknownError, RunStatus, TaskClient, TaskNotFoundError
from qf_tasks._runtime import blocking
from qf_tasks.sandbox import Fault, Sandbox

pytestmark = pytest.mark.soak

THREADS, CYCLES_OF_A_THREAD = 32, 14
COROUTINES, CYCLES_OF_A_COROUTINE = 500, 1
ROUNDS = 5
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
    """A sandbox, the tasks that must be left in the end, and the names that may be."""

    name: str
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
        yield Account(name, sandbox)


class _Awaitable:
    """A blocking client with the methods of the asyncio client, so that both do the same work."""

    def __init__(self, client: TaskClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        async def method(*args: Any, **kwargs: Any) -> Any:
            return getattr(self._client, name)(*args, **kwargs)

        return method

    async def list(self) -> AsyncIterator[Any]:
        for task in self._client.list():
            yield task


async def _work(account: Account, client: Any, number: int, worker: int, cycles: int) -> None:
    for cycle in range(cycles):
        await _stop_and_delete_a_task(account, client)
        name = f"{number}.{worker}.{cycle}"
        await _create_a_task(account, client, name, keep=(worker + cycle) % 4 == 0)


async def _stop_and_delete_a_task(account: Account, client: Any) -> None:
    task_id = account.sandbox.add_task(run_status="Running")
    assert (await client.stop(task_id)).run_status in (RunStatus.STOPPING, RunStatus.STOPPED)
    assert (await client.get(task_id)).run_status == RunStatus.STOPPED
    assert (await client.delete(task_id)).task_id == task_id
    with pytest.raises(TaskNotFoundError):
        await client.get(task_id)


async def _create_a_task(account: Account, client: Any, name: str, *, keep: bool) -> None:
    async for task in client.list():
        assert task.creator == account.name
        break
    assert (await client.models()).common
    try:
        created = await client.create(
            name=name, endpoint="ernie", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
        )
    except OutcomeUnknownError:
        account.unknown.add(name)
        return
    assert (await client.get(created)).name == name
    if keep:
        account.kept[created.task_id] = name
    else:
        assert (await client.delete(created)).task_id == created.task_id


def _round_of_threads(account: Account, client: TaskClient, number: int) -> None:
    def run(thread: int) -> None:
        blocking.run(_work(account, _Awaitable(client), number, thread, CYCLES_OF_A_THREAD))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(run, range(THREADS)))


def _round_of_coroutines(account: Account, client: Any, number: int) -> Coroutine[Any, Any, Any]:
    async def run_all() -> None:
        works = (_work(account, client, number, index, CYCLES_OF_A_COROUTINE) for index in range(COROUTINES))
        await asyncio.gather(*works)

    return run_all()


def _open_sockets() -> int:
    targets = (entry.readlink() for entry in (_PROCESS / "fd").iterdir() if entry.is_symlink())
    return sum(target.name.startswith("socket:") for target in targets)


def _resident_megabytes() -> float:
    gc.collect()
    pages = int((_PROCESS / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _run_rounds(account: Account, other: Account) -> dict[str, list[float]]:
    """Run all rounds, and return sockets, threads and memory after each."""
    measured: dict[str, list[float]] = {"sockets": [], "threads": [], "MB": []}
    settings = {"max_retries": 8}
    with account.sandbox.client(**settings) as client:
        async with other.sandbox.async_client(**settings) as async_client:
            for number in range(ROUNDS):
                await asyncio.gather(
                    asyncio.to_thread(_round_of_threads, account, client, number),
                    _round_of_coroutines(other, async_client, number),
                )
                measured["sockets"].append(_open_sockets())
                measured["threads"].append(threading.active_count())
                measured["MB"].append(round(_resident_megabytes()))
    return measured


@pytest.mark.skipif(not _PROCESS.exists(), reason="sockets and memory are read from /proc")
def test_soak_with_faults_loses_and_duplicates_no_task(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.CRITICAL, logger="qf_tasks")  # pytest would keep every line
    started = time.monotonic()
    with _account("one") as account, _account("another") as other:
        measured = asyncio.run(_run_rounds(account, other))
        for checked in (account, other):
            _check_tasks(checked)
    calls = ROUNDS * CALLS_IN_A_CYCLE * (THREADS * CYCLES_OF_A_THREAD + COROUTINES * CYCLES_OF_A_COROUTINE)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{calls} calls in {time.monotonic() - started:.0f} s; unknown outcome: "
            f"{[len(checked.unknown) for checked in (account, other)]}; after each round: {measured}\n"
        )
    assert max(measured["sockets"]) <= 2 * 2 * (THREADS + 20)  # both ends are in this process
    assert max(measured["threads"]) <= 32
    assert measured["MB"][-1] - measured["MB"][0] < 20


def _check_tasks(account: Account) -> None:
    left = {task_id: task["name"] for task_id, task in account.sandbox.tasks.items()}
    assert left.items() >= account.kept.items()
    assert len(set(left.values())) == len(left)
    assert set(left.values()) - set(account.kept.values()) <= account.unknown
    assert account.sandbox.errors == []
    assert account.sandbox.unexpected == []
