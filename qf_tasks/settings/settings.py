"""The settings of a client, made from several sources in this order.

    keyword › profile or file named in the call › environment › .env › settings file found › default

Both keys come from the first source that has either. Nothing is read at import, and nothing after the
settings are made. How a request is sent is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import Annotated, Any, ClassVar, NoReturn, Unpack, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from qf_tasks.errors import ConfigurationError, InvalidArgumentError, QfTasksError
from qf_tasks.models import Account
from qf_tasks.settings import validators
from qf_tasks.settings.keywords import KEYWORD, Keywords, Values, call_of, did_you_mean, hide
from qf_tasks.settings.precedence import KEY_HINT, find_problem, log_sources, resolve
from qf_tasks.settings.sources import DEFAULT_BASE_URL, PAIR, collect, settings_file

GIVEN = "given in code"
DEFAULT = "default"


def _secret_key(secret: SecretStr) -> SecretStr:
    return SecretStr(validators.key(secret.get_secret_value()))


def _proxy(url: SecretStr) -> SecretStr:
    return SecretStr(validators.proxy(url.get_secret_value()))


# A socket or lock accepts no timeout above TIMEOUT_MAX (292 years).
_Seconds = Annotated[float, BeforeValidator(validators.duration), Field(allow_inf_nan=False, le=TIMEOUT_MAX)]
_WholeNumber = Annotated[int, BeforeValidator(validators.number)]
_Endpoint = Annotated[str, AfterValidator(validators.endpoint)]


class Settings(BaseSettings):
    """Credentials and limits of one client, validated and immutable.

    `Settings.load()` reads all sources; `Settings(...)` uses its arguments alone. The secret key is in no
    text made of it. It can be copied, but not pickled.

    Durations are seconds, a `timedelta`, or text with a unit (`"90s"`, `"5m"`, `"2h"`). Text without a unit
    counts as seconds, since every environment variable is text; arguments of methods refuse it.

    Attributes:
        access_key: The access key of an IAM pair (安全认证 Access Key).
        secret_key: The secret key of the same pair.
        base_url: Scheme and host of the service; https, or http on loopback.
        bos_endpoint: Scheme and host of the object storage; default None, `base_url` if that is on loopback,
            otherwise that of the bucket's region.
        request_timeout: Deadline of one attempt, in seconds; default 60. For reading an object from BOS, the
            longest wait for more bytes.
        max_retries: How often a request is retried after the first attempt; default 3.
        max_retry_wait: The longest delay before a retry, in seconds; default 60.
        retry_budget: Seconds for all attempts of one call together; default 300.
        max_response_bytes: The largest response that is read, decompressed; default 64 MiB.
        max_connections: The most connections at the same time, 1 to 1000; default 64.
        proxy: http or https URL of a proxy, which may contain a password; default None. Loopback is never
            reached through a proxy. SOCKS is refused.
        verify_tls: Whether the certificate of the service is verified; default True.
        ca_bundle: File or directory of certificates to verify it with; default None, the certificates of the
            system as in `ssl.create_default_context()`.

    Raises:
        ConfigurationError: A value is missing, unknown or invalid.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True, extra="forbid", case_sensitive=True, hide_input_in_errors=True
    )

    access_key: Annotated[str, AfterValidator(validators.key)]
    secret_key: Annotated[SecretStr, AfterValidator(_secret_key)]
    base_url: _Endpoint = DEFAULT_BASE_URL
    bos_endpoint: _Endpoint | None = None
    request_timeout: Annotated[_Seconds, Field(gt=0)] = 60.0
    max_retries: Annotated[_WholeNumber, Field(ge=0)] = 3
    max_retry_wait: Annotated[_Seconds, Field(ge=0)] = 60.0
    retry_budget: Annotated[_Seconds, Field(ge=0)] = 300.0
    max_response_bytes: Annotated[_WholeNumber, Field(ge=1)] = 64 * 1024 * 1024
    max_connections: Annotated[_WholeNumber, Field(ge=1, le=1000)] = 64
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = None
    verify_tls: bool = True
    ca_bundle: Annotated[Path, AfterValidator(validators.ca_bundle)] | None = None
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, **values: Unpack[Values]) -> None:
        values = hide(values, GIVEN)
        resolved = cast(dict[str, Any], values)  # of `Value`
        fields = type(self).model_fields
        if unknown := next((name for name in resolved if name not in fields), None):
            raise ConfigurationError(f"There is no setting {unknown!r}{did_you_mean(unknown, fields)}")
        origins = {name: value.origin for name, value in resolved.items()}
        invalid: QfTasksError | None = None
        try:
            super().__init__(**{name: _loggable(name, value.content) for name, value in resolved.items()})
        except ValidationError as error:
            invalid = _error_of(error, origins)
        if invalid:  # raised outside of `except`: the error of pydantic, which holds the values, is dropped
            raise invalid
        self._origins = origins

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the parameters are those of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return one source: what `load` resolved or the caller passed.

        `load` reads the environment and the files through the same classes of sources, one for each place.
        """
        return (init_settings,)

    @classmethod
    def load(cls, **keywords: Unpack[Keywords]) -> Settings:
        """Return the settings in effect; each source is read once, by this call.

        Args:
            **keywords: Every setting by its name; `profile`, `config_file` and `env_file` name where others
                are read from. None means not given.

        Raises:
            ConfigurationError: No keys, only one key, a file that cannot be used, an invalid value, or a file
                found in the project that would send requests signed with keys from elsewhere to another host.
            InvalidArgumentError: A keyword is unknown, blank, of the wrong type, or out of range.
        """
        keywords = hide(keywords)
        sources = collect(cls, call_of(keywords))
        if problem := find_problem(sources):
            raise ConfigurationError(problem.message, hint=problem.hint)
        settings = cls(**cast(Values, resolve(sources)))
        log_sources(sources)
        return settings

    @classmethod
    def profiles(cls, config_file: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
        """Return the names of the profiles in a settings file; an empty tuple if there is none.

        Args:
            config_file: The file; default None, the one that `load` would read.

        Raises:
            ConfigurationError: The file is named and missing, or cannot be used.
            InvalidArgumentError: `config_file` is not a path.
        """
        file = settings_file(cls, call_of(hide(Keywords(config_file=config_file))).config_file)
        if file.problem:
            raise ConfigurationError(file.problem)
        return file.profiles

    @property
    def account(self) -> Account:
        """The account that these keys belong to, as it is written into logs."""
        host = urlsplit(self.base_url).netloc
        return Account(validators.masked_key(self.access_key), host, self.origin("access_key"))

    def origin(self, name: str) -> str:
        """Return where the value of a setting was set, `"default"` where no source has it.

        Raises:
            InvalidArgumentError: There is no such setting.
        """
        fields = type(self).model_fields
        if not isinstance(name, str) or name not in fields:
            raise InvalidArgumentError(f"There is no setting {name!r}{did_you_mean(name, fields)}")
        return self._origins.get(name, DEFAULT)

    def masked(self) -> dict[str, object]:
        """Return the settings without the secret key, and with access key and proxy masked."""
        return {
            **{name: value for name, value in self.__dict__.items() if name != "secret_key"},
            "access_key": validators.masked_key(self.access_key),
            "proxy": validators.masked_proxy(self.proxy.get_secret_value()) if self.proxy else None,
            "ca_bundle": str(self.ca_bundle) if self.ca_bundle else None,
        }

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """Return what `repr` and `str` show."""
        return [*self.masked().items()] if self.__dict__ else []  # empty where validation failed

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse a change without showing the value, as pydantic would."""
        if name in type(self).model_fields:
            raise AttributeError(f"Settings cannot be changed: make new ones for another {name}")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        """Compare the values, not their origins."""
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(tuple(self.__dict__.items()))

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, which would write the secret key in plain text."""
        raise TypeError("Settings contain a secret key and cannot be pickled: load them in each process")


def _loggable(name: str, content: Any) -> Any:
    """Return a value as pydantic-settings may log it."""
    return SecretStr(content) if name in ("secret_key", "proxy") and isinstance(content, str) else content


def _error_of(error: ValidationError, origins: Mapping[str, str]) -> QfTasksError:
    """Return the errors of pydantic as one of ours: setting, rule and origin of each, and no value."""
    rules = {
        str(detail["loc"][0]): _rule(detail["type"], detail["msg"])
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    }
    text = "; ".join(
        f"{name} {rule} ({origins[name]})" if name in origins else f"{name} {rule}"
        for name, rule in rules.items()
    )
    if not rules.keys().isdisjoint(PAIR):
        return ConfigurationError(text, hint=KEY_HINT)
    if all(origins.get(name) == KEYWORD for name in rules):
        return InvalidArgumentError(text)
    return ConfigurationError(text)


def _rule(kind: str, message: str) -> str:
    if kind == "missing":
        return "is required"
    return message.removeprefix("Value error, ").removeprefix("Input ")
