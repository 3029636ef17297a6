"""Any content of a settings file, a `.env` or the environment gives settings, or an error about it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks import ConfigurationError, Settings
from qf_tasks.settings import inspect_sources
from qf_tasks.settings.variables import VARIABLES

from .values import Json, json_values

pytestmark = pytest.mark.fuzz

_CANARY = "canary0123456789abcdef"
_HALF = _CANARY[:11]
_VARIABLES = [name for names in VARIABLES.values() for name in names]
_CHOOSING = ["QF_TASKS_CONFIG", "QF_TASKS_PROFILE", "QIANFAN_DOT_ENV_CONFIG_FILE", "HTTPS_PROXY", "NO_PROXY"]

_fragments = st.sampled_from(
    [
        *(f'secret_key = "{_CANARY}"', f"secret_key: {_CANARY}", f'{{"secret_key": "{_CANARY}"'),
        *(f"QIANFAN_SECRET_KEY={_CANARY}", f"export QIANFAN_SECRET_KEY='{_CANARY}'", "QIANFAN_ACCESS_KEY=ak"),
        *(
            'access_key = "ak"',
            "access_key: ak",
            '"access_key": "ak"',
            "[profiles.night]",
            "[profiles",
            "profiles:",
        ),
        *(
            "\n",
            "\n",
            "\r",
            "  ",
            "\t",
            "=",
            ":",
            ",",
            "{",
            "}",
            "[",
            "]",
            '"',
            "'",
            '"""',
            "#",
            "\\u",
            "\\ud800",
        ),
        *(
            "- ",
            "&a ",
            "*a",
            "<<: *a",
            "!!python/object:os.system ",
            "!!binary x",
            "%TAG ! x",
            "---",
            "...",
            "| ",
        ),
        *(
            "${HOME}",
            "${QIANFAN_SECRET_KEY:-x}",
            "1979-05-27",
            "inf",
            "nan",
            "0x",
            "1_000",
            "9" * 5000,
            "\x00",
        ),
        "\ufeff",
    ]
)
_texts = st.lists(_fragments | st.text(max_size=4), max_size=14).map("".join)
_contents = _texts.map(lambda text: text.encode(errors="replace")) | st.binary(max_size=60)
_suffixes = st.sampled_from([".toml", ".yaml", ".json", ".env"])

_values = json_values | st.sampled_from(
    [
        *(
            _CANARY,
            f"{_CANARY}\n",
            f"http://user:{_CANARY}@proxy:8080",
            f"https://{_CANARY}@host",
            "http://[::1",
        ),
        *("https://host:99999", "http://127.0.0.1:1", "true", "0", "1e999", "PT1S", 1e308, 10**400),
    ]
)
_tables = st.dictionaries(st.sampled_from([*VARIABLES, "profiles", "acess_key"]), _values, max_size=6)


@pytest.fixture(autouse=True)
def stable_environment() -> Iterator[None]:
    """Restore the environment after each test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def _check_load(**keywords: Any) -> None:
    assert inspect_sources(**keywords)
    try:
        settings = Settings.load(**keywords)
    except ConfigurationError as error:
        text = f"{error} {error.hint}"
    else:
        text = f"{settings} {settings!r}"
        assert settings.account
    assert _HALF not in text


@given(content=_contents, suffix=_suffixes)
def test_load_file_with_any_content_gives_settings_or_an_error(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    path.chmod(0o600)
    _check_load(**{"env_file" if suffix == ".env" else "config_file": path})


@given(table=_tables, profile=st.none() | _tables, suffix=_suffixes)
def test_load_file_with_any_values_gives_settings_or_an_error(
    tmp_path: Path, table: dict[str, Json], profile: dict[str, Json] | None, suffix: str
) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(_written(table if profile is None else table | {"profiles": {"night": profile}}, suffix))
    path.chmod(0o600)
    named = {} if profile is None or suffix == ".env" else {"profile": "night"}
    _check_load(**{"env_file" if suffix == ".env" else "config_file": path}, **named)


_in_environment = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
_settable = _in_environment | _values.map(repr).map(lambda text: text.strip("'"))


@given(
    variables=st.dictionaries(st.sampled_from(_VARIABLES), _settable, max_size=6),
    choosing=st.dictionaries(st.sampled_from(_CHOOSING), _in_environment, max_size=2),
)
def test_load_environment_with_any_values_gives_settings_or_an_error(
    variables: dict[str, str], choosing: dict[str, str]
) -> None:
    for name in [*_VARIABLES, *_CHOOSING]:
        os.environ.pop(name, None)
    os.environ.update(variables | choosing)
    _check_load()


_URLS = [
    "https://evil.example",
    "http://127.0.0.1@evil.example",
    "http://127.0.0.1:1",
    "${QIANFAN_SECRET_KEY}",
]
_routing: st.SearchStrategy[dict[str, Json]] = st.dictionaries(
    st.sampled_from(["base_url", "bos_endpoint", "proxy", "verify_tls", "ca_bundle"]),
    st.sampled_from([*_URLS, "false", "."]),
    min_size=1,
    max_size=2,
)


@given(routing=_routing, place=st.sampled_from([".env", "top", "profile"]))
def test_load_with_keys_in_environment_is_never_routed_by_found_files(
    tmp_path: Path, routing: dict[str, Json], place: str
) -> None:
    os.chdir(tmp_path)
    os.environ.update(QIANFAN_ACCESS_KEY="ak-of-the-user", QIANFAN_SECRET_KEY=_CANARY)
    dotenv = _written(routing, ".env") if place == ".env" else b"QF_TASKS_PROFILE=night"
    (tmp_path / ".env").write_bytes(dotenv)
    table: dict[str, Json] = {"profiles": {"night": routing if place == "profile" else {}}}
    (tmp_path / "config").mkdir(exist_ok=True)
    file = tmp_path / "config" / "qf_tasks.toml"
    file.write_bytes(_written(routing | table if place == "top" else table, ".toml"))
    try:
        settings = Settings.load()
    except ConfigurationError:
        return
    assert settings.secret_key.get_secret_value() == _CANARY
    assert settings.base_url in ("https://qianfan.baidubce.com", "http://127.0.0.1:1")
    assert settings.bos_endpoint in (None, "http://127.0.0.1:1")
    assert (settings.proxy, settings.verify_tls, settings.ca_bundle) == (None, True, None)


def _written(table: dict[str, Json], suffix: str) -> bytes:
    """Return a file with these values, in its format."""
    if suffix == ".json":
        return json.dumps(table).encode()
    if suffix == ".yaml":
        return yaml.safe_dump(table).encode(errors="replace")
    lines = [f"{name} = {_toml(value)}" for name, value in table.items()]
    if suffix == ".env":
        lines = [f"{VARIABLES[name][0]}={value!r}" for name, value in table.items() if name in VARIABLES]
    return "\n".join(lines).encode(errors="replace")


def _toml(value: Json) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return '""' if value is None else json.dumps(value)


@pytest.mark.parametrize("name", VARIABLES)
def test_load_yaml_with_exponential_aliases_is_refused_at_once(tmp_path: Path, name: str) -> None:
    layers = ["- &a0 [x, x]", *(f"- &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 60))]
    path = tmp_path / "any.yaml"
    path.write_text("\n".join([f"{name}:", *layers]))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError):
        Settings.load(config_file=path)
