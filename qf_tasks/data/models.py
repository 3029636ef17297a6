"""The data of a task as values: records, results, and what an upload sent or would send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from qf_tasks.models import Model

Outcome = Literal["succeeded", "failed", "missing", "unreadable", "unexpected"]


@dataclass(frozen=True, slots=True, repr=False)
class Record(Model):
    """One record of the input of a task, see `.github/docs/service.md#data`.

    Attributes:
        query: None for a record with `messages` or `src` and `tgt` in its place; `raw` has these.
        raw: the whole JSON object.
    """

    id: str
    query: str | None = None
    raw: dict[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Allow records in sets; the dicts that they hold cannot be hashed."""
        return hash((self.id, self.query))

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<Record {self.id!r}>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, repr=False)
class Result(Model):
    """The result of one record, see `.github/docs/service.md#data`.

    Attributes:
        id: None if the line is unreadable.
        outcome: `"succeeded"`, also for an output of an unknown shape, whose `text` is None; `"failed"`;
            `"unreadable"`, a line that is not a result. If results are joined with the input, also
            `"missing"`, a record without a result, and `"unexpected"`, a result that has no record, has the
            query of another record, or is a second one for the same record.
        query: as the service repeats it; None for a record with `messages` or `src` and `tgt`.
        text: the answer of the model.
        output: the whole `output` member.
        error: why there is no usable answer; None if it succeeded.
        usage: the tokens, in the names of the service.
        file: the URI of the object with this line; None if the result is missing.
        line: its number in that object, from 1.
        raw: the whole JSON object; that of the record if the result is missing.
    """

    id: str | None
    outcome: Outcome
    query: str | None = None
    text: str | None = None
    output: Any = None
    error: str | None = None
    usage: dict[str, Any] | None = None
    file: str | None = None
    line: int | None = None
    raw: dict[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Allow results in sets; the dicts that they hold cannot be hashed."""
        return hash((self.id, self.outcome, self.file, self.line))

    def __repr__(self) -> str:
        """Return one short line."""
        return f"<Result {self.id!r} {self.outcome}>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Upload(Model):
    """A set of records, completely uploaded to BOS.

    Attributes:
        uri: the directory, with a slash at its end: the `input_bos_uri` of a task.
        files: the number of objects.
        files_sent: how many of them this call sent; the others were already there.
    """

    uri: str
    records: int
    bytes: int
    files: int
    files_sent: int


@dataclass(frozen=True, slots=True)
class UploadPlan(Model):
    """What an upload would send.

    Attributes:
        tasks: how many tasks the limits of the service require.
    """

    records: int
    bytes: int
    files: int
    tasks: int
