"""Creating tasks: one by options, many from a file, with and without waiting for them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import TaskClient
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run, RunOnTerminal, interrupt_with

_URIS = ("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/")
_ONE = ("create", "--name", "nightly", "--endpoint", "ernie-x1-turbo-32k", *_URIS)
_SPEC = {"endpoint": "ernie-x1-turbo-32k", "input_bos_uri": "bos:/b/in/", "output_bos_uri": "bos:/b/out/"}

WriteSpecs = Callable[..., str]


@pytest.fixture
def write_specs(tmp_path: Path) -> WriteSpecs:
    """Return what writes a .jsonl file of tasks with these names, and other fields."""

    def write(*names: str, **fields: Any) -> str:
        path = tmp_path / "specs.jsonl"
        lines = [json.dumps({"name": name, **_SPEC, **fields}) for name in names]
        path.write_text("\n".join(lines), "utf-8")
        return str(path)

    return write


def test_create_prints_the_id_and_sends_what_was_given(run: Run, own_sandbox: Sandbox) -> None:
    code, out, err = run(
        *(*_ONE, "--description", "每晚"),
        *("--param", "temperature=0.2", "--param", "stop=a=b", "--extra", 'labels={"a": [1]}'),
    )

    [(task_id, task)] = own_sandbox.tasks.items()
    assert (code, out, err) == (0, f"{task_id}\tnightly\tcreated\tREQUEST-ID\n", "")
    assert task["inferenceParams"] == {"temperature": 0.2, "stop": "a=b"}
    sent = json.loads(own_sandbox.requests[-1].body)
    assert (sent["description"], sent["labels"]) == ("每晚", {"a": [1]})


def test_create_with_wait_waits_and_prints_the_final_state(run: Run, own_sandbox: Sandbox) -> None:
    code, out, _ = run(*_ONE, "--wait")

    created, ended = out.splitlines()
    assert (code, created.split("\t")[2], ended.split("\t")[1]) == (0, "created", "Done")
    assert len(own_sandbox.tasks) == 1


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_create_as_json_prints_one_object(run: Run, wait: tuple[str, ...]) -> None:
    _, out, err = run(*_ONE, "--json", *wait)

    printed = json.loads(out)
    assert (len(printed["tasks"]), printed["errors"], printed["tasks"][0]["name"], err) == (
        *(1, [], "nightly", ""),
    )


def test_create_again_with_the_same_idempotency_key_prints_the_same_task(
    run: Run, own_sandbox: Sandbox
) -> None:
    first, second = (run(*_ONE, "--idempotency-key", "daily", "--reuse-within", "2h").out for _ in range(2))

    assert len(own_sandbox.tasks) == 1
    assert [line.split("\t")[2] for line in (first, second)] == ["created", "reused"]


def test_create_from_a_file_again_with_idempotency_keys_creates_what_is_missing(
    run: Run, own_sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "specs.jsonl"
    specs = [json.dumps({**_SPEC, "name": name, "idempotency_key": name}) for name in ("first", "second")]
    path.write_text(specs[0], "utf-8")
    run("create", "--from-file", str(path))
    path.write_text("\n".join(specs), "utf-8")

    _, out, _ = run("create", "--from-file", str(path))

    assert len(own_sandbox.tasks) == 2
    assert [line.split("\t")[2] for line in out.splitlines()] == ["reused", "created"]


def test_create_dry_run_creates_nothing(run: Run, own_sandbox: Sandbox) -> None:
    code, out, err = run(*_ONE, "--dry-run")

    assert (code, own_sandbox.requests) == (0, [])
    assert out.startswith("nightly\tbos:/b/in/\t")
    assert err == "1 task valid; nothing was created.\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("create", "--name", "ab"), "--input-bos-uri: is required, unless --from-file is given"),
        (("create", "--endpoint", "e", *_URIS), "--name: is required"),
        ((*_ONE, "--param", "temperature"), "'temperature' is not KEY=VALUE, such as temperature=0.2"),
        ((*_ONE, "--reuse-within", "24"), "'--reuse-within': '24' is not a duration with a unit"),
        ((*_ONE, "--quota-timeout", "60"), "'--quota-timeout': '60' is not a duration with a unit"),
        (("create", "--name", "a", "--endpoint", "e", *_URIS), "--name must "),
        ((*_ONE, "--from-file", "x.jsonl"), "--from-file: cannot be used with --name, --input-bos-uri"),
    ],
)
def test_create_with_a_bad_option_is_refused_before_any_request(
    run: Run, own_sandbox: Sandbox, arguments: tuple[str, ...], problem: str
) -> None:
    code, out, err = run(*arguments)

    assert (code, out, own_sandbox.requests) == (2, "", [])
    assert problem in err


def test_create_from_a_file_creates_each_and_reports_each_line(
    run: Run, own_sandbox: Sandbox, write_specs: WriteSpecs
) -> None:
    code, out, _ = run("create", "--from-file", write_specs("first", "second"))

    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, [row[0] for row in rows]) == (0, [*own_sandbox.tasks])
    assert [row[1:3] + row[4:] for row in rows] == [
        ["first", "created", "line 1"],
        ["second", "created", "line 2"],
    ]


def test_create_from_yaml_creates_each(run: Run, own_sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "specs.yaml"
    path.write_text(
        "- &shared\n  name: first\n  endpoint: ernie-x1-turbo-32k\n  input_bos_uri: bos:/b/in/\n"
        "  output_bos_uri: bos:/b/out/\n- <<: *shared\n  name: second\n",
        "utf-8",
    )

    assert run("create", "--from-file", str(path)).code == 0
    assert [task["name"] for task in own_sandbox.tasks.values()] == ["first", "second"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"name": "ok"}', "line 1: input_bos_uri and output_bos_uri missing"),
        (json.dumps({**_SPEC, "name": "ok", "nmae": 1}), "line 1: unknown field 'nmae'"),
        (f"{json.dumps({**_SPEC, 'name': 'ok'})}\n{json.dumps({**_SPEC, 'name': 'x'})}", "line 2: "),
        (json.dumps({**_SPEC, "name": 5}), "line 1: "),
        ("[1]", "line 1 is not an object with fields"),
        ("{", "is not valid"),
        ("", "has no tasks"),
    ],
)
def test_create_from_a_file_with_a_mistake_creates_nothing(
    run: Run, own_sandbox: Sandbox, tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "specs.jsonl"
    path.write_text(content, "utf-8")

    code, out, err = run("create", "--from-file", str(path))

    assert (code, out, own_sandbox.requests) == (2, "", [])
    assert problem in err


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("specs.yaml", "a: [", "is not valid: not YAML in line 1"),
        ("specs.yaml", "name: x", "is not valid: it should be a list of tasks"),
        ("specs.txt", "", "is not valid: it should end in .yaml, .yml or .jsonl"),
        ("missing.jsonl", None, "No such file or directory"),
    ],
)
def test_create_from_a_file_that_cannot_be_read_is_refused(
    run: Run, tmp_path: Path, name: str, content: str | None, problem: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, "utf-8")

    code, _, err = run("create", "--from-file", str(path))

    assert code == 2
    assert f"--from-file: {path}" in err
    assert problem in err


def test_create_from_a_file_goes_on_after_a_rejection(
    run: Run, own_sandbox: Sandbox, write_specs: WriteSpecs
) -> None:
    own_sandbox.inject(Fault.status(400, code="InvalidArgument"), action="CreateBatchInferenceTask")

    code, out, _ = run("create", "--from-file", write_specs("first", "second"), "--json")

    printed = json.loads(out)
    assert (code, len(own_sandbox.tasks)) == (1, 1)
    assert [(error["line"], error["outcome"]) for error in printed["errors"]] == [("line 1", "failed")]
    assert [task["name"] for task in printed["tasks"]] == ["second"]


def test_create_from_a_file_with_rejected_keys_tries_no_further(
    run: Run, own_sandbox: Sandbox, write_specs: WriteSpecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    code, out, _ = run("create", "--from-file", write_specs("first", "second"))

    assert (code, len(own_sandbox.requests)) == (2, 1)
    assert [line.split("\t")[2] for line in out.splitlines()] == ["failed", "not_tried"]


def test_create_with_quota_timeout_says_what_it_waits_for_and_that_it_waited(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_tasks(20, run_status="Running")

    code, screen, written = run_on_terminal(*_ONE, "--quota-timeout", "60s", width=120)

    assert (code, len(own_sandbox.tasks)) == (1, 20)
    assert "Creating 'nightly', waiting up to 60s for a free slot ... 0:00:0" in written
    assert "no slot became free in 60 s; nothing was created" in "".join(screen)


def test_create_interrupted_while_it_waits_for_a_slot_says_that_nothing_was_created(
    run: Run, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_sandbox.add_tasks(20, run_status="Running")

    def sleep(_seconds: float) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TaskClient, "_clock", Clock(time.monotonic, sleep))

    code, _, err = run(*_ONE, "--quota-timeout", "60s")

    assert (code, len(own_sandbox.tasks)) == (130, 20)
    assert err == "'nightly' was not created; it was waiting for a free slot.\nInterrupted.\n"


@pytest.mark.parametrize("options", [(), ("--quota-timeout", "60s")])
def test_create_interrupted_in_a_request_says_what_is_not_known(
    run: Run, own_sandbox: Sandbox, options: tuple[str, ...]
) -> None:
    own_sandbox.inject(interrupt_with(), action="CreateBatchInferenceTask")

    code, _, err = run(*_ONE, *options)

    assert code == 130
    assert err.startswith(
        "Whether 'nightly' was created is not known; check: qf-tasks list --name 'nightly'\n"
    )


def test_create_from_a_file_interrupted_reports_each_line(
    run: Run, own_sandbox: Sandbox, write_specs: WriteSpecs
) -> None:
    own_sandbox.inject(interrupt_with(), action="CreateBatchInferenceTask", skip=1)

    code, out, _ = run("create", "--from-file", write_specs("first", "second", "third"))

    outcomes = [line.split("\t")[2] for line in out.splitlines()]
    assert (code, outcomes) == (130, ["created", "unknown", "not_tried"])
