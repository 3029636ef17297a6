"""The commands on jobs: submit, run, status, retry-failures; and results, stop and delete of a job."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from qf_tasks import JobStatus
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run, RunOnTerminal, interrupt_with

_JOB = "bos:/my-bucket/jobs/nightly/"
_OPTIONS = ("--bos-uri", _JOB, "--endpoint", "ernie-x1-turbo-32k", "--max-records-per-task", "2")
_SUBMIT = ("submit", "records.jsonl", *_OPTIONS)
_RUN = ("run", "records.jsonl", *_OPTIONS)


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write three records, which make two tasks, into the working directory."""
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"id": f"r{number}", "query": f"Question {number}"}) for number in range(3)]
    Path("records.jsonl").write_text("\n".join(lines), "utf-8")


def test_submit_creates_the_tasks_and_prints_the_status(run: Run, own_sandbox: Sandbox) -> None:
    code, out, _ = run(*_SUBMIT)

    fields = dict(line.split("\t") for line in out.splitlines())
    assert (code, len(own_sandbox.tasks)) == (0, 2)
    assert (fields["state"], fields["records"], fields["tasks"]) == ("Running", "0 of 3 done", "0 of 2 done")


def test_submit_again_continues_the_same_job(run: Run, own_sandbox: Sandbox) -> None:
    run(*_SUBMIT)

    code, out, _ = run(*_SUBMIT, "--wait", "--json")

    assert (code, len(own_sandbox.tasks)) == (0, 2)
    assert JobStatus.model_validate_json(out).state == "Done"


def test_submit_of_other_records_to_the_same_place_names_the_option(run: Run, own_sandbox: Sandbox) -> None:
    run(*_SUBMIT)
    Path("records.jsonl").write_text('{"query": "another"}\n', "utf-8")

    code, _, err = run(*_SUBMIT)

    assert (code, len(own_sandbox.tasks)) == (2, 2)
    assert err.startswith(f"Error: --bos-uri {_JOB} has another job")
    assert "Choose another --bos-uri, or use that job with qf-tasks status." in err


