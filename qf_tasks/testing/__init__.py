"""pytest fixtures for programs that use `qf_tasks`: a sandbox in place of the service, and a client of it.

Enable them in the `conftest.py` of the root directory:

    pytest_plugins = ["qf_tasks.testing"]

Fixtures:
    qianfan_sandbox: A running `Sandbox`, new for each test. The environment variables name it, so that
        `TaskClient()` in the code under test uses it; the developer's own settings have no effect. Its clock
        runs a hundred times as fast as real time, so that `client.wait(...)` ends within a second.
    qianfan_client: A `TaskClient` of that sandbox, closed after the test.

A test fails at its end in two cases, each of which a mark allows:
    qianfan_allow_rejections: The sandbox rejected a request for its path, action or signature.
    qianfan_allow_unused_faults: An injected fault did not fire as often as it was injected for.
"""

from .plugin import pytest_configure, qianfan_client, qianfan_sandbox

__all__ = ["pytest_configure", "qianfan_client", "qianfan_sandbox"]
