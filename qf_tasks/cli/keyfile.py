"""The user's own settings file, in which `configure` replaces the keys of one profile and nothing else."""

from __future__ import annotations

import getpass
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from qf_tasks.errors import ConfigurationError

_TABLE = re.compile(r"^\s*\[", re.MULTILINE)


def ask_secretly(question: str) -> str:
    """Return a line that is typed without being shown."""
    return getpass.getpass(question).strip()


@dataclass(frozen=True)
class KeyFile:
    """A settings file as it is, and the profile in it that is to get keys; None is its top level."""

    path: Path
    profile: str | None
    text: str

    @classmethod
    def read(cls, path: Path, profile: str | None) -> KeyFile:
        """Return the file, empty if there is none.

        Raises:
            ConfigurationError: It cannot be read, or is not TOML.
        """
        try:
            text = path.read_text("utf-8")
            tomllib.loads(text)
        except FileNotFoundError:
            text = ""
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error}", hint="Correct or rename the file, then configure again."
            ) from None
        return cls(path, profile, text)

    @property
    def has_keys(self) -> bool:
        """Whether the profile has keys already."""
        return any(name in self._section(tomllib.loads(self.text)) for name in ("access_key", "secret_key"))

    def write(self, values: Mapping[str, str]) -> None:
        """Replace these values, and keep everything else, comments too; only the owner can read the file.

        Raises:
            ConfigurationError: The file is laid out in a form that cannot be changed safely.
        """
        text = self._text_with(values)
        expected = tomllib.loads(self.text)
        self._section(expected).update(values)
        try:
            is_as_expected = tomllib.loads(text) == expected
        except tomllib.TOMLDecodeError:
            is_as_expected = False
        if not is_as_expected:
            raise ConfigurationError(
                f"{self.path} is laid out in a form that cannot be changed safely; nothing was written",
                hint=f"Edit the file yourself: {', '.join(values)} belong under {self._header or 'its top'}.",
            )
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=self.path.parent, delete=False) as written:
            written.write(text)
        Path(written.name).replace(self.path.resolve())  # made with 0600

    @property
    def _header(self) -> str | None:
        return f"[profiles.{_key(self.profile)}]" if self.profile else None

    def _section(self, table: dict[str, Any]) -> dict[str, Any]:
        """Return the part of a parsed file that this profile is."""
        if self.profile is None:
            return table
        section: dict[str, Any] = table.setdefault("profiles", {}).setdefault(self.profile, {})
        return section

    def _text_with(self, values: Mapping[str, str]) -> str:
        start, end = self._bounds()
        if start is None:
            gap = "\n" if self.text else ""
            return f"{self.text}{_missing_break(self.text)}{gap}{self._header}\n{_lines(values)}"
        section = self.text[start:end]
        for name in values:
            section = re.sub(rf"^[ \t]*{name}[ \t]*=.*\n?", "", section, flags=re.MULTILINE)
        return self.text[:start] + _lines(values) + section + self.text[end:]

    def _bounds(self) -> tuple[int | None, int]:
        """Return where the values of the section begin and end, None if it has no section yet."""
        start: int | None = 0
        if self._header:
            found = re.search(
                rf"^[ \t]*{re.escape(self._header)}[^\n]*\n",
                self.text + _missing_break(self.text),
                re.MULTILINE,
            )
            start = found.end() if found else None
        following = _TABLE.search(self.text, start or 0)
        return start, following.start() if following else len(self.text)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in values.items())


def _missing_break(text: str) -> str:
    return "" if not text or text.endswith("\n") else "\n"
