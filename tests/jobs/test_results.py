"""`results`, `failures` and `retry_failures`: each record once, whatever became of its task."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import pytest

from qf_tasks import Job, Result, TaskClient, TaskStateError
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .conftest import BOS_URI, both_clients, count, questions

Submit = Callable[..., Job]


def outcomes(results: Iterable[Result]) -> dict[str | None, str]:
    """Return the outcome of each record; an id must not be repeated."""
    found: dict[str | None, str] = {}
    for result in results:
        assert result.id not in found
        assert (result.error is None) == (result.outcome == "succeeded")
        found[result.id] = result.outcome
    return found


def ids(results: Iterable[Result]) -> list[str | None]:
    return [result.id for result in results]


def first_answer_fails(*record_ids: str) -> Callable[[dict[str, Any]], str | None]:
    """Return an answer that fails once for each of these records."""
    left = set(record_ids)

    def answer(record: dict[str, Any]) -> str | None:
        if record["id"] in left:
            left.remove(record["id"])
            return None
        return "answer"

    return answer


@both_clients
def test_results_yield_each_record_once_as_tasks_end(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.add_tasks(19, run_status="Running", ends_after=100)
    job = submit(6, max_records_per_task=2)

    results = list(job.results())

    assert outcomes(results) == dict.fromkeys("123456", "succeeded")
    assert {result.text for result in results} == {f"You asked: question {number}" for number in range(1, 7)}
    assert {result.id for result in results[:2]} == {"1", "2"}


@both_clients
@pytest.mark.parametrize("sandbox", [ServerBehavior(failed_record="error")], indirect=True, ids=["error"])
def test_results_have_an_error_for_records_that_failed(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.set_answers(fail_records=["2"])
    job = submit(3)

    assert outcomes(job.results()) == {"1": "succeeded", "2": "failed", "3": "succeeded"}
    assert outcomes(job.failures()) == {"2": "failed"}
    assert job.status().records_failed == 1


def test_results_name_why_a_record_has_none(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.set_answers(fail_records=["1"])
    job = submit(6, max_records_per_task=2, shard_retries=0)
    _, failed, stopped = sandbox.tasks
    sandbox.set_status(failed, "Failed")
    sandbox.set_status(stopped, "Stopped")

    errors = {result.id: result.error for result in job.failures()}

    assert errors == {
        "1": f"Task {next(iter(sandbox.tasks))} is Done, but has no result for it",
        **dict.fromkeys("34", f"Task {failed} ended as Failed"),
        **dict.fromkeys("56", f"Task {stopped} ended as Stopped"),
    }


@pytest.mark.parametrize("sandbox", [ServerBehavior(partial_output=True)], indirect=True, ids=["partial"])
def test_results_include_those_that_a_stopped_task_had(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(4)
    sandbox.advance(40)  # half of its time
    job.stop()
    job.run(raise_on_failure=False)

    assert sorted(outcomes(job.results()).values()) == ["missing", "missing", "succeeded", "succeeded"]


def test_results_leave_out_lines_that_fit_no_record(
    submit: Submit, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit(3)
    job.run()
    (task,) = sandbox.tasks.values()
    lines = [
        {"id": "9", "output": {"result": "of no record"}},
        {"id": "1", "query": "another", "output": {"result": "of another question"}},
        {"id": "2", "output": {"result": "a second one"}},
    ]
    text = "\n".join(map(json.dumps, lines)) + "\nnot JSON\n"
    sandbox.put(f"{task['outputBosUri']}{task['outputDir']}/z.jsonl", text)

    with caplog.at_level(logging.WARNING):
        results = list(job.results())

    assert outcomes(results) == dict.fromkeys("123", "succeeded")
    assert "a second one" not in {result.text for result in results}
    assert "4 lines in the output of task" in caplog.text


@both_clients
def test_results_in_order_are_in_the_order_of_the_input(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.set_answers(first_answer_fails("3"), seed=1)
    job = submit(20, max_records_per_task=7)
    sandbox.set_status(next(iter(sandbox.tasks)), "Failed")

    results = list(job.results(ordered=True))

    assert ids(results) == ids_of(20)
    assert [result.outcome for result in results].index("missing") == 2


def ids_of(number: int) -> list[str | None]:
    return [record["id"] for record in questions(number)]


@both_clients
def test_results_that_are_closed_early_leave_the_job_as_it_is(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    results: Any = submit(6, max_records_per_task=2).results()
    with closing(results):
        next(results)

    assert len(outcomes(client.job(BOS_URI).results())) == 6
    assert len(sandbox.tasks) == 3


@both_clients
@pytest.mark.parametrize("ordered", [False, True])
def test_retry_failures_runs_these_records_again_and_merges(
    submit: Submit, client: TaskClient, sandbox: Sandbox, ordered: bool
) -> None:
    sandbox.set_answers(first_answer_fails("2", "5"))
    job = submit(6, max_records_per_task=2, inference_params={"temperature": 0.5})
    job.run()
    earlier = client.job(BOS_URI)  # as another program may have it

    job.retry_failures()
    results = list(job.results(ordered=ordered))

    assert outcomes(results) == dict.fromkeys("123456", "succeeded")
    assert not ordered or ids(results) == ids_of(6)
    assert ids(client.job(BOS_URI).results(ordered=ordered)) == ids(results)
    assert outcomes(earlier.results(ordered=ordered)) == dict.fromkeys("123456", "succeeded")
    *_, retry = sandbox.tasks.values()
    assert retry["inputBosUri"] == f"{BOS_URI}retries/0001/input/0001/"
    assert retry["inferenceParams"] == {"temperature": 0.5}
    assert b'"2"' in sandbox.get(next(uri for uri in sandbox.objects if uri.startswith(retry["inputBosUri"])))


def test_retry_failures_twice_lets_the_newest_result_count(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.set_answers(fail_records=["1", "2", "3"])
    job = submit(4)
    job.run()
    sandbox.set_answers(lambda _: "second", fail_records=["1", "2"])
    job.retry_failures().run()
    sandbox.set_answers(lambda _: "third", fail_records=["1"])
    job.retry_failures().run()

    assert sorted((str(result.id), str(result.text)) for result in job.results()) == [
        ("1", "None"),
        ("2", "third"),
        ("3", "second"),
        ("4", "You asked: question 4"),
    ]
    assert ids(job.results(ordered=True)) == ids_of(4)
    status = job.status()
    assert (status.records, status.records_done, status.state) == (4, 4, "Done")


@both_clients
def test_retry_failures_without_any_does_nothing(submit: Submit, sandbox: Sandbox) -> None:
    job = submit(2)
    job.run()

    assert job.retry_failures().status().state == "Done"
    assert len(sandbox.tasks) == 1


def test_retry_failures_of_a_job_that_runs_is_refused(submit: Submit) -> None:
    with pytest.raises(TaskStateError, match="is Running"):
        submit(2).retry_failures()


@both_clients
def test_retry_failures_that_was_interrupted_is_completed_by_the_same_call(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.set_answers(first_answer_fails("2"))
    job = submit(3)
    job.run()
    sandbox.inject(Fault.status(403, code="AccessDenied"), action="PutObject", skip=1)
    with pytest.raises(Exception, match="AccessDenied"):
        job.retry_failures()

    client.job(BOS_URI).retry_failures()

    assert outcomes(client.job(BOS_URI).results()) == dict.fromkeys("123", "succeeded")
    assert len(sandbox.tasks) == 2


def test_results_with_a_fault_in_any_request_are_whole_or_raise(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    submit(4, max_records_per_task=2).run()
    before = count(sandbox, "GetObject")
    list(client.job(BOS_URI).results())
    reads = count(sandbox, "GetObject") - before

    for number in range(reads):
        sandbox.inject(Fault.truncated(), action="GetObject", skip=number)
        assert outcomes(client.job(BOS_URI).results()) == dict.fromkeys("1234", "succeeded")

    assert not sandbox.unused_faults
