"""A create under every fault, then repeated by other clients: never more than one task, never another's.

A case injects a fault into one request of a sequence of creates, each by a new client. Where a case loses the
response to the first create, the fault falls on the search for the task that it made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from qf_tasks import QfTasksError
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import client_of
from tests.faults import FAULTS

CREATE = "CreateBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
LIST = "DescribeBatchInferenceTasks"
TASK: dict[str, Any] = {
    "name": "nightly",
    "input_bos_uri": "bos:/bucket/in/",
    "output_bos_uri": "bos:/bucket/out/",
    "endpoint": "ernie-x1-turbo-32k",
}
DIRECTORIES = {"inputBosUri": TASK["input_bos_uri"], "outputBosUri": TASK["output_bos_uri"]}
KEYED = {**TASK, "idempotency_key": "daily"}


class Case(NamedTuple):
    """Which request of which create gets the fault."""

    action: str
    has_key: bool
    is_lost: bool = False
    skip: int = 0


CASES = {
    "create": Case(CREATE, has_key=False),
    "search after loss": Case(LIST, has_key=False, is_lost=True),
    "read after loss": Case(GET, has_key=False, is_lost=True),
    "create with key": Case(CREATE, has_key=True),
    "search for key": Case(LIST, has_key=True),
    "search for key after loss": Case(LIST, has_key=True, is_lost=True, skip=1),
    "read after loss with key": Case(GET, has_key=True, is_lost=True),
    "search for key by second client": Case(LIST, has_key=True, skip=1),
    "read by second client": Case(GET, has_key=True),
}


def wrongs(case: Case, sandbox: Sandbox, fault: Fault) -> Iterator[str]:
    """Yield what goes wrong when clients, one after the other, create under the fault and after it."""
    sandbox.reset()
    for description in ("", "[key: another]"):  # another program's, equal but for the key
        sandbox.add_task(
            name="nightly", description=description, endpoint=TASK["endpoint"], fields=DIRECTORIES
        )
    theirs = set(sandbox.tasks)
    sandbox.advance(60)
    if case.is_lost:
        sandbox.inject(Fault.reset_after(), action=CREATE)
    sandbox.inject(fault, action=case.action, skip=case.skip)
    for _ in range(3):
        is_past = not sandbox.unused_faults
        before = set(sandbox.tasks)
        task_id, error = create(sandbox, fault, KEYED if case.has_key else TASK)
        own = set(sandbox.tasks) - (theirs if case.has_key else before)
        if len(own) > 1:
            yield "a second task was made"
        if task_id and own != {task_id}:
            yield "the task of another program or create was returned"
        if error and set(sandbox.tasks) != before and not error.may_have_been_applied:
            yield f"a task was made, which {error!r} denies"
        if is_past and task_id:
            return
    yield "no create after the fault succeeded"


def create(sandbox: Sandbox, fault: Fault, task: dict[str, Any]) -> tuple[str | None, QfTasksError | None]:
    is_slow = fault.delay or fault.body_delay
    with client_of(sandbox, request_timeout=0.3 if is_slow else 60) as client:
        try:
            return client.create(**task).task_id, None
        except QfTasksError as error:
            return None, error


def test_create_under_any_fault_by_clients_one_after_the_other_makes_one_task() -> None:
    def wrongs_of(name: str) -> dict[tuple[str, str], list[str]]:
        with Sandbox(frozen=True) as sandbox:
            return {
                (name, fault): found
                for fault in FAULTS
                if (found := list(wrongs(CASES[name], sandbox, FAULTS[fault])))
            }

    with ThreadPoolExecutor(len(CASES)) as pool:
        assert [found for found in pool.map(wrongs_of, CASES) if found] == []


# The program is killed after its response was lost: before it can search, or print what it knows.
KILLED = """
import os, sys, time
from qf_tasks import TaskClient
from qf_tasks._runtime.blocking import Clock

class KilledClient(TaskClient):
    _clock = Clock(time.monotonic, lambda _: os._exit(9))

KilledClient().create(**{task})
"""
RUN_AGAIN = """
from qf_tasks import TaskClient

print(TaskClient().create(**{task}).task_id)
"""


def test_create_by_a_killed_process_is_found_by_the_next_one(sandbox: Sandbox) -> None:
    sandbox.inject(Fault.reset_after(), action=CREATE)

    killed, again = (
        subprocess.run(
            [sys.executable, "-c", script.format(task=KEYED)],
            env={**os.environ, **sandbox.env()},
            capture_output=True,
            text=True,
            check=False,
        )
        for script in (KILLED, RUN_AGAIN)
    )

    assert (killed.returncode, again.returncode) == (9, 0), killed.stderr + again.stderr
    assert again.stdout.split() == list(sandbox.tasks)
    assert len(sandbox.tasks) == 1
