"""The command that creates tasks: one by options, or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qf_tasks.cli import completion, options, progress, specs, tables
from qf_tasks.cli.commands.wait import Watch
from qf_tasks.cli.errors import as_object, exit_code_of, report_each
from qf_tasks.cli.options import flag, option
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
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

_POLL_INTERVAL = "30s"
_COLUMNS = ("task_id", "name", "outcome", "request_id")
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
    shared=specs.Fields,
)
def create(
    terminal: Terminal,
    fields: specs.Fields,
    *,
    from_file: Annotated[
        Path | None, option("FILE", "Create the tasks of a .yaml (a list) or .jsonl (one a line) file.")
    ] = None,
    reuse_within: Annotated[
        str | None, option("AGE", "How old a task with that key may be: 7d.", callback=options.check_duration)
    ] = None,
    quota_timeout: Annotated[
        str | None, options.duration("Wait up to DURATION for a free slot (20 tasks may be active).")
    ] = None,
    wait: Annotated[bool, flag("--wait", "Wait until the tasks end, as `wait` does.")] = False,
    timeout: options.Timeout = "25h",
    dry_run: options.DryRun = False,
) -> None:
    """Create a task, once, and print its id.

    With --from-file the whole file is validated before the first request, and each line is reported; its
    fields are named like the options, with underscores. With --json always one object: {"account", "tasks":
    [...], "errors": [...]}.
    """
    shared = options.not_none(reuse_within=reuse_within, quota_timeout=quota_timeout)
    planned = _planned(options.keywords(fields), from_file, shared)
    if dry_run:
        columns = ("name", "input_bos_uri", "output_bos_uri", "endpoint", "model_id")
        described = [spec.keywords for spec in planned]
        terminal.show(described, described, columns)
        terminal.note(f"{tables.counted(len(planned), 'task')} valid; nothing was created.")
        return
    with terminal.client() as client:
        creation = _Creation(terminal, client, planned, is_alone=from_file is None, is_awaited=wait)
        creation.run(f", waiting up to {quota_timeout} for a free slot" if quota_timeout else "")
        if wait and creation.task_ids:
            watch = Watch(terminal, client, creation.task_ids, not_created=creation.failed_as_json())
            watch.run(timeout, _POLL_INTERVAL)


def _planned(one: dict[str, Any], from_file: Path | None, shared: dict[str, Any]) -> list[specs.Spec]:
    """Return what is to be created, checked."""
    if from_file:
        if one:
            raise typer.BadParameter(
                f"cannot be used with {', '.join(map(_option_of, one))}", param_hint="--from-file"
            )
        return specs.load(from_file, shared)
    for name in specs.REQUIRED:
        if name not in one:
            raise typer.BadParameter("is required, unless --from-file is given", param_hint=_option_of(name))
    specs.check(one)
    return [specs.Spec("", {**one, **shared})]


def _option_of(field: str) -> str:
    return f"--{field.replace('_', '-')}"


@dataclass
class _Row:
    """What has become of one task that is to be created."""

    spec: specs.Spec
    outcome: str = "not_tried"
    task_id: str | None = None
    request_id: str | None = None
    error: QfTasksError | None = None

    @property
    def name(self) -> str:
        return str(self.spec.keywords["name"])

    def fields(self) -> dict[str, Any]:
        return options.not_none(
            task_id=self.task_id,
            name=self.name,
            outcome=self.outcome,
            request_id=self.request_id,
            line=self.spec.position or None,
        )


class _Creation:
    """The creates of one command, reported whatever ends them."""

    def __init__(
        self,
        terminal: Terminal,
        client: TaskClient,
        planned: Sequence[specs.Spec],
        *,
        is_alone: bool,
        is_awaited: bool,
    ) -> None:
        self._terminal = terminal
        self._client = client
        self._rows = [_Row(spec) for spec in planned]
        self._is_alone = is_alone
        self._is_awaited = is_awaited

    @property
    def task_ids(self) -> list[str]:
        return [row.task_id for row in self._rows if row.task_id]

    def run(self, waiting: str) -> None:
        """Create one after the other; one that fails does not end the run, unless the rest would fail too."""
        total = len(self._rows)
        try:
            for number, row in enumerate(self._rows, 1):
                count = f" ({number} of {total})" if total > 1 else ""
                self._create(row, f"Creating {row.name!r}{count}{waiting}")
                if isinstance(row.error, _FATAL):
                    break
        finally:
            if self.task_ids or not self._is_alone:
                self._show()

    def _create(self, row: _Row, doing: str) -> None:
        try:
            with progress.step(self._terminal, doing):
                created = self._client.create(**row.spec.keywords)
        except KeyboardInterrupt as interrupt:
            if not getattr(interrupt, "__notes__", ()):  # the client's, that nothing was created
                row.outcome = "unknown"
                interrupt.add_note(
                    f"Whether {row.name!r} was created is not known; check: qf-tasks list --name '{row.name}'"
                )
            raise
        except QfTasksError as error:
            if self._is_alone:
                raise
            row.outcome = "unknown" if error.may_have_been_applied else "failed"
            row.request_id, row.error = error.request_id, error
        else:
            row.outcome = "reused" if created.reused else "created"
            row.task_id, row.request_id = created.task_id, created.request_id

    def _show(self) -> None:
        terminal = self._terminal
        completion.remember(self.task_ids)
        created = [row.fields() for row in self._rows if row.task_id]
        if terminal.ids_only:
            terminal.show_rows(created, ("task_id",))
        elif not terminal.as_json:
            rows = ({**row.fields(), "error": row.error} for row in self._rows)
            terminal.show_rows(
                rows, _COLUMNS, piped=_COLUMNS if self._is_alone else (*_COLUMNS, "line", "error")
            )
        elif not (self._is_awaited and created):  # the wait prints the one object
            errors = self.failed_as_json()
            terminal.show_json({"account": self._client.account, "tasks": created, "errors": errors})
        failed = [(row.spec.position, row.error) for row in self._rows if row.error]
        report_each(terminal, failed)
        if len(created) < len(self._rows):
            terminal.exit_code = exit_code_of(type(error).__name__ for _, error in failed)

    def failed_as_json(self) -> list[dict[str, object]]:
        """Return the JSON of the tasks that were not created."""
        return [
            row.fields() | (as_object(self._terminal, row.error) if row.error else {})
            for row in self._rows
            if not row.task_id
        ]
