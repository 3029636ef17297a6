"""Parses the output of a task into results, and joins them with the records of its input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

from qf_tasks._protocol.redaction import one_line
from qf_tasks.data.index import RecordIndex
from qf_tasks.data.jsonl import PROMPTS, Line, parse_object
from qf_tasks.data.models import Record, Result

_MAX_QUOTED = 100
_ERROR_CODES = ("error_code", "code")
_ERROR_TEXTS = ("error_msg", "message", "error_message")


def parse_results(file_lines: Iterable[Line], file: str) -> Iterator[Result]:
    """Iterate over the results in the lines of a file; an unreadable line is a result as well."""
    for line in file_lines:
        yield _parse_result(line, file)


def join(results: Iterable[Result], records: Callable[[], Iterator[Record]]) -> Iterator[Result]:
    """Yield results, marking those that match no record, then a result for each record without one.

    Args:
        records: Reads the input from its beginning, at first and again if results are missing.
    """
    with closing(RecordIndex()) as index:
        index.add_all((record.id, _prompt_hash(record.raw) or 0) for record in records())
        for result in results:
            yield _joined(result, index)
        if index.count_unseen():
            for record in records():
                if not index.is_seen(record.id):
                    yield Result(
                        record.id,
                        "missing",
                        record.query,
                        error="The task has no result for this record",
                        raw=record.raw,
                    )


def _joined(result: Result, index: RecordIndex) -> Result:
    if result.id is None:
        return result
    prompt = _prompt_hash(result.raw)
    if index.see(result.id, prompt):
        return result
    expected = index.value(result.id)
    if expected is None:
        return _unexpected(result, "The input has no record with this id")
    if prompt not in (None, expected):
        return _unexpected(result, "The record with this id has another prompt")
    return _unexpected(result, "There is another result for this record")


def _unexpected(result: Result, reason: str) -> Result:
    return Result(
        result.id,
        "unexpected",
        result.query,
        result.text,
        result.output,
        reason,
        result.usage,
        result.file,
        result.line,
        result.raw,
    )


def _prompt_hash(raw: Mapping[str, Any]) -> int | None:
    """Return a hash, valid in this process, of the prompt of a record; None if it has none."""
    for name in PROMPTS:
        prompt = raw.get(name)
        if prompt is not None:
            return hash(prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True))
    return None


def _parse_result(line: Line, file: str) -> Result:
    if line.content is None:
        return _unreadable(line, file, "The line is too long")
    raw = parse_object(line.content)
    if raw is None:
        excerpt = one_line(line.content[: 4 * _MAX_QUOTED].decode(errors="replace"), _MAX_QUOTED)
        return _unreadable(line, file, f"The line is not a JSON object: {excerpt}")
    record_id = raw.get("id")
    if not isinstance(record_id, str) or not record_id:
        return _unreadable(line, file, "The line has no id", raw)
    output = raw.get("output")
    error = _error(raw, output)
    usage = output.get("usage") if isinstance(output, dict) else None
    query = raw.get("query")
    return Result(
        id=record_id,
        outcome="succeeded" if error is None else "failed",
        query=query if isinstance(query, str) else None,
        text=_text(output),
        output=output,
        error=error,
        usage=usage if isinstance(usage, dict) else None,
        file=file,
        line=line.number,
        raw=raw,
    )


def _unreadable(line: Line, file: str, reason: str, raw: dict[str, Any] | None = None) -> Result:
    return Result(None, "unreadable", error=reason, file=file, line=line.number, raw=raw or {})


def _text(output: object) -> str | None:
    """Return the answer in either of the two known shapes, see `.github/docs/service.md#data`."""
    if isinstance(output, dict) and isinstance(text := output.get("result"), str):
        return text  # before the pattern, which takes ten times as long
    match output:
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text
        case _:
            return None


def _error(raw: Mapping[str, Any], output: object) -> str | None:
    """Return why a record failed, None if it did not.

    The shape of a failure is not documented: it is an `error` beside or inside the output, an output with an
    error code in the shapes that the service uses elsewhere, or no output at all.
    """
    inner = output if isinstance(output, dict) else {}
    error = raw.get("error") or inner.get("error")
    if error:
        return _error_text(error)
    for fields in (raw, inner):
        if fields.get("error_code") or fields.get("code"):
            return _error_text(fields)
    return None if output else "The result has no output"


def _error_text(error: object) -> str:
    if not isinstance(error, dict):
        return error if isinstance(error, str) else json.dumps(error)
    code = next((error[name] for name in _ERROR_CODES if error.get(name)), None)
    text = next((error[name] for name in _ERROR_TEXTS if isinstance(error.get(name), str)), None)
    if text is None:
        return json.dumps(error, ensure_ascii=False)
    return text if code is None else f"{text} [{code}]"
