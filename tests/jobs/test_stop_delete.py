"""`stop` and `delete`: nothing is submitted afterwards, and nothing else is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from qf_tasks import (
    BulkError,
    InvalidArgumentError,
    Job,
    JobStatus,
    TaskClient,
    TaskFailedError,
    TaskStateError,
)
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import BOS_URI, both_clients

Submit = Callable[..., Job]

DELETE = "DeleteBatchInferenceTask"


def states(sandbox: Sandbox) -> set[str]:
    return {task["runStatus"] for task in sandbox.tasks.values()}


@both_clients
def test_stop_stops_the_tasks_and_submits_no_more(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(22, max_records_per_task=1)

    status = job.stop()

    assert status.state == "Stopping"
    with pytest.raises(TaskFailedError, match=r"ended as Stopped: 22 of 22 shards failed: 0001 Stopped"):
        job.run()
    assert (len(sandbox.tasks), states(sandbox)) == (20, {"Stopped"})
    assert {result.error for result in job.failures()} >= {
        "The job was stopped before a task was created for it"
    }


def test_stop_ends_the_run_of_another_program(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(18, run_status="Running", ends_after=30)
    job = submit(6, max_records_per_task=1)
    stopped: list[JobStatus] = []

    def stop(_: JobStatus) -> None:
        if not stopped:
            sandbox.put(f"{BOS_URI}stopped.json", "{}")
            stopped.append(_)

    status = job.run(on_progress=stop, raise_on_failure=False)

    assert (status.state, status.shards_done, len(sandbox.tasks)) == ("Stopped", 2, 18 + 2)


@both_clients
def test_stop_while_a_task_is_created_stops_that_too(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=30)
    job = submit(1)

    def stop(response: Any) -> Any:
        if "result" in response:  # a task was created
            sandbox.put(f"{BOS_URI}stopped.json", "{}")
        return response

    sandbox.inject(Fault.transform(stop), action="CreateBatchInferenceTask", times=None)

    assert job.run(raise_on_failure=False).state == "Stopped"
    assert len(sandbox.tasks) == 21
    assert list(sandbox.tasks.values())[-1]["runStatus"] == "Stopped"


def test_stop_of_a_job_that_is_done_changes_nothing(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(1)
    job.run()
    objects = sandbox.objects

    assert job.stop().state == "Done"
    assert sandbox.objects == objects


def test_retry_failures_after_a_stop_runs_what_is_left(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(18, run_status="Running")
    job = submit(5, max_records_per_task=1)
    task_id = list(sandbox.tasks)[-1]
    sandbox.set_status(task_id, "Done")
    sandbox.put(f"{sandbox.tasks[task_id]['outputBosUri']}{sandbox.tasks[task_id]['outputDir']}/a", ANSWER)
    job.stop()
    job.run(raise_on_failure=False)

    assert client.job(BOS_URI).retry_failures().run().state == "Done"
    results = {result.id: result.text for result in client.job(BOS_URI).results()}
    assert results == {"2": "early"} | {str(n): f"You asked: question {n}" for n in (1, 3, 4, 5)}


ANSWER = '{"id": "2", "query": "question 2", "output": {"result": "early"}}\n'


def test_delete_deletes_the_tasks_and_keeps_the_results(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    other = sandbox.add_task()
    job = submit(4, max_records_per_task=2)
    job.run()

    deletion = job.delete()

    assert (len(deletion.tasks), deletion.objects, deletion.bytes) == (2, 0, 0)
    assert list(sandbox.tasks) == [other]
    assert len(list(client.job(BOS_URI).results())) == 4


@both_clients
def test_delete_with_data_deletes_everything_of_the_job(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.put("bos:/bucket/jobs/nightly2/other.txt", "keep")
    sandbox.set_answers(fail_records=["1"])
    job = submit(4, max_records_per_task=2)
    sandbox.set_status(next(iter(sandbox.tasks)), "Failed")  # an attempt that is deleted, too
    job.run()
    job.retry_failures().run()
    planned = job.delete(data=True, dry_run=True)
    assert len(sandbox.tasks) == len(planned.tasks) == 4

    deletion = job.delete(data=True)

    assert deletion == planned
    *_, last = sandbox.requests[-1].params["objects"]
    assert last["key"] == "jobs/nightly/job.json"  # until then, the same call continues
    assert (sandbox.tasks, list(sandbox.objects)) == ({}, ["bos:/bucket/jobs/nightly2/other.txt"])


def test_delete_keeps_records_that_were_there_before(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.put("bos:/bucket/prepared/a.jsonl", '{"id": "1", "query": "q"}')
    job = submit("bos:/bucket/prepared/")
    job.run()

    job.delete(data=True)

    assert list(sandbox.objects) == ["bos:/bucket/prepared/a.jsonl"]


@both_clients
def test_delete_of_a_job_that_runs_is_refused(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(1)

    with pytest.raises(TaskStateError, match="is Running and cannot be deleted"):
        job.delete(data=True)

    assert len(sandbox.tasks) == 1


def test_delete_that_fails_keeps_the_data_and_can_be_repeated(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(4, max_records_per_task=2)
    job.run()
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=DELETE)
    with pytest.raises(BulkError):
        job.delete(data=True)
    assert f"{BOS_URI}job.json" in sandbox.objects

    job.delete(data=True)

    assert (sandbox.tasks, sandbox.objects) == ({}, {})


@pytest.mark.parametrize(("call", "run_status"), [(Job.stop, "Running"), (Job.delete, "Done")])
def test_job_whose_files_name_a_task_of_others_leaves_it_alone(
    submit: Submit, sandbox: Sandbox, call: Callable[[Job], object], run_status: str
) -> None:
    stranger = sandbox.add_task(run_status=run_status)
    job = submit()
    uri = f"{BOS_URI}tasks/0001.json"
    state = json.loads(sandbox.get(uri))
    sandbox.put(uri, json.dumps(state | {"task_id": stranger, "attempt": 2, "run_status": run_status}))

    with pytest.raises(InvalidArgumentError, match=f"name task {stranger}, which was not created for it"):
        call(job)

    assert sandbox.tasks[stranger]["runStatus"] == run_status


def test_delete_of_the_tasks_alone_keeps_the_results(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    submit(3, max_records_per_task=2)
    sandbox.advance(1000)

    client.job(BOS_URI).delete()

    assert sandbox.tasks == {}
    assert [result.outcome for result in client.job(BOS_URI).results()] == ["succeeded"] * 3
