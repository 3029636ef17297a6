"""Why a call does not work: settings, way to the service, clock, and one harmless signed read.

Each check tells what was found and, where it failed, what to do. Nothing is changed, and no value of a key is
told. The unsigned look at the service is made with the standard library alone, so that its failures are
those of the machine and not of the SDK.
"""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Literal, NamedTuple, Unpack
from urllib.parse import unquote, urlsplit

from qf_tasks._protocol.responses import service_time
from qf_tasks.client import TaskClient
from qf_tasks.errors import ConfigurationError, QfTasksError, ServiceUnreachableError
from qf_tasks.models import Model
from qf_tasks.settings import Account, Keywords, Settings, SourceReport, inspect_sources, is_loopback

Outcome = Literal["ok", "warning", "failed", "skipped"]

_CLOCK_WARNING = 60.0  # seconds
_SIGNATURE_LIFE = 300.0  # a machine that is further behind signs what has expired already
_SKEW_LIMIT = 1800.0  # documented for another product only (Amaz0pqhn)
_STAGES = ("name", "connection", "tls", "answer")
_UNREACHABLE = ServiceUnreachableError.__name__


@dataclass(frozen=True, slots=True)
class Check(Model):
    """One thing that was looked at.

    Attributes:
        name: `settings`, `name` (DNS), `connection`, `tls`, `answer`, `clock` or `read`.
        error: the class of the `QfTasksError` that calls end with for this reason, where one is known.
    """

    name: str
    outcome: Outcome
    message: str
    hint: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis(Model):
    """All checks in their order; `account` is None where the settings could not be read."""

    checks: tuple[Check, ...]
    sources: tuple[SourceReport, ...] = ()
    account: Account | None = None

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.outcome != "failed" for check in self.checks)


def diagnose(**keywords: Unpack[Keywords]) -> Diagnosis:
    """Return what was found, with the keywords that a `TaskClient` would be given.

    Raises:
        InvalidArgumentError: a keyword is unknown, blank or of the wrong type.
    """
    sources = inspect_sources(**keywords)
    try:
        settings = Settings.load(**keywords)
    except QfTasksError as error:
        skipped = [Check(name, "skipped", "no settings") for name in (*_STAGES, "clock", "read")]
        return Diagnosis((_failed("settings", error), *skipped), sources)
    seen = _look(settings)
    checks = (_settings_check(settings), *seen.checks, _clock_check(seen.date), _read_check(settings))
    return Diagnosis(checks, sources, settings.account)


def _settings_check(settings: Settings) -> Check:
    return Check("settings", "ok", str(settings.account))


class _Seen(NamedTuple):
    """What an unsigned request showed: a check for each stage of the way, and the service's time."""

    checks: list[Check]
    date: datetime | None = None


def _look(settings: Settings) -> _Seen:
    """Make one unsigned request, and tell how far it came."""
    try:
        connection = _connection(settings)
    except OSError as error:  # over the certificates, before anything was tried
        return _Seen(_unread_bundle(settings, error))
    way = f"{connection.host}:{connection.port}"
    stage = "connection"
    try:
        connection.connect()
        stage = "answer"
        connection.request("HEAD", "/")
        headers = connection.getresponse().headers
    except (OSError, HTTPException) as error:
        return _Seen(_stages(settings, way, _stage_of(error, stage), error))
    finally:
        connection.close()
    return _Seen(_stages(settings, way), service_time({"date": headers.get("Date", "")}))


def _connection(settings: Settings) -> HTTPConnection:
    """Return a connection that goes the way that the client's go, by its proxy and certificates."""
    target, timeout = urlsplit(settings.base_url), settings.request_timeout
    host = target.hostname or ""
    if target.scheme == "http":
        return HTTPConnection(host, target.port or 80, timeout=timeout)
    context = _tls_context(settings)
    if settings.proxy is None or is_loopback(settings.base_url):
        return HTTPSConnection(host, target.port or 443, timeout=timeout, context=context)
    proxy = urlsplit(settings.proxy.get_secret_value())
    tunnel = HTTPSConnection(proxy.hostname or "", proxy.port or 80, timeout=timeout, context=context)
    tunnel.set_tunnel(host, target.port or 443, _proxy_headers(proxy.username, proxy.password))
    return tunnel


