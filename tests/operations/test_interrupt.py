"""A run that is cut off: what is in flight ends, nothing new begins, and the report is not lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from qf_tasks import BulkInterrupted, BulkOutcome, BulkReport, QfTasksError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox

TOTAL = 40
DELETE = "DeleteBatchInferenceTask"


class Terminated(BaseException):
    """What a scheduler may make of SIGTERM."""


@contextmanager
def handled(number: signal.Signals, handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def raising(error: BaseException, at: int = 5) -> Callable[[BulkOutcome, int, int], None]:
    def on_progress(_outcome: BulkOutcome, done: int, _total: int) -> None:
        if done == at:
            raise error

    return on_progress


def signalling(number: signal.Signals) -> Fault:
    """Return the fault of a request during which this process is sent a signal."""

    def interrupt(answer: Any) -> Any:
        os.kill(os.getpid(), number)
        return answer

    return Fault.transform(interrupt)


def check_agrees(report: BulkReport, sandbox: Sandbox, task_ids: list[str]) -> None:
    """Check that the report is of a run that was cut off, and tells of each task what is so."""
    told = {outcome.task_id: outcome.outcome for outcome in report}
    assert list(told) == task_ids
    assert {task_id for task_id, outcome in told.items() if outcome == "not_tried"} == set(sandbox.tasks)
    assert set(told.values()) == {"deleted", "not_tried"}


@pytest.mark.parametrize("error", [ValueError("mine"), Terminated(), SystemExit(3), QfTasksError("mine")])
def test_callback_that_raises_goes_on_with_the_report(
    client: TaskClient, sandbox: Sandbox, error: BaseException
) -> None:
    task_ids = sandbox.add_tasks(TOTAL)

    with pytest.raises(type(error)) as caught:
        client.delete_many(task_ids, max_workers=3, on_progress=raising(error))

    assert caught.value is error
    check_agrees(vars(error)["report"], sandbox, task_ids)


def test_callback_that_raises_lets_nothing_new_begin(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.service_time = 0.02

    with pytest.raises(ValueError, match="mine"):
        client.delete_many(
            sandbox.add_tasks(TOTAL), max_workers=3, on_progress=raising(ValueError("mine"), at=1)
        )

    # At the first outcome three workers had each begun one, and may have begun one more.
    assert len(sandbox.requests) <= 6


def test_ctrl_c_in_a_callback_becomes_an_interrupt_with_the_report(
    client: TaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(TOTAL)

    with pytest.raises(BulkInterrupted) as caught:
        client.delete_many(task_ids, on_progress=raising(KeyboardInterrupt()))

    check_agrees(caught.value.report, sandbox, task_ids)
    assert "not_tried" in str(caught.value)


def test_ctrl_c_while_waiting_becomes_an_interrupt_with_the_report(
    client: TaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(TOTAL)
    sandbox.inject(signalling(signal.SIGINT), action=DELETE, skip=10)

    with handled(signal.SIGINT, signal.default_int_handler), pytest.raises(BulkInterrupted) as caught:
        client.delete_many(task_ids, max_workers=3)

    check_agrees(caught.value.report, sandbox, task_ids)


def test_sigterm_made_an_exception_goes_on_with_the_report(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(TOTAL)
    sandbox.inject(signalling(signal.SIGTERM), action=DELETE, skip=10)

    with handled(signal.SIGTERM, terminate), pytest.raises(Terminated) as caught:
        client.delete_many(task_ids, max_workers=3)

    check_agrees(vars(caught.value)["report"], sandbox, task_ids)


def test_ctrl_c_in_a_purge_and_in_stops_has_the_report(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(TOTAL)
    plan = client.plan_purge(run_status="Done")
    with pytest.raises(BulkInterrupted) as purged:
        client.purge(plan, on_progress=raising(KeyboardInterrupt()))
    check_agrees(purged.value.report, sandbox, [task.task_id for task in plan])

    with pytest.raises(BulkInterrupted) as stopped:
        client.stop_many(
            sandbox.add_tasks(TOTAL, run_status="Running"), on_progress=raising(KeyboardInterrupt())
        )
    assert stopped.value.report.counts["stopping"] >= 5


def test_second_ctrl_c_leaves_what_is_in_flight_unknown(client: TaskClient, sandbox: Sandbox) -> None:
    slow, quick, never = sandbox.add_tasks(3)
    main = threading.main_thread().ident
    arrived, waits, given_up = threading.Event(), threading.Event(), threading.Event()

    def cut_off(*_: object) -> None:
        arrived.wait(30)  # else the second task might not have been begun
        raise KeyboardInterrupt

    def hold(answer: Any) -> Any:
        arrived.set()
        while not waits.wait(0.001):  # until the run waits for this very request
            signal.pthread_kill(main or 0, signal.SIGINT)
        given_up.wait(30)
        return answer

    def on_sigint(_number: int, frame: FrameType | None) -> None:
        while frame:
            if frame.f_code is threading.Thread.join.__code__ and not waits.is_set():
                waits.set()
                raise KeyboardInterrupt
            frame = frame.f_back

    sandbox.inject(Fault.transform(hold), task_id=slow, action=DELETE)
    with handled(signal.SIGINT, on_sigint), pytest.raises(BulkInterrupted) as caught:
        client.delete_many([quick, slow, never], max_workers=1, on_progress=cut_off)
    given_up.set()

    assert [outcome.outcome for outcome in caught.value.report] == ["deleted", "unknown", "not_tried"]
