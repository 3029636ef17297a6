"""Maps the service's error codes and statuses to exceptions, and says what a failed attempt means.

This file is given codes, statuses and texts; it knows nothing of HTTP libraries or of the SDK.
"""

from __future__ import annotations

import re
from typing import Unpack

from qf_tasks._protocol.actions import IDEMPOTENT_ACTIONS, READ_ACTIONS
from qf_tasks.errors import (
    ApiError,
    AuthenticationError,
    BadResponseError,
    ErrorDetails,
    InvalidRequestError,
    PermissionDeniedError,
    QfTasksError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    ServiceUnreachableError,
    TaskNotFoundError,
)

# The codes of the service, then the numbers of the older error shape that the SDK knows and the console may
# still use inside a 200: `.github/docs/service.md#errors`.
_BY_CODE: dict[str, type[ApiError]] = {
    "InvalidAccessKeyId": AuthenticationError,
    "SignatureDoesNotMatch": AuthenticationError,
    "RequestExpired": AuthenticationError,
    "InvalidHTTPAuthHeader": AuthenticationError,
    "AccessDenied": PermissionDeniedError,
    "OptInRequired": PermissionDeniedError,
    "InappropriateJSON": InvalidRequestError,
    "MalformedJSON": InvalidRequestError,
    "InvalidMarker": InvalidRequestError,
    "InvalidBosUri": InvalidRequestError,
    "InvalidHTTPRequest": InvalidRequestError,
    "InvalidURI": InvalidRequestError,
    "InvalidVersion": InvalidRequestError,
    "TaskRunningNumberExceedLimit": QuotaExceededError,
    "InternalError": ServerError,
    "4": RateLimitError,
    "17": RateLimitError,
    "18": RateLimitError,
    "19": RateLimitError,
    "336100": RateLimitError,
    "336501": RateLimitError,
    "336502": RateLimitError,
    "14": AuthenticationError,
    "336000": ServerError,
    "500000": ServerError,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    429: RateLimitError,
}
_HINTS: dict[str, str] = {
    "InvalidAccessKeyId": "The access key is unknown: check it for typing errors, and that it is an "
    "IAM key (安全认证), not an application's API key. Access Key 错误，认证失败。",
    "SignatureDoesNotMatch": "The secret key does not belong to this access key, or has a stray "
    "character. Secret Key 错误，认证失败。",
    "RequestExpired": "The clock of this machine is wrong; `qf-tasks doctor` shows by how much. "
    "本机时钟偏差过大，签名已过期，认证失败。",
    "OptInRequired": "Activate Qianfan for this account in the console first. 请先在控制台开通服务权限。",
    "InvalidBosUri": "A BOS directory is written bos:/bucket/folder/, with one slash after bos:.",
}
# The gateway's messages, whatever code they come with; the SDK matches the same two.
_CODE_BY_MESSAGE = {
    "Could not find credential": "InvalidAccessKeyId",
    "Signature does not match": "SignatureDoesNotMatch",
}
# Only codes about the task ("AccountNotExist" is not one); ambiguous codes are resolved by a lookup.
_NOT_FOUND_CODE = re.compile(
    r"(batch|inference|task|job|resource|_)*(not_?(found|exists?)|missing)|no_?such_?(task|job|resource)",
    re.IGNORECASE,
)
_TASK = re.compile("task|job|inference", re.IGNORECASE)
_NEVER_CONNECTED = frozenset(
    {"NameNotResolved", "ConnectionFailed", "ConnectTimeout", "CertificateNotVerified", "ProxyFailed"}
)


def api_error(message: str, **details: Unpack[ErrorDetails]) -> ApiError:
    """Return the exception for a rejection in the service's own shape.

    No code for "not found" is documented: it is a 404 or a code of that meaning, if the action has a task id.
    """
    code = next((known for part, known in _CODE_BY_MESSAGE.items() if part in message), details.get("code"))
    details["code"] = code
    details["hint"] = _HINTS.get(code or "")
    error = _class_of(code or "", details.get("status") or 0, has_task=bool(details.get("task_id")))
    return error(message, **details)


def is_known(code: str) -> bool:
    """Return whether the meaning of a code is known."""
    return code in _BY_CODE


def says_task_not_found(code: str | None) -> bool:
    """Return whether a code can only mean that a task does not exist.

    A status of 404, or "NotFound" without saying what, can be a gateway's response to every request.
    """
    return _NOT_FOUND_CODE.fullmatch(code or "") is not None and _TASK.search(code or "") is not None


def may_have_been_applied(error: QfTasksError) -> bool:
    """Return whether the service may have done what it was asked in the one attempt that failed like this."""
    if isinstance(error, ServiceUnreachableError):
        return error.code not in _NEVER_CONNECTED
    return isinstance(error, ServerError | BadResponseError)


def is_retryable(action: str, error: QfTasksError) -> bool:
    """Return whether an action may be sent again after this failure.

    An action that is not known here is treated like a create: only what definitely did not arrive or was
    definitely rejected is sent again.
    """
    if not isinstance(error, ServiceUnreachableError | RateLimitError | ServerError) or not error.retryable:
        return False
    return action in READ_ACTIONS or action in IDEMPOTENT_ACTIONS or not may_have_been_applied(error)


def _class_of(code: str, status: int, *, has_task: bool) -> type[ApiError]:
    if status >= 500:  # before the code: whatever it is, the request may have been applied
        return ServerError
    if known := _BY_CODE.get(code):
        return known
    if has_task and (status == 404 or _NOT_FOUND_CODE.fullmatch(code)):
        return TaskNotFoundError
    return _BY_STATUS.get(status, ApiError)
