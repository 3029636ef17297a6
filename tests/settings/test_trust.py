"""A file found in the project may be a stranger's: it does not route requests signed with other keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qf_tasks.errors import ConfigurationError
from qf_tasks.settings import Settings, inspect_sources
from tests.settings.conftest import SetPair, Write, pair, pair_dotenv, pair_toml

EVIL = "http://evil.example:3128"
VARIABLES = {
    "base_url": "QIANFAN_CONSOLE_API_BASE_URL=https://evil.example",
    "bos_endpoint": "QF_TASKS_BOS_ENDPOINT=https://evil.example",
    "proxy": f"QIANFAN_PROXY={EVIL}",
    "verify_tls": "QIANFAN_SSL_VERIFICATION_ENABLED=false",
    "ca_bundle": "REQUESTS_CA_BUNDLE=ca.pem",
}
TOML = {
    "base_url": 'base_url = "https://evil.example"',
    "bos_endpoint": 'bos_endpoint = "https://evil.example"',
    "proxy": f'proxy = "{EVIL}"',
    "verify_tls": "verify_tls = false",
    "ca_bundle": 'ca_bundle = "ca.pem"',
}
PROXY_TOML = f'proxy = "{EVIL}"\n'
UserFile = Callable[[str], Path]


@pytest.fixture
def user_file(home: Path, write: Write) -> UserFile:
    """Write the user's own settings file."""
    return lambda text: write(f"{home}/.config/qf_tasks/config.toml", text)


def refused(setting: str, **keywords: Any) -> str:
    """Return the message of `load`, which must refuse the setting."""
    with pytest.raises(ConfigurationError, match=f"sets {setting}, but the keys come from") as caught:
        Settings.load(**keywords)
    assert "evil" not in f"{caught.value} {caught.value.hint}"
    return str(caught.value)


@pytest.mark.parametrize("setting", VARIABLES)
def test_load_with_routing_in_found_dotenv_and_keys_in_environment_raises(
    setting: str, write: Write, set_pair: SetPair
) -> None:
    set_pair("environment")
    path = write(".env", VARIABLES[setting])
    assert refused(setting) == (
        f"{path} sets {setting}, but the keys come from the environment. The file is not trusted "
        "(it was found in the project): it could send requests signed with your keys to a stranger"
    )


@pytest.mark.parametrize("setting", TOML)
def test_load_with_routing_in_found_file_and_keys_in_environment_raises(
    setting: str, write: Write, set_pair: SetPair
) -> None:
    set_pair("environment")
    path = write("config/qf_tasks.toml", TOML[setting])
    assert str(path) in refused(setting)


def test_load_with_routing_in_found_file_and_keys_as_keywords_raises(write: Write) -> None:
    write("config/qf_tasks.toml", PROXY_TOML)
    assert "the keyword arguments" in refused("proxy", **pair("keyword"))


def test_load_with_routing_in_found_file_and_keys_in_dotenv_names_both(write: Write) -> None:
    file = write("config/qf_tasks.toml", PROXY_TOML)
    dotenv = write(".env", pair_dotenv("dotenv"))
    assert refused("proxy").startswith(f"{file} sets proxy, but the keys come from {dotenv}.")


def test_load_with_routing_in_found_dotenv_and_keys_at_home_raises(write: Write, user_file: UserFile) -> None:
    path = user_file(pair_toml("home"))
    write(".env", VARIABLES["proxy"])
    assert f"the keys come from {path}" in refused("proxy")


