"""Uploads, downloads and deletions, several parts at a time.

Every function blocks; `facades.py` runs them for both clients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from qf_tasks._operations.retry import poll_delays
from qf_tasks.data import jsonl
from qf_tasks.data.models import Record, Result, Upload
from qf_tasks.data.results import join, parse_results
from qf_tasks.data.uri import BosUri, ObjectInfo
from qf_tasks.errors import BadResponseError, InvalidArgumentError, NotFoundError, QfTasksError
from qf_tasks.models import RunStatus, Task

if TYPE_CHECKING:
    from qf_tasks.data.store import ObjectStore

OnProgress = Callable[[int, int], object]
Part = TypeVar("Part")

# Seconds that a listing may lag behind what was stored, and the longest pause before another: choices, since
# nothing is documented.
LISTING_LAG = 15.0
_LONGEST_DELAY = 3.0
_MAX_WORKERS = 4  # more connections at the same time are not faster
_CHUNK = 1 << 20


def upload(store: ObjectStore, records: object, directory: BosUri, on_progress: OnProgress) -> Upload:
    """Send a set of records as one or more objects, after all of it has been validated."""
    with TemporaryFile() as file:  # without a name, so that nothing remains however the program ends
        parts = list(islice(jsonl.shards(records, file), jsonl.MAX_FILES + 1))
        if len(parts) > jsonl.MAX_FILES:
            raise InvalidArgumentError(
                f"records exceed the limits of one task: {jsonl.MAX_BYTES} bytes in {jsonl.MAX_FILES} files",
                hint="client.submit() runs them as several tasks; data.plan(records) returns how many.",
            )
        targets = {directory.child(part.name): part for part in parts}
        sent = send(store, directory, file, targets, on_progress)
    records_sent, total = sum(part.records for part in parts), sum(part.size for part in parts)
    return Upload(str(directory), records_sent, total, len(parts), sent)


def send(
    store: ObjectStore,
    directory: BosUri,
    file: BinaryIO,
    parts: Mapping[BosUri, jsonl.Shard],
    on_progress: OnProgress,
) -> int:
    """Send the parts that a directory does not have yet, and return how many.

    Args:
        file: Has the content of the parts.

    Raises:
        InvalidArgumentError: The directory has other objects; nothing was sent.
        BadResponseError: The directory does not list what was sent.
    """
    found = {info.uri: info for info in store.list(directory)}
    if others := found.keys() - parts.keys():
        raise InvalidArgumentError(
            f"{directory} has other objects ({len(others)}), such as {min(others)}, which a task would "
            "process as well",
            hint="Choose another directory, or delete this one with data.delete().",
        )
    missing = [uri for uri, part in parts.items() if not _is_same(found.get(uri), part)]
    total = sum(part.size for part in parts.values())
    done = total - sum(parts[uri].size for uri in missing)
    on_progress(done, total)

    position = Lock()

    def put(uri: BosUri) -> None:
        part = parts[uri]
        with position:
            file.seek(part.offset)
            content = file.read(part.size)
        store.put(uri, BytesIO(content), part.size, part.md5)

    for uri in side_by_side(put, missing):
        done += parts[uri].size
        on_progress(done, total)
    _check_complete(store, directory, {uri: part.size for uri, part in parts.items()})
    return len(missing)


def records(store: ObjectStore, uri: BosUri) -> Iterator[Record]:
    """Iterate over the records in a file, or in all files of a directory."""
    for source in [uri] if uri.is_file else _listed(store, uri.directory):
        yield from read_records(store, source)


def read_records(store: ObjectStore, source: BosUri | ObjectInfo) -> Iterator[Record]:
    """Iterate over the records in an object; one that was listed must not have changed since."""
    file = source if isinstance(source, BosUri) else source.uri
    with closing(store.read(source)) as chunks:
        yield from jsonl.parse_records(jsonl.split_lines(chunks, jsonl.SHARD_BYTES), str(file))


def results(store: ObjectStore, task: Task, *, missing: bool) -> Iterator[Result]:
    """Iterate over the results of a task; with `missing`, joined with its input."""
    found = read_results(store, outputs(store, task))
    if not missing:
        return found
    source = BosUri.parse(task.input_bos_uri, "input_bos_uri")
    return join(found, lambda: records(store, source))


def outputs(store: ObjectStore, task: Task) -> list[ObjectInfo]:
    """Return the files with the results of a task, in the order of their keys.

    Raises:
        NotFoundError: There are none.
    """
    directory = output_of(task)
    seconds = _seconds_of_lag(task)
    count = _count_inputs(store, task) if seconds > 0 else 1
    found = list_until(store, directory, lambda found: len(found) >= count, seconds)
    if not found and task.run_status != RunStatus.DONE:
        raise _no_output(task)
    return _not_empty(found, directory)


def output_of(task: Task) -> BosUri:
    """Return the directory with the output of a task.

    Raises:
        NotFoundError: The service has not named one.
    """
    if task.output_uri is None or task.output_dir is None:
        raise _no_output(task)
    return BosUri.parse_directory(task.output_uri, "output_uri")


def _no_output(task: Task) -> NotFoundError:
    reason = f": {task.error_reason}" if task.error_reason else ""
    return NotFoundError(
        f"Task {task.task_id} is {task.run_status} and has no output{reason}",
        task_id=task.task_id,
        hint="It ended before it wrote any.",
    )


def download(store: ObjectStore, task: Task, path: Path, on_progress: OnProgress) -> Path:
    """Write the output of a task to one file, or each of its files into a directory."""
    directory, sources = output_of(task), outputs(store, task)
    total = sum(source.size for source in sources)
    done = 0
    on_progress(done, total)
    if not path.is_dir():
        for size in _download_file(store, sources, path):
            done += size
            on_progress(min(done, total), total)
        return path

    def fetch(source: ObjectInfo) -> None:
        target = path / _relative_path(source.uri, directory)
        if not _is_same_file(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            for _size in _download_file(store, [source], target):
                pass

    for source in side_by_side(fetch, sources):
        done += source.size
        on_progress(done, total)
    return path


def delete(store: ObjectStore, uri: BosUri) -> int:
    """Delete a file, or everything in a directory, and return how many objects there were."""
    found = store.list(uri, with_markers=True)
    keys = [info.uri.key for info in found if info.uri == uri or not uri.is_file]
    store.delete(uri.bucket, keys)
    return len(keys)


def read_results(store: ObjectStore, sources: Iterable[ObjectInfo]) -> Iterator[Result]:
    """Iterate over the results in some objects."""
    for source in sources:
        with closing(store.read(source)) as chunks:
            file_lines = jsonl.split_lines(chunks, jsonl.MAX_RESULT_BYTES)
            yield from parse_results(file_lines, str(source.uri))


def list_until(
    store: ObjectStore,
    directory: BosUri,
    is_complete: Callable[[list[ObjectInfo]], bool],
    seconds: float = LISTING_LAG,
) -> list[ObjectInfo]:
    """Return the objects in a directory, listed again for some seconds while they are not complete."""
    deadline = store.now() + seconds
    delays = poll_delays(_LONGEST_DELAY)
    while True:
        found, delay = sorted(store.list(directory)), next(delays)
        if is_complete(found) or store.now() + delay > deadline:
            return found
        store.sleep(delay)


def _seconds_of_lag(task: Task) -> float:
    """Return for how long the listing of the output may still be incomplete, although the task has ended."""
    if task.run_status != RunStatus.DONE:
        return 0.0  # whatever there is of its output
    if task.finish_time is None:
        return LISTING_LAG
    since_end = (datetime.now(UTC) - task.finish_time).total_seconds()
    return LISTING_LAG - max(0.0, since_end)  # the clock of this machine may be behind


def _count_inputs(store: ObjectStore, task: Task) -> int:
    """Return how many files of output are expected: one for each of the input, if that can be listed."""
    try:
        source = BosUri.parse(task.input_bos_uri, "input_bos_uri")
        return max(1, sum(1 for _ in store.list(source.directory)))
    except QfTasksError:
        return 1


def _listed(store: ObjectStore, directory: BosUri) -> list[ObjectInfo]:
    """Return the objects in a directory, in the order of their keys.

    Raises:
        NotFoundError: There are none.
    """
    return _not_empty(sorted(store.list(directory)), directory)


def _not_empty(found: list[ObjectInfo], directory: BosUri) -> list[ObjectInfo]:
    if not found:
        raise NotFoundError(f"There are no objects in {directory}")
    return found


def _is_same(info: ObjectInfo | None, part: jsonl.Shard) -> bool:
    return info is not None and (info.size, info.etag) == (part.size, part.md5)


def _check_complete(store: ObjectStore, directory: BosUri, expected: dict[BosUri, int]) -> None:
    """Check that a directory has what was sent, and nothing else."""

    def is_complete(found: list[ObjectInfo]) -> bool:
        return {info.uri: info.size for info in found} == expected

    found = list_until(store, directory, is_complete)
    if not is_complete(found):
        raise BadResponseError(
            f"{directory} does not list what was uploaded: it has {len(found)} objects, not {len(expected)}, "
            "or of another size",
            code="UploadIncomplete",
            retryable=True,
            hint="Upload again: only what is missing is sent.",
        )


def _download_file(store: ObjectStore, sources: Sequence[ObjectInfo], target: Path) -> Iterator[int]:
    """Write objects to one file, each beginning on a new line; yield how many bytes were added.

    The content is written to a file beside the target, whose name has a hash of what is downloaded: another
    call continues there, unless the objects have changed. The target appears only when it is complete.
    """
    identity = hashlib.sha256(repr([(str(uri), size, etag) for uri, size, etag in sources]).encode())
    partial = target.with_name(f".{target.name}.{identity.hexdigest()[:16]}.part")
    with partial.open("a+b") as file:
        written = file.seek(0, 2)
        yield written
        end = 0  # of the object, in the file
        for source in sources:
            begin, end = end, end + source.size
            with closing(store.read(source, max(0, written - begin))) as chunks:
                for chunk in chunks:
                    file.write(chunk)
                    file.flush()
                    written += len(chunk)
                    yield len(chunk)
            if source.size and source != sources[-1] and _byte_at(file, end - 1) != b"\n":
                if written == end:
                    written += file.write(b"\n")
                end += 1
        is_whole = file.seek(0, 2) == end
    if not is_whole:
        partial.unlink()
        raise BadResponseError(f"{partial} was changed by another program; download again")
    partial.replace(target)


def _byte_at(file: BinaryIO, position: int) -> bytes:
    file.flush()
    file.seek(position)
    return file.read(1)


def _is_same_file(source: ObjectInfo, path: Path) -> bool:
    """Return whether a file already has the content of an object, by its size and MD5."""
    if not path.is_file() or path.stat().st_size != source.size:
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == source.etag


def _relative_path(uri: BosUri, directory: BosUri) -> PurePosixPath:
    """Return the path of an object below a directory; a key must not lead out of it."""
    relative = uri.key.removeprefix(directory.key)
    if "\\" in relative or "\0" in relative or any(part in ("", ".", "..") for part in relative.split("/")):
        raise BadResponseError(f"The key of {uri} cannot be a path of a file")
    return PurePosixPath(relative)


def side_by_side(work: Callable[[Part], None], parts: Sequence[Part]) -> Iterator[Part]:
    """Work on several parts at a time, and yield each when it is done; no part starts after a failure."""
    with ThreadPoolExecutor(_MAX_WORKERS, thread_name_prefix="qf-tasks-data") as pool:
        futures = {pool.submit(work, part): part for part in parts}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
