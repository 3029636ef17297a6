"""Applying a plan: only in its account, and only to what is still as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qf_tasks import InvalidArgumentError, PurgePlan, TaskClient
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

LOOK = "DescribeBatchInferenceTask"
DELETE = "DeleteBatchInferenceTask"


def test_purge_deletes_what_was_planned_and_nothing_else(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(5)
    plan = client.plan_purge(run_status="Done")
    later = sandbox.add_task()

    report = client.purge(plan)

    assert {outcome.task_id for outcome in report if outcome.outcome == "deleted"} == set(task_ids)
    assert list(sandbox.tasks) == [later]


def test_purge_applies_a_plan_that_was_kept_as_json(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(3)
    text = client.plan_purge(run_status="Done").model_dump_json()

    assert client.purge(PurgePlan.model_validate_json(text)).counts["deleted"] == 3


def test_purge_looks_at_each_task_just_before(client: TaskClient, sandbox: Sandbox) -> None:
    plan = client.plan_purge(run_status="Done") if sandbox.add_tasks(2) else None
    assert plan
    seen = len(sandbox.requests)

    client.purge(plan, max_workers=1)

    assert [request.action for request in sandbox.requests[seen:]] == [LOOK, DELETE, LOOK, DELETE]


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("runStatus", "Running", "Running"),
        ("runStatus", "Paused", "Paused"),
        ("name", "renamed", "renamed"),
        ("createTime", "2020-01-01T00:00:00Z", "2020-01-01"),
    ],
)
def test_purge_skips_what_changed_and_says_why(
    client: TaskClient, sandbox: Sandbox, member: str, value: str, reason: str
) -> None:
    changed, other = sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    answer = {"result": {**sandbox.tasks[changed], member: value}}
    sandbox.inject(Fault.transform(lambda _answer: answer), action=LOOK, task_id=changed)

    report = client.purge(plan)

    (skipped,) = [outcome for outcome in report if outcome.outcome == "skipped"]
    assert skipped.task_id == changed
    assert reason in str(skipped.error)
    assert skipped.request_id
    assert (list(sandbox.tasks), report.counts["deleted"], report.ok) == ([changed], 1, True)
    assert other not in sandbox.tasks


@pytest.mark.parametrize("run_status", ["Running", "Stopped"])
def test_purge_with_stop_first_skips_an_ended_task_in_another_state(
    client: TaskClient, sandbox: Sandbox, run_status: str
) -> None:
    task_id = sandbox.add_task()
    plan = client.plan_purge(run_status="Done", stop_first=True)
    sandbox.set_status(task_id, run_status)

    assert [outcome.outcome for outcome in client.purge(plan)] == ["skipped"]


def test_purge_of_a_task_that_is_gone_is_already_gone(client: TaskClient, sandbox: Sandbox) -> None:
    gone, other = sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    client.delete(gone)

    report = client.purge(plan)

    assert {outcome.task_id: outcome.outcome for outcome in report} == {
        gone: "already_gone",
        other: "deleted",
    }


def test_purge_stops_first_where_the_plan_says_so(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_task(run_status="Running")
    sandbox.add_task(run_status="Queuing")

    report = client.purge(client.plan_purge(run_status=["Running", "Queuing"], stop_first=True))

    assert (report.counts["deleted"], sandbox.tasks) == (2, {})


@pytest.mark.parametrize(("run_status", "outcome"), [("Stopped", "deleted"), ("Done", "skipped")])
def test_purge_of_a_running_task_takes_it_stopped_but_not_ended_by_itself(
    client: TaskClient, sandbox: Sandbox, run_status: str, outcome: str
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    plan = client.plan_purge(run_status="Running", stop_first=True)
    sandbox.set_status(task_id, run_status)

    assert [found.outcome for found in client.purge(plan)] == [outcome]


def test_purge_of_the_plan_of_another_account_is_refused(
    client: TaskClient, make_client: MakeClient, sandbox: Sandbox
) -> None:
    sandbox.add_key("another-access-key", "another-secret-key", account="b")
    sandbox.add_tasks(2)
    sandbox.add_tasks(2, account="b")
    plan = client.plan_purge(run_status="Done")
    seen = len(sandbox.requests)
    other = make_client(access_key="another-access-key", secret_key="another-secret-key")

    with pytest.raises(InvalidArgumentError, match="plan is of"):
        other.purge(plan)
    assert len(sandbox.requests) == seen
    assert len(sandbox.tasks) == len(sandbox.tasks_of("b")) == 2


def test_purge_of_the_plan_of_another_host_is_refused(
    client: TaskClient, make_client: MakeClient, sandbox: Sandbox
) -> None:
    plan = client.plan_purge(run_status="Done")

    with (
        Sandbox(frozen=True, access_key=sandbox.access_key, secret_key=sandbox.secret_key) as elsewhere,
        pytest.raises(InvalidArgumentError, match=elsewhere.url),
    ):
        make_client(base_url=elsewhere.url).purge(plan)


def test_purge_of_a_plan_made_over_another_scheme_is_refused(client: TaskClient, sandbox: Sandbox) -> None:
    plan = client.plan_purge(run_status="Done")

    with pytest.raises(InvalidArgumentError, match="https://"):
        client.purge(replace(plan, base_url=sandbox.url.replace("http", "https")))


def test_purge_of_what_is_no_plan_is_refused(client: TaskClient) -> None:
    not_a_plan: Any = ["infer-a"]
    with pytest.raises(InvalidArgumentError, match="PurgePlan"):
        client.purge(not_a_plan)
