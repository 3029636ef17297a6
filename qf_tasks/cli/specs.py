"""What describes a task: options, or the entries of a file, validated as a whole before any request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from qf_tasks._operations.create import create_request
from qf_tasks.cli import options
from qf_tasks.cli.options import option
from qf_tasks.errors import InvalidArgumentError

_OPTION = "--from-file"
REQUIRED = ("name", "input_bos_uri", "output_bos_uri")


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The options that describe one task, named like the keywords of `TaskClient.create`."""

    name: Annotated[str | None, option("NAME", "2 to 20 characters.")] = None
    input_bos_uri: Annotated[
        str | None, option("URI", "The directory of the records, bos:/bucket/folder/.")
    ] = None
    output_bos_uri: Annotated[
        str | None, option("URI", "The directory for the results; it has to exist.")
    ] = None
    endpoint: options.Endpoint = None
    model_id: options.ModelId = None
    inference_params: options.InferenceParams = None
    description: options.Description = None
    data_format: options.DataFormat = None
    completion_window: Annotated[str | None, option("DURATION", "The longest time to run: 24h.")] = None
    extra: options.Extra = None
    idempotency_key: Annotated[
        str | None, option("KEY", "Reuse the task that was created with this key.")
    ] = None


@dataclass(frozen=True)
class Spec:
    """One task that is to be created: where the file says so, and the keywords of `create`."""

    position: str
    keywords: dict[str, Any]


def load(path: Path, shared: Mapping[str, Any]) -> list[Spec]:
    """Return the specifications of a file, each with the keywords that all of them share.

    Raises:
        typer.BadParameter: The file cannot be read, or some of it is not valid; every problem is named.
    """
    try:
        specs = [Spec(position, _keywords(position, value)) for position, value in _entries(path)]
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint=_OPTION) from None
    except ValueError as error:  # also what is not JSON or not UTF-8
        raise typer.BadParameter(f"{path} is not valid: {error}", param_hint=_OPTION) from None
    problems = [f"{path}, {spec.position}: {text}" for spec in specs if (text := _problem(spec))]
    if problems:
        raise typer.BadParameter("; ".join(problems), param_hint=_OPTION)
    if not specs:
        raise typer.BadParameter(f"{path} has no tasks", param_hint=_OPTION)
    return [Spec(spec.position, {**shared, **spec.keywords}) for spec in specs]


def check(keywords: Mapping[str, Any]) -> None:
    """Check the keywords of one `create` as the client does.

    Raises:
        InvalidArgumentError: Something is wrong with them.
    """
    create_request(**keywords)


def _problem(spec: Spec) -> str | None:
    known = [field.name for field in fields(Fields)]
    if unknown := [name for name in spec.keywords if name not in known]:
        return f"unknown field {unknown[0]!r}; there are {', '.join(known)}"
    if missing := [name for name in REQUIRED if name not in spec.keywords]:
        return f"{' and '.join(missing)} missing"
    try:
        check(spec.keywords)
    except InvalidArgumentError as error:
        return error.message
    return None


def _keywords(position: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{position} is not an object with fields")
    return {str(name): content for name, content in value.items()}


def _entries(path: Path) -> Iterator[tuple[str, object]]:
    """Yield where each entry of a file is, and the entry.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not valid.
    """
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"line {number}", json.loads(line)
    elif path.suffix in {".yaml", ".yml"}:
        for number, value in enumerate(_of_yaml(text), 1):
            yield f"task {number}", value
    else:
        raise ValueError("it should end in .yaml, .yml or .jsonl")


def _of_yaml(text: str) -> list[object]:
    import yaml

    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise ValueError("not YAML" if line is None else f"not YAML in line {line + 1}") from None
    if not isinstance(loaded, list):
        raise ValueError("it should be a list of tasks")
    return loaded
