"""What is not documented of the service, decided in one place."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ServerBehavior:
    """How the service behaves where its documentation is silent.

    Every field is a choice of the sandbox, not a fact of the service. A client that works with all values
    does not depend on a guess.
    """

    # A task id that the account does not have.
    not_found_status: int = 404
    not_found_code: str = "TaskNotFound"

    # An action that the state of the task forbids: deleting an active task, stopping one that has ended.
    wrong_state_status: int = 400
    wrong_state_code: str = "InvalidTaskStatus"

    # The code of an exceeded quota is documented, its status is not.
    quota_status: int = 400

    # Stopping a task that has ended: an error, or `"result": false`, or `"result": true`.
    stop_final: Literal["refused", "false", "true"] = "refused"

    # Whether the page contains the task that `marker` names.
    inclusive_marker: bool = True

    # A marker whose task was deleted: `InvalidMarker`, or the page that follows its former position.
    stale_marker_refused: bool = True

    # Whether `pageInfo` of a truncated page has `nextMarker`.
    next_marker: bool = True

    # A request without `Authorization`.
    unsigned_status: int = 403
    unsigned_code: str = "AccessDenied"

    # An unknown path; its code differs from that of a missing task.
    unknown_path_status: int = 404
    unknown_path_code: str = "InvalidURI"

    # A missing or unknown `Action`.
    unknown_action_status: int = 400
    unknown_action_code: str = "InvalidAction"

    # A choice: create replaces what was not sent by defaults, such as a temperature and a description.
    fill_in_defaults: bool = False

    # A choice: seconds of the sandbox's clock after its creation during which a task is not listed.
    list_delay: float = 0.0

    # A choice: seconds of the sandbox's clock after its creation during which describing a task gives 404.
    describe_delay: float = 0.0

    # A choice: the error (status, code, message) of every signed request: arrears, maintenance.
    reject_all: tuple[int, str, str] | None = None

    # A choice: whether a bucket has to be created before its first use, or is created by it.
    missing_buckets_refused: bool = False

    # A choice: the status of deleting an object that does not exist, 404 with `NoSuchKey` or 204.
    missing_object_delete_status: Literal[404, 204] = 404

    # A choice: whether a truncated list of objects has `nextMarker`.
    object_next_marker: bool = True

    # A choice: whether storing an object obeys `If-Match` and `If-None-Match`.
    conditional_put: bool = True

    # A choice: seconds of the sandbox's clock after an object was stored until it is listed.
    object_list_delay: float = 0.0

    # The shape of `output` in a result: `output.result` of older models, or `output.choices` of newer ones.
    output_shape: Literal["result", "choices"] = "result"

    # A choice: the line of a record that failed is missing, or has `error` in place of `output`.
    failed_record: Literal["absent", "error"] = "absent"

    # A choice: the name of an output file is that of its input file, or numbered.
    output_names: Literal["input", "numbered"] = "input"

    # A choice: seconds of the sandbox's clock after the end of a task until its output is in the store.
    output_delay: float = 0.0

    # A choice: whether a task that was stopped leaves the results of the records that it had processed.
    partial_output: bool = False

    # The smallest part of a multipart upload in bytes, the last one excepted; tests may lower it.
    min_part_size: int = 5 * 1024 * 1024
