"""`client.data` of both clients: arguments are checked before a request, then a transfer runs to its end."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any, TypeVar

from qf_tasks._operations import arguments, listing
from qf_tasks._operations.api import Api, Runtime
from qf_tasks._operations.arguments import TaskLike
from qf_tasks._runtime import asyncio as async_runtime
from qf_tasks._runtime import blocking
from qf_tasks.data import jsonl, transfers
from qf_tasks.data.lazy_store import LazyStore
from qf_tasks.data.models import Record, Result, Upload, UploadPlan
from qf_tasks.data.transfers import OnProgress
from qf_tasks.data.uri import BosUri
from qf_tasks.errors import InvalidArgumentError, TaskStateError
from qf_tasks.models import Task

Item = TypeVar("Item")
Value = TypeVar("Value")

# The end of a batch: after this many items, or this many seconds.
_BATCH = 256
_BATCH_SECONDS = 0.02
_CANCELLATION_SECONDS = 0.1  # between two checks for a cancellation while a callback runs


class _BaseData:
    """What `Data` and `AsyncData` share."""

    def __init__(self, store: LazyStore, api: Api) -> None:
        self._store = store
        self._api = api

    def __repr__(self) -> str:
        """Return one short line with the account."""
        return f"<{type(self).__name__} {self._api.account}>"


class Data(_BaseData):
    """Records and results of tasks, in the object storage (BOS) of the account.

    The input of a task is a directory of JSON Lines, one record per line, such as
    `{"id": "1", "query": "…"}`; formats and limits: `.github/docs/service.md#data`. Every method may be
    called again after a failure: what was sent or received is not sent or received again. Memory stays
    constant, whatever the size. Keys, deadlines, retries, proxy and certificates are those of the client.
    """

    def plan(self, records: object) -> UploadPlan:
        """Check records, and return how large their upload would be; nothing is sent.

        Args:
            records: As in `upload`.

        Raises:
            InvalidRecordError: A record is invalid.
            InvalidArgumentError: `records` cannot be read, or are empty.
        """
        return jsonl.plan(records)

    def upload(self, records: object, bos_uri: str, *, on_progress: OnProgress | None = None) -> Upload:
        """Upload the records of one task to a directory.

        All of them are checked before anything is sent, which needs temporary disk space of their size. They
        are sent in objects of at most 3 MB, named by their content: an object that is there already is not
        sent again.

        Args:
            records: The path of a file of JSON Lines or of a directory of such files, a list of `Path`s, an
                open text file, a DataFrame, or an iterable of mappings, dataclasses or pydantic models. Each
                has a `query`, or `messages` or `src` in its place, and an `id` that is unique text; without
                one, it gets its position, from 1.
            bos_uri: The directory, `bos:/bucket/folder/`. It must have no other objects.
            on_progress: Called with the bytes done and the total.

        Raises:
            InvalidRecordError: A record is invalid; nothing was sent.
            InvalidArgumentError: `bos_uri` is not a directory or has other objects, or `records` cannot be
                read or exceed the limits of one task; nothing was sent.
            NotFoundError: There is no such bucket.
            PermissionDeniedError: The keys do not allow it.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        directory = BosUri.parse_directory(bos_uri)
        report = arguments.plain_callback(on_progress, "on_progress") or _ignore
        return transfers.upload(self._store.open(), records, directory, report)

    def records(self, bos_uri: str) -> Iterator[Record]:
        """Return an iterator over the records in a directory or file.

        Args:
            bos_uri: `bos:/bucket/folder/`, or an object such as `bos:/bucket/folder/part.jsonl`.

        Raises:
            InvalidArgumentError: At the call, if `bos_uri` is not such an address.
            InvalidRecordError: While iterating, at a line that is not a record.
            NotFoundError: While iterating, if there are no objects.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        uri = _below_root(bos_uri)
        return _lazily(lambda: transfers.records(self._store.open(), uri))

    def results(self, task: TaskLike, *, missing: bool = False) -> Iterator[Result]:
        """Return an iterator over the results of a task that has ended, in no particular order.

        A record that failed, or a line that cannot be read, is a result with an `error`. A task that was
        stopped, failed or expired may have results of a part of its records.

        Args:
            task: A task or its id.
            missing: Read the input as well: records without a result follow at the end as `"missing"`, and
                results that do not fit the input are `"unexpected"`. Default False.

        Raises:
            InvalidArgumentError: At the call.
            TaskStateError: While iterating, if the task has not ended.
            NotFoundError: While iterating, if it has no output; or with `missing`, if its input is gone.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        known = _known(task)

        def begin() -> Iterator[Result]:
            ended = blocking.run(_ended_task(self._api, known))
            return transfers.results(self._store.open(), ended, missing=missing)

        return _lazily(begin)

    def download(
        self, task: TaskLike, path: str | os.PathLike[str], *, on_progress: OnProgress | None = None
    ) -> Path:
        """Download the output of a task that has ended, and return the path.

        A file appears only when it is complete. After a failure, the same call continues where the last one
        stopped, also in another process.

        Args:
            task: A task or its id.
            path: A file, for the whole output; or a directory, for one file per file of the input. A path
                that ends with a slash is a directory, which is created.
            on_progress: Called with the bytes done and the total.

        Raises:
            InvalidArgumentError: `path` is in a directory that does not exist.
            TaskStateError: The task has not ended.
            NotFoundError: It has no output.
            QfTasksError: See the tree in `qf_tasks.errors`.
        """
        known, target = _known(task), _target(path)
        report = arguments.plain_callback(on_progress, "on_progress") or _ignore
        ended = blocking.run(_ended_task(self._api, known))
        return transfers.download(self._store.open(), ended, target, report)

    def delete(self, bos_uri: str) -> int:
        """Delete a file, or everything in a directory, and return the number of deleted objects.

        This cannot be undone. The root of a bucket is refused.

        Args:
            bos_uri: `bos:/bucket/folder/`, or an object such as `bos:/bucket/folder/part.jsonl`.

        Raises:
            InvalidArgumentError: `bos_uri` is a whole bucket, or not an address.
            QfTasksError: See the tree in `qf_tasks.errors`; some objects may have been deleted.
        """
        return transfers.delete(self._store.open(), _below_root(bos_uri))


