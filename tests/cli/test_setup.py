"""The commands around the tasks: configure, whoami, config, doctor, completion, demo, version and help."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import qf_tasks
from qf_tasks.__main__ import main
from qf_tasks.cli.commands import demo
from qf_tasks.cli.registry import build
from qf_tasks.doctor import Diagnosis
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import Run, RunOnTerminal

_COMMANDS = (
    *("create", "get", "list", "wait", "stop", "delete", "purge", "models"),
    *("upload", "results", "download"),
    *("configure", "whoami", "config", "doctor", "completion", "demo", "sandbox"),
)
_FILE = Path(".config/qf_tasks/config.toml")


def test_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version") == (0, f"qf-tasks {qf_tasks.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_lists_every_command(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)

    assert (code, err) == (0, "")
    assert [name for name in _COMMANDS if f"\n  {name} " not in out] == []


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_of_a_command_has_two_examples_and_no_python_types(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")

    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: qf-tasks {command} [OPTIONS]")
    examples = out[out.index("\nExamples:\n") :]
    assert examples.count("\n  qf-tasks ") + examples.count("\n  eval ") >= 2
    assert max(map(len, out.splitlines())) <= 100
    assert [text for text in ("<str>", "<bool>", "list[", "TEXT...", "INTEGER", "x>=") if text in out] == []


@pytest.mark.parametrize("alias", ["ls", "rm", "cancel", "describe"])
def test_an_alias_is_a_command_that_the_help_does_not_list(run: Run, alias: str) -> None:
    assert run(alias, "--help").code == 0
    assert f"\n  {alias} " not in run("--help").out


def test_no_option_takes_a_key() -> None:
    options = [
        option for command in build().commands.values() for param in command.params for option in param.opts
    ]

    named = [option for option in options if any(text in option for text in ("secret", "access", "token"))]
    assert named == []


def test_config_in_a_pipe_prints_settings_with_sources_and_every_place(
    run: Run, own_sandbox: Sandbox
) -> None:
    code, out, err = run("config")

    key, home = own_sandbox.access_key, Path.cwd()
    assert (code, err.startswith("Account: ")) == (0, True)
    assert f"access_key\t{key[:4]}…{key[-4:]}\tenvironment variable QIANFAN_ACCESS_KEY\n" in out
    assert "max_retries\t3\tdefault\n" in out
    assert f"settings file\tabsent\t{home}/config/qf_tasks.toml\n" in out
    assert own_sandbox.secret_key not in out


def test_config_at_80_cells_shows_values_and_whole_paths(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    code, _, written = run_on_terminal("config")

    key = own_sandbox.access_key
    assert code == 0
    assert f"{key[:4]}…{key[-4:]}" in written
    assert "\r\n                    from environment variable QIANFAN_CONSOLE_API_BASE_URL\r\n" in written
    assert f"absent      {Path.cwd()}/config/qf_tasks.toml" in written  # not broken, wherever it wraps
    assert "in effect: access_key, secret_key, base_url" in written


def test_config_as_json_has_account_settings_and_sources(run: Run) -> None:
    printed = json.loads(run("config", "--json").out)

    assert printed["error"] is None
    assert {"setting": "max_retries", "value": 3, "source": "default"} in printed["settings"]
    assert [source["name"] for source in printed["sources"]][:2] == ["keyword arguments", "environment"]


def test_config_with_half_a_pair_ends_with_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QIANFAN_SECRET_KEY")

    code, out, err = run("config")

    assert (code, "environment\t" in out) == (2, True)
    assert "Error: " in err
    assert "QIANFAN_SECRET_KEY" in err


def test_config_with_a_mistyped_profile_names_the_nearest_and_ends_with_2(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[profiles.production]\n", "utf-8")

    code, out, err = run("config", "--config", str(file), "--profile", "prodution")

    assert code == 2
    assert "did you mean production?" in out + err


def test_config_shows_no_key_of_a_profile(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[profiles.test]\naccess_key = "canary-canary"\nsecret_key = "canary-canary"\n', "utf-8")
    file.chmod(0o600)

    code, out, err = run("--config", str(file), "config", "--profile", "test")

    assert (code, "canary-canary" in out + err) == (0, False)


def test_config_example_prints_the_file_that_is_shipped(run: Run) -> None:
    code, out, err = run("config", "--example")

    assert (code, err) == (0, "")
    assert '# secret_key = "your_iam_sk"\n' in out


def test_config_example_is_found_in_a_wheel_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qf_tasks.example.toml").write_text("# as installed\n", "utf-8")
    monkeypatch.setattr("importlib.resources.files", lambda _package: tmp_path)

    assert run("config", "--example").out == "# as installed\n"


def test_whoami_shows_the_account_and_that_its_keys_are_accepted(run: Run, own_sandbox: Sandbox) -> None:
    code, out, err = run("whoami")

    key = own_sandbox.access_key
    assert (code, err, len(own_sandbox.requests)) == (0, "", 1)
    assert out.startswith(f"access_key\t{key[:4]}…{key[-4:]}\nhost\t127.0.0.1:")
    assert "\naccepted\tyes\n" in out


def test_whoami_offline_sends_no_request(run: Run, own_sandbox: Sandbox) -> None:
    code, out, _ = run("whoami", "--offline", "--json")

    assert (code, own_sandbox.requests, json.loads(out)["accepted"]) == (0, [], None)


@pytest.fixture
def configure(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> RunOnTerminal:
    """Return what runs `configure`; the secret key is typed where it cannot be seen."""
    monkeypatch.delenv("QIANFAN_ACCESS_KEY")
    monkeypatch.delenv("QIANFAN_SECRET_KEY")
    monkeypatch.setattr("getpass.getpass", lambda _question: own_sandbox.secret_key)
    return lambda *arguments, typed=f"{own_sandbox.access_key}\n": run_on_terminal(
        "configure", "--base-url", own_sandbox.url, *arguments, typed=typed, width=200
    )


def test_configure_writes_checked_keys_that_the_owner_alone_can_read(
    configure: RunOnTerminal, run: Run, own_sandbox: Sandbox
) -> None:
    code, screen, written = configure()

    assert (code, len(own_sandbox.requests), _FILE.stat().st_mode & 0o777) == (0, 1, 0o600)
    assert screen[-1].endswith(
        f"Wrote the default keys to {_FILE.absolute()}; account " + _account(own_sandbox)
    )
    assert own_sandbox.secret_key not in written
    assert run("whoami").code == 0


def _account(sandbox: Sandbox) -> str:
    return f"{sandbox.access_key[:4]}…{sandbox.access_key[-4:]} at 127.0.0.1:{sandbox.port}"


def test_configure_of_a_profile_keeps_the_rest_of_the_file(configure: RunOnTerminal, run: Run) -> None:
    _FILE.parent.mkdir(parents=True)
    before = "# mine\nmax_retries = 1\n\n[profiles.other]  # theirs\nmax_retries = 2\n"
    _FILE.write_text(before, "utf-8")

    code, _, _ = configure("--profile", "test")

    after = _FILE.read_text("utf-8")
    assert (code, after.startswith(before)) == (0, True)
    assert "\n[profiles.test]\naccess_key = " in after
    assert run("whoami", "--profile", "test").code == 0


@pytest.mark.parametrize(("answer", "replaced"), [("y\n", True), ("n\n", False)])
def test_configure_asks_before_it_replaces_keys(
    configure: RunOnTerminal, own_sandbox: Sandbox, answer: str, *, replaced: bool
) -> None:
    _FILE.parent.mkdir(parents=True)
    _FILE.write_text('[profiles.test]\naccess_key = "old"\nsecret_key = "old"\nmax_retries = 1\n', "utf-8")

    code, _, _ = configure("--profile", "test", typed=f"{answer}{own_sandbox.access_key}\n")

    after = _FILE.read_text("utf-8")
    assert (code, '"old"' not in after, "max_retries = 1\n" in after) == (
        0 if replaced else 1,
        replaced,
        True,
    )


def test_configure_with_rejected_keys_writes_nothing(configure: RunOnTerminal) -> None:
    code, _, _ = configure(typed="not-the-access-key\n")

    assert (code, _FILE.exists()) == (2, False)


def test_configure_without_check_sends_no_request(configure: RunOnTerminal, own_sandbox: Sandbox) -> None:
    code, _, _ = configure("--no-check")

    assert (code, own_sandbox.requests, _FILE.exists()) == (0, [], True)


@pytest.mark.parametrize("content", ["[profiles", 'profiles = { test = { access_key = "a" } }\n'])
def test_configure_of_a_file_that_it_cannot_change_safely_leaves_it_alone(
    configure: RunOnTerminal, content: str
) -> None:
    _FILE.parent.mkdir(parents=True)
    _FILE.write_text(content, "utf-8")

    code, _, _ = configure("--profile", "test", "--force")

    assert (code, _FILE.read_text("utf-8")) == (2, content)


def test_configure_without_a_terminal_is_refused(run: Run) -> None:
    code, _, err = run("configure", typed="a\nb\n")

    assert code == 2
    assert "needs a terminal" in err


def test_configure_does_not_echo_the_secret_key(sandbox: Sandbox) -> None:
    """Type the keys into a process that owns its terminal, as a shell would start it."""
    process, controller = pty.fork()
    if process == 0:
        arguments = ["configure", "--base-url", sandbox.url]
        os.execv(sys.executable, [sys.executable, "-m", "qf_tasks", *arguments])  # noqa: S606
    shown = b""
    for question, answer in ((b"Access key:", sandbox.access_key), (b"(not shown):", sandbox.secret_key)):
        while question not in shown:
            shown += os.read(controller, 4096)
        os.write(controller, f"{answer}\n".encode())
    while b"Wrote the default keys" not in shown:
        shown += os.read(controller, 4096)
    _, status = os.waitpid(process, 0)
    os.close(controller)

    assert (status, sandbox.access_key.encode() in shown) == (0, True)
    assert sandbox.secret_key.encode() not in shown


def test_doctor_prints_each_check(run: Run) -> None:
    code, out, err = run("doctor")

    assert (code, err) == (0, "")
    assert out.startswith("settings\tok\t")
    assert "\nread\tok\t" in out


def test_doctor_with_a_bucket_checks_it_and_leaves_nothing_in_it(run: Run, own_sandbox: Sandbox) -> None:
    code, out, _ = run("doctor", "--bos-uri", "bos:/my-bucket/in/")

    names = [line.split("\t")[:2] for line in out.splitlines()[-4:]]
    assert (code, own_sandbox.objects) == (0, {})
    assert names == [[name, "ok"] for name in ("bucket", "bucket region", "bucket read", "bucket write")]


def test_doctor_as_json_prints_the_diagnosis(run: Run) -> None:
    assert Diagnosis.model_validate_json(run("doctor", "--json").out).ok


def test_doctor_with_rejected_keys_ends_with_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    code, out, _ = run("doctor")

    assert (code, "\nread\tfailed\t" in out) == (2, True)


def test_doctor_without_keys_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out.startswith("settings\tfailed\t")


def test_doctor_without_a_service_ends_with_3(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.stop()

    assert run("doctor").code == 3


def test_doctor_on_a_terminal_prints_what_to_do_below_the_table(
    run_on_terminal: RunOnTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "not-this-one")

    code, screen, _ = run_on_terminal("doctor")

    assert (code, screen[0].split()) == (2, ["NAME", "OUTCOME", "MESSAGE"])
    assert any(line.startswith("Hint (read): ") for line in screen)


def test_demo_shows_the_whole_pipeline_and_a_rejection_without_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "of no file")
    monkeypatch.setattr(demo, "_SPEED", 1000)
    monkeypatch.setattr(demo, "_POLL_INTERVAL", 0.1)

    code = main(["demo"])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    shown = [
        "10 records, ",
        "infer-",
        "Done, 10 records done",
        "You asked: How long is the ",
        "... and 7 more",
    ]
    shown += ["task: deleted; data: 2 files", "TaskNotFoundError: ", "hint: "]
    places = [printed.out.index(text) for text in shown]
    assert places == sorted(places)
    assert max(map(len, printed.out.splitlines())) <= 80


def _completed(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """Return what a shell is offered for the last argument."""
    monkeypatch.setenv("_QF_TASKS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", arguments)
    monkeypatch.setenv("COMP_CWORD", str(len(arguments.split(" ")) - 1))
    with pytest.raises(SystemExit):
        main([])
    return capsys.readouterr().out.split()


def test_completion_offers_commands_options_states_columns_and_profiles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _FILE.parent.mkdir(parents=True)
    _FILE.write_text("[profiles.test]\n[profiles.production]\n", "utf-8")

    assert _completed("qf-tasks w", monkeypatch, capsys) == ["wait", "whoami"]
    assert _completed("qf-tasks list --sta", monkeypatch, capsys) == ["--status"]
    assert _completed("qf-tasks list --status Done,E", monkeypatch, capsys) == ["Done,Expired"]
    assert _completed("qf-tasks list --columns age,ta", monkeypatch, capsys) == ["age,task_id"]
    assert _completed("qf-tasks list --profile te", monkeypatch, capsys) == ["test"]


def test_completion_offers_the_ids_seen_last_but_not_those_deleted(
    run: Run, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.add_task("infer-b")
    run("list")
    run("delete", "infer-b")

    assert _completed("qf-tasks get inf", monkeypatch, capsys) == ["infer-a"]
    assert Path(".cache/qf_tasks/task-ids").read_text("utf-8") == "infer-a\n"


def test_a_cache_that_cannot_be_written_fails_no_command(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")
    Path(".cache").write_text("a file where a directory should be", "utf-8")

    assert run("list", "-q") == (0, "infer-a\n", "")


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --")]
)
def test_completion_prints_a_script_for_each_shell(run: Run, shell: str, mark: str) -> None:
    code, out, err = run("completion", shell)

    assert (code, err) == (0, "")
    assert mark in out


def test_completion_script_for_bash_is_valid(run: Run) -> None:
    script = run("completion", "bash").out

    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0  # noqa: S607


@pytest.mark.parametrize(
    ("command", "option"), [("demo", "--profile"), ("sandbox", "--config"), ("sandbox", "--env-file")]
)
def test_a_sandbox_refuses_options_on_settings(run: Run, command: str, option: str) -> None:
    code, _, err = run(option, "x", command)

    assert code == 2
    assert f"{option}: the sandbox has keys of its own" in err


def test_retries_of_a_command_that_succeeds_are_counted_and_not_printed(
    run_on_terminal: RunOnTerminal, own_sandbox: Sandbox
) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.inject(Fault.status(503), times=2)

    code, screen, _ = run_on_terminal("delete", "infer-a", width=120)

    assert code == 0
    assert screen[2].startswith("1 deleted, 2 retries; account ")
    assert not any("Warning" in line for line in screen)


def test_retries_with_debug_are_printed(run: Run, own_sandbox: Sandbox) -> None:
    own_sandbox.add_task("infer-a")
    own_sandbox.inject(Fault.status(503), times=2)

    assert run("delete", "infer-a", "--debug").err.count("Warning: ") == 2
