"""Random calls and faults: the tasks of the sandbox and their states are those of a simple model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from qf_tasks import (
    InvalidRequestError,
    OutcomeUnknownError,
    QuotaExceededError,
    RunStatus,
    TaskClient,
    TaskNotFoundError,
    TaskStateError,
)
from qf_tasks.sandbox import Fault, Sandbox
from qf_tasks.sandbox.behavior import ServerBehavior
from tests.clients import Kind, SandboxTime, client_of

pytestmark = pytest.mark.fuzz

QUEUE, RUN, STOP = (
    10.5,
    60.0,
    5.5,
)  # seconds; the clock advances by whole ones, so that no state ends at that moment
QUOTA = 20
ACTIVE = (RunStatus.QUEUING, RunStatus.RUNNING, RunStatus.STOPPING)

FATES: dict[str, Fault | None] = {
    "good": None,
    "rejected": Fault.status(429),
    "not arrived": Fault.reset_before(),
    "response lost": Fault.reset_after(),
}
fates = st.sampled_from([*FATES])
kinds = st.sampled_from(["blocking", "asyncio"])
behaviors = st.builds(
    ServerBehavior,
    inclusive_marker=st.booleans(),
    next_marker=st.booleans(),
    stale_marker_refused=st.booleans(),
    stop_final=st.sampled_from(["refused", "false"]),
    not_found_status=st.sampled_from([404, 400]),
)


class SteadyTime(SandboxTime):
    """A time whose pauses have no jitter, so that a sequence of rules always has the same effect."""

    def sleep(self, seconds: float) -> None:
        super().sleep(1.0 if seconds <= 1.0 else 20.0)


@dataclass
class Expected:
    """A task as it must be."""

    name: str
    created_at: float
    stopped_at: float | None = None
    set_to: str | None = None

    def run_status(self, now: float) -> str:
        if self.stopped_at is not None:
            return "Stopping" if now < self.stopped_at + STOP else "Stopped"
        if self.set_to:
            return self.set_to
        age = now - self.created_at
        return "Queuing" if age < QUEUE else "Running" if age < QUEUE + RUN else "Done"


class ClientAndSandbox(RuleBasedStateMachine):
    """The rules, with any behavior of the server."""

    task_ids: Bundle[str] = Bundle("task_ids")
    sandbox: Sandbox
    client: TaskClient
    expected: dict[str, Expected]

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()

    def teardown(self) -> None:
        self.opened.close()

    @property
    def now(self) -> float:
        return self.sandbox.now.timestamp()

    def status(self, task_id: str, at: float | None = None) -> RunStatus | None:
        """Return the state that a task must have, now or at a time; None for one that must not exist."""
        task = self.expected.get(task_id)
        return None if task is None else RunStatus(task.run_status(at or self.now))

    def is_full(self, at: float) -> bool:
        return [self.status(task_id, at) in ACTIVE for task_id in self.expected].count(True) >= QUOTA

    def inject_fault(self, action: str, fate: str) -> None:
        if fault := FATES[fate]:
            self.sandbox.inject(fault, action=action)

    def applied_at(self, fate: str, *, is_possible: bool = True) -> float:
        """Return when the request that takes effect arrives: the first one, or its retry a second later."""
        is_first = fate == "good" or (fate == "response lost" and is_possible)
        return self.now if is_first else self.now + 1.0

    # Rules.

    @initialize(target=task_ids, behavior=behaviors, crowd=st.sampled_from([0, 0, QUOTA - 1]), kind=kinds)
    def begin(self, behavior: ServerBehavior, crowd: int, kind: Kind) -> MultipleResults[str]:
        """Begin with tasks of other programs, and an id that never existed."""
        sandbox = Sandbox(
            frozen=True, behavior=behavior, queue_seconds=QUEUE, run_seconds=RUN, stop_seconds=STOP
        )
        self.sandbox = self.opened.enter_context(sandbox)
        client = client_of(sandbox, SteadyTime(sandbox), kind=kind, max_retries=1)
        self.client = self.opened.enter_context(client)
        made = sandbox.add_tasks(crowd, run_status="Running", name="crowd")
        self.expected = {task_id: Expected("crowd", self.now, set_to="Running") for task_id in made}
        return multiple("infer-never", *made)

    @rule(target=task_ids, name=st.sampled_from(["one", "two"]), fate=fates)
    def create(self, name: str, fate: str) -> MultipleResults[str]:
        self.inject_fault("CreateBatchInferenceTask", fate)
        created_at = self.applied_at(fate)
        is_full = self.is_full(created_at)
        try:
            created = self.client.create(
                name=name, endpoint="ernie", input_bos_uri="bos:/b/in", output_bos_uri="bos:/b/out"
            )
        except OutcomeUnknownError as error:
            candidates = error.candidates
            assert candidates == ()
            assert fate == "not arrived" or (fate == "response lost" and is_full)
            return multiple()
        except QuotaExceededError:
            assert is_full
            return multiple()
        assert not is_full
        assert fate != "not arrived"
        assert created.reused == (fate == "response lost")
        assert created.task_id not in self.expected
        self.expected[created.task_id] = Expected(name, created_at)
        return multiple(created.task_id)

    @rule(task_id=task_ids, fate=fates)
    def get(self, task_id: str, fate: str) -> None:
        self.inject_fault("DescribeBatchInferenceTask", fate)
        try:
            task = self.client.get(task_id)
        except TaskNotFoundError:
            assert self.status(task_id) is None
        else:
            assert task.run_status == self.status(task_id)
            assert task.name == self.expected[task_id].name

    @rule(fate=fates, page_size=st.integers(1, 4), run_status=st.sampled_from([None, "Running", "Stopped"]))
    def list(self, fate: str, page_size: int, run_status: str | None) -> None:
        self.inject_fault("DescribeBatchInferenceTasks", fate)
        listed = [task.task_id for task in self.client.list(page_size=page_size, run_status=run_status)]
        newest_first = reversed(self.expected)
        assert listed == [task_id for task_id in newest_first if run_status in (None, self.status(task_id))]

    @rule(task_id=task_ids, fate=fates)
    def stop(self, task_id: str, fate: str) -> None:
        self.inject_fault("StopBatchInferenceTask", fate)
        state = self.status(task_id)
        applied_at = self.applied_at(fate, is_possible=state is not None and state.can_stop)
        before = self.status(task_id, applied_at)
        try:
            stopped = self.client.stop(task_id)
        except TaskNotFoundError:
            assert before is None
        except InvalidRequestError:
            assert before not in RunStatus.KNOWN
        else:
            assert before is not None
            if before.can_stop:
                self.expected[task_id].stopped_at = applied_at
            assert stopped.run_status == (RunStatus.STOPPING if before.can_stop else before)

    @rule(task_id=task_ids, fate=fates, missing_ok=st.booleans())
    def delete(self, task_id: str, fate: str, *, missing_ok: bool) -> None:
        self.inject_fault("DeleteBatchInferenceTask", fate)
        state = self.status(task_id)
        is_deleted_at_once = fate == "response lost" and state is not None and state.can_delete
        before = self.status(task_id, self.applied_at(fate, is_possible=is_deleted_at_once))
        try:
            deleted = self.client.delete(task_id, missing_ok=missing_ok)
        except TaskNotFoundError:
            assert before is None
            assert not missing_ok
            assert fate in ("good", "rejected")  # otherwise an earlier attempt may have deleted it
        except TaskStateError:
            assert before in ACTIVE
        except InvalidRequestError:
            assert before not in RunStatus.KNOWN
        else:
            is_seen = before is not None and not is_deleted_at_once
            assert deleted.outcome == ("deleted" if is_seen else "already_gone")
            assert before is None or self.expected.pop(task_id)

    @rule(task_id=task_ids)
    def stop_and_delete(self, task_id: str) -> None:
        before = self.status(task_id)
        try:
            deleted = self.client.delete(task_id, stop_first=True)
        except TaskNotFoundError:
            assert before is None
        except TaskStateError:
            assert before not in RunStatus.KNOWN
        else:
            assert before is not None
            assert deleted.outcome == "deleted"
            assert deleted.stopped == (not before.is_final)
            del self.expected[task_id]

    @rule(page_size=st.integers(1, 4))
    def delete_while_listing(self, page_size: int) -> None:
        seen = []
        try:
            for task in self.client.list(page_size=page_size):
                seen.append(task.task_id)
                if task.run_status.can_delete:
                    self.client.delete(task)
        except InvalidRequestError as error:
            code = error.code
            assert code == "InvalidMarker"
        else:
            assert seen == [*reversed(self.expected)]
        self.expected = {
            task_id: task
            for task_id, task in self.expected.items()
            if task_id not in seen or not RunStatus(task.run_status(self.now)).can_delete
        }

    @rule(task_id=task_ids, run_status=st.sampled_from(["Failed", "Expired", "Done", "Pondering"]))
    def end(self, task_id: str, run_status: str) -> None:
        if task := self.expected.get(task_id):
            self.sandbox.set_status(task_id, run_status)
            task.set_to, task.stopped_at = run_status, None

    @rule(seconds=st.sampled_from([3, 8, 70]))
    def advance_clock(self, seconds: int) -> None:
        self.sandbox.advance(seconds)

    @invariant()
    def tasks_are_as_expected(self) -> None:
        states = {task_id: task["runStatus"] for task_id, task in self.sandbox.tasks.items()}
        assert states == {task_id: self.status(task_id) for task_id in self.expected}

    @invariant()
    def sandbox_has_no_errors(self) -> None:
        assert self.sandbox.errors == []
        assert self.sandbox.unexpected == []


TestClientAndSandbox = ClientAndSandbox.TestCase
