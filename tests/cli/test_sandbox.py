"""The command that serves the sandbox: variables, request log, delay, fixed key, and its end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import QfTasksError, Settings, TaskClient
from qf_tasks.sandbox import Sandbox

from .conftest import Ran

Serve = Callable[..., Ran]


@pytest.fixture
def serve(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return what serves a sandbox, uses it as `use` says, and sends a signal."""
    from qf_tasks.__main__ import main

    def serve(*arguments: str, use: Callable[[TaskClient], object], number: int = signal.SIGINT) -> Ran:
        printed = ["", ""]
        pauses = iter(range(10))

        def pause(_seconds: float) -> None:
            out, err = capsys.readouterr()
            printed[0] += out
            printed[1] += err
            if next(pauses) == 0:
                variables = dict(line.split()[1].split("=", 1) for line in out.splitlines())
                with _client(variables) as client:
                    use(client)
            else:  # what was used has been logged
                os.kill(os.getpid(), number)

        monkeypatch.setattr("qf_tasks.cli.commands.sandbox.time.sleep", pause)
        code = main(["sandbox", *arguments])
        return Ran(code, printed[0], printed[1] + capsys.readouterr().err)

    return serve


def _client(variables: dict[str, str]) -> TaskClient:
    return TaskClient(
        Settings(
            access_key=variables["QIANFAN_ACCESS_KEY"],
            secret_key=variables["QIANFAN_SECRET_KEY"],
            base_url=variables["QIANFAN_CONSOLE_API_BASE_URL"],
            max_retries=0,
        )
    )


def test_sandbox_serves_tasks_in_all_states_until_ctrl_c_which_is_exit_code_0(serve: Serve) -> None:
    states: list[Any] = []

    code, _, err = serve(
        "--tasks",
        "7",
        "--speed",
        "0",
        use=lambda client: states.extend(task.run_status for task in client.list(newest_first=False)),
    )

    assert states == ["Done", "Running", "Failed", "Queuing", "Stopped", "Expired", "Done"]
    assert (code, err.splitlines()[-1]) == (0, "Stopped.")


def test_sandbox_ended_by_sigterm_says_so_in_its_exit_code(serve: Serve) -> None:
    assert serve(use=lambda client: client.models(), number=signal.SIGTERM).code == 143


def test_sandbox_logs_each_request(serve: Serve) -> None:
    def use(client: TaskClient) -> None:
        client.models()
        with pytest.raises(QfTasksError):
            client.get("infer-gone")

    *_, first, second, _ = serve(use=use).err.splitlines()

    assert first.split()[1:] == ["200", "DescribeBatchInferenceModel"]
    assert second.split()[1:] == ["404", "DescribeBatchInferenceTask", "infer-gone", "TaskNotFound"]


def test_sandbox_writes_its_variables_to_a_file_that_the_owner_alone_can_read(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "sandbox.env"

    printed = serve("--env-file", str(path), use=lambda client: client.models()).out

    assert path.read_text("utf-8") == printed.replace("export ", "")
    assert path.stat().st_mode & 0o777 == 0o600


def test_sandbox_with_a_fixed_key_has_the_same_keys_at_every_start(serve: Serve) -> None:
    first, second = (serve("--fixed-key", use=lambda client: client.models()).out for _ in range(2))

    assert first.splitlines()[:2] == second.splitlines()[:2]


def test_sandbox_with_a_delay_takes_that_long_for_each_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    make = Sandbox.__init__

    def made(sandbox: Sandbox, **options: Any) -> None:
        given.append(options["service_time"])
        make(sandbox, **{**options, "service_time": 0.0})

    monkeypatch.setattr(Sandbox, "__init__", made)

    serve("--delay", "1.5s", use=lambda client: client.models())

    assert given == [1.5]


def test_sandbox_with_many_tasks_leaves_slots_free(serve: Serve) -> None:
    active: list[Any] = []

    serve(
        *("--tasks", "100", "--speed", "0"),
        use=lambda client: active.extend(client.list(run_status=["Running", "Queuing"])),
    )

    assert 0 < len(active) <= 10


def test_sandbox_with_faults_lets_requests_fail(serve: Serve) -> None:
    def use(client: TaskClient) -> None:
        with pytest.raises(QfTasksError) as failure:
            client.models()
        assert failure.value.retryable

    assert serve("--faults", "1", use=use).code == 0


def test_sandbox_as_json_prints_one_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qf_tasks.__main__ import main

    monkeypatch.setattr(
        "qf_tasks.cli.commands.sandbox.time.sleep", lambda _: signal.raise_signal(signal.SIGINT)
    )

    assert main(["sandbox", "--json"]) == 0
    assert "QIANFAN_SECRET_KEY" in json.loads(capsys.readouterr().out)


def test_sandbox_on_a_port_that_is_taken_says_so(
    capsys: pytest.CaptureFixture[str], sandbox: Sandbox
) -> None:
    from qf_tasks.__main__ import main

    assert main(["sandbox", "--port", str(sandbox.port)]) == 1
    assert "Address already in use" in capsys.readouterr().err
