"""Every method of the client that talks to the service, with arguments that are right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from qf_tasks import PurgePlan, RunStatus, Task, TaskClient
from qf_tasks.reports import PurgeCriteria

TASKS = ["infer-1", "infer-2"]
CREATION: dict[str, Any] = {
    "name": "nightly",
    "endpoint": "ernie-x1-turbo-32k",
    "input_bos_uri": "bos:/bucket/in/",
    "output_bos_uri": "bos:/bucket/out/",
}


def plan_of(client: TaskClient) -> PurgePlan:
    """Return a plan for the tasks, whatever their states are."""
    return PurgePlan(
        account=client.account,
        base_url=client._settings.base_url,
        criteria=PurgeCriteria(name="n*"),
        tasks=tuple(Task(task_id=task_id, run_status=RunStatus.DONE, name="nightly") for task_id in TASKS),
        skipped={},
        created_at=datetime.now(UTC),
    )


OPERATIONS: dict[str, Callable[[TaskClient], object]] = {
    "get": lambda client: client.get("infer-1"),
    "list": lambda client: [*client.list(name="n*", older_than="1d", limit=500)],
    "pages": lambda client: [*client.pages(run_status="Done", page_size=1)],
    "create": lambda client: client.create(**CREATION),
    "create, keyed": lambda client: client.create(**CREATION, idempotency_key="daily", reuse_within="1h"),
    "create, waiting": lambda client: client.create(**CREATION, quota_timeout=60.0),
    "delete": lambda client: client.delete("infer-1"),
    "delete, stopping": lambda client: client.delete("infer-1", stop_first=True, stop_timeout=60.0),
    "delete, missing": lambda client: client.delete("infer-1", missing_ok=True),
    "stop": lambda client: client.stop("infer-1"),
    "models": lambda client: client.models(),
    "wait": lambda client: client.wait("infer-1", timeout=60.0),
    "wait_all": lambda client: client.wait_all(TASKS, timeout=60.0),
    "as_completed": lambda client: [*client.as_completed(TASKS, timeout=60.0)],
    "delete_many": lambda client: client.delete_many(TASKS, max_workers=1),
    "delete_many, stopping": lambda client: client.delete_many(TASKS, stop_first=True, stop_timeout=60.0),
    "stop_many": lambda client: client.stop_many(TASKS),
    "plan_purge": lambda client: client.plan_purge(name="n*"),
    "purge": lambda client: client.purge(plan_of(client)),
    "call": lambda client: client.call("DescribeBatchInferenceTask", {"taskId": "infer-1"}),
}
