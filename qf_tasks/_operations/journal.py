"""The journal of a bulk delete: JSON lines on disk, each task before it is deleted and its outcome after.

Whatever kills the process, each deleted task has its `intent`; a task with an intent and no outcome has to be
looked up. The file holds tasks and the masked access key, no secret. One program uses it at a time: a lock on
the file ends with its process.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Self

from qf_tasks.errors import InvalidArgumentError, QfTasksError
from qf_tasks.models import Account, Task
from qf_tasks.reports import BulkOutcome

NOT_WRITTEN = "JournalNotWritten"

_BEGINNING = b'{"event":'  # of each line

JournalPath = str | os.PathLike[str]


class Journal:
    """An open journal of one account, new or with earlier runs in it; any number of threads may write to it.

    Attributes:
        unsettled: ids of the tasks that earlier runs intended to delete, with no outcome known.
        deleted: ids of the tasks that earlier runs deleted.
    """

    def __init__(self, path: JournalPath, account: Account) -> None:
        """Open the file, lock it and read it.

        Raises:
            InvalidArgumentError: It cannot be written or locked, another program uses it, or it is the
                journal of another account or not a journal.
        """
        if not isinstance(path, str | os.PathLike):
            raise InvalidArgumentError(f"journal must be the path of a file, not {type(path).__name__}")
        self._path = Path(path)
        self._account = account
        self._write_lock = threading.Lock()
        self._is_broken = False
        self.unsettled: set[str] = set()
        self.deleted: set[str] = set()
        try:
            self._path = self._path.expanduser().absolute()
            self._file = _open_locked(self._path)
            try:
                self._read()
            except BaseException:
                self._file.close()
                raise
        except InvalidArgumentError:
            raise
        except (OSError, RuntimeError, ValueError) as error:  # no home, a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise InvalidArgumentError(f"journal cannot be written: {reason}: {self._path}") from None

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and give up its lock."""
        self._file.close()

    def intend(self, task: Task) -> None:
        """Write that a task is about to be deleted, with everything the service returned about it.

        Raises:
            QfTasksError: It could not be written; then the task must not be deleted.
        """
        self._write("intent", task.task_id, task=task)

    def settle(self, outcome: BulkOutcome) -> None:
        """Write the outcome of a task.

        Raises:
            QfTasksError: It could not be written.
        """
        self._write("outcome", outcome.task_id, outcome=outcome)

    def _write(
        self, event: str, task_id: str, *, task: Task | None = None, outcome: BulkOutcome | None = None
    ) -> None:
        try:
            entry = {
                "event": event,
                "task_id": task_id,
                "time": datetime.now(UTC).isoformat(),
                "account": self._account.model_dump(mode="json"),
                **({"task": task.model_dump(mode="json")} if task else {}),
                **(outcome.model_dump(mode="json") if outcome else {}),
            }
            line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
            with self._write_lock:
                self._append(line)
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or "the task is nested too deeply"
            raise QfTasksError(
                f"The journal cannot be written: {reason}: {self._path}", code=NOT_WRITTEN, task_id=task_id
            ) from None

    def _append(self, line: bytes) -> None:
        """Append a line, after which nothing is written if that fails: a torn line must stay the last one."""
        if self._is_broken:
            raise OSError(errno.EIO, "an earlier line could not be written")
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise OSError(errno.ENOENT, "the file was deleted meanwhile")
        self._is_broken = True
        if self._file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file)
        self._is_broken = False

    def _read(self) -> None:
        """Find out which tasks are unsettled, and begin a new line if the last one was torn."""
        self._file.seek(0)
        line = b"\n"
        for line in self._file:
            if entry := self._entry(line):
                self._check_account(entry)
                self._remember(str(entry["task_id"]), entry)
        if not line.endswith(b"\n"):
            self._append(b"\n")

    def _remember(self, task_id: str, entry: dict[str, Any]) -> None:
        if entry["event"] == "intent":
            self.unsettled.add(task_id)
        elif entry.get("outcome") != "unknown":
            self.unsettled.discard(task_id)
            if entry.get("outcome") in ("deleted", "already_gone"):
                self.deleted.add(task_id)

    def _entry(self, line: bytes) -> dict[str, Any] | None:
        """Return the entry of a line, None if it is blank or was torn when a program or machine stopped."""
        text = line.strip(b"\0\r\n\t ")  # a file system may end a file with NUL bytes after a power failure
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            if text.startswith(_BEGINNING) or _BEGINNING.startswith(text):
                return None
            entry = None
        if isinstance(entry, dict) and entry.get("event") in ("intent", "outcome") and "task_id" in entry:
            return dict(entry)
        raise InvalidArgumentError(f"journal is not a journal of deletes, but something else: {self._path}")

    def _check_account(self, entry: dict[str, Any]) -> None:
        account = entry.get("account")
        account = account if isinstance(account, dict) else {}
        key, host = account.get("access_key"), account.get("host")
        if (key, host) != (self._account.access_key, self._account.host):
            raise InvalidArgumentError(
                f"journal belongs to {key} at {host}, but this client is {self._account}: {self._path}",
                hint="Name another file for this account. 该日志属于其他账号，请另指定文件。",
            )


def _open_locked(path: Path) -> FileIO:
    """Open a file for reading and appending, for this program alone."""
    try:
        import fcntl
    except ImportError:  # Windows
        raise OSError(errno.ENOTSUP, "files cannot be locked on this system") from None
    is_new = not path.exists()
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+b", buffering=0)
    try:
        if not path.is_file():
            raise OSError(errno.EINVAL, "it is not an ordinary file")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another program is using it") from None
        except OSError:
            raise OSError(errno.ENOLCK, "files cannot be locked in this directory") from None
        if is_new:
            _sync_directory(path.parent)
    except BaseException:
        file.close()
        raise
    return file


def _sync_directory(path: Path) -> None:
    """Make a new file survive a power failure, as its lines do."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
