"""The terminal of one run: results on stdout in the form that was asked for, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from signal import SIGINT
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console

from qf_tasks.cli import tables
from qf_tasks.models import Model

if TYPE_CHECKING:
    from qf_tasks import Account, TaskClient
    from qf_tasks.cli.tables import Row


class _Console(Console):
    """A console that leaves a closed pipe to the command, which ends quietly; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    return _Console(file=stream, force_terminal=stream.isatty(), markup=False, highlight=False, emoji=False)


@dataclass
class Terminal:
    """The streams of a run, how its results are to be printed, and its exit code so far.

    Attributes:
        settings: Where the settings come from: `profile`, `config_file` and `env_file` of the client.
        as_json: Print results and errors as JSON.
        ids_only: Print results as bare ids.
        debug: Show errors with their traceback, and log every request.
        names: How the parameters of the command are written on a command line.
        exit_code: The exit code of the process.
        signal: The last signal that came, `interrupts` how many did.
        in_flight: How many tasks are being worked on; a first signal lets these finish.
        retries: How many requests were retried.
        stopping: Tasks that were asked to stop and are not dealt with yet.
    """

    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    as_json: bool = False
    ids_only: bool = False
    debug: bool = False
    names: dict[str, str] = field(default_factory=dict[str, str])
    exit_code: int = 0
    signal: int | None = None
    interrupts: int = 0
    in_flight: int = 0
    retries: int = 0
    stopping: set[str] = field(default_factory=set[str])
    out: Console = field(default_factory=lambda: _console(sys.stdout))
    err: Console = field(default_factory=lambda: _console(sys.stderr))

    def client(self) -> TaskClient:
        """Return a client for the account that the user chose."""
        from qf_tasks import TaskClient

        return TaskClient(**self.settings)

    @property
    def interrupt_code(self) -> int:
        """The exit code after an interrupt."""
        return 128 + (self.signal or SIGINT)

    @property
    def can_animate(self) -> bool:
        """Whether a live display on stderr makes sense."""
        return self.err.is_terminal and not self.err.is_dumb_terminal and not self.as_json

    @property
    def can_ask(self) -> bool:
        """Whether somebody can read a question and answer it."""
        return bool(sys.stdin) and sys.stdin.isatty() and self.err.is_terminal and not self.as_json

    def note(self, text: str, style: str | None = None) -> None:
        """Print on stderr something that is not the result, as one line however long.

        With --json nothing is printed, unless --debug asks for it: a program reads one object.
        """
        if self.as_json and not self.debug:
            return
        try:
            self.err.print(tables.clean(text), style=style, soft_wrap=True)
        except BrokenPipeError:
            discard(self.err)

    def note_rows(self, rows: Iterable[Row], columns: Sequence[str]) -> None:
        """Print rows on stderr, on a terminal as a table."""
        filled = [tables.cells(row, columns) for row in rows]
        if self.err.is_terminal and not self.as_json:
            _print_table(self.err, columns, filled)
        else:
            for texts in filled:
                self.note("  ".join(texts))

    def note_json(self, value: object) -> None:
        """Print an error as JSON on one line of stderr."""
        try:
            self.err.file.write(_dumped(value, self.err.encoding, indent=None))
        except BrokenPipeError:
            discard(self.err)

    def show(
        self, value: object, rows: Iterable[Row], columns: Sequence[str], *, piped: Sequence[str] = ()
    ) -> None:
        """Print a value as JSON if that was asked for, else its rows."""
        if self.as_json:
            self.show_json(value)
        else:
            self.show_rows(rows, columns, piped=piped)

    def show_rows(self, rows: Iterable[Row], columns: Sequence[str], *, piped: Sequence[str] = ()) -> None:
        """Print rows, of which the first column is the id: a table, or lines of tab-separated values.

        Without a terminal each line is printed as it comes, with the columns of `piped` where they differ.
        """
        if self.ids_only or not self.out.is_terminal:
            names = columns[:1] if self.ids_only else piped or columns
            for row in rows:
                self.line(tables.cells(row, names))
        else:
            _print_table(self.out, columns, [tables.cells(row, columns) for row in rows])

    def show_fields(self, fields: Row, *, as_json: object = None) -> None:
        """Print one value, a line for each field that it has; with --json the value itself."""
        if self.as_json:
            self.show_json(fields if as_json is None else as_json)
            return
        texts = {name: tables.text_of(value) for name, value in fields.items() if value is not None}
        width = max(map(len, texts))
        for name, text in texts.items():
            if self.out.is_terminal:
                title = f"{tables.title(name):{width}}  "
                self.out.print(title, tables.colored(name, text), sep="", soft_wrap=True)
            else:
                self.line((name, text))

    def show_text(self, text: str) -> None:
        """Print a line, which a narrow terminal wraps and nothing cuts."""
        self.out.print(tables.clean(text), soft_wrap=True)

    def show_json(self, value: object, *, indent: int | None = 2) -> None:
        """Print a JSON value, in which the library's models may be."""
        self.out.file.write(self.dumped(value, indent=indent))

    def dumped(self, value: object, *, indent: int | None = None) -> str:
        """Return a JSON value as text for stdout, which a terminal can show."""
        return _dumped(value, self.out.encoding, indent=indent)

    def line(self, values: Iterable[str]) -> None:
        """Print tab-separated values."""
        self.out.file.write("\t".join(values) + "\n")

    def require_answer(self, *, is_needless: bool) -> None:
        """Refuse, before anything is read, what would ask a question that nobody can answer."""
        if not (is_needless or self.can_ask):
            raise typer.BadParameter(
                "required without a terminal, and with --json; --dry-run shows what would be deleted",
                param_hint="--yes",
            )

    def confirm_deletion(self, what: str, account: Account) -> bool:
        """Return whether the user agrees, and keep that nothing was done if not."""
        is_agreed = self.ask(f"Delete {what} of {account.access_key} at {account.host}?")
        if not is_agreed:
            self.note("Nothing was deleted.")
            self.exit_code = 1
        return is_agreed

    def ask(self, question: str) -> bool:
        """Return whether the user answers yes; anything else, and the end of the input, is no."""
        return self.prompt(f"{question} [y/N]").lower() in {"y", "yes"}

    def prompt(self, question: str) -> str:
        """Return the line that the user types."""
        self.err.print(f"{tables.clean(question)} ", end="", soft_wrap=True)
        self.err.file.flush()
        return sys.stdin.readline().strip()


def _print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        console.width = max(console.width, tables.id_width(rows))  # an id is never cut
        console.print(tables.table(columns, rows, console.width))


# Control characters and changes of direction, which JSON allows in text and a terminal would obey.
_CONTROLS = re.compile(r"[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _dumped(value: object, encoding: str, *, indent: int | None) -> str:
    """Return a value as JSON; letters that the encoding lacks are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=not encoding.startswith("utf"), default=_plain)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, Model) else str(value)


def prepare_streams() -> None:
    """Make sure that no letter the terminal lacks, and no stream that is closed, ends a run."""
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def discard(console: Console) -> None:
    """Send what is still to be written nowhere: the reader left or the disk is full.

    Python would otherwise complain about the same failure when it flushes the stream at exit.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, console.file.fileno())
    except io.UnsupportedOperation:  # a stream in memory
        pass
    finally:
        os.close(nowhere)
