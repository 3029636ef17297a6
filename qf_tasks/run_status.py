"""The states of a task, and the one table of what each of them allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class _Rules(NamedTuple):
    is_final: bool = False
    is_success: bool = False
    can_stop: bool = False
    can_delete: bool = False


class RunStatus(str):
    """The state of a task, in the service's own word: a `str` that knows what the state allows.

    Seven are documented (mluhsekbp). A word that is not among them is kept as it is; it is not
    final, and allows nothing. That Expired and Failed tasks can be deleted like Done and Stopped ones
    (7lzkz53j5) is inferred, and so is that a queuing task can be stopped.
    """

    __slots__ = ()

    QUEUING: ClassVar[RunStatus]
    RUNNING: ClassVar[RunStatus]
    DONE: ClassVar[RunStatus]
    STOPPING: ClassVar[RunStatus]
    STOPPED: ClassVar[RunStatus]
    FAILED: ClassVar[RunStatus]
    EXPIRED: ClassVar[RunStatus]
    KNOWN: ClassVar[tuple[RunStatus, ...]]

    @property
    def is_final(self) -> bool:
        """Whether the task has ended, well or not."""
        return self._rules.is_final

    @property
    def is_success(self) -> bool:
        """Whether the task ran to its end. Single records may have failed all the same."""
        return self._rules.is_success

    @property
    def can_stop(self) -> bool:
        """Whether the service is expected to stop a task in this state."""
        return self._rules.can_stop

    @property
    def can_delete(self) -> bool:
        """Whether the service is expected to delete a task in this state."""
        return self._rules.can_delete

    @property
    def _rules(self) -> _Rules:
        return _STATES.get(self, _UNKNOWN)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic read the plain word."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


_UNKNOWN = _Rules()
_STATES: dict[str, _Rules] = {
    "Queuing": _Rules(can_stop=True),
    "Running": _Rules(can_stop=True),
    "Done": _Rules(is_final=True, is_success=True, can_delete=True),
    "Stopping": _Rules(),
    "Stopped": _Rules(is_final=True, can_delete=True),
    "Failed": _Rules(is_final=True, can_delete=True),
    "Expired": _Rules(is_final=True, can_delete=True),
}
RunStatus.KNOWN = tuple(RunStatus(word) for word in _STATES)
for _status in RunStatus.KNOWN:
    setattr(RunStatus, _status.upper(), _status)

# Those that the quota counts (amh4suzbi).
ACTIVE: tuple[RunStatus, ...] = (RunStatus.QUEUING, RunStatus.RUNNING, RunStatus.STOPPING)
