"""Profiles of a settings file, named in the call or by a variable."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from qf_tasks.errors import ConfigurationError
from qf_tasks.settings import Settings
from tests.settings.conftest import SetPair, Write, pair, pair_dotenv, pair_toml

FILE = (
    "request_timeout = 20\nmax_retries = 1\n"
    + pair_toml("top")
    + "[profiles.prod]\nmax_retries = 2\n"
    + pair_toml("prod")
    + "[profiles.limits]\nmax_retries = 4\n"
)


@pytest.fixture(autouse=True)
def path(write: Write) -> str:
    return str(write("config/qf_tasks.toml", FILE))


def test_load_without_profile_takes_keys_at_the_top() -> None:
    settings = Settings.load()
    assert (settings.access_key, settings.max_retries) == ("access-key-top", 1)


def test_load_with_profile_lays_it_over_the_top() -> None:
    settings = Settings.load(profile="prod")
    assert (settings.access_key, settings.max_retries) == ("access-key-prod", 2)
    assert settings.request_timeout == 20


def test_load_with_profile_without_keys_takes_pair_at_the_top() -> None:
    settings = Settings.load(profile="limits")
    assert (settings.access_key, settings.max_retries) == ("access-key-top", 4)


def test_load_with_half_a_pair_in_profile_raises_instead_of_mixing(write: Write) -> None:
    write("config/qf_tasks.toml", pair_toml("top") + '[profiles.half]\naccess_key = "half"\n')
    with pytest.raises(ConfigurationError, match=r"no secret_key.*qf_tasks\.toml \[profiles\.half\]"):
        Settings.load(profile="half")


def test_load_with_unknown_profile_names_nearest_and_all(path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(profile="prdo")
    for part in (path, "'prdo'", "did you mean prod?", "prod, limits"):
        assert part in str(caught.value)


def test_load_with_profile_and_no_file_lists_places(path: str) -> None:
    Path(path).unlink()
    with pytest.raises(ConfigurationError, match="no settings file for profile 'prod'") as caught:
        Settings.load(profile="prod")
    assert path in str(caught.value)
    assert ".config/qf_tasks/config.toml" in str(caught.value)


def test_load_with_profiles_that_are_no_tables_raises(write: Write) -> None:
    write("config/qf_tasks.toml", 'profiles = "prod"')
    with pytest.raises(ConfigurationError, match="profiles should be tables"):
        Settings.load(**pair("keyword"))


def test_load_with_profile_variable_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load().access_key == "access-key-prod"


def test_load_with_profile_variable_in_dotenv_takes_it(write: Write) -> None:
    write(".env", "QF_TASKS_PROFILE=prod")
    assert Settings.load().access_key == "access-key-prod"


def test_load_below_project_takes_profile_variable_in_its_dotenv(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", "QF_TASKS_PROFILE=prod")
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert Settings.load().access_key == "access-key-prod"


def test_load_with_profile_variable_in_named_env_file_takes_it_before_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "limits")
    settings = Settings.load(env_file=write("named.env", "QF_TASKS_PROFILE=prod"))
    assert settings.access_key == "access-key-prod"


def test_load_with_profile_in_call_takes_it_before_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load(profile="limits").access_key == "access-key-top"


def test_load_with_unknown_profile_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prdo")
    with pytest.raises(ConfigurationError, match=r"QF_TASKS_PROFILE.*did you mean prod\?"):
        Settings.load()


def test_load_with_profile_variable_beside_other_pair_raises_naming_both(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert f"{path} [profiles.prod]" in str(caught.value)
    assert "the environment has another pair" in str(caught.value)


def test_load_with_profile_variable_beside_other_pair_in_dotenv_raises(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", pair_dotenv("dotenv"))
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    with pytest.raises(ConfigurationError, match=r"\.env has another pair"):
        Settings.load()


def test_load_with_profile_variable_beside_same_pair_takes_it(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("prod")
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load().access_key == "access-key-prod"


def test_load_with_keywords_beside_profile_variable_takes_keywords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load(**pair("keyword")).access_key == "access-key-keyword"


def test_load_with_keywords_beside_host_of_profile_variable_takes_it_and_says_so(
    path: str, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write("config/qf_tasks.toml", '[profiles.test]\nbase_url = "https://test.example"')
    monkeypatch.setenv("QF_TASKS_PROFILE", "test")
    assert Settings.load(**pair("keyword")).base_url == "https://test.example"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"keys are taken from the keyword arguments, but base_url from {path} [profiles.test], "
        "which QF_TASKS_PROFILE chooses"
    )


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        (f'{pair_toml("keyword")}[profiles.test]\nbase_url = "https://test.example"', {}),
        ('[profiles.test]\nbase_url = "https://test.example"', {"base_url": "https://other.example"}),
        ('[profiles.test]\nbase_url = "https://test.example"', {"profile": "test"}),
        ('base_url = "https://top.example"\n[profiles.test]\nmax_retries = 4', {}),
    ],
    ids=["same keys", "host named", "profile named", "host at the top"],
)
def test_load_with_keywords_beside_host_that_was_meant_logs_nothing(
    text: str,
    keyword: dict[str, Any],
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write("config/qf_tasks.toml", text)
    monkeypatch.setenv("QF_TASKS_PROFILE", "test")
    Settings.load(**pair("keyword"), **keyword)
    assert not caplog.records


def test_load_with_file_in_call_passes_profile_variable_over_and_says_so(
    write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    settings = Settings.load(config_file=write("other.toml", pair_toml("other")))
    assert settings.access_key == "access-key-other"
    assert "QF_TASKS_PROFILE=prod is passed over" in caplog.text
