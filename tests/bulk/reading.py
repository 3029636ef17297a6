"""Reading a journal, as its user would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def lines_of(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]


def told(journal: Path) -> list[tuple[str, str, str | None]]:
    return [(line["event"], line["task_id"], line.get("outcome")) for line in lines_of(journal)]
