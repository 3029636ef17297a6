"""Commands on tasks that end none of them: create, get, list, wait, models."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated

import typer

from qf_tasks.cli import _progress
from qf_tasks.cli._errors import told_if_cut_off
from qf_tasks.cli._options import (
    NamePattern,
    OlderThan,
    RunStatuses,
    TaskId,
    TaskIds,
    limit_or_none,
    listed,
    pairs,
    seconds,
)
from qf_tasks.cli._terminal import Terminal
from qf_tasks.errors import TaskError
from qf_tasks.models import Model, SupportedModels

TASK_COLUMNS = ("task_id", "run_status", "name", "progress", "create_time", "finish_time", "endpoint")


def create(
    terminal: Terminal,
    *,
    name: Annotated[str, typer.Option(help="2 to 20 characters.")],
    input_bos_uri: Annotated[str, typer.Option(metavar="URI", help="A directory, bos:/bucket/folder/.")],
    output_bos_uri: Annotated[str, typer.Option(metavar="URI", help="A directory that exists.")],
    endpoint: Annotated[
        str | None, typer.Option(help="A preset service, such as ernie-x1-turbo-32k.")
    ] = None,
    model_id: Annotated[str | None, typer.Option(help="Or a model version, amv-…: see `models`.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="One of inference_params; JSON, or a text.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="Up to 500 characters.")] = None,
    data_format: Annotated[str | None, typer.Option(help="default, src_tgt or role.")] = None,
    completion_window: Annotated[str | None, typer.Option(help="The longest time to run: 24h.")] = None,
    extra: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A further member of the request.")
    ] = None,
    adopt_within: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Take an equal task that was created since, if any: 2h."),
    ] = None,
    quota_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wait so long while the 20 places are taken: 30m.")
    ] = None,
) -> None:
    """Create a task, once, and print its id."""
    unknown = f"Whether a task was created is not known; look: qf-tasks list --name '{name}'"
    with terminal.client() as client, told_if_cut_off(unknown):
        created = client.create(
            name=name,
            input_bos_uri=input_bos_uri,
            output_bos_uri=output_bos_uri,
            endpoint=endpoint,
            model_id=model_id,
            inference_params=pairs(param, "--param"),
            description=description,
            data_format=data_format,
            completion_window=completion_window,
            extra=pairs(extra, "--extra"),
            adopt_within=None if adopt_within is None else seconds(adopt_within, "--adopt-within"),
            quota_timeout=None if quota_timeout is None else seconds(quota_timeout, "--quota-timeout"),
        )
    terminal.show_one(created, ("task_id", "name", "reused", "request_id"))


def get(terminal: Terminal, task_id: TaskId) -> None:
    """Print a task as it is now, with all its fields."""
    with terminal.client() as client:
        terminal.show_one(client.get(task_id))


def list_(
    terminal: Terminal,
    *,
    run_status: RunStatuses = None,
    name: NamePattern = None,
    older_than: OlderThan = None,
    newest_first: Annotated[bool, typer.Option("--newest-first/--oldest-first", help="The order.")] = True,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="How many at most; 0 is all.")] = 100,
    page_size: Annotated[int, typer.Option(metavar="N", help="Tasks per request, 1 to 100.")] = 100,
) -> None:
    """Print the account's tasks, the newest 100.

    On a terminal a table; where the output is piped or kept, tab-separated columns without a heading: id,
    state, name, records done, created, ended, endpoint.
    """
    with terminal.client() as client:
        tasks = client.list(
            run_status=listed(run_status, "--run-status"),
            name=name,
            older_than=older_than,
            newest_first=newest_first,
            limit=limit + 1 if limit else None,  # one more, to know whether there is more
            page_size=page_size,
        )
        first = next(tasks, None)
        if first is None and terminal.out.is_terminal:
            terminal.note("No task fits.")
        found = chain([first] if first else [], tasks)
        terminal.show_many(islice(found, limit or None), TASK_COLUMNS)
        if next(found, None):
            terminal.note("There are more; --limit 0 lists all.")


def wait(
    terminal: Terminal,
    task_ids: TaskIds,
    *,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long at most: 90, 30m, 25h; none.")
    ] = "25h",
    poll_interval: Annotated[str, typer.Option(metavar="TIME", help="Longest pause between looks.")] = "30s",
) -> None:
    """Wait until all these tasks have ended, and print how."""
    with terminal.client() as client:
        watched = _progress.Watched(terminal)
        try:
            with watched.shown():
                client.wait_all(
                    task_ids,
                    timeout=limit_or_none(timeout, "--timeout"),
                    poll_interval=seconds(poll_interval, "--poll-interval"),
                    on_change=watched,
                )
        except (TaskError, KeyboardInterrupt):
            terminal.show_many(watched.tasks, TASK_COLUMNS)
            raise
    terminal.show_many(watched.tasks, TASK_COLUMNS)


@dataclass(frozen=True, slots=True)
class _Version(Model):
    """A version of a model on one line."""

    model_version_id: str
    model_version_name: str | None
    model_name: str | None
    model_id: str
    kind: str


def models(terminal: Terminal) -> None:
    """Print the model versions that batch inference takes.

    The id of one goes to `create --model-id`.
    """
    with terminal.client() as client:
        supported = client.models()
    if terminal.as_json:
        terminal.show_one(supported)
    else:
        names = ("model_version_id", "model_version_name", "kind", "model_id", "model_name")
        terminal.show_many(_versions(supported), names)


def _versions(supported: SupportedModels) -> list[_Version]:
    kinds = {"common": supported.common, "custom": supported.custom}
    return [
        _Version(it.model_version_id, it.model_version_name, family.model_name, family.model_id, kind)
        for kind, families in kinds.items()
        for family in families
        for it in family.versions
    ]
