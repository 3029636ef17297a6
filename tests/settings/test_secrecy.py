"""A secret key is in nothing that an error carries: text, frames, context, log."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qf_tasks.errors import QfTasksError
from qf_tasks.settings import Settings, inspect_sources
from tests.settings.conftest import Write

CANARY = "Canary0123456789"
TOML = f'access_key = "AK"\nsecret_key = "{CANARY}"\n'


def load(**keywords: Any) -> object:
    return Settings.load(**keywords)


# Each fails because of a source that contains the canary.
FAILURES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "keyword, half a pair": ({"secret_key": CANARY}, {}),
    "keyword, list": ({"access_key": "AK", "secret_key": [CANARY]}, {}),
    "keyword, misspelled": ({"access_key": "AK", "secretkey": CANARY}, {}),
    "keyword, as a profile": ({"profile": [CANARY]}, {}),
    "keyword, as a timeout": ({"access_key": "AK", "secret_key": CANARY, "request_timeout": CANARY}, {}),
    "keyword, other argument wrong": ({"access_key": "AK", "secret_key": CANARY, "max_retries": "x"}, {}),
    "keyword, other argument unknown": ({"access_key": "AK", "secret_key": CANARY, "retries": 1}, {}),
    "keyword, other value out of range": ({"access_key": "AK", "secret_key": CANARY, "max_retries": -1}, {}),
    "keyword, stray character": ({"access_key": "AK", "secret_key": f"{CANARY} x"}, {}),
    "keyword, API key": ({"access_key": "AK", "secret_key": f"bce-v3/{CANARY}"}, {}),
    "keyword, missing file": ({"access_key": "AK", "secret_key": CANARY, "config_file": "no"}, {}),
    "dotenv, half a pair": ({}, {".env": f"QIANFAN_SECRET_KEY={CANARY}"}),
    "dotenv, stray character": ({}, {".env": f"QIANFAN_ACCESS_KEY=AK\nQIANFAN_SECRET_KEY={CANARY} x"}),
    "dotenv, other kind of key": ({}, {".env": f"QIANFAN_SK={CANARY}"}),
    "dotenv, password of the proxy": (
        {"access_key": "AK", "secret_key": "SK", "env_file": ".env"},
        {".env": f"QIANFAN_PROXY=ftp://user:{CANARY}@h"},
    ),
    "dotenv, proxy that is not trusted": (
        {"access_key": "AK", "secret_key": CANARY},
        {".env": f"QIANFAN_PROXY=http://user:{CANARY}@h"},
    ),
    "dotenv, password in base_url": (
        {"access_key": "AK", "secret_key": "SK", "env_file": ".env"},
        {".env": f"QIANFAN_CONSOLE_API_BASE_URL=https://user:{CANARY}@h"},
    ),
    "file, half a pair": ({}, {"config/qf_tasks.toml": f'secret_key = "{CANARY}"'}),
    "file, unknown key": ({}, {"config/qf_tasks.toml": TOML + "retries = 1"}),
    "file, unknown profile": ({"profile": "p"}, {"config/qf_tasks.toml": TOML}),
    "file, wrong type": ({}, {"config/qf_tasks.toml": f'access_key = "AK"\nsecret_key = ["{CANARY}"]'}),
    "file, broken TOML": ({}, {"config/qf_tasks.toml": f'secret_key = "{CANARY}'}),
    "file, broken YAML": ({"config_file": "a.yaml"}, {"a.yaml": f"secret_key: [{CANARY}\na: b"}),
    "file, broken JSON": ({"config_file": "a.json"}, {"a.json": f'{{"secret_key": "{CANARY}",}}'}),
    "file, two pairs and a profile by variable": (
        {},
        {
            ".env": f"QIANFAN_ACCESS_KEY=AK\nQIANFAN_SECRET_KEY={CANARY}\nQF_TASKS_PROFILE=p",
            "config/qf_tasks.toml": f'[profiles.p]\naccess_key = "AK"\nsecret_key = "{CANARY}x"',
        },
    ),
}


def carried_by(error: BaseException) -> str:
    """Return what an error carries: text, fields, and the locals of all frames except those of this file."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [str(frame.locals) for frame in shown.stack if Path(frame.filename) != Path(__file__)]
    return "\n".join([*shown.format_exception_only(), repr(error), str(vars(error)), *frames])


def error_of(act: Callable[..., object], keywords: dict[str, Any]) -> QfTasksError:
    with pytest.raises(QfTasksError) as caught:
        act(**keywords)
    return caught.value


@pytest.mark.parametrize("case", FAILURES)
def test_load_that_fails_carries_no_secret(case: str, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keywords, files = FAILURES[case]
    for path, text in files.items():
        write(path, text)
    error = error_of(load, keywords)
    assert error.__context__ is None
    assert error.__cause__ is None
    assert CANARY.encode() not in pickle.dumps(error)
    assert CANARY not in carried_by(error) + caplog.text


@pytest.mark.parametrize(
    "keywords",
    [
        {"secret_key": CANARY},
        {"access_key": "AK", "secret_key": f"{CANARY} x"},
        {"access_key": "AK", "secret_key": CANARY, "max_retries": -1},
        {"access_key": "AK", "secret_key": CANARY, "retries": 1},
        {"access_key": "AK", "secret_key": [CANARY]},
        {"access_key": "AK", "secret_key": "SK", "proxy": f"ftp://user:{CANARY}@h"},
    ],
)
def test_settings_that_fail_carry_no_secret(keywords: dict[str, Any]) -> None:
    error = error_of(Settings, keywords)
    assert error.__context__ is None
    assert CANARY not in carried_by(error)


def test_inspect_that_fails_carries_no_secret() -> None:
    error = error_of(inspect_sources, {"access_key": "AK", "secret_key": CANARY, "retries": 1})
    assert CANARY not in carried_by(error)


def test_load_with_debug_log_of_pydantic_settings_logs_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    caplog.set_level(logging.DEBUG)
    Settings.load(access_key="AK", secret_key=CANARY, proxy=f"http://user:{CANARY}@h")
    assert CANARY not in caplog.text


def test_load_shows_no_secret_in_settings_or_log(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    write(".env", f"QIANFAN_ACCESS_KEY=AK\nQIANFAN_SECRET_KEY={CANARY}\nQIANFAN_PROXY=http://u:{CANARY}@h")
    write("config/qf_tasks.toml", TOML.replace("AK", "other")).chmod(0o644)
    settings = Settings.load()
    dumps = settings.model_dump(), settings.model_dump(mode="json"), settings.model_dump_json()
    shown = repr(settings), str(settings), vars(settings), settings.account, *dumps, inspect_sources()
    assert CANARY not in f"{shown}"
    assert len(caplog.records) == 2
    assert CANARY not in caplog.text
