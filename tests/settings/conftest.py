"""An empty project and an empty home directory, and helpers that put settings there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import pytest

from qf_tasks.settings import precedence

AK, SK = "ALTAKabcdefghijk9f3c", "0123456789abcdef0123456789abcdef"

Write = Callable[[str, str], Path]
SetPair = Callable[[str], None]


class Pair(TypedDict):
    access_key: str
    secret_key: str


def pair(of: str) -> Pair:
    """Return keys that show which source they came from."""
    return {"access_key": f"access-key-{of}", "secret_key": f"secret-key-{of}"}


def pair_toml(of: str) -> str:
    return "".join(f'{name} = "{key}"\n' for name, key in pair(of).items())


def pair_variables(of: str) -> dict[str, str]:
    keys = pair(of)
    return {"QIANFAN_ACCESS_KEY": keys["access_key"], "QIANFAN_SECRET_KEY": keys["secret_key"]}


def pair_dotenv(of: str) -> str:
    return "".join(f"{name}={key}\n" for name, key in pair_variables(of).items())


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a project, which is the working directory."""
    monkeypatch.setattr(precedence, "_logged", set())
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def write(project: Path) -> Write:
    """Write a file below the root of the project, readable by its owner only."""

    def write(path: str, text: str) -> Path:
        file = project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        return file

    return write


@pytest.fixture
def set_pair(monkeypatch: pytest.MonkeyPatch) -> SetPair:
    """Set the variables of a pair of keys."""

    def set_pair(of: str) -> None:
        for name, key in pair_variables(of).items():
            monkeypatch.setenv(name, key)

    return set_pair
