"""What each source of settings holds, by names alone: for a diagnosis, and for a user who wonders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

from qf_tasks.models import Model
from qf_tasks.settings.precedence import Keywords, checked_call, pick, unseen
from qf_tasks.settings.sources import Source, Value, collect

State = Literal["used", "passed over", "empty", "absent", "unreadable", "refused"]


@dataclass(frozen=True, slots=True)
class SourceReport(Model):
    """What became of one source, or of one place where it was looked for.

    Attributes:
        name: `"keyword arguments"`, `"environment"`, `".env"` or `"settings file"`.
        path: of the file, absolute.
        state: `"used"` where something of it is in effect, `"passed over"` where others had it all first,
            `"empty"` where it holds no settings; `"refused"` stops `Settings.load`, and `note` says why.
        fields: the settings that it holds, by name; `in_effect` those of them that no other source overrules.
        note: what is to be said about it.
        profiles: those of a settings file; `profile` is the one taken.
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

    Takes the keywords of `Settings.load`; missing keys and broken files are reported, not raised.

    Raises:
        InvalidArgumentError: a keyword is unknown, blank or of the wrong type.
    """
    given = unseen(keywords)
    del keywords
    sources = collect(checked_call(given))
    picked = pick(sources)
    return tuple(_report(source, picked) for source in sources)


def _report(source: Source, picked: Mapping[str, Value]) -> SourceReport:
    return SourceReport(
        name=source.name,
        path=source.path,
        state=_state(source, picked),
        fields=tuple(source.values),
        note=source.problem or source.note,
        profiles=source.profiles,
        profile=source.profile,
        in_effect=_in_effect(source, picked),
    )


def _in_effect(source: Source, picked: Mapping[str, Value]) -> tuple[str, ...]:
    return tuple(name for name, value in source.values.items() if picked.get(name) is value)


def _state(source: Source, picked: Mapping[str, Value]) -> State:
    if source.problem:
        return "refused"
    if source.state != "read":
        return source.state
    if not source.values:
        return "empty"
    return "used" if _in_effect(source, picked) else "passed over"
