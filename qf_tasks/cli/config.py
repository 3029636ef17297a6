"""Commands on settings: config, and doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import qf_tasks
from qf_tasks.cli._errors import USAGE, exit_code_by_name
from qf_tasks.cli._terminal import Terminal

_EXAMPLE = "qf_tasks.example.toml"


def config(
    terminal: Terminal,
    *,
    example: Annotated[bool, typer.Option("--example", help="Print a settings file to start from.")] = False,
) -> None:
    """Print where settings were looked for, and what was found."""
    if example:
        terminal.out.file.write(_example())
        return
    from qf_tasks.settings import inspect_sources

    reports = inspect_sources(**terminal.chosen)
    if any(report.state == "refused" for report in reports):
        terminal.exit_code = USAGE
    columns = ("name", "state", "path", "in_effect", "profiles", "note")
    terminal.show_many(reports, columns[:-1] if terminal.out.is_terminal else columns)
    for it in reports if terminal.out.is_terminal else ():
        if it.note:
            terminal.note(f"{it.path or it.name}: {it.note}")


def doctor(terminal: Terminal) -> None:
    """Look for what keeps calls from working, and print what to do."""
    from qf_tasks.doctor import diagnose

    diagnosis = diagnose(**terminal.chosen)
    if not diagnosis.ok:
        terminal.exit_code = exit_code_by_name(next((it.error for it in diagnosis.checks if it.error), None))
    if terminal.as_json:
        terminal.show_one(diagnosis)
    else:
        columns = ("name", "outcome", "message", "hint")
        terminal.show_many(diagnosis.checks, columns[:-1] if terminal.out.is_terminal else columns)
        for it in diagnosis.checks if terminal.out.is_terminal else ():
            if it.hint:
                terminal.note(f"Hint ({it.name}): {it.hint}")


def _example() -> str:
    """Return the commented example; a wheel has it inside the package, a checkout beside it."""
    from importlib.resources import files

    installed = files(qf_tasks) / _EXAMPLE
    if installed.is_file():
        return installed.read_text("utf-8")
    return (Path(qf_tasks.__file__).parents[1] / "config" / _EXAMPLE).read_text("utf-8")
