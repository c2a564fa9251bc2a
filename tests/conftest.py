"""Fixtures for all tests."""

import os
import signal
from collections.abc import Generator, Iterator

import pytest

from pipeline.testing import SshHosts, is_sshd_available, ssh_hosts

# A shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ssh_pair() -> Iterator[SshHosts]:
    """Two throw-away hosts, node1 and node2, shared by all tests of one worker: leave them as you found them."""
    if not is_sshd_available():
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    with ssh_hosts(2) as hosts:
        yield hosts


# What no package can provide: a root that is refused something, an interpreter that nobody ships any more, and the
# answers of the original parser, which are not ours to publish.
UNAVOIDABLE = ("root may ", "no Python older than ", "the reference data are not there")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With PIPELINE_REQUIRE_ALL, where everything must be there, a test that would be skipped fails."""
    report = yield
    is_required = os.environ.get("PIPELINE_REQUIRE_ALL") and not hasattr(report, "wasxfail")
    if report.skipped and is_required and not skip_reason(report).startswith(UNAVOIDABLE):
        report.outcome = "failed"
        report.longrepr = f"PIPELINE_REQUIRE_ALL is set, and the test was skipped: {skip_reason(report)}"
    return report


def skip_reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    return reason.removeprefix("Skipped: ")
