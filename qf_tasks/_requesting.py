"""What a create sends: the caller's arguments, checked against the documented rules, in the service's names.

A rule that is only inferred is left to the service.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from qf_tasks import _arguments
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import ModelVersion

_NAME_LENGTH = (2, 20)  # amh4suzbi; the unit is not documented, so characters, which refuses least
_DESCRIPTION_LENGTH = (0, 500)
_DATA_FORMATS = ("default", "src_tgt", "role")  # Tmo1ftuwg
_COMPLETION_WINDOWS = ("24h",)


def create_body(
    *,
    name: str,
    input_bos_uri: str,
    output_bos_uri: str,
    endpoint: str | None,
    model_id: str | ModelVersion | None,
    inference_params: Mapping[str, Any] | None,
    description: str | None,
    data_format: str | None,
    completion_window: str | None,
    extra: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the body of the request; what was not given is left out.

    Raises:
        InvalidArgumentError: an argument breaks a documented rule.
    """
    if (endpoint is None) == (model_id is None):
        raise InvalidArgumentError(
            "Exactly one of endpoint and model_id must be given",
            hint="endpoint names a preset service ('ernie-x1-turbo-32k'), model_id a version ('amv-…').",
        )
    given = {
        "name": _within(_arguments.text(name, "name"), "name", _NAME_LENGTH),
        "description": _within(description, "description", _DESCRIPTION_LENGTH),
        "endpoint": _arguments.text_or_none(endpoint, "endpoint"),
        "modelId": _arguments.text_or_none(_version_id(model_id), "model_id"),
        "inferenceParams": _object_or_none(inference_params, "inference_params"),
        "inputBosUri": _bos_uri(input_bos_uri, "input_bos_uri"),
        "outputBosUri": _bos_uri(output_bos_uri, "output_bos_uri"),
        "dataFormat": _one_of(data_format, "data_format", _DATA_FORMATS),
        "completion_window": _one_of(completion_window, "completion_window", _COMPLETION_WINDOWS),
    }
    return {
        **{field: value for field, value in given.items() if value is not None},
        **_extra(extra, given),
    }


def _version_id(model_id: str | ModelVersion | None) -> str | None:
    return model_id.model_version_id if isinstance(model_id, ModelVersion) else model_id


def _within(value: object, argument: str, limits: tuple[int, int]) -> str | None:
    if value is None:
        return None
    least, most = limits
    text = _arguments.text(value, argument, may_be_blank=least == 0)
    if not least <= len(text) <= most:
        raise InvalidArgumentError(f"{argument} must have {least} to {most} characters, not {len(text)}")
    return text


def _bos_uri(value: object, argument: str) -> str:
    """Return a BOS directory as the service writes it: `bos:/bucket/folder/`, one slash (Tmo1ftuwg)."""
    uri = _arguments.text(value, argument)
    if re.match(r"bos:/[^/]", uri):
        return uri
    meant = re.fullmatch(r"bos:/*([^/\s]\S*)", uri.strip(), re.IGNORECASE)
    raise InvalidArgumentError(
        f"{argument} must be bos:/bucket/folder/, with one slash after bos:, not {uri[:80]!r}",
        hint=f"Pass 'bos:/{meant[1][:80]}'." if meant else None,
    )


def _one_of(value: object, argument: str, allowed: tuple[str, ...]) -> str | None:
    if value is None:
        return None
    text = _arguments.text(value, argument)
    if text in allowed:
        return text
    near = difflib.get_close_matches(text[:80], allowed, n=1)
    raise InvalidArgumentError(
        f"{argument} must be {' or '.join(map(repr, allowed))}, not {text[:80]!r}",
        hint=f"Did you mean {near[0]!r}?" if near else None,
    )


def _object_or_none(value: object, argument: str) -> dict[str, Any] | None:
    """Return an object as the service will tell it again: a tuple is a list then."""
    if value is None:
        return None
    told: dict[str, Any] = json.loads(json.dumps(_arguments.json_object(value, argument)))
    return told


def _extra(extra: object, given: Mapping[str, object]) -> dict[str, Any]:
    fields = _object_or_none(extra, "extra") or {}
    if taken := sorted(set(fields) & set(given)):
        raise InvalidArgumentError(f"extra must not repeat what has its own argument: {', '.join(taken)}")
    return fields
