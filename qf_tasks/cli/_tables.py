"""Values as text for people: cells without foreign control characters, and tables that never cut an id."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from qf_tasks.models import Model

_GAP = 2
_LEAST = 10  # cells to which a column of free text may shrink
_SHRINKING = frozenset({"name", "description", "endpoint", "message", "path", "fields"})
_WRAPPED = frozenset({"message", "path", "fields"})


def text_of(value: object) -> str:
    """Return a value as one line of text: times local with their offset, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return _local(value).isoformat(sep=" ", timespec="minutes")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(text_of, value))
    if isinstance(value, dict):
        return clean(json.dumps(value, ensure_ascii=False))
    return clean(str(value))


def _local(moment: datetime) -> datetime:
    """Return a time in the zone of this machine; one at the edge of the calendar stays as it is."""
    try:
        return moment.astimezone()
    except OverflowError:
        return moment


def clean(text: str) -> str:
    """Return foreign text without what could steer a terminal: such characters are spelled out."""
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else _spelled(letter)
        for letter in text
    )


def _spelled(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def cells(row: object, names: Iterable[str]) -> list[str]:
    """Return the attributes of a row as text."""
    return [text_of(getattr(row, name)) for name in names]


def shown_fields(item: Model) -> dict[str, str]:
    """Return all that is known of one value, by name; `raw` is the same again in the service's names."""
    values = item.model_dump().items()
    return {name: text_of(value) for name, value in values if name != "raw" and value is not None}


def table(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """Return a table of `width` cells at most: columns on the right are left out before an id is cut.

    A column in which no row has anything is left out too.
    """
    filled = [at for at, name in enumerate(names) if at == 0 or any(row[at] for row in rows)]
    names, rows = [names[at] for at in filled], [[row[at] for at in filled] for row in rows]
    drawn = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    widths = _fitted(names, rows, width)
    for name, cells_wide in zip(names, widths, strict=False):
        wraps = name in _WRAPPED
        drawn.add_column(
            title(name), width=cells_wide, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis"
        )
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row[: len(widths)]))
    return drawn


def title(name: str) -> str:
    """Return the heading of a column."""
    return name.replace("_", " ").upper()


def id_width(rows: Sequence[Sequence[str]]) -> int:
    """Return the width that the ids need, whatever the terminal has."""
    return max((cell_len(row[0]) for row in rows), default=0)


def _fitted(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the widths of the columns that fit; what is left over goes to free text, from the left."""
    natural = [max(map(cell_len, column)) for column in zip(map(title, names), *rows, strict=True)]
    widths = natural[:1]
    for name, wanted in zip(names[1:], natural[1:], strict=True):
        least = min(wanted, _LEAST) if name in _SHRINKING else wanted
        if sum(widths) + least + _GAP * len(widths) > width:
            break
        widths.append(least)
    left = width - sum(widths) - _GAP * (len(widths) - 1)
    for at, wanted in enumerate(natural[: len(widths)]):
        grown = min(wanted - widths[at], max(left, 0))
        widths[at] += grown
        left -= grown
    return widths
