"""Settings files: where they are found, what they may contain, and errors about broken ones."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from qf_tasks.errors import ConfigurationError
from qf_tasks.settings import Settings
from tests.settings.conftest import AK, SK, SetPair, Write, pair, pair_toml

YAML = f"access_key: {AK}\nsecret_key: {SK}\nverify_tls: false\nprofiles:\n  p:\n    max_retries: 9\n"
JSON = json.dumps(
    {"access_key": AK, "secret_key": SK, "verify_tls": False, "profiles": {"p": {"max_retries": 9}}}
)


def load(**keywords: Any) -> Settings:
    given: dict[str, Any] = {**pair("keyword"), **keywords}
    return Settings.load(**given)


BROKEN_DISK = Path("/proc/self/mem")
posix = pytest.mark.skipif(os.name != "posix", reason="files have no mode here")


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", YAML), ("a.yml", YAML), ("a.JSON", JSON), ("a.json", "\ufeff" + JSON)]
)
def test_load_with_yaml_or_json_file_reads_it(name: str, text: str, write: Write) -> None:
    settings = Settings.load(config_file=write(name, text), profile="p")
    assert (settings.access_key, settings.secret_key.get_secret_value()) == (AK, SK)
    assert (settings.verify_tls, settings.max_retries) == (False, 9)


@pytest.mark.parametrize("name", ["a.toml", "a.yaml"])
def test_load_with_empty_file_uses_next_source(name: str, write: Write, set_pair: SetPair) -> None:
    set_pair("environment")
    assert Settings.load(config_file=write(name, "")).access_key == "access-key-environment"


def test_load_below_project_finds_file_of_project(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("config/qf_tasks.toml", pair_toml("project"))
    (project / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(project / "a" / "b")
    assert Settings.load().access_key == "access-key-project"


def test_load_in_project_within_another_stops_at_its_root(
    project: Path, write: Write, set_pair: SetPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pair("environment")
    write("config/qf_tasks.toml", "max_retries = 9")
    write("inner/.git/HEAD", "")
    monkeypatch.chdir(project / "inner")
    assert Settings.load().max_retries == 3


def test_load_with_tilde_in_named_file_finds_it_at_home(home: Path, write: Write) -> None:
    write(f"{home}/mine.toml", pair_toml("home"))
    assert Settings.load(config_file="~/mine.toml").access_key == "access-key-home"


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.toml", f'access_key = "{AK}"\nsecret_key = {SK}', "TOML.*line 2"),
        ("a.toml", f'secret_key = "{SK}', "TOML.*at its end"),
        ("a.yaml", f"access_key: a\nsecret_key: [{SK}\nx: y", "YAML.*line 3, column"),
        ("a.yaml", f"- {SK}", "YAML"),
        ("a.yaml", "max_retries: !!int ''", "YAML"),
        ("a.json", f'{{"secret_key": "{SK}"\n"max_retries": 1}}', "JSON.*line 2, column 1"),
        ("a.json", f'["{SK}"]', "JSON"),
        ("a.json", "[" * 100_000, "JSON"),
    ],
)
def test_load_with_broken_file_names_file_and_place(name: str, text: str, place: str, write: Write) -> None:
    path = write(name, text)
    with pytest.raises(ConfigurationError, match=place) as caught:
        Settings.load(config_file=path)
    assert str(path) in str(caught.value)
    assert SK not in str(caught.value)


def test_load_with_file_in_other_encoding_raises(project: Path) -> None:
    (project / "a.toml").write_bytes('base_url = "千帆"'.encode("gbk"))
    with pytest.raises(ConfigurationError, match=r"a\.toml is not valid TOML in UTF-8"):
        Settings.load(config_file="a.toml")


def test_load_with_broken_file_found_raises_even_with_keys_as_keywords(write: Write) -> None:
    path = write("config/qf_tasks.toml", "max_retries =")
    with pytest.raises(ConfigurationError, match="is not valid TOML") as caught:
        Settings.load(**pair("keyword"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("argument", ["config_file", "env_file"])
def test_load_with_named_file_missing_names_path_and_argument(argument: str, project: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"named by {argument}, does not exist") as caught:
        load(**{argument: "missing"})
    assert str(project / "missing") in str(caught.value)


@pytest.mark.parametrize("variable", ["QF_TASKS_CONFIG", "QIANFAN_DOT_ENV_CONFIG_FILE"])
def test_load_with_variable_naming_missing_file_names_it(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "missing")
    with pytest.raises(ConfigurationError, match=f"missing, named by {variable}, does not exist"):
        Settings.load(**pair("keyword"))


@pytest.mark.parametrize("argument", ["config_file", "env_file"])
def test_load_with_directory_named_raises(argument: str, project: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{project}, named by {argument}, is not a file"):
        load(**{argument: project})


def test_load_with_path_too_long_says_it_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="x, named by config_file, does not exist"):
        load(config_file="x" * 5000)


def test_load_with_inaccessible_directories_treats_them_as_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(path: Path) -> bool:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "exists", forbidden)
    monkeypatch.setattr(Path, "is_file", forbidden)
    assert load().access_key == "access-key-keyword"


def test_load_without_home_does_not_expand_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(path: Path) -> Path:
        raise RuntimeError(path)

    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(ConfigurationError, match=r"^~/a\.toml, named by config_file, does not exist"):
        load(config_file="~/a.toml")


@pytest.mark.skipif(not BROKEN_DISK.exists(), reason="needs a file that fails while it is read")
def test_load_with_file_that_fails_while_it_is_read_says_why() -> None:
    with pytest.raises(ConfigurationError, match=f"{BROKEN_DISK} cannot be read: Input/output error"):
        load(config_file=BROKEN_DISK)


def test_load_with_unknown_key_names_file_key_and_nearest(write: Write) -> None:
    path = write("config/qf_tasks.toml", "max_retires = 1")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(**pair("keyword"))
    assert str(caught.value) == f"{path}: unknown key 'max_retires'; did you mean max_retries?"


def test_load_with_unknown_key_in_profile_names_profile(write: Write) -> None:
    write("config/qf_tasks.toml", "[profiles.p]\nverify = true")
    with pytest.raises(ConfigurationError, match=r"\[profiles\.p\]: unknown key 'verify'"):
        Settings.load(profile="p")


def test_load_with_bad_value_in_profile_names_key_rule_and_profile(write: Write) -> None:
    write("config/qf_tasks.toml", '[profiles.p]\nmax_retries = "many"')
    with pytest.raises(ConfigurationError, match=r"max_retries should be a valid integer.*\[profiles\.p\]\)"):
        Settings.load(**pair("keyword"), profile="p")


def test_load_with_relative_bundle_resolves_it_against_the_file(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write("config/ca.pem", "")
    write("config/qf_tasks.toml", pair_toml("file") + 'ca_bundle = "ca.pem"')
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert Settings.load().ca_bundle == bundle


def test_load_with_tilde_in_bundle_finds_it_at_home(home: Path, write: Write) -> None:
    bundle = write(f"{home}/ca.pem", "")
    write("config/qf_tasks.toml", pair_toml("file") + 'ca_bundle = "~/ca.pem"')
    assert Settings.load().ca_bundle == bundle


@posix
@pytest.mark.parametrize("name", ["config/qf_tasks.toml", ".env"])
def test_load_with_secret_readable_by_others_warns_once(
    name: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    text = pair_toml("toml") if name.endswith("toml") else "QIANFAN_ACCESS_KEY=a\nQIANFAN_SECRET_KEY=b\n"
    path = write(name, text)
    path.chmod(0o640)
    Settings.load()
    Settings.load()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("qf_tasks", logging.WARNING)
    assert record.getMessage() == f"{path} contains a secret key and is readable by others; run chmod 600"


@posix
def test_load_with_file_readable_by_others_without_secret_logs_nothing(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("config/qf_tasks.toml", "max_retries = 1").chmod(0o644)
    Settings.load(**pair("keyword"))
    assert not caplog.records


def test_load_without_working_directory_uses_file_at_home(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"{home}/.config/qf_tasks/config.toml", pair_toml("home"))

    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    assert Settings.load().access_key == "access-key-home"
