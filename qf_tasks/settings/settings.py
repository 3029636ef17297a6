"""Where keys and limits come from: sources in one written order, and the settings made of them.

    keyword › profile or file named in the call › environment › .env › settings file found › default

Both keys come from the first source that has either. Nothing is read at import, and nothing after the
settings are made. How a request is sent is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import Annotated, Any, ClassVar, NoReturn, Required, TypedDict, Unpack
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
)

from qf_tasks.errors import ConfigurationError, InvalidArgumentError, QfTasksError
from qf_tasks.models import Account
from qf_tasks.settings import rules
from qf_tasks.settings.precedence import (
    KEY_HINT,
    KEYWORD,
    Keywords,
    announce,
    checked_call,
    pick,
    refuse_unusable,
    unseen,
)
from qf_tasks.settings.sources import DEFAULT_BASE_URL, PAIR, Value, collect, did_you_mean

GIVEN = "given to Settings()"
DEFAULT = "default"


class _Fields(TypedDict, total=False):
    """What `Settings` can be given."""

    access_key: Required[str]
    secret_key: Required[str | SecretStr]
    base_url: str
    request_timeout: float | timedelta
    max_retries: int
    max_retry_wait: float | timedelta
    retry_budget: float | timedelta
    proxy: str | SecretStr | None
    verify_tls: bool
    ca_bundle: str | Path | None


def _secret_key(secret: SecretStr) -> SecretStr:
    return SecretStr(rules.key(secret.get_secret_value()))


def _proxy(url: SecretStr) -> SecretStr:
    return SecretStr(rules.proxy(url.get_secret_value()))


# TIMEOUT_MAX (292 years) is the longest that a socket can be told to wait.
_Seconds = Annotated[float, BeforeValidator(rules.number), Field(allow_inf_nan=False, le=TIMEOUT_MAX)]


class Settings(BaseModel):
    """Keys and limits of one client, checked and unchangeable.

    `Settings.load()` reads every source; `Settings(...)` takes what it is given and reads nothing. No text
    made of it shows a secret key. It can be copied, but not pickled.

    Attributes:
        access_key: of the IAM pair that signs requests (安全认证 Access Key).
        secret_key: the other half of the pair.
        base_url: scheme and host of the service; https, or http on loopback.
        request_timeout: seconds to connect, and for each wait for the answer, in one attempt; 60.
        max_retries: how often a request may be repeated after the first attempt; 3.
        max_retry_wait: the longest pause before a repeat, in seconds; 60.
        retry_budget: seconds over all attempts of one call; 300.
        proxy: http or https URL of a proxy, which may hold a password; none. Loopback never goes through
            one. SOCKS is refused, in `HTTPS_PROXY` too: without it, calls would go a way that is not meant.
        verify_tls: whether the certificate of the service is checked; true.
        ca_bundle: file or directory of certificates to check it with; the system's.

    Raises:
        ConfigurationError: a value is missing, unknown, or breaks its rule.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    access_key: Annotated[str, AfterValidator(rules.key)]
    secret_key: Annotated[SecretStr, AfterValidator(_secret_key)]
    base_url: Annotated[str, AfterValidator(rules.base_url)] = DEFAULT_BASE_URL
    request_timeout: Annotated[_Seconds, Field(gt=0)] = 60.0
    max_retries: Annotated[int, BeforeValidator(rules.number), Field(ge=0)] = 3
    max_retry_wait: Annotated[_Seconds, Field(ge=0)] = 60.0
    retry_budget: Annotated[_Seconds, Field(ge=0)] = 300.0
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = None
    verify_tls: bool = True
    ca_bundle: Annotated[Path, AfterValidator(rules.ca_bundle)] | None = None
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, **values: Unpack[_Fields]) -> None:
        given = {name: it if isinstance(it, Value) else Value(it, GIVEN) for name, it in values.items()}
        del values  # the frame of an error is to show no key
        refusal: QfTasksError | None = None
        try:
            super().__init__(**{name: value.content for name, value in given.items()})
        except ValidationError as error:
            refusal = _refusal(error, {name: value.origin for name, value in given.items()})
        if refusal:  # raised here, so that it holds no error of pydantic, whose own hold the values
            raise refusal
        self._origins = {name: value.origin for name, value in given.items()}

    @classmethod
    def load(cls, **keywords: Unpack[Keywords]) -> Settings:
        """Return the settings in effect here and now; each source is read once, by this call.

        Where `QF_TASKS_PROFILE` chooses a profile but the call named other keys, the rest of the profile
        still counts, its `base_url` above all: a profile for tests keeps calls away from the service itself.
        A warning in the log then says whose keys go to whose host.

        Args:
            **keywords: those of `TaskClient`. `access_key`, `secret_key`, `base_url`, `request_timeout`
                (seconds or a `timedelta`) and `max_retries` are values; `profile`, `config_file` and
                `env_file` name where others are taken from.

        Raises:
            ConfigurationError: no keys, half a pair, a file that cannot be used, a value against its rule.
            InvalidArgumentError: a keyword is unknown, blank, of the wrong type, or out of its range.
        """
        given = unseen(keywords)
        del keywords  # the frame of an error is to show no key
        sources = collect(checked_call(given))
        refuse_unusable(sources)
        picked: dict[str, Any] = dict(pick(sources))
        settings = cls(**picked)
        announce(sources)
        return settings

    @property
    def account(self) -> Account:
        """Whose tasks these keys reach."""
        host = urlsplit(self.base_url).netloc
        return Account(rules.masked(self.access_key), host, self.origin("access_key"))

    def origin(self, name: str) -> str:
        """Return where the value of a setting came from, `"default"` where no source had it.

        Raises:
            InvalidArgumentError: there is no setting of this name.
        """
        fields = type(self).model_fields
        if not isinstance(name, str):
            raise InvalidArgumentError(f"name must be a text, not {type(name).__name__}")
        if name not in fields:
            raise InvalidArgumentError(f"there is no setting {name!r}{did_you_mean(name, fields)}")
        return self._origins.get(name, DEFAULT)

    def masked(self) -> dict[str, object]:
        """Return the settings as they may be shown: key and proxy masked, the secret key left out."""
        return {
            **{name: value for name, value in self.__dict__.items() if name != "secret_key"},
            "access_key": rules.masked(self.access_key),
            "proxy": rules.masked_proxy(self.proxy.get_secret_value()) if self.proxy else None,
            "ca_bundle": str(self.ca_bundle) if self.ca_bundle else None,
        }

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """Return what `repr` and `str` show."""
        return [*self.masked().items()] if self.__dict__ else []  # a refused one holds nothing

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse a change; pydantic's own refusal would show the value."""
        if name in type(self).model_fields:
            del value
            raise AttributeError(f"Settings do not change: make new ones for another {name}")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        """Compare the values; where they came from plays no part."""
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(tuple(self.__dict__.items()))

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the secret key would stand there in clear."""
        raise TypeError("Settings hold a secret key and are not pickled: make one in each process")


def _refusal(error: ValidationError, origins: Mapping[str, str]) -> QfTasksError:
    """Return what pydantic found as an error of ours: setting, rule and source of each, and no value."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    problems = {str(it["loc"][0]): _rule(str(it["loc"][0]), it["type"], it["msg"]) for it in found}
    text = "; ".join(
        f"{name} {rule}" + (f" ({origins[name]})" if name in origins else "")
        for name, rule in problems.items()
    )
    if any(name in PAIR for name in problems):
        return ConfigurationError(text, hint=KEY_HINT)
    by_keyword = all(origins.get(name) == KEYWORD for name in problems)
    return InvalidArgumentError(text) if by_keyword else ConfigurationError(text)


def _rule(name: str, kind: str, message: str) -> str:
    """Return what a setting should be, from pydantic's word for what it is not."""
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return f"is no setting{did_you_mean(name, Settings.model_fields)}"
    return message.removeprefix("Value error, ").removeprefix("Input ")
