"""Measuring side by side: subjects take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MILLI, MICRO, MEGA = 1e3, 1e6, 1e6


@dataclass(frozen=True)
class Size:
    """How much of everything a run does."""

    calls: int
    bulk: int
    bulk_rounds: int
    waited: int
    listed: int
    listing_rounds: int
    processes: int
    gets: int
    wait_seconds: float
    records: Sequence[int]
    tasks: Sequence[int]
    shards: int
    shard_rounds: int
    small_objects: int
    lines: int


FULL = Size(
    calls=400,
    bulk=500,
    bulk_rounds=3,
    waited=200,
    listed=20_000,
    listing_rounds=5,
    processes=15,
    gets=2000,
    wait_seconds=6.0,
    records=(100, 1_000, 10_000, 100_000, 1_000_000),
    tasks=(1, 10, 100, 1_000, 20_000),
    shards=100,
    shard_rounds=3,
    small_objects=1000,
    lines=1_000_000,
)
QUICK = Size(
    calls=3,
    bulk=4,
    bulk_rounds=1,
    waited=3,
    listed=5,
    listing_rounds=1,
    processes=1,
    gets=4,
    wait_seconds=0.2,
    records=(1, 2),
    tasks=(1, 2),
    shards=2,
    shard_rounds=1,
    small_objects=10,
    lines=1000,
)


class Target(NamedTuple):
    """What a figure should be."""

    limit: float
    is_least: bool = False

    def __str__(self) -> str:
        """Return it as the table prints it."""
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}"


@dataclass(frozen=True)
class Figure:
    """One figure of a case; without a unit it is a ratio."""

    name: str
    value: float
    unit: str = ""
    target: Target | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met, None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target.limit if self.target.is_least else self.value <= self.target.limit


@dataclass(frozen=True)
class Point:
    """What one operation takes with one number of records or tasks.

    Attributes:
        operation: the method.
        of: what there are `count` of: "records" or "tasks".
        megabytes: by how much the memory of the process grew at most.
    """

    operation: str
    of: str
    count: int
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Case:
    """What a case found: figures, lines to read below them, and points of a plot."""

    figures: list[Figure]
    notes: list[str] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)


def at_most(limit: float) -> Target:
    """Return the target of a figure that should be small."""
    return Target(limit)


def at_least(limit: float) -> Target:
    """Return the target of a figure that should be large."""
    return Target(limit, is_least=True)


def seconds_of(subject: Callable[[], object]) -> float:
    """Return how long it takes, once."""
    started = time.perf_counter()
    subject()
    return time.perf_counter() - started


def medians(
    subjects: Mapping[str, Callable[[], object]],
    rounds: int,
    measure: Callable[[Callable[[], object]], float] = seconds_of,
) -> dict[str, float]:
    """Return the median of each subject, which take turns; a first turn of all is not counted."""
    turns = [[measure(subject) for subject in subjects.values()] for _ in range(rounds + 1)]
    return dict(zip(subjects, map(statistics.median, zip(*turns[1:], strict=True)), strict=True))
