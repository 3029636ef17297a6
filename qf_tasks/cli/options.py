"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from qf_tasks._operations.arguments import STATE_SYNONYMS
from qf_tasks.cli import completion
from qf_tasks.durations import parse_duration

MAX_TASKS = 1000


def check_duration(text: str | None) -> str | None:
    """Return a duration or an age as it is, if it has a unit."""
    if text is not None and parse_duration(text) is None:
        raise typer.BadParameter(f"{text!r} is not a duration with a unit: 90s, 5m, 2h, 30d or 1w")
    return text


def _time_limit(text: str) -> str | None:
    return None if text.strip().lower() == "none" else check_duration(text)


def _states(entries: list[str] | None) -> list[str] | None:
    """Return the states of entries such as `Done,Failed`, with the service's name for a synonym.

    An empty entry is refused: it may be a variable of a script that is not set.
    """
    if not entries:
        return None
    names = [name.strip() for entry in entries for name in entry.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("no state is named; is a variable not set?")
    return [STATE_SYNONYMS.get(name.lower(), name) for name in names]


def _pair(entry: str) -> tuple[str, Any]:
    """Return `key=value` as a pair, in which the value is JSON if it parses, else text."""
    key, equals, value = entry.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{entry!r} is not KEY=VALUE, such as temperature=0.2")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def flag(name: str, text: str) -> Any:
    """Return what declares an option that is given or not."""
    return typer.Option(name, help=text)


def option(metavar: str, text: str, **details: Any) -> Any:
    """Return what declares an option with a value, named like its parameter."""
    return typer.Option(metavar=metavar, help=text, **details)


def duration(text: str) -> Any:
    """Return what declares a duration; it stays text with a unit, which the library accepts."""
    return option("DURATION", text, callback=check_duration)


def time_limit(text: str) -> Any:
    """Return what declares a duration that can be `none`."""
    return option("DURATION", text, callback=_time_limit)


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
        callback=_states,
    ),
]
NamePattern = Annotated[
    str | None, option("PATTERN", "Only names that match as a whole, such as 'nightly-*'.")
]
Creator = Annotated[str | None, option("USER", "Only tasks that this user created.")]
OlderThan = Annotated[
    str | None, option("AGE", "Only tasks created, and ended if they have ended, more than AGE ago: 30d.")
]
NewerThan = Annotated[str | None, option("AGE", "Only tasks created less than AGE ago: 12h.")]
Endpoint = Annotated[str | None, option("NAME", "A preset service, such as ernie-x1-turbo-32k.")]
ModelId = Annotated[str | None, option("ID", "Or a model version, amv-...: see `qf-tasks models`.")]
Pairs = list[Any] | None
InferenceParams = Annotated[
    Pairs,
    typer.Option(
        "--param",
        metavar="KEY=VALUE",
        help="An inference parameter; JSON or text. May be repeated.",
        parser=_pair,
    ),
]
Extra = Annotated[Pairs, option("KEY=VALUE", "Extra request field. May be repeated.", parser=_pair)]
Description = Annotated[str | None, option("TEXT", "Up to 500 characters.")]
DataFormat = Annotated[str | None, option("FORMAT", "default, src_tgt or role.")]
MaxWorkers = Annotated[int, option("N", "Requests at the same time.", min=1, max=64)]
Journal = Annotated[Path | None, option("FILE", "Log each task before deleting it; rerun to resume.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; required without a terminal.")]
DryRun = Annotated[bool, flag("--dry-run", "Show what would be done, and do nothing.")]
MaxTasks = Annotated[int | None, option("N", f"Refuse more tasks than this.  [default: {MAX_TASKS}]", min=1)]
StopFirst = Annotated[bool, flag("--stop-first", "Stop tasks that have not ended, and wait for that.")]
StopTimeout = Annotated[str | None, time_limit("How long each task may take to stop; or none.")]
Timeout = Annotated[str | None, time_limit("How long to wait; or none.")]
PollInterval = Annotated[str, duration("The longest pause between two polls.")]


def keywords(fields: object) -> dict[str, Any]:
    """Return the values of shared options as keywords of the library, without those that were not given."""
    given = not_none(**vars(fields))
    return given | {name: dict(given[name]) for name in ("inference_params", "extra") if name in given}


def not_none(**values: object) -> dict[str, Any]:
    """Return the keywords that have a value; the others keep the default of the method."""
    return {name: value for name, value in values.items() if value is not None}
