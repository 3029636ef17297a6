"""`submit` and `job`: what is checked before anything is sent, and that the same call is the same job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qf_tasks import (
    InvalidArgumentError,
    InvalidRecordError,
    Job,
    NotFoundError,
    PermissionDeniedError,
    QfTasksError,
    TaskClient,
)
from qf_tasks.data.store import ObjectStore
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .conftest import BOS_URI, MakeJobsClient, both_clients, count, questions

Submit = Callable[..., Job]

CREATE = "CreateBatchInferenceTask"
MANIFEST = f"{BOS_URI}job.json"


def names(sandbox: Sandbox) -> list[str]:
    """Return the names of the objects of the job, without the hashes of their content."""
    return [
        uri.removeprefix(BOS_URI).rpartition("-")[0] or uri.removeprefix(BOS_URI) for uri in sandbox.objects
    ]


def lines(*ids: str) -> str:
    return "".join(json.dumps({"id": record_id, "query": "why?"}) + "\n" for record_id in ids)


@both_clients
def test_submit_uploads_the_records_and_creates_a_task(submit: Submit, sandbox: Sandbox) -> None:
    progress: list[tuple[int, int]] = []

    job = submit(
        3, inference_params={"temperature": 0.2}, on_progress=lambda *bytes_: progress.append(bytes_)
    )

    (task,) = sandbox.tasks.values()
    assert (job.bos_uri, job.name, job.records, job.shards) == (BOS_URI, "nightly", 3, 1)
    assert names(sandbox) == ["input/0001/part-0001", "job.json", "tasks/0001.json"]
    assert (task["name"], task["inputBosUri"]) == ("nightly", f"{BOS_URI}input/0001/")
    assert task["inferenceParams"] == {"temperature": 0.2}
    assert progress[-1][0] == progress[-1][1] > 0


def test_submit_of_more_than_one_task_takes_writes_a_directory_for_each(
    submit: Submit, sandbox: Sandbox
) -> None:
    job = submit(5, max_records_per_task=2, name="evaluation-of-models")

    assert job.shards == 3
    assert [name for name in names(sandbox) if name.startswith("input")] == [
        "input/0001/part-0001",
        "input/0002/part-0002",
        "input/0003/part-0003",
    ]
    assert [task["name"] for task in sandbox.tasks.values()] == [
        f"evaluation-of-m-000{number}" for number in (1, 2, 3)
    ]


def test_submit_with_all_slots_taken_returns_a_job_that_goes_on_later(
    submit: Submit, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(19, run_status="Running")

    job = submit(2, max_records_per_task=1)

    assert len(sandbox.tasks) == 20
    assert job.status().state == "Submitting"


@both_clients
@pytest.mark.parametrize(
    ("action", "skip"),
    [(CREATE, 1), ("DescribeBatchInferenceTasks", 0), ("PutObject", 3)],
    ids=["create", "list", "state"],
)
def test_submit_whose_creates_fail_for_now_returns_the_job_with_a_warning(
    make_jobs_client: MakeJobsClient,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    action: str,
    skip: int,
) -> None:
    sandbox.inject(Fault.status(503), action=action, skip=skip)

    job = make_jobs_client(max_retries=0).submit(
        questions(2), bos_uri=BOS_URI, endpoint="ernie", max_records_per_task=1
    )

    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"Not all tasks of job {BOS_URI} could be created yet (")
    assert warning.endswith("; run() creates the others")
    assert job.run().state == "Done"
    assert len(sandbox.tasks) == 2


@both_clients
def test_submit_whose_create_is_rejected_raises(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=CREATE)

    with pytest.raises(PermissionDeniedError):
        submit()


@both_clients
def test_submit_again_returns_the_same_job(
    submit: Submit, make_jobs_client: MakeJobsClient, sandbox: Sandbox
) -> None:
    submit(4, max_records_per_task=2)
    objects = sandbox.objects

    again = make_jobs_client().submit(
        questions(4), bos_uri=BOS_URI.rstrip("/"), endpoint="ernie", max_records_per_task=2
    )

    assert (again.shards, len(sandbox.tasks), sandbox.objects) == (2, 2, objects)


@both_clients
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"records": questions(4)}, "differs in its records"),
        ({"endpoint": "other"}, "differs in its endpoint"),
        ({"inference_params": {"top_p": 1}, "name": "other"}, "differs in its name and inference_params"),
    ],
)
def test_submit_of_another_job_to_the_same_place_names_what_differs(
    submit: Submit, sandbox: Sandbox, changed: dict[str, Any], named: str
) -> None:
    submit(3)
    sent = count(sandbox, "PutObject")

    with pytest.raises(InvalidArgumentError, match=named):
        submit(**changed)

    assert count(sandbox, "PutObject") == sent


def test_submit_with_other_parameters_is_refused_before_the_records_are_read(submit: Submit) -> None:
    submit(3)

    with pytest.raises(InvalidArgumentError, match="differs in its endpoint"):
        submit((pytest.fail("read") for _ in range(1)), endpoint="other")


def test_submit_to_a_directory_with_other_objects_is_refused(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.put(f"{BOS_URI}old/notes.txt", "keep me")

    with pytest.raises(InvalidArgumentError, match=r"has other objects, such as \S+/old/notes\.txt"):
        submit()

    assert list(sandbox.objects) == [f"{BOS_URI}old/notes.txt"]


@pytest.mark.parametrize(
    ("records", "error"),
    [
        ([], InvalidArgumentError),
        ([{"id": "1"}], InvalidRecordError),
        (
            [{"id": "1", "query": "a"}, {"id": "2", "query": "b"}, {"id": "1", "query": "c"}],
            InvalidRecordError,
        ),
    ],
    ids=["none", "no-query", "same-id-in-another-task"],
)
def test_submit_of_invalid_records_sends_nothing(
    submit: Submit, sandbox: Sandbox, records: object, error: type[QfTasksError]
) -> None:
    with pytest.raises(error):
        submit(records, max_records_per_task=1)

    assert (sandbox.objects, sandbox.tasks) == ({}, {})


@both_clients
@pytest.mark.parametrize(
    "arguments",
    [
        {"bos_uri": "bos:/bucket/file.jsonl"},
        {"endpoint": None},
        {"model_id": "amv-1"},
        {"name": "x"},
        {"name": "a name that is too long"},
        {"inference_params": {"stop": {1}}},
        {"data_format": "csv"},
        {"description": "x" * 500},
        {"max_records_per_task": 0},
        {"shard_retries": -1},
        {"on_progress": 1},
    ],
    ids=str,
)
def test_submit_with_a_bad_argument_sends_nothing(
    submit: Submit, sandbox: Sandbox, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        submit(**arguments)

    assert not sandbox.requests


@both_clients
def test_submit_that_was_interrupted_is_completed_by_the_same_call(
    submit: Submit, client: TaskClient, sandbox: Sandbox
) -> None:
    sandbox.inject(Fault.status(403, code="AccessDenied"), action="PutObject", skip=1)
    with pytest.raises(QfTasksError):
        submit(3)

    with pytest.raises(NotFoundError, match="The input of shard 0001 is not what was submitted: 1 objects"):
        client.job(BOS_URI).run()
    submit(3)

    assert len(sandbox.tasks) == 1
    assert client.job(BOS_URI).run().state == "Done"


def test_submit_whose_task_was_not_noted_finds_it(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.inject(Fault.status(403, code="AccessDenied"), action="PutObject", skip=2)
    with pytest.raises(QfTasksError):
        submit(3)
    (task_id,) = sandbox.tasks

    job = submit(3)

    assert [task.task_id for task in job.status().tasks] == [task_id] == list(sandbox.tasks)


def test_submit_while_another_program_submits_other_records_yields_to_it(
    submit: Submit, sandbox: Sandbox
) -> None:
    submit(2)
    theirs = sandbox.get(MANIFEST)
    sandbox.reset()
    sandbox.put("bos:/bucket/other.txt", "")

    def submit_theirs(listing: Any) -> Any:
        sandbox.put(MANIFEST, theirs)
        return listing

    sandbox.inject(Fault.transform(submit_theirs), action="ListObjects")
    with pytest.raises(InvalidArgumentError, match="differs in its records"):
        submit(3)

    assert sandbox.get(MANIFEST) == theirs
    assert names(sandbox) == ["job.json", "bos:/bucket/other.txt"]


@pytest.mark.parametrize("sandbox", [ServerBehavior(conditional_put=False)], indirect=True, ids=["ignored"])
def test_submit_to_a_store_that_ignores_conditions_is_the_same_job(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.inject(Fault.reset_after(), action="PutObject")

    assert submit(3).status().state == submit(3).status().state == "Running"
    assert len(sandbox.tasks) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text[:-5], "is not JSON"),
        (lambda _: "[" * 100_000, "is not JSON"),
        (lambda _: '{"tasks": []}', "is not the manifest of a job"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "has version 2"),
        (
            lambda text: text.replace('"records": 3', '"records": "many"'),
            r"is damaged: shards\.0\.files\.0\.records",
        ),
        (lambda text: text.replace('"records": 3', '"records": 4'), "was changed"),
        (
            lambda text: text.replace("nightly/", "daily/"),
            "was copied: its bos_uri is 'bos:/bucket/jobs/daily/'",
        ),
    ],
    ids=["cut", "deep", "foreign", "newer", "wrong-field", "changed", "copied"],
)
def test_job_with_an_unusable_manifest_is_refused(
    submit: Submit, client: TaskClient, sandbox: Sandbox, change: Callable[[str], str], problem: str
) -> None:
    submit(3)
    sandbox.put(MANIFEST, change(sandbox.get(MANIFEST).decode()))

    with pytest.raises(InvalidArgumentError, match=f"job.json {problem}"):
        client.job(BOS_URI)


@both_clients
def test_job_of_a_directory_without_one_is_not_found(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.put("bos:/bucket/other.txt", "")

    with pytest.raises(NotFoundError, match=r"no job in bos:/bucket/jobs/nightly/"):
        client.job(BOS_URI)


# Records that are in the store already


@both_clients
def test_submit_of_a_prepared_directory_uses_it_in_place(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.put("bos:/bucket/prepared/a.jsonl", lines("1", "2"))
    sandbox.put("bos:/bucket/prepared/b/c.jsonl", lines("3"))
    sandbox.put("bos:/bucket/prepared/_SUCCESS", "")

    job = submit("bos:/bucket/prepared/")
    results = list(job.results())

    assert [task["inputBosUri"] for task in sandbox.tasks.values()] == ["bos:/bucket/prepared/"]
    assert sorted(result.id or "" for result in results) == ["1", "2", "3"]
    assert not [uri for uri in sandbox.objects if uri.startswith(f"{BOS_URI}input")]


def test_submit_of_a_prepared_directory_that_is_too_large_runs_each_of_its_directories(
    submit: Submit, sandbox: Sandbox
) -> None:
    sandbox.put("bos:/bucket/prepared/day=1/a.jsonl", lines("1", "2"))
    sandbox.put("bos:/bucket/prepared/day=2/a.jsonl", lines("3"))

    job = submit("bos:/bucket/prepared", max_records_per_task=2)

    assert job.shards == 2
    assert [task["inputBosUri"] for task in sandbox.tasks.values()] == [
        "bos:/bucket/prepared/day=1/",
        "bos:/bucket/prepared/day=2/",
    ]


@pytest.mark.parametrize(
    ("objects", "problem"),
    [
        ({}, "at least one record"),
        ({"a.jsonl": lines("1", "2", "3")}, "more than one task accepts: 1 files"),
        ({"d/a.jsonl": lines("1", "2"), "e.jsonl": lines("3")}, "more than one task accepts: 2 files"),
        ({"a.jsonl": lines("1"), "b.jsonl": lines("1")}, "'1' is not unique"),
        ({"a.jsonl": '{"query": "q"}'}, r"a\.jsonl, line 1: it has no id"),
    ],
    ids=["empty", "one-file", "files-and-directories", "same-id", "no-id"],
)
def test_submit_of_an_unusable_prepared_directory_creates_nothing(
    submit: Submit, sandbox: Sandbox, objects: dict[str, str], problem: str
) -> None:
    for name, text in objects.items():
        sandbox.put(f"bos:/bucket/prepared/{name}", text)
    sandbox.put("bos:/bucket/other.txt", "")

    with pytest.raises(InvalidArgumentError, match=problem):
        submit("bos:/bucket/prepared/", max_records_per_task=2)

    assert not count(sandbox, "PutObject")


def test_submit_of_a_prepared_directory_with_an_invalid_record_closes_its_file(
    submit: Submit, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put("bos:/bucket/prepared/a.jsonl", lines("1", "1", "2"))
    closed: list[str] = []
    read = ObjectStore.read

    def noted(store: ObjectStore, source: Any) -> Iterator[bytes]:
        try:
            yield from read(store, source)
        finally:
            closed.append(str(getattr(source, "uri", source)))

    monkeypatch.setattr(ObjectStore, "read", noted)
    with pytest.raises(InvalidRecordError) as caught:
        submit("bos:/bucket/prepared/")

    assert caught.value.line == 2
    assert closed[-1] == "bos:/bucket/prepared/a.jsonl"


def test_submit_of_a_directory_that_contains_the_job_is_refused(submit: Submit, sandbox: Sandbox) -> None:
    sandbox.put("bos:/bucket/jobs/a.jsonl", lines("1"))

    with pytest.raises(InvalidArgumentError, match="must not contain each other"):
        submit("bos:/bucket/jobs/")
