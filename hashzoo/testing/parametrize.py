"""The checks of the kit as cases of pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hashzoo.testing import kit


class PytestCase:
    """Call it in a test: it raises where the check fails, and skips, with the reason, where it does not apply."""

    def __init__(self, case: kit.Case, asked: str):
        self.case = case
        self.asked = asked  # the name that `parametrize_plugin` was given

    def __call__(self) -> None:
        import pytest

        reason = self.case.not_applicable()
        if reason:
            pytest.skip(f"does not apply: {reason}")
        self.case.check.run(self.case.subject)


def parametrize_plugin(name: str, *, expected_failures: Mapping[str, str] | None = None, tier: str = "all") -> Any:
    """Run the conformance kit in your own tests, a case a check:

        from hashzoo.testing import parametrize_plugin

        @parametrize_plugin("mine", expected_failures={"check_x": "why"})
        def test_conformance(check):
            check()

    Expected failures are strict: one that passes fails the test. `pytest -k check_x` runs one check.

    Args:
        name: of your plugin, or of something that it offers.
        expected_failures: reasons by check name ("check_x"), or by subject and check name ("loss:mine/check_x").
        tier: "contract" (seconds), "behaviour" (trains on drawn scenes) or "all".
    """
    import pytest

    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                PytestCase(case, name),
                id=case.id,
                marks=[pytest.mark.xfail(reason=case.expected, strict=True)] if case.expected else [],
            )
            for case in kit.cases(name, expected_failures, tier)
        ],
    )
