"""`hashzoo plugins check`: the conformance kit on the command line."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hashzoo.cli.common import console, print_json
from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    from hashzoo.testing.kit import Finding

MARKS = {
    "passed": ("passed", "green"),
    "failed": ("FAILED", "bold red"),
    "expected_failure": ("expected", "yellow"),
    "not_applicable": ("n/a", "dim"),
}


def check(
    name: Annotated[str, typer.Argument(help="A plugin, or something that one offers: soda, dcmh, timm:resnet18.")],
    tier: Annotated[
        str, typer.Option("--tier", help="contract (seconds), behaviour (trains on drawn scenes) or all.")
    ] = "all",
    expect_failure: Annotated[
        list[str] | None,
        typer.Option(
            "--expect-failure", help='A check that is to fail, and why: check_x="the reason"; may be given often.'
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Check that a plugin keeps its contracts; exit code 1 if it does not."""
    # A check trains with two threads. On a busy machine those that spin while they wait take ten times as long;
    # OpenMP reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from hashzoo.testing.kit import check_plugin

    shown = console(stderr=json)
    subject = ""

    def watch(finding: Finding) -> None:
        nonlocal subject
        from rich.text import Text

        if finding.subject != subject:
            subject = finding.subject
            shown.print(Text(subject, style="bold"))
        word, style = MARKS[finding.outcome]
        line = Text.assemble("  ", (f"{word:9}", style), f"{finding.seconds:6.1f} s  {finding.name}")
        shown.print(line, soft_wrap=True)
        if finding.message:
            shown.print(Text(f"{' ' * 21}{finding.message}", style=style), soft_wrap=True)

    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        report = check_plugin(name, _reasons(expect_failure or []), tier, watch)
    if json:
        print_json(report.as_json())
    else:
        for line in (*report.too_few(), report.summary()):
            shown.print(line, highlight=False, markup=False, soft_wrap=True)
    if report.count("failed") or report.too_few():
        raise typer.Exit(1)


def _reasons(options: list[str]) -> dict[str, str]:
    reasons = {}
    for option in options:
        name, equals, reason = option.partition("=")
        if not equals or not reason.strip():
            raise HashzooError(f"--expect-failure {option} gives no reason; write {name}='the reason'")
        reasons[name.strip()] = reason.strip()
    return reasons
