"""The order of sources, one step at a time, and the pair that comes from one source."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from qf_tasks.errors import ConfigurationError
from qf_tasks.settings import Settings
from tests.settings.conftest import SetPair, Write, pair, pair_dotenv, pair_toml


def source_of(settings: Settings) -> str:
    """Return which source the pair is from; both keys must be from the same one."""
    access, secret = settings.access_key, settings.secret_key.get_secret_value()
    assert access.rpartition("-")[2] == secret.rpartition("-")[2]
    return access.rpartition("-")[2]


def test_load_with_file_at_home_uses_it(home: Path, write: Write) -> None:
    write(f"{home}/.config/qf_tasks/config.toml", pair_toml("home"))
    assert source_of(Settings.load()) == "home"


def test_load_with_file_in_project_prefers_it_to_home(home: Path, write: Write) -> None:
    write(f"{home}/.config/qf_tasks/config.toml", pair_toml("home"))
    write("config/qf_tasks.toml", pair_toml("project"))
    assert source_of(Settings.load()) == "project"


def test_load_with_file_named_by_variable_prefers_it_to_project(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("config/qf_tasks.toml", pair_toml("project"))
    monkeypatch.setenv("QF_TASKS_CONFIG", str(write("other.toml", pair_toml("variable"))))
    assert source_of(Settings.load()) == "variable"


def test_load_with_dotenv_prefers_it_to_found_file(write: Write) -> None:
    write("config/qf_tasks.toml", pair_toml("project"))
    write(".env", pair_dotenv("dotenv"))
    assert source_of(Settings.load()) == "dotenv"


def test_load_with_environment_prefers_it_to_dotenv(write: Write, set_pair: SetPair) -> None:
    write(".env", pair_dotenv("dotenv"))
    set_pair("environment")
    assert source_of(Settings.load()) == "environment"


def test_load_with_env_file_named_prefers_it_to_environment(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    assert source_of(Settings.load(env_file=write("named.env", pair_dotenv("named")))) == "named"


def test_load_with_config_file_named_prefers_it_to_environment(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    assert source_of(Settings.load(config_file=write("named.toml", pair_toml("named")))) == "named"


def test_load_with_config_file_and_env_file_named_prefers_config_file(write: Write) -> None:
    env_file = write("named.env", pair_dotenv("dotenv"))
    config_file = write("named.toml", pair_toml("toml"))
    assert source_of(Settings.load(config_file=config_file, env_file=env_file)) == "toml"


def test_load_with_profile_named_prefers_found_file_to_environment(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", "[profiles.prod]\n" + pair_toml("prod"))
    assert source_of(Settings.load(profile="prod")) == "prod"


def test_load_with_keywords_prefers_them_to_named_file(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    named = write("named.toml", pair_toml("named"))
    assert source_of(Settings.load(**pair("keyword"), config_file=named)) == "keyword"


def test_load_with_limits_in_several_sources_uses_the_first_of_each(
    write: Write, set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QF_TASKS_MAX_RETRIES", "5")
    write("config/qf_tasks.toml", "max_retries = 7\nretry_budget = 8\nrequest_timeout = 9\n")
    settings = Settings.load(request_timeout=11)
    assert (settings.request_timeout, settings.max_retries, settings.retry_budget) == (11, 5, 8)
    assert settings.max_retry_wait == 60


def test_load_with_blank_variable_uses_next_source(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_ACCESS_KEY", "")
    monkeypatch.setenv("QIANFAN_SECRET_KEY", " \t")
    write("config/qf_tasks.toml", pair_toml("project"))
    assert source_of(Settings.load()) == "project"


@pytest.mark.parametrize(
    ("there", "missing"),
    [("QIANFAN_ACCESS_KEY", "QIANFAN_SECRET_KEY"), ("QIANFAN_SECRET_KEY", "QIANFAN_ACCESS_KEY")],
)
def test_load_with_one_key_in_environment_raises_even_if_file_has_both(
    there: str, missing: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(there, "half")
    write("config/qf_tasks.toml", pair_toml("project"))
    with pytest.raises(
        ConfigurationError, match=f"^{there} is set but {missing} is not; both must .*environment"
    ):
        Settings.load()


def test_load_with_one_key_as_keyword_raises_even_if_environment_has_both(set_pair: SetPair) -> None:
    set_pair("environment")
    with pytest.raises(ConfigurationError, match=r"^access_key is set but secret_key is not.*keyword"):
        Settings.load(access_key="half")


def test_load_with_one_key_in_file_raises_and_names_file(write: Write) -> None:
    path = write("config/qf_tasks.toml", 'secret_key = "half"')
    with pytest.raises(ConfigurationError, match=r"^secret_key is set but access_key is not") as caught:
        Settings.load()
    assert str(path) in str(caught.value)
    assert "Access Key" in str(caught.value.hint)


def test_load_with_one_key_in_later_source_ignores_it(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write(".env", "QIANFAN_SECRET_KEY=half")
    assert source_of(Settings.load()) == "environment"


def test_load_with_two_pairs_logs_which_is_used_and_which_ignored(
    write: Write, set_pair: SetPair, caplog: pytest.LogCaptureFixture
) -> None:
    dotenv = write(".env", pair_dotenv("dotenv"))
    set_pair("environment")
    Settings.load()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("qf_tasks", logging.WARNING)
    assert record.getMessage() == f"using credentials from the environment; ignoring {dotenv}"


def test_load_with_same_pair_twice_logs_nothing(
    write: Write, set_pair: SetPair, caplog: pytest.LogCaptureFixture
) -> None:
    write(".env", pair_dotenv("same"))
    set_pair("same")
    Settings.load()
    assert not caplog.records
