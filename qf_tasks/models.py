"""What the service has told, as values: tasks, pages, results, replies.

Frozen dataclasses that write their fields as JSON and read them back. They know neither HTTP nor errors,
nor the service's own names: `_answers.py` makes them from what was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from qf_tasks.run_status import RunStatus

if TYPE_CHECKING:
    from pydantic import TypeAdapter

DataFormat = Literal["default", "src_tgt", "role"]

_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """Return the reader and writer of a class, made at its first use: importing pydantic takes time."""
    if cls not in _adapters:
        from pydantic import TypeAdapter

        _adapters[cls] = TypeAdapter(cls)
    return _adapters[cls]


class Model:
    """What all values of this library have: they read their own JSON back."""

    __slots__ = ()

    @classmethod
    def model_validate(cls, value: object) -> Self:
        """Return the value that `model_dump` wrote.

        Raises:
            pydantic.ValidationError: it is not of this shape.
        """
        model: Self = _adapter(cls).validate_python(value)
        return model

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Return the value that `model_dump_json` wrote.

        Raises:
            pydantic.ValidationError: it is not of this shape.
        """
        model: Self = _adapter(cls).validate_json(text)
        return model

    def model_dump(self, *, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """Return the fields as a dict; with `mode="json"` of JSON values only."""
        fields: dict[str, Any] = _adapter(type(self)).dump_python(self, mode=mode)
        return fields

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the fields as JSON text."""
        return _adapter(type(self)).dump_json(self, indent=indent).decode()


@dataclass(frozen=True, slots=True, repr=False)
class Task(Model):
    """A batch inference task as the service described it (mluhsekbp, Gmo1g4hxg).

    Attributes:
        progress: how many records have been processed; a count, not a share.
        output_dir: the name of the task's own directory below `output_bos_uri`.
        output_uri: the two joined; None while the service has not named the directory.
        input_token_usage, output_token_usage: of the records processed well; documented for Done only.
        error_code, error_reason: documented for Failed only.
        finish_time: when it ended (inferred from the name).
        raw: the service's object as sent, with its own names.
        request_id: of the request that told this; not part of equality.
    """

    task_id: str
    run_status: RunStatus
    name: str | None = None
    description: str | None = None
    endpoint: str | None = None
    model_id: str | None = None
    inference_params: dict[str, Any] | None = None
    input_bos_uri: str | None = None
    output_bos_uri: str | None = None
    output_dir: str | None = None
    output_uri: str | None = None
    input_token_usage: int | None = None
    output_token_usage: int | None = None
    progress: int | None = None
    error_code: int | None = None
    error_reason: str | None = None
    creator: str | None = None
    create_time: datetime | None = None
    finish_time: datetime | None = None
    data_format: DataFormat | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = field(default=None, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether the task has ended, well or not."""
        return self.run_status.is_final

    @property
    def is_success(self) -> bool:
        """Whether the task ran to its end. Single records may have failed all the same."""
        return self.run_status.is_success

    def __hash__(self) -> int:
        """Let tasks stand in sets; the dicts that they hold cannot be hashed."""
        return hash((self.task_id, self.run_status))

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<Task {self.task_id} {self.name!r} {self.run_status}>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, repr=False)
class TaskPage(Model):
    """One page of a listing, as one request brought it."""

    tasks: tuple[Task, ...]
    next_marker: str | None
    is_truncated: bool
    request_id: str | None = field(default=None, compare=False)

    def __len__(self) -> int:
        """Return the number of tasks on this page."""
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        """Iterate over the tasks of this page."""
        return iter(self.tasks)

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<TaskPage {len(self.tasks)} tasks, next {self.next_marker!r}>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class ModelVersion(Model):
    """A version of a model; `create` takes its `amv-…` id as `model_id`."""

    model_version_id: str
    model_version_name: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ModelFamily(Model):
    """A model with its versions (5mo1fxxjr)."""

    model_id: str
    model_name: str | None = None
    versions: tuple[ModelVersion, ...] = ()

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<ModelFamily {self.model_id} {self.model_name!r}, {len(self.versions)} versions>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, repr=False)
class SupportedModels(Model):
    """The models that batch inference takes: `common` preset ones, `custom` the account's own."""

    common: tuple[ModelFamily, ...]
    custom: tuple[ModelFamily, ...]
    request_id: str | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<SupportedModels {len(self.common)} common, {len(self.custom)} custom>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class DeleteResult(Model):
    """What became of a delete.

    Attributes:
        outcome: `"deleted"`; `"already_gone"` where the task was not there any more, and either
            that was allowed or an earlier attempt of this same call may have deleted it.
        stopped: whether the task was stopped first.
        attempts: requests that the delete itself took.
    """

    task_id: str
    request_id: str | None
    outcome: Literal["deleted", "already_gone"] = "deleted"
    stopped: bool = False
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class StopResult(Model):
    """What became of a stop.

    Attributes:
        run_status: Stopping where the service confirmed it, which is not looked at again; or the state in
            which the task was found to have ended.
    """

    task_id: str
    request_id: str | None
    run_status: RunStatus


@dataclass(frozen=True, slots=True)
class CreatedTask(Model):
    """The id of a task that was created; `reused` where an earlier create was found to be it."""

    task_id: str
    request_id: str | None
    name: str
    reused: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Response(Model):
    """An answer of the service to any action: its JSON object whole, and what came with it.

    Attributes:
        attempts: requests that it took.
        elapsed: seconds from the first of them to this answer.
    """

    body: dict[str, Any]
    request_id: str | None
    status: int
    headers: dict[str, str]
    attempts: int = 1
    elapsed: float = 0.0

    @property
    def result(self) -> Any:
        """What stands under `result`, the service's answer proper."""
        return self.body.get("result")

    def __repr__(self) -> str:
        """Return one short line, without the body."""
        return f"<Response {self.status}, request id {self.request_id}>"

    __str__ = __repr__