class AsyncData(_BaseData):
    """As `Data`, for asyncio: in threads of the client, so that the event loop is never blocked.

    A cancellation ends a transfer with the part that is being sent or received. `on_progress` may be a
    coroutine function.
    """

    def plan(self, records: object) -> Coroutine[Any, Any, UploadPlan]:
        """As `Data.plan`; the records are read in a thread."""
        return async_runtime.run(self._api.runtime.in_thread, jsonl.plan, records)

    def upload(
        self, records: object, bos_uri: str, *, on_progress: OnProgress | None = None
    ) -> Coroutine[Any, Any, Upload]:
        """As `Data.upload`; the records are read in a thread."""
        directory = BosUri.parse_directory(bos_uri)
        callback = arguments.callback(on_progress, "on_progress")

        def work(report: OnProgress) -> Upload:
            return transfers.upload(self._store.open(), records, directory, report)

        return async_runtime.run(transfer, self._api.runtime, work, callback)

    def records(self, bos_uri: str) -> AsyncIterator[Record]:
        """As `Data.records`."""
        uri = _below_root(bos_uri)

        async def begin() -> Iterator[Record]:
            return _lazily(lambda: transfers.records(self._store.open(), uri))

        return async_runtime.AsyncResults(stream(self._api.runtime, begin), "client.data.records")

    def results(self, task: TaskLike, *, missing: bool = False) -> AsyncIterator[Result]:
        """As `Data.results`."""
        known = _known(task)

        async def begin() -> Iterator[Result]:
            ended = await _ended_task(self._api, known)
            return _lazily(lambda: transfers.results(self._store.open(), ended, missing=missing))

        return async_runtime.AsyncResults(stream(self._api.runtime, begin), "client.data.results")

    def download(
        self, task: TaskLike, path: str | os.PathLike[str], *, on_progress: OnProgress | None = None
    ) -> Coroutine[Any, Any, Path]:
        """As `Data.download`."""
        known, target = _known(task), _target(path)
        callback = arguments.callback(on_progress, "on_progress")

        async def download() -> Path:
            ended = await _ended_task(self._api, known)

            def work(report: OnProgress) -> Path:
                return transfers.download(self._store.open(), ended, target, report)

            return await transfer(self._api.runtime, work, callback)

        return async_runtime.run(download)

    def delete(self, bos_uri: str) -> Coroutine[Any, Any, int]:
        """As `Data.delete`."""
        uri = _below_root(bos_uri)

        def work() -> int:
            return transfers.delete(self._store.open(), uri)

        return async_runtime.run(self._api.runtime.in_thread, work)


