"""The environment, and `.env`, which has the same variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from qianfan.config import Config
from qianfan.consts import Env

from qf_tasks.errors import ConfigurationError
from qf_tasks.settings import Settings
from qf_tasks.settings.variables import ENV_FILE, VARIABLES
from tests.settings.conftest import SetPair, Write, pair, pair_dotenv

PROXY = "http://proxy.example:3128"
OURS = (*(name for names in VARIABLES.values() for name in names), ENV_FILE)

SET = {
    "QIANFAN_CONSOLE_API_BASE_URL": ("https://h.example", "base_url", "https://h.example"),
    "QIANFAN_CONSOLE_API_RETRY_TIMEOUT": ("7.5", "request_timeout", 7.5),
    "QF_TASKS_MAX_RETRIES": (" 0 ", "max_retries", 0),
    "QF_TASKS_MAX_RETRY_WAIT": ("2", "max_retry_wait", 2),
    "QF_TASKS_RETRY_BUDGET": ("5m", "retry_budget", 300),
    "QF_TASKS_MAX_RESPONSE_BYTES": ("1024", "max_response_bytes", 1024),
    "QF_TASKS_MAX_CONNECTIONS": ("8", "max_connections", 8),
    "QF_TASKS_BOS_ENDPOINT": ("https://bos.example", "bos_endpoint", "https://bos.example"),
    "QIANFAN_SSL_VERIFICATION_ENABLED": ("False", "verify_tls", False),
}


@pytest.mark.parametrize("variable", SET)
def test_load_with_variable_in_environment_sets_field(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, field, value = SET[variable]
    monkeypatch.setenv(variable, text)
    assert getattr(Settings.load(**pair("keyword")), field) == value


@pytest.mark.parametrize("variable", SET)
def test_load_with_variable_in_dotenv_sets_field(variable: str, write: Write) -> None:
    text, field, value = SET[variable]
    write(".env", pair_dotenv("dotenv") + f"{variable}={text}\n")
    assert getattr(Settings.load(), field) == value


def test_load_with_bad_variable_names_it_and_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_MAX_RETRIES", "-1")
    with pytest.raises(
        ConfigurationError, match=r"max_retries should be .* 0 \(environment variable QF_TASKS_MAX"
    ):
        Settings.load(**pair("keyword"))


def test_load_leaves_environment_as_it_was(write: Write) -> None:
    write(".env", pair_dotenv("dotenv"))
    before = dict(os.environ)
    Settings.load()
    assert dict(os.environ) == before


def test_load_before_environment_changes_leaves_settings_as_they_were(set_pair: SetPair) -> None:
    set_pair("first")
    settings = Settings.load()
    set_pair("second")
    assert settings.access_key == "access-key-first"


def test_load_below_project_finds_nearest_dotenv(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", pair_dotenv("root"))
    write("a/.env", pair_dotenv("nearer"))
    (project / "a" / "b").mkdir()
    monkeypatch.chdir(project / "a" / "b")
    assert Settings.load().access_key == "access-key-nearer"


def test_load_with_nearest_dotenv_without_keys_searches_no_further(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", pair_dotenv("root"))
    write("a/.env", "QF_TASKS_MAX_RETRIES=1")
    monkeypatch.chdir(project / "a")
    with pytest.raises(ConfigurationError, match=r"a/\.env: no keys; .*toml: absent"):
        Settings.load()


def test_load_outside_a_project_searches_working_directory_only(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"{tmp_path}/.env", pair_dotenv("above"))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(ConfigurationError, match="No access key"):
        Settings.load()


def test_load_with_dotenv_named_by_variable_reads_it_instead(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", pair_dotenv("nearest"))
    monkeypatch.setenv("QIANFAN_DOT_ENV_CONFIG_FILE", str(write("other.env", pair_dotenv("other"))))
    assert Settings.load().access_key == "access-key-other"


def test_load_with_foreign_names_in_dotenv_ignores_them(write: Write) -> None:
    write(".env", "\ufeffQIANFAN_QPS_LIMIT=abc\nDATABASE_URL=x\nexport PATH\n" + pair_dotenv("dotenv"))
    assert Settings.load().access_key == "access-key-dotenv"


def test_load_with_variable_of_dotenv_in_other_case_ignores_it(write: Write) -> None:
    write(".env", pair_dotenv("dotenv") + "qianfan_access_key=other\nqf_tasks_max_retries=7\n")
    settings = Settings.load()
    assert (settings.access_key, settings.max_retries) == ("access-key-dotenv", 3)


def test_load_with_unreadable_dotenv_found_ignores_it_and_warns(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (project / ".env").write_bytes(b"\xff\xfe\x00")
    Settings.load(**pair("keyword"))
    assert ".env is not valid .env in UTF-8" in caplog.text


def test_load_below_directory_named_dotenv_uses_the_file_above(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(".env", pair_dotenv("root"))
    write("a/.env/pyvenv.cfg", "")
    monkeypatch.chdir(project / "a")
    assert Settings.load().access_key == "access-key-root"
    assert not caplog.records


def test_load_with_unreadable_dotenv_named_raises(project: Path) -> None:
    (project / "named.env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"named\.env is not valid"):
        Settings.load(**pair("keyword"), env_file="named.env")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_load_with_proxy_of_machine_uses_it(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, PROXY)
    proxy = Settings.load(**pair("keyword")).proxy
    assert proxy is not None
    assert proxy.get_secret_value() == PROXY


@pytest.mark.parametrize(
    ("no_proxy", "base_url"),
    [
        ("qianfan.baidubce.com", None),
        (".baidubce.com", None),
        ("*", None),
        ("h.example:8443", "https://h.example:8443"),
        ("", "http://127.0.0.1:8080"),
        ("", "https://localhost"),
        ("", "http://[::1]:1"),
    ],
)
def test_load_with_host_that_needs_no_proxy_uses_none(
    no_proxy: str, base_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert Settings.load(**pair("keyword"), base_url=base_url).proxy is None


def test_load_with_socks_proxy_of_machine_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example:1080")
    with pytest.raises(ConfigurationError, match=r"proxy .*http://.* \(environment variable HTTPS_PROXY\)"):
        Settings.load(**pair("keyword"))


def test_load_with_proxy_for_qianfan_prefers_it_to_that_of_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_PROXY", "proxy.qianfan:1")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "*")
    settings = Settings.load(**pair("keyword"))
    assert settings.origin("proxy") == "environment variable QIANFAN_PROXY"
    assert settings.masked()["proxy"] == "http://proxy.qianfan:1"


@pytest.mark.parametrize("base_url", ["http://[", "nowhere"])
def test_load_with_proxy_and_invalid_url_refuses_the_url(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("QIANFAN_CONSOLE_API_BASE_URL", base_url)
    with pytest.raises(ConfigurationError, match="base_url should be https"):
        Settings.load(**pair("keyword"))


def test_load_with_two_bundle_variables_prefers_that_of_requests(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(write("openssl.pem", "")))
    assert Settings.load(**pair("keyword")).origin("ca_bundle") == "environment variable SSL_CERT_FILE"
    bundle = write("requests.pem", "")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    settings = Settings.load(**pair("keyword"))
    assert (settings.ca_bundle, settings.masked()["ca_bundle"]) == (bundle, str(bundle))


def test_load_with_missing_bundle_names_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "missing.pem")
    with pytest.raises(
        ConfigurationError, match=r"ca_bundle .* exists \(environment variable REQUESTS_CA_BUNDLE"
    ):
        Settings.load(**pair("keyword"))


def test_load_with_reference_in_dotenv_does_not_replace_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST", "h")
    write(".env", pair_dotenv("dotenv") + "QIANFAN_PROXY=http://${HOST}.example\n")
    with pytest.raises(ConfigurationError, match="proxy should be"):
        Settings.load()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("QIANFAN_ACESS_KEY", "QIANFAN_ACCESS_KEY"),
        ("QF_TASKS_MAX_RETIRES", "QF_TASKS_MAX_RETRIES"),
        ("qf_tasks_max_retries", "QF_TASKS_MAX_RETRIES"),
        ("QF_TASKS_PROXY", "QIANFAN_PROXY"),
        ("QIANFAN_BOS_ENDPOINT", "QF_TASKS_BOS_ENDPOINT"),
    ],
)
def test_load_with_misspelled_variable_warns_once(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, "x")
    Settings.load(**pair("keyword"))
    Settings.load(**pair("keyword"))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("qf_tasks", "WARNING")
    assert record.getMessage() == f"unknown variable {variable} is ignored; did you mean {meant}?"


def test_load_without_keys_names_a_misspelled_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_ACESS_KEY", "x")

    with pytest.raises(ConfigurationError, match=r"QIANFAN_ACESS_KEY.*did you mean QIANFAN_ACCESS_KEY\?"):
        Settings.load()


def test_load_with_misspelled_variable_in_dotenv_names_the_file(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    dotenv = write(".env", "QIANFAN_ACESS_KEY=x")
    Settings.load(**pair("keyword"))
    assert f"unknown variable QIANFAN_ACESS_KEY in {dotenv} is ignored" in caplog.text


def test_load_with_variables_of_the_sdk_and_others_logs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    of_the_sdk = {name for name in vars(Env).values() if str(name).startswith("QIANFAN_")}
    of_the_sdk |= {f"QIANFAN_{name}" for name in Config.__fields__}
    for name in {*of_the_sdk, "QIANFAN_ACCESS_KEY_2", "QF_TASKS_OTHER", "ACESS_KEY"} - set(OURS):
        monkeypatch.setenv(name, "x")
    Settings.load(**pair("keyword"))
    assert not caplog.records


def test_load_with_secret_in_a_malformed_line_of_dotenv_logs_no_secret(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write(".env", "QIANFAN_SECRET_KEY:s3cr\n")
    Settings.load(**pair("keyword"))
    assert not caplog.records


def test_load_with_braces_in_path_of_dotenv_names_the_path(write: Write) -> None:
    path = write("{x}/.env", pair_dotenv("dotenv"))
    assert Settings.load(env_file=path).origin("access_key") == str(path)
