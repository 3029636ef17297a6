"""A program that takes records through tasks to results, and goes on where it was killed.

python -m tests.data.pipeline OPTIONS, as JSON. It prints what it did as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from qf_tasks import Settings, Task, TaskClient
from qf_tasks.data import jsonl

_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Options:
    """What to process, and for whom.

    Attributes:
        folder: Where the results go.
        tasks: How many tasks the records are divided into.
        records: How many each task has.
        record_bytes: The size of a record.
        shard_bytes: The size of an object.
        joins: Whether to read all results at the end, and count their outcomes.
    """

    url: str
    access_key: str
    secret_key: str
    folder: str
    tasks: int
    records: int
    record_bytes: int
    shard_bytes: int = jsonl.SHARD_BYTES
    joins: bool = True

    @property
    def bytes(self) -> int:
        """The size of all records."""
        return self.tasks * self.records * self.record_bytes


def records(options: Options, task: int) -> Iterator[dict[str, str]]:
    """Yield the records of a task."""
    for number in range(options.records):
        query = f"question {number} "
        yield {"id": f"{task}-{number}", "query": query + "x" * (options.record_bytes - len(query) - 40)}


def main(options: Options) -> None:
    """Upload, create, wait and download, task by task."""
    jsonl.SHARD_BYTES = options.shard_bytes
    settings = Settings(
        access_key=options.access_key, secret_key=options.secret_key, base_url=options.url, max_retries=0
    )
    with TaskClient(settings) as client:
        client.data.upload([{"query": "warm up"}], "bos:/bucket/warm-up/")
        before = _peak_bytes(reset=True)
        tasks = [_run(client, options, number) for number in range(options.tasks)]
        outcomes = [_outcomes(client, task) for task in tasks if options.joins]
    print(json.dumps({"growth": _peak_bytes() - before, "outcomes": outcomes}))


def _run(client: TaskClient, options: Options, number: int) -> Task:
    upload = client.data.upload(records(options, number), f"bos:/bucket/in/{number}/")
    created = client.create(
        name=f"pipeline-{number}",
        endpoint="ernie-x1-turbo-32k",
        input_bos_uri=upload.uri,
        output_bos_uri="bos:/bucket/out/",
        idempotency_key=f"pipeline-{number}",
    )
    task = client.wait(created, poll_interval=0.1)
    target = Path(options.folder, f"{number}.jsonl")
    if not target.exists():
        client.data.download(task, target)
    return task


def _outcomes(client: TaskClient, task: Task) -> dict[str, int]:
    """Return how many results there are of each outcome."""
    counts: dict[str, int] = {}
    for result in client.data.results(task, missing=True):
        counts[result.outcome] = counts.get(result.outcome, 0) + 1
    return counts


def _peak_bytes(*, reset: bool = False) -> int:
    """Return the most memory that this process has had since the last reset."""
    if reset:
        (_PROCESS / "clear_refs").write_text("5")
    line = next(line for line in (_PROCESS / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def command(options: Options) -> list[str]:
    """Return the command that runs this program."""
    return [sys.executable, "-m", __spec__.name, json.dumps(asdict(options))]


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
