"""What reaches other clients from outside does not reach this one: variables, .netrc, cookies, limits."""

from __future__ import annotations

import base64
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import qianfan

from qf_tasks import (
    ConfigurationError,
    RateLimitError,
    ServiceUnreachableError,
    Settings,
    TaskClient,
)
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

_DEAD_PROXY = "http://127.0.0.1:9"  # the port of "discard", which refuses connections


@pytest.fixture(scope="module", autouse=True)
def config_of_the_sdk() -> None:
    """Let the SDK read its variables, which it does once, before a test here sets some."""
    qianfan.get_config()


def keys_of(sandbox: Sandbox) -> dict[str, Any]:
    return {"access_key": sandbox.access_key, "secret_key": sandbox.secret_key, "base_url": sandbox.url}


# Proxies.


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "QIANFAN_PROXY"])
def test_call_to_loopback_goes_through_no_proxy(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, _DEAD_PROXY)
    monkeypatch.setenv(name.lower(), _DEAD_PROXY)
    with TaskClient(**keys_of(sandbox)) as client:
        assert client.models().common


def test_call_elsewhere_goes_through_the_proxy_of_the_settings(make_client: MakeClient) -> None:
    client = make_client(base_url="https://service.invalid", proxy=_DEAD_PROXY, max_retries=0)
    with pytest.raises(ServiceUnreachableError, match="The proxy failed") as caught:
        client.models()
    assert caught.value.code == "ProxyFailed"


def test_proxy_of_the_environment_is_read_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", _DEAD_PROXY)
    client = TaskClient(
        access_key="access-key", secret_key="secret-key", base_url="https://service.invalid", max_retries=0
    )
    monkeypatch.delenv("HTTPS_PROXY")
    with client, pytest.raises(ServiceUnreachableError, match="The proxy failed"):
        client.models()


# The home and the environment.


def test_netrc_for_the_host_does_not_replace_the_signature(sandbox: Sandbox, client: TaskClient) -> None:
    netrc = Path.home() / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password of-the-netrc\n")
    netrc.chmod(0o600)
    client.models()
    headers = sandbox.requests[0].headers
    assert headers["Authorization"].startswith("bce-auth-v1/")
    assert base64.b64encode(b"somebody:of-the-netrc").decode() not in str(headers)


def test_base_url_with_a_path_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_CONSOLE_API_BASE_URL", "https://h/prefix")
    with pytest.raises(ConfigurationError, match="neither a path nor a query") as caught:
        TaskClient(access_key="access-key", secret_key="secret-key")
    assert "QIANFAN_CONSOLE_API_BASE_URL" in caught.value.message


