"""The fixtures and marks, as the test run of a user sees them."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

_CONFTEST = 'pytest_plugins = ["qf_tasks.testing"]'

_USER_TESTS = """
    from qf_tasks import TaskClient

    def test_client_deletes_task(qianfan_sandbox, qianfan_client):
        task_id = qianfan_sandbox.add_task(run_status="Done")
        assert qianfan_client.delete(task_id).outcome == "deleted"
        assert qianfan_sandbox.tasks == {}

    def test_client_waits_for_created_task(qianfan_client):
        created = qianfan_client.create(
            name="nightly", endpoint="e", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
        )
        assert qianfan_client.wait(created, poll_interval=0.2).is_success

    def test_next_test_has_new_sandbox(qianfan_sandbox):
        assert qianfan_sandbox.requests == []

    def test_code_under_test_uses_sandbox(qianfan_sandbox):
        with TaskClient() as client:
            assert list(client.list()) == []
"""

_REJECTED = """
    import pytest
    from qf_tasks import AuthenticationError

    def send_with_wrong_key(sandbox):
        with sandbox.client(max_retries=0) as client:
            sandbox.revoke_key(sandbox.access_key)
            with pytest.raises(AuthenticationError):
                client.get("infer-000000000000")

    def test_unmarked(qianfan_sandbox):
        send_with_wrong_key(qianfan_sandbox)

    @pytest.mark.qianfan_allow_rejections
    def test_marked(qianfan_sandbox):
        send_with_wrong_key(qianfan_sandbox)
"""

_UNUSED = """
    import pytest
    from qf_tasks.sandbox import Fault

    def test_fault_fires(qianfan_sandbox, qianfan_client):
        qianfan_sandbox.inject(Fault.status(503))
        qianfan_client.models()

    def test_unmarked(qianfan_sandbox):
        qianfan_sandbox.inject(Fault.status(503), action="StopBatchInferenceTask", times=2)

    @pytest.mark.qianfan_allow_unused_faults
    def test_marked(qianfan_sandbox):
        qianfan_sandbox.inject(Fault.status(503))
"""


def run(pytester: pytest.Pytester, tests: str) -> pytest.RunResult:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile(tests)
    return pytester.runpytest_inprocess("-p", "no:cov", "-p", "no:cacheprovider", "--strict-markers")


def test_fixtures_give_each_test_a_clean_sandbox_without_settings_of_the_developer(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    invalid = pytester.makefile(".toml", broken="profiles =")
    home_file = pytester.path / ".config" / "qf_tasks" / "config.toml"
    home_file.parent.mkdir(parents=True)
    home_file.write_text("no_setting = 1")
    pytester.makefile("", **{".env": "QF_TASKS_MAX_RETRIES=many"})
    for name, value in {
        "HOME": str(pytester.path),
        "QF_TASKS_CONFIG": str(invalid),
        "QF_TASKS_PROFILE": "nobody",
        "QF_TASKS_RETRY_BUDGET": "much",
        "QIANFAN_DOT_ENV_CONFIG_FILE": "missing",
        "QIANFAN_PROXY": "ftp://proxy.invalid",
        "HTTPS_PROXY": "socks5://proxy.invalid",
    }.items():
        monkeypatch.setenv(name, value)

    run(pytester, _USER_TESTS).assert_outcomes(passed=4)


def test_rejected_request_fails_the_test_and_names_request_and_mark(pytester: pytest.Pytester) -> None:
    result = run(pytester, _REJECTED)

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*InvalidAccessKeyId: POST /v2/batchinference*", "*@pytest.mark.qianfan_allow_rejections*"]
    )


def test_unused_fault_fails_the_test_and_names_fault_and_mark(pytester: pytest.Pytester) -> None:
    result = run(pytester, _UNUSED)

    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*status_code=503*for StopBatchInferenceTask: fired 0 of 2 times*",
            "*@pytest.mark.qianfan_allow_unused_faults*",
        ]
    )


def test_runs_that_do_not_enable_the_plugin_do_not_load_it() -> None:
    plugins = entry_points(group="pytest11")

    assert len(plugins) > 0
    assert not [plugin for plugin in plugins if plugin.value.startswith("qf_tasks")]
