"""What Airflow reads of the provider."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import distribution

from qf_tasks import Settings
from qf_tasks.airflow import get_provider_info
from qf_tasks.airflow.hooks import QianfanHook

INFO = get_provider_info()


def test_entry_point_is_the_provider_info() -> None:
    (entry_point,) = (
        entry
        for entry in distribution(INFO["package-name"]).entry_points
        if entry.group == "apache_airflow_provider"
    )

    assert entry_point.load()() == INFO


def test_provider_info_is_accepted_by_airflow() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()

    assert "qf-tasks" in manager.providers
    hook = manager.hooks["qianfan"]
    assert hook
    assert hook.hook_class_name.endswith("QianfanHook")


def test_provider_info_modules_and_classes_exist() -> None:
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for described in INFO[kind]:
            for module in described["python-modules"]:
                importlib.import_module(module)
    for path in (*INFO["extra-links"], INFO["connection-types"][0]["hook-class-name"]):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def test_connection_fields_are_settings() -> None:
    assert set(INFO["connection-types"][0]["conn-fields"]) <= set(Settings.model_fields)
    assert INFO["connection-types"][0]["connection-type"] == QianfanHook.conn_type


def test_provider_info_imports_neither_airflow_nor_the_client() -> None:
    program = (
        "import sys; from qf_tasks.airflow import get_provider_info; get_provider_info(); "
        "print([name for name in ('airflow', 'pydantic', 'qf_tasks.client') if name in sys.modules])"
    )

    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert printed.strip() == "[]"
