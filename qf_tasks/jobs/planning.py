"""Divides records into shards of one task each, and uploads the manifest and the records.

Everything is validated before anything is sent. The manifest is uploaded first. It names every object of the
input, so after an interruption the same call recognises what was uploaded, and uploads the rest.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from tempfile import TemporaryFile
from typing import BinaryIO

from qf_tasks.data import jsonl, transfers
from qf_tasks.data.transfers import OnProgress
from qf_tasks.data.uri import BosUri, ObjectInfo
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.jobs.manifest import InputFile, Manifest, Parameters, Shard
from qf_tasks.jobs.storage import JobFiles, shard_names


def prepare(
    files: JobFiles, directory: BosUri, parameters: Parameters, records: object, on_progress: OnProgress
) -> Manifest:
    """Upload the records of a job, and return its manifest.

    Raises:
        InvalidArgumentError: The directory has another job or other objects; nothing was sent.
    """
    existing = files.find(directory)
    if existing:
        _check_same(existing, Manifest.of(directory, parameters, existing.shards))
    with TemporaryFile() as file:  # has no name, so that nothing is left of it however the program ends
        if (source := prepared_directory(records)) is not None:
            shards = _prepared_shards(files, source, directory, parameters.max_records_per_task)
            parts: dict[BosUri, jsonl.Shard] = {}
        else:
            shards, parts = _shards(records, file, directory, parameters.max_records_per_task)
        manifest = Manifest.of(directory, parameters, shards)
        manifest.request(shards[0], 1)  # raises if a parameter is invalid
        written = existing or files.write_manifest(manifest)
        _check_same(written, manifest)
        if parts:
            transfers.send(files.objects.open(), directory.child("input/"), file, parts, on_progress)
    return written


def prepared_directory(records: object) -> BosUri | None:
    """Return the directory in BOS if `records` is the address of one, otherwise None."""
    if isinstance(records, str) and re.match(r"bos:", records, re.IGNORECASE):
        return BosUri.parse_directory(records, "records")
    return None


def _check_same(existing: Manifest, manifest: Manifest) -> None:
    if names := existing.differences(manifest):
        raise InvalidArgumentError(
            f"bos_uri {existing.bos_uri} has another job, of {existing.created:%Y-%m-%d %H:%M} UTC, "
            f"that differs in its {' and '.join(names)}",
            hint="Choose another bos_uri, or use that job with client.job().",
        )


def _shards(
    records: object, file: BinaryIO, directory: BosUri, max_records: int | None
) -> tuple[tuple[Shard, ...], dict[BosUri, jsonl.Shard]]:
    """Write records to a file, and return them as shards within the limits of one task."""
    groups: list[list[jsonl.Shard]] = []
    for part in jsonl.shards(records, file, max_records):
        group = groups[-1] if groups else []
        is_full = len(group) == jsonl.MAX_FILES or (
            max_records is not None and sum(each.records for each in group) + part.records > max_records
        )
        if is_full or not groups:
            groups.append([part])
        else:
            group.append(part)
    shards: list[Shard] = []
    parts: dict[BosUri, jsonl.Shard] = {}
    for name, group in zip(shard_names(), groups, strict=False):
        target = directory.child(f"input/{name}/")
        parts |= {target.child(part.name): part for part in group}
        inputs = tuple(InputFile(part.name, part.records, part.size, part.md5) for part in group)
        shards.append(Shard(name, str(target), inputs))
    return tuple(shards), parts


def _prepared_shards(
    files: JobFiles, source: BosUri, directory: BosUri, max_records: int | None
) -> tuple[Shard, ...]:
    """Return the shards of a directory in BOS: the directory as one, or each of its sub-directories."""
    if source.bucket == directory.bucket and (
        source.key.startswith(directory.key) or directory.key.startswith(source.key)
    ):
        raise InvalidArgumentError(
            f"bos_uri {directory} and records {source} must not contain each other: the output would "
            "become input",
            hint="Choose a bos_uri beside the directory of the records.",
        )
    store = files.objects.open()
    found = sorted(info for info in store.list(source) if info.size)  # Spark and others leave empty markers

    def lines() -> Generator[tuple[str, Iterator[jsonl.Line]], None, None]:
        for info in found:
            with closing(store.read(info)) as chunks:
                yield str(info.uri), jsonl.split_lines(chunks, jsonl.SHARD_BYTES)

    with closing(lines()) as files_with_lines:
        counts = jsonl.count(files_with_lines)
    groups = {source: found}
    if not _fits(found, counts, max_records):
        groups = _by_directory(found, source)
    for group, infos in groups.items():
        if not _fits(infos, counts, max_records):
            raise InvalidArgumentError(
                f"records in {group} are more than one task accepts: {len(infos)} files, "
                f"{sum(info.size for info in infos)} bytes",
                hint=f"Write them into several directories below {source}, each with at most "
                f"{jsonl.MAX_FILES} files, {jsonl.MAX_BYTES} bytes and max_records_per_task records.",
            )
    return tuple(
        Shard(name, str(group), tuple(_input_file(info, group, counts) for info in infos))
        for name, (group, infos) in zip(shard_names(), groups.items(), strict=False)
    )


def _by_directory(found: Iterable[ObjectInfo], source: BosUri) -> dict[BosUri, list[ObjectInfo]]:
    groups: dict[BosUri, list[ObjectInfo]] = {}
    for info in found:
        name, slash, _ = info.uri.key.removeprefix(source.key).partition("/")
        groups.setdefault(source.child(name + slash) if slash else source, []).append(info)
    return {source: [*found]} if source in groups else groups


def _fits(infos: list[ObjectInfo], counts: Mapping[str, int], max_records: int | None) -> bool:
    records = sum(counts[str(info.uri)] for info in infos)
    return (
        len(infos) <= jsonl.MAX_FILES
        and sum(info.size for info in infos) <= jsonl.MAX_BYTES
        and (max_records is None or records <= max_records)
    )


def _input_file(info: ObjectInfo, directory: BosUri, counts: Mapping[str, int]) -> InputFile:
    name = info.uri.key.removeprefix(directory.key)
    return InputFile(name, counts[str(info.uri)], info.size, info.etag)
