"""The diagnosis: each thing that can be wrong is found, named, and comes with what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from qf_tasks.doctor import Check, Diagnosis, diagnose
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.transport import tcp_proxy


def check(diagnosis: Diagnosis, name: str) -> Check:
    return next(check for check in diagnosis.checks if check.name == name)


def outcomes(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.outcome for check in diagnosis.checks}


def diagnose_sandbox(sandbox: Sandbox) -> Diagnosis:
    return diagnose(access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url)


def test_diagnose_working_setup_passes_every_check_and_changes_nothing(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    diagnosis = diagnose_sandbox(sandbox)
    assert diagnosis.ok
    assert outcomes(diagnosis) == {
        "settings": "ok",
        "name": "ok",
        "connection": "ok",
        "tls": "skipped",
        "response": "ok",
        "read": "ok",
        "clock": "ok",
    }
    assert list(sandbox.tasks) == [task_id]
    assert [request.action for request in sandbox.requests if request.action] == [
        "DescribeBatchInferenceTasks"
    ]
    assert sandbox.unexpected == []


def test_diagnose_without_keys_names_every_source_and_skips_the_rest() -> None:
    diagnosis = diagnose()
    assert not diagnosis.ok
    assert check(diagnosis, "settings").error == "ConfigurationError"
    assert outcomes(diagnosis)["read"] == "skipped"
    assert {"environment", ".env", "settings file"} <= {source.name for source in diagnosis.sources}


def test_diagnose_wrong_secret_key_fails_only_the_read(sandbox: Sandbox) -> None:
    diagnosis = diagnose(access_key=sandbox.access_key, secret_key="f" * 32, base_url=sandbox.url)
    assert outcomes(diagnosis)["response"] == "ok"
    assert check(diagnosis, "read").error == "AuthenticationError"
    assert "Secret Key" in (check(diagnosis, "read").hint or "")


@pytest.mark.parametrize(
    ("offset", "outcome"),
    [(0, "ok"), (120, "warning"), (-120, "warning"), (400, "failed"), (-2000, "failed")],
)
def test_diagnose_wrong_clock_is_judged_by_whether_signatures_are_accepted(
    sandbox: Sandbox, offset: float, outcome: str
) -> None:
    sandbox.clock_offset = offset
    assert check(diagnose_sandbox(sandbox), "clock").outcome == outcome


def test_diagnose_refused_connection_fails_the_connection() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        diagnosis = diagnose(
            access_key="a" * 32,
            secret_key="b" * 32,
            base_url=f"http://127.0.0.1:{unheard.getsockname()[1]}",
            max_retries=0,
        )
    found = outcomes(diagnosis)
    assert (found["name"], found["connection"], found["response"]) == ("ok", "failed", "skipped")
    assert check(diagnosis, "connection").error == "ServiceUnreachableError"
    assert check(diagnosis, "read").error == "ServiceUnreachableError"


def test_diagnose_unknown_host_fails_the_name() -> None:
    diagnosis = diagnose(
        access_key="a" * 32, secret_key="b" * 32, base_url="https://qianfan.invalid", max_retries=0
    )
    assert outcomes(diagnosis)["name"] == "failed"
    assert outcomes(diagnosis)["connection"] == "skipped"


def test_diagnose_unverified_certificate_fails_tls(tls_sandbox: Sandbox) -> None:
    found = outcomes(diagnose_sandbox(tls_sandbox))
    assert (found["connection"], found["tls"], found["response"]) == ("ok", "failed", "skipped")


def test_diagnose_verified_certificate_passes_tls(
    tls_sandbox: Sandbox, ca_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_bundle))
    assert diagnose_sandbox(tls_sandbox).ok


@pytest.fixture
def garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a file without a certificate in the environment."""
    path = tmp_path / "garbage.pem"
    path.write_text("no certificate\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))


@pytest.mark.usefixtures("garbage")
def test_diagnose_bundle_without_a_certificate_fails_tls(tls_sandbox: Sandbox) -> None:
    diagnosis = diagnose_sandbox(tls_sandbox)
    found = outcomes(diagnosis)
    stages = ("name", "connection", "tls", "response")
    assert [found[stage] for stage in stages] == ["ok", "ok", "failed", "skipped"]
    assert "garbage.pem" in check(diagnosis, "tls").message
    assert check(diagnosis, "tls").error == check(diagnosis, "read").error == "ConfigurationError"


@pytest.mark.usefixtures("garbage")
def test_diagnose_unused_bundle_is_not_read(tls_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_SSL_VERIFICATION_ENABLED", "false")
    assert diagnose_sandbox(tls_sandbox).ok


def test_diagnose_disabled_verification_warns(tls_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_SSL_VERIFICATION_ENABLED", "false")
    diagnosis = diagnose_sandbox(tls_sandbox)
    assert diagnosis.ok
    assert outcomes(diagnosis)["tls"] == "warning"


def test_diagnosis_has_no_key_and_reads_its_own_json_back(sandbox: Sandbox) -> None:
    diagnosis = diagnose_sandbox(sandbox)
    text = diagnosis.model_dump_json()
    assert sandbox.secret_key not in text + repr(diagnosis)
    assert Diagnosis.model_validate_json(text) == diagnosis


def test_diagnose_tls_to_a_plain_port_blames_the_port(sandbox: Sandbox) -> None:
    diagnosis = diagnose(
        access_key=sandbox.access_key,
        secret_key=sandbox.secret_key,
        base_url=sandbox.url.replace("http:", "https:"),
        max_retries=0,
    )
    assert check(diagnosis, "tls").outcome == "failed"
    assert "may not speak TLS on this port" in (check(diagnosis, "tls").hint or "")


def test_diagnose_hints_never_advise_doctor_itself(sandbox: Sandbox) -> None:
    sandbox.inject(Fault.reset_before(), times=None)
    diagnosis = diagnose(
        access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url, max_retries=0
    )
    assert not diagnosis.ok
    assert not any("doctor" in (check.hint or "") for check in diagnosis.checks)


def test_diagnose_failing_proxy_names_the_proxy() -> None:
    with tcp_proxy.proxy(1, count=None, connect_status=404) as proxy:
        diagnosis = diagnose(
            access_key="a" * 32,
            secret_key="b" * 32,
            base_url="https://qianfan.invalid",
            proxy=proxy.url,
            max_retries=0,
        )
    assert check(diagnosis, "connection").outcome == "failed"
    assert "proxy" in (check(diagnosis, "connection").hint or "")


def diagnose_bucket(sandbox: Sandbox, *allowed: str) -> Diagnosis:
    """Diagnose with keys that may do nothing in the object storage but what is allowed."""
    sandbox.add_key("member", "s" * 32, allowed={"DescribeBatchInferenceTasks", *allowed})
    return diagnose(
        bos_uri="bos:/my-bucket/in/",
        access_key="member",
        secret_key="s" * 32,
        base_url=sandbox.url,
        bos_endpoint=sandbox.url,
        max_retries=0,
    )


_READ = ("GetBucketLocation", "ListObjects", "GetObject")


def test_diagnose_bucket_with_all_permissions_leaves_nothing_behind(sandbox: Sandbox) -> None:
    sandbox.put("bos:/my-bucket/in/part.jsonl", "{}\n")

    diagnosis = diagnose_bucket(sandbox, *_READ, "PutObject", "DeleteObject", "DeleteMultipleObjects")

    assert [found for found in outcomes(diagnosis).items() if found[0].startswith("bucket")] == [
        ("bucket", "ok"),
        ("bucket region", "ok"),
        ("bucket read", "ok"),
        ("bucket write", "ok"),
    ]
    assert list(sandbox.objects) == ["bos:/my-bucket/in/part.jsonl"]


def test_diagnose_bucket_that_cannot_be_written_names_what_to_grant(sandbox: Sandbox) -> None:
    diagnosis = diagnose_bucket(sandbox, *_READ)

    found = check(diagnosis, "bucket write")
    assert (check(diagnosis, "bucket read").outcome, found.outcome, found.error) == (
        "ok",
        "failed",
        "PermissionDeniedError",
    )
    assert "Grant the user of these keys WRITE on bucket my-bucket" in (found.hint or "")


def test_diagnose_bucket_without_permission_for_its_region_goes_on(sandbox: Sandbox) -> None:
    found = outcomes(diagnose_bucket(sandbox, "ListObjects"))

    assert (found["bucket region"], found["bucket read"], found["bucket write"]) == (
        "warning",
        "ok",
        "failed",
    )


def test_diagnose_bucket_that_does_not_exist_fails_the_bucket(sandbox: Sandbox) -> None:
    sandbox.behavior = ServerBehavior(missing_buckets_refused=True)

    diagnosis = diagnose_bucket(sandbox, *_READ)

    assert (check(diagnosis, "bucket").error, outcomes(diagnosis)["bucket write"]) == (
        "NotFoundError",
        "skipped",
    )


def test_diagnose_bucket_whose_object_cannot_be_deleted_names_the_object(sandbox: Sandbox) -> None:
    diagnosis = diagnose_bucket(sandbox, *_READ, "PutObject")

    [uri] = sandbox.objects
    assert f"Delete {uri} by hand." in (check(diagnosis, "bucket write").hint or "")