def test_submit_wait_on_a_terminal_shows_records_done(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    code, screen, written = run_on_terminal(*_SUBMIT, "--wait")

    assert code == 0
    assert " of 3 records" in written
    assert "Ctrl-C stops watching; the tasks keep running." in written
    assert [line for line in screen if line.startswith("STATE")] == ["STATE    Done"]
    assert own_sandbox.tasks


def test_run_writes_the_results_and_prints_one_object(run: Run, own_sandbox: Sandbox) -> None:
    code, out, _ = run(*_RUN, "-o", "results.jsonl", "--ordered")

    printed = json.loads(out)
    results = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert (code, printed["exit_code"], printed["state"], printed["error"]) == (0, 0, "Done", None)
    assert (printed["output"], printed["outcomes"]) == ("results.jsonl", {"succeeded": 3})
    assert [result["id"] for result in results] == ["r0", "r1", "r2"]
    assert len(own_sandbox.tasks) == 2


def test_run_again_creates_nothing_and_prints_the_same(run: Run, own_sandbox: Sandbox) -> None:
    first = json.loads(run(*_RUN, "-o", "results.jsonl").out)

    second = json.loads(run(*_RUN, "-o", "results.jsonl").out)

    assert second == first
    assert len(own_sandbox.tasks) == 2


def test_run_whose_task_fails_after_its_retries_ends_with_1(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.set_answers(answer=broken)

    code, out, err = run(*_RUN, "--shard-retries", "0")

    printed = json.loads(out)
    assert (code, printed["exit_code"], printed["state"]) == (1, 1, "Failed")
    assert printed["failed_shards"] == ["0001", "0002"]
    assert err.endswith(f"Hint: qf-tasks retry-failures {_JOB} runs the failed records again.\n")


def broken(_record: object) -> str:
    raise RuntimeError("no answer")


def test_run_at_its_time_limit_ends_with_4_and_an_object(run: Run) -> None:
    code, out, err = run(*_RUN, "--timeout", "5s")

    printed = json.loads(out)
    assert (code, printed["exit_code"], printed["error"]["error"]) == (4, 4, "WaitTimeoutError")
    assert err.splitlines()[-1].startswith("Hint: Nothing was stopped. Run the job again to continue.")


def test_run_refused_before_anything_was_sent_prints_an_object_too(run: Run, own_sandbox: Sandbox) -> None:
    code, out, err = run("run", "nowhere.jsonl", *_OPTIONS)

    printed = json.loads(out)
    assert (code, printed["state"], printed["exit_code"], own_sandbox.objects) == (2, None, 2, {})
    assert err.startswith("Error: FILE names a file that does not exist: nowhere.jsonl\n")


def test_run_goes_on_after_a_create_with_unknown_outcome(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(Fault.status(503), action="CreateBatchInferenceTask")

    code, out, err = run(*_RUN)

    assert (code, json.loads(out)["state"], len(own_sandbox.tasks)) == (0, "Done", 2)
    assert err.startswith(f"Warning: Not all tasks of job {_JOB} could be created yet (")
    assert "; qf-tasks results creates the others\n" in err


@pytest.mark.parametrize(
    ("action", "number", "state"),
    [
        ("stop", signal.SIGTERM, "Stopping"),
        ("leave", signal.SIGTERM, "Queuing"),
        ("stop", signal.SIGINT, "Queuing"),
    ],
)
def test_run_ended_by_a_signal_stops_its_tasks_if_asked_to(
    run: Run, own_sandbox: Sandbox, action: str, number: int, state: str
) -> None:
    own_sandbox.inject(interrupt_with(number), action="DescribeBatchInferenceTasks", skip=4)

    code, out, _ = run(*_RUN, "--on-terminate", action)

    assert (code, json.loads(out)["exit_code"]) == (128 + number, 128 + number)
    assert {task["runStatus"] for task in own_sandbox.tasks.values()} == {state}


def test_run_terminated_during_the_upload_stops_no_job(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(interrupt_with(signal.SIGTERM), action="ListObjects")

    code, out, err = run(*_RUN, "--on-terminate", "stop")

    assert (code, json.loads(out)["state"], own_sandbox.tasks) == (143, None, {})
    assert err.splitlines()[-2:] == [
        f"Submitting was interrupted; check: qf-tasks status {_JOB}",
        "Interrupted.",
    ]


def test_run_that_cannot_be_stopped_says_how(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.inject(interrupt_with(signal.SIGTERM), action="DescribeBatchInferenceTasks", skip=4)
    own_sandbox.inject(Fault.status(403, code="AccessDenied"), action="StopBatchInferenceTask", times=None)

    code, out, err = run(*_RUN, "--on-terminate", "stop")

    assert (code, json.loads(out)["exit_code"]) == (143, 143)
    assert f"; run: qf-tasks stop {_JOB}\n" in err


def test_status_of_a_job_as_json_is_its_model(run: Run) -> None:
    run(*_SUBMIT)

    assert JobStatus.model_validate_json(run("status", _JOB, "--json").out).shards == 2


@pytest.mark.parametrize("command", ["status", "results", "stop"])
def test_a_place_without_a_job_is_named(run: Run, own_sandbox: Sandbox, command: str) -> None:
    own_sandbox.put("bos:/my-bucket/in/part.jsonl", "{}\n")

    code, _, err = run(command, "bos:/my-bucket/in/")

    assert code == 1
    assert err.startswith("Error: There is no job in bos:/my-bucket/in/")
    assert (
        "Hint: Pass the BOS_URI that the job was submitted with, or submit it with qf-tasks submit.\n" in err
    )


def test_results_of_a_job_waits_and_prints_each_record_once(run: Run) -> None:
    run(*_SUBMIT)

    code, out, err = run("results", _JOB)

    assert (code, sorted(json.loads(line)["id"] for line in out.splitlines())) == (0, ["r0", "r1", "r2"])
    assert err.endswith("3 results: 3 succeeded\n")


def test_retry_failures_leaves_nothing_to_the_results_with_failures(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.set_answers(fail_records=["r1"])
    run(*_RUN)
    failed = run("results", _JOB, "--failures").out
    own_sandbox.set_answers()

    code, _, _ = run("retry-failures", _JOB, "--wait")

    assert json.loads(failed)["id"] == "r1"
    assert (code, run("results", _JOB, "--failures").out) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("results", _JOB, "--missing"), "--missing: only for a task"),
        (("results", "infer-x", "--ordered"), "--ordered: only for a job"),
        (("stop", _JOB, "infer-x"), "BOS_URI: one job at a time, and no ids beside it"),
        (("delete", _JOB, "--stop-first"), "BOS_URI: accepts only --data, --dry-run and --yes"),
        (("delete", "infer-x", "--data"), "--data: only for a job"),
        (("delete", _JOB), "--yes: required without a terminal"),
        (("status", "nightly"), "BOS_URI must be bos:/bucket/folder/"),
        ((*_SUBMIT, "--max-records-per-task", "0"), "must be at least 1"),
        ((*_SUBMIT, "--model-id", "amv-1"), "Exactly one of --endpoint and --model-id must be given"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_before_any_request(
    run: Run, own_sandbox: Sandbox, arguments: tuple[str, ...], problem: str
) -> None:
    code, out, err = run(*arguments)

    assert (code, out, own_sandbox.requests) == (2, "", [])
    assert problem in err


def test_stop_of_a_job_stops_its_tasks(run: Run, own_sandbox: Sandbox) -> None:
    run(*_SUBMIT)

    code, out, _ = run("stop", _JOB, "--json")

    assert (code, json.loads(out)["state"]) == (0, "Stopping")
    assert {task["runStatus"] for task in own_sandbox.tasks.values()} == {"Stopping"}


def test_delete_of_a_job_with_its_data_leaves_nothing(run: Run, own_sandbox: Sandbox) -> None:
    run(*_RUN)

    code, out, _ = run("delete", _JOB, "--data", "--yes", "--json")

    printed = json.loads(out)
    assert (code, len(printed["tasks"]), printed["objects"] > 0) == (0, 2, True)
    assert (own_sandbox.tasks, own_sandbox.objects) == ({}, {})


def test_delete_of_a_job_shows_what_it_would_delete(run: Run, own_sandbox: Sandbox) -> None:
    run(*_RUN)

    code, out, err = run("delete", _JOB, "--dry-run")

    assert (code, out.split(), len(own_sandbox.tasks)) == (0, [*own_sandbox.tasks], 2)
    assert err == f"Job: {_JOB}, 3 records, 2 tasks\nNothing was deleted.\n"


def test_delete_of_a_job_asks_on_a_terminal(run_on_terminal: RunOnTerminal, own_sandbox: Sandbox) -> None:
    run_on_terminal(*_RUN)

    code, screen, _ = run_on_terminal("delete", _JOB, "--data", typed="n\n", width=200)

    assert (code, len(own_sandbox.tasks)) == (1, 2)
    assert any(line.startswith("Delete 2 tasks and ") for line in screen)
    assert screen[-1].endswith("Nothing was deleted.")