async def transfer(
    runtime: Runtime, work: Callable[[OnProgress], Value], callback: OnProgress | None
) -> Value:
    """Run a transfer in a thread, and report its progress on the loop; a cancellation ends it there."""
    loop = asyncio.get_running_loop()
    is_over = threading.Event()

    def report(done: int, total: int) -> None:
        if callback is not None and not is_over.is_set():
            call = asyncio.run_coroutine_threadsafe(runtime.notify(callback, done, total), loop)
            while not is_over.is_set() and not wait([call], _CANCELLATION_SECONDS).done:
                pass
            if call.done():
                call.result()
        if is_over.is_set():
            raise asyncio.CancelledError

    try:
        return await runtime.in_thread(work, report)
    finally:
        is_over.set()


async def stream(
    runtime: Runtime, begin: Callable[[], Coroutine[Any, Any, Iterator[Item]]]
) -> AsyncGenerator[Item, None]:
    """Yield the items of a blocking iterator, which is read in threads, a batch at a time."""
    batches = _Batches(await begin())
    try:
        while True:
            items, error = await runtime.in_thread(batches.next)
            for item in items:
                yield item
            if error:
                raise error
            if not items:
                return
    finally:
        batches.close()


class _Batches:
    """Reads an iterator in batches, in one thread after the other."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._lock = threading.Lock()
        self._is_closed = False

    def next(self) -> tuple[list[Any], Exception | None]:
        """Return the next items, and the error that follows them; no items at the end."""
        items: list[Any] = []
        until = time.monotonic() + _BATCH_SECONDS
        with self._lock:
            try:
                for item in self._iterator:
                    items.append(item)
                    if len(items) >= _BATCH or time.monotonic() > until or self._is_closed:
                        break
            except Exception as error:  # noqa: BLE001 - raised by the caller
                return items, error
            finally:
                if self._is_closed:
                    _close(self._iterator)
        return items, None

    def close(self) -> None:
        """End the iteration, or have the thread that is reading end it."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            try:
                _close(self._iterator)
            finally:
                self._lock.release()


def _close(iterator: Iterator[Any]) -> None:
    if isinstance(iterator, Generator):
        iterator.close()


async def _ended_task(api: Api, task: Task | str) -> Task:
    """Return a task that has ended; it is read again unless it is known to have ended.

    Raises:
        TaskStateError: It has not ended.
    """
    if not (isinstance(task, Task) and task.is_final):
        task = await listing.get(api, arguments.task_id(task))
    if not task.is_final:
        raise TaskStateError(
            f"Task {task.task_id} is {task.run_status}: its results are complete when it has ended",
            task_id=task.task_id,
            hint="Call client.wait(task) first.",
        )
    return task


def _known(task: TaskLike) -> Task | str:
    """Return a task, or else its id."""
    return task if isinstance(task, Task) else arguments.task_id(task)


def _below_root(value: object) -> BosUri:
    uri = BosUri.parse(value)
    return uri if uri.is_file else BosUri.parse_directory(value)


def _target(path: object) -> Path:
    """Return where to write, in a directory that exists."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise InvalidArgumentError("path must be the path of a file or directory")
    text = os.fsdecode(os.fspath(path))
    target = Path(text).expanduser()
    if not target.parent.is_dir():
        raise InvalidArgumentError(f"path is in a directory that does not exist: {target.parent}")
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise InvalidArgumentError(f"path must be a file or directory, not a device or pipe: {target}")
    if text.endswith(("/", os.sep)):
        target.mkdir(exist_ok=True)
    return target


def _lazily(begin: Callable[[], Iterator[Item]]) -> Generator[Item, None, None]:
    """Yield the items of an iterator that is made when the first one is asked for."""
    yield from begin()


def _ignore(_done: int, _total: int) -> None:
    """Ignore progress."""
