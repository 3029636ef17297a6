"""Merges the results of a job: one for each of its records, from the newest part that has the record.

Every function blocks. Memory stays constant: ids are kept in an index on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from qf_tasks.data import transfers
from qf_tasks.data.index import RecordIndex
from qf_tasks.data.models import Record, Result
from qf_tasks.data.results import join
from qf_tasks.jobs.manifest import Shard, ShardState
from qf_tasks.jobs.parts import Part
from qf_tasks.jobs.storage import JobFiles
from qf_tasks.models import RunStatus

_logger = logging.getLogger("qf_tasks")


class Reader:
    """Reads the results of finished shards. Close it after use."""

    def __init__(self, files: JobFiles, parts: list[Part], *, ordered: bool = False) -> None:
        self._files = files
        self._parts = parts
        self._ordered = ordered
        self._newer: RecordIndex | None = None

    def close(self) -> None:
        """Delete the index of the newer parts."""
        if self._newer:
            self._newer.close()

    def results(self, number: int, shard: Shard) -> Iterator[Result]:
        """Iterate over the results of a shard, of the part with this number.

        If the reader is ordered, these are all records of the shard, with their newest results. Otherwise
        records that a newer part has are left out: they come with that part.
        """
        count = 0
        found = self._results_of(self._parts[number], shard)
        for result in in_order(found, self._records(shard)) if self._ordered else found:
            newest = self._newest(result, number)
            if newest is not None:
                count += newest.outcome != "succeeded"
                yield newest
        self._parts[number].failed_records[shard.name] = count

    def failed_records(self) -> Iterator[Record]:
        """Iterate over the records of the job that have no usable result, as they were submitted."""
        for number, part in enumerate(self._parts):
            for shard in part.manifest.shards:
                with closing(RecordIndex()) as failed:
                    for result in self.results(number, shard):
                        if result.outcome != "succeeded":
                            failed.add(result.id or "")
                    if failed.count_unseen():
                        yield from (
                            record for record in self._records(shard) if failed.value(record.id) is not None
                        )

    def _newest(self, result: Result, number: int) -> Result | None:
        """Return the newest result of a record, None if it comes with a newer part."""
        newer = self._index_of_newer_parts()
        value = newer.value(result.id or "") if newer else None
        if value is None:
            return result
        if self._ordered:
            return Result.model_validate_json(value)
        return None if int(value) > number else result

    def _index_of_newer_parts(self) -> RecordIndex | None:
        """Return the ids in newer parts, with the newest part's number or, if ordered, with its result."""
        if len(self._parts) > 1 and self._newer is None:
            self._newer = RecordIndex()
            for number, part in reversed(list(enumerate(self._parts))[1:]):
                for shard in part.manifest.shards:
                    if self._ordered:
                        for result in self._results_of(part, shard):
                            self._newer.add(result.id or "", result.model_dump_json().encode())
                    else:
                        for record in self._records(shard):
                            self._newer.add(record.id, b"%d" % number)
        return self._newer

    def _results_of(self, part: Part, shard: Shard) -> Iterator[Result]:
        """Iterate over one result for each record of a shard."""
        state = part.states.get(shard.name)
        found = transfers.read_results(self._files.objects.open(), self._files.output(state) if state else [])
        ignored = 0
        for result in join(found, lambda: self._records(shard)):
            if result.outcome in ("unexpected", "unreadable"):
                ignored += 1
            elif result.outcome == "missing":
                yield replace(result, error=_reason(state))
            else:
                yield result
        if ignored:
            _logger.warning(
                "%d lines in the output of task %s were ignored: they match no record, or repeat a result",
                ignored,
                state.task_id if state else None,
            )

    def _records(self, shard: Shard) -> Iterator[Record]:
        for info in shard.objects():
            yield from transfers.read_records(self._files.objects.open(), info)


def in_order(results: Iterator[Result], records: Iterator[Record]) -> Iterator[Result]:
    """Yield the results of records in the order of the records."""
    with closing(RecordIndex()) as index:
        for result in results:
            index.add(result.id or "", result.model_dump_json().encode())
        for record in records:
            if (value := index.value(record.id)) is not None:
                yield Result.model_validate_json(value)


def _reason(state: ShardState | None) -> str:
    """Return why a record has no result."""
    if state is None:
        return "The job was stopped before a task was created for it"
    if state.run_status == RunStatus.DONE:
        return f"Task {state.task_id} is Done, but has no result for it"
    reason = f": {state.error}" if state.error else ""
    return f"Task {state.task_id} ended as {state.run_status}{reason}"
