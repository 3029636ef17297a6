"""A terminal reduced to what these tests need: text, movements of the cursor, erasing."""

from __future__ import annotations

import re

from rich.cells import cell_len

_TOKEN = re.compile(
    r"\x1b\[(?P<args>[?0-9;]*)(?P<command>[A-Za-z])|(?P<control>[\r\n\b])|(?P<text>[^\x1b\r\n\b]+)"
)


class Screen:
    """Lines of cells; what scrolls off the top stays in `lines`, as in the scroll-back of a terminal."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        self._rows: list[list[str]] = [[]]
        self._row = 0
        self._column = 0
        self.is_cursor_visible = True

    @property
    def lines(self) -> list[str]:
        """The lines that have something on them, without blanks at their ends."""
        lines = ["".join(row).rstrip() for row in self._rows]
        return [line for line in lines if line]

    def write(self, text: str) -> None:
        """Take what a program writes."""
        for token in _TOKEN.finditer(text):
            if token["command"]:
                self._control(token["command"], token["args"])
            elif token["control"]:
                self._move(token["control"])
            else:
                for letter in token["text"]:
                    self._put(letter)

    def _put(self, letter: str) -> None:
        cells = cell_len(letter)
        if self._column + cells > self._width:
            self._move("\n")
            self._column = 0
        row = self._rows[self._row]
        row.extend(" " * (self._column + cells - len(row)))
        row[self._column : self._column + cells] = [letter] + [""] * (cells - 1)
        self._column += cells

    def _move(self, control: str) -> None:
        if control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(self._column - 1, 0)
        else:
            self._row += 1
            if self._row == len(self._rows):
                self._rows.append([])

    def _control(self, command: str, args: str) -> None:
        count = int(args) if args.isdecimal() else 1
        if command == "A":
            top = max(len(self._rows) - self._height, 0)
            self._row = max(self._row - count, top)
        elif command == "K":
            self._rows[self._row] = [] if args == "2" else self._rows[self._row][: self._column]
        elif command in "hl" and args == "?25":
            self.is_cursor_visible = command == "h"
        elif command not in "mhlGHJ":
            raise AssertionError(f"the screen does not know {command!r}")
