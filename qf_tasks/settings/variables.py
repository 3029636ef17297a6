"""The variables that are read, from the environment and from `.env`, by sources of pydantic-settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from qf_tasks.settings.validators import trimmed

# The variables of each setting; within one source the first that is set counts.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "access_key": ("QIANFAN_ACCESS_KEY",),
    "secret_key": ("QIANFAN_SECRET_KEY",),
    "base_url": ("QIANFAN_CONSOLE_API_BASE_URL",),
    "bos_endpoint": ("QF_TASKS_BOS_ENDPOINT",),
    "request_timeout": ("QIANFAN_CONSOLE_API_RETRY_TIMEOUT",),
    "max_retries": ("QF_TASKS_MAX_RETRIES",),
    "max_retry_wait": ("QF_TASKS_MAX_RETRY_WAIT",),
    "retry_budget": ("QF_TASKS_RETRY_BUDGET",),
    "max_response_bytes": ("QF_TASKS_MAX_RESPONSE_BYTES",),
    "max_connections": ("QF_TASKS_MAX_CONNECTIONS",),
    "proxy": ("QIANFAN_PROXY",),
    "verify_tls": ("QIANFAN_SSL_VERIFICATION_ENABLED",),
    "ca_bundle": ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
}
CONFIG, PROFILE, ENV_FILE = "QF_TASKS_CONFIG", "QF_TASKS_PROFILE", "QIANFAN_DOT_ENV_CONFIG_FILE"
OTHER_KEYS = ("QIANFAN_AK", "QIANFAN_SK")  # a kind of key that cannot sign these requests

_PREFIXES = ("QIANFAN_", "QF_TASKS_")
_NEAR = 0.8
_OURS = (*(name for names in VARIABLES.values() for name in names), CONFIG, PROFILE, ENV_FILE)
# Variables of the SDK that are similar to one of ours, but not a mistake.
_OF_THE_SDK = {
    "QIANFAN_ACCESS_TOKEN",
    "QIANFAN_CONSOLE_API_RETRY_COUNT",
    "QIANFAN_CONSOLE_API_RETRY_JITTER",
    "QIANFAN_LLM_API_RETRY_TIMEOUT",
}


class Environment(EnvSettingsSource):
    """The settings in environment variables."""

    def text(self, variable: str) -> str | None:
        """Return what a variable is set to, trimmed; None where it is blank."""
        name = variable if self.case_sensitive else variable.lower()  # Windows ignores the case
        return trimmed(self.env_vars.get(name) or "") or None

    def variable_of(self, setting: str) -> str | None:
        """Return the first variable of a setting that is set."""
        return next((name for name in VARIABLES[setting] if self.text(name)), None)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - as its base class
        """Return the value of a setting from one of its variables."""
        variable = self.variable_of(field_name)
        return variable and self.text(variable), field_name, False


class DotEnv(DotEnvSettingsSource, Environment):
    """The settings in a `.env` file, which has the same variables."""

    def __init__(self, model: type[BaseSettings], path: Path) -> None:
        self.path = path
        super().__init__(model, env_file=path)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # Without interpolation: `${QIANFAN_SECRET_KEY}` in a stranger's file must not be replaced by a key.
        return dotenv_values(self.path, interpolate=False, encoding="utf-8-sig")


def misspelled(names: Iterable[str]) -> dict[str, str]:
    """Return the names that resemble one of our variables, each with the variable probably meant.

    Variables of the SDK are not mistakes, and neither are names that only continue one of ours, such as
    `QIANFAN_ACCESS_KEY_OF_TEAM_A`. A wrong prefix is one: `QF_TASKS_PROXY`.
    """
    by_stem = {_stem(known): known for known in _OURS if known.startswith(_PREFIXES)}
    found: dict[str, str] = {}
    for name in names:
        upper = name.upper()
        if name in _OURS or upper in _OF_THE_SDK or not upper.startswith(_PREFIXES):
            continue
        if not name.isidentifier():  # a malformed line of `.env`, which may contain a key
            continue
        near = difflib.get_close_matches(_stem(upper), by_stem, n=1, cutoff=_NEAR)
        if near and not upper.startswith(f"{by_stem[near[0]]}_"):
            found[name] = by_stem[near[0]]
    return found


def _stem(variable: str) -> str:
    return variable.removeprefix("QIANFAN_").removeprefix("QF_TASKS_")
