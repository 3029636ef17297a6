"""Settings files and `.env`: where they are looked for, and what one holds.

Why a file cannot be read is told in a text without a line of it: what the parsers say may quote a key.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

_ROOT_MARKS = (".git", "pyproject.toml")
# What the readers of TOML, YAML, JSON and .env raise over hostile text.
_UNREADABLE = (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
_FORMATS = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}
_PLACE = re.compile(r"line (\d+),? column (\d+)")


class UnreadableFileError(Exception):
    """A file is there, but what it says cannot be known; the text says why."""


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return the path from the root, `~` being the user's home."""
    try:
        return Path(path).expanduser().absolute()
    except (OSError, RuntimeError):  # neither a home nor a working directory to start from
        return Path(path)


def upward(relative: Path) -> list[Path]:
    """Return where a file may be: from the working directory up to the project's root, the nearest first.

    The root has `.git` or `pyproject.toml`; where there is none, only the working directory counts.
    """
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return []
    directories = [here, *here.parents]
    marked = (at for at, it in enumerate(directories) if any(exists(it / mark) for mark in _ROOT_MARKS))
    return [directory / relative for directory in directories[: next(marked, 0) + 1]]


def at_home(relative: Path) -> list[Path]:
    """Return where a file of the user may be; nowhere, where he has no home."""
    try:
        return [Path.home() / relative]
    except RuntimeError:
        return []


def exists(path: Path) -> bool:
    """Whether there is anything at the path; what may not be looked at counts as absent."""
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether there is a regular file at the path; what may not be looked at counts as absent."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_open_to_others(path: Path) -> bool:
    """Whether others than its owner may use a file; on POSIX alone is that told by its mode."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def read_variables(path: Path, model: type[BaseSettings]) -> dict[str, Any]:
    """Return the variables of a `.env`; of what is no field of the model, whatever its reader leaves in.

    Raises:
        UnreadableFileError: it may not be read, or is no UTF-8.
    """
    from pydantic_settings import DotEnvSettingsSource

    with _told_plainly(".env"):
        return DotEnvSettingsSource(
            model, env_file=path, env_file_encoding="utf-8-sig", case_sensitive=True
        )()


def read_table(path: Path, model: type[BaseSettings]) -> dict[str, Any]:
    """Return what a settings file holds, read as its suffix says; as TOML where it says nothing.

    Raises:
        UnreadableFileError: it may not be read, or breaks the rules of its format.
    """
    from pydantic_settings import JsonConfigSettingsSource, TomlConfigSettingsSource

    file_format = _FORMATS.get(path.suffix.lower(), "TOML")
    with _told_plainly(file_format):
        if file_format == "JSON":
            return JsonConfigSettingsSource(model, json_file=path, json_file_encoding="utf-8-sig").json_data
        if file_format == "YAML":
            return _read_yaml(path, model)
        return TomlConfigSettingsSource(model, toml_file=path).toml_data


def _read_yaml(path: Path, model: type[BaseSettings]) -> dict[str, Any]:
    from pydantic_settings import YamlConfigSettingsSource
    from yaml import YAMLError

    try:
        return YamlConfigSettingsSource(model, yaml_file=path, yaml_file_encoding="utf-8-sig").yaml_data
    except YAMLError as error:
        raise ValueError(str(error)) from error


@contextmanager
def _told_plainly(file_format: str) -> Iterator[None]:
    """Turn what the readers raise into why, with line and column where they tell them."""
    try:
        yield
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except _UNREADABLE as error:
        places = _PLACE.findall(str(error))
        place = "line {}, column {}".format(*places[-1]) if places else "as a whole, or at its end"
        reason = f"is not valid {file_format} in UTF-8 ({place})"
    else:
        return
    raise UnreadableFileError(reason)
