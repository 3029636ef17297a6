"""The table from the service's codes and statuses to the classes of errors, and what to do about each.

It is given codes, statuses and texts; it knows nothing of HTTP libraries or of the SDK.
"""

from __future__ import annotations

import re
from typing import Unpack

from qf_tasks.errors import (
    ApiError,
    AuthenticationError,
    ErrorDetails,
    InvalidRequestError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    TaskNotFoundError,
)

# The words of the service (Pmh4sv5qa, Wlyckvrz8, Bjz3uz3qj, amh4suzbi), then the numbers that the
# SDK knows from the older error shape, which the console may still use inside a 200.
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
    "RequestExpired": "The clock of this machine is off: set it right; `qf-tasks doctor` shows by how "
    "much. 本机时钟偏差过大，签名已过期，认证失败。",
    "OptInRequired": "Activate Qianfan for this account in the console first. 请先在控制台开通服务权限。",
    "InvalidBosUri": "A BOS directory is written bos:/bucket/folder/, with one slash after bos:.",
}
# What the gateway says in its headers, whatever code stands beside it (the SDK matches these two).
_BY_MESSAGE = {
    "Could not find credential": "InvalidAccessKeyId",
    "Signature does not match": "SignatureDoesNotMatch",
}
# Of the task, that is: "AccountNotExist" says nothing of it, and is for a look to tell.
_NOT_FOUND_CODE = re.compile(
    r"(batch|inference|task|job|resource|_)*(not_?(found|exists?)|missing)|no_?such_?(task|job|resource)",
    re.IGNORECASE,
)
_SIGNED_HEADER = re.compile(r"""bce-auth-v1(\\?/[^\s"'<>\\/]*)*""")  # in JSON, a slash may be escaped


def scrubbed(text: str) -> str:
    """Return a foreign text without a signed header that somebody echoed into it."""
    return _SIGNED_HEADER.sub("(signed header)", text)


def safe_line(text: str, limit: int = 500) -> str:
    """Return a foreign text as one short line, without a signed header."""
    printable = "".join(char if char.isprintable() else " " for char in scrubbed(text[: 4 * limit]))
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def api_error(message: str, **facts: Unpack[ErrorDetails]) -> ApiError:
    """Return the error that the tables name for a refusal in the service's own shape.

    "Not found" is documented nowhere: it is a 404 or a code that says so, for an action with a task
    id, and never where the address itself was refused.
    """
    code = next((known for said, known in _BY_MESSAGE.items() if said in message), facts.get("code"))
    status = facts.get("status") or 0
    facts["code"] = code
    facts["hint"] = _HINTS.get(code or "")
    return _class_of(code or "", status, has_task=bool(facts.get("task_id")))(message, **facts)


def is_known(code: str) -> bool:
    """Return whether the table has this code."""
    return code in _BY_CODE


def _class_of(code: str, status: int, *, has_task: bool) -> type[ApiError]:
    if known := _BY_CODE.get(code):
        return known
    if status >= 500:
        return ServerError
    if has_task and (status == 404 or _NOT_FOUND_CODE.fullmatch(code)):
        return TaskNotFoundError
    return _BY_STATUS.get(status, ApiError)
