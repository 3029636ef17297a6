"""Random use of records, tasks and results together, by clients that may be killed in the middle of a call.

A client that is killed is abandoned, and the next one goes on. What users see of both services is compared
with a model after every step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from unittest.mock import patch

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
    BulkInterrupted,
    BulkReport,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    RunStatus,
    TaskClient,
    TaskNotFoundError,
    TaskStateError,
)
from qf_tasks.data import jsonl
from qf_tasks.data.facades import Data
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.clients import BlockingAdapter, Kind, SandboxTime, client_of
from tests.data.conftest import DataAdapter

pytestmark = pytest.mark.fuzz

QUEUE, RUN, STOP = 10.5, 60.0, 5.5  # seconds; the clock advances by whole ones
QUOTA = 20
DIRECTORIES = ("bos:/bucket/a/", "bos:/bucket/b/")
OUTPUT = "bos:/bucket/out/"
SHARD_BYTES = 150  # three records
FAILING_ID = "3"

Record = tuple[str, str]  # id and query
SETS: dict[str, list[Record]] = {
    "small": [(str(number), f"a small question {number}") for number in range(2)],
    "large": [(str(number), f"one of many questions {number}") for number in range(10)],
    "other": [(str(number), f"quite another question {number}") for number in range(3, 8)],
}

STORE_FAULTS: dict[str, Fault | None] = {
    "good": None,
    "rejected": Fault.status(429),
    "failed": Fault.status(503),
    "not arrived": Fault.reset_before(),
    "response lost": Fault.reset_after(),
}
READ_FAULTS = {**STORE_FAULTS, "cut": Fault.reset_during(), "truncated": Fault.truncated()}
kinds = st.sampled_from(["blocking", "asyncio"])
store_fates = st.sampled_from([*STORE_FAULTS])
read_fates = st.sampled_from([*READ_FAULTS])
directories = st.sampled_from(DIRECTORIES)
# How many calls of `on_progress` a client survives.
lifetimes = st.sampled_from([None, None, 0, 1, 2, 3, 4])
behaviors = st.builds(
    ServerBehavior,
    output_shape=st.sampled_from(["result", "choices"]),
    output_names=st.sampled_from(["input", "numbered"]),
    failed_record=st.sampled_from(["absent", "error"]),
    fill_in_defaults=st.booleans(),
)


class Killed(BaseException):
    """The end of the program that uses a client."""


class MortalTime(SandboxTime):
    """A time whose pauses have no jitter, and at whose next pause the program may be killed."""

    is_killed = False

    def sleep(self, seconds: float) -> None:
        if self.is_killed:
            raise Killed
        super().sleep(float(round(seconds)))


@dataclass
class Expected:
    """A task as it must be.

    Attributes:
        records_at_start: how many records there were when it began to run.
        results: what it was given, once it is Done.
    """

    directory: str
    key: str | None
    created_at: float
    stopped_at: float | None = None
    records_at_start: int | None = None
    results: dict[str, str] | None = None

    def run_status(self, now: float) -> RunStatus:
        if self.stopped_at is not None:
            return RunStatus.STOPPING if now < self.stopped_at + STOP else RunStatus.STOPPED
        age = now - self.created_at
        if age < QUEUE:
            return RunStatus.QUEUING
        return RunStatus.RUNNING if age < QUEUE + RUN else RunStatus.DONE


class Pipeline(RuleBasedStateMachine):
    """The rules, for clients of both kinds."""

    task_ids: Bundle[str] = Bundle("task_ids")

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.opened.enter_context(patch.object(jsonl, "SHARD_BYTES", SHARD_BYTES))
        self.folder = Path(self.opened.enter_context(TemporaryDirectory()))
        sandbox = Sandbox(
            frozen=True,
            queue_seconds=QUEUE,
            run_seconds=RUN,
            stop_seconds=STOP,
            answer=lambda record: record["query"],
            fail_records={FAILING_ID},
        )
        self.sandbox = self.opened.enter_context(sandbox)
        self.expected: dict[str, Expected] = {}
        self.uploaded: dict[str, str] = {}  # the name of the set in each directory
        self.is_complete: dict[str, bool] = {}
        self.sandbox.advance(1 - self.sandbox.now.microsecond / 1e6)  # create times have no fractions

    @initialize(target=task_ids, behavior=behaviors, name=st.sampled_from([*SETS]), kind=kinds)
    def begin(self, behavior: ServerBehavior, name: str, kind: Kind) -> MultipleResults[str] | str:
        """Begin with a task that is Done."""
        self.sandbox.behavior = behavior
        self.open_client(kind)
        self.upload(DIRECTORIES[0], name, "good", None, kind)
        created = self.create(DIRECTORIES[0], "one", "good", kind)
        self.sandbox.advance(QUEUE + 0.5)
        self.tasks_are_as_expected()
        self.sandbox.advance(RUN)
        return created

    def teardown(self) -> None:
        self.opened.close()

    def open_client(self, kind: Kind) -> None:
        self.time = MortalTime(self.sandbox)
        client = client_of(
            self.sandbox, self.time, kind=kind, max_retries=1, max_retry_wait=0, bos_endpoint=self.sandbox.url
        )
        self.client: TaskClient = self.opened.enter_context(client)
        self.data = cast(Data, DataAdapter(client)) if isinstance(client, BlockingAdapter) else client.data

    def status(self, task_id: str) -> RunStatus | None:
        task = self.expected.get(task_id)
        return task.run_status(self.sandbox.now.timestamp()) if task else None

    def stored(self, directory: str) -> list[Record]:
        """Return the records that are in the store, in the order in which a task reads them."""
        uris = [uri for uri in self.sandbox.objects if uri.startswith(directory)]
        lines = b"".join(self.sandbox.get(uri) for uri in uris).splitlines()
        return [(record["id"], record["query"]) for record in map(json.loads, lines)]

    def inject(self, fault: Fault | None, action: str) -> None:
        if fault:
            self.sandbox.inject(fault, action=action)

    # Records.

    @rule(
        directory=directories,
        name=st.sampled_from([*SETS]),
        fate=store_fates,
        lifetime=lifetimes,
        kind=kinds,
    )
    def upload(self, directory: str, name: str, fate: str, lifetime: int | None, kind: Kind) -> None:
        has_others = self.uploaded.get(directory, name) != name
        if not has_others and not self.is_complete.get(directory) and lifetime != 0:
            self.inject(STORE_FAULTS[fate], "PutObject")
        try:
            upload = self.data.upload(as_dicts(name), directory, on_progress=killed_after(lifetime))
        except InvalidArgumentError:
            assert has_others
            return
        except Killed:
            assert not has_others
            self.open_client(kind)
            self.is_complete[directory] = len(self.stored(directory)) == len(SETS[name])
        else:
            assert not has_others
            assert (upload.uri, upload.records) == (directory, len(SETS[name]))
            self.is_complete[directory] = True
        if self.stored(directory):
            self.uploaded[directory] = name

    @rule(directory=directories)
    def read_records(self, directory: str) -> None:
        try:
            records = [(record.id, record.query) for record in self.data.records(directory)]
        except NotFoundError:
            records = []
        assert records == self.stored(directory)

    @rule(directory=directories)
    def delete_records(self, directory: str) -> None:
        count = sum(uri.startswith(directory) for uri in self.sandbox.objects)
        assert self.data.delete(directory) == count
        self.uploaded.pop(directory, None)
        self.is_complete.pop(directory, None)

    # Tasks.

    @rule(
        target=task_ids,
        directory=directories,
        key=st.sampled_from([None, "one", "two"]),
        fate=st.sampled_from(["good", "rejected", "not arrived", "response lost", "killed"]),
        kind=kinds,
    )
    def create(self, directory: str, key: str | None, fate: str, kind: Kind) -> MultipleResults[str]:
        if [self.status(task_id) in (None, *ENDED) for task_id in self.expected].count(False) >= QUOTA:
            return multiple()
        earlier = self.task_of_key(key)
        if earlier is None:
            self.inject(CREATE_FAULTS[fate], "CreateBatchInferenceTask")
            self.time.is_killed = fate == "killed"
        try:
            created = self.client.create(
                name="task",
                endpoint="ernie",
                input_bos_uri=directory,
                output_bos_uri=OUTPUT,
                idempotency_key=key,
            )
        except InvalidArgumentError:
            assert earlier
            assert self.expected[earlier].directory != directory
            return multiple()
        except Killed:
            self.open_client(kind)
            return self.note_created(directory, key)
        except OutcomeUnknownError as error:
            known = {task.task_id for task in error.candidates} | {*self.expected}
            assert fate == "not arrived" or (fate == "response lost" and key is None)
            assert known >= {*self.sandbox.tasks}
            return multiple() if fate == "not arrived" else self.note_created(directory, key)
        if earlier:
            assert (created.task_id, created.reused) == (earlier, True)
            assert self.expected[earlier].directory == directory
            return multiple()
        assert fate != "not arrived" or key is None
        assert created.reused == (fate == "response lost")
        noted = self.note_created(directory, key)
        assert noted.values == (created.task_id,)
        return noted

    def task_of_key(self, key: str | None) -> str | None:
        """Return the task that a create with a key must return, if there is one."""
        usable = (task_id for task_id in self.expected if self.status(task_id) not in NOT_REUSED)
        return next((task_id for task_id in usable if key and self.expected[task_id].key == key), None)

    def note_created(self, directory: str, key: str | None) -> MultipleResults[str]:
        """Add the one task that a create made, however it ended."""
        (task_id,) = self.sandbox.tasks.keys() - self.expected.keys()
        created_at = self.client.get(task_id).create_time
        assert created_at is not None
        self.expected[task_id] = Expected(directory, key, created_at.timestamp())
        return multiple(task_id)

    @rule()
    def list(self) -> None:
        listed = [(task.task_id, task.run_status, task.idempotency_key) for task in self.client.list()]
        newest_first = [*reversed(self.expected.items())]
        assert listed == [(task_id, self.status(task_id), task.key) for task_id, task in newest_first]

    @rule(task_id=task_ids)
    def stop(self, task_id: str) -> None:
        before = self.status(task_id)
        try:
            self.client.stop(task_id)
        except TaskNotFoundError:
            assert before is None
        else:
            assert before is not None
            if before.can_stop:
                self.expected[task_id].stopped_at = self.sandbox.now.timestamp()

    @rule(task_id=task_ids)
    def delete(self, task_id: str) -> None:
        before = self.status(task_id)
        try:
            self.client.delete(task_id)
        except TaskNotFoundError:
            assert before is None
        except TaskStateError:
            assert before is not None
            assert not before.can_delete
        else:
            del self.expected[task_id]

    @rule(chosen=st.sets(task_ids, max_size=5), lifetime=lifetimes, kind=kinds)
    def delete_many(self, chosen: set[str], lifetime: int | None, kind: Kind) -> None:
        before = {task_id: self.status(task_id) for task_id in chosen}
        report = self.report_of(chosen, lifetime, kind)
        assert {outcome.task_id for outcome in report} == chosen
        for outcome in report:
            status = before[outcome.task_id]
            allowed = (
                ("already_gone",) if status is None else ("deleted",) if status.can_delete else ("failed",)
            )
            assert outcome.outcome in (*allowed, *(() if lifetime is None else ("not_tried",)))
            assert (outcome.task_id in self.sandbox.tasks) == (
                status is not None and outcome.outcome in ("failed", "not_tried")
            )
            if outcome.outcome == "deleted":
                del self.expected[outcome.task_id]

    def report_of(self, chosen: set[str], lifetime: int | None, kind: Kind) -> BulkReport:
        try:
            return self.client.delete_many(
                chosen, missing_ok=True, on_progress=killed_after(lifetime, KeyboardInterrupt)
            )
        except BulkInterrupted as interrupted:
            self.open_client(kind)
            return interrupted.report

    @rule(seconds=st.sampled_from([3, 8, 70]))
    def advance_clock(self, seconds: int) -> None:
        self.sandbox.advance(seconds)

    # Results.

    @rule(
        task_id=task_ids,
        fate=read_fates,
        action=st.sampled_from(["GetObject", "ListObjects"]),
        is_joined=st.booleans(),
    )
    def read_results(self, task_id: str, fate: str, action: str, *, is_joined: bool) -> None:
        task, status = self.expected.get(task_id), self.status(task_id)
        has_output = task is not None and bool(task.results)
        has_input = task is not None and bool(self.stored(task.directory))
        if has_output and (has_input or not is_joined):
            self.inject(READ_FAULTS[fate], action)
        try:
            results = [*self.data.results(task_id, missing=is_joined)]
        except TaskNotFoundError:
            assert task is None
            return
        except TaskStateError:
            assert status not in ENDED
            return
        except NotFoundError:
            assert not has_output or (is_joined and not has_input)
            return
        assert task
        assert task.results
        answers = {result.id: result.text for result in results if result.outcome == "succeeded"}
        given = {**task.results}
        if is_joined:
            now = dict(self.stored(task.directory))
            given = {record_id: query for record_id, query in given.items() if now.get(record_id) == query}
            left = [result.id for result in results if result.outcome != "unexpected"]
            assert sorted(map(str, left)) == sorted(now)
        given.pop(FAILING_ID, None)
        assert answers == given
        assert all(result.text is None for result in results if result.id == FAILING_ID)

    @rule(task_id=task_ids, count=st.integers(0, 2))
    def abandon_results(self, task_id: str, count: int) -> None:
        task = self.expected.get(task_id)
        if task and task.results:
            results = self.data.results(task_id)
            seen = [result.id for result, _ in zip(results, range(count), strict=False)]
            assert {*seen} <= {*task.results}

    @rule(task_id=task_ids, fate=read_fates, lifetime=lifetimes, kind=kinds)
    def download(self, task_id: str, fate: str, lifetime: int | None, kind: Kind) -> None:
        task = self.expected.get(task_id)
        if not (task and task.results):
            return
        target = self.folder / f"{task_id}.jsonl"
        if lifetime is None:
            self.inject(READ_FAULTS[fate], "GetObject")
        try:
            self.data.download(task_id, target, on_progress=killed_after(lifetime))
        except Killed:
            self.open_client(kind)
            self.data.download(task_id, target)
        directory = f"{OUTPUT}{self.sandbox.tasks[task_id]['outputDir']}/"
        uris = [uri for uri in self.sandbox.objects if uri.startswith(directory)]
        assert target.read_bytes() == b"".join(self.sandbox.get(uri) for uri in uris)
        assert [path.name for path in self.folder.iterdir()] == [target.name]
        target.unlink()

    # What holds after every step.

    @invariant()
    def tasks_are_as_expected(self) -> None:
        states = {task_id: task["runStatus"] for task_id, task in self.sandbox.tasks.items()}
        assert states == {task_id: self.status(task_id) for task_id in self.expected}
        for task_id, task in self.expected.items():
            self.note_input(task, self.status(task_id))

    def note_input(self, task: Expected, status: RunStatus | None) -> None:
        """Keep what a task reads when it begins and when it ends."""
        if task.records_at_start is None and status in (RunStatus.RUNNING, RunStatus.DONE):
            task.records_at_start = len(self.stored(task.directory))
        if task.results is None and status == RunStatus.DONE:
            task.results = dict(self.stored(task.directory)[: task.records_at_start])

    @invariant()
    def no_key_has_two_tasks(self) -> None:
        usable = [task_id for task_id in self.expected if self.status(task_id) not in NOT_REUSED]
        keys = [task.key for task in map(self.expected.__getitem__, usable) if task.key]
        assert len({*keys}) == len(keys)

    @invariant()
    def records_are_as_expected(self) -> None:
        for directory, name in self.uploaded.items():
            stored = self.stored(directory)
            assert stored == SETS[name] if self.is_complete[directory] else {*stored} < {*SETS[name]}

    @invariant()
    def sandbox_has_no_errors(self) -> None:
        assert self.sandbox.errors == []
        assert self.sandbox.unexpected == []
        assert self.sandbox.unused_faults == []


DELETE_OUTCOMES = {None: "already_gone", True: "deleted", False: "failed"}
ENDED = (RunStatus.DONE, RunStatus.STOPPED)
NOT_REUSED = (RunStatus.STOPPING, RunStatus.STOPPED)
CREATE_FAULTS: dict[str, Fault | None] = {
    "good": None,
    "rejected": Fault.status(429),
    "not arrived": Fault.reset_before(),
    "response lost": Fault.reset_after(),
    "killed": Fault.reset_after(),
}


def as_dicts(name: str) -> Iterator[dict[str, str]]:
    return ({"id": record_id, "query": query} for record_id, query in SETS[name])


def killed_after(lifetime: int | None, error: type[BaseException] = Killed) -> Callable[..., Any]:
    """Return a function that raises when it has been called a number of times."""
    calls = iter(range(lifetime if lifetime is not None else 1_000_000))

    def survive(*_progress: object) -> None:
        if next(calls, None) is None:
            raise error

    return survive


TestPipeline = Pipeline.TestCase
