"""Who signed a request, by the written rules of bce-auth-v1 (njwvz1yfu, hjwvz1y4f).

Pure functions over names and values, written from the rules and not from an SDK, so that the two can
disagree. Whatever is put in, either an access key comes out or a `Refusal`.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Self
from urllib.parse import quote

from .behavior import ServerBehavior
from .wire import Refusal, Request

# An empty list of signed headers means these (njwvz1yfu-en) and every `x-bce-*`.
_DEFAULT_SIGNED = frozenset({"host", "content-length", "content-type", "content-md5"})

# Documented for a sibling product (Amaz0pqhn), taken to hold here.
_LARGEST_SKEW = 30 * 60

_AUTHORIZATION = re.compile(
    r"bce-auth-v1/(?P<access_key>[^/]+)/(?P<timestamp>[^/]+)/(?P<expires_in>[0-9]{1,12})"
    r"/(?P<signed_headers>[^/]*)/(?P<signature>[^/]+)"
)


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an `Authorization` header."""

    access_key: str
    timestamp: str
    expires_in: int
    signed_headers: frozenset[str]
    """The lower-case names, or the default ones in place of an empty list."""
    signature: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The parts of `text`; raises `Refusal` where it is no bce-auth-v1 string."""
        match = _AUTHORIZATION.fullmatch(text.strip())
        if match is None:
            raise _refusal(400, "InvalidHTTPAuthHeader", "The Authorization header is malformed.")
        names = match["signed_headers"].split(";")
        return cls(
            match["access_key"],
            match["timestamp"],
            int(match["expires_in"]),
            frozenset(name.strip().lower() for name in names if name.strip()) or _DEFAULT_SIGNED,
            match["signature"],
        )

    def sign(self, secret_key: str, canonical_request: str) -> str:
        """The signature that the holder of `secret_key` would have made."""
        prefix = f"bce-auth-v1/{self.access_key}/{self.timestamp}/{self.expires_in}"
        return _hmac(_hmac(secret_key, prefix), canonical_request)


def canonical_request(
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    names: Iterable[str],
) -> str:
    """What is signed: method, path, query and the headers in `names`, never the body."""
    parameters = sorted(
        f"{_encode(name)}={_encode(value)}" for name, value in query if name.lower() != "authorization"
    )
    lines = sorted(
        f"{_encode(name)}:{_encode(headers[name].strip())}" for name in names if headers.get(name, "").strip()
    )
    return "\n".join([method, _encode(path, safe="/"), "&".join(parameters), "\n".join(lines)])


def verify(request: Request, secrets: Mapping[str, str], now: float, behavior: ServerBehavior) -> str:
    """The access key that signed `request`; `now` is in seconds since 1970.

    Raises:
        Refusal: unsigned, malformed, unknown key, too old, or another signature.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    if "authorization" not in headers:
        raise _refusal(behavior.unsigned_status, behavior.unsigned_code, "Access denied.")
    authorization = Authorization.parse(headers["authorization"])
    if "host" not in authorization.signed_headers:
        raise _refusal(400, "InvalidHTTPAuthHeader", "The host header is not signed.")
    secret_key = secrets.get(authorization.access_key)
    if secret_key is None:
        text = "There is no such access key."
        reason = "NotFound, cause: Could not find credential."
        raise _refusal(403, "InvalidAccessKeyId", text, reason)
    _check_time(authorization, headers, now)
    _check_signature(authorization, secret_key, request, headers)
    return authorization.access_key


def _check_time(authorization: Authorization, headers: Mapping[str, str], now: float) -> None:
    signed_at = _seconds(authorization.timestamp)
    # `x-bce-date` wins over `Date` (yjwvyc7z1); a request may have neither.
    date = headers.get("x-bce-date") or headers.get("date")
    sent_at = _seconds(date) if date else now
    if signed_at is None or sent_at is None:
        raise _refusal(400, "InvalidHTTPAuthHeader", "A timestamp of the request is malformed.")
    skew = max(abs(now - sent_at), signed_at - now)
    if skew > _LARGEST_SKEW or now - signed_at > authorization.expires_in:
        raise _refusal(400, "RequestExpired", f"Request has expired: {authorization.timestamp}")


def _check_signature(
    authorization: Authorization, secret_key: str, request: Request, headers: Mapping[str, str]
) -> None:
    for variant, names in _readings(authorization, headers):
        text = canonical_request(request.method, request.path, request.query, variant, names)
        expected = authorization.sign(secret_key, text)
        if hmac.compare_digest(expected.encode(), _bytes(authorization.signature)):
            return
    raise _refusal(
        400,
        "SignatureDoesNotMatch",
        "The signature is not the one of this request.",
        "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match",
    )


def _readings(
    authorization: Authorization, headers: Mapping[str, str]
) -> Iterable[tuple[Mapping[str, str], frozenset[str]]]:
    """The ways in which official SDKs read the rules, the commonest first.

    Go and Java sign the host without its port; Python signs every `x-bce-*`, listed or not.
    """
    listed = authorization.signed_headers
    bare_host = {**headers, "host": re.sub(r":[0-9]*$", "", headers.get("host", ""))}
    for variant in (headers, bare_host):
        yield variant, listed
        yield variant, listed | _bce_names(headers)


def _bce_names(headers: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name in headers if name.startswith("x-bce-"))


@lru_cache(maxsize=64)  # both times of a request are mostly the same, and reading one is slow
def _seconds(text: str) -> float | None:
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%a, %d %b %Y %H:%M:%S GMT"):
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None


def _encode(text: str, safe: str = "") -> str:
    return quote(text, safe=safe + "-._~", errors="replace")


def _hmac(key: str, text: str) -> str:
    return hmac.new(_bytes(key), _bytes(text), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _refusal(status: int, code: str, message: str, reason: str | None = None) -> Refusal:
    """A refusal of the gateway, which says it in two headers as well."""
    headers = {"X-Bce-Error-Code": code, "X-Bce-Error-Message": reason or message}
    return Refusal(status, code, message, headers, unexpected=True)
