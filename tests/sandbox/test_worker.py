"""Tasks that run over the records in the object store."""

import json
from typing import Any, cast

import pytest

from qf_tasks.sandbox import Sandbox, ServerBehavior

from .signed_client import SignedClient

CREATION: dict[str, Any] = {
    "name": "nightly",
    "endpoint": "ernie-x1-turbo-32k",
    "input_bos_uri": "bos:/bucket/in/",
    "output_bos_uri": "bos:/bucket/out/",
}


def make_sandbox(**options: Any) -> Sandbox:
    return Sandbox(frozen=True, queue_seconds=10, run_seconds=100, **options)


def put_records(sandbox: Sandbox, name: str = "a.jsonl", count: int = 10) -> None:
    lines = (json.dumps({"id": f"{name}-{number}", "query": f"q{number}"}) for number in range(count))
    sandbox.put(f"bos:/bucket/in/{name}", "\n".join(lines))


def create(sandbox: Sandbox, **fields: Any) -> str:
    with sandbox.client() as client:
        return client.create(**{**CREATION, **fields}).task_id


def run(sandbox: Sandbox, **fields: Any) -> dict[str, Any]:
    """Create a task, let it end, and return it."""
    task_id = create(sandbox, **fields)
    sandbox.advance(110)
    return sandbox.tasks[task_id]


