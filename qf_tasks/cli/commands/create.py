"""The command that creates tasks: one by options, or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qf_tasks.cli import completion, options, progress, specs, tables
from qf_tasks.cli.commands.wait import Watch
from qf_tasks.cli.errors import as_object, exit_code_of_kinds, report_each
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command, terminal_of
from qf_tasks.errors import (
    AuthenticationError,
    OutcomeUnknownError,
    PermissionDeniedError,
    QfTasksError,
    QuotaExceededError,
    ServiceUnreachableError,
)

if TYPE_CHECKING:
    from qf_tasks import TaskClient

_POLL_INTERVAL = 30.0
_COLUMNS = ("task_id", "name", "outcome", "request_id")
_PIPED = (*_COLUMNS, "line", "error")
# After these the next task would not fare better.
_FATAL = (
    AuthenticationError,
    PermissionDeniedError,
    QuotaExceededError,
    ServiceUnreachableError,
    OutcomeUnknownError,
)


@command(
    "create",
    examples=(
        "qf-tasks create --name nightly --endpoint ernie-x1-turbo-32k \\",
        "    --input-bos-uri bos:/bucket/in/ --output-bos-uri bos:/bucket/out/ --wait",
        "qf-tasks create --from-file specs.yaml --dry-run",
    ),
)
def create(
    context: typer.Context,
    *,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="2 to 20 characters.")] = None,
    input_bos_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="The directory of the records, bos:/bucket/folder/.")
    ] = None,
    output_bos_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="The directory for the results; it has to exist.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="A preset service, such as ernie-x1-turbo-32k.")
    ] = None,
    model_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Or a model version, amv-...: see `qf-tasks models`.")
    ] = None,
    inference_params: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="KEY=VALUE", help="An inference parameter; JSON or text. May be repeated."
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="Up to 500 characters.")] = None,
    data_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="default, src_tgt or role.")
    ] = None,
    completion_window: Annotated[
        str | None, typer.Option(metavar="DURATION", help="The longest time to run: 24h.")
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Extra request field. May be repeated.")
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Create the tasks of a .yaml (a list) or .jsonl (one a line) file."
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Reuse the task that was created with this key.")
    ] = None,
    reuse_within: Annotated[
        str | None, typer.Option(metavar="AGE", help="How old a task with that key may be: 7d.")
    ] = None,
    quota_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Wait up to DURATION for a free slot (20 tasks may be active)."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the tasks end, as `wait` does.")] = False,
    timeout: options.Timeout = "25h",
    dry_run: options.DryRun = False,
) -> None:
    """Create a task, once, and print its id.

    With --from-file the whole file is validated before the first request, and each line is reported; its
    fields are named like the options, with underscores. With --json always one object: {"account", "tasks":
    [...], "errors": [...]}.
    """
    terminal = terminal_of(context)
    one = options.given(
        name=name,
        input_bos_uri=input_bos_uri,
        output_bos_uri=output_bos_uri,
        endpoint=endpoint,
        model_id=model_id,
        inference_params=options.pairs(inference_params, "--param"),
        description=description,
        data_format=data_format,
        completion_window=completion_window,
        extra=options.pairs(extra, "--extra"),
        idempotency_key=idempotency_key,
    )
    slot_wait = None if quota_timeout is None else options.duration(quota_timeout, "--quota-timeout")
    shared = options.given(reuse_within=reuse_within, quota_timeout=slot_wait)
    if reuse_within is not None:
        options.duration(reuse_within, "--reuse-within")
    wait_time = options.limit(timeout, "--timeout")
    planned = _planned(one, from_file, shared)
    if dry_run:
        _show_plan(terminal, planned)
        return
    with terminal.client() as client:
        creation = _Creation(
            terminal, client, planned, is_alone=from_file is None, is_awaited=wait, slot_wait=quota_timeout
        )
        creation.run()
        if wait and creation.task_ids:
            failed = creation.failed_as_json()
            Watch(terminal, client, creation.task_ids, not_created=failed).run(wait_time, _POLL_INTERVAL)


def _planned(one: dict[str, Any], from_file: Path | None, shared: dict[str, Any]) -> list[specs.Spec]:
    """Return what is to be created, checked."""
    if from_file:
        if one:
            options_given = ", ".join(f"--{name.replace('_', '-')}" for name in one)
            raise typer.BadParameter(f"cannot be used with {options_given}", param_hint="--from-file")
        return specs.load(from_file, shared)
    for name in ("name", "input_bos_uri", "output_bos_uri"):
        if name not in one:
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter("is required, unless --from-file is given", param_hint=option)
    specs.check(one)
    return [specs.Spec("", {**one, **shared})]


def _show_plan(terminal: Terminal, planned: Sequence[specs.Spec]) -> None:
    if terminal.as_json:
        terminal.show_json([spec.keywords for spec in planned])
    else:
        columns = ("name", "input_bos_uri", "output_bos_uri", "endpoint", "model_id")
        terminal.show_rows((spec.keywords for spec in planned), columns)
        terminal.note(f"{tables.counted(len(planned), 'task')} valid; nothing was created.")


@dataclass
class _Creation:
    """The creates of one command, reported whatever ends them."""

    terminal: Terminal
    client: TaskClient
    planned: Sequence[specs.Spec]
    is_alone: bool
    is_awaited: bool
    slot_wait: str | None
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def task_ids(self) -> list[str]:
        return [row["task_id"] for row in self.rows if row["task_id"]]

    def run(self) -> None:
        """Create all, and print what was created whatever ends it."""
        try:
            self._create_each()
        except KeyboardInterrupt as interrupt:
            spec = self.planned[len(self.rows)]
            is_known = bool(getattr(interrupt, "__notes__", ()))  # that nothing was created, says the client
            if not is_known:
                name = spec.keywords["name"]
                interrupt.add_note(
                    f"Whether {name!r} was created is not known; check: qf-tasks list --name '{name}'"
                )
            if not self.is_alone:
                self._add(spec, "not_tried" if is_known else "unknown")
            raise
        finally:
            if not self.is_alone:
                for spec in self.planned[len(self.rows) :]:
                    self._add(spec, "not_tried")
            if self.rows:
                self._show()

    def _create_each(self) -> None:
        """Create one after the other; one that fails does not end the run, unless the rest would fail too."""
        total = len(self.planned)
        waiting = f", waiting up to {self.slot_wait} for a free slot" if self.slot_wait else ""
        for number, spec in enumerate(self.planned, 1):
            count = f" ({number} of {total})" if total > 1 else ""
            doing = f"Creating {spec.keywords['name']!r}{count}{waiting}"
            try:
                with progress.shown(self.terminal, progress.Step(self.terminal, doing)):
                    created = self.client.create(**spec.keywords)
            except QfTasksError as error:
                if self.is_alone:
                    raise
                outcome = "unknown" if error.may_have_been_applied else "failed"
                self._add(spec, outcome, request_id=error.request_id, error=error)
                if isinstance(error, _FATAL):
                    break
            else:
                outcome = "reused" if created.reused else "created"
                self._add(spec, outcome, task_id=created.task_id, request_id=created.request_id)

    def _add(
        self,
        spec: specs.Spec,
        outcome: str,
        *,
        task_id: str | None = None,
        request_id: str | None = None,
        error: QfTasksError | None = None,
    ) -> None:
        self.rows.append(
            {
                "task_id": task_id,
                "name": spec.keywords["name"],
                "outcome": outcome,
                "request_id": request_id,
                "line": spec.position or None,
                "error": error,
            }
        )

    def _show(self) -> None:
        terminal = self.terminal
        completion.remember(self.task_ids)
        failed = [row for row in self.rows if not row["task_id"]]
        errors: list[QfTasksError] = [row["error"] for row in failed if row["error"]]
        if terminal.as_json and self.is_awaited and self.task_ids:
            pass  # the wait prints the one object
        elif terminal.as_json:
            created = [_without(row, "error") for row in self.rows if row["task_id"]]
            account = self.client.account.model_dump(mode="json")
            terminal.show_json({"account": account, "tasks": created, "errors": self.failed_as_json()})
        elif terminal.ids_only:
            terminal.show_rows((row for row in self.rows if row["task_id"]), ("task_id",))
        else:
            terminal.show_rows(self.rows, _COLUMNS, piped=_COLUMNS if self.is_alone else _PIPED)
        report_each(terminal, [(row["line"], row["error"]) for row in failed if row["error"]])
        if failed:
            terminal.exit_code = exit_code_of_kinds(type(error).__name__ for error in errors)

    def failed_as_json(self) -> list[dict[str, object]]:
        """Return the JSON of the tasks that were not created."""
        return [
            {**_without(row, "error"), **(as_object(self.terminal, row["error"]) if row["error"] else {})}
            for row in self.rows
            if not row["task_id"]
        ]


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name and value is not None}
