"""`run` and `status`: slots, failed tasks, faults, and what another program did before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from qf_tasks import (
    AsyncJob,
    InvalidArgumentError,
    Job,
    JobStatus,
    QfTasksError,
    TaskClient,
    TaskFailedError,
    WaitTimeoutError,
)
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .conftest import BOS_URI, MakeJobsClient, both_clients, count

Submit = Callable[..., Job]

CREATE = "CreateBatchInferenceTask"
STATE = f"{BOS_URI}tasks/0001.json"


def states(sandbox: Sandbox) -> list[str]:
    return [task["runStatus"] for task in sandbox.tasks.values()]


def when_created(sandbox: Sandbox, run_statuses: Iterable[str | None]) -> Callable[[JobStatus], None]:
    """Return a callback that ends each new task as given, as long as there are any."""
    left, seen = iter(run_statuses), set[str]()

    def end(status: JobStatus) -> None:
        for task in status.tasks:
            if task.task_id not in seen:
                seen.add(task.task_id)
                if run_status := next(left, None):
                    sandbox.set_status(task.task_id, run_status)

    return end


@both_clients
def test_run_returns_the_status_when_every_task_has_ended(submit: Submit) -> None:
    progress: list[JobStatus] = []

    status = submit(5, max_records_per_task=2).run(on_progress=progress.append)

    assert (status.state, status.is_final) == ("Done", True)
    assert (status.records, status.records_done, status.records_failed) == (5, 5, None)
    assert (status.shards, status.shards_done, status.failed_shards) == (3, 3, ())
    assert {(task.shard, task.attempt, task.run_status) for task in status.tasks} == {
        (name, 1, "Done") for name in ("0001", "0002", "0003")
    }
    assert (status.usage or 0) > 0
    assert [snapshot.records_done for snapshot in progress] == sorted(
        snapshot.records_done for snapshot in progress
    )
    assert progress[0].state == "Running"
    assert progress[-1] == status
    assert any(snapshot.remaining for snapshot in progress[:-1])
    assert status.remaining is None
    assert JobStatus.model_validate_json(status.model_dump_json()) == status


@both_clients
def test_run_keeps_to_the_slots_that_other_tasks_leave(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(17, run_status="Running")
    active: list[int] = []

    def note(_: JobStatus) -> None:
        active.append(sum(state in ("Queuing", "Running") for state in states(sandbox)))

    status = submit(8, max_records_per_task=1).run(on_progress=note)

    assert (status.state, max(active)) == ("Done", 20)
    assert count(sandbox, CREATE) > 8  # refused while all slots were taken


@pytest.mark.parametrize("method", ["run", "results", "failures"])
def test_run_with_a_coroutine_function_is_refused_by_the_blocking_job(submit: Submit, method: str) -> None:
    async def report(_: JobStatus) -> None:
        """Report nothing."""

    with pytest.raises(InvalidArgumentError, match="on_progress must be a plain function"):
        getattr(submit(), method)(on_progress=report)


def test_run_without_a_free_slot_waits_for_one(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=300)

    job = submit(1)

    assert job.status().state == "Submitting"
    assert job.run().state == "Done"


def test_run_polls_all_tasks_with_one_listing(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(10, max_records_per_task=1)
    before = len(sandbox.requests)

    job.run(poll_interval=5)

    actions = [request.action for request in sandbox.requests[before:]]
    assert actions.count("DescribeBatchInferenceTasks") > 10
    assert actions.count("DescribeBatchInferenceTask") == 10


@both_clients
@pytest.mark.parametrize("run_status", ["Failed", "Expired"])
def test_run_tries_a_failed_shard_again(submit: Submit, sandbox: Sandbox, run_status: str) -> None:
    job = submit(4, max_records_per_task=2)

    status = job.run(on_progress=when_created(sandbox, [run_status]))

    assert status.state == "Done"
    assert [(task.shard, task.attempt) for task in status.tasks] == [("0001", 2), ("0002", 1)]
    assert sorted(states(sandbox)) == ["Done", "Done", run_status]
    assert len({result.id for result in job.results()}) == 4


@both_clients
def test_run_names_shards_that_failed_after_their_retries(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    job = submit(4, max_records_per_task=2, shard_retries=2)
    end = when_created(sandbox, ["Failed", None, "Failed", "Failed"])

    with pytest.raises(TaskFailedError, match=r"1 of 2 shards failed: 0001 Failed \(task infer-\w+\)"):
        job.run(on_progress=end)

    status = client.job(BOS_URI).status()
    assert (status.state, status.failed_shards, len(sandbox.tasks)) == ("Failed", ("0001",), 4)
    assert client.job(BOS_URI).run(raise_on_failure=False).state == "Failed"
    assert len(sandbox.tasks) == 4


def test_run_does_not_repeat_a_task_that_somebody_stopped(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(4, max_records_per_task=2)

    status = job.run(on_progress=when_created(sandbox, ["Stopped"]), raise_on_failure=False)

    assert (status.state, status.failed_shards, len(sandbox.tasks)) == ("Failed", ("0001",), 2)


def test_run_counts_a_deleted_task_as_failed(submit: Submit, client: TaskClient, sandbox: Sandbox) -> None:
    job = submit(4, max_records_per_task=2)
    task_id = next(iter(sandbox.tasks))
    sandbox.set_status(task_id, "Done")
    client.delete(task_id)

    status = job.run(raise_on_failure=False)

    assert (status.state, status.failed_shards) == ("Failed", ("0001",))
    assert [task.run_status for task in status.tasks] == ["Deleted", "Done"]


@both_clients
@pytest.mark.parametrize("sandbox", [ServerBehavior(describe_delay=20)], indirect=True, ids=["late"])
def test_run_does_not_take_a_task_that_is_not_visible_yet_as_deleted(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    submit(2)

    assert client.job(BOS_URI).run().state == "Done"
    assert len(sandbox.tasks) == 1


@both_clients
def test_run_that_times_out_leaves_its_tasks_and_can_be_repeated(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(4, max_records_per_task=2)

    with pytest.raises(WaitTimeoutError, match="2 of 2 shards are not done") as caught:
        job.run(timeout=5)

    assert caught.value.retryable
    assert job.run().state == "Done"
    assert len(sandbox.tasks) == 2


@both_clients
@pytest.mark.parametrize(
    "fault",
    [Fault.reset_after(), Fault.reset_before(), Fault.status(503), Fault.status(429, retry_after=0)],
    ids=["reset-after", "reset-before", "503", "429"],
)
def test_run_outlasts_creates_that_fail(submit: Submit, sandbox: Sandbox, fault: Fault) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=100)
    job = submit(4, max_records_per_task=2)
    sandbox.inject(fault, action=CREATE, times=6)

    status = job.run()

    assert status.state == "Done"
    assert [task["name"] for task in sandbox.tasks.values()][20:] == ["nightly-0001", "nightly-0002"]


def test_run_outlasts_a_store_that_fails_after_a_create(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=100)
    job = submit(4, max_records_per_task=2)
    sandbox.inject(Fault.status(503), action="PutObject", times=12)

    assert job.run().state == "Done"
    assert len(sandbox.tasks) == 20 + 2


def test_run_whose_creates_are_rejected_raises(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=100)
    job = submit(2)
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=CREATE)

    with pytest.raises(QfTasksError, match="AccessDenied"):
        job.run()


def test_run_gives_up_after_a_long_outage_of_creates(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=100)
    job = submit(2)
    sandbox.inject(Fault.status(503), action=CREATE, times=None)

    with pytest.raises(QfTasksError, match="ServiceUnavailable"):
        job.run(timeout="2h")


@pytest.mark.parametrize("sandbox", [ServerBehavior(object_list_delay=8)], indirect=True, ids=["lag"])
@pytest.mark.usefixtures("sandbox")
def test_job_over_a_store_whose_listing_lags_is_whole(submit: Submit, client: TaskClient) -> None:
    job = submit(4, max_records_per_task=2)

    assert job.run().state == "Done"
    assert [result.outcome for result in client.job(BOS_URI).results()] == ["succeeded"] * 4


@pytest.mark.parametrize("sandbox", [ServerBehavior(output_delay=20)], indirect=True, ids=["late"])
@pytest.mark.usefixtures("sandbox")
def test_run_waits_for_output_that_is_listed_late(submit: Submit, client: TaskClient) -> None:
    job = submit(3)

    job.run()

    assert [result.outcome for result in client.job(BOS_URI).results()] == ["succeeded"] * 3


def test_run_does_not_wait_for_missing_output_for_ever(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.set_answers(fail_files=0.5)
    job = submit(3)

    assert job.run().state == "Done"
    assert {result.outcome for result in job.results()} == {"missing"}


def test_run_by_another_program_goes_on(
    submit: Submit, make_jobs_client: MakeJobsClient, sandbox: Sandbox
) -> None:
    sandbox.add_key("another", "secret-of-another")
    submit(4, max_records_per_task=2)
    another = make_jobs_client(access_key="another", secret_key="secret-of-another")

    job = another.job(BOS_URI)

    assert job.run().state == "Done"
    assert len({result.id for result in job.results()}) == 4
    assert len(sandbox.tasks) == 2


@both_clients
def test_run_by_two_programs_creates_each_task_once(
    submit: Submit, make_jobs_client: MakeJobsClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(18, run_status="Running")
    ours = submit(6, max_records_per_task=1)
    theirs = make_jobs_client().job(BOS_URI)

    results = ours.results()
    ids = [next(results).id]
    assert theirs.run().state == "Done"
    ids += [result.id for result in results]

    assert sorted(ids, key=str) == ["1", "2", "3", "4", "5", "6"]
    assert len(sandbox.tasks) == 18 + 6


def test_run_accepts_what_another_program_has_done_meanwhile(
    submit: Submit, make_jobs_client: MakeJobsClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=30)
    ours = submit(1, shard_retries=0)
    theirs = make_jobs_client().job(BOS_URI)
    ran: list[JobStatus] = []

    def run_theirs(_: JobStatus) -> None:
        if not ran:
            end = when_created(sandbox, ["Failed"])
            ran.append(theirs.run(on_progress=end, raise_on_failure=False))

    status = ours.run(on_progress=run_theirs, raise_on_failure=False)

    assert [status.state for status in (*ran, status)] == ["Failed", "Failed"]
    assert len(sandbox.tasks) == 20 + 1


def test_run_does_not_repeat_a_task_that_was_stopped_before_it_was_noted(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.inject(Fault.status(403, code="AccessDenied"), action="PutObject", skip=2)
    with pytest.raises(QfTasksError):
        submit(1)
    sandbox.set_status(next(iter(sandbox.tasks)), "Stopped")

    status = client.job(BOS_URI).run(raise_on_failure=False)

    assert (status.failed_shards, len(sandbox.tasks)) == (("0001",), 1)


def test_state_of_a_shard_that_is_damaged_is_refused_by_name(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    submit(3)
    sandbox.put(STATE, "{")

    with pytest.raises(QfTasksError, match=r"tasks/0001\.json is damaged"):
        client.job(BOS_URI).status()


@both_clients
def test_job_and_status_are_shown_as_tables_in_a_notebook(submit: Submit) -> None:
    job: Any = submit([{"id": "<b>", "query": "q"}], name="<b>")
    status: Any = job.status()

    for html in (job._repr_html_(), status._repr_html_()):
        assert html.startswith("<table>")
        assert "&lt;b&gt;" in html
        assert "<b>" not in html


@pytest.mark.parametrize("name", ["status", "run", "results", "failures", "retry_failures", "stop", "delete"])
def test_method_of_the_asyncio_job_has_the_parameters_of_the_blocking_one(name: str) -> None:
    blocking, asyncio = inspect.signature(getattr(Job, name)), inspect.signature(getattr(AsyncJob, name))

    assert blocking.parameters == asyncio.parameters
