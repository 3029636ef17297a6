"""JSON Lines: reads records from any source, validates them, and writes them to shards.

A set of any size takes constant memory: shards are in a file, and ids in an index on the disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from qf_tasks.data.index import RecordIndex
from qf_tasks.data.models import Record, UploadPlan
from qf_tasks.errors import InvalidArgumentError, InvalidRecordError

# The limits of one task, see `.github/docs/service.md#data`.
MAX_FILES = 100
MAX_BYTES = 300_000_000
# MAX_FILES shards of this size reach MAX_BYTES. It is also the limit for a line, which is a choice: none is
# documented.
SHARD_BYTES = MAX_BYTES // MAX_FILES
# A result repeats its record and adds the answer.
MAX_RESULT_BYTES = 8 * SHARD_BYTES

# The member of a record with its prompt, by data format: `default`, `role`, `src_tgt`. The last two are
# inferred.
PROMPTS = ("query", "messages", "src")

_EXTENSIONS = frozenset({".jsonl", ".json", ".txt"})
_BOM = b"\xef\xbb\xbf"
_MAX_QUOTED = 80


class Shard(NamedTuple):
    """Records that follow each other in a file, from an offset on; named by their position and content."""

    name: str
    offset: int
    records: int
    size: int
    md5: str


class _Source(NamedTuple):
    """A record, or the line that should be one, and where it is: in a file, or at a position."""

    value: object
    file: str | None
    line: int

    def invalid(self, rule: str, hint: str | None = None) -> InvalidRecordError:
        place = f"record {self.line}" if self.file is None else f"{self.file}, line {self.line}"
        return InvalidRecordError(f"{place}: {rule}", file=self.file, line=self.line, rule=rule, hint=hint)


class Line(NamedTuple):
    """The content of one line, None if it is too long to be read, and its number from 1."""

    content: bytes | None
    number: int


def plan(records: object) -> UploadPlan:
    """Return how large an upload would be, without writing anything."""
    sizes: list[int] = []
    total = 0
    for shard, line in _sharded(lines(records)):
        total += 1
        sizes[shard:] = [(sizes[shard] if shard < len(sizes) else 0) + len(line)]
    return UploadPlan(total, sum(sizes), len(sizes), -(-len(sizes) // MAX_FILES))


def shards(records: object, file: BinaryIO, max_records: int | None = None) -> Iterator[Shard]:
    """Write records to a file, and yield each shard of them when it is complete.

    The same records give the same shards: of equal size, except that the last one has what is left.

    Args:
        max_records: Start another shard after this many records, and after each multiple of it.

    Raises:
        InvalidRecordError: A record is invalid; the file has then not the whole set.
        InvalidArgumentError: `records` is nothing that holds records, or holds none.
    """
    open_shard: _OpenShard | None = None
    for number, line in _sharded(lines(records), max_records):
        if open_shard is None or open_shard.number != number:
            if open_shard:
                yield open_shard.finish()
            open_shard = _OpenShard(number, file.tell())
        file.write(line)
        open_shard.add(line)
    if open_shard:
        yield open_shard.finish()


def lines(records: object) -> Iterator[bytes]:
    """Iterate over records as validated lines, each with a line break.

    Raises:
        InvalidRecordError: A record is invalid.
        InvalidArgumentError: `records` is nothing that holds records, or holds none.
    """
    sources = _sources(records)
    return _validated(sources)


def count(files: Iterable[tuple[str, Iterable[Line]]]) -> dict[str, int]:
    """Return how many records each file has, all of them validated; each must have an id.

    Args:
        files: The name and the lines of each.
    """
    counts: dict[str, int] = {}

    def sources() -> Iterator[_Source]:
        for file, file_lines in files:
            counts[file] = 0
            for line in file_lines:
                source = _Source(line.content, file, line.number)
                fields = _object(source)
                if fields.get("id") is None:
                    raise source.invalid("it has no id")
                counts[file] += 1
                yield source._replace(value=fields)

    for _ in _validated(sources()):
        pass
    return counts


def split_lines(chunks: Iterable[bytes], max_bytes: int) -> Iterator[Line]:
    """Iterate over the lines in chunks of bytes, without their line breaks; blank ones are left out.

    Only a line feed ends a line: JSON may contain other line separators of Unicode.
    """
    number, pending = 1, bytearray()
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pending += first
        del pending[max_bytes + 1 :]  # enough to know that the line is too long
        if not others:
            continue
        *complete, last = bytes(pending), *others
        for content in complete:
            if line := _line(content, number, max_bytes):
                yield line
            number += 1
        pending[:] = last
    if line := _line(bytes(pending), number, max_bytes):
        yield line


def parse_records(file_lines: Iterable[Line], file: str) -> Iterator[Record]:
    """Iterate over the records in the lines of a file.

    Raises:
        InvalidRecordError: A line is not a record.
    """
    for content, number in file_lines:
        fields = None if content is None else parse_object(content)
        record_id = fields.get("id") if fields else None
        if fields and isinstance(record_id, str) and record_id:
            query = fields.get("query")
            yield Record(record_id, query if isinstance(query, str) else None, fields)
        else:
            source = _Source(content, file, number)
            _object(source)  # raises, if it is not even an object
            raise source.invalid("it has no id")


def parse_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line without white space around it, None if there is none."""
    try:
        text = content.decode()
        value, end = _decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and end == len(text) else None


