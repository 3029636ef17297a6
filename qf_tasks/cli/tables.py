"""Values as text for people: cells without control characters, and tables that never cut an id."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from qf_tasks import Task

_GAP = 2
_MIN_WIDTH = 10  # cells to which a column of free text may shrink
_SHRINKING = frozenset(
    {"name", "description", "endpoint", "message", "value", "source", "output_uri", "error_reason"}
)
_WRAPPED = frozenset({"message", "value", "source"})
_COLORS = {
    **dict.fromkeys(("Done", "deleted", "already_gone", "stopped", "created", "reused", "ok"), "green"),
    **dict.fromkeys(("Failed", "Expired", "failed", "unknown", "not_found", "refused"), "red"),
    **dict.fromkeys(("Stopping", "Stopped", "stopping", "not_tried", "skipped", "warning"), "yellow"),
    **dict.fromkeys(("Running",), "cyan"),
    **dict.fromkeys(("Queuing",), "blue"),
}
_COLORED = frozenset({"run_status", "outcome", "state"})

# What a table of tasks can show.
TASK_FIELDS = (
    "task_id",
    "run_status",
    "age",
    "name",
    "progress",
    "create_time",
    "finish_time",
    "endpoint",
    "model_id",
    "creator",
    "description",
    "input_bos_uri",
    "output_bos_uri",
    "output_uri",
    "input_token_usage",
    "output_token_usage",
    "data_format",
    "error_code",
    "error_reason",
)

Row = Mapping[str, object]


def text_of(value: object) -> str:
    """Return a value as one line of text: times in local time with their offset, "" for None."""
    match value:
        case None:
            return ""
        case datetime():
            return _local(value).isoformat(sep=" ", timespec="minutes")
        case bool():
            return "yes" if value else "no"
        case tuple() | list():
            return ", ".join(map(text_of, value))
        case dict():
            return clean(json.dumps(value, ensure_ascii=False))
        case _:
            return clean(str(value))


def _local(moment: datetime) -> datetime:
    """Return a time in the zone of this machine; one at the edge of the calendar stays as it is."""
    try:
        return moment.astimezone()
    except OverflowError:
        return moment


def age_of(moment: datetime | None) -> str | None:
    """Return how long ago a time is, in its largest unit: `45s`, `7m`, `12h`, `30d`."""
    if moment is None:
        return None
    seconds = max((datetime.now(UTC) - moment).total_seconds(), 0)
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def clock_of(seconds: float) -> str:
    """Return a length of time as `H:MM:SS`."""
    return str(timedelta(seconds=int(seconds)))


def clean(text: str) -> str:
    """Return foreign text with every character that could steer a terminal escaped."""
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else _escaped(letter)
        for letter in text
    )


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def task_row(task: Task, columns: Iterable[str]) -> Row:
    """Return these columns of a task; `age` is made of its create time, `records_done` is its progress."""
    made = {"age": age_of(task.create_time), "records_done": task.progress}
    return {column: made[column] if column in made else getattr(task, column) for column in columns}


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    """Return the values of a row as text."""
    return [text_of(row.get(column)) for column in columns]


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def title(column: str) -> str:
    """Return the heading of a column."""
    return column.replace("_", " ").upper()


def colored(column: str, text: str) -> Text:
    """Return a cell, with a state or an outcome in its colour."""
    return Text(text, _COLORS.get(text, "") if column in _COLORED else "")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """Return a table of at most `width` cells: columns on the right are left out before an id is cut.

    A column in which no row has anything is left out too.
    """
    filled = [index for index in range(len(columns)) if index == 0 or any(row[index] for row in rows)]
    columns, rows = [columns[index] for index in filled], [[row[index] for index in filled] for row in rows]
    drawn = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    widths = _fitted(columns, rows, width)
    for column, column_width in zip(columns, widths, strict=False):
        wraps = column in _WRAPPED
        drawn.add_column(
            title(column), width=column_width, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis"
        )
    for row in rows:
        drawn.add_row(*(colored(*cell) for cell in zip(columns[: len(widths)], row, strict=False)))
    return drawn


def id_width(rows: Sequence[Sequence[str]]) -> int:
    """Return the width that the ids need, however narrow the terminal is."""
    return max((cell_len(row[0]) for row in rows), default=0)


def _fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the widths of the columns that fit; what is left over goes to free text, from the left."""
    natural = [max(map(cell_len, column)) for column in zip(map(title, columns), *rows, strict=True)]
    widths = natural[:1]
    for column, wanted in zip(columns[1:], natural[1:], strict=True):
        least = min(wanted, _MIN_WIDTH) if column in _SHRINKING else wanted
        if sum(widths) + least + _GAP * len(widths) > width:
            break
        widths.append(least)
    left = width - sum(widths) - _GAP * (len(widths) - 1)
    for index, wanted in enumerate(natural[: len(widths)]):
        grown = min(wanted - widths[index], max(left, 0))
        widths[index] += grown
        left -= grown
    return widths
