"""What a value of the settings must look like, each rule by itself.

A rule returns the value as it is kept, or raises `ValueError` with a text that never holds the value:
it may be a key. Where a value came from is not known here.
"""

from __future__ import annotations

import re
import string
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

# What copying from a page, a Windows file or a spreadsheet leaves at the ends of a value.
_EDGES = string.whitespace + "\u00a0\u200b\u200c\u200d\u2060\u3000\ufeff"
_PLACEHOLDER = re.compile(
    r"your[-_ ].*|<.*>|\$?\{.*\}|x{3,}[x….-]*|.*\*{3}.*|[….]+|change[-_]?me", re.IGNORECASE
)
# A quote belongs to no key: it is left over where a file of variables is read without a shell.
_STRAY = re.compile(r"[^!-~]|[\"'`]")
_LABEL = "[0-9a-z_-]{1,63}"
_HOST = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(\.{_LABEL})*\.?")  # what a resolver takes
_URL_RULE = "should be https://host[:port]; http is for loopback only"
_PROXY_RULE = "should be an http:// or https:// URL, [user:password@]host[:port]; SOCKS is not supported"


def trimmed(text: str) -> str:
    """Return the text without white space, a byte order mark and the like at its ends."""
    return text.strip(_EDGES)


def masked(access_key: str) -> str:
    """Return the first and last four characters of a key; fewer where it is short."""
    shown = min(4, len(access_key) // 3)
    return f"{access_key[:shown]}…{access_key[len(access_key) - shown :]}"


def key(text: str) -> str:
    """Return a key, trimmed, that can be one of a pair."""
    text = trimmed(text)
    if not text:
        raise ValueError("should not be empty")
    if text.startswith("bce-v3/"):
        raise ValueError("is an API key (bce-v3/…) for other routes; this one takes the keys of an IAM pair")
    if _PLACEHOLDER.fullmatch(text):
        raise ValueError("is still the placeholder of an example")
    if stray := _STRAY.search(text):
        raise ValueError(f"has a stray character: U+{ord(stray[0]):04X} at position {stray.start() + 1}")
    return text


def _split(url: str, rule: str) -> tuple[SplitResult, str]:
    """Return the parts of a URL, and its `host[:port]` in lower case."""
    if not url.isprintable() or " " in url:
        raise ValueError(rule)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        bracketed = f"[{ip_address(host)}]" if ":" in host else host
    except ValueError:
        raise ValueError(rule) from None  # the original text may hold the value
    has_zone = "%" in host  # of an IPv6 address; requests takes none
    if has_zone or (bracketed == host and not _HOST.fullmatch(host)):
        raise ValueError(rule)
    return parts, bracketed if port is None else f"{bracketed}:{port}"


def host_of(url: str) -> str:
    """Return the `host[:port]` of a URL."""
    return _split(url, _URL_RULE)[1]


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def base_url(text: str) -> str:
    """Return scheme and host of the service, without a slash at the end."""
    text = trimmed(text)
    parts, host = _split(text, _URL_RULE)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("should have neither a path nor a query, only scheme and host")
    if "@" in parts.netloc:
        raise ValueError("should have no user name or password in it")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(text)):
        raise ValueError(_URL_RULE)
    return f"{parts.scheme}://{host}"


def proxy(text: str) -> str:
    """Return the URL of a proxy; without a scheme it is taken as http, as every other client does."""
    text = trimmed(text)
    url = text if "://" in text else f"http://{text}"
    if _split(url, _PROXY_RULE)[0].scheme not in ("http", "https"):
        raise ValueError(_PROXY_RULE)
    return url


def masked_proxy(url: str) -> str:
    """Return the URL of a proxy without the user name and password in it."""
    parts, host = _split(url, _PROXY_RULE)
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{host}"


def number(value: object) -> object:
    """Return a number, or the seconds of a `timedelta`; `True` is none."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value.total_seconds() if isinstance(value, timedelta) else value


def ca_bundle(path: Path) -> Path:
    """Return the absolute path of a file or directory of certificates that is there."""
    try:
        path = path.expanduser().absolute()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError):
        exists = False
    if not exists:
        raise ValueError("should name a file or directory that exists")
    return path
