"""Reads each source of settings and puts them in the order of precedence.

This module knows variables and files, but not the rules for values. What is wrong with a source is
recorded in it and raised later, so that no value is in the frames of the error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.request import getproxies_environment, proxy_bypass

from pydantic_settings import BaseSettings

from qf_tasks.settings import files, validators
from qf_tasks.settings.keywords import Call, Value, did_you_mean
from qf_tasks.settings.variables import (
    CONFIG,
    ENV_FILE,
    OTHER_KEYS,
    PROFILE,
    VARIABLES,
    Environment,
    misspelled,
)

DEFAULT_BASE_URL = "https://qianfan.baidubce.com"
PAIR = ("access_key", "secret_key")

_FOUND = "it was found in the project"
_PROJECT_FILE = Path("config", "qf_tasks.toml")
_USER_FILE = Path(".config", "qf_tasks", "config.toml")

Model = type[BaseSettings]
Content = TypeVar("Content")


@dataclass(slots=True)
class Source:
    """What one source holds.

    Attributes:
        named: Whether the caller named it; then no source that was found overrides it.
        untrusted: Why the file may be a stranger's; None where the user chose it.
        problem: Why its settings cannot be used.
        notes: What is worth a warning in the log.
        profiles: The profiles of the file; `profile` is the one in use.
        profile_variable: The variable that chose the profile, where the caller did not.
        choices: Variables that choose a file or a profile.
        other_keys: Variables set to the other kind of key.
    """

    name: str
    path: Path | None = None
    named: bool = False
    untrusted: str | None = None
    values: dict[str, Value] = field(default_factory=dict)
    state: Literal["read", "absent", "unreadable"] = "read"
    problem: str | None = None
    notes: list[str] = field(default_factory=list)
    profiles: tuple[str, ...] = ()
    profile: str | None = None
    profile_variable: Value | None = None
    choices: dict[str, Value] = field(default_factory=dict)
    other_keys: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name for messages: the path where there is one."""
        profile = f" [profiles.{self.profile}]" if self.profile else ""
        return f"{self.path}{profile}" if self.path else f"the {self.name}"

    @property
    def pair(self) -> tuple[object, ...]:
        """The two keys; one of them, or none, where the source lacks them."""
        return tuple(self.values[name].content for name in PAIR if name in self.values)


def collect(model: Model, call: Call) -> list[Source]:
    """Read every source and return them in the order of precedence, with the places where no file is."""
    environment = _environment(model)
    dotenvs = _dotenvs(model, call, environment)
    config = _settings_files(model, call, _choices(call, environment, dotenvs))
    keywords = Source("keyword arguments", named=True, values=call.values)
    named = [source for source in (keywords, *config, *dotenvs) if source.named]
    found = [source for source in (environment, *dotenvs, *config) if not source.named]
    sources = [*named, *found]
    _add_machine_proxy(environment, sources)
    return sources


def settings_file(model: Model, config_file: Path | None) -> Source:
    """Return the settings file that is in effect, with no profile chosen."""
    call = Call(config_file=config_file)
    environment = _environment(model)
    choices = _choices(call, environment, _dotenvs(model, call, environment))
    choices.pop(PROFILE, None)
    return _settings_files(model, call, choices)[-1]


def _choices(call: Call, environment: Source, dotenvs: list[Source]) -> dict[str, Value]:
    """Return the variables that choose a file or a profile; those of a named `.env` come first."""
    dotenv = dotenvs[-1].choices if dotenvs else {}
    return environment.choices | dotenv if call.env_file else dotenv | environment.choices


def _environment(model: Model) -> Source:
    return _from_variables(Source("environment"), Environment(model))


def _from_variables(source: Source, variables: Environment) -> Source:
    """Fill a source from variables; unknown and blank ones do not count."""

    def value(content: object, variable: str) -> Value:
        origin = str(source.path) if source.path else f"environment variable {variable}"
        return Value(content, origin, source.untrusted)

    for setting, content in variables().items():
        if variable := setting in VARIABLES and variables.variable_of(setting):
            source.values[setting] = value(content, variable)
    for name in (CONFIG, PROFILE, ENV_FILE):
        if text := variables.text(name):
            source.choices[name] = value(text, name)
    source.other_keys = tuple(name for name in OTHER_KEYS if variables.text(name))
    for name, meant in misspelled(variables.env_vars).items():
        place = f" in {source.path}" if source.path else ""
        source.notes.append(f"unknown variable {name}{place} is ignored; did you mean {meant}?")
    _note_open_secret(source)
    return source


def _add_machine_proxy(environment: Source, sources: Iterable[Source]) -> None:
    """Add the proxy of this machine, `HTTPS_PROXY` except for `NO_PROXY`, where `QIANFAN_PROXY` is not set.

    Loopback is never reached through a proxy, and nothing else is reached over http.
    """
    proxy = getproxies_environment().get("https")
    urls = (source.values["base_url"].content for source in sources if "base_url" in source.values)
    url = next(urls, DEFAULT_BASE_URL)
    if not proxy or "proxy" in environment.values or not isinstance(url, str):
        return
    try:
        bypassed = validators.is_loopback(url) or proxy_bypass(validators.host_of(url))
    except ValueError:  # not a URL, which is reported where it is validated
        return
    if not bypassed:
        environment.values["proxy"] = Value(proxy, "environment variable HTTPS_PROXY")


