"""Diagnoses why a call does not work: settings, network, clock, one harmless signed read, and a bucket.

Requests take the client's own network path, so that what works here works there. Nothing is changed, except
that one object is written and deleted in a bucket that is named; no key is shown.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Literal, Unpack
from uuid import uuid4

from qf_tasks._protocol.responses import service_time
from qf_tasks._transport.sender import Sender
from qf_tasks.client import TaskClient
from qf_tasks.data.lazy_store import LazyStore
from qf_tasks.data.uri import BosUri
from qf_tasks.errors import ConfigurationError, PermissionDeniedError, QfTasksError
from qf_tasks.models import Account, Model
from qf_tasks.settings import Keywords, Settings, SourceReport, hide, inspect_sources

if TYPE_CHECKING:
    from qf_tasks.data.store import ObjectStore

Outcome = Literal["ok", "warning", "failed", "skipped"]

_CLOCK_TOLERANCE = 60.0  # seconds
_SIGNATURE_SECONDS = 300.0  # a clock that is further behind makes signatures that have already expired
_MAX_SKEW = 1800.0  # documented for another product of the same platform

_BUCKET = ("bucket", "bucket region", "bucket read", "bucket write")
_STAGES = ("name", "connection", "tls", "response")
_STAGE_BY_CODE = {
    "NameNotResolved": "name",
    "ConnectionFailed": "connection",
    "ConnectTimeout": "connection",
    "ProxyFailed": "connection",
    "CertificateNotVerified": "tls",
    "TlsBroken": "tls",
}
_RESPONSE_HINT = "The connection was made, but no response came: check a proxy or gateway on the route."
_HINTS = {
    "NameNotResolved": "Check base_url for typing errors, and the DNS of this machine.",
    "ConnectionFailed": "Check base_url and the firewall: no server accepts connections there.",
    "ConnectTimeout": "Check base_url and the firewall, or raise request_timeout.",
    "ProxyFailed": "Check the proxy (QIANFAN_PROXY, HTTPS_PROXY): it did not connect to the service.",
    "CertificateNotVerified": "Set ca_bundle to the certificates of your network, and check the clock.",
    "TlsBroken": "Check base_url: the server may not speak TLS on this port.",
    "ConnectionBroken": _RESPONSE_HINT,
    "ReadTimeout": _RESPONSE_HINT,
}
_PASSED = {
    "name": "the host name was resolved",
    "connection": "connected",
    "tls": "the certificate was verified",
    "response": "the service responded",
}


@dataclass(frozen=True, slots=True)
class Check(Model):
    """One thing that was checked.

    Attributes:
        name: `settings`, `name` (DNS), `connection`, `tls`, `response`, `read` or `clock`; of a bucket
            `bucket`, `bucket region`, `bucket read` or `bucket write`.
        error: the class of the `QfTasksError` that calls end with for this reason, if one is known.
    """

    name: str
    outcome: Outcome
    message: str
    hint: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis(Model):
    """All checks in their order; `account` is None if the settings could not be read."""

    checks: tuple[Check, ...]
    sources: tuple[SourceReport, ...] = ()
    account: Account | None = None

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.outcome != "failed" for check in self.checks)


def diagnose(*, bos_uri: str | None = None, **keywords: Unpack[Keywords]) -> Diagnosis:
    """Find out why calls of a `TaskClient` with the same keywords fail.

    Args:
        bos_uri: Check this directory in BOS, such as "bos:/my-bucket/in/", too. To find out whether the keys
            can write there, an object is stored and deleted again. By default nothing is written anywhere.
        **keywords: As those of `TaskClient`.

    Raises:
        InvalidArgumentError: A keyword is unknown, blank or of the wrong type, or `bos_uri` not a directory.
    """
    keywords = hide(keywords)
    directory = None if bos_uri is None else _directory(bos_uri)
    sources = inspect_sources(**keywords)
    try:
        settings = Settings.load(**keywords)
    except QfTasksError as error:
        names = (*_STAGES, "read", "clock", *(_BUCKET if directory else ()))
        skipped = [Check(name, "skipped", "no settings") for name in names]
        return Diagnosis((_failed("settings", error, error.hint), *skipped), sources)
    network, date = _check_network(settings)
    read = _check_read(settings)
    clock = _check_clock(date, accepted=read.outcome == "ok")
    bucket = _check_bucket(settings, directory) if directory else []
    checks = (Check("settings", "ok", str(settings.account)), *network, read, clock, *bucket)
    return Diagnosis(checks, sources, settings.account)


def _check_network(settings: Settings) -> tuple[list[Check], datetime | None]:
    """Send one unsigned request; return a check for each stage of it, and the time of the service."""
    sender = Sender(settings)
    try:
        response = sender.request("HEAD", f"{settings.base_url}/", {})
    except QfTasksError as error:
        is_bundle = isinstance(error, ConfigurationError)
        failed = "tls" if is_bundle else _STAGE_BY_CODE.get(error.code or "", "response")
        hint = error.hint if is_bundle else _HINTS.get(error.code or "", _RESPONSE_HINT)
        index = _STAGES.index(failed)
        return [
            *(_passed(stage, settings) for stage in _STAGES[:index]),
            _failed(failed, error, hint),
            *(Check(stage, "skipped", "not reached") for stage in _STAGES[index + 1 :]),
        ], None
    finally:
        sender.close()
    return [_passed(stage, settings) for stage in _STAGES], service_time(response.headers)


def _passed(stage: str, settings: Settings) -> Check:
    if stage == "tls" and settings.base_url.startswith("http:"):
        return Check(stage, "skipped", "plain HTTP on this machine")
    if stage == "tls" and not settings.verify_tls:
        return Check(stage, "warning", "the certificate is not verified", "Set verify_tls to true.")
    return Check(stage, "ok", _PASSED[stage])


def _check_read(settings: Settings) -> Check:
    """List one task: a signed request without effect."""
    with TaskClient(settings) as client:
        try:
            page = next(client.pages(page_size=1))
        except QfTasksError as error:
            return _failed("read", error, _HINTS.get(error.code or "", error.hint))
    return Check("read", "ok", f"a signed request was accepted (request id {page.request_id})")


def _directory(bos_uri: object) -> BosUri:
    """Return the address of a directory, or of a whole bucket."""
    uri = BosUri.parse(bos_uri)
    return BosUri.parse_directory(bos_uri) if uri.key else uri


def _check_bucket(settings: Settings, directory: BosUri) -> list[Check]:
    """Check that a bucket can be reached, where it is, and what the keys may do in a directory of it."""
    store = LazyStore(settings).open()
    bucket = directory.bucket
    try:
        try:
            region = Check("bucket region", "ok", store.region(bucket))
        except PermissionDeniedError as error:
            hint = (
                "Calls work if bos_endpoint is set to the host of the region, such as https://bj.bcebos.com."
            )
            region = Check("bucket region", "warning", str(error), hint)
        except QfTasksError as error:
            skipped = (Check(name, "skipped", "not reached") for name in _BUCKET[1:])
            return [_failed("bucket", error, _grant(error, "READ", directory)), *skipped]
        reached = Check("bucket", "ok", f"{bucket} exists")
        return [reached, region, _check_bucket_read(store, directory), _check_bucket_write(store, directory)]
    finally:
        store.close()


def _check_bucket_read(store: ObjectStore, directory: BosUri) -> Check:
    """List a directory, and read the beginning of what is in it."""
    try:
        found = next(iter(store.list(directory)), None)
        if found:
            next(store.read(found), b"")
    except QfTasksError as error:
        return _failed("bucket read", error, _grant(error, "READ and LIST", directory))
    what = "an object was read" if found else "the listing is empty, so no object was read"
    return Check("bucket read", "ok", f"{directory} can be listed; {what}")


def _check_bucket_write(store: ObjectStore, directory: BosUri) -> Check:
    """Store an object and delete it again."""
    uri = directory.child(f"qf-tasks-doctor-{uuid4().hex}.txt")
    content = b"qf-tasks doctor checks whether it can write here\n"
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    try:
        store.put(uri, BytesIO(content), len(content), digest)
    except QfTasksError as error:
        return _failed("bucket write", error, _grant(error, "WRITE", directory))
    try:
        store.delete(uri.bucket, [uri.key])
    except QfTasksError as error:
        hint = _grant(error, "WRITE", directory)
        return _failed("bucket write", error, f"Delete {uri} by hand. {hint or ''}".strip())
    return Check("bucket write", "ok", f"an object was written to {directory} and deleted again")


def _grant(error: QfTasksError, permissions: str, directory: BosUri) -> str | None:
    """Return what to do about a failure in a bucket."""
    if isinstance(error, PermissionDeniedError):
        return (
            f"Grant the user of these keys {permissions} on bucket {directory.bucket}, or the policy "
            "BOSFullControlAccessPolicy. 请为该用户授予此存储桶的读写权限。"
        )
    return _HINTS.get(error.code or "", error.hint or "").replace("base_url", "bos_endpoint") or None


def _check_clock(date: datetime | None, *, accepted: bool) -> Check:
    """Compare the two clocks: the most frequent cause of a rejected signature."""
    if date is None:
        return Check("clock", "skipped", "the time of the service is not known")
    ahead = (datetime.now(UTC) - date).total_seconds()
    message = f"this machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the service"
    if abs(ahead) <= _CLOCK_TOLERANCE:
        return Check("clock", "ok", message)
    if accepted:
        return Check("clock", "warning", f"{message}, which it accepts")
    hint = "Set the clock of this machine (NTP). 请校准本机时钟，否则签名认证会失败。"
    is_tolerated = -_SIGNATURE_SECONDS < ahead < _MAX_SKEW
    return Check("clock", "warning" if is_tolerated else "failed", message, hint)


def _failed(name: str, error: QfTasksError, hint: str | None) -> Check:
    return Check(name, "failed", str(error), hint, type(error).__name__)
