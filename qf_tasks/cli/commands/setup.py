"""Commands on settings: configure, whoami, config, doctor, completion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import qf_tasks
from qf_tasks.cli import keyfile, options, progress, tables
from qf_tasks.cli.errors import FAILED, as_object, exit_code_of, exit_code_of_kinds, hint_for, report_each
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import PROGRAM, command, terminal_of
from qf_tasks.errors import QfTasksError

if TYPE_CHECKING:
    from qf_tasks import Settings
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
    context: typer.Context,
    *,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Scheme and host of the service, if not the usual one.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Try the keys with one request that only reads.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the keys of a profile without asking.")
    ] = False,
) -> None:
    """Ask for a key pair, check it, and write it to ~/.config/qf_tasks/config.toml.

    The file is readable by you alone; what else it holds is kept. Without --profile the keys are those that
    count if no profile is chosen.
    """
    terminal = terminal_of(context)
    if not terminal.can_ask:
        raise typer.BadParameter(
            "needs a terminal to ask for keys; in scripts set QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY",
            param_hint="configure",
        )
    file = keyfile.KeyFile.read(Path("~/.config/qf_tasks/config.toml").expanduser(), terminal.profile)
    where = f"profile {terminal.profile!r}" if terminal.profile else "the default keys"
    if (
        file.has_keys
        and not force
        and not terminal.ask(f"{file.path} has {where} already. Replace the keys?")
    ):
        terminal.note("Nothing was written.")
        terminal.exit_code = FAILED
        return
    access_key = terminal.prompt("Access key:")
    secret_key = keyfile.ask_secretly("Secret key (not shown): ")
    values = options.not_none(access_key=access_key, secret_key=secret_key, base_url=base_url)
    with qf_tasks.TaskClient(qf_tasks.Settings(**values)) as client:
        if check:
            with progress.shown(terminal, progress.Step(terminal, "Checking the keys")):
                next(client.pages(page_size=1))
        file.write(values)
        terminal.note(
            f"Wrote {where} to {file.path}; account {client.account.access_key} at {client.account.host}"
        )
    if terminal.profile:
        terminal.note(f"Use it with --profile {terminal.profile} or QF_TASKS_PROFILE={terminal.profile}.")


@command("whoami", examples=("qf-tasks whoami", "qf-tasks whoami --offline --profile test"), ids=False)
def whoami(
    context: typer.Context,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Send no request.")] = False,
) -> None:
    """Show the account in use, and whether the service accepts its keys."""
    terminal = terminal_of(context)
    with terminal.client() as client:
        fields: dict[str, object] = {
            "access_key": client.account.access_key,
            "host": client.account.host,
            "source": client.account.source,
        }
        if not offline:
            with progress.shown(terminal, progress.Step(terminal, "Checking the keys")):
                page = next(client.pages(page_size=1))
            fields |= {"accepted": True, "request_id": page.request_id}
    if terminal.as_json:
        terminal.show_json({"accepted": None, "request_id": None, **fields})
    else:
        terminal.show_fields(fields)


@command(
    "config",
    examples=("qf-tasks config --profile test", "qf-tasks config --example > config/qf_tasks.toml"),
    ids=False,
)
def config(
    context: typer.Context,
    *,
    example: Annotated[bool, typer.Option("--example", help="Print a settings file to start from.")] = False,
) -> None:
    """Show the settings in effect with their sources, and every place that was searched.

    Keys are masked. The exit code is 2 if a client could not be made.
    """
    terminal = terminal_of(context)
    if example:
        terminal.out.file.write(_example())
        return
    from qf_tasks import Settings
    from qf_tasks.settings import inspect_sources

    sources = inspect_sources(**terminal.settings_keywords)
    settings, failure = None, None
    try:
        settings = Settings.load(**terminal.settings_keywords)
    except QfTasksError as error:
        failure = error
    if terminal.as_json:
        terminal.show_json(
            {
                "account": str(settings.account) if settings else None,
                "settings": _effective(settings) if settings else None,
                "sources": [source.model_dump(mode="json") for source in sources],
                "error": as_object(terminal, failure) if failure else None,
            }
        )
    else:
        if settings:
            terminal.note(f"Account: {settings.account}")
            _show_settings(terminal, settings)
        for source in sources:
            _show_source(terminal, source)
    if failure:
        terminal.exit_code = exit_code_of(type(failure))
        report_each(terminal, [("Error", failure)])


def _effective(settings: Settings) -> list[dict[str, object]]:
    return [
        {"setting": name, "value": value, "source": settings.origin(name)}
        for name, value in settings.masked().items()
    ]


def _show_settings(terminal: Terminal, settings: Settings) -> None:
    """Print each setting, and below it where it comes from, so that nothing is broken to fit a column."""
    if not terminal.out.is_terminal:
        terminal.show_rows(_effective(settings), ("setting", "value", "source"))
        return
    for row in _effective(settings):
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
    context: typer.Context,
    *,
    bos_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Check this directory in BOS, too; writes and deletes one object."),
    ] = None,
) -> None:
    """Find out why calls fail, and what to do about it."""
    from qf_tasks.doctor import diagnose

    terminal = terminal_of(context)
    with progress.shown(terminal, progress.Step(terminal, "Checking settings, network and keys")):
        diagnosis = diagnose(bos_uri=bos_uri, **terminal.settings_keywords)
    if not diagnosis.ok:
        failed = [check.error for check in diagnosis.checks if check.error]
        terminal.exit_code = exit_code_of_kinds(failed[:1])
    if terminal.as_json:
        terminal.show_json(diagnosis.model_dump(mode="json"))
        return
    columns = ("name", "outcome", "message", "hint")
    rows = ({name: getattr(check, name) for name in columns} for check in diagnosis.checks)
    terminal.show_rows(rows, columns[:-1], piped=columns)
    for check in diagnosis.checks if terminal.out.is_terminal else ():
        if check.hint:
            terminal.note(f"Hint ({check.name}): {hint_for(terminal, check.hint)}")


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
    context: typer.Context,
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")
    ],
) -> None:
    """Print a script that completes commands, options, states, profiles and the ids seen last."""
    from typer.completion import shell_complete

    shell_complete(context.find_root().command, {}, PROGRAM, COMPLETE_VARIABLE, f"source_{shell}")


COMPLETE_VARIABLE = "_QF_TASKS_COMPLETE"