def _dotenvs(model: Model, call: Call, environment: Source) -> list[Source]:
    """Read the named `.env`, or else the nearest one; the places before that are absent."""

    def read(path: Path, *, named: bool = False, untrusted: str | None = None) -> Source:
        source = Source(".env", path, named, untrusted)
        variables = _parsed(source, files.read_variables, model)
        return _from_variables(source, variables) if variables else source

    if call.env_file:
        return [_required(read(call.env_file, named=True), "env_file")]
    if choice := environment.choices.get(ENV_FILE):
        return [_required(read(files.absolute(str(choice.content))), ENV_FILE)]
    sources = _up_to_first(files.upward(Path(".env")), lambda path: read(path, untrusted=_FOUND))
    for source in sources:  # other programs use this file too, so a broken one is no reason to stop
        if source.problem:
            source.notes.append(source.problem)
            source.problem = None
    return sources


def _settings_files(model: Model, call: Call, choices: Mapping[str, Value]) -> list[Source]:
    """Read the named settings file, or else the first that is found."""
    chosen = choices.get(PROFILE)
    blank = Source("settings file", named=bool(call.config_file or call.profile), profile=call.profile)
    if chosen and not blank.named:
        blank.profile, blank.profile_variable = str(chosen.content), chosen

    def read(path: Path, untrusted: str | None = None) -> Source:
        return _settings_file(model, replace(blank, path=path, untrusted=untrusted, values={}, notes=[]))

    if call.config_file:
        file = _required(read(call.config_file), "config_file")
        if chosen and not call.profile:
            file.notes.append(
                f"{PROFILE}={chosen.content} is ignored: {file.path} was named in the call, without a profile"
            )
        return [file]
    if choice := choices.get(CONFIG):
        by = f"it was named by {CONFIG} in {choice.origin}" if choice.untrusted else None
        return [_required(read(files.absolute(str(choice.content)), by), CONFIG)]
    project, home = files.upward(_PROJECT_FILE), files.at_home(_USER_FILE)
    sources = _up_to_first([*project, *home], lambda path: read(path, _FOUND if path in project else None))
    found = sources or [replace(blank, state="absent")]
    if blank.profile and all(file.state == "absent" for file in found):
        searched = ", ".join(map(str, [*project, *home]))
        found[-1].problem = f"there is no settings file with profile {blank.profile!r}; searched: {searched}"
    return found


def _settings_file(model: Model, source: Source) -> Source:
    """Fill a source from its file: the top level, and over it the profile."""
    table = dict(_parsed(source, files.read_table, model) or {})
    profiles = table.pop("profiles", None) or {}
    if not isinstance(profiles, dict) or not all(isinstance(layer, dict) for layer in profiles.values()):
        source.problem = f"{source.path}: profiles should be tables, [profiles.NAME]"
        return source
    source.profiles = tuple(map(str, profiles))
    _add_layer(source, table, str(source.path), source.untrusted)
    variable = source.profile_variable
    if source.profile in profiles:
        untrusted = source.untrusted
        if variable and variable.untrusted and not untrusted:
            untrusted = f"the profile was chosen by {PROFILE} in {variable.origin}"
        _add_layer(source, profiles[source.profile], source.title, untrusted)
    elif source.profile and source.state == "read":
        by = f" ({PROFILE})" if variable else ""
        near = did_you_mean(source.profile, source.profiles)
        known = ", ".join(source.profiles) or "none"
        source.problem = f"{source.path} has no profile {source.profile!r}{by}{near}; its profiles: {known}"
    return source


def _add_layer(source: Source, layer: Mapping[Any, object], origin: str, untrusted: str | None) -> None:
    """Add settings over those of the source; a key replaces both keys, so that a pair is never mixed."""
    unknown = next((name for name in layer if name not in VARIABLES), None)
    if unknown is not None:
        source.problem = f"{origin}: {_unknown(unknown)}"
        return
    trimmed = {
        name: validators.trimmed(content) if isinstance(content, str) else content
        for name, content in layer.items()
    }
    given = {name: content for name, content in trimmed.items() if content not in (None, "")}
    bundle = given.get("ca_bundle")
    if isinstance(bundle, str) and source.path:  # relative to the file, not to the working directory
        given["ca_bundle"] = bundle if bundle.startswith("~") else str(source.path.parent / bundle)
    if not given.keys().isdisjoint(PAIR):
        source.values = {name: value for name, value in source.values.items() if name not in PAIR}
    source.values |= {name: Value(content, origin, untrusted) for name, content in given.items()}
    _note_open_secret(source)


def _unknown(name: object) -> str:
    """Return which key is unknown; what is not a name may be a whole line of the file, with a secret."""
    if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,40}", name):
        return f"unknown key {name!r}{did_you_mean(name, VARIABLES)}"
    return "there is an unknown key that is not a name"


def _parsed(source: Source, parse: Callable[[Path, Model], Content], model: Model) -> Content | None:
    """Return the parsed file of a source; None where it is absent or cannot be read, as the source then says.

    A directory of that name counts as absent: some virtual environments are called `.env`.
    """
    if source.path is None or not files.is_file(source.path):
        source.state = "absent"
        return None
    try:
        return parse(source.path, model)
    except files.UnreadableFileError as error:
        source.state, source.problem = "unreadable", f"{source.path} {error}"
        return None


def _required(source: Source, by: str) -> Source:
    """Record a problem where a file that was named is not there."""
    if source.state == "absent":
        is_there = source.path and files.exists(source.path)
        what = "is not a file" if is_there else "does not exist"
        source.problem = f"{source.path}, named by {by}, {what}"
    return source


def _up_to_first(places: Iterable[Path], read: Callable[[Path], Source]) -> list[Source]:
    """Read the first place where there is a file; the ones before it are absent."""
    sources: list[Source] = []
    for place in places:
        sources.append(read(place))
        if sources[-1].state != "absent":
            break
    return sources


def _note_open_secret(source: Source) -> None:
    if "secret_key" in source.values and source.path and files.is_open_to_others(source.path):
        source.notes.append(f"{source.path} contains a secret key and is readable by others; run chmod 600")
