"""Where settings can come from: each source read by itself, then put in the order of precedence.

This file knows variables and files, and not what a value must look like. What is wrong with a source is
written into it instead of raised, so that no value stands in the frames of an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qf_tasks.settings import files, rules

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

PAIR = ("access_key", "secret_key")
DEFAULT_BASE_URL = "https://qianfan.baidubce.com"

# The variables of each setting; within one source the first that is set counts.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "access_key": ("QIANFAN_ACCESS_KEY",),
    "secret_key": ("QIANFAN_SECRET_KEY",),
    "base_url": ("QIANFAN_CONSOLE_API_BASE_URL",),
    "request_timeout": ("QIANFAN_CONSOLE_API_RETRY_TIMEOUT",),
    "max_retries": ("QF_TASKS_MAX_RETRIES",),
    "max_retry_wait": ("QF_TASKS_MAX_RETRY_WAIT",),
    "retry_budget": ("QF_TASKS_RETRY_BUDGET",),
    "proxy": ("QIANFAN_PROXY",),
    "verify_tls": ("QIANFAN_SSL_VERIFICATION_ENABLED",),
    "ca_bundle": ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
}
OTHER_KEYS = ("QIANFAN_AK", "QIANFAN_SK")
_CHOICES = ("QF_TASKS_CONFIG", "QF_TASKS_PROFILE", "QIANFAN_DOT_ENV_CONFIG_FILE")

_PROJECT_FILE = Path("config", "qf_tasks.toml")
_USER_FILE = Path(".config", "qf_tasks", "config.toml")


@dataclass(frozen=True, slots=True)
class Value:
    """A value as a source had it, which may be a key and is not shown; and where exactly it stood."""

    content: object = field(repr=False)
    origin: str


@dataclass(slots=True)
class Source:
    """What one source held.

    Attributes:
        named: whether the call itself named it; then no source that was found overrules it.
        problem: why its settings cannot be used.
        note: what is worth a line in the log.
        profiles: those that the file has; `profile` is the one taken, `profile_variable` what chose it.
        variables: what was set of those that choose a file, and of the other kind of key.
    """

    name: str
    path: Path | None = None
    named: bool = False
    values: dict[str, Value] = field(default_factory=dict)
    state: Literal["read", "absent", "unreadable"] = "read"
    problem: str | None = None
    note: str | None = None
    profiles: tuple[str, ...] = ()
    profile: str | None = None
    profile_variable: str | None = None
    variables: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        """Name it as people would look for it: by its path where it has one."""
        profile = f" [profiles.{self.profile}]" if self.profile else ""
        return f"{self.path}{profile}" if self.path else f"the {self.name}"

    @property
    def pair(self) -> tuple[object, ...]:
        """The two keys; one of them, or none, where the source lacks them."""
        return tuple(self.values[name].content for name in PAIR if name in self.values)


@dataclass(frozen=True, slots=True)
class Call:
    """What a call named: values, and the files and the profile to take others from."""

    values: dict[str, Value] = field(default_factory=dict)
    profile: str | None = None
    config_file: Path | None = None
    env_file: Path | None = None


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return `; did you mean …?` with the nearest of the names, nothing where none is near."""
    spelling = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(str(name).casefold(), spelling, n=1)
    return f"; did you mean {spelling[near[0]]}?" if near else ""


def collect(call: Call) -> list[Source]:
    """Read every source there is and return them in the order of precedence, absent places among them."""
    environment = _environment()
    dotenvs = _dotenvs(call, environment)
    dotenv = dotenvs[-1].variables if dotenvs else {}
    variables = environment.variables | dotenv if call.env_file else dotenv | environment.variables
    files = _settings_files(call, variables)
    keywords = Source("keyword arguments", named=True, values=call.values)
    named = [source for source in (keywords, *files, *dotenvs) if source.named]
    found = [source for source in (environment, *dotenvs, *files) if not source.named]
    sources = [*named, *found]
    _add_machine_proxy(
        environment, next((s.values["base_url"] for s in sources if "base_url" in s.values), None)
    )
    return sources


@cache
def _variable_model() -> type[BaseSettings]:
    """Return a model with one field for each variable, for the sources of pydantic-settings to fill."""
    from pydantic import create_model
    from pydantic_settings import BaseSettings

    names = [*(name for names in VARIABLES.values() for name in names), *_CHOICES, *OTHER_KEYS]
    fields: dict[str, Any] = dict.fromkeys(names, (str | None, None))
    return create_model("Variables", __base__=BaseSettings, **fields)


def _from_variables(source: Source, variables: Mapping[str, object], origin: str) -> Source:
    """Fill a source from variables; foreign and blank ones are passed by."""
    given = {name: text for name, text in _given(variables).items() if isinstance(text, str)}
    for setting, names in VARIABLES.items():
        if name := next((name for name in names if name in given), None):
            source.values[setting] = Value(given[name], origin.format(name))
    source.variables = {name: given[name] for name in (*_CHOICES, *OTHER_KEYS) if name in given}
    _note_open_secret(source)
    return source


def _given(layer: Mapping[Any, object]) -> dict[Any, object]:
    """Return what is set, texts trimmed: a blank one is as good as none."""
    trimmed = {name: rules.trimmed(it) if isinstance(it, str) else it for name, it in layer.items()}
    return {name: it for name, it in trimmed.items() if it not in (None, "")}


def _environment() -> Source:
    from pydantic_settings import EnvSettingsSource

    variables = EnvSettingsSource(_variable_model(), case_sensitive=True)()
    return _from_variables(Source("environment"), variables, "environment variable {}")


