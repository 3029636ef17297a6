"""Airflow provider: hook, operators, sensor and trigger for batch inference tasks.

Airflow calls `get_provider_info` at every start, so this module imports nothing.
"""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow shows of this provider, and where its classes are."""
    integration = "Baidu Qianfan"
    return {
        "package-name": "qf-tasks",
        "name": integration,
        "description": "Batch inference tasks (批量推理任务) on Baidu's Qianfan.",
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://cloud.baidu.com/product/wenxinworkshop",
                "tags": ["ai"],
            }
        ],
        "hooks": [{"integration-name": integration, "python-modules": ["qf_tasks.airflow.hooks"]}],
        "operators": [{"integration-name": integration, "python-modules": ["qf_tasks.airflow.operators"]}],
        "sensors": [{"integration-name": integration, "python-modules": ["qf_tasks.airflow.sensors"]}],
        "triggers": [{"integration-name": integration, "python-modules": ["qf_tasks.airflow.triggers"]}],
        "extra-links": ["qf_tasks.airflow.operators.QianfanConsoleLink"],
        "connection-types": [
            {
                "connection-type": "qianfan",
                "hook-class-name": "qf_tasks.airflow.hooks.QianfanHook",
                "hook-name": integration,
                "conn-fields": {
                    "bos_endpoint": _text_field("BOS endpoint"),
                    "request_timeout": _text_field("Request timeout"),
                    "max_retries": _text_field("Max retries"),
                    "proxy": {"label": "Proxy", "schema": {"type": ["string", "null"], "format": "password"}},
                    "ca_bundle": _text_field("CA bundle"),
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port"],
                    "relabeling": {"login": "Access key", "password": "Secret key", "host": "Base URL"},
                    "placeholders": {
                        "host": "https://qianfan.baidubce.com",
                        "bos_endpoint": "the region of the bucket",
                        "request_timeout": "60s",
                        "max_retries": "3",
                        "extra": '{"max_connections": 16}',
                    },
                },
            }
        ],
    }


def _text_field(label: str) -> dict[str, Any]:
    return {"label": label, "schema": {"type": ["string", "null"]}}
