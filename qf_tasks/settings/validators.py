"""The rules for single values.

A validator returns the value as it is kept, or raises `ValueError` with a rule. It never quotes the value,
which may be a key. Where a value came from is not known here.
"""

from __future__ import annotations

import re
import string
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from qf_tasks.durations import parse_duration

# What copying from a web page, a Windows file or a spreadsheet leaves at the ends of a value.
_EDGES = string.whitespace + "\u00a0\u200b\u200c\u200d\u2060\u3000\ufeff"
_PLACEHOLDER = re.compile(
    r"your[-_ ].*|<.*>|\$?\{.*\}|x{3,}[x….-]*|.*\*{3}.*|[….]+|change[-_]?me", re.IGNORECASE
)
# No key contains a quote: it is left over from a file of variables that no shell has read.
_STRAY = re.compile(r"[^!-~]|[\"'`]")
_LABEL = "[0-9a-z_-]{1,63}"
_HOST = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(\.{_LABEL})*\.?")
_PLAIN_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_URL_RULE = "should be https://host[:port]; http is for loopback only"
_PROXY_RULE = "should be an http:// or https:// URL, [user:password@]host[:port]; SOCKS is not supported"


def trimmed(text: str) -> str:
    """Return the text without white space, byte order marks and the like at its ends."""
    return text.strip(_EDGES)


def key(text: str) -> str:
    """Return an access key or secret key, trimmed."""
    text = trimmed(text)
    if not text:
        raise ValueError("should not be empty")
    if text.startswith("bce-v3/"):
        raise ValueError("is an API key (bce-v3/…) of other APIs; this one needs the two keys of an IAM pair")
    if _PLACEHOLDER.fullmatch(text):
        raise ValueError("is still the placeholder of an example")
    if stray := _STRAY.search(text):
        raise ValueError(f"has a stray character: U+{ord(stray[0]):04X} at position {stray.start() + 1}")
    return text


def masked_key(access_key: str) -> str:
    """Return the first and last four characters of a key; fewer where it is short."""
    shown = min(4, len(access_key) // 3)
    return f"{access_key[:shown]}…{access_key[len(access_key) - shown :]}"


def _split(url: str, rule: str) -> tuple[SplitResult, str]:
    """Return the parts of a URL, and its `host[:port]` in lower case."""
    if not url.isprintable() or " " in url:
        raise ValueError(rule)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        bracketed = f"[{ip_address(host)}]" if ":" in host else host
    except ValueError:
        raise ValueError(rule) from None  # the original message may quote the value
    has_zone = "%" in host  # of an IPv6 address; HTTP libraries do not accept one
    if has_zone or (bracketed == host and not _HOST.fullmatch(host)):
        raise ValueError(rule)
    return parts, bracketed if port is None else f"{bracketed}:{port}"


def host_of(url: str) -> str:
    """Return the `host[:port]` of a URL."""
    return _split(url, _URL_RULE)[1]


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is this machine itself."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def endpoint(text: str) -> str:
    """Return scheme and host of a service, without a slash at the end."""
    text = trimmed(text)
    parts, host = _split(text, _URL_RULE)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("should have neither a path nor a query, only scheme and host")
    if "@" in parts.netloc:
        raise ValueError("should not contain a user name or password")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(text)):
        raise ValueError(_URL_RULE)
    return f"{parts.scheme}://{host}"


def proxy(text: str) -> str:
    """Return the URL of a proxy; without a scheme it is http, as in other clients."""
    text = trimmed(text)
    url = text if "://" in text else f"http://{text}"
    if _split(url, _PROXY_RULE)[0].scheme not in ("http", "https"):
        raise ValueError(_PROXY_RULE)
    return url


def masked_proxy(url: str) -> str:
    """Return the URL of a proxy without its user name and password."""
    parts, host = _split(url, _PROXY_RULE)
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{host}"


def number(value: object) -> object:
    """Return a number for pydantic to check; `True` is not one."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def duration(value: object) -> object:
    """Return seconds for pydantic to check; text without a unit counts as seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        text = trimmed(value)
        value = float(text) if _PLAIN_NUMBER.fullmatch(text) else parse_duration(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("should be seconds, or text with a unit such as '90s', '5m' or '2h'")
    return value


def ca_bundle(path: Path) -> Path:
    """Return the absolute path of an existing file or directory of certificates."""
    try:
        path = path.expanduser().absolute()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError):
        exists = False
    if not exists:
        raise ValueError("should name a file or directory that exists")
    return path
