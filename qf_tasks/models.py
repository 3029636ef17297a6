"""What the service returned, as values: tasks, their states, pages, results and responses.

Frozen dataclasses that write their fields as JSON and read them back. They know neither HTTP nor errors
nor the names that the service uses: `_protocol/decoding.py` makes them from what was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

DataFormat = Literal["default", "src_tgt", "role"]

_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """Return the reader and writer of a class, made at its first use: importing pydantic takes time."""
    if cls not in _adapters:
        from pydantic import TypeAdapter

        _adapters[cls] = TypeAdapter(cls)
    return _adapters[cls]


class Model:
    """What all values of this library share: they read their own JSON back."""

    __slots__ = ()

    @classmethod
    def model_validate(cls, value: object) -> Self:
        """Return the value that `model_dump` wrote.

        Raises:
            pydantic.ValidationError: `value` does not have this shape.
        """
        model: Self = _adapter(cls).validate_python(value)
        return model

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Return the value that `model_dump_json` wrote.

        Raises:
            pydantic.ValidationError: `text` does not have this shape.
        """
        model: Self = _adapter(cls).validate_json(text)
        return model

    def model_dump(self, *, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """Return the fields as a dict; with `mode="json"`, of JSON values only."""
        fields: dict[str, Any] = _adapter(type(self)).dump_python(self, mode=mode)
        return fields

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the fields as JSON text."""
        return _adapter(type(self)).dump_json(self, indent=indent).decode()


def html_table(caption: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a small table for a notebook, from names and values; rows without a value are left out."""
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in rows
        if value not in (None, "")
    )
    return f"<table><caption>{escape(caption)}</caption>{cells}</table>"


class _StateRules(NamedTuple):
    is_final: bool = False
    is_success: bool = False
    can_stop: bool = False
    can_delete: bool = False


class RunStatus(str):
    """The state of a task as the service names it: a `str` that knows what the state allows.

    Seven states are documented, see `.github/docs/service.md#states`. A state that is not among them is
    kept as it is; it is not final and allows nothing. That Expired and Failed tasks can be deleted like Done
    and Stopped ones is inferred, and so is that a queuing task can be stopped.
    """

    __slots__ = ()

    QUEUING: ClassVar[RunStatus]
    RUNNING: ClassVar[RunStatus]
    DONE: ClassVar[RunStatus]
    STOPPING: ClassVar[RunStatus]
    STOPPED: ClassVar[RunStatus]
    FAILED: ClassVar[RunStatus]
    EXPIRED: ClassVar[RunStatus]
    KNOWN: ClassVar[tuple[RunStatus, ...]]

    @property
    def is_final(self) -> bool:
        """Whether the task has ended, well or not."""
        return self._rules.is_final

    @property
    def is_success(self) -> bool:
        """Whether the task ran to its end. Individual records may still have failed."""
        return self._rules.is_success

    @property
    def can_stop(self) -> bool:
        """Whether the service is expected to stop a task in this state."""
        return self._rules.can_stop

    @property
    def can_delete(self) -> bool:
        """Whether the service is expected to delete a task in this state."""
        return self._rules.can_delete

    @property
    def _rules(self) -> _StateRules:
        return _RULES.get(self, _UNKNOWN)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic read the plain string."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


_UNKNOWN = _StateRules()
_RULES: dict[str, _StateRules] = {
    "Queuing": _StateRules(can_stop=True),
    "Running": _StateRules(can_stop=True),
    "Done": _StateRules(is_final=True, is_success=True, can_delete=True),
    "Stopping": _StateRules(),
    "Stopped": _StateRules(is_final=True, can_delete=True),
    "Failed": _StateRules(is_final=True, can_delete=True),
    "Expired": _StateRules(is_final=True, can_delete=True),
}
RunStatus.KNOWN = tuple(RunStatus(name) for name in _RULES)
for _status in RunStatus.KNOWN:
    setattr(RunStatus, _status.upper(), _status)

# The states that count against the quota of an account: .github/docs/service.md#quota
ACTIVE: tuple[RunStatus, ...] = (RunStatus.QUEUING, RunStatus.RUNNING, RunStatus.STOPPING)


@dataclass(frozen=True, slots=True, repr=False)
class Account(Model):
    """Whose tasks a client handles, safe to log.

    Two are equal if the masked key and the host are: the last four characters of two real access keys agree
    once in millions.

    Attributes:
        access_key: its first and last four characters, as in `ALTA…9f3c`.
        host: where the requests go, with the port if one was set.
        source: where the keys came from; not part of equality.
    """

    access_key: str
    host: str
    source: str = field(compare=False)

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<Account {self}>"

    def __str__(self) -> str:
        """Return one short line."""
        return f"{self.access_key} at {self.host} ({self.source})"


