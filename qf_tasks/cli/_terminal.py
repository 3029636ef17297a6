"""One run's terminal: results on stdout in the form that was asked for, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypedDict

from rich.console import Console

from qf_tasks.cli import _tables

if TYPE_CHECKING:
    from qf_tasks import TaskClient
    from qf_tasks.models import Model


class Chosen(TypedDict):
    """Keywords of the client that a command line can give: never a key."""

    profile: str | None
    config_file: Path | None
    env_file: Path | None


def _console(stream: TextIO) -> Console:
    return Console(file=stream, force_terminal=stream.isatty(), markup=False, highlight=False, emoji=False)


@dataclass
class Terminal:
    """How a user wants things told, the streams to tell them on, and the exit code so far.

    Attributes:
        profile, config_file, env_file: what the client is made with.
        as_json: results, and errors, as JSON; `ids_only`: as bare ids.
        debug: tell errors with their traceback, and log every request.
        exit_code: what the process ends with.
        signal: the last that came, `interrupts` how many did.
        in_flight: how many tasks are finished although a signal comes.
    """

    profile: str | None = None
    config_file: Path | None = None
    env_file: Path | None = None
    as_json: bool = False
    ids_only: bool = False
    debug: bool = False
    exit_code: int = 0
    signal: int | None = None
    interrupts: int = 0
    in_flight: int = 0
    out: Console = field(default_factory=lambda: _console(sys.stdout))
    err: Console = field(default_factory=lambda: _console(sys.stderr))

    def client(self) -> TaskClient:
        """Return a client of the account that the user means."""
        from qf_tasks import TaskClient

        return TaskClient(**self.chosen)

    @property
    def chosen(self) -> Chosen:
        """Where the settings are to come from, as keywords of the client."""
        return {"profile": self.profile, "config_file": self.config_file, "env_file": self.env_file}

    @property
    def can_animate(self) -> bool:
        """Whether there is somebody who sees things move."""
        is_lively = self.err.is_terminal and not self.err.is_dumb_terminal
        return is_lively and not self.err.no_color and not self.as_json

    @property
    def can_ask(self) -> bool:
        """Whether there is somebody to answer, who is also told what the question is about."""
        return bool(sys.stdin) and sys.stdin.isatty() and self.err.is_terminal and not self.as_json

    def note(self, text: str, style: str | None = None) -> None:
        """Tell something that is not the result, on one line however long.

        A program that asked for JSON is told nothing: it gets one object where something goes wrong, or all
        with --debug.
        """
        if self.as_json and not self.debug:
            return
        try:
            if self.err.is_terminal:
                self.err.print(_tables.clean(text), style=style, soft_wrap=True)
            else:  # rich would end the process where nobody listens
                self.err.file.write(f"{_tables.clean(text)}\n")
        except BrokenPipeError:
            leave_closed_pipe(self.err)

    def show_many(self, items: Iterable[Model], names: Sequence[str]) -> None:
        """Print values by their attributes `names`, of which the first is the id.

        Without a terminal and without JSON each is printed as it comes.
        """
        if self.as_json:
            self.show_json([item.model_dump(mode="json") for item in items])
        elif self.ids_only or not self.out.is_terminal:
            for item in items:
                self._line(_tables.cells(item, names[:1] if self.ids_only else names))
        elif rows := [_tables.cells(item, names) for item in items]:
            self.out.width = max(self.out.width, _tables.id_width(rows))
            self.out.print(_tables.table(names, rows, self.out.width))

    def show_one(self, item: Model, names: Sequence[str] = ()) -> None:
        """Print one value: its attributes `names` on a line; without these all that is known, a line each."""
        if self.as_json:
            self.show_json(item.model_dump(mode="json"))
            return
        if names or self.ids_only:
            self.show_many([item], names or ("task_id",))
            return
        fields = _tables.shown_fields(item)
        if not self.out.is_terminal:
            for row in fields.items():
                self._line(row)
        else:
            width = max(map(len, fields))
            for name, text in fields.items():
                self.out.print(f"{_tables.title(name):{width}}  {text}", soft_wrap=True)

    def show_json(self, value: object) -> None:
        """Print a JSON value; an encoding that lacks letters gets them spelled as JSON does."""
        self.out.file.write(_dumped(value, self.out.encoding))

    def note_json(self, value: object) -> None:
        """Tell what went wrong as JSON on one line."""
        try:
            self.err.file.write(_dumped(value, self.err.encoding, indent=None))
        except BrokenPipeError:
            leave_closed_pipe(self.err)

    def ask(self, question: str) -> bool:
        """Return whether the user says yes; anything else, and the end of the input, is no."""
        self.err.print(f"{question} [y/N] ", end="", soft_wrap=True)
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _line(self, cells: Iterable[str]) -> None:
        self.out.file.write("\t".join(cells) + "\n")


def _dumped(value: object, encoding: str, indent: int | None = 2) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=not encoding.startswith("utf")) + "\n"


def prepare_streams() -> None:
    """Let no letter that the terminal lacks, and no stream that was closed beforehand, end a run."""
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def leave_closed_pipe(console: Console) -> None:
    """Write to nowhere from now on, where the reader has left; else Python would complain at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, console.file.fileno())
    os.close(nowhere)