def _add_machine_proxy(environment: Source, base_url: Value | None) -> None:
    """Add the proxy of this machine, `HTTPS_PROXY` but for `NO_PROXY`, where none is set for Qianfan.

    Loopback never goes through a proxy, and nothing else is reached by http.
    """
    from urllib.request import getproxies_environment, proxy_bypass

    proxy = getproxies_environment().get("https")
    url = base_url.content if base_url else DEFAULT_BASE_URL
    if not proxy or "proxy" in environment.values or not isinstance(url, str):
        return
    try:
        bypassed = rules.is_loopback(url) or proxy_bypass(rules.host_of(url))
    except ValueError:  # no URL: that is said where it is checked
        return
    if not bypassed:
        environment.values["proxy"] = Value(proxy, "environment variable HTTPS_PROXY")


def _dotenvs(call: Call, environment: Source) -> list[Source]:
    """Read the `.env` that was named, or else the nearest; the places before it are absent."""
    variable = "QIANFAN_DOT_ENV_CONFIG_FILE"
    if call.env_file:
        return [_required(_dotenv(call.env_file, named=True), "env_file")]
    if name := environment.variables.get(variable):
        return [_required(_dotenv(files.absolute(name)), variable)]
    sources = _up_to_first(files.upward(Path(".env")), _dotenv)
    for source in sources:  # it is everybody's file, so that a broken one is no reason to stop
        source.note, source.problem = source.note or source.problem, None
    return sources


def _dotenv(path: Path, *, named: bool = False) -> Source:
    source = Source(".env", path, named)
    return _from_variables(source, _read(source, files.read_variables), str(path))


def _settings_files(call: Call, variables: Mapping[str, str]) -> list[Source]:
    """Read the settings file that was named, or else the first by its place."""
    chosen = variables.get("QF_TASKS_PROFILE")
    blank = Source("settings file", named=bool(call.config_file or call.profile), profile=call.profile)
    if chosen and not blank.named:
        blank.profile, blank.profile_variable = chosen, "QF_TASKS_PROFILE"

    def read(path: Path) -> Source:
        return _settings_file(replace(blank, path=path, values={}))

    if call.config_file:
        file = _required(read(call.config_file), "config_file")
        if chosen and not call.profile:
            file.note = (
                f"QF_TASKS_PROFILE={chosen} is passed over: the call named {file.path}, and no profile"
            )
        return [file]
    if name := variables.get("QF_TASKS_CONFIG"):
        return [_required(read(files.absolute(name)), "QF_TASKS_CONFIG")]
    places = [*files.upward(_PROJECT_FILE), *files.at_home(_USER_FILE)]
    found = _up_to_first(places, read) or [replace(blank, state="absent")]
    if blank.profile and all(file.state == "absent" for file in found):
        looked = ", ".join(map(str, places))
        found[-1].problem = f"there is no settings file for profile {blank.profile!r}; looked for: {looked}"
    return found


def _settings_file(source: Source) -> Source:
    """Fill a source from its file: the keys at its top, and over them those of the profile."""
    table = _read(source, files.read_table)
    profiles = table.pop("profiles", None) or {}
    if not isinstance(profiles, dict) or not all(isinstance(layer, dict) for layer in profiles.values()):
        source.problem = f"{source.path}: profiles should be tables, [profiles.NAME]"
        return source
    source.profiles = tuple(map(str, profiles))
    _add_layer(source, table, str(source.path))
    if source.profile in profiles:
        _add_layer(source, profiles[source.profile], source.title)
    elif source.profile and source.state == "read":
        by = f" ({source.profile_variable})" if source.profile_variable else ""
        near = did_you_mean(source.profile, source.profiles)
        known = ", ".join(source.profiles) or "none"
        source.problem = f"{source.path} has no profile {source.profile!r}{by}{near}; its profiles: {known}"
    return source


def _add_layer(source: Source, layer: Mapping[Any, object], origin: str) -> None:
    """Lay keys over those that the source has; a pair goes together, so half a one covers both."""
    unknown = next((name for name in layer if name not in VARIABLES), None)
    if unknown is not None:
        source.problem = f"{origin}: {_unknown(unknown)}"
        return
    given = _given(layer)
    bundle = given.get("ca_bundle")
    if isinstance(bundle, str) and source.path:  # it is written as seen from the file, not from the program
        given["ca_bundle"] = bundle if bundle.startswith("~") else str(source.path.parent / bundle)
    if not given.keys().isdisjoint(PAIR):
        source.values = {name: value for name, value in source.values.items() if name not in PAIR}
    source.values |= {name: Value(content, origin) for name, content in given.items()}
    _note_open_secret(source)


def _unknown(name: object) -> str:
    """Say which key is unknown; what is no name may be a whole line of the file, with a secret in it."""
    if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,40}", name):
        return f"unknown key {name!r}{did_you_mean(name, VARIABLES)}"
    return "there is a key that is no name"


def _read(source: Source, read: Callable[[Path, type[BaseSettings]], dict[str, Any]]) -> dict[str, Any]:
    """Return what the file of a source holds; nothing where it cannot be read, and why is in the source.

    A directory of that name counts as absent: `.env` is one of a virtual environment, too.
    """
    if source.path is None or not files.is_file(source.path):
        source.state = "absent"
        return {}
    try:
        return read(source.path, _variable_model())
    except files.UnreadableFileError as error:
        source.state, source.problem = "unreadable", f"{source.path} {error}"
        return {}


def _required(source: Source, by: str) -> Source:
    """Say that a file which was named is not there."""
    if source.state == "absent":
        is_there = source.path and files.exists(source.path)
        what = "is no file" if is_there else "does not exist"
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
        source.note = f"{source.path} holds a secret key and is open to others than its owner; chmod 600 it"
