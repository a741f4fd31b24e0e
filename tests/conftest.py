"""What holds for every test: none sees the user's own notes and catalog, Ctrl-C is heard by them and by what they start
(a shell lets what it starts in the background ignore it), and what was skipped is listed at the end.
"""

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine",
    deadline=None,  # neither this nor the next but one says anything but how fast the machine is
    derandomize="CI" in os.environ,  # a landing has the same examples each time; a run at home looks for new ones
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where these tests' notes on verified folders go."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGNETAR_CACHE", str(folder))
        patch.setenv("MAGNETAR_CATALOG", str(folder / "no-catalog"))
        yield folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were skipped because something is not here, and how to get it."""
    lacking = defaultdict[str, set[str]](set)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        if reason.startswith("needs "):
            lacking[reason.removeprefix("needs ")].add(report.nodeid)
    if not lacking:
        return
    terminalreporter.section("skipped, for want of")
    for need, tests in sorted(lacking.items()):
        terminalreporter.line(need)
        for file in sorted({test.partition("::")[0] for test in tests}):
            count = sum(test.partition("::")[0] == file for test in tests)
            terminalreporter.line(f"    {file} ({count} {'test' if count == 1 else 'tests'})")