def outputs(sandbox: Sandbox, task: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of each output file, by its name."""
    prefix = f"{task['outputBosUri'].rstrip('/')}/{task['outputDir']}/"
    return {
        uri.removeprefix(prefix): [json.loads(line) for line in sandbox.get(uri).splitlines()]
        for uri in sandbox.objects
        if uri.startswith(prefix)
    }


def test_task_writes_one_output_file_per_input_file() -> None:
    with make_sandbox() as sandbox:
        put_records(sandbox, "a.jsonl")
        put_records(sandbox, "sub/b.txt", 3)
        sandbox.put("bos:/bucket/in/sub/", "")
        sandbox.put("bos:/bucket/input/other.jsonl", "{}")
        task = run(sandbox)

        found = outputs(sandbox, task)

    assert {name: len(lines) for name, lines in found.items()} == {"a.jsonl": 10, "sub/b.txt": 3}
    ids = [line["id"] for line in found["a.jsonl"]]
    assert ids != sorted(ids)
    assert len(task["outputDir"]) == 24
    record = min(found["a.jsonl"], key=lambda line: str(line["id"]))
    assert record["query"] == "q0"
    assert record["output"]["result"] == "You asked: q0"


def test_task_counts_usage_of_its_results() -> None:
    with make_sandbox() as sandbox:
        put_records(sandbox)
        task = run(sandbox)

        usages = [line["output"]["usage"] for line in outputs(sandbox, task)["a.jsonl"]]

    assert task["runStatus"] == "Done"
    assert task["inputTokenUsage"] == sum(usage["prompt_tokens"] for usage in usages)
    assert task["outputTokenUsage"] == sum(usage["completion_tokens"] for usage in usages)
    assert task["inputTokenUsage"] > 0


def test_progress_grows_to_the_number_of_records() -> None:
    with make_sandbox() as sandbox:
        put_records(sandbox)
        task_id = create(sandbox)

        progress = []
        for seconds in (0, 10, 50, 49, 1):
            sandbox.advance(seconds)
            progress.append(sandbox.tasks[task_id]["progress"])
        assert sandbox.tasks[task_id]["runStatus"] == "Done"

    assert progress == [0, 0, 5, 9, 10]


def test_output_appears_when_the_task_ends() -> None:
    with make_sandbox() as sandbox:
        put_records(sandbox)
        create(sandbox)

        sandbox.advance(109)
        assert list(sandbox.objects) == ["bos:/bucket/in/a.jsonl"]
        sandbox.advance(1)
        assert len(sandbox.objects) == 2


def test_same_seed_gives_the_same_results() -> None:
    def ids(seed: int) -> list[str]:
        with make_sandbox(seed=seed, fail_records=0.3) as sandbox:
            put_records(sandbox)
            return [line["id"] for line in outputs(sandbox, run(sandbox))["a.jsonl"]]

    assert ids(1) == ids(1) != ids(2)
    assert len(ids(1)) == 7


def test_answer_gets_each_record_and_none_fails_it() -> None:
    def answer(record: dict[str, Any]) -> str | None:
        return None if record["query"] == "q3" else record["query"].upper()

    with make_sandbox(answer=answer) as sandbox:
        put_records(sandbox, count=5)
        lines = outputs(sandbox, run(sandbox))["a.jsonl"]

    assert sorted(line["output"]["result"] for line in lines) == ["Q0", "Q1", "Q2", "Q4"]


def test_set_answers_counts_for_tasks_that_end_from_now_on() -> None:
    with make_sandbox() as sandbox:
        put_records(sandbox, count=2)
        before = run(sandbox)
        sandbox.set_answers(lambda _: "4", fail_records=["a.jsonl-1"])
        after = run(sandbox)

        first, second = (outputs(sandbox, task)["a.jsonl"] for task in (before, after))

    assert len(first) == 2
    assert [line["output"]["result"] for line in second] == ["4"]


def test_answer_that_raises_fails_the_task() -> None:
    with make_sandbox(answer=lambda record: record["missing"]) as sandbox:
        put_records(sandbox)
        task = run(sandbox)

        assert (task["runStatus"], task["errorReason"]) == ("Failed", "answer() raised KeyError: 'missing'")
        assert outputs(sandbox, task) == {}


def test_failed_record_with_error_by_choice() -> None:
    behavior = ServerBehavior(failed_record="error")
    with make_sandbox(behavior=behavior, fail_records=["a.jsonl-2"]) as sandbox:
        put_records(sandbox)
        lines = outputs(sandbox, run(sandbox))["a.jsonl"]

    (failed,) = [line for line in lines if "output" not in line]
    assert (failed["id"], failed["query"]) == ("a.jsonl-2", "q2")
    assert set(failed["error"]) == {"code", "message"}
    assert len(lines) == 10


def test_line_that_is_no_record_has_no_result() -> None:
    with make_sandbox() as sandbox:
        sandbox.put("bos:/bucket/in/a.jsonl", '\ufeff{"id": "1", "query": "q"}\n\nnot JSON\n[]\r\n')
        task = run(sandbox)

        assert [line["id"] for line in outputs(sandbox, task)["a.jsonl"]] == ["1"]
    assert task["progress"] == 3


def test_failing_file_has_no_output() -> None:
    with make_sandbox(fail_files=["b.jsonl"]) as sandbox:
        put_records(sandbox, "a.jsonl")
        put_records(sandbox, "b.jsonl")

        assert list(outputs(sandbox, run(sandbox))) == ["a.jsonl"]


@pytest.mark.parametrize("name", ["fail_records", "fail_files"])
def test_share_above_one_raises(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Sandbox(**{name: cast(Any, 1.5)})


def test_output_shape_of_newer_models_by_choice() -> None:
    messages = [{"role": "user", "content": "2+2?"}]
    with make_sandbox(behavior=ServerBehavior(output_shape="choices"), answer=lambda _: "4") as sandbox:
        sandbox.put("bos:/bucket/in/a.jsonl", json.dumps({"id": "1", "messages": messages}))
        (line,) = outputs(sandbox, run(sandbox))["a.jsonl"]

    assert line["messages"] == messages
    assert line["output"]["choices"][0]["message"]["content"] == "4"
    assert "result" not in line["output"]


def test_output_names_and_delay_by_choice() -> None:
    behavior = ServerBehavior(output_names="numbered", output_delay=5)
    with make_sandbox(behavior=behavior) as sandbox:
        put_records(sandbox)
        task = run(sandbox)

        before = outputs(sandbox, task)
        sandbox.advance(5)
        assert (before, list(outputs(sandbox, task))) == ({}, ["part-00000.jsonl"])


@pytest.mark.parametrize(("partial_output", "results"), [(False, 0), (True, 5)])
def test_stopped_task_leaves_partial_output_by_choice(partial_output: bool, results: int) -> None:
    with make_sandbox(behavior=ServerBehavior(partial_output=partial_output)) as sandbox:
        put_records(sandbox)
        task_id = create(sandbox)
        sandbox.advance(60)
        with sandbox.client() as client:
            client.stop(task_id)
        sandbox.advance(10)

        task = sandbox.tasks[task_id]
        assert (task["runStatus"], task["progress"]) == ("Stopped", 5)
        assert sum(map(len, outputs(sandbox, task).values())) == results


def test_too_many_files_fail_the_task() -> None:
    with make_sandbox() as sandbox:
        for number in range(101):
            put_records(sandbox, f"{number}.jsonl", 1)
        sandbox.put("bos:/bucket/in/folder/", "")  # no file
        task = run(sandbox)

    assert task["runStatus"] == "Failed"
    assert task["errorReason"] == "the input has 101 files; at most 100 are allowed"


def test_output_bucket_of_another_account_fails_the_task() -> None:
    with make_sandbox() as sandbox:
        put_records(sandbox)
        sandbox.add_key("other-key", "other-secret", account="other")
        other = SignedClient(sandbox, "other-key", "other-secret")
        other.object("PUT", "/other-bucket")
        other.close()

        task = run(sandbox, output_bos_uri="bos:/other-bucket/out")

    assert task["runStatus"] == "Failed"
    assert "output bucket other-bucket" in task["errorReason"]


def test_task_without_input_in_the_store_ends_as_done_without_output() -> None:
    with make_sandbox() as sandbox:
        task = run(sandbox)
        assert sandbox.objects == {}

    assert (task["runStatus"], task["progress"]) == ("Done", 100)


def test_uris_without_slash_at_the_end_are_directories() -> None:
    with make_sandbox() as sandbox:
        put_records(sandbox)
        task = run(sandbox, input_bos_uri="bos:/bucket/in", output_bos_uri="bos:/bucket/out")

        assert list(outputs(sandbox, task)) == ["a.jsonl"]