@dataclass(frozen=True, slots=True, repr=False)
class Task(Model):
    """A batch inference task as the service described it, see `.github/docs/service.md#task`.

    Attributes:
        description: without the idempotency key that `create` writes at its end.
        idempotency_key: the key it was created with, or None.
        progress: how many records have been processed; a count, not a share.
        output_dir: the name of the task's own directory below `output_bos_uri`.
        output_uri: the two joined; None until the service has named the directory.
        input_token_usage, output_token_usage: of the records that succeeded; documented for Done only.
        error_code, error_reason: documented for Failed only.
        finish_time: when it ended (inferred from the name).
        raw: the unmodified object of the response, with the service's own names.
        request_id: of the request it came from; not part of equality.
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
    idempotency_key: str | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = field(default=None, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether the task has ended, well or not."""
        return self.run_status.is_final

    @property
    def is_success(self) -> bool:
        """Whether the task ran to its end. Individual records may still have failed."""
        return self.run_status.is_success

    @property
    def duration(self) -> timedelta | None:
        """The time from its creation to its end, waiting included; None until both are known."""
        if self.create_time is None or self.finish_time is None:
            return None
        return self.finish_time - self.create_time

    @property
    def total_token_usage(self) -> int | None:
        """Input and output tokens together; None where either is not reported."""
        if self.input_token_usage is None or self.output_token_usage is None:
            return None
        return self.input_token_usage + self.output_token_usage

    def __hash__(self) -> int:
        """Allow tasks in sets; the dicts that they hold cannot be hashed."""
        return hash((self.task_id, self.run_status))

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<Task {self.task_id} {self.name!r} {self.run_status}>"

    def _repr_html_(self) -> str:
        rows = (
            ("state", self.run_status),
            ("name", self.name),
            ("model", self.endpoint or self.model_id),
            ("records processed", self.progress),
            ("tokens", self.total_token_usage),
            ("created", self.create_time),
            ("finished", self.finish_time),
            ("error", self.error_reason),
            ("input", self.input_bos_uri),
            ("output", self.output_uri),
        )
        return html_table(f"Task {self.task_id}", rows)


@dataclass(frozen=True, slots=True, repr=False)
class TaskPage(Model):
    """One page of a listing, from one request."""

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


@dataclass(frozen=True, slots=True)
class ModelVersion(Model):
    """A version of a model; `create` accepts its `amv-…` id as `model_id`."""

    model_version_id: str
    model_version_name: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ModelFamily(Model):
    """A model with its versions, see `.github/docs/service.md#models`."""

    model_id: str
    model_name: str | None = None
    versions: tuple[ModelVersion, ...] = ()

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<ModelFamily {self.model_id} {self.model_name!r}, {len(self.versions)} versions>"


@dataclass(frozen=True, slots=True, repr=False)
class SupportedModels(Model):
    """The models that batch inference supports: `common` are preset ones, `custom` the account's own."""

    common: tuple[ModelFamily, ...]
    custom: tuple[ModelFamily, ...]
    request_id: str | None = field(default=None, compare=False)

    def __len__(self) -> int:
        """Return the number of models."""
        return len(self.common) + len(self.custom)

    def __iter__(self) -> Iterator[ModelFamily]:
        """Iterate over the models, the account's own last."""
        return iter(self.common + self.custom)

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<SupportedModels {len(self.common)} common, {len(self.custom)} custom>"


@dataclass(frozen=True, slots=True)
class DeleteResult(Model):
    """The outcome of a delete.

    Attributes:
        outcome: `"deleted"`; or `"already_gone"` if the task did not exist any more, and either `missing_ok`
            was given or an earlier attempt of the same call may have deleted it.
        stopped: whether the task was stopped first.
        attempts: how many requests the delete itself took.
    """

    task_id: str
    request_id: str | None
    outcome: Literal["deleted", "already_gone"] = "deleted"
    stopped: bool = False
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class StopResult(Model):
    """The outcome of a stop.

    Attributes:
        run_status: Stopping if the service accepted the stop; otherwise the state in which the task had
            already ended. It is not checked again.
    """

    task_id: str
    request_id: str | None
    run_status: RunStatus


@dataclass(frozen=True, slots=True)
class CreatedTask(Model):
    """The id of a task that `create` made, or found to exist already.

    Attributes:
        reused: True if an earlier create had already made the task and no other was created.
    """

    task_id: str
    request_id: str | None
    name: str
    reused: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Response(Model):
    """The service's response to any action: the whole JSON object with its status and headers.

    Attributes:
        headers: names in lower case.
        attempts: how many requests were sent.
        elapsed: seconds from the first request to this response.
    """

    body: dict[str, Any]
    request_id: str | None
    status: int
    headers: dict[str, str]
    attempts: int = 1
    elapsed: float = 0.0

    @property
    def result(self) -> Any:
        """The `result` member of the body."""
        return self.body.get("result")

    def __repr__(self) -> str:
        """Return one short line, without the body."""
        return f"<Response {self.status}, request id {self.request_id}>"
