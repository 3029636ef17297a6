"""Stopping many tasks: the outcome of each."""

from __future__ import annotations

import pytest

from qf_tasks import InvalidArgumentError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox


def test_stop_many_reports_stopping_stopped_skipped_and_not_found(
    client: TaskClient, sandbox: Sandbox
) -> None:
    running, queuing = sandbox.add_task(run_status="Running"), sandbox.add_task(run_status="Queuing")
    stopped, done = sandbox.add_task(run_status="Stopped"), sandbox.add_task(run_status="Done")

    report = client.stop_many([running, queuing, stopped, done, "infer-gone"])

    outcomes = [outcome.outcome for outcome in report]
    assert outcomes == ["stopping", "stopping", "stopped", "skipped", "not_found"]
    assert "Done" in str(report.outcomes[3].error)
    assert {sandbox.tasks[task_id]["runStatus"] for task_id in (running, queuing)} == {"Stopping"}
    assert not report.ok


def test_stop_many_with_rejected_keys_tries_no_others(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(5, run_status="Running")
    sandbox.inject(Fault.status(401, code="InvalidAccessKeyId"), times=None)

    report = client.stop_many(task_ids, max_workers=1)

    assert [outcome.outcome for outcome in report] == ["failed"] + ["not_tried"] * 4


def test_stop_many_of_single_id_raises(client: TaskClient, sandbox: Sandbox) -> None:
    with pytest.raises(InvalidArgumentError, match="tasks"):
        client.stop_many("infer-a")
    assert sandbox.requests == []
