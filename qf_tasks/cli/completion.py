"""Shell completion of states, profiles and the ids seen last.

Whatever fails here must not fail a command: then there is nothing to complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from qf_tasks.cli.tables import TASK_FIELDS
from qf_tasks.models import RunStatus

_MAX_IDS = 200


def _cache() -> Path:
    """Return the file of the ids seen last; it has nothing but ids."""
    directory = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(directory).expanduser() / "qf_tasks" / "task-ids"


def _remembered() -> list[str]:
    with suppress(OSError, UnicodeDecodeError):
        return _cache().read_text("utf-8").split()
    return []


def remember(seen: Iterable[str], gone: Iterable[str] = ()) -> None:
    """Keep ids that a command printed, the latest first, and forget those that are gone."""
    known = _remembered()
    forgotten = set(gone)
    ids = [task_id for task_id in dict.fromkeys([*seen, *known]) if task_id not in forgotten][:_MAX_IDS]
    if ids == known:
        return
    with suppress(OSError, RuntimeError):  # a home that is read-only, or none
        cache = _cache()
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=cache.parent, delete=False) as written:
            written.write("".join(f"{task_id}\n" for task_id in ids))
        Path(written.name).replace(cache)


def task_ids(incomplete: str) -> list[str]:
    """Return the ids seen last that begin like this."""
    return [task_id for task_id in _remembered() if task_id.startswith(incomplete)]


def states(incomplete: str) -> list[str]:
    """Return the states that begin like this; after a comma another one."""
    return _of_list(incomplete, RunStatus.KNOWN)


def columns(incomplete: str) -> list[str]:
    """Return the columns of a task that begin like this; after a comma another one."""
    return _of_list(incomplete, TASK_FIELDS)


def _of_list(incomplete: str, names: Iterable[str]) -> list[str]:
    first, comma, last = incomplete.rpartition(",")
    return [f"{first}{comma}{name}" for name in names if name.startswith(last)]


def profiles(incomplete: str) -> list[str]:
    """Return the profiles of the settings file that begin like this."""
    from qf_tasks import Settings

    with suppress(Exception):
        return [name for name in Settings.profiles() if name.startswith(incomplete)]
    return []
