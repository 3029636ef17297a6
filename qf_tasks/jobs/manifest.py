"""What a job is: its records in shards, and the parameters of its tasks. Written once, as `job.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from qf_tasks._operations import create
from qf_tasks._operations.create import CreateRequest
from qf_tasks.data.uri import BosUri, ObjectInfo
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import Model, RunStatus, Task

_FORMAT = "qf_tasks.job"
_VERSION = 1
_ID_LENGTH = 24
_MAX_QUOTED = 200
_MAX_NAME = 20  # of a task: .github/docs/service.md#create
_CLOCK_MARGIN = timedelta(days=1)  # by which the clock of this machine and that of the service may differ
_RETRIED = (RunStatus.FAILED, RunStatus.EXPIRED)

# The state of a shard whose task was deleted before its end was seen.
DELETED = RunStatus("Deleted")


@dataclass(frozen=True, slots=True)
class InputFile(Model):
    """One object of the input of a shard."""

    name: str
    records: int
    bytes: int
    md5: str


@dataclass(frozen=True, slots=True)
class Shard(Model):
    """The records of one task.

    Attributes:
        input_uri: the directory with its files.
    """

    name: str
    input_uri: str
    files: tuple[InputFile, ...]

    @property
    def records(self) -> int:
        """The number of records."""
        return sum(file.records for file in self.files)

    def objects(self) -> list[ObjectInfo]:
        """Return its files in the form of a listing."""
        directory = BosUri.parse_directory(self.input_uri)
        return [ObjectInfo(directory.child(file.name), file.bytes, file.md5) for file in self.files]


@dataclass(frozen=True, slots=True)
class Parameters(Model):
    """What all tasks of a job have in common, as it was passed to `submit`."""

    name: str
    endpoint: str | None = None
    model_id: str | None = None
    inference_params: dict[str, Any] | None = None
    data_format: str | None = None
    description: str | None = None
    max_records_per_task: int | None = None
    shard_retries: int = 1


@dataclass(frozen=True, slots=True)
class Manifest(Model):
    """The description of a job, or of a part that `retry_failures` added.

    Attributes:
        id: a hash of everything else.
        bos_uri: the directory of the job or part.
    """

    id: str
    bos_uri: str
    parameters: Parameters
    shards: tuple[Shard, ...]
    created: datetime
    format: str = _FORMAT
    version: int = _VERSION

    @classmethod
    def of(cls, directory: BosUri, parameters: Parameters, shards: tuple[Shard, ...]) -> Self:
        """Return the manifest of a new job."""
        unnamed = cls("", str(directory), parameters, shards, datetime.now(UTC))
        return replace(unnamed, id=unnamed._hash())

    @classmethod
    def parse(cls, content: bytes, uri: BosUri, directory: BosUri) -> Self:
        """Return a manifest that was read from `uri`.

        Raises:
            InvalidArgumentError: It is damaged, not the manifest of a job, or belongs to another directory.
        """
        from pydantic import ValidationError

        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            raise _unusable(uri, "is not JSON") from None
        if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
            raise _unusable(uri, "is not the manifest of a job")
        if fields.get("version") != _VERSION:
            version = repr(fields.get("version"))[:_MAX_QUOTED]
            raise _unusable(uri, f"has version {version}, which this version of the library cannot read")
        try:
            manifest = cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            field = ".".join(str(name) for name in first["loc"])
            raise _unusable(uri, f"is damaged: {field}: {first['msg']}") from None
        if manifest.bos_uri != str(directory):
            raise _unusable(
                uri, f"was copied: its bos_uri is {manifest.bos_uri[:_MAX_QUOTED]!r}, not this directory"
            )
        if manifest.id != manifest._hash():
            raise _unusable(uri, "was changed: its id does not match its content")
        return manifest

    def encoded(self) -> bytes:
        """Return the content of `job.json`."""
        return self.model_dump_json(indent=1).encode()

    @property
    def records(self) -> int:
        """The number of records."""
        return sum(shard.records for shard in self.shards)

    @property
    def directory(self) -> BosUri:
        """The directory of the job or part."""
        return BosUri.parse_directory(self.bos_uri)

    def differences(self, other: Manifest) -> list[str]:
        """Return the names of the arguments in which another job differs."""
        mine, others = self.parameters.model_dump(), other.parameters.model_dump()
        names = [name for name in mine if mine[name] != others[name]]
        return names if self.shards == other.shards else ["records", *names]

    def request(self, shard: Shard, attempt: int) -> CreateRequest:
        """Return the request for a task of a shard.

        Raises:
            InvalidArgumentError: A parameter breaks a rule of the service.
        """
        parameters = self.parameters
        suffix = f"-{shard.name}" if len(self.shards) > 1 else ""
        return create.create_request(
            name=parameters.name[: _MAX_NAME - len(suffix)] + suffix,
            input_bos_uri=shard.input_uri,
            output_bos_uri=str(self.directory.child(f"output/{shard.name}/")),
            endpoint=parameters.endpoint,
            model_id=parameters.model_id,
            inference_params=parameters.inference_params,
            data_format=parameters.data_format,
            description=parameters.description,
            idempotency_key=f"{self.key_prefix}{shard.name}/{attempt}",
            reuse_within=self.oldest_task,
        )

    @property
    def key_prefix(self) -> str:
        """The beginning of the idempotency keys of its tasks."""
        return f"job-{self.id}/"

    @property
    def oldest_task(self) -> datetime:
        """The earliest time at which a task of the job can have been created, by the clock of the service."""
        return self.created - _CLOCK_MARGIN

    def _hash(self) -> str:
        fields = self.model_dump(mode="json") | {"id": None}
        content = json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()
        return hashlib.sha256(content).hexdigest()[:_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class ShardState(Model):
    """The state of a shard, as it is stored in `tasks/0001.json`.

    Attributes:
        attempt: the number of its task, from 1.
        output_uri: the directory with the output of that task.
        tokens: of input and output together.
        error: why the task failed.
        earlier: the tasks of the attempts before.
    """

    task_id: str
    attempt: int
    run_status: RunStatus
    output_uri: str | None = None
    progress: int | None = None
    tokens: int | None = None
    error: str | None = None
    earlier: tuple[str, ...] = ()

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The ids of all tasks of the shard."""
        return (*self.earlier, self.task_id)

    def after(self, task: Task) -> ShardState:
        """Return the state with the current values of its task."""
        return replace(
            self,
            run_status=task.run_status,
            output_uri=task.output_uri,
            progress=task.progress,
            tokens=task.total_token_usage,
            error=task.error_reason,
        )

    def is_finished(self, retries: int) -> bool:
        """Whether nothing more will be done for the shard."""
        has_ended = self.run_status.is_final or self.run_status == DELETED
        return has_ended and not self.needs_task(retries)

    def needs_task(self, retries: int) -> bool:
        """Whether the shard is to be tried again."""
        return self.run_status in _RETRIED and self.attempt <= retries


