"""One run of the command line, from its arguments to an exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence

from qf_tasks.cli import log, signals

# The order in which the help lists the commands.
from qf_tasks.cli.commands import create, data, demo, end, jobs, purge, read, sandbox, setup, wait
from qf_tasks.cli.errors import reported
from qf_tasks.cli.output import Terminal, prepare_streams
from qf_tasks.cli.registry import PROGRAM, build

__all__ = ["create", "data", "demo", "end", "jobs", "purge", "read", "run", "sandbox", "setup", "wait"]


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    prepare_streams()
    command = build()
    if setup.COMPLETE_VARIABLE in os.environ:
        command.main([], PROGRAM, complete_var=setup.COMPLETE_VARIABLE)
    # Also for arguments that cannot be parsed
    terminal = Terminal(as_json="--json" in argv, debug="--debug" in argv)
    with signals.as_interrupts(terminal), log.followed(terminal):
        with (
            reported(terminal),
            command.make_context(PROGRAM, list(argv) or ["--help"], obj=terminal) as context,
        ):
            command.invoke(context)
        with reported(terminal):  # what is still in the buffer may meet a closed pipe
            terminal.out.file.flush()
    return terminal.exit_code
