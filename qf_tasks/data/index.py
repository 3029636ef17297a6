"""Which records a set has, in constant memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

Value = bytes | int

_INSERT = "INSERT OR IGNORE INTO records (id, value) VALUES (?, ?)"
_SEE = "UPDATE records SET seen = 1 WHERE id = ? AND seen = 0 AND value = ifnull(?, value)"


class RecordIndex:
    """The ids of a set of any size, each with a value; on disk if they do not fit a small cache.

    It may be used by several threads, one after the other.
    """

    def __init__(self) -> None:
        # A database without a name is private, and its pages go to a temporary file beyond the cache.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-8192"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE records (id TEXT PRIMARY KEY, value, seen INTEGER DEFAULT 0) WITHOUT ROWID"
        )
        self._database.execute("BEGIN")

    def add(self, record_id: str, value: Value = b"") -> bool:
        """Add an id; return False if it is there already."""
        return self._database.execute(_INSERT, (record_id, value)).rowcount == 1

    def add_all(self, records: Iterable[tuple[str, Value]]) -> None:
        """Add ids with their values; an id that is there already keeps its value."""
        self._database.executemany(_INSERT, records)

    def value(self, record_id: str) -> Any:
        """Return the value of an id, None if there is no such id."""
        row = self._database.execute("SELECT value FROM records WHERE id = ?", (record_id,)).fetchone()
        return None if row is None else row[0]

    def see(self, record_id: str, value: Value | None = None) -> bool:
        """Mark an id as seen; return False if it already was, or there is no such id with this value.

        Args:
            value: Default None, whatever value the id has.
        """
        return self._database.execute(_SEE, (record_id, value)).rowcount == 1

    def is_seen(self, record_id: str) -> bool:
        """Return whether an id was marked as seen."""
        row = self._database.execute("SELECT seen FROM records WHERE id = ?", (record_id,)).fetchone()
        return row is not None and row[0] == 1

    def count_unseen(self) -> int:
        """Return how many ids were not marked as seen."""
        row = self._database.execute("SELECT count(*) FROM records WHERE seen = 0").fetchone()
        return int(row[0])

    def close(self) -> None:
        """Delete the database."""
        self._database.close()
