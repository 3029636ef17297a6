"""Records that commands read, and results that they write."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TextIO

import typer

from qf_tasks.cli import tables
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.progress import View

if TYPE_CHECKING:
    from qf_tasks import Result

_STDIN = "-"
SENT = "Run it again to continue; what was sent is not sent again."
Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="JSON Lines, or directories of such files; - reads stdin."),
]
ResultFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to FILE instead of stdout; it appears when it is whole."
    ),
]


def records_in(names: Sequence[str]) -> Sequence[Path] | str | IO[Any]:
    """Return what the library accepts as records: paths, stdin for `-`, or one address in BOS."""
    if len(names) == 1 and names[0].startswith("bos:"):
        return names[0]
    if _STDIN not in names:
        return [Path(name) for name in names]
    if len(names) > 1:
        raise typer.BadParameter("- cannot be used with other files", param_hint="FILE")
    return getattr(sys.stdin, "buffer", sys.stdin)


def check_target(path: Path | None) -> None:
    """Reject a file that cannot be written, before anything is read for it.

    Raises:
        typer.BadParameter: It is a directory, or in one that does not exist.
    """
    if path and (path.is_dir() or not path.parent.is_dir()):
        problem = "is a directory" if path.is_dir() else "is in a directory that does not exist"
        raise typer.BadParameter(f"{path} {problem}", param_hint="--output")


def write_results(
    terminal: Terminal, found: Iterable[Result], target: Path | None, view: View
) -> Counter[str]:
    """Write results as lines of JSON to a file or stdout; return how many there are of each outcome."""
    outcomes: Counter[str] = Counter()
    with _whole_file(target) if target else nullcontext(terminal.out.file) as file:
        for result in found:
            fields = {k: v for k, v in result.model_dump(mode="json").items() if k != "raw"}
            file.write(terminal.dumped(fields))
            outcomes[result.outcome] += 1
            view.found = tables.counted(outcomes.total(), "result")
    return outcomes


def report_results(terminal: Terminal, outcomes: Counter[str], target: Path | None) -> None:
    """Print how many results there are of each outcome, on stdout only if that is free for it."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    if terminal.as_json and target:
        terminal.show_json({"path": target, "results": outcomes.total(), "outcomes": outcomes})
    written = f"; written to {target}" if target else ""
    total = tables.counted(outcomes.total(), "result")
    terminal.note(f"{total}{': ' if counts else ''}{counts}{written}")


@contextmanager
def _whole_file(path: Path) -> Iterator[TextIO]:
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
