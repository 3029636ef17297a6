"""Task ids from arguments and from stdin, checked before any request."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from qf_tasks.cli.options import MAX_TASKS

STDIN = "-"
_JSON = ("[", "{", '"', "}", "]")


def read(arguments: Sequence[str], max_tasks: int | None) -> list[str]:
    """Return each id once, those of stdin in the place of `-`.

    From stdin the first word of each line is an id, so that `list` can be piped.
    """
    ids: list[str] = []
    for argument in arguments:
        ids.extend(_piped() if argument == STDIN else [argument])
    unique = list(dict.fromkeys(ids))
    for task_id in unique:
        if not task_id.isprintable() or any(letter.isspace() for letter in task_id) or not task_id:
            raise typer.BadParameter(
                f"{task_id!r} is not a task id, such as infer-9ia3kc1wt9mp", param_hint="ID"
            )
    most = max_tasks or MAX_TASKS
    if len(unique) > most:
        raise typer.BadParameter(f"{len(unique)} tasks are more than {most}", param_hint="--max-tasks")
    return unique


def job_uri(arguments: Sequence[str]) -> str | None:
    """Return the address of a job in the place of ids, None if there is none.

    Raises:
        typer.BadParameter: There are other arguments beside it.
    """
    if not any(argument.startswith("bos:") for argument in arguments):
        return None
    if len(arguments) > 1:
        raise typer.BadParameter("one job at a time, and no ids beside it", param_hint="BOS_URI")
    return arguments[0]


def _piped() -> list[str]:
    ids = [line.split()[0] for line in sys.stdin if line.strip()]
    if any(task_id.startswith(_JSON) for task_id in ids):
        raise typer.BadParameter("stdin has JSON instead of ids; use `qf-tasks list -q`", param_hint=STDIN)
    return ids
