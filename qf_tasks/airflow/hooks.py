"""The hook: a client of the account that an Airflow connection describes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from qf_tasks.airflow import get_provider_info
from qf_tasks.airflow._compat import AirflowException, BaseHook, get_connection
from qf_tasks.errors import QfTasksError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from qf_tasks import AsyncTaskClient, Settings, TaskClient

_SECRETS = ("secret_key", "proxy")


class QianfanHook(BaseHook):
    """Makes clients from a connection of type `qianfan`.

    Login is the access key, password the secret key, host the base URL of the service (default: the public
    one). Every other setting of the client can be in the extras, see `.github/docs/settings.md`. Nothing is
    read from the environment or from settings files.

    :param qianfan_conn_id: The connection; default `qianfan_default`.
    """

    conn_name_attr = "qianfan_conn_id"
    default_conn_name = "qianfan_default"
    conn_type = "qianfan"
    hook_name = "Baidu Qianfan"

    def __init__(self, qianfan_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.qianfan_conn_id = qianfan_conn_id

    @cached_property
    def settings(self) -> Settings:
        """The settings of the clients."""
        return _settings_of(self.qianfan_conn_id, _values_of(self.get_connection(self.qianfan_conn_id)))

    def get_conn(self) -> TaskClient:
        """Return a new blocking client; use it in a `with` statement, which closes it."""
        from qf_tasks import TaskClient

        return TaskClient(self.settings)

    async def get_async_conn(self) -> AsyncTaskClient:
        """Return a new asyncio client, without blocking the event loop; use it in `async with`."""
        # Airflow 3.1 talks to its supervisor when extras are read, which breaks in another thread.
        values = _values_of(await get_connection(self.qianfan_conn_id))

        def make() -> AsyncTaskClient:
            from qf_tasks import AsyncTaskClient

            return AsyncTaskClient(_settings_of(self.qianfan_conn_id, values))

        return await asyncio.to_thread(make)

    def test_connection(self) -> tuple[bool, str]:
        """Send one signed request that changes nothing; return whether it succeeded, and a message."""
        try:
            with airflow_errors(), self.get_conn() as client:
                next(client.pages(page_size=1))
                return True, f"The keys are accepted: {client.account}"
        except AirflowException as error:
            return False, str(error)

    # Airflow 2 asks for the form here; Airflow 3 reads the provider info itself.

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the fields of the connection form beside those that every connection has."""
        from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
        from wtforms import PasswordField, StringField

        def field_of(label: str, schema: dict[str, Any]) -> Any:
            if schema.get("format") == "password":
                return PasswordField(label, widget=BS3PasswordFieldWidget())
            return StringField(label, widget=BS3TextFieldWidget())

        described = _connection_type()["conn-fields"]
        return {name: field_of(field["label"], field["schema"]) for name, field in described.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels and placeholders of the connection form."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise errors of this library as `AirflowException`, with the hint in its message."""
    try:
        yield
    except QfTasksError as error:
        raise AirflowException(message_of(error)) from error


def message_of(error: QfTasksError) -> str:
    """Return the message of an error with its hint."""
    return f"{error}. {error.hint}" if error.hint else str(error)


def _connection_type() -> dict[str, Any]:
    connection_type: dict[str, Any] = get_provider_info()["connection-types"][0]
    return connection_type


def _values_of(connection: Connection) -> dict[str, Any]:
    """Return the settings that a connection has, without fields of the form that were left empty."""
    from pydantic import SecretStr

    values = {
        "access_key": connection.login,
        "secret_key": connection.password,
        "base_url": _base_url(connection),
        **connection.extra_dejson,
    }
    given = {name: value for name, value in values.items() if value not in (None, "")}
    return {name: SecretStr(value) if name in _SECRETS else value for name, value in given.items()}


def _settings_of(conn_id: str, values: dict[str, Any]) -> Settings:
    from qf_tasks import Settings
    from qf_tasks.settings import hide
    from qf_tasks.settings.keywords import Values

    hidden = hide(cast(Values, values), f"Airflow connection {conn_id}")
    try:
        return Settings(**hidden)
    except QfTasksError as error:
        error.set_hint(
            f"In the Airflow connection {conn_id}, login is the access key, password the secret key, host "
            "the base URL, and extras are settings. 请检查该连接的 login、password 与 extra。"
        )
        raise


def _base_url(connection: Connection) -> str | None:
    """Return the host of a connection as a URL; a connection given as a URI has its parts separately."""
    host = connection.host
    if host and "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    return f"{host}:{connection.port}" if host and connection.port else host or None
