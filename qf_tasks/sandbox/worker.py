"""Runs tasks over the object store: reads the records of a task, answers them, and writes the results.

It follows the clock of the sandbox: work that is due is done before the state is read the next time. A task
without input in the store is not touched. Knows nothing of HTTP.
"""

import json
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from .behavior import ServerBehavior
from .content import Content
from .http_messages import parse_json
from .objects import Bucket, ObjectStore, StoredObject
from .store import DONE, FINAL, QUEUING, STOPPED, StoredTask

Record = dict[str, Any]
Answer = Callable[[Record], str | None]
Failures = float | Collection[str]

# Documented limits of the input of a task.
_MAX_FILES = 100
_MAX_BYTES = 300 * 1024 * 1024

_BYTES_PER_TOKEN = 4  # a choice


def repeat_question(record: Record) -> str:
    """Return the answer that a record gets by default."""
    return f"You asked: {_question(record)}"


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """How the records of tasks are answered, and which of them fail."""

    answer: Answer = repeat_question
    fail_records: Failures = 0.0
    fail_files: Failures = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, failures in (("fail_records", self.fail_records), ("fail_files", self.fail_files)):
            if isinstance(failures, int | float) and not 0 <= failures <= 1:
                raise ValueError(f"{name} is a share from 0 to 1 or a collection of names, not {failures}")


@dataclass(kw_only=True)
class _Run:
    """A task that the worker has not finished."""

    task: StoredTask
    is_started: bool = False
    outputs: dict[str, bytes] | None = None


@dataclass
class _Results:
    """The output lines of each file, and what they cost."""

    lines: dict[str, list[bytes]] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0


class _TaskFailed(Exception):
    """The task ends as Failed for this reason."""


class Worker:
    """Runs the tasks that are added. Not thread-safe: the caller holds a lock."""

    def __init__(self, objects: ObjectStore, options: WorkOptions) -> None:
        self.options = options
        self._objects = objects
        self._runs: list[_Run] = []

    def add(self, task: StoredTask) -> None:
        """Run a task when its time comes."""
        self._runs.append(_Run(task=task))

    def catch_up(self, now: float, behavior: ServerBehavior) -> None:
        """Do what is due at the time `now`."""
        self._runs = [run for run in self._runs if not self._advance(run, now, behavior)]

    def _advance(self, run: _Run, now: float, behavior: ServerBehavior) -> bool:
        """Do what is due for one task, and return whether nothing more is to be done for it."""
        task = run.task
        status = task.run_status(now)
        if status == QUEUING:
            return False
        try:
            if not run.is_started:
                files = self._input_files(task)
                if not files:
                    return True
                _check_limits(files)
                task.records = sum(1 for content in files.values() for _ in content.lines())
                run.is_started = True
            if status not in FINAL:
                return False
            if run.outputs is None:
                run.outputs = self._outputs(task, now, behavior)
            if now < task.entered_at(now) + behavior.output_delay:
                return False
            self._write(task, run.outputs, now, behavior)
        except _TaskFailed as error:
            task.fail(now, str(error))
        return True

    def _input_files(self, task: StoredTask) -> dict[str, Content]:
        """Return the files under the input directory, those in its sub-directories included, by name."""
        name, prefix = _bucket_and_prefix(task.created["inputBosUri"])
        bucket = self._objects.bucket(name)
        if bucket is None or bucket.account != task.account:
            return {}
        return {
            key.removeprefix(prefix): bucket.objects[key].content
            for key in bucket.keys(prefix)
            if not key.endswith("/")
        }

    def _outputs(self, task: StoredTask, now: float, behavior: ServerBehavior) -> dict[str, bytes]:
        """Return the output files of a task that has ended."""
        status = task.run_status(now)
        if status != DONE and not (status == STOPPED and behavior.partial_output):
            return {}
        results = self._answer(self._input_files(task), task.records_done(now), behavior)
        task.usage = (results.input_tokens, results.output_tokens)
        outputs = {}
        for index, (name, lines) in enumerate(results.lines.items()):
            output_name = name if behavior.output_names == "input" else f"part-{index:05}.jsonl"
            self._random(name).shuffle(lines)
            outputs[output_name] = b"".join(line + b"\n" for line in lines)
        return outputs

    def _answer(self, files: dict[str, Content], count: int, behavior: ServerBehavior) -> _Results:
        """Answer the first `count` records."""
        options, results = self.options, _Results()
        failing_files = self._failing(options.fail_files, list(files), "files")
        failing = self._failing_records(count)
        for index, (name, record) in enumerate(_records(files)):
            if index >= count:
                break
            if name in failing_files:
                continue
            lines = results.lines.setdefault(name, [])
            text = None
            if record is not None and not failing(index, record):
                text = _text(options.answer, record)
            if text is not None and record is not None:
                usage = _usage(_question(record), text)
                results.input_tokens += usage["prompt_tokens"]
                results.output_tokens += usage["completion_tokens"]
                lines.append(_dump({**record, "output": _output(text, usage, behavior)}))
            elif behavior.failed_record == "error":
                error = {"code": "InternalError", "message": "The sandbox made this record fail."}
                lines.append(_dump({**(record or {}), "error": error}))
        return results

    def _failing_records(self, count: int) -> Callable[[int, Record], bool]:
        failures = self.options.fail_records
        if isinstance(failures, int | float):
            indices = self._failing(failures, range(count), "records")
            return lambda index, _record: index in indices
        return lambda _index, record: record.get("id") in failures

    def _failing(self, failures: Failures, names: Any, purpose: str) -> Collection[Any]:
        """Return which of `names` fail: of a share above zero at least one."""
        if not isinstance(failures, int | float):
            return failures
        count = max(1, round(failures * len(names))) if failures and names else 0
        return frozenset(self._random(purpose).sample(names, count))

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{self.options.seed}/{purpose}")  # noqa: S311 - not for cryptography

    def _write(
        self, task: StoredTask, outputs: dict[str, bytes], now: float, behavior: ServerBehavior
    ) -> None:
        bucket_name, prefix = _bucket_and_prefix(task.created["outputBosUri"])
        for name, data in outputs.items():
            content = self._objects.content(data)
            stored = StoredObject(content=content, modified=now, etag=content.md5)
            bucket = self._output_bucket(bucket_name, task.account, now, behavior)
            self._objects.put(bucket, f"{prefix}{task.output_dir}/{name}", stored)

    def _output_bucket(self, name: str, account: str, now: float, behavior: ServerBehavior) -> Bucket:
        bucket = self._objects.bucket(name)
        if bucket is None and not behavior.missing_buckets_refused:
            return self._objects.create(name, account, now)
        if bucket is None or bucket.account != account:
            raise _TaskFailed(f"the output bucket {name} does not exist or belongs to another account")
        return bucket


