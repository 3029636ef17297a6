"""The commands on data: upload, results, download."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qf_tasks.cli import progress
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run, RunOnTerminal, interrupt_with

_DIRECTORY = "bos:/my-bucket/in/"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps({"id": f"r{n}", "query": f"Question {n}"}) + "\n" for n in range(3)))
    return path


@pytest.fixture
def task_id(own_sandbox: Sandbox) -> str:
    """Return a task that has ended with two results, one of them failed."""
    own_sandbox.set_answers(fail_records=["r2"])
    own_sandbox.put(f"{_DIRECTORY}part.jsonl", '{"id": "r1", "query": "a"}\n{"id": "r2", "query": "b"}\n')
    with own_sandbox.client() as client:
        created = client.create(
            name="nightly", endpoint="e", input_bos_uri=_DIRECTORY, output_bos_uri="bos:/my-bucket/out/"
        )
    own_sandbox.advance(1000)
    return created.task_id


def test_upload_puts_the_records_of_all_files_into_one_directory(
    run: Run, own_sandbox: Sandbox, records: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"query": "Question 4"}\n')

    code, out, err = run("upload", str(records), str(other), _DIRECTORY)

    assert (code, err) == (0, "")
    assert dict(line.split("\t") for line in out.splitlines())["records"] == "4"
    [uri] = own_sandbox.objects
    assert [json.loads(line)["id"] for line in own_sandbox.get(uri).splitlines()] == ["r0", "r1", "r2", "4"]


def test_upload_reads_stdin_for_a_dash(run: Run, own_sandbox: Sandbox) -> None:
    code, out, _ = run("upload", "-", _DIRECTORY, "--json", typed='{"query": "Question"}\n')

    assert (code, json.loads(out)["records"], len(own_sandbox.objects)) == (0, 1, 1)


def test_upload_dry_run_prints_what_it_would_send_without_a_request(
    run: Run, own_sandbox: Sandbox, records: Path
) -> None:
    code, out, err = run("upload", str(records), _DIRECTORY, "--dry-run")

    assert (code, err, own_sandbox.requests) == (0, "Nothing was sent.\n", [])
    assert [line.split("\t")[0] for line in out.splitlines()] == ["records", "bytes", "files", "tasks"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere.jsonl", _DIRECTORY], "Error: FILE names a file that does not exist: nowhere.jsonl\n"),
        (["-", "-", _DIRECTORY], "for FILE: - cannot be used with other files\n"),
        ([_DIRECTORY], "Error: Missing argument 'FILE...'\n"),
        (["RECORDS", "bos://b/in/"], "Error: BOS_URI must be bos:/bucket/folder/, with one slash after bos:"),
        (["RECORDS", "bos:/my-bucket/"], "Error: BOS_URI must be a directory in a bucket, not the bucket"),
    ],
)
def test_upload_names_the_argument_that_is_wrong_before_any_request(
    run: Run, own_sandbox: Sandbox, records: Path, arguments: list[str], problem: str
) -> None:
    code, out, err = run("upload", *(str(records) if word == "RECORDS" else word for word in arguments))

    assert (code, out, own_sandbox.requests) == (2, "", [])
    assert problem in err


def test_upload_of_an_invalid_record_names_file_line_and_rule(run: Run, own_sandbox: Sandbox) -> None:
    Path("bad.jsonl").write_text('{"query": "a"}\n{"id": 3, "query": "b"}\n')

    code, _, err = run("upload", "bad.jsonl", _DIRECTORY, "--json")

    error = json.loads(err)
    assert (code, own_sandbox.objects) == (2, {})
    assert (error["error"], error["file"], error["line"]) == ("InvalidRecordError", "bad.jsonl", 2)
    assert error["rule"] == "its id is not text but int"


def test_upload_on_a_terminal_shows_bytes(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_REDRAWS_PER_SECOND", 100)
    own_sandbox.inject(Fault.slow(0.1), action="PutObject")

    code, screen, written = run_on_terminal("upload", str(records), _DIRECTORY)

    assert code == 0
    assert "Checking records ... 0:00:0" in written
    assert " of 108 bytes" in written
    assert screen[0].split() == ["URI", _DIRECTORY]


def test_interrupted_upload_says_how_to_continue(run: Run, own_sandbox: Sandbox, records: Path) -> None:
    own_sandbox.inject(interrupt_with(), action="ListObjects")

    code, _, err = run("upload", str(records), _DIRECTORY)

    assert (code, err.splitlines()) == (
        130,
        ["Run it again to continue; what was sent is not sent again.", "Interrupted."],
    )


def test_results_prints_a_line_for_each_and_counts_on_stderr(run: Run, task_id: str) -> None:
    code, out, err = run("results", task_id, "--missing")

    by_id = {result["id"]: result for result in map(json.loads, out.splitlines())}
    assert (code, err) == (0, "2 results: 1 missing, 1 succeeded\n")
    assert by_id["r1"]["text"] == "You asked: a"
    assert (by_id["r2"]["outcome"], "raw" in by_id["r2"]) == ("missing", False)


def test_results_to_a_file_leaves_stdout_to_the_counts(run: Run, task_id: str) -> None:
    code, out, err = run("results", task_id, "-o", "results.jsonl", "--missing", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "path": "results.jsonl",
        "results": 2,
        "outcomes": {"succeeded": 1, "missing": 1},
    }
    assert len(Path("results.jsonl").read_text().splitlines()) == 2


def test_results_that_cannot_be_read_to_the_end_leave_no_file(
    run: Run, own_sandbox: Sandbox, task_id: str, tmp_path: Path
) -> None:
    own_sandbox.inject(Fault.status(403, code="AccessDenied"), action="GetObject")

    code, _, err = run("results", task_id, "-o", str(tmp_path / "results.jsonl"))

    assert (code, list(tmp_path.glob("*results*")), list(tmp_path.glob(".*part"))) == (1, [], [])
    assert "Grant the user" in err


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("results", "TASK", "-o", "nowhere/x"), "--output: nowhere/x is in a directory that does not exist"),
        (("results", "TASK", "-o", "."), "--output: . is a directory"),
        (("download", "TASK", "nowhere/x"), "PATH is in a directory that does not exist: nowhere"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_request(
    run: Run, own_sandbox: Sandbox, command: tuple[str, ...], problem: str
) -> None:
    code, _, err = run(*command)

    assert (code, problem in err, own_sandbox.requests) == (2, True, [])


def test_results_of_a_running_task_say_how_to_wait(run: Run, own_sandbox: Sandbox) -> None:
    running = own_sandbox.add_task(run_status="Running")

    code, _, err = run("results", running)

    assert (code, err.splitlines()[-1]) == (1, "Hint: Wait for it first: qf-tasks wait ID.")


def test_download_writes_the_output_as_it_is(run: Run, own_sandbox: Sandbox, task_id: str) -> None:
    code, out, _ = run("download", task_id, "results.jsonl", "--json")

    [uri] = [uri for uri in own_sandbox.objects if "/out/" in uri]
    content = Path("results.jsonl").read_bytes()
    assert content == own_sandbox.get(uri)
    assert (code, json.loads(out)) == (0, {"path": "results.jsonl", "bytes": len(content)})
