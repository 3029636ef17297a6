"""The user's own settings file, in which `configure` replaces the keys of one profile and nothing else."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from qf_tasks.errors import ConfigurationError


def has_keys(path: Path, profile: str | None) -> bool:
    """Return whether a profile has keys, or with None the top level of the file.

    Raises:
        ConfigurationError: The file cannot be read, or is not TOML.
    """
    section = _section(tomllib.loads(_read(path)), profile)
    return "access_key" in section or "secret_key" in section


def write(path: Path, profile: str | None, values: Mapping[str, str]) -> None:
    """Replace these values, and keep everything else, comments too; only the owner can read the file.

    Raises:
        ConfigurationError: The file cannot be read, or is laid out in a form that cannot be changed safely.
    """
    before = _read(path)
    header = f"[profiles.{_key(profile)}]" if profile else ""
    after = _with_values(before, header, values)
    expected = tomllib.loads(before)
    _section(expected, profile).update(values)
    try:
        is_as_expected = tomllib.loads(after) == expected
    except tomllib.TOMLDecodeError:
        is_as_expected = False
    if not is_as_expected:
        raise ConfigurationError(
            f"{path} is laid out in a form that cannot be changed safely; nothing was written",
            hint=f"Edit the file yourself: {', '.join(values)} belong under {header or 'its top'}.",
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as written:  # with 0600
        written.write(after)
    Path(written.name).replace(path.resolve())


def _read(path: Path) -> str:
    """Return the text of a file that is valid, "" if there is none."""
    try:
        text = path.read_text("utf-8")
        tomllib.loads(text)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}", hint="Correct or rename the file, then configure again."
        ) from None
    return text


def _section(table: dict[str, Any], profile: str | None) -> dict[str, Any]:
    """Return the part of a parsed file that a profile is."""
    return table.setdefault("profiles", {}).setdefault(profile, {}) if profile else table


def _with_values(text: str, header: str, values: Mapping[str, str]) -> str:
    """Return the text of a file with these values at the beginning of the section with this header."""
    lines = text.removesuffix("\n").split("\n") if text else []
    if not any(line.strip().startswith(header) for line in lines):
        lines += ["", header] if lines else [header]
    start = next(n for n, line in enumerate(lines, 1) if line.strip().startswith(header)) if header else 0
    end = next((n for n in range(start, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    replacing = [f"{name} = {_quoted(value)}" for name, value in values.items()]
    kept = [line for line in lines[start:end] if line.partition("=")[0].strip() not in values]
    return "\n".join([*lines[:start], *replacing, *kept, *lines[end:], ""])


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
