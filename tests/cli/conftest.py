"""A command line that is run in this process, against a sandbox, and what it printed."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from qf_tasks import TaskClient
from qf_tasks.__main__ import main
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Sandbox
from tests.sandbox_time import SandboxTime

_REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Ran(NamedTuple):
    """What one command came to; request ids are `REQUEST-ID`, as they are new each time."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(text: str) -> str:
    """Return what was printed, without what differs between runs or cannot be seen."""
    lines = _REQUEST_ID.sub("REQUEST-ID", text).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


@pytest.fixture(autouse=True)
def local_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as here:
        here.setenv("TZ", "UTC-08:00")  # eight hours ahead, in the way of POSIX
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def own_sandbox(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return a sandbox that the environment points to, and in whose time clients wait."""
    for name, value in sandbox.env().items():
        monkeypatch.setenv(name, value)
    passing = SandboxTime(sandbox)
    monkeypatch.setattr(TaskClient, "_clock", Clock(passing.now, passing.sleep))
    return sandbox


@pytest.fixture
def run(own_sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a command as if its output were piped."""
    assert own_sandbox
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None)  # else there are colours in some CI

    def run(*words: str) -> Ran:
        code = main(words)
        printed = capsys.readouterr()
        return Ran(code, shown(printed.out), shown(printed.err))

    return run


@pytest.fixture
def run_on_screen(own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a command on a terminal of `width` cells, by default one without colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert own_sandbox
    monkeypatch.setenv("LINES", "24")

    def run(*words: str, width: int = 80, answer: str = "", term: str = "dumb") -> Ran:
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("COLUMNS", str(width))
        out, err, typed = Screen(), Screen(), Screen(answer)
        for name, stream in {"stdout": out, "stderr": err, "stdin": typed}.items():
            monkeypatch.setattr(sys, name, stream)
        return Ran(main(words), shown(out.getvalue()), shown(err.getvalue()))

    return run