def _check_limits(files: dict[str, Content]) -> None:
    if len(files) > _MAX_FILES:
        raise _TaskFailed(f"the input has {len(files)} files; at most {_MAX_FILES} are allowed")
    size = sum(len(content) for content in files.values())
    if size > _MAX_BYTES:
        raise _TaskFailed(f"the input has {size} bytes; at most {_MAX_BYTES} are allowed")


def _bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Return the bucket and the prefix of a directory; the slash at its end is optional."""
    bucket, _, path = uri.removeprefix("bos:/").partition("/")
    return bucket, path if not path or path.endswith("/") else f"{path}/"


def _records(files: dict[str, Content]) -> Iterator[tuple[str, Record | None]]:
    """Yield each record with the name of its file; None for a line that is not a record."""
    for name, content in files.items():
        for line in content.lines():
            try:
                record = parse_json(line.removeprefix(b"\xef\xbb\xbf"))
            except ValueError:
                record = None
            yield name, record if isinstance(record, dict) else None


def _question(record: Record) -> str:
    """Return what a record asks, in any of the known formats."""
    match record:
        case {"query": str(query)}:
            return query
        case {"messages": [*_, {"content": str(content)}]}:
            return content
    return _dump(record.get("query") or record.get("messages") or "").decode()


def _text(answer: Answer, record: Record) -> str | None:
    try:
        return answer(record)
    except Exception as error:
        raise _TaskFailed(f"answer() raised {type(error).__name__}: {error}") from error


def _usage(question: str, text: str) -> dict[str, int]:
    prompt, completion = (1 + len(part.encode()) // _BYTES_PER_TOKEN for part in (question, text))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _output(text: str, usage: dict[str, int], behavior: ServerBehavior) -> Record:
    """Return the `output` of a record, in the shape of older or newer models."""
    common: Record = {"id": "as-sandbox", "object": "chat.completion", "created": 1_717_200_000}
    if behavior.output_shape == "choices":
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**common, "choices": [choice], "usage": usage}
    return {
        **common,
        "result": text,
        "is_truncated": False,
        "need_clear_history": False,
        "finish_reason": "normal",
        "usage": usage,
    }


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
