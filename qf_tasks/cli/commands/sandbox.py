"""The command that serves the sandbox, for clients in any language."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qf_tasks.cli import options
from qf_tasks.cli.options import flag, option
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
from qf_tasks.durations import parse_duration

if TYPE_CHECKING:
    from qf_tasks.sandbox import Sandbox

_STATES = ("Done", "Running", "Failed", "Queuing", "Stopped", "Expired")
_ACTIVE = ("Running", "Queuing")
_MAX_ACTIVE = 10  # half of what an account may have, so that tasks can be created
_MINUTES_APART = 90
_LOG_INTERVAL = 0.2  # seconds
_SEED = 1  # the same faults in each run
_FIXED_ACCESS_KEY = "sandbox-access-key-0000000000001"
_FIXED_SECRET_KEY = "sandbox-secret-key-0000000000001"  # noqa: S105


@command(
    "sandbox",
    examples=(
        "qf-tasks sandbox --port 8080 --fixed-key --env-file .env",
        "qf-tasks sandbox --tasks 100 --delay 0.2s --faults 0.1",
    ),
    ids=False,
    settings=False,
)
def sandbox(
    terminal: Terminal,
    *,
    port: Annotated[int, option("N", "The port; 0 chooses a free one.", min=0, max=65_535)] = 0,
    speed: Annotated[float, option("X", "The clock runs at X times real time; 0 stops it.", min=0)] = 1,
    tasks: Annotated[int, option("N", "Start with N tasks, in all states.", min=0)] = 10,
    faults: Annotated[float, option("RATE", "The share of requests that fail.", min=0, max=1)] = 0,
    delay: Annotated[str, options.duration("How long each request takes.")] = "0s",
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="PATH", file_okay=False, help="Keep objects here, as PATH/<bucket>/<key>."
        ),
    ] = None,
    fixed_key: Annotated[bool, flag("--fixed-key", "Use the same made-up key pair at every start.")] = False,
    env_file: Annotated[Path | None, option("FILE", "Write the variables to a .env file, too.")] = None,
) -> None:
    """Serve a local copy of the service until Ctrl-C.

    It prints the variables that point a client in any language to it, checks signatures, keeps tasks and
    objects in memory, and logs each request. At --speed 1 a task that is created queues for 10 seconds and
    runs for 60; if its records are in the sandbox's object storage (BOS), it has results then.
    """
    from qf_tasks.sandbox import Sandbox

    reject_settings(terminal)
    with Sandbox(
        port=port,
        speed=speed,
        service_time=parse_duration(delay) or 0,
        directory=directory,
        access_key=_FIXED_ACCESS_KEY if fixed_key else None,
        secret_key=_FIXED_SECRET_KEY if fixed_key else None,
    ) as running:
        _add_tasks(running, tasks)
        _add_faults(running, faults)
        variables = running.env()
        if env_file:
            env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()), "utf-8")
            env_file.chmod(0o600)
        terminal.note(f"Serving {tasks} tasks on {running.url}; Ctrl-C ends it. For another terminal:")
        if terminal.as_json:
            terminal.show_json(variables)
        else:
            for name, value in variables.items():
                terminal.show_text(f"export {name}={value}")
        terminal.out.file.flush()
        try:
            _log_requests(terminal, running)
        except KeyboardInterrupt:
            if terminal.signal != signal.SIGINT:  # SIGTERM and SIGHUP have their exit codes
                raise
            terminal.note("Stopped.")


def reject_settings(terminal: Terminal) -> None:
    """Reject options on settings that were given before the command, which has no use for them."""
    for name in terminal.settings:
        given = "--config" if name == "config_file" else f"--{name.replace('_', '-')}"
        raise typer.BadParameter("the sandbox has keys of its own", param_hint=given)


def _add_tasks(running: Sandbox, count: int) -> None:
    """Add tasks, the newest last; those that are active end in time, by the sandbox's clock."""
    active = 0
    for index in range(count):
        state = _STATES[index % len(_STATES)]
        is_active = state in _ACTIVE and active < _MAX_ACTIVE
        active += is_active
        age = timedelta(minutes=_MINUTES_APART * (count - index))
        running.add_task(
            run_status=state if is_active or state not in _ACTIVE else "Done",
            create_time=running.now - age,
            finish_time=running.now - age / 2,
            ends_after=60.0 * (1 + index) if is_active else None,
        )


def _add_faults(running: Sandbox, rate: float) -> None:
    from qf_tasks.sandbox import Fault

    faults = [Fault.status(503), Fault.status(429, retry_after=1), Fault.reset_before(), Fault.reset_after()]
    running.inject_random(rate, faults, seed=_SEED)


def _log_requests(terminal: Terminal, running: Sandbox) -> None:
    """Print each request when it has been answered, until a signal comes."""
    seen: list[Any] = []
    while True:
        requests = running.requests
        # The oldest are dropped some time, so count from the last one that was printed.
        start = requests.index(seen[-1]) + 1 if seen and seen[-1] in requests else 0
        for request in requests[start:]:
            moment = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
            status = "cut off" if request.status is None else request.status
            task_id = request.params.get("taskId", "") if isinstance(request.params, dict) else ""
            reason = f"  {request.refused}" if request.refused else ""
            terminal.note(f"{moment}  {status}  {request.action or request.path}  {task_id}{reason}".rstrip())
        seen = requests
        time.sleep(_LOG_INTERVAL)
