"""What commands print on a terminal, into a pipe, and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from qf_tasks import SupportedModels, Task
from qf_tasks.sandbox import Sandbox

from .conftest import Run

_CREATED = datetime(2026, 11, 1, 20, 0, tzinfo=UTC)
_ENDED = datetime(2026, 11, 1, 23, 30, tzinfo=UTC)


@pytest.fixture
def two(own_sandbox: Sandbox) -> Sandbox:
    own_sandbox.add_task(
        "infer-ended00000001", name="nightly-eval", create_time=_CREATED, finish_time=_ENDED, progress=812
    )
    own_sandbox.add_task(
        "infer-runs000000001", name="translate-faq", run_status="Running", create_time=_ENDED, progress=40
    )
    return own_sandbox


@pytest.mark.usefixtures("two")
def test_list_on_a_terminal_prints_a_table_in_local_time(run_on_screen: Run) -> None:
    code, out, err = run_on_screen("list", width=140)

    assert (code, err) == (0, "")
    assert out == (
        "TASK ID              RUN STATUS  NAME           PROGRESS  CREATE TIME             FINISH TIME"
        "             ENDPOINT\n"
        "infer-runs000000001  Running     translate-faq  40        2026-11-02 07:30+08:00"
        "                          ernie-x1-turbo-32k\n"
        "infer-ended00000001  Done        nightly-eval   812       2026-11-02 04:00+08:00"
        "  2026-11-02 07:30+08:00  ernie-x1-turbo-32k\n"
    )


@pytest.mark.usefixtures("two")
def test_list_at_80_cells_leaves_columns_out(run_on_screen: Run) -> None:
    _, out, _ = run_on_screen("list")

    assert out == (
        "TASK ID              RUN STATUS  NAME           PROGRESS  CREATE TIME\n"
        "infer-runs000000001  Running     translate-faq  40        2026-11-02 07:30+08:00\n"
        "infer-ended00000001  Done        nightly-eval   812       2026-11-02 04:00+08:00\n"
    )


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("command", ["list", "get", "delete", "stop", "wait"])
@pytest.mark.parametrize("width", [20, 10, 1])
def test_an_id_is_never_cut_at_any_width(run_on_screen: Run, command: str, width: int) -> None:
    words = [command] if command == "list" else [command, "infer-ended00000001"]

    _, out, _ = run_on_screen(*words, width=width)

    assert "infer-ended00000001" in out


@pytest.mark.usefixtures("two")
def test_list_piped_prints_tab_separated_lines_in_full(run: Run) -> None:
    code, out, err = run("list")

    assert (code, err) == (0, "")
    assert out == (
        "infer-runs000000001\tRunning\ttranslate-faq\t40\t2026-11-02 07:30+08:00\t\ternie-x1-turbo-32k\n"
        "infer-ended00000001\tDone\tnightly-eval\t812\t2026-11-02 04:00+08:00\t2026-11-02 07:30+08:00"
        "\ternie-x1-turbo-32k\n"
    )


@pytest.mark.usefixtures("two")
def test_list_as_json_prints_one_array_with_times_in_utc(run: Run) -> None:
    _, out, _ = run("list", "--json", "--oldest-first")

    first, second = json.loads(out)
    assert (first["create_time"], first["finish_time"]) == ("2026-11-01T20:00:00Z", "2026-11-01T23:30:00Z")
    assert Task.model_validate(second).name == "translate-faq"


@pytest.mark.parametrize("words", [("list", "--json"), ("list",), ("list", "-q")])
def test_list_of_nothing_prints_nothing_and_succeeds(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words) == (0, "[]\n" if "--json" in words else "", "")


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("option", ["-q", "--ids"])
def test_list_as_ids_prints_them_alone(run: Run, option: str) -> None:
    assert run("list", option).out == "infer-runs000000001\ninfer-ended00000001\n"


def test_list_shows_the_newest_hundred_and_says_that_there_are_more(run: Run, own_sandbox: Sandbox) -> None:
    ids = own_sandbox.add_tasks(101)

    code, out, err = run("list", "-q")

    assert (code, err) == (0, "There are more; --limit 0 lists all.\n")
    assert out.split() == ids[:0:-1]


def test_list_as_json_tells_nothing_beside_it(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_tasks(2)

    code, out, err = run("list", "--json", "--limit", "1")

    assert (code, len(json.loads(out)), err) == (0, 1, "")


def test_list_without_limit_shows_all(run: Run, own_sandbox: Sandbox) -> None:
    ids = own_sandbox.add_tasks(101)

    code, out, err = run("list", "-q", "--limit", "0", "--oldest-first")

    assert (code, out.split(), err) == (0, ids, "")


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    "words",
    [
        ("--run-status", "RUNNING"),
        ("--run-status", "running,queuing"),
        ("--run-status", "queuing", "--run-status", "Running"),
        ("--name", "translate-*"),
    ],
)
def test_list_takes_only_what_was_asked_for(run: Run, words: tuple[str, ...]) -> None:
    assert run("list", "-q", *words).out == "infer-runs000000001\n"


@pytest.mark.usefixtures("two")
def test_list_older_than_takes_only_what_ended_before(run: Run) -> None:
    assert run("list", "-q", "--older-than", "5000w").out == ""


def test_list_shows_a_time_at_the_end_of_the_calendar_as_it_was_sent(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-x", create_time=datetime(9999, 12, 31, 23, tzinfo=UTC))

    code, out, _ = run("list")

    assert (code, out.split("\t")[4]) == (0, "9999-12-31 23:00+00:00")


def test_foreign_text_cannot_steer_the_terminal(run_on_screen: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-x", name="\x1b[2J[red]a\tb\r\u202e:+1:")

    _, out, _ = run_on_screen("list", width=200)

    assert out.splitlines()[1].startswith("infer-x  Done        \\x1b[2J[red]a\\tb\\r\\u202e:+1:  ")


@pytest.mark.usefixtures("two")
def test_get_prints_all_fields_by_name(run: Run) -> None:
    code, out, err = run("get", "infer-runs000000001")

    assert (code, err) == (0, "")
    assert out.startswith("task_id\tinfer-runs000000001\nrun_status\tRunning\nname\ttranslate-faq\n")
    assert "\ncreate_time\t2026-11-02 07:30+08:00\n" in out
    assert out.endswith("\nrequest_id\tREQUEST-ID\n")


@pytest.mark.usefixtures("two")
def test_get_on_a_terminal_prints_a_line_for_each_field(run_on_screen: Run) -> None:
    _, out, _ = run_on_screen("get", "infer-runs000000001")

    assert out.splitlines()[:3] == [
        "TASK ID           infer-runs000000001",
        "RUN STATUS        Running",
        "NAME              translate-faq",
    ]


@pytest.mark.usefixtures("two")
def test_get_as_json_prints_the_task_as_it_can_be_read_back(run: Run) -> None:
    task = Task.model_validate_json(run("get", "--json", "infer-runs000000001").out)

    assert (task.task_id, task.create_time) == ("infer-runs000000001", _ENDED)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    "words", [("--json", "get", "infer-runs000000001"), ("get", "infer-runs000000001", "--json")]
)
def test_shared_options_count_before_and_after_the_command(run: Run, words: tuple[str, ...]) -> None:
    assert json.loads(run(*words).out)["name"] == "translate-faq"


def test_models_prints_versions_with_the_id_that_create_takes(run: Run) -> None:
    code, out, _ = run("models")

    assert code == 0
    assert "amv-sandboxtuned\tsandbox-tuned\tcustom\tam-sandboxtuned\tsandbox-tuned\n" in out


def test_models_as_json_prints_what_the_client_returns(run: Run) -> None:
    assert SupportedModels.model_validate_json(run("models", "--json").out).custom


def test_create_prints_the_id_and_sends_what_was_given(run: Run, own_sandbox: Sandbox) -> None:
    code, out, err = run(
        *("create", "--name", "nightly", "--endpoint", "ernie-x1-turbo-32k", "--description", "每晚"),
        *("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/"),
        *("--param", "temperature=0.2", "--param", "stop=a=b", "--extra", 'labels={"a": [1]}'),
    )

    [(task_id, task)] = own_sandbox.tasks.items()
    assert (code, out, err) == (0, f"{task_id}\tnightly\tno\tREQUEST-ID\n", "")
    assert task["inferenceParams"] == {"temperature": 0.2, "stop": "a=b"}
    sent = json.loads(own_sandbox.requests[-1].body)
    assert (sent["description"], sent["labels"]) == ("每晚", {"a": [1]})


def test_create_again_within_the_time_adopts_the_task(run: Run) -> None:
    words = (
        *("create", "--name", "nightly", "--endpoint", "ernie-x1-turbo-32k", "--adopt-within", "2h", "-q"),
        *("--input-bos-uri", "bos:/b/in/", "--output-bos-uri", "bos:/b/out/"),
    )

    assert run(*words).out == run(*words).out != ""
