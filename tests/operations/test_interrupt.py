"""A bulk run that an exception ends early: work in flight finishes, no other begins, the report is complete.

The tests of signals use the blocking client: a signal handler of Python runs in the main thread.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import pytest

from qf_tasks import BulkInterrupted, BulkOutcome, BulkReport, QfTasksError, TaskClient
from qf_tasks._runtime import blocking
from qf_tasks.sandbox import Fault, Sandbox

DELETE = "DeleteBatchInferenceTask"
TOTAL = 40


class Terminated(BaseException):
    """What a scheduler may make of SIGTERM."""


@contextmanager
def handler_of(number: signal.Signals, handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def raising(error: BaseException, *_: object) -> None:
    raise error


def raise_at(done_when: int, error: BaseException) -> Callable[[BulkOutcome, int, int], None]:
    def on_progress(_outcome: BulkOutcome, done: int, _total: int) -> None:
        if done == done_when:
            raise error

    return on_progress


def sending_signal(number: signal.Signals) -> Fault:
    """Return the fault of a request during which this process is sent a signal."""

    def send(body: Any) -> Any:
        os.kill(os.getpid(), number)
        return body

    return Fault.transform(send)


def check_report(report: BulkReport, sandbox: Sandbox, task_ids: list[str]) -> None:
    """Check that the report of a run that ended early is complete and true."""
    outcomes = {outcome.task_id: outcome.outcome for outcome in report}
    assert list(outcomes) == task_ids
    assert {task_id for task_id, outcome in outcomes.items() if outcome == "not_tried"} == set(sandbox.tasks)
    assert set(outcomes.values()) == {"deleted", "not_tried"}


@pytest.mark.parametrize(
    "error", [ValueError("mine"), QfTasksError("mine")], ids=["ValueError", "QfTasksError"]
)
def test_delete_many_with_on_progress_raising_ends_with_the_report(
    client: TaskClient, sandbox: Sandbox, error: Exception
) -> None:
    task_ids = sandbox.add_tasks(TOTAL)

    with pytest.raises(type(error)) as caught:
        client.delete_many(task_ids, max_workers=3, on_progress=raise_at(5, error))

    assert caught.value is error
    check_report(vars(error)["report"], sandbox, task_ids)


def test_delete_many_with_on_progress_raising_begins_no_other_task(
    client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.service_time = 0.02

    with pytest.raises(ValueError, match="mine"):
        client.delete_many(
            sandbox.add_tasks(TOTAL), max_workers=3, on_progress=raise_at(1, ValueError("mine"))
        )

    # At the first outcome each of three workers had begun one task, and may have begun another.
    assert len(sandbox.requests) <= 6


def test_delete_many_with_ctrl_c_in_on_progress_raises_bulk_interrupted(
    blocking_client: TaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(TOTAL)

    with pytest.raises(BulkInterrupted) as caught:
        blocking_client.delete_many(task_ids, on_progress=raise_at(5, KeyboardInterrupt()))

    check_report(caught.value.report, sandbox, task_ids)
    assert "not_tried" in str(caught.value)


def test_purge_and_stop_many_with_ctrl_c_raise_bulk_interrupted(
    blocking_client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(TOTAL)
    plan = blocking_client.plan_purge(run_status="Done")
    with pytest.raises(BulkInterrupted) as purged:
        blocking_client.purge(plan, on_progress=raise_at(5, KeyboardInterrupt()))
    check_report(purged.value.report, sandbox, [task.task_id for task in plan])

    running = sandbox.add_tasks(TOTAL, run_status="Running")
    with pytest.raises(BulkInterrupted) as stopped:
        blocking_client.stop_many(running, on_progress=raise_at(5, KeyboardInterrupt()))
    assert stopped.value.report.counts["stopping"] >= 5


def test_delete_many_with_ctrl_c_while_it_waits_raises_bulk_interrupted(
    blocking_client: TaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(TOTAL)
    sandbox.inject(sending_signal(signal.SIGINT), action=DELETE, skip=10)

    with handler_of(signal.SIGINT, signal.default_int_handler), pytest.raises(BulkInterrupted) as caught:
        blocking_client.delete_many(task_ids, max_workers=3)

    check_report(caught.value.report, sandbox, task_ids)


class RaisingHandler:
    """A handler that is an object, not a function."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [Terminated(), SystemExit(3), OSError(5, "mine"), TimeoutError("mine")],
    ids=lambda it: type(it).__name__,
)
@pytest.mark.parametrize("make_handler", [RaisingHandler, lambda error: partial(raising, error)])
def test_delete_many_with_signal_handler_raising_ends_with_its_exception_and_the_report(
    blocking_client: TaskClient, sandbox: Sandbox, error: BaseException, make_handler: Any
) -> None:
    task_ids = sandbox.add_tasks(TOTAL)
    sandbox.inject(sending_signal(signal.SIGTERM), action=DELETE, skip=10)

    with handler_of(signal.SIGTERM, make_handler(error)), pytest.raises(type(error)) as caught:
        blocking_client.delete_many(task_ids, max_workers=3)

    assert caught.value is error
    check_report(vars(error)["report"], sandbox, task_ids)


