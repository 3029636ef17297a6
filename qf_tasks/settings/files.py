"""Finds settings files and `.env`, and parses them.

Why a file cannot be read is said without quoting it: the parsers' own messages may contain a key.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    TomlConfigSettingsSource,
    YamlConfigSettingsSource,
)

from qf_tasks.settings.variables import DotEnv

_ROOT_MARKERS = (".git", "pyproject.toml")
# What the parsers of TOML, YAML, JSON and .env raise for malformed or hostile text.
_PARSE_ERRORS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
_FORMATS = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}
_POSITION = re.compile(r"line (\d+),? column (\d+)")


class UnreadableFileError(Exception):
    """A file exists but cannot be read or parsed; the message says why."""


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path, with `~` expanded."""
    try:
        return Path(path).expanduser().absolute()
    except (OSError, RuntimeError):  # no home directory, or no working directory
        return Path(path)


def upward(relative: Path) -> list[Path]:
    """Return the paths where a file of the project may be, nearest first.

    They go from the working directory up to the root of the project, which has `.git` or `pyproject.toml`;
    outside a project only the working directory counts.
    """
    try:
        working_directory = Path.cwd()
    except OSError:  # it was deleted
        return []
    directories: list[Path] = []
    for directory in (working_directory, *working_directory.parents):
        directories.append(directory / relative)
        if any(exists(directory / marker) for marker in _ROOT_MARKERS):
            return directories
    return directories[:1]


def at_home(relative: Path) -> list[Path]:
    """Return the path of a file in the home directory; nothing where there is none."""
    try:
        return [Path.home() / relative]
    except RuntimeError:
        return []


def exists(path: Path) -> bool:
    """Whether anything is at the path; what may not be accessed counts as absent."""
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether a regular file is at the path; what may not be accessed counts as absent."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_open_to_others(path: Path) -> bool:
    """Whether others than the owner may use a file; only POSIX shows that in the mode."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def read_variables(path: Path, model: type[BaseSettings]) -> DotEnv:
    """Return the content of a `.env`.

    Raises:
        UnreadableFileError: It may not be read, or is not UTF-8.
    """
    with _readable(".env"):
        return DotEnv(model, path)


def read_table(path: Path, model: type[BaseSettings]) -> dict[str, Any]:
    """Return the content of a settings file: JSON or YAML by its suffix, else TOML.

    Raises:
        UnreadableFileError: It may not be read, or is not valid in its format.
    """
    file_format = _FORMATS.get(path.suffix.lower(), "TOML")
    with _readable(file_format):
        if file_format == "JSON":
            return JsonConfigSettingsSource(model, json_file=path, json_file_encoding="utf-8-sig")()
        if file_format == "YAML":
            return _read_yaml(path, model)
        return TomlConfigSettingsSource(model, toml_file=path)()


def _read_yaml(path: Path, model: type[BaseSettings]) -> dict[str, Any]:
    from yaml import YAMLError

    try:
        return YamlConfigSettingsSource(model, yaml_file=path, yaml_file_encoding="utf-8-sig")()
    except YAMLError as error:
        raise ValueError(str(error)) from error


@contextmanager
def _readable(file_format: str) -> Iterator[None]:
    """Turn errors of reading and parsing into `UnreadableFileError`, with the position where it is known."""
    try:
        yield
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except _PARSE_ERRORS as error:
        positions = _POSITION.findall(str(error))
        position = "line {}, column {}".format(*positions[-1]) if positions else "as a whole, or at its end"
        reason = f"is not valid {file_format} in UTF-8 ({position})"
    else:
        return
    raise UnreadableFileError(reason)
