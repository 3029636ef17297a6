"""Reports what each source of settings holds, by names alone, for a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

from qf_tasks.models import Model
from qf_tasks.settings.keywords import Keywords, Value, call_of, hide
from qf_tasks.settings.precedence import find_problem, resolve
from qf_tasks.settings.settings import Settings
from qf_tasks.settings.sources import Source, collect

State = Literal["used", "ignored", "empty", "absent", "unreadable", "refused"]


@dataclass(frozen=True, slots=True)
class SourceReport(Model):
    """One source, or one place where a file could have been.

    Attributes:
        name: `"keyword arguments"`, `"environment"`, `".env"` or `"settings file"`.
        path: The absolute path of the file.
        state: `"used"` if some of its values are in effect, `"ignored"` if other sources set all of them,
            `"empty"` if it has no settings, `"refused"` if `Settings.load` fails because of it: see `note`.
        fields: The names of its settings; `in_effect` are those that no other source overrides.
        note: The problem, or warnings.
        profiles: The profiles of a settings file; `profile` is the one in use.
    """

    name: str
    path: Path | None
    state: State
    fields: tuple[str, ...] = ()
    note: str | None = None
    profiles: tuple[str, ...] = ()
    profile: str | None = None
    in_effect: tuple[str, ...] = ()


def inspect_sources(**keywords: Unpack[Keywords]) -> tuple[SourceReport, ...]:
    """Return what each source holds, by names alone, in the order of precedence.

    Missing keys and broken files are reported, not raised.

    Args:
        **keywords: Those of `Settings.load`.

    Raises:
        InvalidArgumentError: A keyword is unknown, blank or of the wrong type.
    """
    keywords = hide(keywords)
    sources = collect(Settings, call_of(keywords))
    resolved = resolve(sources)
    problem = find_problem(sources)
    notes = {id(problem.source): problem.message} if problem and problem.source else {}
    return tuple(_report(source, resolved, source.problem or notes.get(id(source))) for source in sources)


def _report(source: Source, resolved: Mapping[str, Value], problem: str | None) -> SourceReport:
    in_effect = tuple(name for name, value in source.values.items() if resolved.get(name) is value)
    return SourceReport(
        name=source.name,
        path=source.path,
        state="refused" if problem else _state(source, in_effect),
        fields=tuple(source.values),
        note=problem or "; ".join(source.notes) or None,
        profiles=source.profiles,
        profile=source.profile,
        in_effect=in_effect,
    )


def _state(source: Source, in_effect: tuple[str, ...]) -> State:
    if source.state != "read":
        return source.state
    if not source.values:
        return "empty"
    return "used" if in_effect else "ignored"