def find_tasks(manifest: Manifest, tasks: Iterable[Task]) -> dict[str, ShardState]:
    """Return the state of each shard that has a task among these, found by the keys of the tasks.

    The newest attempt of a shard is used. If it has several tasks, those that did not fail come first, then
    the oldest, as in `create`.
    """
    found: dict[str, list[tuple[int, Task]]] = {}
    for task in tasks:
        key = task.idempotency_key or ""
        name, _, number = key.removeprefix(manifest.key_prefix).rpartition("/")
        if key.startswith(manifest.key_prefix) and number.isdecimal():
            found.setdefault(name, []).append((int(number), task))
    states = {}
    for name, attempts in found.items():
        attempts.sort(key=_rank)
        *earlier, (attempt, task) = attempts
        state = ShardState(task.task_id, attempt, task.run_status)
        states[name] = replace(state.after(task), earlier=tuple(task.task_id for _, task in earlier))
    return states


def _rank(attempt: tuple[int, Task]) -> tuple[int, bool, float]:
    number, task = attempt
    has_failed = task.run_status == RunStatus.STOPPING or (task.is_final and not task.is_success)
    return number, not has_failed, -task.create_time.timestamp() if task.create_time else 0.0


def _unusable(uri: BosUri, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{uri} {problem}",
        hint="Choose another bos_uri, or restore the object. Deleting the directory deletes its records and "
        "results.",
    )
