"""A part of a job in memory: its manifest and what is known of its shards."""

from __future__ import annotations

from dataclasses import dataclass, field

from qf_tasks.jobs.manifest import Manifest, Shard, ShardState


@dataclass
class Part:
    """The records of one `submit` or `retry_failures`, with what is known of their shards.

    Attributes:
        states: of the shards that have or had a task.
        settled: the shards whose final state is stored and whose output is complete.
        failed_records: how many records of a shard have no usable result, where that was counted.
    """

    manifest: Manifest
    states: dict[str, ShardState] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    failed_records: dict[str, int] = field(default_factory=dict)
    is_stopped: bool = False

    def is_finished(self, shard: Shard) -> bool:
        """Whether nothing more will be done for a shard."""
        state = self.states.get(shard.name)
        if state is None:
            return self.is_stopped
        return state.is_finished(self.retries) or (self.is_stopped and state.needs_task(self.retries))

    def needs_task(self, shard: Shard) -> bool:
        """Whether a task is to be created for a shard."""
        state = self.states.get(shard.name)
        return not self.is_stopped and (state is None or state.needs_task(self.retries))

    @property
    def retries(self) -> int:
        """How often a shard is retried."""
        return self.manifest.parameters.shard_retries

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be done for any shard."""
        return all(self.is_finished(shard) for shard in self.manifest.shards)
