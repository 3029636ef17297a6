"""What the transport leans on in the SDK, piece by piece: a release that changes one fails here."""

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
from qianfan.resources.typing import QfRequest, QfResponse
from qianfan.version import VERSION

from qf_tasks import Settings
from qf_tasks._transport import sdk_hook

# Other code's calls keep the SDK's own reading of the time, which Python 3.12 and later complain about.
pytestmark = pytest.mark.filterwarnings(
    "ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce"
)
ROUTE = "/v2/batchinference"


class Requestor:
    """Takes the place of the SDK's requestor, and notes what it is given."""

    def __init__(self, **kwargs: object) -> None:
        self.kwargs = kwargs
        self.request: QfRequest | None = None
        self.rest: tuple[object, ...] = ()

    def _request_console_api(self, request: QfRequest, *rest: object) -> QfResponse:
        self.request, self.rest = request, rest
        return QfResponse(code=200, headers={"x-bce-request-id": "7"})


@pytest.fixture
def requestor(monkeypatch: pytest.MonkeyPatch) -> Requestor:
    """Replace both names that `call_action` looks up; whatever the transport put there comes back after."""
    made = Requestor()
    monkeypatch.setattr(console, "ConsoleAPIRequestor", lambda **_: made)
    monkeypatch.setattr(console, "_get_console_ak_sk", lambda **_: ("", ""))
    return made


def test_call_action_takes_route_action_and_params_by_position() -> None:
    parameters = inspect.signature(console.call_action).parameters
    assert list(parameters) == ["base_url_route", "action", "params"], (
        "call_action has other parameters now: adapt the one call in Transport._exchanged"
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
    assert request is not None, "the SDK sends by another method than _request_console_api: see _Exchange"
    sent = (request.method, request.url, request.query, request.json_body)
    assert sent == ("POST", ROUTE, {"Action": "DeleteBatchInferenceTask"}, {"taskId": "infer-1"}), (
        "the SDK builds another request: adapt Transport.post and Transport._signed_headers, which read it"
    )


def test_call_action_names_its_source_in_a_header(requestor: Requestor) -> None:
    console.call_action(ROUTE, "DescribeBatchInferenceModel", {})
    assert requestor.request is not None
    assert requestor.request.headers == {"request-source": f"qianfan_py_sdk_v{VERSION}"}, (
        "the SDK sets other headers: they are signed and sent as they are; look whether all of them may be"
    )


def test_call_action_passes_nothing_to_the_requestor_but_keys_and_its_retry_config(
    requestor: Requestor,
) -> None:
    console.call_action(ROUTE, "DescribeBatchInferenceModel", {})
    assert requestor.kwargs == {}, "the requestor is made with arguments now: see _OFFERS in _transport.py"
    assert requestor.rest[:2] == ("", ""), "the keys are passed elsewhere: see _Exchange"


@pytest.mark.usefixtures("requestor")
def test_call_action_returns_what_the_requestor_returned() -> None:
    returned = console.call_action(ROUTE, "DescribeBatchInferenceModel", {})
    assert (returned.code, returned.headers) == (200, {"x-bce-request-id": "7"}), (
        "QfResponse(code=, headers=) is made in _Exchange._request_console_api: adapt it"
    )


@pytest.mark.parametrize("key", ["ak", "sk"])
def test_call_action_with_keys_as_keywords_raises(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_get_console_ak_sk", lambda **_: ("", ""))
    keywords: dict[str, Any] = {key: "x"}
    try:
        console.call_action(ROUTE, "DescribeBatchInferenceModel", {}, **keywords)
    except TypeError:
        return
    pytest.fail("the SDK takes keys per call now: the whole seam of _transport.py may be given up for that")


def test_logger_of_the_sdk_has_the_name_that_is_kept_quiet() -> None:
    from qianfan.utils.logging import logger

    assert logger._logger is logging.getLogger("qianfan"), "the SDK logs under another name: adapt _sdk()"


def test_config_refuses_a_bad_value_by_the_name_of_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANFAN_QPS_LIMIT", "abc")
    with pytest.raises(ValidationError) as caught:
        Config()
    assert [error["loc"] for error in caught.value.errors()] == [("QPS_LIMIT",)], (
        "the SDK names the field otherwise: adapt _sdk_refused_to_start in _failures.py"
    )


def test_config_refuses_a_value_that_is_no_json_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QIANFAN_CONSOLE_API_RETRY_ERR_CODES", "abc")
    with pytest.raises(SettingsError) as caught:
        Config()
    assert str(caught.value) == 'error parsing env var "QIANFAN_CONSOLE_API_RETRY_ERR_CODES"', (
        "the SDK names the variable otherwise: adapt _sdk_refused_json in _failures.py"
    )


@pytest.mark.parametrize("kind", [ValidationError, SettingsError])
def test_config_raises_what_has_a_rule(kind: type[Exception]) -> None:
    assert f"{kind.__module__}.{kind.__qualname__}" in RULES, "its class has moved: follow it in _failures.py"


def test_defaults_of_the_sdk_are_ours() -> None:
    assert DefaultValue.IAMSignExpirationSeconds == sdk_hook.SIGNATURE_SECONDS, (
        "the SDK's signatures are good for another time: follow it in _SIGNATURE_SECONDS"
    )
    default = Settings(access_key="access-key", secret_key="secret-key").base_url
    assert default == DefaultValue.ConsoleAPIBaseURL, "the service has moved: change DEFAULT_BASE_URL"
