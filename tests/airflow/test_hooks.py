"""The hook: settings from a connection, and the connection form."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from qf_tasks.airflow import get_provider_info, hooks
from qf_tasks.airflow._compat import IS_AIRFLOW_3, BaseHook
from qf_tasks.airflow.hooks import QianfanHook
from qf_tasks.errors import ConfigurationError
from qf_tasks.sandbox import Sandbox

KEYS = {"conn_type": "qianfan", "login": "a" * 32, "password": "b" * 32}


def use(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any] | str) -> QianfanHook:
    text = connection if isinstance(connection, str) else json.dumps(connection)
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", text)
    return QianfanHook("other")


def test_get_conn_returns_a_client_of_the_connection(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()

    with QianfanHook().get_conn() as client:
        assert client.get(task_id).is_success


def test_get_async_conn_returns_an_asyncio_client(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()

    async def get() -> bool:
        async with await QianfanHook().get_async_conn() as client:
            task = await client.get(task_id)
            return task.is_success

    assert asyncio.run(get())


def test_get_async_conn_reads_the_connection_in_the_thread_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = set()

    class Connection(SimpleNamespace):
        @property
        def extra_dejson(self) -> dict[str, Any]:
            threads.add(threading.get_ident())
            return {}

    async def connection_of(conn_id: str) -> Connection:
        keys = {"login": KEYS["login"], "password": KEYS["password"]}
        return Connection(conn_id=conn_id, host=None, schema=None, port=None, **keys)

    monkeypatch.setattr(hooks, "get_connection", connection_of)

    async def make() -> None:
        await (await QianfanHook().get_async_conn()).close()

    asyncio.run(make())

    assert threads == {threading.get_ident()}


def test_settings_of_a_connection_have_its_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = use(
        monkeypatch,
        {**KEYS, "extra": {"max_retries": "1", "request_timeout": "5m", "proxy": "", "ca_bundle": None}},
    )

    assert (hook.settings.max_retries, hook.settings.request_timeout, hook.settings.proxy) == (1, 300, None)
    assert hook.settings.base_url == "https://qianfan.baidubce.com"


def test_settings_of_a_connection_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QF_TASKS_MAX_RETRIES", "9")

    assert use(monkeypatch, KEYS).settings.max_retries == 3


@pytest.mark.parametrize(
    ("connection", "base_url"),
    [
        ({"host": "https://gateway.example.com"}, "https://gateway.example.com"),
        ({"host": "gateway.example.com", "port": 8443}, "https://gateway.example.com:8443"),
        ({"host": "127.0.0.1", "port": 8080, "schema": "http"}, "http://127.0.0.1:8080"),
    ],
)
def test_settings_base_url_is_the_host(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], base_url: str
) -> None:
    assert use(monkeypatch, {**KEYS, **connection}).settings.base_url == base_url


def test_settings_of_a_connection_as_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"qianfan://{'a' * 32}:{'b' * 32}@127.0.0.1:8080/http?max_retries=1"

    settings = use(monkeypatch, uri).settings

    assert (settings.base_url, settings.max_retries) == ("http://127.0.0.1:8080", 1)


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        ({"conn_type": "qianfan", "login": "a" * 32}, "secret_key is required"),
        ({**KEYS, "extra": {"max_retry": 1}}, "There is no setting 'max_retry'; did you mean max_retries?"),
        (
            {**KEYS, "extra": {"max_retries": "many"}},
            "valid integer.* .Airflow connection other.",
        ),
    ],
)
def test_settings_invalid_connection_raises_without_the_secret(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")) as raised:
        _ = use(monkeypatch, connection).settings

    assert KEYS["password"] not in str(raised.value)
    assert "In the Airflow connection other, login is the access key" in str(raised.value.hint)


def test_test_connection_accepted_keys_names_the_account(sandbox: Sandbox) -> None:
    is_valid, message = QianfanHook().test_connection()

    assert is_valid
    assert sandbox.access_key[:4] in message
    assert "Airflow connection qianfan_default" in message
    assert sandbox.access_key not in message


def test_test_connection_rejected_keys_returns_the_hint(sandbox: Sandbox) -> None:
    sandbox.revoke_key(sandbox.access_key)

    is_valid, message = QianfanHook().test_connection()

    assert not is_valid
    assert sandbox.secret_key not in message


def test_get_hook_of_a_connection_is_ours() -> None:
    assert isinstance(BaseHook.get_hook("qianfan_default"), QianfanHook)


@pytest.mark.skipif(IS_AIRFLOW_3, reason="Airflow 3 reads the provider info")
def test_form_fields_are_those_of_the_provider_info() -> None:
    described = get_provider_info()["connection-types"][0]

    assert set(QianfanHook.get_connection_form_widgets()) == set(described["conn-fields"])
    assert QianfanHook.get_ui_field_behaviour()["relabeling"]["login"] == "Access key"
