"""What get, list and models print on a terminal, into a pipe, and as JSON."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from qf_tasks import SupportedModels, Task
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run, RunOnTerminal

_CREATED = datetime(2026, 1, 1, 20, 0, tzinfo=UTC)
_ENDED = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)


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
def test_list_on_a_terminal_of_140_cells_shows_all_columns(run_on_terminal: RunOnTerminal) -> None:
    code, screen, _ = run_on_terminal("list", width=140)

    assert code == 0
    assert re.split(r"  +", screen[0]) == [
        *("TASK ID", "RUN STATUS", "AGE", "NAME", "PROGRESS", "CREATE TIME", "FINISH TIME", "ENDPOINT"),
    ]
    assert "2026-01-02 04:00+08:00  2026-01-02 07:30+08:00  ernie-x1-turbo-32k" in screen[2]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("width", "columns"), [(80, "PROGRESS"), (120, "ENDPOINT")])
def test_list_on_a_narrower_terminal_leaves_columns_out(
    run_on_terminal: RunOnTerminal, width: int, columns: str
) -> None:
    _, screen, _ = run_on_terminal("list", width=width)

    assert screen[0].startswith("TASK ID")
    assert screen[0].endswith(columns)
    assert len(screen) == 3  # no line was wrapped


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("command", ["list", "get", "delete", "stop", "wait"])
def test_commands_at_any_width_show_whole_ids(run_on_terminal: RunOnTerminal, command: str) -> None:
    arguments = [command] if command == "list" else [command, "infer-ended00000001"]

    _, _, written = run_on_terminal(*arguments, width=1, term="dumb")

    assert "infer-ended00000001" in written


def test_list_shows_the_age_of_tasks(run: Run, own_sandbox: Sandbox) -> None:
    for age in (timedelta(seconds=20), timedelta(minutes=7), timedelta(hours=12), timedelta(days=30)):
        own_sandbox.add_task(create_time=datetime.now(UTC) - age)

    ages = run("list", "--columns", "age", "--oldest-first").out.split()

    assert ages[:3] == ["30d", "12h", "7m"]


@pytest.mark.usefixtures("two")
def test_list_in_a_pipe_prints_tab_separated_values(run: Run) -> None:
    assert run("list") == (
        0,
        "infer-runs000000001\tRunning\ttranslate-faq\t40\t2026-01-02 07:30+08:00\t\ternie-x1-turbo-32k\n"
        "infer-ended00000001\tDone\tnightly-eval\t812\t2026-01-02 04:00+08:00\t2026-01-02 07:30+08:00"
        "\ternie-x1-turbo-32k\n",
        "",
    )


@pytest.mark.usefixtures("two")
def test_list_as_json_prints_one_list_with_times_in_utc(run: Run) -> None:
    _, out, _ = run("list", "--json", "--oldest-first")

    first, second = json.loads(out)
    assert (first["create_time"], first["finish_time"]) == ("2026-01-01T20:00:00Z", "2026-01-01T23:30:00Z")
    assert Task.model_validate(second).name == "translate-faq"


@pytest.mark.parametrize(("option", "out"), [("--json", "[]\n"), ("-q", ""), ("--oldest-first", "")])
def test_list_of_nothing_prints_nothing_and_succeeds(run: Run, option: str, out: str) -> None:
    assert run("list", option) == (0, out, "")


@pytest.mark.parametrize("option", ["--json", "-q", "--oldest-first"])
def test_list_in_a_pipe_prints_all_tasks(run: Run, own_sandbox: Sandbox, option: str) -> None:
    own_sandbox.add_tasks(101)

    _, out, err = run("list", option)

    assert (out.count("infer-") // (2 if option == "--json" else 1) >= 101, err) == (True, "")


def test_list_on_a_terminal_shows_100_tasks_and_says_so(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    ids = own_sandbox.add_tasks(101)

    _, screen, _ = run_on_terminal("list")

    assert len(screen) == 102
    assert ids[0] not in "".join(screen)
    assert screen[-1] == "Only the first 100 tasks are shown; --limit 0 shows all."


def test_list_with_a_limit_says_nothing_of_more_tasks(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_tasks(3)

    _, screen, _ = run_on_terminal("list", "--limit", "2")

    assert len(screen) == 3


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--run-status", "RUNNING"),
        ("--status", "running,queuing"),
        ("--status", "pending", "--status", "in_progress"),
        ("--name", "translate-*"),
    ],
)
def test_list_with_criteria_prints_what_matches(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("ls", "-q", *arguments).out == "infer-runs000000001\n"


@pytest.mark.parametrize(
    ("synonym", "state"),
    [("completed", "Done"), ("cancelled", "Stopped"), ("Pending", "Queuing"), ("error", "Failed")],
)
def test_list_with_a_synonym_of_a_state_finds_the_state(
    run: Run, own_sandbox: Sandbox, synonym: str, state: str
) -> None:
    own_sandbox.add_task("infer-a", run_status=state)

    assert run("list", "-q", "--status", synonym).out == "infer-a\n"


@pytest.mark.parametrize(
    ("option", "expected"), [("--older-than", "infer-old"), ("--newer-than", "infer-new")]
)
def test_list_by_age_prints_tasks_on_that_side(
    run: Run, own_sandbox: Sandbox, option: str, expected: str
) -> None:
    long_ago = own_sandbox.now - timedelta(days=40)
    own_sandbox.add_task("infer-old", create_time=long_ago, finish_time=long_ago)
    own_sandbox.add_task("infer-new")

    assert run("list", "-q", option, "30d").out == f"{expected}\n"


def test_list_with_creator_prints_the_tasks_of_that_user(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a", creator="alice")
    own_sandbox.add_task("infer-b", creator="bob")

    assert run("list", "-q", "--creator", "alice").out == "infer-a\n"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("key", "first"), [("progress", "infer-runs"), ("-progress", "infer-ended"), ("age", "infer-runs")]
)
def test_list_with_sort_prints_tasks_in_that_order(run: Run, key: str, first: str) -> None:
    assert run("list", "-q", "--sort", key).out.startswith(first)


def test_list_with_sort_puts_tasks_without_a_value_last(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-runs", run_status="Running")
    own_sandbox.add_task("infer-ended")

    assert run("list", "-q", "--sort", "finish_time").out == "infer-ended\ninfer-runs\n"
    assert run("list", "-q", "--sort", "-finish_time").out == "infer-ended\ninfer-runs\n"


@pytest.mark.usefixtures("two")
def test_list_with_columns_prints_these(run: Run) -> None:
    assert run("list", "--columns", "name,progress", "--limit", "1").out == "translate-faq\t40\n"


@pytest.mark.parametrize("option", ["--columns", "--sort"])
def test_list_with_an_unknown_column_names_those_there_are(
    run: Run, own_sandbox: Sandbox, option: str
) -> None:
    code, _, err = run("list", option, "colour")

    assert (code, own_sandbox.requests) == (2, [])
    assert f"'{option}': there is no column 'colour'; there are task_id, run_status, age, " in err


def test_list_of_a_task_at_the_end_of_the_calendar_shows_its_time_in_utc(
    run: Run, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-x", create_time=datetime(9999, 12, 31, 23, tzinfo=UTC))

    assert run("list").out.split("\t")[4] == "9999-12-31 23:00+00:00"


def test_list_of_a_hostile_name_escapes_what_could_steer_the_terminal(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-x", name="\x1b[2J[red]a\tb\r\u202e:+1:")

    _, screen, _ = run_on_terminal("list", width=200)

    assert "\\x1b[2J[red]a\\tb\\r\\u202e:+1:" in screen[1]


def test_list_as_json_escapes_controls_and_keeps_the_name(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-x", name="a\u009bb\u202ec")

    out = run("list", "--json").out

    assert "\\u009b" in out
    assert "\\u202e" in out
    assert json.loads(out)[0]["name"] == "a\u009bb\u202ec"


def test_list_with_watch_shows_the_table_until_ctrl_c(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_sandbox.add_task("infer-a", run_status="Running")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        own_sandbox.set_status("infer-a", "Done")
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("qf_tasks.cli.commands.read.time.sleep", pause)

    code, screen, written = run_on_terminal("list", "--watch", "--interval", "2s")

    assert (code, pauses) == (0, [2.0, 2.0, 2.0])
    assert ("Running" in written, len(screen)) == (True, 2)
    assert screen[1].split()[:2] == ["infer-a", "Done"]


def test_list_with_watch_in_a_pipe_is_refused(run: Run) -> None:
    code, _, err = run("list", "--watch")

    assert code == 2
    assert "--watch: needs a terminal" in err


@pytest.mark.usefixtures("two")
def test_get_in_a_pipe_prints_all_fields_by_name(run: Run) -> None:
    code, out, err = run("get", "infer-runs000000001")

    assert (code, err) == (0, "")
    assert out.startswith("task_id\tinfer-runs000000001\nrun_status\tRunning\nname\ttranslate-faq\n")
    assert "\ncreate_time\t2026-01-02 07:30+08:00\n" in out


@pytest.mark.usefixtures("two")
def test_get_on_a_terminal_shows_a_line_for_each_field(run_on_terminal: RunOnTerminal) -> None:
    _, screen, _ = run_on_terminal("describe", "infer-runs000000001")

    assert [line.split("  ")[0] for line in screen[:3]] == ["TASK ID", "RUN STATUS", "NAME"]
    assert screen[1].endswith("Running")


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("ids", [["infer-runs000000001"], ["infer-runs000000001", "infer-ended00000001"]])
def test_get_as_json_prints_one_object_however_many_ids(run: Run, ids: list[str]) -> None:
    printed = json.loads(run("get", "--json", *ids).out)

    assert [Task.model_validate(task).task_id for task in printed["tasks"]] == ids
    assert (printed["errors"], printed["account"]["host"].startswith("127.0.0.1")) == ([], True)


@pytest.mark.parametrize("ids", [["infer-gone"], ["infer-gone", "infer-ended00000001"]])
@pytest.mark.usefixtures("two")
def test_get_of_a_missing_id_as_json_has_its_error_beside_the_tasks(run: Run, ids: list[str]) -> None:
    code, out, err = run("get", "--json", *ids)

    printed = json.loads(out)
    assert (code, err, len(printed["tasks"])) == (1, "", len(ids) - 1)
    assert [(error["task_id"], error["error"]) for error in printed["errors"]] == [
        ("infer-gone", "TaskNotFoundError")
    ]


@pytest.mark.usefixtures("two")
def test_get_of_several_prints_those_there_are(run: Run) -> None:
    code, out, err = run("get", "infer-gone", "infer-ended00000001")

    assert (code, "task_id\tinfer-ended00000001" in out) == (1, True)
    assert err.startswith("Error: ")
    assert "infer-gone" in err


@pytest.mark.usefixtures("two")
def test_get_that_breaks_off_prints_what_it_has(run: Run, two: Sandbox) -> None:
    two.inject(Fault.status(403, code="IamSignatureInvalid"), task_id="infer-runs000000001", times=None)

    code, out, err = run("get", "infer-ended00000001", "infer-runs000000001")

    assert code != 0
    assert "infer-ended00000001" in out
    assert "Error: " in err


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "get", "infer-runs000000001"),
        ("get", "infer-runs000000001", "--json"),
        ("get", "infer-runs000000001", "-o", "json"),
    ],
)
def test_global_options_count_before_and_after_the_command(run: Run, arguments: tuple[str, ...]) -> None:
    assert json.loads(run(*arguments).out)["tasks"][0]["name"] == "translate-faq"


def test_models_prints_versions_with_the_id_for_create(run: Run) -> None:
    code, out, _ = run("models")

    assert code == 0
    assert "amv-sandboxtuned\tsandbox-tuned\tcustom\tam-sandboxtuned\tsandbox-tuned\n" in out


def test_models_as_json_prints_what_the_client_returns(run: Run) -> None:
    assert SupportedModels.model_validate_json(run("models", "--json").out).custom
