"""Which source wins, what is refused about them, and what the log is told.

Values are passed on unseen: whether one is well formed is for `Settings` to say.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypedDict

from pydantic import SecretStr

from qf_tasks.errors import ConfigurationError, InvalidArgumentError
from qf_tasks.settings.files import absolute
from qf_tasks.settings.sources import OTHER_KEYS, PAIR, VARIABLES, Call, Source, Value, did_you_mean

KEYWORD = "keyword argument"
KEY_HINT = (
    "Take both keys of one IAM pair (安全认证 Access Key / Secret Key, "
    "https://cloud.baidu.com/doc/Reference/s/9jwvz2egb), from one source. "
    "请使用“安全认证”页面中的一对 Access Key 与 Secret Key，并放在同一处配置。"
)

_SET_HINT = (
    "Set QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY, or write both keys into config/qf_tasks.toml "
    "(`qf-tasks config --example` shows how)."
)
_logger = logging.getLogger("qf_tasks")
_noted: set[str] = set()


class Keywords(TypedDict, total=False):
    """What a call can name; None is the same as not named."""

    access_key: str | None
    secret_key: str | SecretStr | None
    base_url: str | None
    profile: str | None
    config_file: str | os.PathLike[str] | None
    env_file: str | os.PathLike[str] | None
    request_timeout: float | timedelta | None
    max_retries: int | None


_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "access_key": ((str,), "a text"),
    "secret_key": ((str,), "a text"),
    "base_url": ((str,), "a text"),
    "profile": ((str,), "a text"),
    "config_file": ((str,), "a path"),
    "env_file": ((str,), "a path"),
    "request_timeout": ((int, float, timedelta), "seconds or a timedelta"),
    "max_retries": ((int,), "a whole number"),
}


def unseen(keywords: Mapping[str, object]) -> dict[str, Value]:
    """Return the keywords that were given, so that no frame of an error shows one of them."""
    return {name: Value(_plain(it), KEYWORD) for name, it in keywords.items() if it is not None}


def _plain(it: object) -> object:
    """Return a key without its cover, and a path as text."""
    if isinstance(it, SecretStr):
        return it.get_secret_value()
    return os.fspath(it) if isinstance(it, os.PathLike) else it


def checked_call(given: Mapping[str, Value]) -> Call:
    """Return what a call named.

    Raises:
        InvalidArgumentError: an argument is unknown, of the wrong type, or blank.
    """
    if problem := next(filter(None, map(_problem, given, given.values())), None):
        raise InvalidArgumentError(problem)
    chosen = {name: str(value.content) for name, value in given.items() if name not in VARIABLES}
    return Call(
        values={name: value for name, value in given.items() if name in VARIABLES},
        profile=chosen.get("profile"),
        config_file=absolute(chosen["config_file"]) if "config_file" in chosen else None,
        env_file=absolute(chosen["env_file"]) if "env_file" in chosen else None,
    )


def _problem(name: str, value: Value) -> str | None:
    """Return what is wrong with an argument, without its value."""
    if name not in _KINDS:
        return f"there is no argument {name!r}{did_you_mean(name, _KINDS)}"
    types, wanted = _KINDS[name]
    if not isinstance(value.content, types) or isinstance(value.content, bool):
        return f"{name} must be {wanted}, not {type(value.content).__name__}"
    if isinstance(value.content, str) and not value.content.strip():
        return f"{name} must not be blank; leave it out to have it looked up"
    return None


def pick(sources: Sequence[Source]) -> dict[str, Value]:
    """Return what is in effect of each setting: the first source's, and both keys of the same one."""
    holder = next((source for source in sources if source.pair), None)
    picked: dict[str, Value] = {}
    for source in sources:
        for name, value in source.values.items():
            if name not in PAIR or source is holder:
                picked.setdefault(name, value)
    return picked


def refuse_unusable(sources: Sequence[Source]) -> None:
    """Check that every source can be used, and that the first one with a key has both.

    Raises:
        ConfigurationError: it says which source, and what to do.
    """
    for source in sources:
        if source.problem:
            raise ConfigurationError(source.problem)
    holders = [source for source in sources if source.pair]
    if not holders:
        raise ConfigurationError(_nothing_found(sources), hint=f"{_SET_HINT} {KEY_HINT}")
    winner, *others = holders
    if len(winner.pair) < len(PAIR):
        raise ConfigurationError(_half_a_pair(winner), hint=KEY_HINT)
    chosen = next((it for it in others if it.profile_variable and it.pair != winner.pair), None)
    if chosen and not winner.named:
        raise ConfigurationError(
            f"{chosen.profile_variable} chooses {chosen.title}, but {winner.title} has another pair of keys",
            hint=f"Unset one of the two, or pass profile={chosen.profile!r}. 请只保留其中一对密钥。",
        )


def _nothing_found(sources: Sequence[Source]) -> str:
    found = {"read": "no keys", "absent": "absent", "unreadable": "unreadable"}
    places = "; ".join(f"{source.title}: {found[source.state]}" for source in sources)
    others = [name for name in OTHER_KEYS if any(name in source.variables for source in sources)]
    other_kind = f"In {' and '.join(others)} is another kind of key, which signs no request here. "
    return f"{other_kind if others else ''}No access key and secret key found. Looked at {places}"


def _half_a_pair(source: Source) -> str:
    """Say which key is missing, by the name that it has in this source."""
    by_variable = source.name in {"environment", ".env"}
    names = {name: VARIABLES[name][0] if by_variable else name for name in PAIR}
    there = next(name for name in PAIR if name in source.values)
    missing = next(name for name in PAIR if name not in source.values)
    where = source.values[there].origin if source.path else source.title
    return f"half a pair of keys: no {names[missing]} beside {names[there]} ({where})"


def announce(sources: Sequence[Source]) -> None:
    """Write what a person should know: which pair won where there are several; notes once in a process.

    And where keys of the call go to the host of a profile that the call did not name.
    """
    for note in (source.note for source in sources if source.note):
        if note not in _noted:
            _noted.add(note)
            _logger.warning("%s", note)
    winner, *others = (source for source in sources if len(source.pair) == len(PAIR))
    shadowed = [source.title for source in others if source.pair != winner.pair]
    if shadowed:
        _logger.warning("keys are taken from %s; passed over: %s", winner.title, ", ".join(shadowed))
    host = _profile_of_base_url(sources)
    if host and winner.named and host.pair != winner.pair:
        _logger.warning(
            "keys are taken from %s, but base_url from %s, which %s chooses",
            winner.title,
            host.title,
            host.profile_variable,
        )


def _profile_of_base_url(sources: Sequence[Source]) -> Source | None:
    """Return the source with the profile that a variable chose, where it has the `base_url` in effect."""
    base_url = pick(sources).get("base_url")
    by_variable = (source for source in sources if source.profile_variable)
    return next((it for it in by_variable if base_url and base_url.origin == it.title), None)
