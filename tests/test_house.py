"""The house: which room may import which, where each library may be used, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import qf_tasks

# A room is a file or a package right below `qf_tasks`; it imports rooms of lower floors only.
_HOUSE = """
9  __main__
8  cli  pytest_plugin
7  __init__
6  client  doctor  _many
5  bulk  _creating  _ending  _journal  _listing  _planning  _requesting  _side_by_side  _waiting
4  _retry  _transport
3  settings  reports  _answers  _arguments  _codes  _failures  _signing  _wire
2  errors
1  models
0  run_status  _clock
"""
_FLOORS = {room: int(line.split()[0]) for line in _HOUSE.split("\n") if line for room in line.split()[1:]}

# The doors between rooms of one floor, one way each; none leads back.
_DOORS = {
    "client": {"_many"},
    "doctor": {"client"},
    "bulk": {"_journal", "_side_by_side"},
    "_side_by_side": {"_journal"},
    "_planning": {"_listing"},
    "_creating": {"_listing"},
    "reports": {"settings"},
    "_answers": {"_codes", "_wire"},
    "_failures": {"_codes"},
}
_ISLAND = "sandbox"
_STARTS_THE_ISLAND = {"cli", "pytest_plugin"}
_LIBRARIES = {
    "_transport": {"qianfan", "requests", "urllib3"},
    "cli": {"typer", "click", "rich"},
    "sandbox": {"aiohttp"},
}
_LONGEST, _LONGEST_OF = 300, {"client.py": 450}

_PACKAGE = Path(qf_tasks.__file__).parent
_FILES = sorted(_PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("file", _FILES, ids=lambda file: str(file.relative_to(_PACKAGE)))


class Import(NamedTuple):
    """One name that a file imports: `package` is the first part of it, `room` one of ours or none."""

    package: str
    room: str | None
    is_late: bool
    is_for_types: bool


def room_of(file: Path) -> str:
    return file.relative_to(_PACKAGE).parts[0].removesuffix(".py")


@cache
def imports_of(file: Path) -> list[Import]:
    tree = ast.parse(file.read_text("utf-8"))
    return [*_imports(tree, room_of(file), is_late=False, is_for_types=False)]


def _imports(node: ast.AST, inside: str, *, is_late: bool, is_for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for name in _imported_names(child):
            package, *below = name.split(".")
            if package in ("", "qf_tasks"):  # "" is an import relative to the file's own package
                known = below and (below[0] in _FLOORS or below[0] == _ISLAND)
                room = (below[0] if known else "__init__") if package else inside
                yield Import("qf_tasks", room, is_late, is_for_types)
            else:
                yield Import(package, None, is_late, is_for_types)
        yield from _imports(
            child,
            inside,
            is_late=is_late or isinstance(child, ast.FunctionDef),
            is_for_types=is_for_types
            or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"),
        )


def _imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


@every_file
def test_file_stands_in_a_known_room(file: Path) -> None:
    assert room_of(file) in {*_FLOORS, _ISLAND}, "a new room needs a place in the table above"


@every_file
def test_file_imports_lower_floors_only(file: Path) -> None:
    room = room_of(file)
    used = {it.room for it in imports_of(file) if it.room and not it.is_for_types} - {room, _ISLAND}
    if room == _ISLAND:
        assert used == set()
        return
    too_high = {other for other in used if _FLOORS[other] >= _FLOORS[room]} - _DOORS.get(room, set())
    assert too_high == set(), f"{room} is on floor {_FLOORS[room]}"


@every_file
def test_file_leaves_the_sandbox_an_island(file: Path) -> None:
    found = [it for it in imports_of(file) if it.room == _ISLAND and not it.is_for_types]
    if room_of(file) != _ISLAND and found:
        assert room_of(file) in _STARTS_THE_ISLAND
        assert all(it.is_late for it in found), "the sandbox is imported where it is started"


@every_file
def test_file_imports_a_library_only_where_it_belongs(file: Path) -> None:
    kept_apart = {name for names in _LIBRARIES.values() for name in names}
    used = {it.package for it in imports_of(file)} & kept_apart
    assert used <= _LIBRARIES.get(room_of(file), set())


@every_file
def test_sandbox_needs_nothing_but_aiohttp(file: Path) -> None:
    if room_of(file) == _ISLAND:
        used = {it.package for it in imports_of(file)} - sys.stdlib_module_names
        assert used <= {"aiohttp", "qf_tasks"}


@every_file
def test_command_and_fixture_use_public_rooms_only(file: Path) -> None:
    if room_of(file) in ("cli", "pytest_plugin"):
        private = {it.room for it in imports_of(file) if it.room and it.room.startswith("_")}
        assert private <= {"__init__"}


@every_file
def test_file_is_not_too_long(file: Path) -> None:
    longest = _LONGEST_OF.get(str(file.relative_to(_PACKAGE)), _LONGEST)
    assert len(file.read_text("utf-8").splitlines()) <= longest, "it wants to be two rooms"


def test_doors_are_between_rooms_of_one_floor_and_lead_one_way() -> None:
    for room, others in _DOORS.items():
        assert {_FLOORS[other] for other in others} == {_FLOORS[room]}
        assert not any(room in _DOORS.get(other, ()) for other in others)


def test_top_level_of_the_repository_holds_what_was_agreed() -> None:
    root = _PACKAGE.parent
    if not (root / ".git").exists():
        pytest.skip("no repository")
    git = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout.splitlines()
    top = {path.split("/")[0] for path in listed}
    assert {name for name in top if not name.startswith(".")} == {
        "README.md",
        "config",
        "pyproject.toml",
        "qf_tasks",
        "tests",
    }
