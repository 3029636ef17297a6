"""Reads and writes the objects of a job, below its `bos_uri`.

    job.json            the manifest, written once, before anything else
    input/0001/         the records of a shard, unless they were submitted as a directory in BOS
    tasks/0001.json     the task of a shard
    output/0001/        where its tasks write
    stopped.json        the job was stopped: no more tasks are created
    retries/0001/       a part that `retry_failures` added, with the same layout

Every method blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count

from qf_tasks.data import transfers
from qf_tasks.data.lazy_store import LazyStore
from qf_tasks.data.uri import BosUri, ObjectInfo
from qf_tasks.errors import BadResponseError, InvalidArgumentError, NotFoundError
from qf_tasks.jobs.manifest import Manifest, Shard, ShardState

_MANIFEST = "job.json"
_STOPPED = "stopped.json"
_MAX_MANIFEST_BYTES = 256 << 20
_MAX_STATE_BYTES = 1 << 20
_MAX_WORKERS = 8
_OUTPUT_LAG = 30.0  # seconds after the end of a task in which its output may not be listed yet: a choice


class JobFiles:
    """The objects of jobs."""

    def __init__(self, store: LazyStore) -> None:
        self._store = store

    @property
    def objects(self) -> LazyStore:
        """The object storage."""
        return self._store

    def read_manifest(self, directory: BosUri) -> Manifest | None:
        """Return the manifest of the job in a directory, None if there is none.

        Raises:
            InvalidArgumentError: It is damaged, or is not the manifest of a job.
        """
        uri = directory.child(_MANIFEST)
        try:
            content = self._store.open().get(uri, _MAX_MANIFEST_BYTES)
        except NotFoundError as error:
            if error.code == "NoSuchBucket":
                raise
            return None
        return Manifest.parse(content, uri, directory)

    def read_parts(self, directory: BosUri) -> list[Manifest]:
        """Return the manifests of a job and of its retries, oldest first.

        Raises:
            NotFoundError: There is no job.
        """
        first = self.read_manifest(directory)
        if first is None:
            raise NotFoundError(
                f"There is no job in {directory}: it has no {_MANIFEST}",
                hint="Pass the bos_uri that the job was submitted with, or submit it with client.submit().",
            )
        return [first, *self.read_retries(directory, 1)]

    def read_retries(self, directory: BosUri, number: int) -> list[Manifest]:
        """Return the manifests of the retries of a job from this number on, oldest first."""
        found: list[Manifest] = []
        while retry := self.read_manifest(retry_directory(directory, number + len(found))):
            found.append(retry)
        return found

    def find(self, directory: BosUri) -> Manifest | None:
        """Return the manifest of the job in a directory, None if the directory is empty.

        Raises:
            InvalidArgumentError: There are other objects, and no job.
        """
        found = self.read_manifest(directory)
        if found is None and (other := next(self._store.open().list(directory), None)):
            raise InvalidArgumentError(
                f"bos_uri {directory} has other objects, such as {other.uri}, and no {_MANIFEST}",
                hint="Use a separate directory for each job, or delete this one with data.delete().",
            )
        return found

    def write_manifest(self, manifest: Manifest) -> Manifest:
        """Write a manifest, and return the one that is stored: another program may have been first.

        BOS does not document conditional writes, so the manifest is read again afterwards.
        """
        self._store.open().write(manifest.directory.child(_MANIFEST), manifest.encoded(), if_absent=True)
        written = self.read_manifest(manifest.directory)
        if written is None:
            raise BadResponseError(
                f"{manifest.directory.child(_MANIFEST)} was written, but is not there",
                code="UploadIncomplete",
                retryable=True,
                hint="Submit again.",
            )
        return written

    def read_states(self, manifest: Manifest, names: Iterable[str]) -> dict[str, ShardState]:
        """Return the states of these shards; a shard without one is left out."""
        directory = manifest.directory.child("tasks/")
        wanted = set(names)
        listed = (_state_name(info.uri, directory) for info in self._store.open().list(directory))
        found = [name for name in listed if name in wanted]
        with ThreadPoolExecutor(_MAX_WORKERS, thread_name_prefix="qf-tasks-jobs") as pool:
            states = pool.map(lambda name: self.read_state(manifest, name), found)
            return {name: state for name, state in zip(found, states, strict=True) if state}

    def read_state(self, manifest: Manifest, name: str) -> ShardState | None:
        """Return the state of a shard, None if it has none.

        Raises:
            InvalidArgumentError: It is damaged.
        """
        from pydantic import ValidationError

        uri = _state_uri(manifest, name)
        try:
            return ShardState.model_validate_json(self._store.open().get(uri, _MAX_STATE_BYTES))
        except NotFoundError:
            return None
        except ValidationError:
            raise InvalidArgumentError(
                f"{uri} is damaged: it is not the state of a shard",
                hint="Delete it with data.delete(): the task is found by its idempotency key.",
            ) from None

    def write_state(self, manifest: Manifest, name: str, state: ShardState) -> None:
        """Write the state of a shard."""
        self._store.open().write(_state_uri(manifest, name), state.model_dump_json().encode())

    def is_stopped(self, manifest: Manifest) -> bool:
        """Return whether a job was stopped."""
        try:  # not by listing it: a listing may lag behind
            self._store.open().get(manifest.directory.child(_STOPPED), _MAX_STATE_BYTES)
        except NotFoundError:
            return False
        return True

    def mark_stopped(self, manifest: Manifest) -> None:
        """Mark a job as stopped, so that no program creates more tasks."""
        content = f'{{"stopped": "{datetime.now(UTC).isoformat()}"}}'
        self._store.open().write(manifest.directory.child(_STOPPED), content.encode())

    def missing_input(self, shard: Shard) -> list[str]:
        """Return the objects in the input of a shard that are missing, changed, or not part of it."""
        directory = BosUri.parse_directory(shard.input_uri)
        expected = set(shard.objects())
        found = {info for info in self._store.open().list(directory) if info.size}
        return sorted({str(info.uri) for info in expected ^ found})

    def output(self, state: ShardState, expected: int = 0) -> list[ObjectInfo]:
        """Return the objects that a task has written.

        Args:
            expected: Wait for some seconds until there are so many. Default 0, which does not wait.
        """
        if state.output_uri is None:
            return []
        directory = BosUri.parse_directory(state.output_uri, "output_uri")
        store = self._store.open()
        return transfers.list_until(store, directory, lambda found: len(found) >= expected, _OUTPUT_LAG)

    def all_objects(self, manifest: Manifest) -> list[ObjectInfo]:
        """Return all objects of a job; the manifest is last, so that an interrupted deletion can continue."""
        first = manifest.directory.child(_MANIFEST)
        found = list(self._store.open().list(manifest.directory, with_markers=True))
        return sorted(found, key=lambda info: (info.uri == first, info.uri))

    def delete(self, manifest: Manifest, found: list[ObjectInfo]) -> None:
        """Delete objects of a job."""
        self._store.open().delete(manifest.directory.bucket, [info.uri.key for info in found])


def retry_directory(directory: BosUri, number: int) -> BosUri:
    """Return the directory of a retry, counted from 1."""
    return directory.child(f"retries/{number:04d}/")


def shard_names() -> Iterator[str]:
    """Yield the names of shards."""
    return (f"{number:04d}" for number in count(1))


def _state_uri(manifest: Manifest, name: str) -> BosUri:
    return manifest.directory.child(f"tasks/{name}.json")


def _state_name(uri: BosUri, directory: BosUri) -> str:
    return uri.key.removeprefix(directory.key).removesuffix(".json")
