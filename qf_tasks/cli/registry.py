"""How a command is declared, and the options that every command accepts before or after its name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial, wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typing_extensions import override

import qf_tasks
from qf_tasks.cli import completion
from qf_tasks.cli.errors import EXIT_CODES
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.wording import names_of

PROGRAM = "qf-tasks"
_OUTPUT = ("as_json", "debug")
_SETTINGS = ("profile", "config_file", "env_file")
_IDS = ("ids_only", "output")
_FORMATS = {"json": "as_json", "ids": "ids_only"}


def terminal_of(context: typer.Context) -> Terminal:
    """Return the terminal of the run that a command belongs to."""
    return context.ensure_object(Terminal)


def _store_global(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Keep a global option, whether it was given before the command or after it."""
    terminal, name = terminal_of(context), str(param.name)
    if value and name in _SETTINGS:
        terminal.settings[name] = value
    elif value:
        setattr(terminal, _FORMATS[value] if name == "output" else name, True)
    return value


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"{PROGRAM} {qf_tasks.__version__}")
        raise typer.Exit


class _Command(TyperCommand):
    """A command whose help names metavars alone, and lists the global options apart."""

    @override
    def invoke(self, ctx: Any) -> Any:
        terminal_of(ctx).names = names_of(self.params)
        return super().invoke(ctx)

    @override
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(metavar for metavar, _ in self._arguments())]

    @override
    def format_options(self, ctx: Any, formatter: Any) -> None:
        options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        records = {param.name: record for param in options if (record := param.get_help_record(ctx))}
        general = [records.pop(name) for name in (*_SETTINGS, *_OUTPUT, *_IDS, "help") if name in records]
        own = [(names, _in_words(text)) for names, text in records.values()]
        sections = {"Arguments": self._arguments(), "Options": own, "Global options": general}
        for title, entries in sections.items():
            if entries:
                with formatter.section(title):
                    formatter.write_dl(entries)

    def _arguments(self) -> list[tuple[str, str]]:
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        return [(str(param.metavar), str(getattr(param, "help", ""))) for param in arguments]

    @override
    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _in_words(text: str) -> str:
    """Return a help text with ranges such as `1<=x<=100` in words."""
    text = re.sub(r"([\d.]+)<=x<=([\d.]+)", r"\1 to \2", text)
    return re.sub(r"; x>=\d+(?=\])|\s*\[x>=\d+\]", "", text)


class _Group(TyperGroup):
    """The whole command line, whose help lists the commands in sections, each with its full first line."""

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        listed = [name for names in _SECTIONS.values() for name in names]
        return [*listed, *(name for name in self.commands if name not in listed)]

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(limit=200)) for name in names]
                )


_SECTIONS = {
    "Tasks": ("create", "get", "list", "wait", "stop", "delete", "purge", "models"),
    "Jobs and data": ("run", "submit", "status", "results", "retry-failures", "upload", "download"),
    "Setup": ("configure", "whoami", "config", "doctor", "completion"),
    "Trying it out": ("demo", "sandbox"),
}
app: typer.Typer = typer.Typer(
    cls=_Group,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExit codes:\n" + "\n".join(f"  {line}" for line in EXIT_CODES),
)


# An option of every command: it is stored on the terminal, and not passed to the command.
_global = partial(typer.Option, callback=_store_global, expose_value=False)


@app.callback()
def _root(
    *,
    profile: Annotated[
        str | None,
        _global(
            metavar="NAME", help="Use this profile of the settings file.", autocompletion=completion.profiles
        ),
    ] = None,
    config_file: Annotated[
        Path | None, _global("--config", metavar="FILE", help="Read this settings file.")
    ] = None,
    env_file: Annotated[Path | None, _global(metavar="FILE", help="Read this .env file.")] = None,
    as_json: Annotated[bool, _global("--json", help="Print results and errors as JSON.")] = False,
    ids_only: Annotated[bool, _global("--ids", "-q", help="Print results as bare ids.")] = False,
    output: Annotated[
        Literal["json", "ids"] | None,
        _global("--output", "-o", metavar="FORMAT", help="json or ids: the same as --json or --ids."),
    ] = None,
    debug: Annotated[bool, _global("--debug", help="Log every request, and show errors in full.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True, expose_value=False
        ),
    ] = False,
) -> None:
    """Batch inference tasks on Baidu's Qianfan.

    Durations have a unit: 90s, 5m, 2h, 30d, 1w. `qf-tasks COMMAND --help` has examples, and
    `qf-tasks completion --help` says how to complete commands, states and ids with the Tab key.
    """


_rejected_options: dict[str, tuple[str, ...]] = {}


def command(
    name: str,
    *aliases: str,
    examples: Sequence[str],
    ids: bool = True,
    settings: bool = True,
    shared: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function a command, which the help lists if `_SECTIONS` names it.

    The function's first parameter is the terminal of the run.

    Args:
        name: The command's name; `aliases` are names that the help does not list.
        examples: Command lines for its help.
        ids: Whether its results have ids, so that --ids makes sense.
        settings: Whether it reads settings, so that --profile, --config and --env-file make sense.
        shared: A function whose parameters the command has, too; its result is the second argument.
    """
    rejected = (*(() if ids else _IDS), *(() if settings else _SETTINGS))

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for each in (name, *aliases):
            _rejected_options[each] = rejected
            app.command(each, cls=_Command, epilog="\n".join(examples), hidden=each != name)(
                _for_typer(function, shared)
            )
        return function

    return register


def _for_typer(function: Callable[..., None], shared: Callable[..., Any] | None) -> Callable[..., None]:
    """Return a function with the signature that typer makes options and arguments from."""
    own = inspect.signature(function, eval_str=True).parameters.values()
    extra = inspect.signature(shared, eval_str=True).parameters.values() if shared else ()

    @wraps(function)
    def called(context: typer.Context, **values: Any) -> None:
        arguments = [shared(**{param.name: values.pop(param.name) for param in extra})] if shared else []
        function(terminal_of(context), *arguments, **values)

    params = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *extra,
        *[*own][2 if shared else 1 :],
    ]
    vars(called)["__signature__"] = inspect.Signature(params)
    called.__annotations__ = {param.name: param.annotation for param in params}
    return called


@cache
def build() -> TyperGroup:
    """Return the whole command line, in which every command accepts the global options that it needs."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)  # noqa: S101
    # typer adds options to install completion along with completion itself; `completion` takes their place
    group.params = [param for param in group.params if not str(param.name).endswith("_completion")]
    shared: Iterable[Any] = [param for param in group.params if param.name != "version"]
    for name, each in group.commands.items():
        own = {param.name for param in each.params}
        each.params.extend(
            param for param in shared if param.name not in _rejected_options[name] and param.name not in own
        )
    return group
