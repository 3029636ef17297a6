"""The diagnosis: each thing that can be wrong is found, named, and comes with what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from qf_tasks.doctor import Check, Diagnosis, diagnose
from qf_tasks.sandbox import Sandbox


def of(diagnosis: Diagnosis, name: str) -> Check:
    return next(check for check in diagnosis.checks if check.name == name)


def outcomes(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.outcome for check in diagnosis.checks}


def look(sandbox: Sandbox) -> Diagnosis:
    return diagnose(access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url)


def test_diagnose_all_well_says_so_and_changes_nothing(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    diagnosis = look(sandbox)
    assert diagnosis.ok
    assert outcomes(diagnosis) == {
        "settings": "ok",
        "name": "ok",
        "connection": "ok",
        "tls": "skipped",
        "answer": "ok",
        "clock": "ok",
        "read": "ok",
    }
    assert list(sandbox.tasks) == [task_id]
    assert [it.action for it in sandbox.requests if it.action] == ["DescribeBatchInferenceTasks"]


def test_diagnose_no_keys_names_every_place_and_skips_the_rest() -> None:
    diagnosis = diagnose()
    assert not diagnosis.ok
    assert of(diagnosis, "settings").error == "ConfigurationError"
    assert outcomes(diagnosis)["read"] == "skipped"
    assert {"environment", ".env", "settings file"} <= {source.name for source in diagnosis.sources}


def test_diagnose_wrong_secret_key_reaches_the_service_and_fails_the_read(sandbox: Sandbox) -> None:
    diagnosis = diagnose(access_key=sandbox.access_key, secret_key="f" * 32, base_url=sandbox.url)
    assert outcomes(diagnosis)["answer"] == "ok"
    assert of(diagnosis, "read").error == "AuthenticationError"
    assert "Secret Key" in (of(diagnosis, "read").hint or "")


@pytest.mark.parametrize(
    ("offset", "outcome"),
    [(0, "ok"), (120, "warning"), (-120, "warning"), (400, "failed"), (-2000, "failed")],
)
def test_diagnose_clock_off_is_measured_by_the_date_of_the_service(
    sandbox: Sandbox, offset: float, outcome: str
) -> None:
    sandbox.clock_offset = offset
    assert of(look(sandbox), "clock").outcome == outcome


def test_diagnose_nothing_listening_stops_at_the_connection() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        diagnosis = diagnose(
            access_key="a" * 32,
            secret_key="b" * 32,
            base_url=f"http://127.0.0.1:{unheard.getsockname()[1]}",
            max_retries=0,
        )
    found = outcomes(diagnosis)
    assert (found["name"], found["connection"], found["answer"]) == ("ok", "failed", "skipped")
    assert of(diagnosis, "connection").error == "ServiceUnreachableError"
    assert of(diagnosis, "read").error == "ServiceUnreachableError"


def test_diagnose_unknown_host_stops_at_the_name() -> None:
    diagnosis = diagnose(
        access_key="a" * 32, secret_key="b" * 32, base_url="https://qianfan.invalid", max_retries=0
    )
    assert outcomes(diagnosis)["name"] == "failed"
    assert outcomes(diagnosis)["connection"] == "skipped"


def test_diagnose_unknown_certificate_stops_at_tls(tls_sandbox: Sandbox) -> None:
    found = outcomes(look(tls_sandbox))
    assert (found["connection"], found["tls"], found["answer"]) == ("ok", "failed", "skipped")


def test_diagnose_known_certificate_passes_tls(
    tls_sandbox: Sandbox, ca_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_bundle))
    assert look(tls_sandbox).ok


@pytest.fixture
def garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a file without a certificate in the environment."""
    path = tmp_path / "garbage.pem"
    path.write_text("no certificate\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))


@pytest.mark.usefixtures("garbage")
def test_diagnose_bundle_without_a_certificate_fails_tls_with_nothing_tried(tls_sandbox: Sandbox) -> None:
    diagnosis = look(tls_sandbox)
    found = outcomes(diagnosis)
    stages = ("name", "connection", "tls", "answer")
    assert [found[stage] for stage in stages] == ["skipped", "skipped", "failed", "skipped"]
    assert "garbage.pem" in of(diagnosis, "tls").message
    assert of(diagnosis, "tls").error == of(diagnosis, "read").error == "ConfigurationError"


@pytest.mark.usefixtures("garbage")
def test_diagnose_bundle_that_is_not_used_is_not_read(
    tls_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_SSL_VERIFICATION_ENABLED", "false")
    assert look(tls_sandbox).ok


def test_diagnose_verification_switched_off_warns(
    tls_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_SSL_VERIFICATION_ENABLED", "false")
    diagnosis = look(tls_sandbox)
    assert diagnosis.ok
    assert outcomes(diagnosis)["tls"] == "warning"


def test_diagnosis_holds_no_key_and_reads_its_own_json_back(sandbox: Sandbox) -> None:
    diagnosis = look(sandbox)
    text = diagnosis.model_dump_json()
    assert sandbox.secret_key not in text + repr(diagnosis)
    assert Diagnosis.model_validate_json(text) == diagnosis
