"""What pytest says at the end of a session that ran the conformance kit: every count, a line for each checked name.

A session in which too few checks applied fails, as `hashzoo plugins check` does. Without cases of the kit nothing
is imported and nothing is said.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hashzoo.testing.kit import Report

KEY = "hashzoo_conformance"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist reports to the process that started it
        config.pluginmanager.register(Conformance(), "hashzoo-conformance")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Write on each case of the kit what it checks: a test's report carries that, from xdist's workers too."""
    cases = sys.modules.get("hashzoo.testing.parametrize")
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    for value in parameters:
        if cases is not None and isinstance(value, cases.PytestCase):
            about = {"asked": value.asked, "subject": value.case.subject.id, "check": value.case.check.name}
            item.user_properties.append((KEY, about))


class Conformance:
    """Outcomes of one session: by the name that was checked, then by subject and check."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        about: Any = dict(report.user_properties).get(KEY)
        outcome = outcome_of(report)
        if about is not None and outcome:
            self.outcomes[about["asked"]][about["subject"], about["check"]] = outcome

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.OK and any(report.too_few() for report in self.reports()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for report in self.reports():
            for line in report.too_few():
                terminalreporter.write_line(f"hashzoo conformance of {report.plugin}: {line}", red=True)
            terminalreporter.write_line(f"hashzoo conformance of {report.summary()}")

    def reports(self) -> list[Report]:
        """The kit's reports of what ran, by name."""
        if not self.outcomes:
            return []
        from hashzoo.testing.kit import Finding, Report

        return [
            Report(name, [Finding(*case, outcome, seconds=0.0) for case, outcome in outcomes.items()])
            for name, outcomes in sorted(self.outcomes.items())
        ]


def outcome_of(report: pytest.TestReport) -> str:
    """The kit's word for how a phase of a test went; "" where that decides nothing, as a skip before the call."""
    if report.failed:
        return "failed"
    if hasattr(report, "wasxfail"):
        return "expected_failure"
    if report.when == "call":
        return "not_applicable" if report.skipped else "passed"
    return ""
