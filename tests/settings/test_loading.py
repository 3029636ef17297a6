"""`Settings.load`: keywords, missing keys, origins; and `inspect_sources`."""

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
        ("access_key", " ", "must not be blank"),
        ("secret_key", SecretStr(""), "must not be blank"),
        ("base_url", 5, "should be a valid string"),
        ("profile", "", "must not be blank"),
        ("profile", ["prod"], "must be a name, not list"),
        ("config_file", "", "must not be blank"),
        ("env_file", 5, "must be a path, not int"),
        ("request_timeout", "soon", "should be seconds, or text with a unit"),
        ("request_timeout", True, "should be seconds, or text with a unit"),
        ("request_timeout", -1, "should be greater than 0"),
        ("request_timeout", float("nan"), "should be"),
        ("max_retries", 1.5, "should be a valid integer"),
        ("max_retries", -1, "should be greater than or equal to 0"),
        ("base_url", "http://h", "should be https"),
        ("bos_endpoint", "http://h", "should be https"),
        ("max_connections", 0, "should be greater than or equal to 1"),
        ("max_connections", 1001, "should be less than or equal to 1000"),
        ("max_response_bytes", 0, "should be greater than or equal to 1"),
        ("verify_tls", "perhaps", "should be a valid boolean"),
        ("proxy", "ftp://h", "should be an http"),
        ("ca_bundle", "missing.pem", "should name a file or directory"),
        ("acess_key", AK, r"did you mean access_key\?"),
    ],
)
def test_load_with_bad_keyword_names_it_and_the_rule(keyword: str, value: object, rule: str) -> None:
    given: dict[str, Any] = {**pair("keyword"), keyword: value}
    with pytest.raises(InvalidArgumentError, match=f"{keyword}.*{rule}"):
        Settings.load(**given)


@pytest.mark.parametrize("keyword", ["access_key", "secret_key"])
def test_load_with_invalid_key_as_keyword_names_it_and_hints(keyword: str) -> None:
    given: dict[str, Any] = {**pair("keyword"), keyword: 5}
    with pytest.raises(ConfigurationError, match=rf"{keyword} .*valid string \(keyword argument\)") as caught:
        Settings.load(**given)
    assert "安全认证" in str(caught.value.hint)


def test_load_with_secret_str_and_timedelta_accepts_them() -> None:
    settings = Settings.load(access_key=AK, secret_key=SecretStr(SK), request_timeout=timedelta(seconds=5))
    assert (settings.secret_key.get_secret_value(), settings.request_timeout) == (SK, 5)


def test_client_with_secret_str_accepts_it() -> None:
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
        "Searched the keyword arguments: no keys; the environment: no keys; "
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


def test_load_without_home_or_working_directory_uses_environment(
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
    with pytest.raises(ConfigurationError, match=r"no settings file with profile 'p'"):
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
    with pytest.raises(ConfigurationError, match=r"^QIANFAN_AK and QIANFAN_SK hold another kind of key"):
        Settings.load()


def test_load_with_other_kind_of_key_and_a_pair_uses_the_pair(
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
        "bos_endpoint": "default",
        "request_timeout": "keyword argument",
        "max_retries": str(dotenv),
        "max_retry_wait": f"{file} [profiles.prod]",
        "retry_budget": str(file),
        "max_response_bytes": "default",
        "max_connections": "default",
        "proxy": "default",
        "verify_tls": "default",
        "ca_bundle": "default",
    }


def report_of(path: Path, **keywords: Any) -> SourceReport:
    return next(report for report in inspect_sources(**keywords) if report.path == path)


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


def test_inspect_with_several_sources_reports_used_and_ignored(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    dotenv = write(".env", pair_dotenv("dotenv"))
    file = write("config/qf_tasks.toml", "max_retries = 1\n" + pair_toml("file"))
    found = states(*inspect_sources())
    assert (found["environment"], found[str(dotenv)], found[str(file)]) == ("used", "ignored", "used")


def test_inspect_with_pair_in_two_sources_reports_which_is_in_effect(write: Write, set_pair: SetPair) -> None:
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
    assert states(*inspect_sources())[str(dotenv)] == "ignored"


def test_inspect_with_file_reports_names_and_profiles_and_no_value(write: Write) -> None:
    file = write("named.toml", pair_toml("file") + "[profiles.prod]\n[profiles.test]\n")
    report = report_of(file, config_file=file, profile="test")
    assert report.fields == ("access_key", "secret_key")
    assert (report.profiles, report.profile) == (("prod", "test"), "test")
    assert "secret-key-file" not in repr(report)
    assert SourceReport.model_validate(report.model_dump(mode="json")) == report


def test_inspect_with_unknown_key_reports_why_load_fails(write: Write) -> None:
    file = write("config/qf_tasks.toml", "max_retires = 1")
    report = report_of(file)
    assert report.state == "refused"
    assert "did you mean max_retries?" in str(report.note)


def test_inspect_with_bad_keyword_raises() -> None:
    with pytest.raises(InvalidArgumentError, match="profile must not be blank"):
        inspect_sources(profile=" ")
