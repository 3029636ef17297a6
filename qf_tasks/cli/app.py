"""The command line as a whole: its commands in their order, and one run from words to an exit code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from typer.main import get_command

import qf_tasks
from qf_tasks.cli import _signals, config, demo, ending, purge, sandbox, tasks
from qf_tasks.cli._errors import EXIT_CODES, USAGE, Reporting, UsageError, tell_usage
from qf_tasks.cli._options import with_shared_options
from qf_tasks.cli._terminal import Terminal, prepare_streams

_PROGRAM = "qf-tasks"
_ON_TASKS: tuple[Callable[..., None], ...] = (
    tasks.create,
    tasks.get,
    tasks.list_,
    ending.stop,
    ending.delete,
    tasks.wait,
    purge.purge,
    tasks.models,
)
_AROUND: tuple[Callable[..., None], ...] = (config.doctor, config.config, demo.demo, sandbox.sandbox)

app: typer.Typer = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{_PROGRAM} {qf_tasks.__version__}")
        raise typer.Exit


def root(
    _terminal: Terminal,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Batch inference tasks (批量推理任务) on Baidu's Qianfan.

    Lengths of time are seconds, or have a unit: 90, 90s, 5m, 2h, 30d, 1w. An age always has one.
    """


app.callback()(with_shared_options(root))
for _command in _ON_TASKS:
    app.command(_command.__name__.rstrip("_"), rich_help_panel="Tasks")(
        with_shared_options(_command, ids=True)
    )
for _command in _AROUND:
    app.command(_command.__name__, rich_help_panel="Set up and try")(with_shared_options(_command))


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    prepare_streams()
    terminal = Terminal(as_json="--json" in argv, debug="--debug" in argv)
    with _signals.as_interrupts(terminal), _log_told(terminal):
        try:
            code = get_command(app).main(
                list(argv) or ["--help"], _PROGRAM, standalone_mode=False, obj=terminal
            )
        except Exception as error:
            if not isinstance(error, UsageError):
                raise
            path = getattr(getattr(error, "ctx", None), "command_path", _PROGRAM)
            tell_usage(terminal, error.format_message(), f"{path} --help")
            return USAGE
        with Reporting(terminal):  # what is still to be written may meet a closed pipe
            terminal.out.file.flush()
    return code or terminal.exit_code


class _Told(logging.Handler):
    """Tells log records on stderr, above what is drawn there."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.DEBUG if terminal.debug else logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.note(f"{record.levelname.capitalize()}: {record.getMessage()}")


@contextmanager
def _log_told(terminal: Terminal) -> Iterator[None]:
    logger, handler = logging.getLogger("qf_tasks"), _Told(terminal)
    level = logger.level
    logger.addHandler(handler)
    if terminal.debug:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
