"""A secret key is in nothing that a failure leaves behind: text, frames, context, log."""

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


# Each raises over a source in which the canary is; `make` is `Settings(...)` itself.
REFUSALS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "keyword, half a pair": ({"secret_key": CANARY}, {}),
    "keyword, bytes": ({"access_key": "AK", "secret_key": CANARY.encode()}, {}),
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
        {"access_key": "AK", "secret_key": "SK"},
        {".env": f"QIANFAN_PROXY=ftp://user:{CANARY}@h"},
    ),
    "dotenv, password in base_url": (
        {"access_key": "AK", "secret_key": "SK"},
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


def left_behind(error: BaseException) -> str:
    """Return all that an error shows: text, fields, and the locals of all frames but this file's."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [str(frame.locals) for frame in shown.stack if Path(frame.filename) != Path(__file__)]
    return "\n".join([*shown.format_exception_only(), repr(error), str(vars(error)), *frames])


def refusal(act: Callable[..., object], keywords: dict[str, Any]) -> QfTasksError:
    with pytest.raises(QfTasksError) as caught:
        act(**keywords)
    return caught.value


@pytest.mark.parametrize("case", REFUSALS)
def test_load_refused_leaves_no_secret_behind(
    case: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keywords, files = REFUSALS[case]
    for path, text in files.items():
        write(path, text)
    error = refusal(load, keywords)
    assert error.__context__ is None
    assert error.__cause__ is None
    assert CANARY.encode() not in pickle.dumps(error)
    assert CANARY not in left_behind(error) + caplog.text


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
def test_make_refused_leaves_no_secret_behind(keywords: dict[str, Any]) -> None:
    error = refusal(Settings, keywords)
    assert error.__context__ is None
    assert CANARY not in left_behind(error)


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