def test_delete_many_with_second_ctrl_c_reports_tasks_in_flight_as_unknown(
    blocking_client: TaskClient, sandbox: Sandbox
) -> None:
    quick, slow, never = sandbox.add_tasks(3)
    main = threading.main_thread().ident
    arrived, is_waiting, is_over = threading.Event(), threading.Event(), threading.Event()

    def first_ctrl_c(*_: object) -> None:
        arrived.wait(30)  # until the second task is in flight
        raise KeyboardInterrupt

    def hold(body: Any) -> Any:
        arrived.set()
        while not is_waiting.wait(0.001):  # until the run waits for this very request
            signal.pthread_kill(main or 0, signal.SIGINT)
        is_over.wait(30)
        return body

    def second_ctrl_c(_number: int, frame: FrameType | None) -> None:
        while frame:
            if frame.f_code is blocking._WorkerThreads.stop.__code__ and not is_waiting.is_set():
                is_waiting.set()
                raise KeyboardInterrupt
            frame = frame.f_back

    sandbox.inject(Fault.transform(hold), task_id=slow, action=DELETE)
    with handler_of(signal.SIGINT, second_ctrl_c), pytest.raises(BulkInterrupted) as caught:
        blocking_client.delete_many([quick, slow, never], max_workers=1, on_progress=first_ctrl_c)
    is_over.set()

    assert [outcome.outcome for outcome in caught.value.report] == ["deleted", "unknown", "not_tried"]


# Python itself ignores an exception that a signal handler raises inside a destructor, and reports it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_delete_many_interrupted_at_60_random_moments_never_hangs_and_always_reports(
    blocking_client: TaskClient, sandbox: Sandbox
) -> None:
    moment = random.Random(0)  # noqa: S311 - not for cryptography
    interrupted = 0
    with handler_of(signal.SIGALRM, signal.default_int_handler):
        for _ in range(60):
            task_ids = sandbox.add_tasks(12)
            before = len(sandbox.requests)
            try:
                signal.setitimer(signal.ITIMER_REAL, moment.uniform(0.0002, 0.012))
                report = blocking_client.delete_many(task_ids, max_workers=4)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except BulkInterrupted as interrupt:
                report = interrupt.report
                interrupted += 1
            except KeyboardInterrupt:  # before the run began, or after it had ended
                assert len(sandbox.requests) - before in (0, 12)
                sandbox.reset()
                continue
            outcomes = {outcome.task_id: outcome.outcome for outcome in report}
            is_gone = {"deleted": True, "not_tried": False}
            assert list(outcomes) == task_ids
            assert all(
                is_gone[outcome] is (task_id not in sandbox.tasks) for task_id, outcome in outcomes.items()
            )
            sandbox.reset()

    assert interrupted > 6
    assert blocking_client.delete_many(sandbox.add_tasks(12)).ok


def test_delete_many_takes_no_lock_of_a_thread_in_the_callers_thread(
    blocking_client: TaskClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception while a thread is started or joined can leave a lock held, so that a later call hangs."""
    callers: list[int] = []

    def recording(method: Callable[..., None]) -> Callable[..., None]:
        def record(*args: Any) -> None:
            callers.append(threading.get_ident())
            method(*args)

        return record

    for name in ("start", "join"):
        monkeypatch.setattr(threading.Thread, name, recording(getattr(threading.Thread, name)))
    assert blocking_client.delete_many(sandbox.add_tasks(10), max_workers=3).ok

    assert len(callers) >= 3
    assert threading.get_ident() not in callers
