"""Commands on settings: configure, whoami, config, doctor, completion."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import qf_tasks
from qf_tasks.cli import keyfile, options, progress, tables
from qf_tasks.cli.errors import FAILED, as_object, exit_code_of, report_each, report_hint
from qf_tasks.cli.options import flag, option
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import PROGRAM, build, command
from qf_tasks.errors import QfTasksError

if TYPE_CHECKING:
    from qf_tasks import TaskClient
    from qf_tasks.settings import SourceReport

_EXAMPLE = "qf_tasks.example.toml"


@command(
    "configure",
    examples=(
        "qf-tasks configure",
        "qf-tasks configure --profile test --base-url https://qianfan.baidubce.com",
    ),
    ids=False,
)
def configure(
    terminal: Terminal,
    *,
    base_url: Annotated[
        str | None, option("URL", "Scheme and host of the service, if not the usual one.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Try the keys with one request that only reads.")
    ] = True,
    force: Annotated[bool, flag("--force", "Replace the keys of a profile without asking.")] = False,
) -> None:
    """Ask for a key pair, check it, and write it to ~/.config/qf_tasks/config.toml.

    The file is readable by you alone; what else it holds is kept. Without --profile the keys are those that
    count if no profile is chosen.
    """
    if not terminal.can_ask:
        raise typer.BadParameter(
            "needs a terminal to ask for keys; in scripts set QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY",
            param_hint="configure",
        )
    file, profile = Path("~/.config/qf_tasks/config.toml").expanduser(), terminal.settings.get("profile")
    place = f"profile {profile!r}" if profile else "the default keys"
    if keyfile.has_keys(file, profile) and not (
        force or terminal.ask(f"{file} has {place} already. Replace the keys?")
    ):
        terminal.note("Nothing was written.")
        terminal.exit_code = FAILED
        return
    values = options.not_none(
        access_key=terminal.prompt("Access key:"),
        secret_key=getpass.getpass("Secret key (not shown): ").strip(),
        base_url=base_url,
    )
    with qf_tasks.TaskClient(qf_tasks.Settings(**values)) as client:
        if check:
            _check_keys(terminal, client)
        keyfile.write(file, profile, values)
        account = client.account
    terminal.note(f"Wrote {place} to {file}; account {account.access_key} at {account.host}")
    if profile:
        terminal.note(f"Use it with --profile {profile} or QF_TASKS_PROFILE={profile}.")


def _check_keys(terminal: Terminal, client: TaskClient) -> str | None:
    """Send one request that only reads, and return its id."""
    with progress.step(terminal, "Checking the keys"):
        return next(client.pages(page_size=1)).request_id


@command("whoami", examples=("qf-tasks whoami", "qf-tasks whoami --offline --profile test"), ids=False)
def whoami(
    terminal: Terminal,
    *,
    offline: Annotated[bool, flag("--offline", "Send no request.")] = False,
) -> None:
    """Show the account in use, and whether the service accepts its keys."""
    with terminal.client() as client:
        request_id = None if offline else _check_keys(terminal, client)
        account = client.account
    terminal.show_fields(
        {
            "access_key": account.access_key,
            "host": account.host,
            "source": account.source,
            "accepted": None if offline else True,
            "request_id": request_id,
        }
    )


@command(
    "config",
    examples=("qf-tasks config --profile test", "qf-tasks config --example > config/qf_tasks.toml"),
    ids=False,
)
def config(
    terminal: Terminal,
    *,
    example: Annotated[bool, flag("--example", "Print a settings file to start from.")] = False,
) -> None:
    """Show the settings in effect with their sources, and every place that was searched.

    Keys are masked. The exit code is 2 if a client could not be made.
    """
    if example:
        terminal.out.file.write(_example())
        return
    from qf_tasks import Settings
    from qf_tasks.settings import inspect_sources

    sources = inspect_sources(**terminal.settings)
    account, effective, failure = None, None, None
    try:
        settings = Settings.load(**terminal.settings)
    except QfTasksError as error:
        failure = error
    else:
        account = str(settings.account)
        effective = [
            {"setting": name, "value": value, "source": settings.origin(name)}
            for name, value in settings.masked().items()
        ]
    if terminal.as_json:
        found = {"account": account, "settings": effective, "sources": sources}
        terminal.show_json({**found, "error": as_object(terminal, failure) if failure else None})
    else:
        if effective:
            terminal.note(f"Account: {account}")
            _show_settings(terminal, effective)
        for source in sources:
            _show_source(terminal, source)
    if failure:
        terminal.exit_code = exit_code_of([type(failure).__name__])
        report_each(terminal, [("Error", failure)])


def _show_settings(terminal: Terminal, effective: Sequence[tables.Row]) -> None:
    """Print each setting, and below it where it comes from, so that nothing is broken to fit a column."""
    if not terminal.out.is_terminal:
        terminal.show_rows(effective, ("setting", "value", "source"))
        return
    for row in effective:
        value, is_default = tables.text_of(row["value"]), row["source"] == "default"
        terminal.show_text(f"{row['setting']!s:<20}{value or 'none'}{' (default)' if is_default else ''}")
        if not is_default:
            terminal.show_text(f"{'':<20}from {row['source']}")


def _show_source(terminal: Terminal, source: SourceReport) -> None:
    """Print one place that was searched, in lines that nothing breaks: paths are there to be copied."""
    if not terminal.out.is_terminal:
        fields = ("name", "state", "path", "in_effect", "profiles", "note")
        terminal.show_rows([{field: getattr(source, field) for field in fields}], fields)
        return
    terminal.show_text(f"{source.state:<11} {source.path or source.name}")
    details = {
        "in effect": ", ".join(source.in_effect),
        "profiles": ", ".join(source.profiles),
        "note": source.note,
    }
    for title, text in details.items():
        if text:
            terminal.show_text(f"{'':<14} {title}: {text}")


def _example() -> str:
    """Return the commented example; a wheel has it inside the package, a checkout beside it."""
    from importlib.resources import files

    installed = files(qf_tasks) / _EXAMPLE
    if installed.is_file():
        return installed.read_text("utf-8")
    return (Path(qf_tasks.__file__).parents[1] / "config" / _EXAMPLE).read_text("utf-8")


@command("doctor", examples=("qf-tasks doctor", "qf-tasks doctor --bos-uri bos:/bucket/in/"), ids=False)
def doctor(
    terminal: Terminal,
    *,
    bos_uri: Annotated[
        str | None, option("URI", "Check this directory in BOS, too; writes and deletes one object.")
    ] = None,
) -> None:
    """Find out why calls fail, and what to do about it."""
    from qf_tasks.doctor import diagnose

    with progress.step(terminal, "Checking settings, network and keys"):
        diagnosis = diagnose(bos_uri=bos_uri, **terminal.settings)
    if not diagnosis.ok:
        failed = [check.error for check in diagnosis.checks if check.error]
        terminal.exit_code = exit_code_of(failed[:1])
    columns = ("name", "outcome", "message", "hint")
    rows = ({name: getattr(check, name) for name in columns} for check in diagnosis.checks)
    terminal.show(diagnosis, rows, columns[:-1], piped=columns)
    for check in diagnosis.checks if terminal.out.is_terminal else ():
        report_hint(terminal, check.hint, f"Hint ({check.name})")


@command(
    "completion",
    examples=(
        'eval "$(qf-tasks completion bash)"        # in ~/.bashrc; for zsh the same in ~/.zshrc',
        "qf-tasks completion fish > ~/.config/fish/completions/qf-tasks.fish",
    ),
    ids=False,
    settings=False,
)
def completion(
    _terminal: Terminal,
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")
    ],
) -> None:
    """Print a script that completes commands, options, states, profiles and the ids seen last."""
    from typer.completion import shell_complete

    shell_complete(build(), {}, PROGRAM, COMPLETE_VARIABLE, f"source_{shell}")


COMPLETE_VARIABLE = "_QF_TASKS_COMPLETE"
