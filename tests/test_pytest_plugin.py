"""The fixtures for users' own tests, as a user's test run sees them."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

_WORKS = """
    from qf_tasks import TaskClient

    def test_client_deletes(qianfan_sandbox, qianfan_client):
        task_id = qianfan_sandbox.add_task(run_status="Done")
        assert qianfan_client.delete(task_id).outcome == "deleted"
        assert qianfan_sandbox.tasks == {}

    def test_client_waits_for_what_it_created(qianfan_client):
        created = qianfan_client.create(
            name="nightly", endpoint="e", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
        )
        assert qianfan_client.wait(created, poll_interval=0.2).is_success

    def test_next_test_starts_clean(qianfan_sandbox):
        assert qianfan_sandbox.requests == []

    def test_code_under_test_finds_it(qianfan_sandbox):
        with TaskClient() as client:
            assert list(client.list()) == []
"""
_REFUSED = """
    import pytest
    from qf_tasks import AuthenticationError, TaskClient

    def refused(sandbox):
        with TaskClient(access_key=sandbox.access_key, secret_key="f" * 32) as client:
            with pytest.raises(AuthenticationError):
                client.get("infer-000000000000")

    def test_unexpected(qianfan_sandbox):
        refused(qianfan_sandbox)

    @pytest.mark.qianfan_allow_rejections
    def test_expected(qianfan_sandbox):
        refused(qianfan_sandbox)
"""


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    """Run a user's test file; the installed package's entry point brings the fixtures."""
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("-p", "no:cov", "-p", "no:cacheprovider")


def test_fixtures_used_serve_a_clean_sandbox_to_each_test(pytester: pytest.Pytester) -> None:
    run(pytester, _WORKS).assert_outcomes(passed=4)


def test_settings_of_the_developer_reach_no_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = pytester.makefile(".toml", broken="profiles =")
    home_file = pytester.path / ".config" / "qf_tasks" / "config.toml"
    home_file.parent.mkdir(parents=True)
    home_file.write_text("no_setting = 1")
    pytester.makefile("", **{".env": "QF_TASKS_MAX_RETRIES=many"})
    for name, value in {
        "HOME": str(pytester.path),
        "QF_TASKS_CONFIG": str(broken),
        "QF_TASKS_PROFILE": "nobody",
        "QF_TASKS_RETRY_BUDGET": "much",
        "QIANFAN_DOT_ENV_CONFIG_FILE": "missing",
        "QIANFAN_PROXY": "ftp://proxy.invalid",
        "HTTPS_PROXY": "socks5://proxy.invalid",
    }.items():
        monkeypatch.setenv(name, value)
    run(pytester, _WORKS).assert_outcomes(passed=4)


def test_refused_signature_unexpected_fails_the_test_with_what_was_seen(pytester: pytest.Pytester) -> None:
    result = run(pytester, _REFUSED)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*SignatureDoesNotMatch: POST /v2/batchinference*"])


def test_plugin_loaded_imports_nothing_until_used(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import sys

        def test_nothing_is_imported():
            loaded = {"qianfan", "requests", "aiohttp", "pydantic", "qf_tasks.client"} & set(sys.modules)
            assert not loaded
        """,
    )
    result.assert_outcomes(passed=1)
