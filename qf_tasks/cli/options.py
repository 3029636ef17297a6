"""Options that several commands share, and texts of the command line as values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from qf_tasks._operations.arguments import STATE_SYNONYMS
from qf_tasks.cli import completion
from qf_tasks.cli.output import Terminal
from qf_tasks.durations import parse_duration

MAX_TASKS = 1000

Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", help="Task ids; - reads them from stdin.", autocompletion=completion.task_ids
    ),
]
RunStatuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        "--run-status",
        metavar="STATE",
        help="Only these states, such as Done,Failed; may be repeated.",
        autocompletion=completion.states,
    ),
]
NamePattern = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="Only names that match as a whole, such as 'nightly-*'.")
]
Creator = Annotated[str | None, typer.Option(metavar="USER", help="Only tasks that this user created.")]
OlderThan = Annotated[
    str | None,
    typer.Option(
        metavar="AGE", help="Only tasks created, and ended if they have ended, more than AGE ago: 30d."
    ),
]
NewerThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Only tasks created less than AGE ago: 12h.")
]
Endpoint = Annotated[
    str | None, typer.Option(metavar="NAME", help="A preset service, such as ernie-x1-turbo-32k.")
]
ModelId = Annotated[
    str | None, typer.Option(metavar="ID", help="Or a model version, amv-...: see `qf-tasks models`.")
]
InferenceParams = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="KEY=VALUE", help="An inference parameter; JSON or text. May be repeated."
    ),
]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="Up to 500 characters.")]
DataFormat = Annotated[str | None, typer.Option(metavar="FORMAT", help="default, src_tgt or role.")]
MaxWorkers = Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Requests at the same time.")]
Journal = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Log each task before deleting it; rerun to resume."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; required without a terminal.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
MaxTasks = Annotated[
    int | None, typer.Option(min=1, metavar="N", help=f"Refuse more tasks than this.  [default: {MAX_TASKS}]")
]
StopFirst = Annotated[
    bool, typer.Option("--stop-first", help="Stop tasks that have not ended, and wait for that.")
]
StopTimeout = Annotated[
    str, typer.Option(metavar="DURATION", help="How long each task may take to stop; or none.")
]
Timeout = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait; or none.")]
PollInterval = Annotated[str, typer.Option(metavar="DURATION", help="The longest pause between two polls.")]


def require_answer(terminal: Terminal, *, is_needless: bool) -> None:
    """Refuse, before anything is read, what would ask a question that nobody can answer."""
    if not (is_needless or terminal.can_ask):
        raise typer.BadParameter(
            "required without a terminal, and with --json; --dry-run shows what would be deleted",
            param_hint="--yes",
        )


def states(entries: Iterable[str] | None) -> list[str] | None:
    """Return the states of entries such as `Done,Failed`, with the service's name for a synonym.

    An empty entry is refused: it may be a variable of a script that is not set.
    """
    if entries is None:
        return None
    names = [name.strip() for entry in entries for name in entry.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("no state is named; is a variable not set?", param_hint="--status")
    return [STATE_SYNONYMS.get(name.lower(), name) for name in names]


def pairs(entries: Iterable[str] | None, option: str) -> dict[str, Any] | None:
    """Return `key=value` entries as a dict; a value is JSON if it parses, else text."""
    return dict(_pair(entry, option) for entry in entries or ()) or None


def _pair(entry: str, option: str) -> tuple[str, Any]:
    key, equals, value = entry.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{entry!r} is not KEY=VALUE, such as temperature=0.2", param_hint=option)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def duration(text: str, option: str) -> float:
    """Return a duration in seconds."""
    seconds = parse_duration(text)
    if seconds is None:
        raise typer.BadParameter(
            f"{text!r} is not a duration with a unit: 90s, 5m, 2h, 30d or 1w", param_hint=option
        )
    return seconds


def time_limit(text: str, option: str) -> float | None:
    """Return a time limit in seconds, None for `none`."""
    return None if text.strip().lower() == "none" else duration(text, option)


def not_none(**values: object) -> dict[str, Any]:
    """Return the keywords that have a value; the others keep the default of the method."""
    return {name: value for name, value in values.items() if value is not None}
