"""Profiles of a settings file, named in the call or by a variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from qf_tasks.errors import ConfigurationError, InvalidArgumentError
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


def test_load_without_profile_uses_keys_at_top_level() -> None:
    settings = Settings.load()
    assert (settings.access_key, settings.max_retries) == ("access-key-top", 1)


def test_load_with_profile_overrides_top_level() -> None:
    settings = Settings.load(profile="prod")
    assert (settings.access_key, settings.max_retries) == ("access-key-prod", 2)
    assert settings.request_timeout == 20


def test_load_with_profile_without_keys_uses_pair_at_top_level() -> None:
    settings = Settings.load(profile="limits")
    assert (settings.access_key, settings.max_retries) == ("access-key-top", 4)


def test_load_with_one_key_in_profile_raises_instead_of_mixing(write: Write) -> None:
    write("config/qf_tasks.toml", pair_toml("top") + '[profiles.half]\naccess_key = "half"\n')
    with pytest.raises(ConfigurationError, match=r"secret_key is not.*qf_tasks\.toml \[profiles\.half\]"):
        Settings.load(profile="half")


def test_load_with_unknown_profile_names_most_similar_and_all(path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(profile="prdo")
    for part in (path, "'prdo'", "did you mean prod?", "prod, limits"):
        assert part in str(caught.value)


def test_load_with_profile_and_no_file_lists_places(path: str) -> None:
    Path(path).unlink()
    with pytest.raises(ConfigurationError, match="no settings file with profile 'prod'") as caught:
        Settings.load(profile="prod")
    assert path in str(caught.value)
    assert ".config/qf_tasks/config.toml" in str(caught.value)


def test_load_with_profiles_that_are_not_tables_raises(write: Write) -> None:
    write("config/qf_tasks.toml", 'profiles = "prod"')
    with pytest.raises(ConfigurationError, match="profiles should be tables"):
        Settings.load(**pair("keyword"))


def test_load_with_profile_variable_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load().access_key == "access-key-prod"


def test_load_with_profile_variable_in_dotenv_uses_it(write: Write) -> None:
    write(".env", "QF_TASKS_PROFILE=prod")
    assert Settings.load().access_key == "access-key-prod"


def test_load_below_project_uses_profile_variable_in_its_dotenv(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", "QF_TASKS_PROFILE=prod")
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert Settings.load().access_key == "access-key-prod"


def test_load_with_profile_variable_in_named_env_file_prefers_it_to_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "limits")
    settings = Settings.load(env_file=write("named.env", "QF_TASKS_PROFILE=prod"))
    assert settings.access_key == "access-key-prod"


def test_load_with_profile_named_prefers_it_to_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load(profile="limits").access_key == "access-key-top"


def test_load_with_unknown_profile_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prdo")
    with pytest.raises(ConfigurationError, match=r"QF_TASKS_PROFILE.*did you mean prod\?"):
        Settings.load()


def test_load_with_profile_variable_and_other_pair_in_environment_names_both(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert f"{path} [profiles.prod]" in str(caught.value)
    assert "the environment has another pair" in str(caught.value)


def test_load_with_profile_variable_and_other_pair_in_dotenv_raises(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", pair_dotenv("dotenv"))
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    with pytest.raises(ConfigurationError, match=r"\.env has another pair"):
        Settings.load()


def test_load_with_profile_variable_and_same_pair_in_environment_succeeds(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("prod")
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load().access_key == "access-key-prod"


def test_load_with_keywords_and_profile_variable_uses_keywords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    assert Settings.load(**pair("keyword")).access_key == "access-key-keyword"


def test_load_with_profiles_alone_and_none_chosen_lists_them(path: str, write: Write) -> None:
    write("config/qf_tasks.toml", "[profiles.prod]\n" + pair_toml("prod") + "[profiles.test]\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert str(caught.value).startswith(f"No profile is chosen; {path} has prod, test. No access key")
    assert "QF_TASKS_PROFILE" in str(caught.value.hint)


def test_load_with_profiles_alone_and_keys_in_environment_uses_environment(
    write: Write, set_pair: SetPair
) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", "[profiles.prod]\n" + pair_toml("prod"))
    assert Settings.load().access_key == "access-key-environment"


def test_profiles_lists_names_in_order_of_the_file() -> None:
    assert Settings.profiles() == ("prod", "limits")


def test_profiles_with_file_named_lists_its_names(write: Write) -> None:
    assert Settings.profiles(write("other.toml", "[profiles.other]")) == ("other",)


def test_profiles_with_unknown_profile_variable_lists_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prdo")
    assert Settings.profiles() == ("prod", "limits")


def test_profiles_without_a_file_returns_none(path: str) -> None:
    Path(path).unlink()
    assert Settings.profiles() == ()


def test_profiles_with_named_file_missing_raises() -> None:
    with pytest.raises(ConfigurationError, match="named by config_file, does not exist"):
        Settings.profiles("missing.toml")


def test_profiles_with_no_path_raises() -> None:
    with pytest.raises(InvalidArgumentError, match="config_file must be a path, not int"):
        Settings.profiles(cast(Any, 5))


def test_load_with_file_named_ignores_profile_variable_and_warns(
    write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    settings = Settings.load(config_file=write("other.toml", pair_toml("other")))
    assert settings.access_key == "access-key-other"
    assert "QF_TASKS_PROFILE=prod is ignored" in caplog.text
