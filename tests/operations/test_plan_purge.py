"""Planning a purge: which tasks it takes, why it leaves the others, and what it refuses."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qf_tasks._planning import plan_purge

from qf_tasks import Account, InvalidArgumentError, PurgePlan, RunStatus, Task, TaskClient, TaskPage
from qf_tasks.sandbox import Fault, Sandbox

NOW = datetime.now(UTC).replace(microsecond=0)
KNOWN = [str(known) for known in RunStatus.KNOWN]
DAY = timedelta(days=1)


def ids(plan: PurgePlan) -> set[str]:
    return {task.task_id for task in plan}


class Listing:
    """An account that lists what it is given; whatever is asked for, it filters nothing."""

    account = Account("ALTA…9f3c", "host", "a test")

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = tasks

    def pages(self, *, run_status: Sequence[str] | None) -> Iterator[TaskPage]:
        del run_status
        for task in self._tasks:
            yield TaskPage((task,), None, is_truncated=True)


def planned(tasks: Iterator[Task], **criteria: Any) -> PurgePlan:
    nothing = {"run_status": None, "name": None, "older_than": None, "creator": None}
    others = {"keep_newest": 0, "stop_first": False, "max_tasks": 1000}
    return plan_purge(Listing(tasks), "https://host", **{**nothing, **others, **criteria})


def test_plan_purge_deletes_nothing_and_tells_whose_and_what(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(3)

    plan = client.plan_purge(run_status="done")

    assert ids(plan) == set(task_ids) == set(sandbox.tasks)
    assert (plan.account, plan.base_url) == (client.account, sandbox.url)
    assert plan.criteria.run_status == (RunStatus.DONE,)
    assert plan.created_at >= NOW


def test_plan_purge_of_an_empty_account_is_empty(client: TaskClient) -> None:
    assert len(client.plan_purge(run_status="Done")) == 0


def test_plan_purge_takes_what_fits_every_criterion(client: TaskClient, sandbox: Sandbox) -> None:
    old = NOW - 40 * DAY
    fitting: dict[str, Any] = {"name": "nightly-1", "creator": "ann", "create_time": old, "finish_time": old}
    wanted = sandbox.add_task(**fitting)
    sandbox.add_task(**{**fitting, "name": "Nightly-1"})
    sandbox.add_task(**{**fitting, "name": "a nightly-1"})
    sandbox.add_task(**{**fitting, "creator": "bob"})
    sandbox.add_task(**{**fitting, "create_time": NOW, "finish_time": NOW})
    sandbox.add_task(**{**fitting, "run_status": "Failed"})

    plan = client.plan_purge(run_status="Done", name="nightly-*", older_than="30d", creator="ann")

    assert ids(plan) == {wanted}
    assert plan.skipped == {"other name": 2, "other creator": 1, "not old enough": 1}


def test_plan_purge_checks_the_state_although_the_service_should_have(
    client: TaskClient, sandbox: Sandbox
) -> None:
    done = sandbox.add_task()
    failed = sandbox.add_task(run_status="Failed")
    whole = {"result": {"taskList": [sandbox.tasks[failed], sandbox.tasks[done]]}}
    sandbox.inject(Fault.transform(lambda _answer: whole))

    plan = client.plan_purge(run_status="Done")

    assert (ids(plan), plan.skipped) == ({done}, {"other run_status": 1})


def test_plan_purge_counts_age_from_the_later_time_and_never_without_one(
    client: TaskClient, sandbox: Sandbox
) -> None:
    old = NOW - 40 * DAY
    sandbox.add_task(create_time=old, finish_time=NOW)
    sandbox.add_task(fields={"createTime": None, "finishTime": None})
    wanted = sandbox.add_task(create_time=old, finish_time=old)

    assert ids(client.plan_purge(older_than="30d")) == {wanted}


def test_plan_purge_keeps_the_newest_of_what_is_meant_whatever_their_age(
    client: TaskClient, sandbox: Sandbox
) -> None:
    times = [NOW - (40 + number) * DAY for number in range(5)]
    newest_first = [sandbox.add_task(name="a", create_time=time, finish_time=time) for time in times]
    sandbox.add_task(name="b")  # newer, but not meant

    plan = client.plan_purge(name="a", older_than="41d", keep_newest=3)

    assert ids(plan) == set(newest_first[3:])
    assert plan.skipped == {"other name": 1, "among the newest": 3}


def test_plan_purge_counts_the_young_among_the_newest(client: TaskClient, sandbox: Sandbox) -> None:
    old = NOW - 40 * DAY
    wanted = sandbox.add_task(create_time=old, finish_time=old)
    sandbox.add_tasks(2, create_time=NOW)

    assert ids(client.plan_purge(older_than="30d", keep_newest=2)) == {wanted}


def test_plan_purge_keeps_the_first_listed_of_those_created_together(
    client: TaskClient, sandbox: Sandbox
) -> None:
    *older, _newest = sandbox.add_tasks(4)

    assert ids(client.plan_purge(run_status="Done", keep_newest=1)) == set(older)


def test_plan_purge_with_keep_newest_leaves_a_task_without_create_time(
    client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(2, fields={"createTime": "some day"})

    assert client.plan_purge(run_status="Done", keep_newest=1).skipped == {"no create_time": 2}
    assert len(client.plan_purge(run_status="Done")) == 2


@pytest.mark.parametrize(
    ("stop_first", "taken"),
    [(False, {"Done", "Stopped", "Failed", "Expired"}), (True, set(KNOWN))],
)
def test_plan_purge_takes_what_may_be_deleted_and_an_unknown_state_never(
    client: TaskClient, sandbox: Sandbox, stop_first: bool, taken: set[str]
) -> None:
    for run_status in [*KNOWN, "Paused"]:
        sandbox.add_task(run_status=run_status, name="one")

    plan = client.plan_purge(name="one", stop_first=stop_first)

    assert {str(task.run_status) for task in plan} == taken
    assert plan.skipped.get("not ended", 0) == (0 if stop_first else 3)
    assert plan.skipped["unknown run_status"] == 1


def test_plan_purge_of_more_than_max_tasks_is_refused_with_the_number(
    client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(12)

    assert len(client.plan_purge(run_status="Done", max_tasks=12)) == 12
    with pytest.raises(InvalidArgumentError, match="12 tasks fit, more than max_tasks=11"):
        client.plan_purge(run_status="Done", max_tasks=11)


@pytest.mark.parametrize(
    "criteria",
    [
        {},
        {"name": "*"},
        {"name": "?*?"},
        {"keep_newest": 5},
        {"older_than": 0},
        {"stop_first": True, "name": "**"},
    ],
)
def test_plan_purge_without_a_criterion_is_refused(
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
        ("keep_newest", -1),
        ("max_tasks", 0),
    ],
)
def test_plan_purge_with_a_bad_argument_sends_nothing(
    client: TaskClient, sandbox: Sandbox, argument: str, value: object
) -> None:
    arguments: dict[str, Any] = {"creator": "me", argument: value}
    with pytest.raises(InvalidArgumentError, match=argument):
        client.plan_purge(**arguments)
    assert sandbox.requests == []


@settings(max_examples=150, deadline=None)
@given(
    tasks=st.lists(
        st.builds(
            Task,
            task_id=st.uuids().map(str),
            run_status=st.sampled_from([*KNOWN, "New"]).map(RunStatus),
            name=st.sampled_from([None, "a1", "a2", "b"]),
            creator=st.sampled_from(["me", "you"]),
            create_time=st.none() | st.integers(0, 9).map(lambda days: NOW - days * DAY),
            finish_time=st.none() | st.integers(0, 9).map(lambda days: NOW - days * DAY),
        ),
        unique_by=lambda task: task.task_id,
        max_size=30,
    ),
    keep_newest=st.integers(0, 5),
    stop_first=st.booleans(),
)
def test_plan_purge_agrees_with_the_rules_written_plainly(
    tasks: list[Task], keep_newest: int, stop_first: bool
) -> None:
    cut = NOW - 3 * DAY
    meant = [task for task in tasks if task.name in ("a1", "a2") and task.creator == "me"]
    dated = sorted((task.create_time for task in meant if task.create_time), reverse=True)

    plan = planned(
        iter(tasks), name="a?", creator="me", older_than=cut, keep_newest=keep_newest, stop_first=stop_first
    )

    for task in plan:
        times = [time for time in (task.create_time, task.finish_time) if time]
        assert task in meant
        assert max(times) < cut
        assert task.run_status.can_delete or (stop_first and task.run_status in KNOWN)
        if keep_newest:
            assert task.create_time
            assert sum(time >= task.create_time for time in dated) > keep_newest
    assert len(plan) + sum(plan.skipped.values()) == len(tasks)
    assert plan.skipped.get("among the newest", 0) == min(keep_newest, len(dated))


def account_of_20000(held: list[int]) -> Iterator[Task]:
    """Yield tasks, every 400th by the name of "taken", and note now and then how many are in memory."""
    for number in range(20_000):
        if number % 2_000 == 0:
            held.append(sum(isinstance(thing, Task) for thing in gc.get_objects()))
        created = NOW - number * timedelta(minutes=1)
        name = "taken" if number % 400 == 0 else "other"
        yield Task(f"infer-{number}", RunStatus.DONE, name, create_time=created, finish_time=created)


def test_plan_purge_of_20000_tasks_holds_those_it_takes() -> None:
    held: list[int] = []

    plan = planned(account_of_20000(held), name="taken", keep_newest=10)

    assert (len(plan), sum(plan.skipped.values())) == (40, 19_960)
    assert max(held) - held[0] <= 50 + 5


def test_plan_purge_of_more_than_max_tasks_holds_no_more_than_these() -> None:
    held: list[int] = []

    with pytest.raises(InvalidArgumentError, match="19950 tasks fit"):
        planned(account_of_20000(held), name="other", max_tasks=20)

    assert max(held) - held[0] <= 20 + 5
