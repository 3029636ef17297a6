"""Options that several commands share, and texts from the command line as values."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from qf_tasks.cli._errors import Reporting
from qf_tasks.cli._terminal import Terminal

TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="The task's id, infer-….")]
TaskIds = Annotated[list[str], typer.Argument(metavar="TASK_ID", help="One or several ids.")]
RunStatuses = Annotated[
    list[str] | None,
    typer.Option(metavar="STATE", help="Only in these states: Done,Failed; any case; may be repeated."),
]
NamePattern = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="Only where the whole name fits: 'nightly-*'.")
]
OlderThan = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Only if created and ended longer ago: 12h, 30d; never without a unit."),
]
MaxWorkers = Annotated[int, typer.Option(metavar="N", help="Requests at a time.")]
Journal = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep each task there before it goes; a rerun goes on.")
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can be asked, as with --json.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the tasks; delete nothing.")]
MOST_TASKS = 1000
MaxTasks = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help=f"Refuse more tasks than this; {MOST_TASKS} if not given."),
]
StopFirst = Annotated[bool, typer.Option("--stop-first", help="Stop a task that has not ended, and wait.")]
StopTimeout = Annotated[str, typer.Option(metavar="TIME", help="How long to wait for that: 90, 5m; or none.")]

_PANEL = "Options of all commands"


def _shared(
    *,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A profile of the settings file.", rich_help_panel=_PANEL),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A settings file to read.", rich_help_panel=_PANEL)
    ] = None,
    env_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .env file to read.", rich_help_panel=_PANEL)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Results and errors as JSON.", rich_help_panel=_PANEL)
    ] = False,
    ids: Annotated[
        bool, typer.Option("--ids", "-q", help="Results as bare ids.", rich_help_panel=_PANEL)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log every request; errors in full.", rich_help_panel=_PANEL)
    ] = False,
) -> dict[str, Any]:
    """Return what was given, by the terminal's names for it."""
    given = {
        "profile": profile,
        "config_file": config,
        "env_file": env_file,
        "as_json": as_json,
        "ids_only": ids,
        "debug": debug,
    }
    return {name: value for name, value in given.items() if value}


def with_shared_options(function: Callable[..., None], *, ids: bool = False) -> Callable[..., None]:
    """Return a command that also takes the options above, and whose errors are told.

    They count wherever they stand, before the command or after it: both fill the one terminal of the run.
    `--ids` is only for commands that have some.
    """
    own = _parameters(function)[1:]
    shared = [it for it in _parameters(_shared) if ids or it.name != "ids"]
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    @functools.wraps(function)
    def command(*, context: typer.Context, **given: Any) -> None:
        terminal = context.ensure_object(Terminal)
        for name, value in _shared(**{it.name: given.pop(it.name) for it in shared}).items():
            setattr(terminal, name, value)
        with Reporting(terminal):
            function(terminal, **given)

    signature = inspect.Signature([context, *own, *shared])
    annotations = {it.name: it.annotation for it in signature.parameters.values()}
    vars(command).update(__signature__=signature, __annotations__=annotations)
    command.__doc__ = _unwrapped(inspect.getdoc(function) or "")
    return command


def _unwrapped(text: str) -> str:
    """Return a text with each paragraph on one line, for the terminal to wrap."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [
        it.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for it in inspect.signature(function, eval_str=True).parameters.values()
    ]


def listed(entries: Iterable[str] | None, option: str) -> list[str] | None:
    """Return the words of an option that may be repeated, or hold several between commas.

    None given is None; an option that is there but names nothing, as with a variable that is not set, is no
    leave to take all.
    """
    if entries is None:
        return None
    words = [word for entry in entries for word in entry.split(",") if word.strip()]
    if not words:
        raise typer.BadParameter("it names nothing; is a variable not set?", param_hint=option)
    return words


def pairs(entries: Iterable[str] | None, option: str) -> dict[str, Any] | None:
    """Return `key=value` entries as a dict; a value is JSON where it parses, else a text."""
    return dict(_pair(entry, option) for entry in entries or ()) or None


def _pair(entry: str, option: str) -> tuple[str, Any]:
    key, equals, value = entry.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{entry!r} is not KEY=VALUE, such as temperature=0.2", param_hint=option)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(text: str, option: str) -> float:
    """Return a length of time: seconds, or a number with a unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip().lower())
    if not found:
        raise typer.BadParameter(f"{text!r} is neither seconds nor 90s, 5m, 2h, 30d or 1w", param_hint=option)
    return float(found[1]) * _UNITS[found[2]]


def limit_or_none(text: str, option: str) -> float | None:
    """Return a time limit in seconds, None where the text is `none`."""
    return None if text.strip().lower() == "none" else seconds(text, option)
