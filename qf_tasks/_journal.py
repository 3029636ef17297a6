"""The journal of deletes: JSON lines on disk, the task before it is deleted and the outcome after.

Whatever kills the process, each deleted task has its `intent`, and an intent without an outcome is one to
look up. The file holds tasks and the masked access key, and no secret. It is opened for each line, so that
nobody has to close it. What is to be done about a line is not decided here.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from qf_tasks.errors import InvalidArgumentError, QfTasksError
from qf_tasks.models import Model, Task
from qf_tasks.reports import BulkOutcome
from qf_tasks.settings import Account
from qf_tasks.settings.files import absolute

NOT_WRITTEN = "JournalNotWritten"


class Journal:
    """A journal of one account, new or with earlier runs in it; any number of threads may write to it.

    Attributes:
        intended: the ids of the tasks that earlier runs were about to delete.
        unsettled: those of them of which it stayed open whether they were deleted.

    Raises:
        InvalidArgumentError: it cannot be written, is of another account, or is no journal.
    """

    def __init__(self, path: str | os.PathLike[str], account: Account) -> None:
        if not isinstance(path, str | os.PathLike):
            raise InvalidArgumentError(f"journal must be the path of a file, not {type(path).__name__}")
        self._path = absolute(path)
        self._account = account
        self._lock = threading.Lock()
        self.intended: set[str] = set()
        self.unsettled: set[str] = set()
        try:
            self._open()
        except OSError as error:
            what = f"journal cannot be written: {error.strerror}: {self._path}"
            raise InvalidArgumentError(what) from error

    def intend(self, task: Task) -> None:
        """Write down a task that is about to be deleted.

        Raises:
            QfTasksError: it could not be; then the task must not be deleted.
        """
        self._write("intent", task.task_id, task=task.model_dump(mode="json"))

    def settle(self, outcome: BulkOutcome) -> None:
        """Write down what became of a task.

        Raises:
            QfTasksError: it could not be.
        """
        self._write("outcome", **outcome.model_dump(mode="json"))

    def _write(self, event: str, task_id: str, **content: Any) -> None:
        entry = {
            "event": event,
            "task_id": task_id,
            "time": datetime.now(UTC).isoformat(),
            "account": self._account.model_dump(mode="json"),
            **content,
        }
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        try:
            with self._path.open("ab") as file:
                with self._lock:
                    file.write(line)
                    file.flush()
                os.fsync(file)
        except OSError as error:
            what = f"The journal cannot be written any more: {error.strerror}: {self._path}"
            raise QfTasksError(what, code=NOT_WRITTEN, task_id=task_id) from error

    def _open(self) -> None:
        """Read what is there, and make sure that a next line can be written."""
        self._path.touch(mode=0o600)
        if not self._path.is_file():
            raise OSError(errno.EINVAL, "it is no ordinary file")
        with self._path.open("a+b") as file:
            file.seek(0)
            text = b"\n"
            for text in file:
                if line := _line(text, self._path):
                    self._take(line)
            if not text.endswith(b"\n"):  # it was cut off, and stays as it is
                file.write(b"\n")

    def _take(self, line: _Line) -> None:
        if line.account != self._account:
            raise InvalidArgumentError(
                f"journal is of {line.account}, and these are the keys of {self._account}: {self._path}",
                hint="Name another file for this account. 该日志属于其他账号，请另指定文件。",
            )
        if line.event == "intent":
            self.intended.add(line.task_id)
            self.unsettled.add(line.task_id)
        elif line.outcome != "unknown":
            self.unsettled.discard(line.task_id)


@dataclass(frozen=True, slots=True)
class _Line(Model):
    """What has to be known of a line to go on after it."""

    event: Literal["intent", "outcome"]
    task_id: str
    account: Account
    outcome: str | None = None


def _line(text: bytes, path: Path) -> _Line | None:
    """Return a line of a journal, None where it is blank or was cut off while it was written."""
    try:
        return _Line.model_validate_json(text)
    except ValidationError as error:
        is_json = error.errors()[0]["type"] != "json_invalid"
    if is_json or text[:1] not in (b"{", b"\n"):
        raise InvalidArgumentError(f"journal is no journal of deletes, but something else: {path}")
    return None
