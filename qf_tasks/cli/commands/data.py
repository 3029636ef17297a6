"""Commands on the data of tasks: upload, results, download."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TextIO

import typer

from qf_tasks.cli import options, progress, tables
from qf_tasks.cli.errors import note_on_interrupt
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command, terminal_of

if TYPE_CHECKING:
    from qf_tasks import Result

_STDIN = Path("-")
_SENT = "Upload again to continue; what was sent is not sent again."
_RECEIVED = "Download again to continue where it stopped."
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="JSON Lines, or directories of such files; - reads stdin."),
]
ResultFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to FILE instead of stdout; it appears when it is whole."
    ),
]


@command(
    "upload",
    examples=(
        "qf-tasks upload questions.jsonl bos:/bucket/in/",
        "qf-tasks upload monday.jsonl tuesday.jsonl bos:/bucket/in/ --dry-run",
    ),
    ids=False,
)
def upload(
    context: typer.Context,
    records: Files,
    bos_uri: Annotated[
        str, typer.Argument(metavar="BOS_URI", help="The directory of the records, bos:/bucket/folder/.")
    ],
    *,
    dry_run: options.DryRun = False,
) -> None:
    """Check records, and upload them as the input of a task.

    One record a line, such as {"id": "1", "query": "..."}. Nothing is sent before all records are checked; a
    record without an id gets its position. What is already there is not sent again. With --json one object:
    {"uri", "records", "bytes", "files", "files_sent"}.
    """
    terminal = terminal_of(context)
    source = records_in(records)
    with terminal.client() as client:
        if dry_run:
            show_upload_plan(terminal, client.data.plan(source))
            return
        view = progress.Transfer(terminal, "Uploading", before="Checking records")
        with progress.shown(terminal, view), note_on_interrupt(_SENT):
            done = client.data.upload(source, bos_uri, on_progress=view.update)
    if terminal.as_json:
        terminal.show_json(done.model_dump(mode="json"))
    else:
        terminal.show_fields(done.model_dump())


def records_in(paths: Sequence[Path]) -> Sequence[Path] | IO[Any]:
    """Return what the library accepts as records: paths, or stdin for `-`."""
    if _STDIN not in paths:
        return paths
    if len(paths) > 1:
        raise typer.BadParameter("- cannot be used with other files", param_hint="FILE")
    return getattr(sys.stdin, "buffer", sys.stdin)


def show_upload_plan(terminal: Terminal, plan: Any) -> None:
    """Print how large an upload would be."""
    if terminal.as_json:
        terminal.show_json(plan.model_dump(mode="json"))
    else:
        terminal.show_fields(plan.model_dump())
        terminal.note("Nothing was sent.")


@command(
    "results",
    examples=(
        "qf-tasks results infer-9ia3kc1wt9mp -o results.jsonl",
        "qf-tasks results infer-9ia3kc1wt9mp --missing | grep '\"failed\"'",
    ),
    ids=False,
)
def results(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The id of a task that has ended.")],
    *,
    target: ResultFile = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Read the input as well, and add records without a result.")
    ] = False,
) -> None:
    """Print the results of a task that has ended, one JSON object a line.

    Each has id, outcome (succeeded, failed, unreadable; with --missing also missing and unexpected), query,
    text, output, error, usage, file and line, in no particular order. A record that failed does not change
    the exit code; the counts are printed on stderr, and with --json -o FILE on stdout.
    """
    terminal = terminal_of(context)
    check_target(target)
    with terminal.client() as client:
        write_results(terminal, client.data.results(task, missing=missing), target)


def check_target(path: Path | None) -> None:
    """Reject a file that cannot be written, before anything is read for it.

    Raises:
        typer.BadParameter: It is a directory, or in one that does not exist.
    """
    if path and (path.is_dir() or not path.parent.is_dir()):
        problem = "is a directory" if path.is_dir() else "is in a directory that does not exist"
        raise typer.BadParameter(f"{path} {problem}", param_hint="--output")


def write_results(terminal: Terminal, found: Iterable[Result], target: Path | None) -> None:
    """Write results as lines of JSON, and print how many there are of each outcome."""
    view = progress.Step(terminal, "Reading results")
    outcomes: Counter[str] = Counter()
    is_visible = target is None and terminal.out.is_terminal  # the lines themselves
    with (
        nullcontext() if is_visible else progress.shown(terminal, view),
        whole_file(target) if target else nullcontext(terminal.out.file) as file,
    ):
        for result in found:
            file.write(
                terminal.dumped({k: v for k, v in result.model_dump(mode="json").items() if k != "raw"})
            )
            outcomes[result.outcome] += 1
            view.found = tables.counted(outcomes.total(), "result")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    if terminal.as_json and target:
        terminal.show_json({"path": str(target), "results": outcomes.total(), "outcomes": outcomes})
    written = f"; written to {target}" if target else ""
    terminal.note(f"{tables.counted(outcomes.total(), 'result')}{': ' if counts else ''}{counts}{written}")


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a file for writing that appears when it is whole; otherwise nothing is left of it."""
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@command(
    "download",
    examples=(
        "qf-tasks download infer-9ia3kc1wt9mp results.jsonl",
        "qf-tasks download infer-9ia3kc1wt9mp results/",
    ),
    ids=False,
)
def download(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The id of a task that has ended.")],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A file; or a directory, for one file per input file.")
    ],
) -> None:
    """Download the output of a task as it is in BOS.

    A file appears when it is whole; run it again after an interrupt, and it continues. With --json one
    object: {"path", "bytes"}.
    """
    terminal = terminal_of(context)
    view = progress.Transfer(terminal, "Downloading", before="Listing files")
    with terminal.client() as client, progress.shown(terminal, view), note_on_interrupt(_RECEIVED):
        written = client.data.download(task, path, on_progress=view.update)
    if terminal.as_json:
        terminal.show_json({"path": str(written), "bytes": view.total})
    else:
        terminal.show_fields({"path": str(written), "bytes": view.total})
