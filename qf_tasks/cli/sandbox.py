"""The command that serves the sandbox, for clients of any language."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from qf_tasks.cli._terminal import Terminal

if TYPE_CHECKING:
    from qf_tasks.sandbox import Sandbox

_STATES = ("Done", "Running", "Failed", "Queuing", "Stopped", "Expired")
_MINUTES_APART = 90
_A_WHILE = 1.0  # a signal that comes just before a pause is seen after it
_SEED = 1  # the same faults in each run


def sandbox(
    terminal: Terminal,
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="N", help="0 takes a free one.")] = 0,
    speed: Annotated[
        float, typer.Option(min=0, metavar="X", help="Seconds of its clock in a real one; 0: it stands.")
    ] = 1,
    tasks: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many tasks it starts with, in all states.")
    ] = 10,
    faults: Annotated[
        float, typer.Option(min=0, max=1, metavar="RATE", help="Share of requests that go wrong.")
    ] = 0,
) -> None:
    """Serve a stand-in for the service on this machine, until Ctrl-C.

    It prints the variables that point a client of any language there, checks signatures, and keeps its tasks
    in memory. At --speed 1 a task that is created queues for 10 seconds and runs for 60.
    """
    from qf_tasks.sandbox import Sandbox

    with Sandbox(port=port, speed=speed) as running:
        _add_tasks(running, tasks)
        _add_faults(running, faults)
        terminal.note(f"Serving {tasks} tasks on {running.url}; Ctrl-C ends it. For another terminal:")
        if terminal.as_json:
            terminal.show_json(running.env())
        else:
            for name, value in running.env().items():
                terminal.out.print(f"export {name}={value}", soft_wrap=True)
        terminal.out.file.flush()
        while True:
            time.sleep(_A_WHILE)


def _add_tasks(running: Sandbox, count: int) -> None:
    """Put tasks in, the newest last; those that have not ended will, by the sandbox's clock."""
    for at in range(count):
        state = _STATES[at % len(_STATES)]
        age = timedelta(minutes=_MINUTES_APART * (count - at))
        running.add_task(
            run_status=state,
            create_time=running.now - age,
            finish_time=running.now - age / 2,
            ends_after=60.0 * (1 + at) if state in ("Running", "Queuing") else None,
        )


def _add_faults(running: Sandbox, rate: float) -> None:
    from qf_tasks.sandbox import Fault

    faults = [Fault.status(503), Fault.status(429, retry_after=1), Fault.reset_before(), Fault.reset_after()]
    running.inject_random(rate, faults, seed=_SEED)
