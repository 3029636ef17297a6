"""What nobody has documented, decided once.

Everything here is a choice of the sandbox, not a fact of the service. A client that works under every
value of `ServerBehavior` does not lean on a guess.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ServerBehavior:
    """The open questions of the service, each with the answer the sandbox gives by default."""

    # A task id that the account does not have.
    not_found_status: int = 404
    not_found_code: str = "TaskNotFound"

    # A state that forbids the action: deleting an active task, stopping a final one.
    wrong_state_status: int = 400
    wrong_state_code: str = "InvalidTaskStatus"

    # The code of the quota is documented, its status is not.
    quota_status: int = 400

    # Stopping a task that has ended: an error, or `"result": false`, or `"result": true`.
    stop_final: Literal["refused", "false", "true"] = "refused"

    # Whether the task that `marker` names is itself in the page.
    inclusive_marker: bool = True

    # A marker whose task was deleted: `InvalidMarker`, or the place where it was.
    stale_marker_refused: bool = True

    # Whether `pageInfo` has `nextMarker` while there is more.
    next_marker: bool = True

    # A request without `Authorization`.
    unsigned_status: int = 403
    unsigned_code: str = "AccessDenied"

    # A path other than the route; never to be taken for a task that is not there.
    unknown_path_status: int = 404
    unknown_path_code: str = "InvalidURI"

    # A missing or unknown `Action`.
    unknown_action_status: int = 400
    unknown_action_code: str = "InvalidAction"
