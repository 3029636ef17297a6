"""The commands around the tasks: config, doctor, demo, sandbox, version and help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import qf_tasks
from qf_tasks import QfTasksError, Settings, TaskClient
from qf_tasks.__main__ import main
from qf_tasks.doctor import Diagnosis
from qf_tasks.sandbox import Sandbox

from .conftest import Run

_COMMANDS = (
    *("create", "get", "list", "stop", "delete", "wait", "purge", "models"),
    *("doctor", "config", "demo", "sandbox"),
)


def test_version_is_the_package_s(run: Run) -> None:
    assert run("--version") == (0, f"qf-tasks {qf_tasks.__version__}\n", "")


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_help_lists_every_command(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)

    assert (code, err) == (0, "")
    assert [name for name in _COMMANDS if f"│ {name} " not in out] == []


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_of_a_command_fits_80_cells(run: Run, command: str) -> None:
    code, out, err = run(command, "-h")

    assert (code, err) == (0, "")
    assert f"Usage: qf-tasks {command} [OPTIONS]" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out.replace("infer-…", "").replace("amv-…", "")


def test_config_prints_every_place_looked_at(run: Run, tmp_path: Path) -> None:
    code, out, err = run("config")

    home = tmp_path / "home"
    assert (code, err) == (0, "")
    assert out == (
        "keyword arguments\tempty\n"
        "environment\tused\t\taccess_key, secret_key, base_url\n"
        f".env\tabsent\t{home}/.env\n"
        f"settings file\tabsent\t{home}/config/qf_tasks.toml\n"
        f"settings file\tabsent\t{home}/.config/qf_tasks/config.toml\n"
    )


def test_config_prints_profiles_but_no_key(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[profiles.test]\naccess_key = "canary"\nsecret_key = "canary"\n', "utf-8")
    file.chmod(0o600)

    code, out, err = run("--config", str(file), "config", "--profile", "test")

    assert code == 0
    assert f"settings file\tused\t{file}\taccess_key, secret_key\ttest\n" in out
    assert "canary" not in out + err


def test_config_with_a_mistyped_profile_says_so_and_ends_with_2(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[profiles.production]\n", "utf-8")

    code, out, _ = run("config", "--config", str(file), "--profile", "prodution")

    assert code == 2
    assert "did you mean production?" in out


def test_config_on_a_terminal_tells_notes_in_full_below_the_table(run_on_screen: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[profiles.production]\n", "utf-8")

    code, out, err = run_on_screen("config", "--config", str(file), "--profile", "prodution", width=80)

    assert (code, "NOTE" in out) == (2, False)
    assert err.startswith(f"{file}: ")
    assert "did you mean production?" in err


def test_config_example_prints_the_file_that_is_shipped(run: Run) -> None:
    code, out, err = run("config", "--example")

    assert (code, err) == (0, "")
    assert out.startswith("# Settings of qf_tasks.")
    assert '# secret_key = "your_iam_sk"\n' in out


def test_config_example_is_found_in_a_wheel_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qf_tasks.example.toml").write_text("# as installed\n", "utf-8")
    monkeypatch.setattr("importlib.resources.files", lambda _package: tmp_path)

    assert run("config", "--example").out == "# as installed\n"


def test_doctor_prints_each_check(run: Run) -> None:
    code, out, err = run("doctor")

    assert (code, err) == (0, "")
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        *("settings", "name", "connection", "tls", "answer", "clock", "read"),
    ]


def test_doctor_as_json_prints_the_diagnosis(run: Run) -> None:
    assert Diagnosis.model_validate_json(run("doctor", "--json").out).ok


def test_doctor_with_refused_keys_ends_with_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    code, out, _ = run("doctor")

    assert code == 2
    assert "\nread\tfailed\t" in out


def test_doctor_without_keys_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out.startswith("settings\tfailed\t")


def test_doctor_without_a_service_ends_with_3(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.stop()

    code, out, _ = run("doctor")

    assert code == 3
    assert "\nconnection\tfailed\t" in out


def test_demo_shows_a_delete_and_three_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["demo"])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    told = ["DeleteResult: deleted", "TaskStateError: ", "TaskNotFoundError: ", "AuthenticationError: "]
    places = [printed.out.index(f"\n    {it}") for it in told]
    assert places == sorted(places)
    assert printed.out.count("\n    request id: ") == 4
    assert printed.out.count("\n    hint: ") == 3
    assert "\n    qf-tasks delete TASK_ID " in printed.out


def test_demo_fits_80_cells_and_needs_no_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "of no file")

    code = main(["demo"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []


def test_demo_as_json_prints_calls_and_what_came_back(run: Run) -> None:
    steps = json.loads(run("demo", "--json").out)

    assert steps[0]["result"]["outcome"] == "deleted"
    assert [step["error"]["exit_code"] for step in steps[1:]] == [1, 1, 2]


def test_sandbox_with_faults_lets_requests_go_wrong(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[QfTasksError] = []

    def use(_seconds: float) -> None:
        given = json.loads(capsys.readouterr().out)
        settings = Settings(
            access_key=given["QIANFAN_ACCESS_KEY"],
            secret_key=given["QIANFAN_SECRET_KEY"],
            base_url=given["QIANFAN_CONSOLE_API_BASE_URL"],
            max_retries=0,
        )
        with TaskClient(settings) as client, pytest.raises(QfTasksError) as caught:
            client.models()
        failures.append(caught.value)
        raise KeyboardInterrupt

    monkeypatch.setattr("qf_tasks.cli.sandbox.time.sleep", use)

    assert run("sandbox", "--json", "--faults", "1").code == 130
    assert [failure.retryable for failure in failures] == [True]


def test_sandbox_on_a_port_that_is_taken_says_so(run: Run, own_sandbox: Sandbox) -> None:
    code, out, err = run("sandbox", "--port", str(own_sandbox.port))

    assert (code, out) == (1, "")
    assert "Address already in use" in err


def test_doctor_on_a_terminal_tells_what_to_do_below_the_table(
    run_on_screen: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    code, out, err = run_on_screen("doctor")

    assert code == 2
    assert out.startswith("NAME        OUTCOME  MESSAGE\n")
    assert err.startswith("Hint (read): ")
