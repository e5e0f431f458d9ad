"""`hashzoo doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hashzoo.cli.common import console, print_json


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Look for what keeps hashzoo from working here, and say which command mends it."""
    from hashzoo.doctor import examine

    findings = examine()
    if json:
        print_json({"schema": 1, "findings": [asdict(finding) for finding in findings]})
    else:
        marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "problem": ("PROBLEM", "bold red")}
        out = console()
        for finding in findings:
            mark, style = marks[finding.level]
            out.print(f"[{style}]{mark:8}[/]", end="")
            out.print(f"{finding.subject}: {finding.message}", markup=False, highlight=False, soft_wrap=True)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)
