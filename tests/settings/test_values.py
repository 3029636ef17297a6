"""`Settings(...)` itself: which values it accepts, which it refuses, and what it shows."""

from __future__ import annotations

import copy
import json
import math
import pickle
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError

from qf_tasks.errors import ConfigurationError, InvalidArgumentError
from qf_tasks.settings import Account, Keywords, Settings
from qf_tasks.settings.variables import VARIABLES
from tests.settings.conftest import AK, SK, SetPair, pair

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "qf_tasks.example.toml"


def make(**values: Any) -> Settings:
    keys: dict[str, Any] = {"access_key": AK, "secret_key": SK}
    return Settings(**(keys | values))


def test_settings_with_keys_alone_has_defaults_and_reads_no_source(
    set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    monkeypatch.setenv("QF_TASKS_MAX_RETRIES", "9")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    assert make().model_dump(exclude={"access_key", "secret_key"}) == {
        "base_url": "https://qianfan.baidubce.com",
        "bos_endpoint": None,
        "request_timeout": 60.0,
        "max_retries": 3,
        "max_retry_wait": 60.0,
        "retry_budget": 300.0,
        "max_response_bytes": 67_108_864,
        "max_connections": 64,
        "proxy": None,
        "verify_tls": True,
        "ca_bundle": None,
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://h.example/", "https://h.example"),
        (" HTTPS://H.Example:8443 ", "https://h.example:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://localhost:1/", "http://localhost:1"),
        ("http://[::1]:1", "http://[::1]:1"),
        (f"https://{'a' * 63}.example.", f"https://{'a' * 63}.example."),
        (f"https://{'a.' * 126}a", f"https://{'a.' * 126}a"),
    ],
)
def test_settings_with_url_keeps_scheme_and_host(given: str, kept: str) -> None:
    settings = make(base_url=given, bos_endpoint=given)
    assert (settings.base_url, settings.bos_endpoint) == (kept, kept)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://qianfan.baidubce.com",
        "http://localhost.example",
        "http://128.0.0.1",
        "https://h/prefix",
        "https://h?x=1",
        "https://h#x",
        "https://user:word@h",
        "https://user@h",
        "https://h:port",
        "https://h:99999",
        "https://[::1",
        "https://[fe80::1%eth0]",
        "https://h..example",
        "https://.h",
        f"https://{'a' * 64}.example",
        f"https://{'a.' * 127}a",
        "https://",
        "https://a b",
        "https://a\nb",
        "https://h\\@other",
        "ftp://h",
        "ftp://localhost",
        "qianfan.baidubce.com",
        "",
        5,
    ],
)
@pytest.mark.parametrize("name", ["base_url", "bos_endpoint"])
def test_settings_with_other_url_raises(name: str, base_url: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} should"):
        make(**{name: base_url})


@pytest.mark.parametrize("name", ["request_timeout", "max_retry_wait", "retry_budget"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "soon", "", "-5s", "5 months", [5], 10**400])
def test_settings_without_a_duration_raises(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} should be"):
        make(**{name: value})


@pytest.mark.parametrize("value", [120, 120.0, timedelta(minutes=2), "2m", "120s", "120", " 120.0 "])
def test_settings_with_duration_keeps_seconds(value: object) -> None:
    assert make(request_timeout=value).request_timeout == 120


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_timeout", 0),
        ("max_retries", True),
        ("max_retries", 1.5),
        ("max_connections", 0),
        ("max_connections", 1001),
        ("max_response_bytes", 0),
    ],
)
def test_settings_with_number_out_of_range_raises(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} should be"):
        make(**{name: value})


@pytest.mark.parametrize("key", [f" {AK}\r\n", f"\ufeff{AK}", f"{AK}\u200b"])
def test_settings_with_padded_key_trims_it(key: str) -> None:
    settings = make(access_key=key, secret_key=key)
    assert (settings.access_key, settings.secret_key.get_secret_value()) == (AK, AK)


@pytest.mark.parametrize("name", ["access_key", "secret_key"])
@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("your_iam_ak", "placeholder"),
        ("your_iam_sk", "placeholder"),
        ("YOUR-ACCESS-KEY", "placeholder"),
        ("<access key>", "placeholder"),
        ("${ACCESS_KEY}", "placeholder"),
        ("xxxxxxxx", "placeholder"),
        ("ALTAK***9f3c", "placeholder"),
        ("bce-v3/ALTAK-abc/def", "API key .* of other APIs"),
        ("abc def", r"stray character: U\+0020 at position 4"),
        ("abc\u00a0def", r"stray character: U\+00A0"),
        ("abc\u200bdef", r"stray character: U\+200B"),
        ("ab\x00c", r"stray character: U\+0000"),
        ('"abcdef"', r"stray character: U\+0022 at position 1"),
        ("密钥", r"stray character: U\+5BC6"),
        ("", "empty"),
        (" \r\n", "empty"),
        (12345, "valid string"),
    ],
)
def test_settings_with_invalid_key_names_rule_and_hints(name: str, key: object, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} .*{rule}") as caught:
        make(**{name: key})
    assert "安全认证" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["access_key", "secret_key"])
