"""A thousand tasks on a bad line: the report agrees with what is left, task by task."""

from __future__ import annotations

import pytest

from qf_tasks import BulkReport
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

DELETE = "DeleteBatchInferenceTask"
FAULTS = [
    Fault.reset_before(),
    Fault.reset_after(),
    Fault.truncated(),
    Fault.status(429),
    Fault.status(429, retry_after=5),
    Fault.status(503),
    Fault.status(500, applied=True),
    Fault.html(502),
]
GONE = {"deleted": True, "already_gone": True, "failed": False, "not_tried": False}


def check_agrees(report: BulkReport, sandbox: Sandbox, task_ids: list[str]) -> None:
    """Check every outcome that claims to know against what is left."""
    left = sandbox.tasks
    assert [outcome.task_id for outcome in report] == task_ids
    for outcome in report:
        if outcome.outcome != "unknown":
            assert (outcome.task_id not in left) is GONE[outcome.outcome], outcome


@pytest.mark.parametrize("max_retries", [0, 3])
def test_delete_many_under_random_faults_and_a_refused_key_agrees_with_what_is_left(
    make_client: MakeClient, sandbox: Sandbox, max_retries: int
) -> None:
    task_ids = sandbox.add_tasks(1000)
    refused = Fault.status(401, code="InvalidAccessKeyId")
    sandbox.inject(refused, action=DELETE, task_id=task_ids[950], times=None)
    sandbox.inject_random(0.2, FAULTS, seed=7)

    report = make_client(max_retries=max_retries).delete_many(task_ids)

    check_agrees(report, sandbox, task_ids)
    assert report.outcomes[950].error
    assert report.outcomes[950].error.kind == "AuthenticationError"
    assert report.counts["deleted"] > 700
    assert 0 < report.counts["not_tried"] < 50
    if not max_retries:
        unknown = [outcome.task_id in sandbox.tasks for outcome in report if outcome.outcome == "unknown"]
        assert {True, False} == set(unknown)


def test_delete_many_of_the_remaining_ends_with_nothing_left(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    client = make_client(max_retries=0)
    sandbox.inject_random(0.3, FAULTS, seed=11)
    report = client.delete_many(sandbox.add_tasks(300))
    assert report.remaining

    sandbox.inject_random(0, [], seed=0)
    rest = client.delete_many(report.remaining, missing_ok=True)

    assert (rest.ok, sandbox.tasks) == (True, {})
