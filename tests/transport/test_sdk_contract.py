"""What the transport relies on in the SDK: a release that changes one of these fails here."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest
from pydantic.v1 import ValidationError
from pydantic.v1.env_settings import SettingsError
from qianfan.config import Config
from qianfan.consts import DefaultValue
from qianfan.resources.console import utils as console
from qianfan.resources.typing import QfRequest
from qianfan.version import VERSION

from qf_tasks import Settings
from qf_tasks._transport import sdk_hook

# The SDK's own signer uses a function that Python 3.12 and later warn about.
pytestmark = pytest.mark.filterwarnings(
    "ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce"
)
ROUTE = "/v2/batchinference"
RESPONSE = object()


class Requestor:
    """Replaces the SDK's requestor, and records what it is given."""

    def __init__(self, **kwargs: object) -> None:
        self.kwargs = kwargs
        self.request: QfRequest | None = None
        self.rest: tuple[object, ...] = ()

    def _request_console_api(self, request: QfRequest, *rest: object) -> object:
        self.request, self.rest = request, rest
        return RESPONSE


@pytest.fixture
def requestor(monkeypatch: pytest.MonkeyPatch) -> Requestor:
    """Replace both names that `call_action` looks up, until the test ends."""
    made = Requestor()
    monkeypatch.setattr(console, "ConsoleAPIRequestor", lambda **_: made)
    monkeypatch.setattr(console, "_get_console_ak_sk", lambda **_: ("", ""))
    return made


def test_call_action_takes_route_action_and_params_by_position() -> None:
    parameters = inspect.signature(console.call_action).parameters
    assert list(parameters) == ["base_url_route", "action", "params"], (
        "call_action has other parameters now: adapt the one call in Transport.call"
    )


@pytest.mark.parametrize("name", ["_get_console_ak_sk", "ConsoleAPIRequestor"])
def test_call_action_looks_up_both_names_in_its_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced(**_: object) -> object:
        raise LookupError(name)

    monkeypatch.setattr(console, "_get_console_ak_sk", lambda **_: ("", ""))
    monkeypatch.setattr(console, name, replaced)
    with pytest.raises(LookupError, match=name):
        console.call_action(ROUTE, "DescribeBatchInferenceModel", {})


def test_call_action_hands_a_whole_request_to_the_requestor(requestor: Requestor) -> None:
    console.call_action(ROUTE, "DeleteBatchInferenceTask", {"taskId": "infer-1"})
    request = requestor.request
    assert request is not None, "the SDK sends by another method than _request_console_api: see _Call"
    sent = (request.method, request.url, request.query, request.json_body)
    assert sent == ("POST", ROUTE, {"Action": "DeleteBatchInferenceTask"}, {"taskId": "infer-1"}), (
        "the SDK builds another request: adapt Transport.send and Transport._signed_headers, which read it"
    )


def test_call_action_names_its_source_in_a_header(requestor: Requestor) -> None:
    console.call_action(ROUTE, "DescribeBatchInferenceModel", {})
    assert requestor.request is not None
    assert requestor.request.headers == {"request-source": f"qianfan_py_sdk_v{VERSION}"}, (
        "the SDK sets other headers: they are signed and sent as they are; check that all of them may be"
    )


def test_call_action_passes_nothing_to_the_requestor_but_keys_and_its_retry_config(
    requestor: Requestor,
) -> None:
    console.call_action(ROUTE, "DescribeBatchInferenceModel", {})
    assert requestor.kwargs == {}, "the requestor is made with arguments now: see _REPLACEMENTS"
    assert requestor.rest[:2] == ("", ""), "the keys are passed elsewhere: see _Call"


@pytest.mark.usefixtures("requestor")
def test_call_action_returns_what_the_requestor_returned() -> None:
    returned = console.call_action(ROUTE, "DescribeBatchInferenceModel", {})
    assert returned is RESPONSE, "the response of the requestor is changed by call_action: see _Call"


@pytest.mark.parametrize("key", ["ak", "sk"])
def test_call_action_with_keys_as_keywords_raises(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_get_console_ak_sk", lambda **_: ("", ""))
    keywords: dict[str, Any] = {key: "x"}
    try:
        console.call_action(ROUTE, "DescribeBatchInferenceModel", {}, **keywords)
    except TypeError:
        return
    pytest.fail("the SDK takes keys per call now: use that in place of sdk_hook.py")


def test_logger_of_the_sdk_has_the_name_that_is_kept_quiet() -> None:
    from qianfan.utils.logging import logger

    assert logger._logger is logging.getLogger("qianfan"), "the SDK logs under another name"


def test_config_refuses_a_bad_value_by_the_name_of_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_QPS_LIMIT", "abc")
    with pytest.raises(ValidationError) as caught:
        Config()
    assert [error["loc"] for error in caught.value.errors()] == [("QPS_LIMIT",)], (
        "the SDK names the field differently: adapt exception_mapping._rejected_variables"
    )


def test_config_refuses_a_value_that_is_no_json_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QIANFAN_CONSOLE_API_RETRY_ERR_CODES", "abc")
    with pytest.raises(SettingsError) as caught:
        Config()
    assert str(caught.value) == 'error parsing env var "QIANFAN_CONSOLE_API_RETRY_ERR_CODES"', (
        "the SDK names the variable differently: adapt exception_mapping._rejected_variables"
    )


def test_defaults_of_the_sdk_are_ours() -> None:
    assert DefaultValue.IAMSignExpirationSeconds == sdk_hook.SIGNATURE_SECONDS, (
        "the SDK's signatures are valid for another time: follow it in SIGNATURE_SECONDS"
    )
    default = Settings(access_key="access-key", secret_key="secret-key").base_url
    assert default == DefaultValue.ConsoleAPIBaseURL, "the service has moved: change DEFAULT_BASE_URL"
