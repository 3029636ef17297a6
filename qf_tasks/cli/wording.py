"""Messages of the library as people at a terminal need them: with options in the place of keywords."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from qf_tasks.cli.tables import TASK_FIELDS

_PHRASES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b\w+=True \((--[\w-]+)\)", r"\1"),
        (r"(?:client\.)?\blist\(name=(\S+?)\)(?: \(qf-tasks list --name\))?", r"qf-tasks list --name \1"),
        (r"Call client\.wait\(task\) first", "Wait for it first: qf-tasks wait ID"),
        (r"delete this one with data\.delete\(\)", "delete what is in it"),
        (r"client\.models\(\)", "qf-tasks models"),
        (r"client\.job\(\)", "qf-tasks status"),
        (r"(?:client\.)?\b(submit|stop|results)\(\)", r"qf-tasks \1"),
        (r"\bretry_failures\(\)", "qf-tasks retry-failures"),
        (r"\brun\(\)", "qf-tasks results"),  # which waits as well, without the records
        (r"data\.plan\(records\) returns", "--dry-run shows"),
        (r"(a number with a unit), a timedelta or a datetime", r"\1"),
    )
)
_VERBS = "must|should|cannot|needs|is|are|has|names"


def names_of(params: Iterable[Any]) -> dict[str, str]:
    """Return how the parameters of a command are written on a command line, by their names in Python.

    A parameter of a command has the name of the library's keyword, whatever its option is called. The address
    of a job may stand in the place of ids.
    """
    return {"bos_uri": "BOS_URI"} | {
        str(param.name): str(param.metavar).rstrip(".")
        if param.param_type_name == "argument"
        else max(param.opts, key=len)
        for param in params
    }


def in_options(text: str, names: Mapping[str, str]) -> str:
    """Return a message of the library with options in the place of the keywords that `names` has.

    A keyword that is also the field of a task, or an everyday word, is one before a value, or before a verb
    at the beginning of the message or in a list.
    """
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    if not names:
        return text
    one = rf"(?<![\w'/-])(?:{'|'.join(sorted(names, key=len, reverse=True))})(?!\w)"
    subject = rf"(?:^|(?<= of ))(?:{one}(?:, | and | or ))*{one}(?= (?:{_VERBS})\b)"

    def unmistakable(match: re.Match[str]) -> str:
        name = match[0]
        return names[name] if "_" in name and name not in TASK_FIELDS else name

    text = re.sub(rf"({one})=True\b", lambda match: names[match[1]], text)
    text = re.sub(rf"({one})=(?=\S)", lambda match: f"{names[match[1]]} ", text)
    text = re.sub(subject, lambda match: re.sub(one, lambda each: names[each[0]], match[0]), text)
    return re.sub(one, unmistakable, text)


_CHINESE = "\u2018-\u201f\u3000-\u303f\u4e00-\u9fff\uff00-\uffef"
_IN_BRACKETS = re.compile(rf"\([^()]*[{_CHINESE}][^()]*\)")
_SENTENCE = re.compile(rf"\s*[{_CHINESE}][^。]*。?")


def without_chinese(text: str, encoding: str) -> str:
    """Return a text without its Chinese sentences, if the encoding cannot show them."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = _IN_BRACKETS.sub(lambda match: re.sub(rf"[{_CHINESE}]+\s*", "", match[0]), text)
        return _SENTENCE.sub("", text).strip()
    return text
