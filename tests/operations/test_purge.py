"""Planning a purge and carrying it out: which tasks are selected, and which are deleted in the end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qf_tasks import BadResponseError, InvalidArgumentError, PurgePlan, RunStatus, TaskClient
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.conftest import MakeClient

GET = "DescribeBatchInferenceTask"
DELETE = "DeleteBatchInferenceTask"


NOW = datetime.now(UTC).replace(microsecond=0)
KNOWN = [str(known) for known in RunStatus.KNOWN]
DAY = timedelta(days=1)


def ids(plan: PurgePlan) -> set[str]:
    return {task.task_id for task in plan}


# Planning.


def test_plan_purge_deletes_nothing_and_records_account_and_criteria(
    client: TaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(3)

    plan = client.plan_purge(run_status="done")

    assert ids(plan) == set(task_ids) == set(sandbox.tasks)
    assert (plan.account, plan.base_url) == (client.account, sandbox.url)
    assert plan.criteria.run_status == (RunStatus.DONE,)
    assert plan.created_at >= NOW


def test_plan_purge_of_empty_account_selects_nothing(client: TaskClient) -> None:
    assert len(client.plan_purge(run_status="Done")) == 0


def test_plan_purge_selects_tasks_that_match_every_criterion(client: TaskClient, sandbox: Sandbox) -> None:
    old = NOW - 40 * DAY
    matching: dict[str, Any] = {"name": "nightly-1", "creator": "ann", "create_time": old, "finish_time": old}
    wanted = sandbox.add_task(**matching)
    sandbox.add_task(**{**matching, "name": "Nightly-1"})
    sandbox.add_task(**{**matching, "name": "a nightly-1"})
    sandbox.add_task(**{**matching, "creator": "bob"})
    sandbox.add_task(**{**matching, "create_time": NOW, "finish_time": NOW})
    sandbox.add_task(**{**matching, "run_status": "Failed"})

    plan = client.plan_purge(run_status="Done", name="nightly-*", older_than="30d", creator="ann")

    assert ids(plan) == {wanted}
    assert plan.skipped == {"other name": 2, "other creator": 1, "not old enough": 1}


def test_plan_purge_by_state_checks_what_the_service_filtered(client: TaskClient, sandbox: Sandbox) -> None:
    done = sandbox.add_task()
    failed = sandbox.add_task(run_status="Failed")
    response = {"result": {"taskList": [sandbox.tasks[failed], sandbox.tasks[done]]}}
    sandbox.inject(Fault.transform(lambda _body: response))

    plan = client.plan_purge(run_status="Done")

    assert (ids(plan), plan.skipped) == ({done}, {"other run_status": 1})


def test_plan_purge_by_age_uses_the_later_time_and_skips_tasks_without_one(
    client: TaskClient, sandbox: Sandbox
) -> None:
    old = NOW - 40 * DAY
    sandbox.add_task(create_time=old, finish_time=NOW)
    sandbox.add_task(fields={"createTime": None, "finishTime": None})
    wanted = sandbox.add_task(create_time=old, finish_time=old)

    assert ids(client.plan_purge(older_than="30d")) == {wanted}


def test_plan_purge_with_keep_newest_keeps_the_newest_that_match_by_name(
    client: TaskClient, sandbox: Sandbox
) -> None:
    times = [NOW - (40 + number) * DAY for number in range(5)]
    newest_first = [sandbox.add_task(name="a", create_time=time, finish_time=time) for time in times]
    sandbox.add_task(name="b")  # newer, but of another name

    plan = client.plan_purge(name="a", older_than="41d", keep_newest=3)

    assert ids(plan) == set(newest_first[3:])
    assert plan.skipped == {"other name": 1, "among the newest": 3}


def test_plan_purge_with_keep_newest_counts_young_tasks(client: TaskClient, sandbox: Sandbox) -> None:
    old = NOW - 40 * DAY
    wanted = sandbox.add_task(create_time=old, finish_time=old)
    sandbox.add_tasks(2, create_time=NOW)

    assert ids(client.plan_purge(older_than="30d", keep_newest=2)) == {wanted}


def test_plan_purge_with_keep_newest_keeps_the_first_listed_of_equal_times(
    client: TaskClient, sandbox: Sandbox
) -> None:
    *older, _newest = sandbox.add_tasks(4)

    assert ids(client.plan_purge(run_status="Done", keep_newest=1)) == set(older)


def test_plan_purge_with_keep_newest_keeps_tasks_without_create_time(
    client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(2, fields={"createTime": "some day"})

    assert client.plan_purge(run_status="Done", keep_newest=1).skipped == {"no create_time": 2}
    assert len(client.plan_purge(run_status="Done")) == 2


@pytest.mark.parametrize(
    ("stop_first", "selected"),
    [(False, {"Done", "Stopped", "Failed", "Expired"}), (True, set(KNOWN))],
)
def test_plan_purge_never_selects_unknown_states(
    client: TaskClient, sandbox: Sandbox, stop_first: bool, selected: set[str]
) -> None:
    for run_status in [*KNOWN, "Paused"]:
        sandbox.add_task(run_status=run_status, name="one")

    plan = client.plan_purge(name="one", stop_first=stop_first)

    assert {str(task.run_status) for task in plan} == selected
    assert plan.skipped.get("not ended", 0) == (0 if stop_first else 3)
    assert plan.skipped["unknown run_status"] == 1


def test_plan_purge_of_more_than_max_tasks_raises(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(12)

    assert len(client.plan_purge(run_status="Done", max_tasks=12)) == 12
    with pytest.raises(InvalidArgumentError, match="More than max_tasks=11 tasks match"):
        client.plan_purge(run_status="Done", max_tasks=11)


@pytest.mark.parametrize(
    "criteria",
    [
        {},
        {"name": "*"},
        {"name": "?*?"},
        {"keep_newest": 5},
        {"older_than": "0s"},
        {"stop_first": True, "name": "**"},
    ],
)
def test_plan_purge_without_criterion_sends_nothing(
    client: TaskClient, sandbox: Sandbox, criteria: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match="At least one of"):
        client.plan_purge(**criteria)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("run_status", "Dnoe"),
        ("name", " "),
        ("creator", ""),
        ("older_than", "30 years"),
        ("older_than", 30),
        ("keep_newest", -1),
        ("max_tasks", 0),
    ],
)
def test_plan_purge_with_invalid_argument_sends_nothing(
    client: TaskClient, sandbox: Sandbox, argument: str, value: object
) -> None:
    arguments: dict[str, Any] = {"creator": "me", argument: value}
    with pytest.raises(InvalidArgumentError, match=argument):
        client.plan_purge(**arguments)
    assert sandbox.requests == []


def test_plan_purge_with_keep_newest_of_listing_that_repeats_tasks_keeps_the_newest(
    client: TaskClient, sandbox: Sandbox
) -> None:
    *older, third, second, first, newest = sandbox.add_tasks(7)

    def repeat(body: Any) -> Any:
        tasks = body["result"]["taskList"]
        body["result"]["taskList"] = [tasks[0], *tasks, *tasks[:3]]
        return body

    sandbox.inject(Fault.transform(repeat))
    plan = client.plan_purge(run_status="Done", keep_newest=4)

    assert ids(plan) == set(older)
    assert not ids(plan) & {third, second, first, newest}


def test_plan_purge_with_endless_listing_ends(client: TaskClient, sandbox: Sandbox) -> None:
    for number in range(150):
        page = {"taskList": [], "pageInfo": {"isTruncated": True, "nextMarker": f"infer-{number}"}}
        sandbox.inject(Fault.body(json.dumps({"requestId": "7", "result": page}).encode()))

    with pytest.raises(BadResponseError, match="does not advance"):
        client.plan_purge(name="a*", max_tasks=10)


def test_plan_purge_of_more_than_max_tasks_fetches_no_more_pages(
    client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(300)

    with pytest.raises(InvalidArgumentError, match="More than max_tasks=10"):
        client.plan_purge(run_status="Done", max_tasks=10)
    assert len(sandbox.requests) == 1


@settings(max_examples=20)
@given(
    tasks=st.lists(
        st.fixed_dictionaries(
            {
                "run_status": st.sampled_from([*KNOWN, "New"]),
                "name": st.sampled_from(["a1", "a2", "b"]),
                "creator": st.sampled_from(["me", "you"]),
                "create_time": st.integers(0, 9).map(lambda days: NOW - days * DAY),
                "finish_time": st.integers(0, 9).map(lambda days: NOW - days * DAY),
                "fields": st.sampled_from([{}, {"createTime": None}, {"finishTime": None}]),
            }
        ),
        max_size=30,
    ),
    keep_newest=st.integers(0, 5),
    stop_first=st.booleans(),
)
def test_plan_purge_of_random_tasks_keeps_every_rule(
    blocking_client: TaskClient,
    sandbox: Sandbox,
    tasks: list[dict[str, Any]],
    keep_newest: int,
    stop_first: bool,
) -> None:
    sandbox.reset()
    for fields in tasks:
        sandbox.add_task(**fields)
    cut = NOW - 3 * DAY
    listed = list(blocking_client.list())
    matching = [task for task in listed if task.name in ("a1", "a2") and task.creator == "me"]
    dated = [task.create_time for task in matching if task.create_time]

    plan = blocking_client.plan_purge(
        name="a?", creator="me", older_than=cut, keep_newest=keep_newest, stop_first=stop_first
    )

    for task in plan:
        times = [time for time in (task.create_time, task.finish_time) if time]
        assert task in matching
        assert max(times) < cut
        assert task.run_status.can_delete or (stop_first and task.run_status in KNOWN)
        if keep_newest:
            assert task.create_time
            assert sum(time >= task.create_time for time in dated) > keep_newest
    assert len(plan) + sum(plan.skipped.values()) == len(tasks)
    assert plan.skipped.get("among the newest", 0) == min(keep_newest, len(dated))


# Carrying it out.


def test_purge_deletes_planned_tasks_only(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(5)
    plan = client.plan_purge(run_status="Done")
    later = sandbox.add_task()

    report = client.purge(plan)

    assert {outcome.task_id for outcome in report if outcome.outcome == "deleted"} == set(task_ids)
    assert list(sandbox.tasks) == [later]


def test_purge_of_plan_read_from_json_deletes_its_tasks(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(3)
    text = client.plan_purge(run_status="Done").model_dump_json()

    assert client.purge(PurgePlan.model_validate_json(text)).counts["deleted"] == 3


def test_purge_gets_each_task_just_before_it_deletes_it(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    seen = len(sandbox.requests)

    client.purge(plan, max_workers=1)

    assert [request.action for request in sandbox.requests[seen:]] == [GET, DELETE, GET, DELETE]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("runStatus", "Running", "Running"),
        ("runStatus", "Paused", "Paused"),
        ("name", "renamed", "renamed"),
        ("name", None, "None"),
        ("createTime", "2020-01-01T00:00:00Z", "2020-01-01"),
        ("createTime", None, "None"),
    ],
)
def test_purge_skips_changed_task_with_reason(
    client: TaskClient, sandbox: Sandbox, field: str, value: object, reason: str
) -> None:
    changed, other = sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    described = {"result": {**sandbox.tasks[changed], field: value}}
    sandbox.inject(Fault.transform(lambda _body: described), action=GET, task_id=changed)

    report = client.purge(plan)

    (skipped,) = [outcome for outcome in report if outcome.outcome == "skipped"]
    assert skipped.task_id == changed
    assert reason in str(skipped.error)
    assert skipped.request_id
    assert (list(sandbox.tasks), report.counts["deleted"], report.ok) == ([changed], 1, True)
    assert other not in sandbox.tasks


@pytest.mark.parametrize("run_status", ["Running", "Stopped"])
def test_purge_with_stop_first_skips_ended_task_in_another_state(
    client: TaskClient, sandbox: Sandbox, run_status: str
) -> None:
    task_id = sandbox.add_task()
    plan = client.plan_purge(run_status="Done", stop_first=True)
    sandbox.set_status(task_id, run_status)

    assert [outcome.outcome for outcome in client.purge(plan)] == ["skipped"]


def test_purge_of_missing_task_reports_already_gone(client: TaskClient, sandbox: Sandbox) -> None:
    gone, other = sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    client.delete(gone)

    report = client.purge(plan)

    assert {outcome.task_id: outcome.outcome for outcome in report} == {
        gone: "already_gone",
        other: "deleted",
    }


def test_purge_with_stop_first_stops_active_tasks(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_task(run_status="Running")
    sandbox.add_task(run_status="Queuing")

    report = client.purge(client.plan_purge(run_status=["Running", "Queuing"], stop_first=True))

    assert (report.counts["deleted"], sandbox.tasks) == (2, {})


@pytest.mark.parametrize(("run_status", "outcome"), [("Stopped", "deleted"), ("Done", "skipped")])
def test_purge_of_running_task_deletes_it_if_stopped_but_not_if_it_ended_by_itself(
    client: TaskClient, sandbox: Sandbox, run_status: str, outcome: str
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    plan = client.plan_purge(run_status="Running", stop_first=True)
    sandbox.set_status(task_id, run_status)

    assert [found.outcome for found in client.purge(plan)] == [outcome]


def test_purge_of_another_accounts_plan_raises(
    client: TaskClient, make_client: MakeClient, sandbox: Sandbox
) -> None:
    sandbox.add_key("another-access-key", "another-secret-key", account="b")
    sandbox.add_tasks(2)
    sandbox.add_tasks(2, account="b")
    plan = client.plan_purge(run_status="Done")
    seen = len(sandbox.requests)
    other = make_client(access_key="another-access-key", secret_key="another-secret-key")

    with pytest.raises(InvalidArgumentError, match="plan was made for"):
        other.purge(plan)
    assert len(sandbox.requests) == seen
    assert len(sandbox.tasks) == len(sandbox.tasks_of("b")) == 2


def test_purge_of_another_hosts_plan_raises(
    client: TaskClient, make_client: MakeClient, sandbox: Sandbox
) -> None:
    plan = client.plan_purge(run_status="Done")

    with (
        Sandbox(frozen=True, access_key=sandbox.access_key, secret_key=sandbox.secret_key) as elsewhere,
        pytest.raises(InvalidArgumentError, match=elsewhere.url),
    ):
        make_client(base_url=elsewhere.url).purge(plan)


def test_purge_of_plan_made_over_another_scheme_raises(client: TaskClient, sandbox: Sandbox) -> None:
    plan = client.plan_purge(run_status="Done")

    with pytest.raises(InvalidArgumentError, match="https://"):
        client.purge(replace(plan, base_url=sandbox.url.replace("http", "https")))


def test_purge_of_list_of_ids_raises(client: TaskClient) -> None:
    not_a_plan: Any = ["infer-a"]
    with pytest.raises(InvalidArgumentError, match="PurgePlan"):
        client.purge(not_a_plan)


@pytest.mark.parametrize("status", [400, 404])
def test_purge_with_every_request_rejected_alike_never_reports_already_gone(
    client: TaskClient, sandbox: Sandbox, status: int
) -> None:
    task_ids = sandbox.add_tasks(4)
    plan = client.plan_purge(run_status="Done")
    sandbox.behavior = ServerBehavior(reject_all=(status, "AccountInArrears", "the account is in arrears"))

    report = client.purge(plan)

    assert [outcome.outcome for outcome in report] == ["failed"] * 4
    assert list(sandbox.tasks) == task_ids


@pytest.mark.parametrize(("field", "value"), [("name", "n"), ("createTime", "2020-01-01T00:00:00Z")])
def test_purge_of_task_planned_without_name_or_create_time_skips_one_that_has_it(
    client: TaskClient, sandbox: Sandbox, field: str, value: str
) -> None:
    task_id = sandbox.add_task(fields={field: None})
    plan = client.plan_purge(run_status="Done")
    described = {"result": {**sandbox.tasks[task_id], field: value}}
    sandbox.inject(Fault.transform(lambda _body: described), action=GET)

    assert [outcome.outcome for outcome in client.purge(plan)] == ["skipped"]
