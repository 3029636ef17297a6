"""Decides which source a setting comes from, and whether the sources can be used together.

Three rules are not those of pydantic-settings. Both keys come from the first source that has either.
A source that the caller named is not overridden by one that was found (`collect` orders them so). And a file
that may be a stranger's does not say where requests signed with other keys go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from qf_tasks.settings import validators
from qf_tasks.settings.keywords import Value
from qf_tasks.settings.sources import PAIR, Source
from qf_tasks.settings.variables import CONFIG, ENV_FILE, PROFILE, VARIABLES

KEY_HINT = (
    "Take both keys of one IAM pair (安全认证 Access Key / Secret Key, "
    "https://cloud.baidu.com/doc/Reference/s/9jwvz2egb), from one source. "
    "请使用“安全认证”页面中的一对 Access Key 与 Secret Key，并放在同一处配置。"
)

_SET_HINT = (
    "Run `qf-tasks configure`, which asks for both and keeps them in your home directory, or set "
    "QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY."
)
# What decides where a request goes, and who can read it.
_ROUTING = ("base_url", "bos_endpoint", "proxy", "verify_tls", "ca_bundle")
_ENDPOINTS = ("base_url", "bos_endpoint")

_logger = logging.getLogger("qf_tasks")
_logged: set[str] = set()


class Problem(NamedTuple):
    """Why no settings can be made of the sources; `source` is the one to blame, if it is one."""

    message: str
    hint: str | None = None
    source: Source | None = None


def resolve(sources: Sequence[Source]) -> dict[str, Value]:
    """Return the value in effect of each setting: that of the first source, and both keys of the same one."""
    key_source = next((source for source in sources if source.pair), None)
    resolved: dict[str, Value] = {}
    for source in sources:
        for name, value in source.values.items():
            if name not in PAIR or source is key_source:
                resolved.setdefault(name, value)
    return resolved


def find_problem(sources: Sequence[Source]) -> Problem | None:
    """Return the first reason why the sources cannot be used, None where they can."""
    for source in sources:
        if source.problem:
            return Problem(source.problem, source=source)
    with_keys = [source for source in sources if source.pair]
    if not with_keys:
        return _no_keys(sources)
    winner, *others = with_keys
    if len(winner.pair) < len(PAIR):
        return Problem(_half_a_pair(winner), KEY_HINT, winner)
    return _conflicting_profile(winner, others) or _untrusted_routing(sources, winner)


def _no_keys(sources: Sequence[Source]) -> Problem:
    states = {"read": "no keys", "absent": "absent", "unreadable": "unreadable"}
    places = "; ".join(f"{source.title}: {states[source.state]}" for source in sources)
    message = f"No access key and secret key found. Searched {places}"
    if notes := [note for source in sources for note in source.notes]:
        message = f"{message}. Note: {'; '.join(notes)}"
    unchosen = next((source for source in sources if source.profiles and not source.profile), None)
    if unchosen:
        message = f"No profile is chosen; {unchosen.path} has {', '.join(unchosen.profiles)}. {message}"
        return Problem(message, f"Pass profile=..., or set {PROFILE}. 请指定要使用的 profile。", unchosen)
    if others := dict.fromkeys(name for source in sources for name in source.other_keys):
        message = (
            f"{' and '.join(others)} hold another kind of key, which cannot sign these requests. {message}"
        )
    return Problem(message, f"{_SET_HINT} {KEY_HINT}")


def _half_a_pair(source: Source) -> str:
    """Return which key is missing, by the name that it has in this source."""
    by_variable = source.name in {"environment", ".env"}
    names = {name: VARIABLES[name][0] if by_variable else name for name in PAIR}
    present = next(name for name in PAIR if name in source.values)
    missing = next(name for name in PAIR if name not in source.values)
    where = source.values[present].origin if source.path else source.title
    return (
        f"{names[present]} is set but {names[missing]} is not; both must come from the same source ({where})"
    )


def _conflicting_profile(winner: Source, others: Sequence[Source]) -> Problem | None:
    """Refuse to guess between a profile chosen by a variable and other keys that come before it."""
    if winner.named:
        return None
    for source in others:
        if source.profile_variable and source.pair != winner.pair:
            message = f"{PROFILE} chooses {source.title}, but {winner.title} has another pair of keys"
            hint = f"Unset one of the two, or pass profile={source.profile!r}. 请只保留其中一对密钥。"
            return Problem(message, hint, source)
    return None


def _untrusted_routing(sources: Sequence[Source], key_source: Source) -> Problem | None:
    """Refuse routing from a file that may be a stranger's for keys that are not in that file."""
    resolved = resolve(sources)
    for name in _ROUTING:
        value = resolved.get(name)
        if not value or not value.untrusted or key_source.values.get(name) is value:
            continue
        if name in _ENDPOINTS and validators.is_loopback(validators.trimmed(str(value.content))):
            continue
        source = next(source for source in sources if source.values.get(name) is value)
        return Problem(
            f"{value.origin} sets {name}, but the keys come from {key_source.title}. The file is not trusted "
            f"({value.untrusted}): it could send requests signed with your keys to a stranger",
            f"Remove {name} from {source.path}, put both keys into that file too, or, if the file is yours, "
            f"name it in the call or by {CONFIG} or {ENV_FILE}. "
            f"请确认该文件可信后再显式指定，或删除其中的 {name}。",
            source,
        )
    return None


def log_sources(sources: Sequence[Source]) -> None:
    """Log the notes of all sources, once per process, and whose keys are used if there are several pairs."""
    for note in (note for source in sources for note in source.notes):
        if note not in _logged:
            _logged.add(note)
            _logger.warning("%s", note)
    winner, *others = (source for source in sources if len(source.pair) == len(PAIR))
    ignored = [source.title for source in others if source.pair != winner.pair]
    if ignored:
        _logger.warning("using credentials from %s; ignoring %s", winner.title, ", ".join(ignored))
