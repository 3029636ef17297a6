"""Stopping many tasks."""

from __future__ import annotations

import pytest

from qf_tasks import InvalidArgumentError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox


def test_stop_many_stops_what_runs_and_skips_what_has_ended(client: TaskClient, sandbox: Sandbox) -> None:
    running, queuing = sandbox.add_task(run_status="Running"), sandbox.add_task(run_status="Queuing")
    stopped, done = sandbox.add_task(run_status="Stopped"), sandbox.add_task(run_status="Done")

    report = client.stop_many([running, queuing, stopped, done, "infer-gone"])

    told = [outcome.outcome for outcome in report]
    assert told == ["stopping", "stopping", "stopped", "skipped", "not_found"]
    assert "Done" in str(report.outcomes[3].error)
    assert {sandbox.tasks[task_id]["runStatus"] for task_id in (running, queuing)} == {"Stopping"}
    assert not report.ok


def test_stop_many_with_refused_keys_does_not_try_the_rest(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(5, run_status="Running")
    sandbox.inject(Fault.status(401, code="InvalidAccessKeyId"), times=None)

    report = client.stop_many(task_ids, max_workers=1)

    assert [outcome.outcome for outcome in report] == ["failed"] + ["not_tried"] * 4


def test_stop_many_of_one_id_as_text_is_refused(client: TaskClient, sandbox: Sandbox) -> None:
    with pytest.raises(InvalidArgumentError, match="tasks"):
        client.stop_many("infer-a")
    assert sandbox.requests == []