def _tls_context(settings: Settings) -> ssl.SSLContext:
    bundle = settings.ca_bundle if settings.verify_tls else None
    is_directory = bundle is not None and bundle.is_dir()
    context = ssl.create_default_context(
        cafile=None if is_directory else bundle, capath=bundle if is_directory else None
    )
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _proxy_headers(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _stage_of(error: Exception, reached: str) -> str:
    if isinstance(error, socket.gaierror):
        return "name"
    return "tls" if isinstance(error, ssl.SSLError) else reached


_DONE = {
    "name": "the host name was resolved",
    "connection": "connected to {way}",
    "tls": "the certificate was verified",
    "answer": "the service answered",
}
_HINTS = {
    "name": "Check base_url (and proxy) for typing errors, and the DNS of this machine.",
    "connection": "Check firewall and proxy (QIANFAN_PROXY, HTTPS_PROXY): nothing answers there.",
    "tls": "Set ca_bundle (REQUESTS_CA_BUNDLE) to the certificates of your network, and the clock right.",
    "answer": "The line was cut before an answer: look at the proxy or gateway on the way.",
}


def _stages(
    settings: Settings, way: str, failed: str | None = None, error: Exception | None = None
) -> list[Check]:
    """Return a check for each stage of the way, up to the one that failed."""
    if failed is None:
        return [_passed(stage, settings, way) for stage in _STAGES]
    at = _STAGES.index(failed)
    return [
        *(_passed(stage, settings, way) for stage in _STAGES[:at]),
        Check(failed, "failed", f"{way}: {type(error).__name__}, {error}", _HINTS[failed], _UNREACHABLE),
        *(Check(stage, "skipped", "not reached") for stage in _STAGES[at + 1 :]),
    ]


def _unread_bundle(settings: Settings, error: OSError) -> list[Check]:
    message = f"{settings.ca_bundle}: {type(error).__name__}, {error}"
    failed = Check("tls", "failed", message, _HINTS["tls"], ConfigurationError.__name__)
    return [failed if stage == "tls" else Check(stage, "skipped", "not reached") for stage in _STAGES]


def _passed(stage: str, settings: Settings, way: str) -> Check:
    if stage == "tls" and settings.base_url.startswith("http:"):
        return Check(stage, "skipped", "plain HTTP on this machine")
    if stage == "tls" and not settings.verify_tls:
        return Check(stage, "warning", "the certificate is not verified", "Set verify_tls to true.")
    return Check(stage, "ok", _DONE[stage].format(way=way))


def _clock_check(date: datetime | None) -> Check:
    """Compare the two clocks: the commonest cause of a refused signature."""
    if date is None:
        return Check("clock", "skipped", "the service did not tell its time")
    ahead = (datetime.now(UTC) - date).total_seconds()
    message = f"this machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the service"
    if abs(ahead) <= _CLOCK_WARNING:
        return Check("clock", "ok", message)
    hint = "Set the clock of this machine right (NTP). 请校准本机时钟，否则签名认证会失败。"
    is_tolerated = -_SIGNATURE_LIFE < ahead < _SKEW_LIMIT
    return Check("clock", "warning" if is_tolerated else "failed", message, hint)


def _read_check(settings: Settings) -> Check:
    """List one task: signed, and without effect."""
    with TaskClient(settings) as client:
        try:
            page = next(client.pages(page_size=1))
        except QfTasksError as error:
            return _failed("read", error)
    return Check("read", "ok", f"a signed request was accepted (request id {page.request_id})")


def _failed(name: str, error: QfTasksError) -> Check:
    return Check(name, "failed", str(error), error.hint, type(error).__name__)