def test_settings_without_a_key_says_it_is_required(name: str) -> None:
    given: dict[str, Any] = {"access_key": AK, "secret_key": SK}
    del given[name]
    with pytest.raises(ConfigurationError, match=f"{name} is required"):
        Settings(**given)


def test_settings_with_unknown_name_names_the_most_similar() -> None:
    with pytest.raises(
        ConfigurationError, match=r"There is no setting 'max_retires'; did you mean max_retries\?"
    ):
        make(max_retires=1)


@pytest.mark.parametrize("proxy", ["ftp://p", "http://", "http://a b", "http://u:hunter2@", "http://p:x"])
def test_settings_with_invalid_proxy_raises_without_the_value(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy should be") as caught:
        make(proxy=proxy)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
def test_settings_with_socks_proxy_names_accepted_schemes(scheme: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"proxy should be an http:// or https:// URL.*SOCKS is not supported"
    ):
        make(proxy=f"{scheme}://p:1080")


@pytest.mark.parametrize("path", ["missing.pem", "x" * 5000, "~nobody-here/ca.pem"])
def test_settings_with_missing_bundle_raises(path: str) -> None:
    with pytest.raises(ConfigurationError, match="ca_bundle should name a file or directory that exists"):
        make(ca_bundle=path)


def test_settings_cannot_be_changed_and_do_not_show_the_attempt() -> None:
    settings, name = make(), "secret_key"
    with pytest.raises(AttributeError, match="make new ones for another secret_key") as caught:
        setattr(settings, name, "other-secret")
    assert "other-secret" not in str(caught.value)
    with pytest.raises(ValidationError, match="frozen"):
        delattr(settings, name)
    assert settings.secret_key.get_secret_value() == SK


@pytest.mark.parametrize("name", ["base_url", "request_timeout", "proxy", "ca_bundle"])
def test_settings_with_none_uses_default(name: str) -> None:
    assert make(**{name: None}) == make()


def test_repr_shows_masked_key_and_proxy_and_no_secret() -> None:
    settings = make(proxy="http://user:pass@proxy.example:3128")
    for text in (repr(settings), str(settings)):
        assert "access_key='ALTA…9f3c'" in text
        assert "proxy='http://***@proxy.example:3128'" in text
        assert AK not in text
        assert "secret" not in text


@pytest.mark.parametrize(
    ("key", "masked"), [("a", "…"), ("ak-1", "a…1"), ("abcdefghi", "abc…ghi"), (AK, "ALTA…9f3c")]
)
def test_account_with_short_key_masks_more_of_it(key: str, masked: str) -> None:
    assert make(access_key=key).account.access_key == masked


def test_account_shows_key_host_and_source_in_one_line() -> None:
    account = make(base_url="http://127.0.0.1:8080").account
    assert str(account) == "ALTA…9f3c at 127.0.0.1:8080 (given in code)"


def test_account_from_another_source_is_equal(set_pair: SetPair) -> None:
    set_pair("a")
    assert Settings.load().account == Settings(**pair("a")).account
    assert make().account != make(base_url="https://other.example").account
    assert make().account != make(access_key="ALTAKabcdefghijk9f3d").account


def test_account_reads_its_own_json_back() -> None:
    account = make().account
    again = Account.model_validate_json(account.model_dump_json())
    assert (again, again.source) == (account, account.source)


def test_copies_are_equal_and_keep_origins() -> None:
    settings = make(max_retries=1)
    for other in (copy.copy(settings), copy.deepcopy(settings)):
        assert other == settings
        assert hash(other) == hash(settings)
        assert other.origin("max_retries") == "given in code"
    assert settings != make()


def test_pickle_is_refused_with_what_to_do() -> None:
    with pytest.raises(TypeError, match="load them in each process"):
        pickle.dumps(make())


def test_dump_as_json_shows_no_secret() -> None:
    settings = make(proxy="http://user:pass@proxy.example")
    text = settings.model_dump_json() + json.dumps(settings.masked())
    assert SK not in text
    assert "pass" not in text


def test_example_has_every_setting_with_its_default() -> None:
    lines = (line.removeprefix("# ") for line in EXAMPLE.read_text("utf-8").splitlines())
    table = tomllib.loads("\n".join(line for line in lines if " = " in line or line.startswith("[")))
    profile = table.pop("profiles")["test"]
    assert list(table) == list(Settings.model_fields)
    assert set(profile) <= set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if not field.is_required() and field.default is not None:
            assert table[name] == field.default, name


def test_example_names_every_variable() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert all(name in text for names in VARIABLES.values() for name in names)


def test_example_as_it_is_sets_nothing() -> None:
    assert tomllib.loads(EXAMPLE.read_text("utf-8")) == {}


def test_variables_and_keywords_cover_every_setting() -> None:
    assert list(VARIABLES) == list(Settings.model_fields)
    choosers = {"profile", "config_file", "env_file"}
    assert set(get_type_hints(Keywords)) == {*Settings.model_fields, *choosers}


def test_origin_of_unknown_setting_names_the_most_similar() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'secretkey'; did you mean secret_key\?"):
        make().origin("secretkey")