def test_base_url_of_the_environment_does_not_reach_into_a_client(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_CONSOLE_API_BASE_URL", "https://h/prefix")
    monkeypatch.setattr(qianfan.get_config(), "CONSOLE_API_BASE_URL", "https://h/prefix")
    client.models()
    with TaskClient(**keys_of(sandbox)) as other:
        other.models()
    assert [request.path for request in sandbox.requests] == ["/v2/batchinference"] * 2


def test_limits_of_the_sdk_do_not_reach_into_a_client(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = qianfan.get_config()
    monkeypatch.setattr(config, "IAM_SIGN_EXPIRATION_SEC", 0)
    monkeypatch.setattr(config, "CONSOLE_API_RETRY_TIMEOUT", 0)
    monkeypatch.setattr(config, "CONSOLE_API_RETRY_COUNT", 9)
    monkeypatch.setattr(config, "PROXY", _DEAD_PROXY)
    client.models()
    assert len(sandbox.requests) == 1


# Certificates.


def test_delete_with_untrusted_certificate_is_not_sent_and_not_retryable(
    tls_sandbox: Sandbox, make_client: MakeClient
) -> None:
    client = make_client(**keys_of(tls_sandbox), max_retries=0)
    with pytest.raises(ServiceUnreachableError, match="certificate was not verified") as caught:
        client.delete(tls_sandbox.add_task())
    assert caught.value.code == "CertificateNotVerified"
    assert not caught.value.retryable
    assert "ca_bundle" in (caught.value.hint or "")
    assert tls_sandbox.requests == []


def test_call_with_verification_disabled_in_the_sdk_still_verifies(
    tls_sandbox: Sandbox, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_SSL_VERIFICATION_ENABLED", "false")
    monkeypatch.setattr(qianfan.get_config(), "SSL_VERIFICATION_ENABLED", False)
    with pytest.raises(ServiceUnreachableError, match="certificate was not verified"):
        make_client(**keys_of(tls_sandbox), verify_tls=True, max_retries=0).models()


def test_ca_bundle_of_the_settings_is_trusted(
    tls_sandbox: Sandbox, make_client: MakeClient, ca_bundle: Path
) -> None:
    client = make_client(**keys_of(tls_sandbox), ca_bundle=ca_bundle)
    assert client.models().common
    assert client.models().common
    assert tls_sandbox.connections == 1


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_ca_bundle_of_the_environment_is_read_when_the_client_is_made(
    tls_sandbox: Sandbox, ca_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(ca_bundle))
    client = TaskClient(**keys_of(tls_sandbox))
    monkeypatch.delenv(name)
    with client:
        assert client.models().common


def test_call_without_verification_works_without_a_warning(
    tls_sandbox: Sandbox, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(**keys_of(tls_sandbox), verify_tls=False)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert client.models().common
    assert warned == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_ca_bundle_that_holds_no_certificate_raises_configuration_error(
    tls_sandbox: Sandbox, make_client: MakeClient, tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate\n")
    with pytest.raises(ConfigurationError, match="ca_bundle holds no certificates"):
        make_client(**keys_of(tls_sandbox), ca_bundle=garbage, max_retries=0).models()


def test_call_with_ca_bundle_removed_raises_configuration_error(
    tls_sandbox: Sandbox, make_client: MakeClient, ca_bundle: Path
) -> None:
    client = make_client(**keys_of(tls_sandbox), ca_bundle=ca_bundle, max_retries=0)
    ca_bundle.unlink()
    with pytest.raises(ConfigurationError, match="ca_bundle holds no certificates"):
        client.models()


def test_plain_client_of_a_tls_port_raises_unreachable(tls_sandbox: Sandbox, make_client: MakeClient) -> None:
    plain = tls_sandbox.url.replace("https:", "http:")
    with pytest.raises(ServiceUnreachableError):
        make_client(**{**keys_of(tls_sandbox), "base_url": plain}, max_retries=0).models()


# Headers of a response.


def test_cookie_of_a_response_does_not_go_out_again(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.headers({"Set-Cookie": "session=of-the-first; Path=/"}), times=None)
    response = client.call("DescribeBatchInferenceModel", {})
    client.models()
    assert response.headers["set-cookie"].startswith("session=")
    assert all("Cookie" not in request.headers for request in sandbox.requests)


def test_rate_limit_header_of_a_response_switches_no_limiter_on(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError(f"something waits {seconds} s")

    monkeypatch.setattr("time.sleep", sleep)
    sandbox.inject(Fault.headers({"X-Ratelimit-Limit-Requests": "1"}), times=None)
    for _ in range(5):
        assert client.call("DescribeBatchInferenceModel", {}).headers["x-ratelimit-limit-requests"] == "1"


def test_rate_limit_of_the_service_is_raised_with_its_seconds(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    sandbox.inject(Fault.status(429, retry_after=9))
    with pytest.raises(RateLimitError) as caught:
        make_client(max_retries=0).models()
    assert caught.value.retry_after == 9.0


def test_settings_with_values_ignore_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_ACCESS_KEY", "of-the-environment")
    monkeypatch.setenv("QF_TASKS_MAX_RETRIES", "many")
    with TaskClient(Settings(**keys_of(sandbox))) as client:
        client.models()
    assert sandbox.requests[0].access_key == sandbox.access_key
