"""Commands that read: get, list, models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from qf_tasks.cli import completion, ids, options, progress, tables
from qf_tasks.cli.lookup import Lookup
from qf_tasks.cli.options import flag, option
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
from qf_tasks.durations import parse_duration

if TYPE_CHECKING:
    from qf_tasks import Account, SupportedModels, Task

_TABLE_LIMIT = 100
_TABLE = ("task_id", "run_status", "age", "name", "progress", "create_time", "finish_time", "endpoint")
# The columns that scripts rely on: new ones come at the end.
PIPED = ("task_id", "run_status", "name", "progress", "create_time", "finish_time", "endpoint")


@command(
    "get",
    "describe",
    examples=(
        "qf-tasks get infer-9ia3kc1wt9mp",
        "qf-tasks list -q --status failed | qf-tasks get - --json",
    ),
)
def get(terminal: Terminal, task_ids: options.Ids, *, max_tasks: options.MaxTasks = None) -> None:
    """Show tasks with all their fields.

    With --json always one object: {"account", "tasks": [...], "errors": [...]}, where each error has the
    task_id that it belongs to. Alias: describe.
    """
    wanted, found = ids.read(task_ids, max_tasks), Lookup()
    with terminal.client() as client:
        try:
            with progress.step(terminal, f"Reading {tables.counted(len(wanted), 'task')}"):
                found.read(client, wanted)
        finally:
            _show_found(terminal, found, client.account)


def _show_found(terminal: Terminal, found: Lookup, account: Account) -> None:
    completion.remember(task.task_id for task in found.tasks)
    if terminal.as_json:
        terminal.show_json(found.as_json(terminal, account))
    elif terminal.ids_only:
        terminal.show_rows(({"task_id": task.task_id} for task in found.tasks), ("task_id",))
    else:
        for index, task in enumerate(found.tasks):
            if index:
                terminal.line([])
            # `raw` is the same again in the service's names
            terminal.show_fields({k: v for k, v in task.model_dump().items() if k != "raw"})
    found.report_errors(terminal)


def _names(columns: str) -> list[str]:
    return [name.strip().lower() for name in columns.split(",") if name.strip()]


def _check_columns(columns: str | None) -> str | None:
    for name in _names(columns or ""):
        if name not in tables.TASK_FIELDS:
            known = ", ".join(tables.TASK_FIELDS)
            raise typer.BadParameter(f"there is no column {name!r}; there are {known}")
    return columns


def _check_sort(column: str | None) -> str | None:
    if "," in (column or ""):
        raise typer.BadParameter("one column, such as -create_time")
    _check_columns(column and column.removeprefix("-"))
    return column


@command(
    "list",
    "ls",
    examples=(
        "qf-tasks list --status running,queuing --watch",
        "qf-tasks list --older-than 30d --sort -create_time --columns task_id,age,name",
    ),
)
def list_(
    terminal: Terminal,
    *,
    run_status: options.RunStatuses = None,
    name: options.NamePattern = None,
    creator: options.Creator = None,
    older_than: options.OlderThan = None,
    newer_than: options.NewerThan = None,
    sort: Annotated[
        str | None,
        option(
            "COLUMN",
            "Sort by a column; -COLUMN in descending order.",
            autocompletion=completion.columns,
            callback=_check_sort,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        option(
            "COLUMNS",
            "Show these columns, such as task_id,age,name,output_uri.",
            autocompletion=completion.columns,
            callback=_check_columns,
        ),
    ] = None,
    newest_first: Annotated[
        bool, typer.Option("--newest-first/--oldest-first", help="The order, unless --sort is given.")
    ] = True,
    limit: Annotated[
        int | None,
        option(
            "N", f"Show at most N tasks; 0 for all.  [default: {_TABLE_LIMIT} in a table, else all]", min=0
        ),
    ] = None,
    page_size: Annotated[int, option("N", "Tasks per request.", min=1, max=100)] = 100,
    watch: Annotated[bool, flag("--watch", "Show the table again and again until Ctrl-C.")] = False,
    interval: Annotated[str, options.duration("How often --watch updates the table.")] = "5s",
) -> None:
    """List the account's tasks, newest first.

    On a terminal a table of the newest 100. In a pipe all tasks as tab-separated values: id, state, name,
    records done, created, ended, endpoint. With --json a list of all tasks. Alias: ls.
    """
    criteria = options.not_none(
        run_status=run_status, name=name, creator=creator, older_than=older_than, newer_than=newer_than
    )
    chosen = _names(columns or "")
    is_table = terminal.out.is_terminal and not (terminal.as_json or terminal.ids_only)
    most = _TABLE_LIMIT if limit is None and is_table else limit or None
    if watch and not (is_table and terminal.can_animate):
        raise typer.BadParameter(
            "needs a terminal; use `qf-tasks wait --events` in a pipe", param_hint="--watch"
        )
    with terminal.client() as client:

        def listed() -> Iterator[Task]:
            tasks = client.list(**criteria, newest_first=newest_first, page_size=page_size)
            return iter(_sorted(tasks, sort)) if sort else tasks

        if watch:
            _watch(terminal, listed, chosen or _TABLE, most, parse_duration(interval) or 0)
            return
        tasks = listed()
        with progress.step(terminal, "Listing tasks"):
            first = [*islice(tasks, most if is_table else 1)]
        _show_listed(terminal, first if is_table else islice(chain(first, tasks), most), chosen)
        if is_table and not first:
            terminal.note("No tasks match.")
        if is_table and limit is None and next(tasks, None):
            terminal.note(f"Only the first {_TABLE_LIMIT} tasks are shown; --limit 0 shows all.")


def _show_listed(terminal: Terminal, tasks: Iterable[Task], chosen: Sequence[str]) -> None:
    seen: list[str] = []

    def rows(columns: Iterable[str]) -> Iterator[tables.Row]:
        for task in tasks:
            seen.append(task.task_id)
            yield tables.task_row(task, {*columns, "task_id"})

    if terminal.as_json:
        terminal.show_json([*tasks])
    elif terminal.ids_only:
        terminal.show_rows(rows(()), ("task_id",))
    else:
        columns = chosen or _TABLE
        terminal.show_rows(rows({*columns, *PIPED}), columns, piped=chosen or PIPED)
    completion.remember(seen)


def _watch(
    terminal: Terminal,
    listed: Callable[[], Iterator[Task]],
    columns: Sequence[str],
    limit: int | None,
    pause: float,
) -> None:
    """Show the table until Ctrl-C, which is the way to end it."""
    console = terminal.out
    try:
        with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            while True:
                lines = max(console.height - 2, 1)
                tasks = islice(listed(), min(limit or lines, lines))
                rows = [tables.cells(tables.task_row(task, columns), columns) for task in tasks]
                table = tables.table(columns, rows, console.width) if rows else "No tasks match."
                live.update(table, refresh=True)
                time.sleep(pause)
    except KeyboardInterrupt:
        terminal.interrupts = 0


def _sorted(tasks: Iterable[Task], sort: str) -> list[Task]:
    """Return tasks in the order of a column, or of `-COLUMN`; those without a value come last."""
    column = sort.removeprefix("-").strip().lower()
    descending = sort.startswith("-") ^ (column == "age")  # the oldest has the earliest time
    field = "create_time" if column == "age" else column

    def key(task: Task) -> tuple[bool, object]:
        value = getattr(task, field)
        return (value is None) ^ descending, "" if value is None else value

    return sorted(tasks, key=key, reverse=descending)


@command("models", examples=("qf-tasks models", "qf-tasks models -q"))
def models(terminal: Terminal) -> None:
    """List the model versions that batch inference supports.

    Pass the id of one to `create --model-id`.
    """
    with terminal.client() as client, progress.step(terminal, "Listing models"):
        supported = client.models()
    columns = ("model_version_id", "model_version_name", "kind", "model_id", "model_name")
    terminal.show(supported, _versions(supported), columns)


def _versions(supported: SupportedModels) -> Iterator[tables.Row]:
    for kind, families in {"common": supported.common, "custom": supported.custom}.items():
        for family in families:
            for version in family.versions:
                yield {
                    "model_version_id": version.model_version_id,
                    "model_version_name": version.model_version_name,
                    "kind": kind,
                    "model_id": family.model_id,
                    "model_name": family.model_name,
                }