class _OpenShard:
    """A shard whose lines are being counted."""

    def __init__(self, number: int, offset: int) -> None:
        self.number = number
        self._offset = offset
        self._records, self._size = 0, 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def add(self, line: bytes) -> None:
        self._md5.update(line)
        self._sha256.update(line)
        self._records += 1
        self._size += len(line)

    def finish(self) -> Shard:
        name = f"part-{self.number + 1:04d}-{self._sha256.hexdigest()[:16]}.jsonl"
        return Shard(name, self._offset, self._records, self._size, self._md5.hexdigest())


def _sharded(validated: Iterable[bytes], max_records: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield each line with the number of its shard."""
    number = size = 0
    for position, line in enumerate(validated):
        is_multiple = max_records is not None and position % max_records == 0
        if size and (is_multiple or size + len(line) > SHARD_BYTES):
            number, size = number + 1, 0
        size += len(line)
        yield number, line


def _sources(records: object) -> Iterator[_Source]:
    """Return an iterator over the records in any supported source."""
    if isinstance(records, str | os.PathLike):
        text = os.fspath(records)
        if re.match(r"bos:/", str(text), re.IGNORECASE):
            raise InvalidArgumentError(
                "records must be on this machine: a path, an open file or an iterable, not the address "
                f"{str(text)[:200]!r}"
            )
        return _from_paths(Path(os.fsdecode(text)).expanduser())
    if (
        isinstance(records, list | tuple)
        and records
        and all(isinstance(path, os.PathLike) for path in records)
    ):
        return (source for path in records for source in _sources(path))
    if isinstance(records, io.IOBase) or hasattr(records, "readline"):
        name = getattr(records, "name", None)
        return _from_lines(_iterate(records), name if isinstance(name, str) else "<file>")
    if (rows := _rows_of_frame(records)) is not None:
        return _from_values(rows)
    if isinstance(records, Mapping | bytes) or _is_model(records):
        raise InvalidArgumentError(
            f"records must be several records, not one {type(records).__name__}", hint="Put it into a list."
        )
    return _from_values(_iterate(records))


def _rows_of_frame(records: object) -> Iterable[Mapping[str, Any]] | None:
    """Return the rows of a DataFrame of pandas or polars, whose iteration is by column; otherwise None."""
    frame: Any = records
    if hasattr(records, "itertuples") and hasattr(records, "columns"):
        columns = [str(name) for name in frame.columns]
        return (dict(zip(columns, row, strict=True)) for row in frame.itertuples(index=False, name=None))
    return frame.iter_rows(named=True) if hasattr(records, "iter_rows") else None


def _iterate(records: object) -> Iterator[Any]:
    if not isinstance(records, Iterable):
        raise InvalidArgumentError(
            f"records must be a path, an open text file or an iterable, not {type(records).__name__}"
        )
    return iter(records)


def _from_values(values: Iterable[object]) -> Iterator[_Source]:
    for position, value in enumerate(values, start=1):
        yield _Source(_fields(value, position), None, position)


def _fields(value: object, position: int) -> dict[Any, Any]:
    """Return the members of a record."""
    if isinstance(value, Record):
        return value.raw or {"id": value.id, "query": value.query}
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_model(value):
        members: dict[Any, Any] = cast(Any, value).model_dump(mode="json")
        return members
    raise _Source(value, None, position).invalid(
        f"it is not a mapping, a dataclass or a pydantic model, but {type(value).__name__}",
        hint='Pass {"query": text} for a text.' if isinstance(value, str) else None,
    )


def _is_model(value: object) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "model_dump", None))


def _from_paths(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        paths = [inner for inner in sorted(path.rglob("*")) if _is_record_file(inner, path)]
        if not paths:
            raise InvalidArgumentError(f"records has no .jsonl, .json or .txt file in it: {path}")
    elif path.exists():
        paths = [path]
    else:
        raise InvalidArgumentError(f"records names a file that does not exist: {path}")
    return (source for inner in paths for source in _from_path(inner))


def _is_record_file(path: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not is_hidden and path.suffix.lower() in _EXTENSIONS and path.is_file()


def _from_path(path: Path) -> Iterator[_Source]:
    try:
        with path.open("rb") as file:
            chunks = iter(lambda: file.read(1 << 16), b"")
            for line in split_lines(chunks, SHARD_BYTES):
                yield _Source(line.content, str(path), line.number)
    except OSError as error:
        raise InvalidArgumentError(f"records cannot be read ({error.strerror}): {path}") from None


def _from_lines(file_lines: Iterable[object], file: str) -> Iterator[_Source]:
    for number, line in enumerate(file_lines, start=1):
        content = line.encode(errors="surrogatepass") if isinstance(line, str) else line
        if not isinstance(content, bytes):
            raise InvalidArgumentError("records must be a file of lines")
        if found := _line(content, number, SHARD_BYTES):
            yield _Source(found.content, file, number)


def _validated(sources: Iterable[_Source]) -> Iterator[bytes]:
    prompt: str | None = None
    source: _Source | None = None
    with closing(RecordIndex()) as ids:
        for position, source in enumerate(sources, start=1):
            fields = _object(source)
            if fields.get("id") is None:
                fields = {"id": str(position)} | {name: fields[name] for name in fields if name != "id"}
            found = _check(source, fields)
            prompt = prompt or found
            if found != prompt:
                raise source.invalid(f"it has {found}, but the records before it have {prompt}")
            line = _encoded(source, fields)
            if not ids.add(fields["id"]):
                raise source.invalid(f"the id {fields['id'][:_MAX_QUOTED]!r} is not unique")
            yield line
    if source is None:
        raise InvalidArgumentError("records must hold at least one record")


def _object(source: _Source) -> dict[str, Any]:
    """Return the members of a record, read from JSON if it is a line."""
    if isinstance(source.value, dict):
        return source.value
    if not isinstance(source.value, bytes):
        raise source.invalid(f"it has more than {SHARD_BYTES} bytes")
    fields = parse_object(source.value)
    if fields is None:
        raise source.invalid("it is not a JSON object in UTF-8")
    return fields


def _check(source: _Source, fields: Mapping[str, Any]) -> str:
    """Check a record, and return the name of the member with its prompt."""
    record_id = fields["id"]
    if not isinstance(record_id, str):
        raise source.invalid(
            f"its id is not text but {type(record_id).__name__}", hint="Write the id as text."
        )
    if not record_id.strip():
        raise source.invalid("its id is empty")
    prompt = next((name for name in PROMPTS if fields.get(name) is not None), None)
    if prompt is None:
        raise source.invalid("it has no query, messages or src")
    value = fields[prompt]
    if prompt == "query" and not (isinstance(value, str) and value.strip()):
        raise source.invalid("its query is empty, or not text")
    if prompt == "messages" and not (isinstance(value, list) and value):
        raise source.invalid("its messages are not a list, or empty")
    return prompt


def _encoded(source: _Source, fields: Mapping[str, Any]) -> bytes:
    """Return a record as a line."""
    try:
        line = json.dumps(fields, ensure_ascii=False, allow_nan=False, default=_json_value).encode() + b"\n"
    except (TypeError, ValueError, RecursionError):
        raise source.invalid(
            "it has a value that is not JSON, such as NaN or half a surrogate pair"
        ) from None
    if len(line) > SHARD_BYTES:
        raise source.invalid(f"it has more than {SHARD_BYTES} bytes")
    return line


def _json_value(value: object) -> object:
    """Return the JSON value of a number or array of numpy, or of a dataclass or model in a record."""
    if callable(to_list := getattr(value, "tolist", None)):
        return to_list()
    if _is_model(value) or dataclasses.is_dataclass(value):
        return _fields(value, 0)
    raise TypeError


def _line(content: bytes, number: int, max_bytes: int) -> Line | None:
    if len(content) > max_bytes:
        return Line(None, number)
    content = (content.removeprefix(_BOM) if number == 1 else content).strip()
    return Line(content, number) if content else None


def _reject_constant(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which Python would accept


_decode = json.JSONDecoder(parse_constant=_reject_constant).raw_decode