def test_load_with_profile_named_does_not_trust_the_found_file(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", f"[profiles.prod]\n{PROXY_TOML}")
    assert "[profiles.prod]" in refused("proxy", profile="prod")


def test_load_hint_says_what_to_do(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    path = write(".env", VARIABLES["proxy"])
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    for part in (f"Remove proxy from {path}", "put both keys into that file", "QF_TASKS_CONFIG", "请确认"):
        assert part in str(caught.value.hint)


def test_load_with_keys_interpolated_into_found_dotenv_sends_them_nowhere(
    write: Write, set_pair: SetPair
) -> None:
    set_pair("environment")
    write(".env", "QIANFAN_PROXY=http://${QIANFAN_SECRET_KEY}:x@evil.example:3128")
    assert "secret-key-environment" not in refused("proxy")


# What a found `.env` names is not trusted either.


def test_load_with_config_named_by_found_dotenv_raises(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    file = write("hidden/other.toml", PROXY_TOML)
    dotenv = write(".env", f"QF_TASKS_CONFIG={file}")
    assert f"it was named by QF_TASKS_CONFIG in {dotenv}" in refused("proxy")


def test_load_with_profile_at_home_chosen_by_found_dotenv_raises(
    write: Write, set_pair: SetPair, user_file: UserFile
) -> None:
    set_pair("environment")
    user_file("[profiles.debug]\nverify_tls = false\n")
    dotenv = write(".env", "QF_TASKS_PROFILE=debug")
    assert f"the profile was chosen by QF_TASKS_PROFILE in {dotenv}" in refused("verify_tls")


def test_load_with_profile_at_home_chosen_by_found_dotenv_keeps_its_own_unit(
    write: Write, user_file: UserFile
) -> None:
    user_file(f"[profiles.debug]\nverify_tls = false\n{pair_toml('debug')}")
    write(".env", "QF_TASKS_PROFILE=debug")
    assert Settings.load().verify_tls is False


def test_load_with_other_dotenv_named_by_found_dotenv_ignores_it(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    other = write("hidden/other.env", VARIABLES["proxy"])
    write(".env", f"QIANFAN_DOT_ENV_CONFIG_FILE={other}")
    assert Settings.load().proxy is None


def test_load_with_keys_in_one_found_file_and_routing_in_another_raises(write: Write) -> None:
    file = write("hidden/keys.toml", pair_toml("other"))
    write(".env", f"QF_TASKS_CONFIG={file}\n{VARIABLES['base_url']}")
    assert f"the keys come from {file}" in refused("base_url")


def test_load_through_symbolic_link_does_not_trust_the_link(
    project: Path, set_pair: SetPair, user_file: UserFile
) -> None:
    set_pair("environment")
    (project / "config").mkdir()
    (project / "config" / "qf_tasks.toml").symlink_to(user_file(PROXY_TOML))
    refused("proxy")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1@evil.example",
        "http://localhost.evil.example",
        "http://evil.example#@127.0.0.1",
        "https://evil.example/?127.0.0.1",
        r"http://127.0.0.1\@evil.example",
        "http://0x7f000001",
        "http://[::1",
        "127.0.0.1",
    ],
)
def test_load_with_url_resembling_loopback_raises(url: str, write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write(".env", f"QIANFAN_CONSOLE_API_BASE_URL='{url}'")
    refused("base_url")


def test_load_with_loopback_proxy_in_found_file_raises(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", 'proxy = "http://127.0.0.1:3128"')
    refused("proxy")


def test_load_with_loopback_url_does_not_excuse_a_proxy(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write(".env", f"QIANFAN_CONSOLE_API_BASE_URL=http://127.0.0.1:1\n{VARIABLES['proxy']}")
    refused("proxy")


# What is trusted.


def test_load_with_routing_and_keys_in_the_same_dotenv_uses_both(write: Write) -> None:
    write(".env", pair_dotenv("dotenv") + VARIABLES["base_url"])
    assert Settings.load().base_url == "https://evil.example"


def test_load_with_routing_and_keys_in_the_same_file_uses_both(write: Write) -> None:
    write("config/qf_tasks.toml", f"{PROXY_TOML}[profiles.prod]\n{pair_toml('prod')}")
    assert Settings.load(profile="prod").proxy is not None


@pytest.mark.parametrize("setting", ["base_url", "bos_endpoint"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://localhost:1", " http://[::1]:1/"])
def test_load_with_loopback_in_found_file_uses_it(
    setting: str, url: str, write: Write, set_pair: SetPair
) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", f'{setting} = "{url}"')
    assert getattr(Settings.load(), setting) == url.strip(" /")


@pytest.mark.parametrize("argument", ["config_file", "env_file"])
def test_load_with_file_named_in_call_uses_its_routing(
    argument: str, write: Write, set_pair: SetPair
) -> None:
    set_pair("environment")
    text = VARIABLES["proxy"] if argument == "env_file" else PROXY_TOML
    keywords: dict[str, Any] = {argument: write("mine", text)}
    assert Settings.load(**keywords).proxy is not None


@pytest.mark.parametrize("variable", ["QF_TASKS_CONFIG", "QIANFAN_DOT_ENV_CONFIG_FILE"])
def test_load_with_file_named_by_variable_uses_its_routing(
    variable: str, write: Write, set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    text = PROXY_TOML if variable == "QF_TASKS_CONFIG" else VARIABLES["proxy"]
    monkeypatch.setenv(variable, os.fspath(write("mine", text)))
    assert Settings.load().proxy is not None


def test_load_with_config_named_by_named_dotenv_uses_its_routing(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    file = write("mine.toml", PROXY_TOML)
    env_file = write("mine.env", f"QF_TASKS_CONFIG={file}")
    assert Settings.load(env_file=env_file).proxy is not None


def test_load_with_file_at_home_uses_its_routing(set_pair: SetPair, user_file: UserFile) -> None:
    set_pair("environment")
    user_file(PROXY_TOML)
    assert Settings.load().proxy is not None


def test_load_with_profile_variable_uses_profile_at_home(
    set_pair: SetPair, user_file: UserFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    user_file("[profiles.debug]\nverify_tls = false\n")
    monkeypatch.setenv("QF_TASKS_PROFILE", "debug")
    assert Settings.load().verify_tls is False


def test_load_with_routing_overridden_by_environment_ignores_that_of_the_file(
    write: Write, set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QIANFAN_PROXY", "http://mine.example:1")
    write(".env", VARIABLES["proxy"])
    assert Settings.load().masked()["proxy"] == "http://mine.example:1"


def test_load_with_limits_in_found_file_uses_them(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", "max_retries = 7")
    assert Settings.load().max_retries == 7


def test_inspect_with_untrusted_routing_reports_the_file_as_refused(write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    path = write(".env", VARIABLES["proxy"])
    report = next(report for report in inspect_sources() if report.path == path)
    assert report.state == "refused"
    assert "sets proxy, but the keys come from the environment" in str(report.note)
