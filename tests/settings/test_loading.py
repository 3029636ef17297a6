"""`Settings.load`: its keywords, what it says where nothing is found, origins; and the report."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from qf_tasks import TaskClient
from qf_tasks.errors import ConfigurationError, InvalidArgumentError
from qf_tasks.settings import Settings, SourceReport, inspect_sources
from tests.settings.conftest import AK, SK, SetPair, Write, pair, pair_dotenv, pair_toml


@pytest.mark.parametrize(
    ("keyword", "value", "rule"),
    [
        ("access_key", 5, "must be a text, not int"),
        ("secret_key", SK.encode(), "must be a text, not bytes"),
        ("access_key", " ", "must not be blank"),
        ("secret_key", SecretStr(""), "must not be blank"),
        ("base_url", 5, "must be a text, not int"),
        ("profile", "", "must not be blank"),
        ("profile", ["prod"], "must be a text, not list"),
        ("config_file", "", "must not be blank"),
        ("env_file", 5, "must be a path, not int"),
        ("request_timeout", "60", "must be seconds or a timedelta, not str"),
        ("request_timeout", True, "must be seconds or a timedelta, not bool"),
        ("request_timeout", -1, "should be greater than 0"),
        ("request_timeout", float("nan"), "should be"),
        ("max_retries", 1.5, "must be a whole number, not float"),
        ("max_retries", -1, "should be greater than or equal to 0"),
        ("base_url", "http://h", "should be https"),
        ("acess_key", AK, r"did you mean access_key\?"),
    ],
)
def test_load_with_bad_keyword_names_it_and_the_rule(keyword: str, value: object, rule: str) -> None:
    given: dict[str, Any] = {**pair("keyword"), keyword: value}
    with pytest.raises(InvalidArgumentError, match=f"{keyword}.*{rule}"):
        Settings.load(**given)


def test_load_with_secret_str_and_timedelta_takes_them() -> None:
    settings = Settings.load(access_key=AK, secret_key=SecretStr(SK), request_timeout=timedelta(seconds=5))
    assert (settings.secret_key.get_secret_value(), settings.request_timeout) == (SK, 5)


def test_client_with_secret_str_takes_it() -> None:
    with TaskClient(access_key=AK, secret_key=SecretStr(SK)) as client:
        assert client.account == Settings(access_key=AK, secret_key=SK).account


def test_load_with_placeholder_in_environment_names_variable(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QIANFAN_ACCESS_KEY", "your_iam_ak")
    with pytest.raises(ConfigurationError, match=r"access_key .*placeholder.*variable QIANFAN_ACCESS_KEY"):
        Settings.load()


def test_load_without_keys_lists_every_place_with_what_is_there(
    project: Path, home: Path, write: Write
) -> None:
    write(".env", "DATABASE_URL=x")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert str(caught.value) == (
        "No access key and secret key found. "
        "Looked at the keyword arguments: no keys; the environment: no keys; "
        f"{project}/.env: no keys; {project}/config/qf_tasks.toml: absent; "
        f"{home}/.config/qf_tasks/config.toml: absent"
    )
    assert "安全认证" in str(caught.value.hint)


def test_load_without_keys_below_project_lists_places_on_the_way(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    for place in ("below/.env", ".env", "below/config/qf_tasks.toml", "config/qf_tasks.toml"):
        assert f"{project / place}: absent" in str(caught.value)


def test_load_without_home_or_working_directory_still_takes_environment(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError

    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(Path, "cwd", gone)
    set_pair("environment")
    assert Settings.load().access_key == "access-key-environment"
    with pytest.raises(ConfigurationError, match=r"no settings file for profile 'p'"):
        Settings.load(profile="p")


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_load_with_other_kind_of_key_says_so(
    place: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == ".env":
        write(".env", f"QIANFAN_AK=abc\nQIANFAN_SK={SK}")
    else:
        monkeypatch.setenv("QIANFAN_AK", "abc")
        monkeypatch.setenv("QIANFAN_SK", SK)
    with pytest.raises(ConfigurationError, match="In QIANFAN_AK and QIANFAN_SK is another kind of key"):
        Settings.load()


def test_load_with_other_kind_of_key_beside_a_pair_takes_the_pair(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QIANFAN_AK", "abc")
    assert Settings.load().access_key == "access-key-environment"


def test_origin_names_the_source_of_each_value(
    write: Write, set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QF_TASKS_PROFILE", "prod")
    dotenv = write(".env", "QF_TASKS_MAX_RETRIES=1")
    file = write("config/qf_tasks.toml", "retry_budget = 1\n[profiles.prod]\nmax_retry_wait = 1")
    settings = Settings.load(request_timeout=1)
    assert {name: settings.origin(name) for name in Settings.model_fields} == {
        "access_key": "environment variable QIANFAN_ACCESS_KEY",
        "secret_key": "environment variable QIANFAN_SECRET_KEY",
        "base_url": "default",
        "request_timeout": "keyword argument",
        "max_retries": str(dotenv),
        "max_retry_wait": f"{file} [profiles.prod]",
        "retry_budget": str(file),
        "proxy": "default",
        "verify_tls": "default",
        "ca_bundle": "default",
    }


def states(*reports: SourceReport) -> dict[str, str]:
    return {str(report.path or report.name): report.state for report in reports}


def test_inspect_without_keys_reports_places(project: Path, home: Path) -> None:
    assert states(*inspect_sources()) == {
        "keyword arguments": "empty",
        "environment": "empty",
        f"{project}/.env": "absent",
        f"{project}/config/qf_tasks.toml": "absent",
        f"{home}/.config/qf_tasks/config.toml": "absent",
    }


def test_inspect_with_several_sources_tells_used_from_passed_over(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    dotenv = write(".env", pair_dotenv("dotenv"))
    file = write("config/qf_tasks.toml", "max_retries = 1\n" + pair_toml("file"))
    found = states(*inspect_sources())
    assert (found["environment"], found[str(dotenv)], found[str(file)]) == ("used", "passed over", "used")


def test_inspect_with_pair_in_two_sources_tells_which_is_in_effect(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", "max_retries = 1\n" + pair_toml("file"))
    in_effect = {report.name: report.in_effect for report in inspect_sources() if report.fields}
    assert in_effect["environment"] == ("access_key", "secret_key")
    assert in_effect["settings file"] == ("max_retries",)


def test_inspect_with_half_a_pair_first_uses_no_key_of_another(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_ACCESS_KEY", "half")
    dotenv = write(".env", pair_dotenv("dotenv"))
    assert states(*inspect_sources())[str(dotenv)] == "passed over"


def test_inspect_with_file_tells_names_and_profiles_and_no_value(write: Write) -> None:
    file = write("named.toml", pair_toml("file") + "[profiles.prod]\n[profiles.test]\n")
    report = next(it for it in inspect_sources(config_file=file, profile="test") if it.path == file)
    assert report.fields == ("access_key", "secret_key")
    assert (report.profiles, report.profile) == (("prod", "test"), "test")
    assert "secret-key-file" not in repr(report)
    assert SourceReport.model_validate(report.model_dump(mode="json")) == report


def test_inspect_with_broken_file_reports_why_load_refuses(write: Write) -> None:
    file = write("config/qf_tasks.toml", "max_retires = 1")
    report = next(it for it in inspect_sources() if it.path == file)
    assert report.state == "refused"
    assert "did you mean max_retries?" in str(report.note)


def test_inspect_with_bad_keyword_raises() -> None:
    with pytest.raises(InvalidArgumentError, match="profile must not be blank"):
        inspect_sources(profile=" ")
