"""The keyword arguments of a call, and how their values are kept out of tracebacks."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, TypeVar, cast

from pydantic import SecretStr

from qf_tasks.durations import Duration
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.settings.files import absolute

KEYWORD = "keyword argument"


class Values(TypedDict, total=False):
    """Every setting as a keyword argument; None means not given."""

    access_key: str | None
    secret_key: str | SecretStr | None
    base_url: str | None
    bos_endpoint: str | None
    request_timeout: Duration | None
    max_retries: int | None
    max_retry_wait: Duration | None
    retry_budget: Duration | None
    max_response_bytes: int | None
    max_connections: int | None
    proxy: str | SecretStr | None
    verify_tls: bool | None
    ca_bundle: str | os.PathLike[str] | None


class Keywords(Values, total=False):
    """Every setting, and which profile and files the others are read from; None means not given."""

    profile: str | None
    config_file: str | os.PathLike[str] | None
    env_file: str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Value:
    """A value that may be a key and is never shown, and where it was set.

    Attributes:
        untrusted: Why the value may not say where requests go, unless the keys come from the same file;
            None where it may.
    """

    content: object = field(repr=False)
    origin: str
    untrusted: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What the caller named: values, and the profile and files to read others from."""

    values: dict[str, Value] = field(default_factory=dict)
    profile: str | None = None
    config_file: Path | None = None
    env_file: Path | None = None


_CHOOSERS = ("profile", "config_file", "env_file")

Hidden = TypeVar("Hidden", Values, Keywords)


def hide(keywords: Hidden, origin: str = KEYWORD) -> Hidden:
    """Return the same keywords with their values wrapped, so that a traceback does not show them.

    `keywords = hide(keywords)` is the first line of every function that takes keys: its frame may be part
    of an error, and even a misspelled keyword may hold a key. Hiding twice changes nothing.
    """
    given = {name: value for name, value in keywords.items() if value is not None}
    wrapped = {
        name: value if isinstance(value, Value) else Value(_plain(value), origin)
        for name, value in given.items()
    }
    return cast(Hidden, wrapped)


def _plain(value: object) -> object:
    """Return a secret without its wrapper, and a path as text."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def call_of(keywords: Keywords) -> Call:
    """Return what hidden keywords name.

    Raises:
        InvalidArgumentError: A keyword is unknown, of the wrong type, or blank.
    """
    given = cast(Mapping[str, Value], keywords)
    for name, value in given.items():
        if problem := _problem(name, value.content):
            raise InvalidArgumentError(problem)
    named = {name: str(given[name].content) for name in _CHOOSERS if name in given}
    return Call(
        values={name: value for name, value in given.items() if name not in _CHOOSERS},
        profile=named.get("profile"),
        config_file=absolute(named["config_file"]) if "config_file" in named else None,
        env_file=absolute(named["env_file"]) if "env_file" in named else None,
    )


def _problem(name: str, content: object) -> str | None:
    """Return what is wrong with a keyword, without its value; what a setting must be is checked later."""
    if name not in Keywords.__annotations__:
        return f"There is no argument {name!r}{did_you_mean(name, Keywords.__annotations__)}"
    if name in _CHOOSERS and not isinstance(content, str):
        return f"{name} must be a {'name' if name == 'profile' else 'path'}, not {type(content).__name__}"
    if isinstance(content, str) and not content.strip():
        return f"{name} must not be blank; leave it out to use the next source"
    return None


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return `; did you mean …?` with the most similar name, or nothing where none is similar."""
    spelling = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(str(name).casefold(), spelling, n=1)
    return f"; did you mean {spelling[near[0]]}?" if near else ""
